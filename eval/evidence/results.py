"""The numbers of finished jobs: per run, as means over seeds with intervals, and as paired differences."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import mean
from typing import Any

from eval.evidence.jobs import Study
from eval.evidence.protocol import Base, Evaluation, Experiment, Measurement, Run
from eval.evidence.statistics import Interval, interval, sign_flip_test
from hint_grpo.evaluation.compare import Comparison, compare, results_of
from hint_grpo.evaluation.results import read_summary
from hint_grpo.training import ledger
from hint_grpo.training.model_card import Utilization, utilization_of

Metric = Callable[[Run], float]


@dataclass(frozen=True)
class Results:
    """Reads the files of one folder; everything is read once, when it is asked for."""

    study: Study
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    def _once(self, key: str, read: Callable[[], Any]) -> Any:
        if key not in self._cache:
            self._cache[key] = read()
        return self._cache[key]

    # Training

    def ledger(self, run: Run) -> list[ledger.Record]:
        return self._once(f"ledger {run.name}", lambda: list(ledger.read(self.study.run(run) / ledger.FILE_NAME)))

    def utilization(self, run: Run) -> float:
        """Share of prompts with mixed rewards, over all steps (the paper's S_valid)."""
        return self.use(run).valid

    def use(self, run: Run) -> Utilization:
        """What the model card says about a run's prompts."""
        use = utilization_of(self.ledger(run))
        assert use is not None  # a finished run has a ledger
        return use

    def tokens_per_step(self, run: Run) -> float:
        """Sampled tokens of all levels, and of prompts that were replaced."""
        return sum(map(ledger.sampled_tokens, self.ledger(run))) / self.use(run).last_step

    def level_0_in_training(self, kind: str) -> Metric:
        """As a metric of runs: right completions without a hint over the prompts of one kind, mean over all steps.

        For methods that sample level 0 without a hint: plain GRPO and adaptive hints.
        """

        def mean_share(run: Run) -> float:
            records = [record for record in self.ledger(run) if record["id"].startswith(f"{kind}-")]
            return mean(mean(record["accuracy"]["0"]) for record in records)

        return mean_share

    # Measurements

    def rate(self, model: Base | Run, tasks: str, name: str, measure: str, *, halfway: bool = False) -> float:
        """Share of right completions of a model trained (or to be trained) on `tasks`, on the set `name`."""
        return self.rates(Measurement(model, tasks, halfway))[name][measure]["per_sample"]

    def rates(self, measurement: Measurement) -> dict[str, dict[str, dict[str, Any]]]:
        """All rates of a measurement (`SolveRate` as a dictionary), by set and measure."""
        file = self.study.measurement(measurement)
        (sets,) = self._once(str(file), lambda: json.loads(file.read_text("utf-8"))).values()
        return sets

    def after(self, name: str, measure: str) -> Metric:
        """As a metric of runs: their rate after training."""
        return lambda run: self.rate(run, run.tasks, name, measure)

    # Evaluations

    def accuracy(self, evaluation: Evaluation, scale: float) -> tuple[float, tuple[float, float]]:
        """Accuracy (strict) at a scale, with its Wilson interval over questions; shares."""
        folder = self.study.evaluation(evaluation) / f"scale-{scale}"
        summary = self._once(str(folder), lambda: read_summary(folder))
        return summary["accuracy_strict"], tuple(summary["interval_strict"])

    def scales_compared(self, evaluation: Evaluation, scale: float, other: float) -> Comparison:
        """Answers at `scale` against those at `other`, question by question (McNemar's exact test)."""
        first, second = (results_of(self.study.evaluation(evaluation) / f"scale-{one}") for one in (scale, other))
        return compare(first, second, "strict")


@dataclass(frozen=True)
class Paired:
    """One metric of two methods over the same base models and seeds."""

    first: tuple[float, ...]
    second: tuple[float, ...]

    @cached_property
    def differences(self) -> list[float]:
        return [a - b for a, b in zip(self.first, self.second, strict=True)]

    @cached_property
    def difference(self) -> Interval:
        return interval(self.differences)

    @cached_property
    def p(self) -> float:
        return sign_flip_test(self.differences)


def of_method(runs: Iterable[Run], method: str) -> list[Run]:
    return [run for run in runs if run.method == method]


def paired(runs: Sequence[Run], metric: Metric, first: str, second: str) -> Paired:
    """The metric of two methods, paired by base model and seed."""
    by_key = {(run.base, run.tasks, run.method, run.seed): run for run in runs}
    pairs = [(run, by_key[run.base, run.tasks, second, run.seed]) for run in of_method(runs, first)]
    return Paired(tuple(metric(one) for one, _ in pairs), tuple(metric(other) for _, other in pairs))


def every_number(results: Results, experiment: Experiment) -> dict[str, Any]:
    """All runs, measurements and evaluations of an experiment with their settings, for summary.json."""
    runs = [
        {
            "name": run.name,
            "warmup_seed": run.base.warmup_seed,
            "glance": run.base.glance,
            "tasks": run.tasks,
            "method": run.method,
            "seed": run.seed,
            "utilization": results.use(run).valid,
            "tokens_per_step": results.tokens_per_step(run),
            "never_correct": results.use(run).never_correct,
        }
        for run in experiment.runs
    ]
    measurements = []
    for one in experiment.measurements:
        rates = {
            name: {measure: {k: v for k, v in rate.items() if k != "num_right_B"} for measure, rate in measures.items()}
            for name, measures in results.rates(one).items()
        }
        measurements.append({"model": one.model.name, "trained_on": one.tasks, "halfway": one.halfway, "rates": rates})
    evaluations = [
        {
            "model": one.model.name,
            "cue": one.cue,
            "accuracy_by_scale": {str(scale): results.accuracy(one, scale)[0] for scale in results.study.scales},
        }
        for one in experiment.evaluations
    ]
    return {"runs": runs, "measurements": measurements, "evaluations": evaluations}
