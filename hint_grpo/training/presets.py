"""--preset: the settings of a run for the flags that are not given; and `train_config.yaml`, the record of all its flags.

default     this project's settings
paper       the paper's text
released    the authors' released code and its published command

A preset is a set of flag values. A flag that is given, on the command line or in a --config file, wins over it. Each difference
has a row in docs/faithfulness.md.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hint_grpo.machine.errors import UserError
from hint_grpo.training.flags import Flag

DEFAULT = "default"
LLAVA_COT = "LLaVA-CoT-100k"
# Neither the paper nor the released code skips a level because its hint equals that of the level below, or weights the loss by
# the ratio of the policy's to vLLM's probability.
_PAPER_AND_RELEASED = {"equal_hints": "sample", "vllm_importance_sampling_correction": False}
PRESETS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "paper": {"num_groups": 3, "learning_rate": 5e-5, **_PAPER_AND_RELEASED},
    "released": {
        "steps_file": "llavacot_geometry.jsonl",
        "data_rules": "released",
        "step_rules": "released",
        "scorer": "released",
        "level_rule": "summed_rewards",
        "num_groups": 2,
        "hint_counts": "float",
        "learning_rate": 1e-6,
        "picture_processing": "qwen_vl_utils",
        **_PAPER_AND_RELEASED,
    },
}


def preset_values(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that the preset `name` sets, without those that are `given`. Raises UserError for an unknown name."""
    if name not in PRESETS:
        raise UserError(f"unknown --preset {name}: use one of {', '.join(PRESETS)}")
    values = {flag: value for flag, value in PRESETS[name].items() if flag not in given}
    if given.get("dataset_name", LLAVA_COT) != LLAVA_COT:
        values.pop("steps_file", None)  # the authors' file belongs to LLaVA-CoT-100k
    return values


def overridden(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The `given` flags whose value differs from the preset's, and, as None, those of the preset that are not used."""
    preset = PRESETS[name]
    changed = {flag: given[flag] for flag in preset if flag in given and _text(given[flag]) != _text(preset[flag])}
    unused = preset.keys() - given.keys() - preset_values(name, given).keys()
    return changed | dict.fromkeys(sorted(unused))


def preset_line(name: str, changed: Mapping[str, Any]) -> str:
    """The line that describes a run's settings; `changed` is from `overridden`."""
    if name == DEFAULT:
        return "preset default: this project's own settings (others: --preset paper, --preset released)"
    differences = [f"{flag} {_text(value)} (preset: {_text(PRESETS[name][flag])})" for flag, value in changed.items()]
    return f"preset {name}; overridden: {', '.join(differences) or 'nothing'}"


def _text(value: Any) -> str:
    """One spelling for equal values: 5e-5, "5e-05" and "0.00005" are all "5e-05"."""
    if value is None:
        return "not used"
    try:
        return f"{float(value):g}" if not isinstance(value, bool) else str(value).lower()
    except (TypeError, ValueError):
        return value.lower() if str(value).lower() in ("true", "false") else str(value)


# ----------------------------------------------------------------------------------------------------
# train_config.yaml in a run's output folder: all its flags, in a form that --config reads back

FILE_NAME = "train_config.yaml"
MACHINE = "machine: "
"""What begins the comment that names the machine."""
SECRETS = frozenset({"hub_token"})


def config_text(
    values: Mapping[str, Any], flags: Mapping[str, Flag], preset: str, overrides: Mapping[str, Any], machine: str
) -> str:
    """The text of train_config.yaml: the `values` that differ from the defaults, then this project's flags at their defaults.

    Flags of transformers and TRL at their defaults are left out, and so are secrets. `preset`, `overrides` and `machine` become
    comments.
    """
    written = {name: value for name, value in values.items() if name in flags and name not in SECRETS}
    changed = {name: value for name, value in written.items() if value != flags[name].default}
    own = {
        name: value for name, value in written.items() if name not in changed and flags[name].own and value is not None
    }
    return (
        f"# The flags of this run: train_model.py --config {FILE_NAME} runs it again.\n"
        f"# {preset_line(preset, overrides)}\n"
        f"# {MACHINE}{machine}\n\n"
        f"# Set by the user or by the preset.\n{_yaml(changed)}\n"
        f"# This project's other flags, at their defaults.\n{_yaml(own)}"
    )


def _yaml(values: Mapping[str, Any]) -> str:
    # Sorted by name, because the order of flags on a command line has no meaning.
    return yaml.safe_dump(dict(values), sort_keys=True, allow_unicode=True, width=120) if values else ""


def write_config(folder: Path, text: str) -> None:
    """Writes train_config.yaml into `folder`, which is created if necessary."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).write_text(text, encoding="utf-8")
