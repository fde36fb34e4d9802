"""What a benchmark declares (`Adapter`), and how one of its rows becomes a question.

A column that is not there is a UserError before anything else happens (`rows`); a row that cannot be used is a BadRecord
with the reason.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hint_grpo.data.jsonl import BadRecord
from hint_grpo.data.questions import Judging
from hint_grpo.prompts import ASK_LETTER, ASK_YES_NO, OPTIONS
from hint_grpo.scoring.option_letters import LETTERS, is_option, texts_by_letter

# ----------------------------------------------------------------------------------------------------
# How a benchmark's questions are put, and how its answer column names the right option. Pure text, declared in `registry`.
#
# Options are a tuple of texts, A first; () where the row has none, or they are not known.

Put = Callable[[str, tuple[str, ...]], str]
Gold = Callable[[str, tuple[str, ...]], str]

_LIST = re.compile(r"\b(?:options|choices)\s*:", re.IGNORECASE)
_IMAGE_MARK = re.compile(r"\s*<image1>")


def as_it_is(question: str, options: tuple[str, ...]) -> str:
    return question


def ask_letter(question: str, options: tuple[str, ...]) -> str:
    """For questions that list their options themselves."""
    return ASK_LETTER.format(Question=question)


def list_options(question: str, options: tuple[str, ...]) -> str:
    """The options below the question, one a line; as it is where there are none.

    Options that only repeat their letters (they stand in the picture) are not listed.
    """
    if not options:
        return question
    lines = "\n".join(f"{letter}. {text}" for letter, text in texts_by_letter(options).items())
    shown = tuple(options) == tuple(LETTERS[: len(options)])
    return ask_letter(question if shown else OPTIONS.format(Question=question, Options=lines), options)


def without_image_mark(question: str, options: tuple[str, ...]) -> str:
    """MATH-Vision marks the picture's place by <image1>; here it stands before the text, as the model was trained."""
    return list_options(_IMAGE_MARK.sub("", question).strip(), options)


def ask_yes_no(question: str, options: tuple[str, ...]) -> str:
    return ASK_YES_NO.format(Question=question)


def by_letter(answer: str, options: tuple[str, ...]) -> str:
    letter = answer.strip().strip("().").upper()
    if not is_option(letter, len(options), unlisted=len(LETTERS)):
        raise BadRecord(f"its answer {answer[:40]!r} is no letter of its {len(options)} options")
    return letter


def by_index(answer: str, options: tuple[str, ...]) -> str:
    """The answer counts from 0."""
    if not answer.strip().isdigit() or int(answer) >= len(options):
        raise BadRecord(f"its answer {answer[:40]!r} is no index of its {len(options)} options")
    return LETTERS[int(answer)]


def by_text(answer: str, options: tuple[str, ...]) -> str:
    if answer not in options:
        raise BadRecord(f"its answer {answer[:40]!r} is none of its options")
    return LETTERS[options.index(answer)]


def options_in(text: str) -> tuple[str, ...]:
    """The options of "..? Options: A: a cat, B: a dog" or "..?\\nChoices:\\nA:50°\\nB:60°"; () where none are found."""
    heads = list(_LIST.finditer(text))
    rest = text[heads[-1].end() :] if heads else ""
    found: list[str] = []
    start: int | None = None
    for letter in LETTERS:
        mark = re.compile(rf"(?:^|(?<=[\s,])){letter}\s?:").search(rest, start or 0)
        if mark is None:
            break
        if start is not None:
            found.append(rest[start : mark.start()])
        start = mark.end()
    if start is not None:
        found.append(rest[start:])
    return tuple(option.strip().rstrip(",").rstrip() for option in found)


Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A benchmark: where it is, which columns hold what, how a question is put and how an answer is judged."""

    name: str
    hub_id: str
    split: str
    question: str
    answer: str
    judge: Literal["value", "choice", "yes_no", "none"]
    config: str | None = None
    image: str = "image"
    id: tuple[str, ...] = ()  # joined by "-"; () takes the row's number
    context: str | None = None  # text that stands above the question where a row has it
    options: tuple[str, ...] = ()  # a column of lists, a text that lists them, or one column per option
    choice_if: tuple[str, str] | None = None  # (column, value) of the rows that are multiple choice, where not all are
    choice_if_options: bool = False  # the same, told by whether the row has options
    gold: Gold = by_letter  # how the answer of a choice names the right option
    put: Put = as_it_is
    precision: str | None = None
    group: str | None = None
    leave_out: Callable[[Row], str | None] | None = None  # why a row is no question of this benchmark
    note: str = ""  # what a reader of the numbers has to know

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        told = [self.choice_if[0]] if self.choice_if else []
        named = [*self.id, self.context, self.question, self.image, *self.options, self.answer, *told]
        return tuple(dict.fromkeys(column for column in (*named, self.precision, self.group) if column))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a row asks: the text of the question as put to the model, the ground truth, and how it is judged."""

    question: str
    ground_truth: str
    judging: Judging


def asked_by(adapter: Adapter, row: Row) -> Asked:
    """The question of a row; raises BadRecord."""
    options = _options(adapter, row)
    judge = _judge(adapter, row, options)
    if judge != "choice":
        options = ()
    context = _text(row, adapter.context) if adapter.context else None
    question = adapter.put(_needed(row, adapter.question), options)
    return Asked(
        f"{context}\n{question}" if context else question,
        _ground_truth(adapter, _needed(row, adapter.answer), judge, options),
        Judging(judge, options, _precision(adapter, row), _text(row, adapter.group) if adapter.group else None),
    )


def row_id(adapter: Adapter, row: Row, number: int) -> str:
    return "-".join(_needed(row, column) for column in adapter.id) if adapter.id else str(number)


def _judge(adapter: Adapter, row: Row, options: tuple[str, ...]) -> Literal["value", "choice", "yes_no", "none"]:
    if adapter.choice_if_options:
        return "choice" if options else adapter.judge
    if adapter.choice_if:
        column, value = adapter.choice_if
        return "choice" if _text(row, column) == value else adapter.judge
    return adapter.judge


def _ground_truth(adapter: Adapter, answer: str, judge: str, options: tuple[str, ...]) -> str:
    if judge == "choice":
        return adapter.gold(answer, options)
    if judge == "yes_no":
        if answer not in ("0", "1"):
            raise BadRecord(f"its {adapter.answer} is {answer[:40]!r}, not 0 or 1")
        return "yes" if answer == "1" else "no"
    return answer


def _options(adapter: Adapter, row: Row) -> tuple[str, ...]:
    """The texts of the row's options in order; trailing columns without one are dropped, a gap keeps its letter."""
    if len(adapter.options) == 1:
        value = row[adapter.options[0]]
        options = options_in(value) if isinstance(value, str) else tuple(str(option).strip() for option in value or ())
    else:
        options = tuple(_text(row, column) or "" for column in adapter.options)
    while options and not options[-1]:
        options = options[:-1]
    if len(options) > len(LETTERS):
        raise BadRecord(f"it has {len(options)} options")
    return options


def _precision(adapter: Adapter, row: Row) -> int | None:
    text = _text(row, adapter.precision) if adapter.precision else None
    return None if text is None else int(float(text))


def _needed(row: Row, column: str) -> str:
    text = _text(row, column)
    if text is None:
        raise BadRecord(f'"{column}" is empty')
    return text


def _text(row: Row, column: str) -> str | None:
    """A cell as text; None where it is blank. Tables that went through pandas write "nan" for a blank."""
    value = row[column]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bytes | list | dict):
        raise BadRecord(f'"{column}" holds a {type(value).__name__}, not text')
    text = str(value).strip()
    return None if not text or text == "nan" else text
