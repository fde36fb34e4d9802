"""Reads evaluation questions: GeoQA's 754, SuperCLEVR's counting questions, or a user's own in the same format.

    {"image_path": "./Geo170K/images/test/0.png", "question": "...", "ground_truth": "140°"}
    {"image_path": "./images/superCLEVR_new_025000.png", "question": "...", "ground_truth": 4}

Ground truths stay text: 4 is read as "4", since the checkers parse text. The part of image_path after "Geo170K/" is
relative to the data folder, as in the published commands. Nothing is left out silently: a question that cannot be asked
is listed with file:line, and the accuracy covers only the others. Questions of other benchmarks come from
hint_grpo.evaluation.datasets, as the same `Question`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hint_grpo.data.jsonl import BadRecord, JsonRecord, Occurrences, UniqueIds, read_jsonl, text_field
from hint_grpo.data.paths import BadImage, ImageRoot, safe_relative
from hint_grpo.data.samples import Filter
from hint_grpo.machine.errors import UserError

IMAGE_FOLDER = "Geo170K"
"""The folder name with which the published image paths begin."""


@dataclass(frozen=True, slots=True)
class Judging:
    """How an answer is judged (hint_grpo.evaluation.judging); by default as for GeoQA, by its value."""

    judge: Literal["value", "choice", "yes_no", "none"] = "value"
    """"choice": the ground truth is a letter. "none": the completions are written for the benchmark's own evaluator."""
    options: tuple[str, ...] = ()
    """The options' texts, A first; "" for one whose text is not known."""
    precision: int | None = None
    """Decimal places to which a value is compared; None: exactly."""
    group: str | None = None
    """A category whose accuracy is reported too."""


BY_VALUE = Judging()


@dataclass(frozen=True, slots=True)
class Question:
    """One evaluation question."""

    id: str
    """The record's "id" or its image_path; a repeated one gets a suffix, so that ids are unique in a file."""
    image: str
    """Absolute path."""
    image_path: str
    """As written in the file."""
    question: str
    ground_truth: str
    source: str
    """Where it was read, as file:line."""
    judging: Judging = BY_VALUE


@dataclass
class QuestionSet:
    """The usable questions of a file, in order, and what is wrong with the others."""

    file: str
    questions: list[Question] = field(default_factory=list)
    bad_lines: Occurrences = field(default_factory=Occurrences)
    bad_images: Occurrences = field(default_factory=Occurrences)
    duplicates: Occurrences = field(default_factory=Occurrences)

    @property
    def num_unusable(self) -> int:
        return self.bad_lines.count + self.bad_images.count

    def lines(self) -> list[str]:
        """The counts as text, one fact per line."""
        lines = [f"{self.file}: {len(self.questions):,} questions"]
        problems = {
            "bad lines, skipped": self.bad_lines,
            "questions without their image, skipped": self.bad_images,
            "repeated ids, renamed": self.duplicates,
        }
        for title, places in problems.items():
            if places.count:
                lines += [f"  {title}: {places.count:,}", *places.lines()]
        return lines


def read_questions(
    prompt_path: str | Path, data_path: str | Path, *, look_for_images: bool = True, limit: int | None = None
) -> QuestionSet:
    """The questions of a file, with images from `data_path`; raises UserError if one of the two does not exist.

    `look_for_images=False` (a run without pictures) accepts questions whose image file is missing. With a `limit`, reading
    stops after that many usable questions.
    """
    file, root = Path(prompt_path), ImageRoot(data_path)
    if not file.is_file():
        raise UserError(f"--prompt_path {file} does not exist; eval/prompts/README.md says where the file comes from")
    if not Path(data_path).is_dir():
        raise UserError(f"--data_path {data_path} is not a folder; give the one that holds images/test/")
    result, ids = QuestionSet(file.name), UniqueIds()
    for record in read_jsonl(file, result.bad_lines):
        try:
            question = _question(record, root, ids, look_for_images)
        except BadRecord as error:
            result.bad_lines.add(f"{record.source}: {error}")
        except BadImage as error:
            result.bad_images.add(f"{record.source}: {error}")
        else:
            result.questions.append(question)
            if len(result.questions) == limit:
                break
    result.duplicates = ids.duplicates
    return result


def _question(record: JsonRecord, root: ImageRoot, ids: UniqueIds, look_for_images: bool) -> Question:
    """The question of a record; raises BadRecord or BadImage."""
    image_path = text_field(record.fields, "image_path")
    question, ground_truth = text_field(record.fields, "question"), text_field(record.fields, "ground_truth")
    if not question.strip() or not ground_truth.strip():
        raise BadRecord('"question" or "ground_truth" is empty')
    image = root.absolute(image_path if image_path.strip().startswith("/") else relative_to_data(image_path))
    if look_for_images and (problem := root.problem(image)):
        raise BadImage(f"{problem} ({image_path})" if problem != Filter.IMAGE_OUTSIDE.value else problem)
    name = ids.claim(str(record.fields.get("id") or image_path), record.source)
    return Question(name, image, image_path, question, ground_truth, record.source)


def relative_to_data(image_path: str) -> str:
    """ "./Geo170K/images/test/0.png" -> "images/test/0.png"; a path without that folder stays. Raises BadImage."""
    parts = safe_relative(image_path).split("/")
    return "/".join(parts[parts.index(IMAGE_FOLDER) + 1 :] if IMAGE_FOLDER in parts[:-1] else parts)
