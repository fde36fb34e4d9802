"""The tables of the experiments, and which of the paper's statements hold here.

OUTPUT_DIR/tables.md       what is printed
OUTPUT_DIR/summary.json    every run, measurement and evaluation with its settings
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from eval.evidence import protocol
from eval.evidence.protocol import EXPERIMENTS, HINTS, LABELS, PLAIN, Base, Experiment, Run
from eval.evidence.results import Metric, Paired, Results, every_number, of_method, paired
from eval.evidence.statistics import interval

MEASURES = {
    "level_0": "right, sampled as in training",
    "greedy_training": "right, greedy, training prompt",
    "greedy_evaluation": "right, greedy, evaluation prompt",
}
COMPARED_SCALE = 0.8


@dataclass(frozen=True, slots=True)
class Verdict:
    """A statement of the paper, and what this experiment says about it."""

    statement: str
    holds: str  # "yes", "no", "not decided"
    measured: str


def write_report(results: Results, experiments: Mapping[str, Experiment]) -> None:
    """Prints and saves the tables and all numbers."""
    lines: list[str] = []
    verdicts: list[Verdict] = []
    for letter, one in experiments.items():
        more, found = SECTIONS[letter](results, one)
        lines += [f"## {letter}. {EXPERIMENTS[letter]}", "", *more, ""]
        verdicts += found
    lines += ["## The paper's statements", "", *verdict_table(verdicts)]
    text = "\n".join(lines) + "\n"
    root = results.study.root
    (root / "tables.md").write_text(text, encoding="utf-8")
    summary = {
        "stream": results.study.stream,
        "training": protocol.TRAINING,
        "experiments": {letter: every_number(results, one) for letter, one in experiments.items()},
    }
    (root / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(f"\n{text}\nsaved: {root / 'tables.md'}, {root / 'summary.json'}")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Markdown lines."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def verdict_table(verdicts: Iterable[Verdict]) -> list[str]:
    return table(("the paper", "here", "measured"), [(v.statement, v.holds, v.measured) for v in verdicts])


def decided(pair: Paired) -> str:
    """Whether the first method is ahead: by the interval of the difference."""
    if pair.difference.num < 2:
        return "not decided"
    return "yes" if pair.difference.low > 0 else "no" if pair.difference.high < 0 else "not decided"


def verdict(statement: str, pair: Paired, more: str = "") -> Verdict:
    """Whether the first method is ahead, with both means; `more`: what else is said about them."""
    return Verdict(statement, decided(pair), f"{mean(pair.first):.2f} against {mean(pair.second):.2f}{more}")


def by_seed(values: Iterable[float]) -> str:
    return " ".join(f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in values)


# ----------------------------------------------------------------------------------------------------
# a and b: two methods


def comparison_rows(results: Results, one: Experiment, metrics: Mapping[str, Metric]) -> list[list[str]]:
    rows = []
    for label, metric in metrics.items():
        pair = paired(one.runs, metric, HINTS, PLAIN)
        p = f"{pair.p:.3f}" if pair.p >= 0.001 else f"{pair.p:.1e}"
        rows.append(
            [
                label,
                *map(str, (interval(pair.first), interval(pair.second), pair.difference)),
                p,
                f"{by_seed(pair.first)} : {by_seed(pair.second)}",
            ]
        )
    return rows


HEADER = ("", LABELS[HINTS], LABELS[PLAIN], "difference", "p", "by base model and seed")


def base_lines(results: Results, one: Experiment, sets: Sequence[str]) -> list[str]:
    """What the base models solve before training."""
    rows = []
    for base in one.bases:
        tasks = next(run.tasks for run in one.runs if run.base == base)
        for name in sets:
            rates = [f"{results.rate(base, tasks, name, measure):.3f}" for measure in MEASURES]
            rows.append([f"warm-up seed {base.warmup_seed}", name, *rates])
    return table(("base model", "chains", *MEASURES.values()), rows)


def two_methods(results: Results, one: Experiment, sets: Sequence[str]) -> list[str]:
    """The comparison on every set, with intervals over base models and seeds."""
    metrics: dict[str, Metric] = {
        "data utilisation": results.utilization,
        "sampled tokens per step": results.tokens_per_step,
    }
    for name in sets:
        kind = f", {name}" if len(sets) > 1 else ""
        metrics[f"right without a hint, over all steps of training{kind}"] = results.level_0_in_training(name)
        metrics |= {f"{label}{kind}": results.after(name, measure) for measure, label in MEASURES.items()}
    rows = comparison_rows(results, one, metrics)
    return [*base_lines(results, one, sets), "", *table(HEADER, rows)]


USES_MORE = "hints raise data utilisation (plain GRPO: 40 to 50 %)"
ENDS_HIGHER = "Hint-GRPO ends higher than GRPO (45.62 against 38.46 %)"


def section_a(results: Results, one: Experiment) -> tuple[list[str], list[Verdict]]:
    where = ", where the base model fails"
    verdicts = [verdict(USES_MORE, paired(one.runs, results.utilization, HINTS, PLAIN), where)]
    for measure, label in MEASURES.items():
        pair = paired(one.runs, results.after("long", measure), HINTS, PLAIN)
        verdicts.append(verdict(f"{ENDS_HIGHER}: {label}{where}", pair, f", p = {pair.p:.2g}"))
    return two_methods(results, one, ("long",)), verdicts


def section_b(results: Results, one: Experiment) -> tuple[list[str], list[Verdict]]:
    verdicts = [verdict(f"{USES_MORE}: mixture", paired(one.runs, results.utilization, HINTS, PLAIN))]
    faster = "hints speed up learning: mixture, long chains, right without a hint over all steps"
    metrics = {
        f"{ENDS_HIGHER}: mixture, short chains, sampled": results.after("short", "level_0"),
        f"{ENDS_HIGHER}: mixture, long chains, sampled": results.after("long", "level_0"),
        faster: results.level_0_in_training("long"),
    }
    for statement, metric in metrics.items():
        pair = paired(one.runs, metric, HINTS, PLAIN)
        verdicts.append(verdict(statement, pair, f", p = {pair.p:.2g}"))
    return two_methods(results, one, ("short", "long")), verdicts


# ----------------------------------------------------------------------------------------------------
# c: base rates


@dataclass(frozen=True, slots=True)
class BaseRate:
    """One base model: what it solves at level 0 before training, and the runs from it."""

    base: Base
    rate: float
    runs: tuple[Run, ...]


def base_rates(results: Results, one: Experiment) -> list[BaseRate]:
    """By rate, lowest first."""
    rates = [
        BaseRate(base, results.rate(base, "long", "long", "level_0"), tuple(r for r in one.runs if r.base == base))
        for base in one.bases
    ]
    return sorted(rates, key=lambda rate: rate.rate)


def section_c(results: Results, one: Experiment) -> tuple[list[str], list[Verdict]]:
    rows = []
    for rate in base_rates(results, one):
        use = paired(rate.runs, results.utilization, HINTS, PLAIN)
        tokens = paired(rate.runs, results.tokens_per_step, HINTS, PLAIN)
        cells = [f"{rate.rate:.3f}", *(f"{mean(x):.2f}" for x in (use.first, use.second))]
        for measure in ("level_0", "greedy_evaluation"):
            pair = paired(rate.runs, results.after("long", measure), HINTS, PLAIN)
            cells += [f"{mean(pair.first):.2f}", f"{mean(pair.second):.2f}", str(pair.difference)]
        rows.append([*cells, f"{mean(tokens.first) / mean(tokens.second):.2f}"])
    header = ["base rate", "utilisation, hints", "plain"]
    for label in ("sampled", "greedy, evaluation prompt"):
        header += [f"{label}: hints", "plain", "difference"]
    return table([*header, "tokens, ratio"], rows), []


# ----------------------------------------------------------------------------------------------------
# d: ablations


def section_d(results: Results, one: Experiment) -> tuple[list[str], list[Verdict]]:
    rows = []
    for method in dict.fromkeys(run.method for run in one.runs):
        runs = of_method(one.runs, method)
        cells = [interval([results.utilization(run) for run in runs])]
        cells += [interval([results.after("long", measure)(run) for run in runs]) for measure in MEASURES]
        tokens = mean(results.tokens_per_step(run) for run in runs)
        rows.append([LABELS[method], *map(str, cells), f"{tokens:.0f}"])
    header = ("method", "data utilisation", *MEASURES.values(), "sampled tokens per step")

    def against(other: str, statement: str) -> Verdict:
        pair = paired(one.runs, results.after("long", "level_0"), HINTS, other)
        return verdict(statement, pair, f" (sampled), {pair.difference.num} seeds")

    verdicts = [
        against("query_injection", "answer injection ends higher than query injection (45.62 against 41.64 %)"),
        against("random_alpha", "adaptive hints end higher than a random ratio"),
        *(
            against(f"fixed_{r}", f"adaptive hints end higher than a fixed ratio of {r}")
            for r in ("0.25", "0.5", "0.75")
        ),
    ]
    return table(header, rows), verdicts


# ----------------------------------------------------------------------------------------------------
# e: text bias


def model_label(model: Base | Run) -> str:
    if isinstance(model, Base):
        return f"base model {model.warmup_seed}"
    return f"base model {model.base.warmup_seed} after {LABELS[model.method]}, seed {model.seed}"


def section_e(results: Results, one: Experiment) -> tuple[list[str], list[Verdict]]:
    rows = []
    verdicts = []
    for evaluation in one.evaluations:
        label = model_label(evaluation.model)
        shares = [f"{100 * results.accuracy(evaluation, scale)[0]:.1f}" for scale in results.study.scales]
        compared = results.scales_compared(evaluation, COMPARED_SCALE, 0.0)
        p = f"p = {compared.p_value:.2g}"
        # The last cell: questions right only at 0.8, and only at 0.0.
        rows.append([label, evaluation.cue, *shares, f"{compared.only_a} : {compared.only_b}, {p}"])
        if evaluation.cue == protocol.EMPTY_CUE and isinstance(evaluation.model, Base):
            holds = "yes" if compared.only_a > compared.only_b else "no"
            verdicts.append(
                Verdict(
                    f"scale 0.8 ends higher than 0.0 (46.68 against 45.62 %): {label}, empty cue",
                    holds if compared.p_value < 0.05 else "not decided",
                    f"{100 * compared.accuracy_a:.1f} against {100 * compared.accuracy_b:.1f} %, {p}",
                )
            )
    scales = (f"scale {scale:g}" for scale in results.study.scales)
    lines = table(("model", "questions", *scales, "0.8 against 0.0"), rows)
    lines += ["", *bias_over_training(results, one)]
    verdicts += bias_verdicts(results, one)
    return lines, verdicts


def bias_over_training(results: Results, one: Experiment) -> list[str]:
    """Sampled accuracy in the evaluation prompt with and without the picture, at the start, halfway and at the end."""
    rows = []
    for tasks in dict.fromkeys(run.tasks for run in one.runs):
        for method in (HINTS, PLAIN):
            runs = [run for run in of_method(one.runs, method) if run.tasks == tasks]
            for name in protocol.MEASURED[tasks][0]:
                for measure in ("sampled_evaluation", "sampled_no_picture"):
                    start = mean(results.rate(run.base, tasks, name, measure) for run in runs)
                    middle = interval([results.rate(run, tasks, name, measure, halfway=True) for run in runs])
                    end = interval([results.rate(run, tasks, name, measure) for run in runs])
                    pictures = "with" if measure == "sampled_evaluation" else "without"
                    rows.append([LABELS[method], tasks, name, pictures, f"{start:.3f}", str(middle), str(end)])
    header = (
        "method",
        "trained on",
        "measured on",
        "picture",
        "step 0",
        f"step {protocol.HALFWAY}",
        f"step {protocol.NUM_STEPS}",
    )
    return table(header, rows)


def bias_verdicts(results: Results, one: Experiment) -> list[Verdict]:
    """Whether training raises the accuracy without the picture on questions whose cue holds."""
    verdicts = []
    for method in (HINTS, PLAIN):
        runs = [run for run in of_method(one.runs, method) if run.tasks == "cue"]
        after = [results.rate(run, "cue", "cue", "sampled_no_picture") for run in runs]
        before = [results.rate(run.base, "cue", "cue", "sampled_no_picture") for run in runs]
        pair = Paired(tuple(after), tuple(before))
        verdicts.append(
            Verdict(
                f"training raises text bias: accuracy without the picture, {LABELS[method]}",
                decided(pair),
                f"{mean(after):.3f} after, {mean(before):.3f} before, difference {pair.difference}",
            )
        )
    return verdicts


Section = Callable[[Results, Experiment], tuple[list[str], list[Verdict]]]
SECTIONS: dict[str, Section] = {"a": section_a, "b": section_b, "c": section_c, "d": section_d, "e": section_e}
