"""The questions of an evaluation.

    {"image_path": "./Geo170K/images/test/0.png", "question": "... angle CED is ()", "ground_truth": "140°"}   GeoQA
    {"image_path": "./images/superCLEVR_new_000.png", "question": "How many ...?", "ground_truth": 4}          counting

The part of image_path behind "Geo170K/" is relative to --data_path; a path without it is so as a whole. A question's id
is its "id", or its line counted from 0 (GeoQA's question 17 is about 17.png). Ground truths stay strings.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from hint_grpo.data.images import open_image
from hint_grpo.data.jsonl import BadRecord, Noted, Row, UniqueIds, read_jsonl, text_field
from hint_grpo.data.paths import BadImage, ImageRoot
from hint_grpo.errors import UserError

GEO170K = "Geo170K"
GEOQA_FILE = "geoqa_test_prompts.jsonl"
GEOQA_SOURCE = "https://github.com/Deep-Agent/R1-V, file src/eval/prompts/geoqa_test_prompts.jsonl"


@dataclass(frozen=True, slots=True)
class Question:
    """One row. `image_path` is as the file has it, `image` the absolute path of the picture, `source` is file:line."""

    id: str
    image_path: str
    question: str
    ground_truth: str
    image: str
    source: str


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The usable questions in file order, and what was left out."""

    questions: list[Question]
    bad: Noted


def read_questions(prompt_path: Path, data_path: Path, limit: int | None = None) -> QuestionSet:
    """The first `limit` rows of a question file; rows that cannot be asked are noted, not raised."""
    _check_paths(prompt_path, data_path)
    bad, ids, root = Noted(), UniqueIds(), ImageRoot(data_path)
    questions = []
    for row in islice(read_jsonl(prompt_path, bad), limit):
        try:
            questions.append(_question(row, ids, root))
        except (BadRecord, BadImage) as error:
            bad.add(f"{row.source}: {error}")
    if ids.duplicates.count:
        raise UserError(
            f"{ids.duplicates.count} ids are there twice, first {ids.duplicates.first[0]}: give each row its own id"
        )
    return QuestionSet(questions, bad)


def without_bad_images(question_set: QuestionSet, data_path: Path) -> QuestionSet:
    """Opens every picture as the decoder will, in threads; the questions whose picture cannot be used are noted."""
    root = ImageRoot(data_path)
    with ThreadPoolExecutor() as pool:
        problems = list(pool.map(lambda question: _image_problem(question, root), question_set.questions))
    usable = []
    for question, problem in zip(question_set.questions, problems, strict=True):
        if problem is None:
            usable.append(question)
        else:
            question_set.bad.add(f"{question.source}: {question.image_path}: {problem}")
    return QuestionSet(usable, question_set.bad)


def _question(row: Row, ids: UniqueIds, root: ImageRoot) -> Question:
    image_path = text_field(row.record, "image_path")
    question = text_field(row.record, "question")
    ground_truth = text_field(row.record, "ground_truth")
    if not (question.strip() and ground_truth.strip()):
        raise BadRecord("the question or the ground truth is empty")
    image = root.absolute(path_in_data(image_path))
    line = int(row.source.rpartition(":")[2])
    id = ids.claim(str(row.record.get("id", line - 1)), row.source)
    return Question(id, image_path, question, ground_truth, image, row.source)


def path_in_data(image_path: str) -> str:
    """The part behind "Geo170K/", or the whole path: "./Geo170K/images/test/0.png" -> "images/test/0.png"."""
    parts = PurePosixPath(image_path).parts
    return "/".join(parts[parts.index(GEO170K) + 1 :]) if GEO170K in parts else image_path


def _image_problem(question: Question, root: ImageRoot) -> str | None:
    problem = root.problem(question.image)
    if problem is not None:
        return problem
    try:
        open_image(question.image)
    except BadImage as error:
        return str(error)
    return None


def _check_paths(prompt_path: Path, data_path: Path) -> None:
    if not prompt_path.is_file():
        raise UserError(_missing_prompts(prompt_path))
    if not data_path.is_dir():
        raise UserError(
            f"--data_path {data_path} is not a folder: for GeoQA, name the one with Geo170K's unpacked images.zip "
            "(it holds images/test/)"
        )


def _missing_prompts(prompt_path: Path) -> str:
    if prompt_path.name != GEOQA_FILE:
        return f"--prompt_path {prompt_path} is not there"
    return (
        f"--prompt_path {prompt_path} is not there: the GeoQA questions are R1-V's and do not come with this project; "
        f"copy them from {GEOQA_SOURCE}, to {prompt_path} (eval/prompts/README.md has the command)"
    )
