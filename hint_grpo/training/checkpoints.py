"""The files of a checkpoint: written atomically, and resumed only by the run that they belong to.

transformers writes weights, optimizer, scheduler, random states and counters. Added here, in the checkpoint's folder:

hint_grpo.json                   the run's identity, and how many batches each process has used
rollouts-rank-0.safetensors      completions that were sampled but not trained on yet, if there are any
rollouts-ahead-rank-0.json       the next step's completions (--rollouts_ahead, `hint_grpo.training.ahead`)

`hint_grpo.training.resumable` calls these functions.
"""

import hashlib
import json
import math
import os
import shutil
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hint_grpo.machine.errors import UserError
from hint_grpo.machine.files import first_free
from hint_grpo.training.flag_checks import policy_arguments

if TYPE_CHECKING:
    from datasets import Dataset

PREFIX = (
    "checkpoint"  # transformers' name (PREFIX_CHECKPOINT_DIR), written here so that listing checkpoints stays light
)
IDENTITY_FILE = "hint_grpo.json"
STATE_FILE = "trainer_state.json"
UNFINISHED = ".unfinished"
"""Folder in OUTPUT_DIR in which a checkpoint is written before it gets its name."""
ONLY_FOR_RESUMING = (
    "*.pt",
    "*.pth",
    "latest",
    "zero_to_*.py",
    IDENTITY_FILE,
    "rollouts-rank-*.safetensors",
    "rollouts-ahead-rank-*.json",
)
IDENTIFYING_COLUMNS = ("id", "question", "solution", "reasoning_steps")


def data_fingerprint(dataset: "Dataset") -> str:
    """A digest of all samples' texts in order; where the pictures are stored does not matter."""
    digest = hashlib.blake2b(digest_size=16)
    columns = dataset.select_columns([name for name in IDENTIFYING_COLUMNS if name in dataset.column_names])
    for table in columns.with_format("arrow").iter(1000):
        for batch in table.combine_chunks().to_batches():
            digest.update(batch.serialize())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Everything that decides which prompts a step sees, and with which hints. A resumed run must agree in all of it."""

    data: str
    num_samples: int
    num_processes: int
    prompts_per_device: int
    num_generations: int
    gradient_accumulation_steps: int
    steps_per_generation: int
    num_iterations: int
    seed: int
    hint_policy: str
    num_groups: int
    hint_ratio: float | None
    hint_injection: str
    level_rule: str = "accuracy"
    equal_hints: str = "skip"
    hint_counts: str = "exact"
    accuracy_threshold: float = 1.0
    hint_policy_args: str = "{}"
    keep_sampling: int = 0

    @classmethod
    def of(cls, dataset: "Dataset", args: Any) -> "RunIdentity":
        return cls(
            data=data_fingerprint(dataset),
            num_samples=len(dataset),
            num_processes=args.world_size,
            prompts_per_device=args.prompts_per_device,
            num_generations=args.num_generations,
            gradient_accumulation_steps=args.gradient_accumulation_steps,
            steps_per_generation=args.steps_per_generation,
            num_iterations=args.num_iterations,
            seed=args.seed,
            hint_policy=args.hint_policy,
            num_groups=args.num_groups,
            hint_ratio=args.hint_ratio,
            hint_injection=args.hint_injection,
            level_rule=args.level_rule,
            equal_hints=args.equal_hints,
            hint_counts=args.hint_counts,
            accuracy_threshold=args.accuracy_threshold,
            hint_policy_args=json.dumps(dict(policy_arguments(vars(args))), sort_keys=True),
            keep_sampling=args.keep_sampling,
        )

    def differences(self, written: dict[str, Any]) -> list[str]:
        """What differs from a checkpoint's identity, one text per field."""
        # A checkpoint from before a field was added was written by a run with that field's default.
        there = {field.name: field.default for field in fields(self) if field.default is not MISSING} | written
        return [
            f"{field.name} {there.get(field.name)} there, {getattr(self, field.name)} here"
            for field in fields(self)
            if there.get(field.name) != getattr(self, field.name)
        ]


def write_identity(folder: Path, identity: RunIdentity, counters: dict[str, Any]) -> None:
    """`counters`: of the run so far, those that transformers does not store."""
    text = json.dumps(asdict(identity) | counters, indent=2)
    (folder / IDENTITY_FILE).write_text(text + "\n", encoding="utf-8")


def read_identity(folder: Path) -> dict[str, Any]:
    file = folder / IDENTITY_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def checkpoints_in(output_dir: Path) -> list[Path]:
    """The complete checkpoints of a run, by step (an incomplete one has another name until it is complete)."""
    folders = output_dir.glob(f"{PREFIX}-*")
    complete = (
        folder for folder in folders if folder.name.split("-")[-1].isdigit() and (folder / STATE_FILE).is_file()
    )
    return sorted(complete, key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[-1])


def put_aside(output_dir: Path, step: int) -> Path | None:
    """Moves checkpoints of later steps than `step`, at which a run begins, to a folder `earlier-N`, which is returned. They
    belong to another run and would be mistaken for this one's latest."""
    others = [folder for folder in checkpoints_in(output_dir) if step_of(folder) > step]
    if not others:
        return None
    aside = first_free(lambda number: output_dir / f"earlier-{number}")
    aside.mkdir()
    for folder in others:
        os.rename(folder, aside / folder.name)
    return aside


def checkpoint_to_resume(wanted: str | bool | None, output_dir: Path) -> Path | None:
    """`--resume_from_checkpoint`: a folder, or true for the last one in OUTPUT_DIR (None where there is none yet)."""
    word = str(wanted).lower()  # true in a YAML file is not a string
    if word in ("false", "no", "none"):
        return None
    if word in ("true", "yes", "latest"):
        return max(checkpoints_in(output_dir), key=step_of, default=None)
    folder = Path(str(wanted))
    if not (folder / STATE_FILE).is_file():
        raise UserError(
            f"--resume_from_checkpoint {wanted} is not a checkpoint (no {STATE_FILE}); true resumes from the last one"
        )
    return folder


def has_optimizer(folder: Path) -> bool:
    return (folder / "optimizer.pt").exists() or any(folder.glob("global_step*"))


def check_resumable(folder: Path, identity: RunIdentity, *, anyway: bool, deepspeed: bool) -> None:
    """Raises UserError if the resumed run would not be the interrupted one; `anyway` allows it (except without optimizer state
    under DeepSpeed, which cannot load such a checkpoint)."""
    if not has_optimizer(folder) and (deepspeed or not anyway):
        way_out = "" if deepspeed else "--resume_anyway true continues with a new optimizer, or "
        raise UserError(
            f"{folder} has weights but no optimizer state (--save_only_model true): resumed, it would silently continue with a "
            f"new optimizer; {way_out}start a run from its weights with --model_name_or_path {folder}"
        )
    different = identity.differences(read_identity(folder))
    if different and not anyway:
        raise UserError(
            f"{folder} belongs to a run that saw other prompts ({'; '.join(different)}): use the same data and settings, "
            "or add --resume_anyway true"
        )


def is_last(folder: Path, args: Any) -> bool:
    """Whether this checkpoint is a run's last: resumed from it, transformers' Trainer would train one step too many."""
    state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    same_epochs = state["num_train_epochs"] == math.ceil(args.num_train_epochs)
    planned = args.max_steps if args.max_steps > 0 else state["max_steps"] if same_epochs else math.inf
    return state["global_step"] >= planned


def copy_model(folder: Path, output_dir: Path) -> None:
    """Copies model, processor and the run's history out of a checkpoint, without the files that only a resume needs."""
    for file in sorted(folder.iterdir(), key=lambda file: file.name == STATE_FILE):  # last, as at a run's own end
        if file.is_file() and not any(file.match(pattern) for pattern in ONLY_FOR_RESUMING):
            shutil.copyfile(file, output_dir / file.name)


def save_rollouts(folder: Path, rank: int, batches: list[dict[str, Any]]) -> None:
    """Saves TRL's buffer of sampled batches: tensors, and lists of numbers as JSON in the metadata."""
    tensors, others = {}, {}
    for place, batch in enumerate(batches):
        for name, value in batch.items():
            if hasattr(value, "detach"):
                tensors[f"{place}.{name}"] = value.detach().cpu().contiguous().clone()
            elif value is not None:
                others[f"{place}.{name}"] = json.dumps(value)
    others["num_batches"] = str(len(batches))
    from safetensors.torch import save_file

    save_file(tensors, _rollouts_file(folder, rank), metadata=others)


def load_rollouts(folder: Path, rank: int, device: Any) -> list[dict[str, Any]] | None:
    """What `save_rollouts` wrote; None if no batch was waiting."""
    file = _rollouts_file(folder, rank)
    if not file.exists():
        return None
    from safetensors import safe_open

    with safe_open(file, "pt", device=str(device)) as stored:
        metadata = stored.metadata()
        batches: list[dict[str, Any]] = [{} for _ in range(int(metadata.pop("num_batches")))]
        values = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118  # no mapping
    for key, value in (values | {key: json.loads(text) for key, text in metadata.items()}).items():
        place, _, name = key.partition(".")
        batches[int(place)][name] = value
    return batches


def _rollouts_file(folder: Path, rank: int) -> Path:
    return folder / f"rollouts-rank-{rank}.safetensors"


def publish(unfinished: Path, output_dir: Path) -> None:
    """Renames a finished checkpoint to its final name, atomically, when all of it has reached the disk."""
    for file in unfinished.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
    final, old = output_dir / unfinished.name, unfinished.parent / "old"
    if final.exists():
        # The same step was saved before. Moved first, so that a kill during deletion leaves no half checkpoint.
        os.rename(final, old)
    os.rename(unfinished, final)
    shutil.rmtree(unfinished.parent)


def unfinished_folder(output_dir: Path) -> Path:
    return output_dir / UNFINISHED


def checkpoint_name(step: int) -> str:
    return f"{PREFIX}-{step}"
