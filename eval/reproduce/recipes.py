"""Reads recipes, the settings they share, and the rows of a table. Light to import.

eval/recipes/RUN.yaml               flags of train_model.py in which one run differs (`train_model.py --config` takes it)
eval/recipes/settings/paper.yaml    what all runs share, in training and in evaluation
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
"""The run that is none: the model as it is, without training."""
Flags = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """What all runs share. `one_slot_each`: as many at a time as there are GPUs, or CPU cores, each on one."""

    training: Flags = field(default_factory=dict)
    evaluation: Flags = field(default_factory=dict)
    one_slot_each: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: the weights of `run`, evaluated at `scale`; `paper` is the paper's accuracy in %."""

    name: str
    label: str
    run: str
    scale: float = 0.0
    paper: float | None = None


def read_settings(path: Path) -> Settings:
    try:
        return Settings(**_mapping(path))
    except TypeError as error:
        raise UserError(f"{path} holds another key than training, evaluation, one_slot_each: {error}") from error


def read_rows(path: Path) -> list[Row]:
    return [Row(name, **values) for name, values in _mapping(path).items()]


def recipe_path(run: str) -> Path:
    return RECIPES / f"{run}.yaml"


def shared_flags(run: str, settings: Settings, overrides: Mapping[str, Any]) -> Flags:
    """The flags that stand beside `--config RECIPE`: flags win over a config, so those that the recipe sets are left out."""
    own = _mapping(recipe_path(run))
    return {name: value for name, value in settings.training.items() if name not in own} | dict(overrides)


def read_flags(words: Sequence[str]) -> Flags:
    """["--max_steps", "8", "--bf16", "--reward_funcs", "accuracy", "format"] as a mapping; a flag without value is true."""
    flags: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            flags[name] = [value] if equals else []
        elif flags:
            flags[next(reversed(flags))].append(word)
        else:
            raise UserError(f"behind -- stand flags of train_model.py, such as --max_steps 8, not {word!r}")
    return {name: values if len(values) > 1 else values[0] if values else True for name, values in flags.items()}


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} is not there")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no YAML mapping")
    return content
