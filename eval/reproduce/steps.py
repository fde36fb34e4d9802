"""The steps of a reproduction: a training, an evaluation. Each knows its command, and by its files whether it is done.

OUTPUT_DIR/training/RUN/           train_model.py's output; reproduce.json: the flags it is trained with
OUTPUT_DIR/evaluation/RUN/final/   test_model.py's output for the run's last weights (of `base`: for the model itself)
OUTPUT_DIR/evaluation/RUN/checkpoint-500/
OUTPUT_DIR/logs/
OUTPUT_DIR/preset_NAME/...         the same for every --preset but the default
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from eval.reproduce.recipes import BASE, Flags, Settings, recipe_path, shared_flags
from eval.runs import ROOT, evaluation_command, flag_words, training_command
from hint_grpo.evaluation.settings import BLIND, EvaluationSettings
from hint_grpo.evaluation.summary import Summary, read_summary
from hint_grpo.machine.errors import UserError
from hint_grpo.machine.files import replace_file
from hint_grpo.training.presets import DEFAULT

STATE_FILE = "trainer_state.json"  # train_model.py writes it last of all into its output folder, after the weights
FLAGS_FILE = "reproduce.json"
State = Literal["finished", "interrupted", "missing"]


class Step(Protocol):
    """Something to run, unless its files say that it has been."""

    @property
    def name(self) -> str: ...
    def state(self) -> State: ...
    def command(self) -> list[str]: ...
    def begin(self) -> None: ...


@dataclass(frozen=True)
class Experiment:
    """What a whole reproduction is made with, and where it goes. Paths are absolute: commands run in the project's root."""

    model_path: Path
    data_path: Path
    eval_data: Path
    prompt_path: Path
    output_dir: Path
    settings: Settings
    overrides: Mapping[str, Any]
    num_processes: int = 1
    limit: int | None = None
    preset: str = DEFAULT

    @property
    def preset_flag(self) -> Flags:
        """--preset of train_model.py and test_model.py; nothing for the default, so that earlier runs stay what they are."""
        return {} if self.preset == DEFAULT else {"preset": self.preset}

    @cached_property
    def num_questions(self) -> int:
        """Of the evaluations; 0 where the file is not there yet."""
        if not self.prompt_path.is_file():
            return 0
        with self.prompt_path.open(encoding="utf-8") as file:
            return len([line for line in file if line.strip()][: self.limit])

    def training_folder(self, run: str) -> Path:
        return self.output_dir / "training" / run

    def weights(self, run: str) -> Path:
        return self.model_path if run == BASE else self.training_folder(run)

    def log(self, name: str) -> Path:
        return self.output_dir / "logs" / f"{name}.txt"


@dataclass(frozen=True)
class Training:
    """train_model.py with one recipe. Interrupted or missing, the command is the same: it resumes where it can."""

    experiment: Experiment
    run: str

    @property
    def name(self) -> str:
        return f"{self.run}-training"

    @property
    def folder(self) -> Path:
        return self.experiment.training_folder(self.run)

    @property
    def flags(self) -> Flags:
        experiment = self.experiment
        paths = {"model_name_or_path": experiment.model_path, "data_path": experiment.data_path}
        return paths | experiment.preset_flag | shared_flags(self.run, experiment.settings, experiment.overrides)

    def state(self) -> State:
        if (self.folder / STATE_FILE).is_file() and any(self.folder.glob("*.safetensors")):
            return "finished"
        return "interrupted" if checkpoints(self.folder) else "missing"

    def command(self) -> list[str]:
        flags = {**self.flags, "resume_from_checkpoint": True, "output_dir": self.folder}
        recipe = recipe_path(self.run).relative_to(ROOT)
        # With several GPUs one process needs torchrun too: it leaves the others to the vLLM server. A run that has one GPU
        # or core to itself starts sooner without.
        return training_command(
            flags,
            recipe=recipe,
            num_processes=self.experiment.num_processes,
            torchrun=not self.experiment.settings.one_slot_each,
        )

    def check_settings(self) -> None:
        """Raises UserError where the folder holds a run with other flags: a table must not mix the two."""
        path = self.folder / FLAGS_FILE
        if self.state() == "missing" or not path.is_file():
            return
        there, here = json.loads(path.read_text(encoding="utf-8")), _as_text(self.flags)
        changed = sorted(name for name in there | here if there.get(name) != here.get(name))
        if changed:
            differences = ", ".join(f"{name} {there.get(name)} there, {here.get(name)} now" for name in changed)
            raise UserError(
                f"{self.folder} is trained with other settings ({differences}): name another --output_dir, use the same "
                "settings, or remove that folder"
            )

    def begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / FLAGS_FILE, json.dumps(_as_text(self.flags), indent=1) + "\n")


@dataclass(frozen=True)
class Evaluation:
    """test_model.py on one set of weights: at `scales`, or blind. What is answered already it does not ask again."""

    experiment: Experiment
    run: str
    weights: Path
    label: str = "final"
    scales: tuple[float, ...] = (0.0,)
    no_image: bool = False

    @property
    def name(self) -> str:
        return f"{self.run}-evaluation-{self.label}{BLIND if self.no_image else ''}"

    @property
    def folder(self) -> Path:
        return self.experiment.output_dir / "evaluation" / self.run / self.label

    @property
    def settings(self) -> EvaluationSettings:
        return EvaluationSettings(
            model_path=self.weights,
            data_path=self.experiment.eval_data,
            prompt_path=self.experiment.prompt_path,
            scales=self.scales,
            output_dir=self.folder,
            limit=self.experiment.limit,
            no_image=self.no_image,
            **self.experiment.settings.evaluation,
        )

    def state(self) -> State:
        if all(self.holds(scale) for scale in self.scales):
            return "finished"
        begun = any(self.settings.scale_folder(scale).is_dir() for scale in self.scales)
        return "interrupted" if begun else "missing"

    def holds(self, scale: float) -> bool:
        """Whether a summary is there, of these questions, decoded as asked, and not older than the weights.

        In doubt it is not: test_model.py then looks closer, and asks again only what has changed.
        """
        settings, folder = self.settings, self.settings.scale_folder(scale)
        summary = read_summary(folder)
        if not summary:
            return False
        made_with = summary["made_with"]
        newest = max((file.stat().st_mtime for file in self.weights.glob("*.safetensors")), default=0.0)
        return (
            summary["num_questions"] + summary["num_skipped"] == self.experiment.num_questions
            and summary["decoding"].get("max_new_tokens") == settings.max_new_tokens
            and made_with.get("prompt_path") == str(settings.prompt_path)
            and made_with.get("model_path") == str(settings.model_path)
            and (folder / "summary.json").stat().st_mtime >= newest
        )

    def command(self) -> list[str]:
        experiment = self.experiment
        flags = {
            "model_path": self.weights,
            "data_path": experiment.eval_data,
            "prompt_path": experiment.prompt_path,
            "output_dir": self.folder,
            "scale": list(self.scales),
            "limit": experiment.limit,
            **experiment.preset_flag,
            **experiment.settings.evaluation,
        }
        return evaluation_command(flags, no_image=self.no_image)

    def begin(self) -> None:
        """test_model.py makes its folders itself."""


def summary_of(evaluation: Evaluation, scale: float = 0.0) -> Summary | None:
    """What an evaluation measured at a scale; None where it is not finished."""
    if not evaluation.holds(scale):
        return None
    return Summary(**read_summary(evaluation.settings.scale_folder(scale)))


def checkpoints(folder: Path) -> dict[int, Path]:
    """The whole checkpoints of a training, by step (a half-written one has no such name yet)."""
    found = {
        int(path.name.removeprefix("checkpoint-")): path
        for path in folder.glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdecimal() and (path / STATE_FILE).is_file()
    }
    return dict(sorted(found.items()))


def last_step(folder: Path) -> int:
    """The step of a finished training's last weights."""
    return int(json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["global_step"])


def _as_text(flags: Flags) -> dict[str, str]:
    """As a command line has them, so that 8 and "8" are the same."""
    return {name: " ".join(flag_words({name: value})[1:]) for name, value in flags.items() if value is not None}
