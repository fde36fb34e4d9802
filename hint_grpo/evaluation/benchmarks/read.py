"""A benchmark's questions: rows -> questions, their pictures written as files.

Three fates of a row. It is asked; or it cannot be (a blank cell, an answer outside its options, a broken picture): that
ends the run unless --skip_bad is given, as with a question file; or it is no question of this benchmark as it is run
here (no picture, a shifted copy): left out and counted.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hint_grpo.data.jsonl import BadRecord, Noted, UniqueIds
from hint_grpo.data.paths import BadImage
from hint_grpo.data.questions import Question
from hint_grpo.evaluation.benchmarks.adapter import Adapter, Row, asked_by, row_id
from hint_grpo.evaluation.benchmarks.pictures import write_picture
from hint_grpo.evaluation.benchmarks.rows import benchmark_rows

NO_PICTURE = "rows without a picture"


@dataclass
class BenchmarkQuestions:
    """The questions in the data set's order, the rows that cannot be asked, and the rows left out by reason."""

    questions: list[Question] = field(default_factory=list)
    bad_rows: Noted = field(default_factory=Noted)
    left_out: Counter[str] = field(default_factory=Counter)


def read_benchmark(
    adapter: Adapter, data_path: Path | None, pictures: Path, *, limit: int | None = None, with_image: bool = True
) -> BenchmarkQuestions:
    """The first `limit` questions; pictures go into the folder `pictures` (none are written without `with_image`)."""
    found, ids = BenchmarkQuestions(), UniqueIds()
    for number, row in _questions_alone(adapter, benchmark_rows(adapter, data_path), found.left_out):
        if limit is not None and len(found.questions) >= limit:
            break
        try:
            found.questions.append(_question(adapter, row, number, ids, pictures if with_image else None))
        except (BadRecord, BadImage) as error:
            found.bad_rows.add(f"{adapter.name} row {number}: {error}")
    return found


def _questions_alone(adapter: Adapter, rows: Iterator[Row], left_out: Counter[str]) -> Iterator[tuple[int, Row]]:
    """The rows that are questions here, with their numbers in the data set."""
    for number, row in enumerate(rows):
        reason = adapter.leave_out(row) if adapter.leave_out else None
        if reason is None and not any((row[adapter.image] or {}).values()):
            reason = NO_PICTURE
        if reason is None:
            yield number, row
        else:
            left_out[reason] += 1


def _question(adapter: Adapter, row: Row, number: int, ids: UniqueIds, pictures: Path | None) -> Question:
    asked = asked_by(adapter, row)
    file = write_picture(row[adapter.image], pictures) if pictures else None
    source = f"{adapter.name} row {number}"
    return Question(
        id=ids.claim(row_id(adapter, row, number), source),
        image=str(file.resolve()) if file else "",
        image_path=f"{file.parent.name}/{file.name}" if file else "",
        question=asked.question,
        ground_truth=asked.ground_truth,
        source=source,
        judging=asked.judging,
    )
