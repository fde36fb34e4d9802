"""results.jsonl and summary.json: the answers of one scale, and the numbers computed from them.

A line of results.jsonl (a kill at any moment loses at most one):

{"id": "./Geo170K/images/test/0.png", "image_path": "./Geo170K/images/test/0.png", "question": "...", "ground_truth": "140°",
 "completion": "<think>...</think><answer>140</answer>", "answer": "140", "correct_paper": true,
 "correct_strict": true, "num_tokens": 93, "finish_reason": "stop"}

If an answer is not judged by its value alone, the line holds how, so that it can be judged again without the data set:
"judging": {"judge": "choice", "options": ["60°", "65°"], "precision": null, "group": "Vision Only"}
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from math import comb, sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any

from hint_grpo.data.questions import BY_VALUE, Judging
from hint_grpo.machine.errors import UserError
from hint_grpo.machine.files import replace_file

RESULTS_FILE = "results.jsonl"


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer: the part of a result that costs GPU time and is reused across runs."""

    completion: str
    num_tokens: int
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Result:
    """A question, the model's answer, and its verdict under both protocols. The order of the fields is that of the file."""

    id: str
    image_path: str
    question: str
    ground_truth: str
    completion: str
    answer: str | None  # the content of the last closed <answer>
    correct_paper: bool
    correct_strict: bool
    num_tokens: int
    finish_reason: str  # "stop" or "length"
    judging: Judging = BY_VALUE

    @property
    def given(self) -> Answer:
        """The part that the model produced."""
        return Answer(self.completion, self.num_tokens, self.finish_reason)


_FIELDS = {field.name for field in fields(Result)}


def json_line(record: dict[str, Any]) -> str:
    """One line of a JSON Lines file."""
    return json.dumps(record, ensure_ascii=False) + "\n"


def result_line(result: Result) -> str:
    """The line of a result; "judging" is left out if it is the default."""
    record = asdict(result)
    if result.judging == BY_VALUE:
        del record["judging"]
    return json_line(record)


def _result(record: dict[str, Any]) -> Result:
    stored = record.pop("judging", None)
    judging = BY_VALUE if stored is None else Judging(**{**stored, "options": tuple(stored["options"])})
    return Result(**record, judging=judging)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file that this package wrote, without lines that a kill cut off (no newline, or not JSON)."""
    if not path.is_file():
        return
    # Only "\n" ends a line: a completion may hold U+2028, which str.splitlines would cut at.
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            if not line.endswith("\n"):
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(record, dict):
                yield record


def read_results(path: Path) -> dict[str, Result]:
    """The complete results of a results.jsonl by id; the last line of an id counts. {} if the file is missing."""
    results = (_result(record) for record in read_lines(path) if record.keys() | {"judging"} == _FIELDS)
    return {result.id: result for result in results}


def existing_results(path: Path) -> dict[str, Result]:
    """As `read_results`, for a file named by the user; UserError if it is missing or empty."""
    results = read_results(path)
    if not results:
        raise UserError(f"{path} holds no results: run test_model.py first, or name the folder that it wrote")
    return results


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Replaces a results.jsonl atomically."""
    replace_file(path, "".join(map(result_line, results)))


# ----------------------------------------------------------------------------------------------------
# The numbers of one finished scale: accuracy under both protocols, speed, and counts of what went wrong.

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


# ----------------------------------------------------------------------------------------------------
# Statistics: a confidence interval for an accuracy, and a paired test for two runs


def wilson_interval(num_correct: int, num_questions: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for the share k of n, as (low, high). Unlike p +- 1.96 * sqrt(p(1-p)/n) it stays in [0, 1].

    With p = k/n:  (p + z^2/2n +- z * sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). Without questions nothing is known: (0, 1).
    """
    if num_questions == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    n = num_questions
    p = num_correct / n
    centre = p + z * z / (2 * n)
    margin = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At k = 0 the lower bound is exactly 0, and at k = n the upper one exactly 1; floats would be off by 1e-17.
    return (centre - margin) / scale if num_correct else 0.0, (centre + margin) / scale if num_correct < n else 1.0


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value of McNemar's test on the numbers of questions that only run a and only run b answered correctly.

    p = min(1, 2 * sum_{k <= min(b, c)} C(b + c, k) / 2^(b + c)), in whole numbers until the last division: under the null
    hypothesis each such question is a fair coin.
    """
    discordant = only_a + only_b
    tail = sum(comb(discordant, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**discordant)
