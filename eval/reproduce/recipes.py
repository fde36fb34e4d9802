"""Reads recipes, the settings they share, and the rows of a table. Quick to import.

eval/recipes/RUN.yaml               the flags in which one run differs (a file for `train_model.py --config`)
eval/recipes/settings/paper.yaml    the flags that all runs share, in training and in evaluation
eval/tables/ablation.yaml           rows: which run, evaluated at which scale, and the paper's number
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from eval.runs import ROOT
from hint_grpo.machine.errors import UserError

RECIPES, TABLES = ROOT / "eval" / "recipes", ROOT / "eval" / "tables"
PAPER_SETTINGS, TOY_SETTINGS = RECIPES / "settings" / "paper.yaml", RECIPES / "settings" / "toy.yaml"
BASE = "base"
"""Name of the pseudo-run that is the model without training."""
PLAIN, MAIN = "grpo", "hint_grpo_m3"
"""The runs that the figures compare: plain GRPO, and the paper's main row."""
Flags = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """The flags that all runs share.

    one_slot_each: run as many at a time as there are GPUs (or CPU cores, without a GPU), each on one of them.
    """

    training: Flags = field(default_factory=dict)
    evaluation: Flags = field(default_factory=dict)
    one_slot_each: bool = False


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of the table: the weights of `run`, evaluated at one calibration scale."""

    name: str
    label: str
    run: str
    scale: float = 0.0
    paper: float | None = None  # the paper's accuracy in %; None if no number is on record


def read_settings(path: Path) -> Settings:
    """Raises UserError for a missing file or an unknown key."""
    try:
        return Settings(**_mapping(path))
    except TypeError as error:
        raise UserError(f"{path} may have the keys training, evaluation and one_slot_each only: {error}") from error


def read_rows(path: Path) -> list[TableRow]:
    """The rows of a file in eval/tables, in order."""
    return [TableRow(name, **values) for name, values in _mapping(path).items()]


def recipe_path(run: str) -> Path:
    """A run's recipe, which has the run's name."""
    return RECIPES / f"{run}.yaml"


def shared_flags(run: str, settings: Settings, overrides: Mapping[str, Any]) -> Flags:
    """The flags to pass beside `--config RECIPE`.

    A flag wins over a config, so the settings' flags that the recipe sets too are left out; `overrides` win over both.
    """
    own = _mapping(recipe_path(run))
    return {name: value for name, value in settings.training.items() if name not in own} | dict(overrides)


def read_flags(words: Sequence[str]) -> Flags:
    """["--max_steps", "8", "--bf16", "--reward_funcs", "accuracy", "format"] as a mapping.

    A flag without a value is True, one with several a list. Raises UserError if the first word is not a flag.
    """
    flags: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            flags[name] = [value] if equals else []
        elif flags:
            flags[next(reversed(flags))].append(word)
        else:
            raise UserError(f"expected a flag of train_model.py after --, such as --max_steps 8, not {word!r}")
    return {name: values if len(values) > 1 else values[0] if values else True for name, values in flags.items()}


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a YAML mapping")
    return content
