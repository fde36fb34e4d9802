"""A training run's folder as dataclasses: its settings, and one series of values per metric.

Reads what train_model.py writes (docs/outputs.md): hint_ledger.jsonl, log.jsonl, train_config.yaml, trainer_state.json and the
model card. Only the ledger is required; everything else may be missing, as in the folder of an older or a killed run.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hint_grpo.evaluation.results import read_lines
from hint_grpo.machine.errors import UserError
from hint_grpo.training import ledger, presets

STAGES = ("generate", "score", "sync", "policy", "reference", "update")
LOGP_GAP = "sampling/sampling_logp_difference/mean"
LAST_STEPS = 10
# The quantile of Student's t distribution that gives a 95 % interval, by degrees of freedom 1, 2, ...
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Series:
    """A metric over steps; both sequences have the same length, values may be NaN."""

    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Estimate:
    """The mean of a metric over the last `num_steps` steps, and half the width of its 95 % interval (NaN for one step).

    The interval treats steps as independent samples: it describes the noise from step to step, not that between seeds.
    """

    mean: float
    half_width: float
    num_steps: int


@dataclass(frozen=True)
class Run:
    """A run as far as its files go."""

    folder: Path
    series: Mapping[str, Series]
    """By metric: the keys of `ledger.metrics` and of log.jsonl."""
    prompts_per_step: int
    num_prompts: int
    flags: Mapping[str, Any]
    """train_config.yaml; empty without the file."""
    preset_line: str
    machine: str
    card: Mapping[str, str]
    """The two-column tables of the model card, by first column, and its versions; empty without the file."""
    duration_s: float | None
    """Of the training loop, as trl's last log line gives it: since the last start, if the run was resumed."""
    max_steps: int | None
    is_finished: bool

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def last_step(self) -> int:
        return self.series["hint/data_utilization"].steps[-1]


def read_run(folder: Path) -> Run:
    """Raises UserError if the folder does not exist or has no hint ledger with a record."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the --output_dir of a training run")
    records = list(read_lines(folder / ledger.FILE_NAME))
    if not records:
        raise UserError(
            f"{folder / ledger.FILE_NAME} is missing or empty: give the --output_dir of a training run that has finished a step"
        )
    by_step: dict[int, list[ledger.Record]] = defaultdict(list)
    for record in records:
        by_step[record["step"]].append(record)
    log = list(read_lines(folder / ledger.LOG_NAME))
    state = _json(folder / "trainer_state.json")
    runtimes = [entry["train_runtime"] for entry in log if "train_runtime" in entry]
    config = _text(folder / presets.FILE_NAME)
    return Run(
        folder=folder,
        series=_log_series(log) | _ledger_series(by_step),
        prompts_per_step=max(map(len, by_step.values())),
        num_prompts=len(records),
        flags=_flags(config),
        preset_line=_comment(config, "preset "),
        machine=_comment(config, presets.MACHINE).removeprefix(presets.MACHINE),
        card=_model_card(_text(folder / "README.md")),
        duration_s=runtimes[-1] if runtimes else None,
        max_steps=state.get("max_steps"),
        is_finished=bool(state),
    )


def estimate(series: Series | None, num_steps: int = LAST_STEPS) -> Estimate | None:
    """The final value of a metric; None if it was never measured."""
    known = [value for value in series.values if math.isfinite(value)][-num_steps:] if series else []
    if not known:
        return None
    n, mean = len(known), math.fsum(known) / len(known)
    if n == 1:
        return Estimate(mean, math.nan, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1))
    return Estimate(mean, T_QUANTILES[min(n - 1, len(T_QUANTILES)) - 1] * deviation / math.sqrt(n), n)


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the folders' paths that differ: ["a/seed-1", "b/seed-1"]; numbered if a folder is given twice."""
    parts = [folder.resolve().parts for folder in folders]
    longest = max(map(len, parts))
    names = next(
        (names for n in range(1, longest + 1) if len(set(names := ["/".join(p[-n:]) for p in parts])) == len(parts)),
        None,
    )
    return names or [f"{path[-1]} ({number})" for number, path in enumerate(parts, start=1)]


# ----------------------------------------------------------------------------------------------------
# Metrics over steps


def _ledger_series(by_step: Mapping[int, Sequence[ledger.Record]]) -> dict[str, Series]:
    """The ledger's metrics, recomputed from its records, one value per step."""
    num_levels = 1 + max(
        int(level) for records in by_step.values() for record in records for level in record["rewards"]
    )
    steps = sorted(by_step)
    rows = [ledger.metrics(by_step[step], num_levels) for step in steps]
    return {key: Series(steps, [row[key] for row in rows]) for key in rows[0]}


def _log_series(log: Iterable[Mapping[str, Any]]) -> dict[str, Series]:
    """Every number that was logged for a step, and `time/total`, the sum of the stages that run one after the other."""
    points: dict[str, dict[int, float]] = defaultdict(dict)
    for entry in log:
        times = [entry[f"time/{stage}"] for stage in STAGES if stage != "score" and f"time/{stage}" in entry]
        values = {**entry, "time/total": sum(times)} if times else entry
        for key, value in values.items():
            if key != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                points[key][entry["step"]] = value
    return {key: Series(list(by_step), list(by_step.values())) for key, by_step in points.items()}


# ----------------------------------------------------------------------------------------------------
# Files


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(_text(path) or "{}")
    except json.JSONDecodeError:
        return {}


def _comment(config: str, start: str) -> str:
    """The first comment of a YAML file that begins with `start`, or ""."""
    return next((line[2:] for line in config.splitlines() if line.startswith(f"# {start}")), "")


def _flags(config: str) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(config)
    except yaml.YAMLError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _model_card(text: str) -> dict[str, str]:
    """{"base model": "...", "seed": "42", ..., "versions": "torch ..."} from the model card's tables and its last sections."""
    rows = re.findall(r"^\| *`?(?:--)?([^|`]+?)`? *\| *([^|]+?) *\|$", text, flags=re.MULTILINE)
    card = {name: value for name, value in rows if not set(name) <= set("- ")}
    if versions := re.search(r"^## Versions\s+(\S.*)$", text, flags=re.MULTILINE):
        card["versions"] = versions[1]
    return card
