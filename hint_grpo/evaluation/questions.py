"""The questions of a run, from a question file or a data set, up to --limit, checked before a model is loaded.

A question that cannot be used ends the run, because the accuracy over the others is a different number; with --skip_bad the
run continues without it and reports how many were skipped. `check_data` is `test_model.py --check_data`.
"""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from hint_grpo.data.decoded import DecodedPicture, DecodedPictures
from hint_grpo.data.images import read_image
from hint_grpo.data.jsonl import Occurrences
from hint_grpo.data.paths import BadImage, ImageRoot
from hint_grpo.data.picture_processing import min_side
from hint_grpo.data.preflight_report import PreflightReport
from hint_grpo.data.questions import Question, read_questions
from hint_grpo.evaluation.datasets.registry import adapter_of
from hint_grpo.evaluation.settings import EvaluationSettings
from hint_grpo.hints import LengthLimits
from hint_grpo.hub import SAFETENSORS, check_model_files
from hint_grpo.machine.errors import UserError

GEOQA_FILE = "geoqa_test_prompts.jsonl"
GEOQA_SOURCE = "https://github.com/Deep-Agent/R1-V, file src/eval/prompts/geoqa_test_prompts.jsonl"


# ----------------------------------------------------------------------------------------------------
# What a run asks


@dataclass(frozen=True, slots=True)
class CheckedPicture:
    """A picture that can be used: the SHA-256 of its file, and its size and place once decoded."""

    digest: str
    decoded: DecodedPicture


@dataclass(frozen=True, slots=True)
class UsableQuestions:
    """The questions to ask, in file order, and how many are left out (by --skip_bad, or by the data set's adapter).

    `pictures`: what the check found out about each picture, by `Question.image`.
    """

    questions: list[Question]
    num_skipped: int
    pictures: Mapping[str, CheckedPicture] = field(default_factory=dict)


def usable_questions(settings: EvaluationSettings, decoded: DecodedPictures | None = None) -> UsableQuestions:
    """The questions of a run. Without --skip_bad rows and pictures are checked; with it, everything that --check_data checks.

    The decoded pictures are written to `decoded`. Raises UserError for a question that cannot be used (without --skip_bad), or if
    no question is left.
    """
    found = find_questions(settings, decoded)
    questions, places, num_bad = found.questions, found.places, found.num_bad
    if num_bad and not settings.skip_bad:
        raise UserError(
            f"{num_bad} questions of {settings.questions_name} cannot be asked, first {places[0]}: "
            "--check_data lists them, --skip_bad leaves them out"
        )
    if settings.skip_bad and questions:
        report = preflight_report(settings, found)
        skip = set(report.skip)
        questions = [question for position, question in enumerate(questions) if position not in skip]
        places = [*places, *(place for problem in report.unusable.values() for place in problem.first)]
        num_bad += len(skip)
    if num_bad:
        print(f"{num_bad} questions are left out, first {'; '.join(places[:3])}", file=sys.stderr)
    for reason, count in found.left_out.items():
        print(f"{settings.questions_name}: {count:,} left out: {reason}", file=sys.stderr)
    if not questions:
        raise UserError(f"{settings.questions_name} holds no question that can be asked")
    return UsableQuestions(questions, num_bad + sum(found.left_out.values()), found.pictures)


# ----------------------------------------------------------------------------------------------------
# Reading questions and opening their pictures


@dataclass(frozen=True, slots=True)
class FoundQuestions:
    """The usable questions up to --limit, and what cannot be used: how many rows and pictures, and where the first are.

    `left_out` counts, by reason, rows of a data set that are not asked by design; they do not end a run.
    """

    questions: list[Question]
    num_bad: int
    places: list[str]
    left_out: Mapping[str, int] = field(default_factory=dict)
    pictures: Mapping[str, CheckedPicture] = field(default_factory=dict)

    def bad_lines(self) -> list[str]:
        """What cannot be used, one place per line, and how many more there are."""
        return Occurrences(self.num_bad, self.places).lines()


def find_questions(settings: EvaluationSettings, decoded: DecodedPictures | None = None) -> FoundQuestions:
    """Reads the questions and opens their pictures (not in a blind run), which `decoded` gets; see FoundQuestions."""
    questions, bad, left_out, root = _from_dataset(settings) if settings.benchmark else _from_file(settings)
    pictures: dict[str, CheckedPicture] = {}
    if not settings.no_image:
        pictures, problems = read_pictures(questions, root, min_side(settings.picture_processing), decoded)
        questions, damaged = _with_sound_images(questions, problems)
        bad.append(damaged)
    return FoundQuestions(
        questions,
        sum(problem.count for problem in bad),
        [place for problem in bad for place in problem.first],
        left_out,
        pictures,
    )


# (questions, what cannot be used, number left out by reason, folder of the pictures)
_Read = tuple[list[Question], list[Occurrences], Mapping[str, int], Path]


def _from_file(settings: EvaluationSettings) -> _Read:
    assert settings.prompt_path is not None
    assert settings.data_path is not None
    if not settings.prompt_path.is_file():
        raise UserError(missing_prompts(settings.prompt_path))
    # Pictures are looked for later, so that those beyond --limit may be missing.
    found = read_questions(settings.prompt_path, settings.data_path, look_for_images=False, limit=settings.limit)
    if found.duplicates.count:
        print(
            f"{settings.questions_name}: {found.duplicates.count} repeated ids, renamed and still asked, first "
            f"{found.duplicates.first[0]}",
            file=sys.stderr,
        )
    return found.questions, [found.bad_lines, found.bad_images], {}, settings.data_path


def _from_dataset(settings: EvaluationSettings) -> _Read:
    from hint_grpo.evaluation.datasets.read import read_dataset  # imports `datasets`: two seconds

    assert settings.benchmark is not None
    found = read_dataset(
        adapter_of(settings.benchmark),
        settings.data_path,
        settings.pictures,
        limit=settings.limit,
        with_image=not settings.no_image,
    )
    return found.questions, [found.bad_rows], found.left_out, settings.pictures


def read_pictures(
    questions: Sequence[Question], data_path: Path, smallest_side: int, decoded: DecodedPictures | None = None
) -> tuple[dict[str, CheckedPicture], dict[str, str]]:
    """Reads and decodes every picture file once, in threads: (pictures that can be used, the problems of the others), by path.

    `smallest_side` (pixels): see `open_image`. Each thread holds one decoded picture at a time; `decoded` gets them, if given.
    """
    root = ImageRoot(data_path)
    paths = list(dict.fromkeys(question.image for question in questions))
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda path: _checked(path, root, smallest_side, decoded), paths))
    pairs = list(zip(paths, found, strict=True))
    return (
        {path: picture for path, picture in pairs if isinstance(picture, CheckedPicture)},
        {path: problem for path, problem in pairs if isinstance(problem, str)},
    )


def _checked(path: str, root: ImageRoot, smallest_side: int, decoded: DecodedPictures | None) -> CheckedPicture | str:
    """The picture, or why it cannot be used."""
    problem = root.problem(path)
    if problem is not None:
        return problem
    try:
        image, digest = read_image(path, min_side=smallest_side)
    except BadImage as error:
        return str(error)
    return CheckedPicture(digest, decoded.add(image) if decoded else DecodedPicture(*image.size))


def _with_sound_images(
    questions: Sequence[Question], problems: Mapping[str, str]
) -> tuple[list[Question], Occurrences]:
    """(questions whose picture can be used, places of the others)."""
    sound, damaged = [], Occurrences()
    for question in questions:
        if question.image in problems:
            damaged.add(f"{question.source}: {question.image_path}: {problems[question.image]}")
        else:
            sound.append(question)
    return sound, damaged


def missing_prompts(prompt_path: Path) -> str:
    """The message for a missing question file. GeoQA's belongs to another project, so its source is named."""
    if prompt_path.name != GEOQA_FILE:
        return f"--prompt_path {prompt_path} does not exist"
    return (
        f"--prompt_path {prompt_path} does not exist: the GeoQA questions are R1-V's and do not come with this project; "
        f"copy them from {GEOQA_SOURCE}, to {prompt_path} (eval/prompts/README.md has the command)"
    )


# ----------------------------------------------------------------------------------------------------
# `test_model.py --check_data`: every row, picture, prompt length and ground truth, checked before a run


def check_data(settings: EvaluationSettings) -> int:
    """Prints the report; returns exit code 1 if something cannot be used, unless --skip_bad is given, and 0 otherwise."""
    found = find_questions(settings)
    print(f"{settings.questions_name}: {len(found.questions):,} questions")
    for reason, count in found.left_out.items():
        print(f"  left out, {reason}: {count:,}")
    print(f"  rows and pictures that cannot be used: {found.num_bad:,}")
    for line in found.bad_lines():
        print(line)
    report = preflight_report(settings, found)
    print("\n".join(report.lines()))
    return 0 if settings.skip_bad or (report.ok and not found.num_bad) else 1


def preflight_report(settings: EvaluationSettings, found: FoundQuestions) -> PreflightReport:
    """Prompt lengths by the model's own processor, and ground truths that no answer could match.

    Raises UserError if the model's folder is incomplete.
    """
    import hint_grpo.machine.stack  # noqa: F401  # torch and transformers: imported here, because a run does not need them in this process

    from transformers import AutoConfig

    from hint_grpo.calibration.load import load_decoding_processor
    from hint_grpo.data.preflight import preflight_questions

    path = settings.model_path
    check_model_files(path, f"--model_path {path}", weights=SAFETENSORS)
    config = AutoConfig.from_pretrained(path)
    limits = LengthLimits(None, settings.max_new_tokens, config.get_text_config().max_position_embeddings)
    processor = load_decoding_processor(path, settings.max_pixels, trust_remote_code=False)
    return preflight_questions(
        found.questions,
        processor=processor,
        limits=limits,
        with_image=not settings.no_image,
        picture_processing=settings.picture_processing,
        sizes={image: (picture.decoded.width, picture.decoded.height) for image, picture in found.pictures.items()},
    )
