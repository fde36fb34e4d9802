"""`train_config.yaml` in a run's output folder: the flags it ran with, in a form that `--config` reads back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hint_grpo.declared_flags import Flag
from hint_grpo.presets import preset_line

FILE_NAME = "train_config.yaml"
SECRETS = frozenset({"hub_token"})


def config_text(values: Mapping[str, Any], flags: Mapping[str, Flag], preset: str, overrides: Mapping[str, Any]) -> str:
    """YAML of `values` (by flag): first those that differ from the defaults, then this project's own flags at their defaults.

    Flags of transformers and TRL at their defaults are left out, and so are secrets.
    """
    written = {name: value for name, value in values.items() if name in flags and name not in SECRETS}
    changed = {name: value for name, value in written.items() if value != flags[name].default}
    own = {
        name: value for name, value in written.items() if name not in changed and flags[name].own and value is not None
    }
    return (
        f"# The flags of this run: train_model.py --config {FILE_NAME} runs it again.\n"
        f"# {preset_line(preset, overrides)}\n\n"
        f"# Set by the user or by the preset.\n{_yaml(changed)}\n"
        f"# This project's other flags, at their defaults.\n{_yaml(own)}"
    )


def _yaml(values: Mapping[str, Any]) -> str:
    # By name: the order of flags on a command line means nothing.
    return yaml.safe_dump(dict(values), sort_keys=True, allow_unicode=True, width=120) if values else ""


def write_config(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).write_text(text, encoding="utf-8")
