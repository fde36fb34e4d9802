"""The protocol: which models are trained how, and what is measured, fixed before the reported seeds are run (docs/evidence.md).

Everything is a value here; `jobs` turns it into commands. Runs are named by their settings, so that experiments share runs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal

from hint_grpo.toy.tasks import VALIDITY

FAMILY: Literal["Qwen2.5-VL"] = "Qwen2.5-VL"

# Training: 40 steps of 4 prompts x 4 completions, the paper's KL coefficient, a learning rate for a model of this size.
NUM_TRAIN_TASKS = 400
NUM_STEPS, HALFWAY = 40, 20
TRAINING: dict[str, Any] = {
    "dataset_name": "train.jsonl",
    "max_prompt_length": 1024,
    "max_completion_length": 120,  # the longest correct reasoning has 100 tokens
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "max_steps": NUM_STEPS,
    "learning_rate": 1e-4,
    "beta": 0.04,
    "use_vllm": False,  # for 40 steps of this size transformers is faster: vLLM needs longer to start
    "gradient_checkpointing": False,
    "log_completions": False,
    "report": False,  # no page per run: the tables are the report
}

# Methods are recipes of eval/recipes, as the paper's table uses them.
HINTS, PLAIN = "hint_grpo_m3", "grpo"
ABLATIONS = ("hint_grpo_m2", "hint_grpo_m4", "query_injection", "fixed_0.25", "fixed_0.5", "fixed_0.75", "random_alpha")
LABELS = {
    HINTS: "Hint-GRPO, M = 3",
    PLAIN: "plain GRPO",
    "hint_grpo_m2": "Hint-GRPO, M = 2",
    "hint_grpo_m4": "Hint-GRPO, M = 4",
    "query_injection": "M = 3, query injection",
    "fixed_0.25": "fixed ratio 0.25",
    "fixed_0.5": "fixed ratio 0.5",
    "fixed_0.75": "fixed ratio 0.75",
    "random_alpha": "random ratio",
}

# Base models: the share of discs passed over in long chains. A model that passes over a share g solves about (1 - g)^6 of them.
GLANCE = 0.8
GLANCES = (0.8, 0.68, 0.54, 0.39, 0.23, 0.14)
"""Base models right in about 0, 0.1, 1, 5, 20 and 40 % of the completions."""

# Questions with a cue, by how often it holds.
CUES = tuple(VALIDITY)
EMPTY_CUE = CUES[-1]

# Measurements of a model (hint_grpo.toy.measure): prompts of each set; four samples of each where sampled.
NUM_MEASURED = 200
IN_BOTH_PROMPTS = ("level_0", "greedy_training", "greedy_evaluation")
WITH_AND_WITHOUT_PICTURE = ("sampled_evaluation", "sampled_no_picture", "greedy_evaluation")
MEASURED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "long": (("long",), IN_BOTH_PROMPTS),
    "short": (("short",), IN_BOTH_PROMPTS),
    "chains": (("short", "long"), IN_BOTH_PROMPTS),
    "cue": (("cue", EMPTY_CUE), WITH_AND_WITHOUT_PICTURE),
    "no cue": (("no cue",), WITH_AND_WITHOUT_PICTURE),
}
"""By the tasks that a run is trained on: the sets that its model is measured on, and the measures."""

# Evaluations by test_model.py.
SCALES = (0.0, 0.4, 0.8, 1.2, 1.6, 2.4, 4.0)
NUM_QUESTIONS = 800  # of every set

NUM_ABLATION_SEEDS = 3
EXPERIMENTS = {
    "a": "Hint-GRPO against plain GRPO where the base model fails",
    "b": "the same on a mixture of questions that the base model solves and fails",
    "c": "the gain by the base model's success rate",
    "d": "the paper's ablations",
    "e": "text bias",
}


def in_file_name(tasks: str) -> str:
    """The name of a set of tasks as a part of file names."""
    return tasks.replace(" ", "_")


@dataclass(frozen=True, slots=True)
class Base:
    """A base model: warmed up from a seed, then made careless."""

    warmup_seed: int
    glance: float = GLANCE

    @property
    def name(self) -> str:
        return f"base-{self.warmup_seed}-{self.glance:g}"


@dataclass(frozen=True, slots=True)
class Run:
    """One training run. `tasks`: a name in TASK_SETS. `method`: a recipe."""

    base: Base
    tasks: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.base.name}-{in_file_name(self.tasks)}-{self.method}-{self.seed}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """A model's rates on the tasks that it was trained on, or would be."""

    model: Base | Run
    tasks: str
    halfway: bool = False  # the checkpoint at step HALFWAY instead of the last weights

    @property
    def name(self) -> str:
        return f"{self.model.name}-on-{in_file_name(self.tasks)}{'-halfway' if self.halfway else ''}"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's accuracy at every scale, on questions of one set."""

    model: Base | Run
    cue: str

    @property
    def name(self) -> str:
        return f"{self.model.name}-on-{in_file_name(self.cue)}"


@dataclass(frozen=True, slots=True)
class Experiment:
    """What one experiment needs."""

    runs: tuple[Run, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()

    @property
    def bases(self) -> tuple[Base, ...]:
        models: list[Base | Run] = [*(one.model for one in self.measurements), *(one.model for one in self.evaluations)]
        bases = [*(run.base for run in self.runs), *(model for model in models if isinstance(model, Base))]
        return tuple(dict.fromkeys(bases))


@dataclass(frozen=True, slots=True)
class Seeds:
    """The seeds of a set of results. Ablations and experiments c and e use the first ones."""

    training: tuple[int, ...] = (1, 2, 3, 4, 5)
    warmup: tuple[int, ...] = (1, 2)

    @property
    def few(self) -> tuple[int, ...]:
        return self.training[:NUM_ABLATION_SEEDS]


def measurements_of(runs: Iterable[Run]) -> list[Measurement]:
    """Of every base model, then of every run."""
    unique = list(dict.fromkeys(runs))
    bases = dict.fromkeys((run.base, run.tasks) for run in unique)
    return [*(Measurement(base, tasks) for base, tasks in bases), *(Measurement(run, run.tasks) for run in unique)]


def _with_measurements(runs: Iterable[Run]) -> Experiment:
    unique = tuple(dict.fromkeys(runs))
    return Experiment(unique, tuple(measurements_of(unique)))


def _both_methods(bases: Sequence[Base], tasks: str, seeds: Sequence[int]) -> list[Run]:
    return [Run(base, tasks, method, seed) for base in bases for seed in seeds for method in (HINTS, PLAIN)]


def experiment(letter: str, seeds: Seeds) -> Experiment:
    """The runs, measurements and evaluations of one of EXPERIMENTS."""
    bases = [Base(seed) for seed in seeds.warmup]
    if letter == "a":
        return _with_measurements(_both_methods(bases, "long", seeds.training))
    if letter == "b":
        pairs = zip(cycle(bases), seeds.training, strict=False)  # each seed on one of the base models, in turn
        return _with_measurements(run for base, seed in pairs for run in _both_methods([base], "chains", [seed]))
    if letter == "c":
        return _with_measurements(
            _both_methods([Base(seeds.warmup[0], glance) for glance in GLANCES], "long", seeds.few)
        )
    if letter == "d":
        methods = (PLAIN, HINTS, *ABLATIONS)
        return _with_measurements(Run(bases[0], "long", method, seed) for method in methods for seed in seeds.few)
    # e: before training, both models at three validities of the cue; over training, both methods and a control without a cue;
    # after training, the first seed's models where the cue says nothing.
    trained = _with_measurements(
        [*_both_methods(bases[:1], "cue", seeds.few), *_both_methods(bases[:1], "no cue", seeds.few)]
    )
    halfway = [Measurement(run, run.tasks, halfway=True) for run in trained.runs]
    evaluations = [Evaluation(base, cue) for base in bases for cue in CUES]
    evaluated = [run for run in trained.runs if run.tasks == "cue" and run.seed == seeds.training[0]]
    evaluations += [Evaluation(run, EMPTY_CUE) for run in evaluated]
    return Experiment(trained.runs, (*trained.measurements, *halfway), tuple(evaluations))
