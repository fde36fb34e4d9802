"""What a finished run prints: where the protocols disagree, the closing table, and the accuracy as the last line."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hint_grpo.evaluation.results import RESULTS_FILE, Result, read_results
from hint_grpo.evaluation.summary import Summary
from hint_grpo.scoring import stats

DISAGREEMENTS_SHOWN = 5
TEXT_SHOWN = 60

_HEADER = ("run", "questions", "paper [95 %]", "strict [95 %]", "tokens/s", "token limit", "no <answer>", "disagree")


def print_report(output: Path, summaries: Sequence[Summary]) -> None:
    """Prints to stdout; the accuracy stands alone in the last line, where scripts look for it."""
    for summary in summaries:
        text = disagreements(summary, read_results(output / summary.name / RESULTS_FILE))
        if text:
            print(text)
    print(table(summaries))
    if trouble := scoring_trouble(stats()):
        print(trouble)
    print(f"results: {output}")
    print(accuracy_line(summaries), flush=True)


def table(summaries: Sequence[Summary]) -> str:
    """One row per scale, columns aligned. `paper` and `strict` are accuracies in % with their Wilson intervals."""
    rows = [_HEADER, *map(_row, summaries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def disagreements(summary: Summary, results: Mapping[str, Result]) -> str:
    """The questions that one protocol takes for correct and the other does not; all ids are in summary.json."""
    lines = []
    for ids, kind in ((summary.paper_only, "only paper accepts"), (summary.strict_only, "only strict accepts")):
        if not ids:
            continue
        lines.append(f"{summary.name}: {kind} {len(ids)}")
        lines += [f"  {_disagreement(results[id])}" for id in ids[:DISAGREEMENTS_SHOWN]]
        if len(ids) > DISAGREEMENTS_SHOWN:
            lines.append(f"  ... and {len(ids) - DISAGREEMENTS_SHOWN} more: see summary.json")
    return "\n".join(lines)


def scoring_trouble(counts: Mapping[str, int]) -> str | None:
    """Answers that the checker could not judge in its time and memory, and therefore counted as wrong."""
    kinds = [f"{counts[kind]} {kind}" for kind in ("timeouts", "crashes", "oversized") if counts.get(kind)]
    return f"comparisons without a verdict, counted as wrong: {', '.join(kinds)}" if kinds else None


def accuracy_line(summaries: Sequence[Summary]) -> str:
    """`Accuracy: 46.68%`, the paper's protocol; with several scales that of the last one given.

    The last, not the best: the best of several scales, picked on the test questions, would flatter the method.
    """
    return f"Accuracy: {summaries[-1].accuracy_paper:.2%}"


def _row(summary: Summary) -> tuple[str, ...]:
    speed = summary.tokens_per_second
    return (
        summary.name,
        str(summary.num_questions) + (f" (+{summary.num_skipped} skipped)" if summary.num_skipped else ""),
        _percent(summary.accuracy_paper, summary.interval_paper),
        _percent(summary.accuracy_strict, summary.interval_strict),
        "-" if speed is None else f"{speed:.1f}",
        str(summary.num_token_limit),
        str(summary.num_missing_answer),
        str(len(summary.paper_only) + len(summary.strict_only)),
    )


def _percent(accuracy: float, interval: tuple[float, float]) -> str:
    return f"{100 * accuracy:.2f} [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"


def _disagreement(result: Result) -> str:
    answer = "no <answer>" if result.answer is None else f"<answer> {_short(result.answer)!r}"
    return (
        f"id {result.id}: gold {_short(result.ground_truth)!r}, {answer}, ends {_short(result.completion, end=True)!r}"
    )


def _short(text: str, *, end: bool = False) -> str:
    text = " ".join(text.split())
    if len(text) <= TEXT_SHOWN:
        return text
    return "..." + text[-TEXT_SHOWN:] if end else text[:TEXT_SHOWN] + "..."
