"""--preset of test_model.py: whose evaluation a run is where no flag says otherwise (docs/faithfulness.md).

default     this project's own
paper       the paper's text: greedy, at most 1024 new tokens
released    the authors' released evaluation: pictures by qwen_vl_utils, bfloat16, the completion first in `verify`

The prompt is the same in all three: the user message alone, to which Qwen's chat template adds its own system message.
Each value is a flag, and a flag that is given wins.
"""

from collections.abc import Mapping
from typing import Any

DEFAULT = "default"
PRESETS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "paper": {"max_new_tokens": 1024, "protocol": "paper"},
    "released": {
        "picture_processing": "qwen_vl_utils",
        "max_pixels": None,
        "dtype": "bfloat16",
        "max_new_tokens": 1024,
        "protocol": "released_evaluation",
    },
}
# `Accuracy:` is by one of these; see hint_grpo.scoring.checker.
PROTOCOLS = ("paper", "released_evaluation")


def preset_line(name: str, settings: Mapping[str, Any]) -> str:
    """One line that says whose evaluation a run is; `settings` are the run's values by flag."""
    changed = [
        f"{flag} {settings[flag]} (preset: {value})" for flag, value in PRESETS[name].items() if settings[flag] != value
    ]
    return f"preset {name}" if name == DEFAULT else f"preset {name}; overridden: {', '.join(changed) or 'nothing'}"
