"""The settings of one evaluation: model, questions, scales, and the folder of the results.

The questions come from a file (`prompt_path`, with its pictures under `data_path`) or from a data set (`benchmark`, where
`data_path` is a local copy, or None for the Hub).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hint_grpo.calibration.decoder import BACKENDS, DTYPES, PICTURE_PROCESSING
from hint_grpo.evaluation.datasets.registry import adapter_of
from hint_grpo.machine.errors import UserError
from hint_grpo.plugins import is_reference
from hint_grpo.scoring.plugged import plugged_scorer

# The folder of a run without --output_dir is one per model and question file, below this one.
DEFAULT_OUTPUT = Path("output") / "eval"
# The suffix of a scale's folder in a blind run (--no_image).
BLIND = "-no_image"

# ----------------------------------------------------------------------------------------------------
# Presets (--preset): whose evaluation a run is, unless a flag overrides it (docs/faithfulness.md)
#
# default     this project's own
# paper       the paper's text: greedy, at most 1024 new tokens
# released    the authors' released evaluation: pictures by qwen_vl_utils, bfloat16, the completion first in `verify`
#
# The prompt is the same in all three: the user message alone, to which Qwen's chat template adds its own system message.
# Each value is a flag, and a flag that is given has priority.

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
# The protocols that `Accuracy:` can report; see hint_grpo.scoring.checker. A path to a scorer (--scorer) is one too.
ACCURACY_PROTOCOLS = ("paper", "released_evaluation")


def preset_line(name: str, settings: Mapping[str, Any]) -> str:
    """One line for the log: the preset, and which of its values the run overrides. `settings` are the run's values by flag."""
    changed = [
        f"{flag} {settings[flag]} (preset: {value})" for flag, value in PRESETS[name].items() if settings[flag] != value
    ]
    return f"preset {name}" if name == DEFAULT else f"preset {name}; overridden: {', '.join(changed) or 'nothing'}"


# ----------------------------------------------------------------------------------------------------
# Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """The settings of `run_evaluation`. Each is a flag of test_model.py, where it is explained (--help).

    Raises UserError for a value that cannot work.
    """

    model_path: Path
    data_path: Path | None = None
    prompt_path: Path | None = None
    benchmark: str | None = None
    scales: tuple[float, ...] = (0.0,)
    output_dir: Path | None = None
    backend: str = "auto"
    batch_size: int | None = None
    gpu_ids: tuple[int, ...] | None = None
    num_processes: int | None = None
    max_new_tokens: int = 1024
    max_pixels: int | None = None
    picture_processing: str = "processor"
    dtype: str = "auto"
    gpu_memory_utilization: float = 0.9
    limit: int | None = None
    no_image: bool = False
    preset: str = DEFAULT
    protocol: str = ACCURACY_PROTOCOLS[0]
    skip_bad: bool = False

    def __post_init__(self) -> None:
        # Questions
        if (self.prompt_path is None) == (self.benchmark is None):
            raise UserError("give either --prompt_path (a question file) or --benchmark (its name), not both")
        if self.benchmark is not None:
            adapter_of(self.benchmark)
        elif self.data_path is None:
            raise UserError("--data_path is missing: the folder of the question file's pictures")
        # Scales
        if not self.scales:
            raise UserError("--scale needs at least one value, such as 0.0 or 0.8")
        for scale in self.scales:
            if not (math.isfinite(scale) and scale >= 0):
                raise UserError(f"--scale {scale} is not a calibration scale: give 0 or more (the paper's best is 0.8)")
        if self.no_image and any(self.scales):
            raise UserError(
                "--no_image leaves nothing to calibrate: the picture is missing in both branches; use --scale 0.0"
            )
        # Numbers, choices, GPUs
        _check_positive("batch_size", self.batch_size)
        _check_positive("max_new_tokens", self.max_new_tokens)
        _check_positive("max_pixels", self.max_pixels)
        _check_positive("limit", self.limit)
        _check_positive("num_processes", self.num_processes)
        _check_choice("backend", self.backend, BACKENDS)
        _check_choice("dtype", self.dtype, DTYPES)
        _check_choice("preset", self.preset, tuple(PRESETS))
        if is_reference(self.protocol):
            plugged_scorer(self.protocol)
        else:
            _check_choice("protocol", self.protocol, ACCURACY_PROTOCOLS)
        _check_choice("picture_processing", self.picture_processing, PICTURE_PROCESSING)
        ids = self.gpu_ids or ()
        if len(set(ids)) < len(ids) or any(gpu < 0 for gpu in ids):
            raise UserError(f"--gpu_ids {','.join(map(str, ids))}: name each GPU once, as 0,1,2")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise UserError(f"--gpu_memory_utilization {self.gpu_memory_utilization}: give a share above 0, at most 1")

    @property
    def output(self) -> Path:
        """The run's folder: `output_dir`, or output/eval/MODEL/QUESTION_FILE (or .../BENCHMARK)."""
        return self.output_dir or default_output(self.model_path, self.prompt_path, self.benchmark)

    @property
    def questions_name(self) -> str:
        """The name of the questions in messages."""
        return f"--benchmark {self.benchmark}" if self.benchmark else str(self.prompt_path)

    @property
    def pictures(self) -> Path:
        """The folder for the pictures of a --benchmark data set, which are written as files."""
        return self.output / "images"

    @property
    def distinct_scales(self) -> tuple[float, ...]:
        """The scales without duplicates, each at its last position; -0.0 becomes 0.0."""
        return tuple(reversed(dict.fromkeys(scale + 0.0 for scale in reversed(self.scales))))

    def scale_folder(self, scale: float) -> Path:
        """OUTPUT_DIR/scale-0.8; for a blind run OUTPUT_DIR/scale-0.0-no_image."""
        return self.output / scale_name(scale, no_image=self.no_image)


# ----------------------------------------------------------------------------------------------------
# Folders and checks


def scale_name(scale: float, *, no_image: bool) -> str:
    """The name of a scale's folder: scale-0.8, or scale-0.0-no_image for a blind run."""
    return f"scale-{float(scale)!r}{BLIND if no_image else ''}"


def default_output(model_path: Path, prompt_path: Path | None, benchmark: str | None) -> Path:
    """The output folder of a run without --output_dir: output/eval/MODEL/QUESTION_FILE (or .../BENCHMARK)."""
    questions = adapter_of(benchmark).name if benchmark else prompt_path.stem if prompt_path else ""
    return DEFAULT_OUTPUT / model_path.resolve().name / questions


def _check_positive(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise UserError(f"--{name} {value}: give a whole number of 1 or more")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"--{name} {value} is not known: choose one of {', '.join(choices)}")


def check_processes(gpu_ids: Sequence[int] | None, num_processes: int | None, num_gpus: int) -> None:
    """UserError for GPUs that do not exist, and for `num_processes` on a machine with GPUs."""
    if num_gpus == 0 and gpu_ids:
        names = ",".join(map(str, gpu_ids))
        raise UserError(f"--gpu_ids {names}: no GPU can be used here; leave it out (--num_processes N: CPU processes)")
    if num_gpus and num_processes is not None:
        raise UserError("--num_processes is for machines without a GPU: here there is one process per GPU (--gpu_ids)")
    for gpu in gpu_ids or ():
        if gpu >= num_gpus:
            raise UserError(f"--gpu_ids names GPU {gpu}, but {num_gpus} are visible: 0 to {num_gpus - 1}")
