"""The lines of results.jsonl, and how such files are read and written. A kill at any moment loses at most one line.

{"id": "./Geo170K/images/test/0.png", "image_path": "./Geo170K/images/test/0.png", "question": "...", "ground_truth": "140°",
 "completion": "<think>...</think><answer>140</answer>", "answer": "140", "correct_paper": true,
 "correct_strict": true, "num_tokens": 93, "finish_reason": "stop"}

If an answer is not judged by its value alone, the line holds how, so that it can be judged again without the data set:
"judging": {"judge": "choice", "options": ["60°", "65°"], "precision": null, "group": "Vision Only"}
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
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
    """The complete results of a results.jsonl by id; the last line of an id counts. {} if there is no such file."""
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
