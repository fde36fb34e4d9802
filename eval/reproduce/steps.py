"""The steps of a reproduction: a training, an evaluation. Each has a command, and its files show whether it is finished.

OUTPUT_DIR/training/RUN/           train_model.py's output; reproduce.json: the flags it is trained with
OUTPUT_DIR/evaluation/RUN/final/   test_model.py's output for the run's last weights (of `base`: for the model itself)
OUTPUT_DIR/evaluation/RUN/checkpoint-500/
OUTPUT_DIR/logs/                   output of every command
OUTPUT_DIR/preset_NAME/...         the same for each --preset other than the default
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from eval.reproduce.recipes import BASE, Flags, Settings, recipe_path, shared_flags
from eval.runs import ROOT, evaluation_command, flag_words, training_command
from hint_grpo.evaluation.results import Summary, read_summary
from hint_grpo.evaluation.settings import BLIND, EvaluationSettings
from hint_grpo.machine.errors import UserError
from hint_grpo.machine.files import replace_file
from hint_grpo.training.checkpoints import STATE_FILE, checkpoints_in, step_of
from hint_grpo.training.presets import DEFAULT

FLAGS_FILE = "reproduce.json"  # the flags that a run is trained with, to notice a change
State = Literal["finished", "interrupted", "missing"]


# ----------------------------------------------------------------------------------------------------
# Experiment and steps


class Step(Protocol):
    """A command to run, unless its files show that it is finished."""

    @property
    def name(self) -> str: ...
    def state(self) -> State: ...
    def command(self) -> list[str]: ...
    def prepare(self) -> None: ...


@dataclass(frozen=True)
class Experiment:
    """The inputs, settings and output folder of a whole reproduction.

    Paths are absolute, because commands run in the project's root. overrides: flags of train_model.py that win over
    settings and recipes. num_processes: training processes. limit: only so many questions (None: all).
    """

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
        """--preset for both entry points; left out for the default, so that runs from before there were presets still match."""
        return {} if self.preset == DEFAULT else {"preset": self.preset}

    @cached_property
    def num_questions(self) -> int:
        """Questions per evaluation; 0 if the file does not exist yet."""
        if not self.prompt_path.is_file():
            return 0
        with self.prompt_path.open(encoding="utf-8") as file:
            return len([line for line in file if line.strip()][: self.limit])

    def training_folder(self, run: str) -> Path:
        """--output_dir of a run's training."""
        return self.output_dir / "training" / run

    def weights(self, run: str) -> Path:
        """Folder of a run's last weights."""
        return self.model_path if run == BASE else self.training_folder(run)

    def log(self, name: str) -> Path:
        return self.output_dir / "logs" / f"{name}.txt"


@dataclass(frozen=True)
class Training:
    """train_model.py with one recipe. The same command starts a run and resumes one."""

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
        """All flags beside the recipe that affect the result."""
        experiment = self.experiment
        paths = {"model_name_or_path": experiment.model_path, "data_path": experiment.data_path}
        return paths | experiment.preset_flag | shared_flags(self.run, experiment.settings, experiment.overrides)

    def state(self) -> State:
        # The last file that train_model.py writes to its output folder, after the weights.
        if (self.folder / STATE_FILE).is_file() and any(self.folder.glob("*.safetensors")):
            return "finished"
        return "interrupted" if checkpoints(self.folder) else "missing"

    def command(self) -> list[str]:
        flags = {**self.flags, "resume_from_checkpoint": True, "output_dir": self.folder}
        recipe = recipe_path(self.run).relative_to(ROOT)
        # With several GPUs even a single process needs torchrun: it leaves the other GPUs to the vLLM server. A run on one
        # GPU or core starts faster without torchrun.
        return training_command(
            flags,
            recipe=recipe,
            num_processes=self.experiment.num_processes,
            torchrun=not self.experiment.settings.one_slot_each,
        )

    def check_settings(self) -> None:
        """Raises UserError if the folder has a run with other flags, because a table must not mix the two."""
        path = self.folder / FLAGS_FILE
        if self.state() == "missing" or not path.is_file():
            return
        there, here = json.loads(path.read_text(encoding="utf-8")), _as_text(self.flags)
        changed = sorted(name for name in there | here if there.get(name) != here.get(name))
        if changed:
            differences = ", ".join(f"{name} {there.get(name)} there, {here.get(name)} now" for name in changed)
            raise UserError(
                f"{self.folder} has a run with other settings ({differences}); use another --output_dir or the same "
                "settings, or remove that folder"
            )

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / FLAGS_FILE, json.dumps(_as_text(self.flags), indent=1) + "\n")


@dataclass(frozen=True)
class Evaluation:
    """test_model.py on one set of weights, at some scales, with or without the picture. Stored answers are reused."""

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
        if all(self.is_current(scale) for scale in self.scales):
            return "finished"
        started = any(self.settings.scale_folder(scale).is_dir() for scale in self.scales)
        return "interrupted" if started else "missing"

    def is_current(self, scale: float) -> bool:
        """Whether there is a summary of these questions, decoded with these settings and not older than the weights.

        False if in doubt: test_model.py then checks more closely, and decodes again only what has changed.
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

    def prepare(self) -> None:
        """Nothing to do: test_model.py creates its folders itself."""


def _as_text(flags: Flags) -> dict[str, str]:
    """Values as on a command line, so that 8 and "8" are equal."""
    return {name: " ".join(flag_words({name: value})[1:]) for name, value in flags.items() if value is not None}


# ----------------------------------------------------------------------------------------------------
# Checkpoints and results on disk


def checkpoints(folder: Path) -> dict[int, Path]:
    """The complete checkpoints of a training, by step."""
    return {step_of(path): path for path in checkpoints_in(folder)}


def last_step(folder: Path) -> int:
    """The step of a finished training's last weights."""
    return int(json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["global_step"])


def summary_of(evaluation: Evaluation, scale: float = 0.0) -> Summary | None:
    """The result of an evaluation at a scale; None if it is not finished."""
    if not evaluation.is_current(scale):
        return None
    return Summary(**read_summary(evaluation.settings.scale_folder(scale)))


def final_evaluation(run: str, experiment: Experiment, scales: tuple[float, ...] = (0.0,)) -> Evaluation:
    """The evaluation of a run's last weights."""
    return Evaluation(experiment, run, experiment.weights(run), scales=scales)


def evaluations_both_ways(run: str, experiment: Experiment) -> Iterator[tuple[int, Evaluation, Evaluation]]:
    """Yields (step, with the picture, without it) for every checkpoint and for the last weights.

    If the last checkpoint has the same step as the last weights, only the last weights are evaluated.
    """
    weights = {0: experiment.weights(BASE)} if run == BASE else checkpoints(experiment.training_folder(run))
    if run != BASE and Training(experiment, run).state() == "finished":
        weights[last_step(experiment.training_folder(run))] = experiment.training_folder(run)
    for step, folder in weights.items():
        label = "final" if folder == experiment.weights(run) else folder.name
        yield (
            step,
            Evaluation(experiment, run, folder, label),
            Evaluation(experiment, run, folder, label, no_image=True),
        )
