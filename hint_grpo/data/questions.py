"""Evaluation questions: GeoQA's 754 rows, SuperCLEVR counting rows, or a user's own in the same form.
(Questions of other benchmarks are made by hint_grpo.evaluation.datasets.)

    {"image_path": "./Geo170K/images/test/0.png", "question": "...", "ground_truth": "140°"}
    {"image_path": "./images/superCLEVR_new_025000.png", "question": "...", "ground_truth": 4}

Ground truths are text from the first byte to the last: 4 is "4" (read as a number, the checkers would get it as one
and parse nothing). The part of image_path behind the data folder's name is relative to the data folder, as the
published commands have it. Nothing here is left out silently: a question that cannot be asked is listed with
file:line, and the accuracy is only a number about the rest.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hint_grpo.data.jsonl import BadRecord, Noted, Row, UniqueIds, read_jsonl, text_field
from hint_grpo.data.paths import BadImage, ImageRoot, safe_relative
from hint_grpo.data.samples import Filter
from hint_grpo.machine.errors import UserError

IMAGE_FOLDER = "Geo170K"
"""The folder name with which the published image paths begin."""


@dataclass(frozen=True, slots=True)
class Judging:
    """How an answer is judged (hint_grpo.evaluation.judging). The default is GeoQA's way: by its value."""

    judge: Literal["value", "choice", "yes_no", "none"] = "value"
    """"choice": the ground truth is a letter. "none": not judged here, the completions are for another's evaluator."""
    options: tuple[str, ...] = ()
    """The options' texts, A first, as far as they are known."""
    precision: int | None = None
    """Decimal places to which a value is compared; None compares it exactly."""
    group: str | None = None
    """The heading under which it is reported too, such as a category."""


BY_VALUE = Judging()


@dataclass(frozen=True, slots=True)
class Question:
    """One evaluation question."""

    id: str
    """The row's "id", or its image_path; a second use gets a suffix, so that it is unique in its file."""
    image: str
    """Absolute path."""
    image_path: str
    """As the file has it."""
    question: str
    ground_truth: str
    source: str
    """Where it was read, as file:line."""
    judging: Judging = BY_VALUE


@dataclass
class QuestionSet:
    """The usable questions of a file in order, and what was wrong with the others."""

    file: str
    questions: list[Question] = field(default_factory=list)
    bad_lines: Noted = field(default_factory=Noted)
    bad_images: Noted = field(default_factory=Noted)
    duplicates: Noted = field(default_factory=Noted)

    @property
    def num_unusable(self) -> int:
        return self.bad_lines.count + self.bad_images.count

    def lines(self) -> list[str]:
        """What to print, one fact a line."""
        lines = [f"{self.file}: {len(self.questions):,} questions"]
        noted = {
            "bad lines, skipped": self.bad_lines,
            "questions without their image, skipped": self.bad_images,
            "repeated ids, renamed": self.duplicates,
        }
        for title, places in noted.items():
            if places.count:
                lines += [f"  {title}: {places.count:,}", *places.lines()]
        return lines


def read_questions(
    prompt_path: str | Path, data_path: str | Path, *, look_for_images: bool = True, limit: int | None = None
) -> QuestionSet:
    """The questions of a file, their images looked for in `data_path`; raises UserError where either is missing.

    `look_for_images=False` (a run without pictures) takes questions whose image file is not there. What stands behind the
    first `limit` questions is not looked at.
    """
    file, root = Path(prompt_path), ImageRoot(data_path)
    if not file.is_file():
        raise UserError(f"--prompt_path {file} does not exist; eval/prompts/README.md says where the file comes from")
    if not Path(data_path).is_dir():
        raise UserError(f"--data_path {data_path} is not a folder; give the one that holds images/test/")
    result, ids = QuestionSet(file.name), UniqueIds()
    for row in read_jsonl(file, result.bad_lines):
        try:
            question = _question(row, root, ids, look_for_images)
        except BadRecord as error:
            result.bad_lines.add(f"{row.source}: {error}")
        except BadImage as error:
            result.bad_images.add(f"{row.source}: {error}")
        else:
            result.questions.append(question)
            if len(result.questions) == limit:
                break
    result.duplicates = ids.duplicates
    return result


def _question(row: Row, root: ImageRoot, ids: UniqueIds, look_for_images: bool) -> Question:
    image_path = text_field(row.record, "image_path")
    question, ground_truth = text_field(row.record, "question"), text_field(row.record, "ground_truth")
    if not question.strip() or not ground_truth.strip():
        raise BadRecord('"question" or "ground_truth" is empty')
    image = root.absolute(image_path if image_path.strip().startswith("/") else relative_to_data(image_path))
    if look_for_images and (problem := root.problem(image)):
        raise BadImage(f"{problem} ({image_path})" if problem != Filter.IMAGE_OUTSIDE.value else problem)
    name = ids.claim(str(row.record.get("id") or image_path), row.source)
    return Question(name, image, image_path, question, ground_truth, row.source)


def relative_to_data(image_path: str) -> str:
    """ "./Geo170K/images/test/0.png" -> "images/test/0.png"; a path without that folder is relative already."""
    parts = safe_relative(image_path).split("/")
    return "/".join(parts[parts.index(IMAGE_FOLDER) + 1 :] if IMAGE_FOLDER in parts[:-1] else parts)
