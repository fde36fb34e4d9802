"""What is declared about a data set (`Adapter`), and how one of its rows becomes a question.

The declarations are in `registry`, the rows come from `read`. A missing column is a UserError before the first row is read
(`read`); a row that cannot be used is a BadRecord with the reason.

Options are a tuple of texts, A first; () if the row has none, or their texts are not known.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hint_grpo.data.jsonl import BadRecord
from hint_grpo.data.questions import Judging
from hint_grpo.prompts import ASK_LETTER, ASK_YES_NO, OPTIONS
from hint_grpo.scoring.vocabulary import LETTERS, is_option, texts_by_letter

_OPTION_LIST = re.compile(r"\b(?:options|choices)\s*:", re.IGNORECASE)
_IMAGE_MARK = re.compile(r"\s*<image1>")

Row = Mapping[str, Any]
# (question, option texts) -> the question as shown to the model
QuestionFormat = Callable[[str, tuple[str, ...]], str]
# (cell of the answer column, option texts) -> the correct option's letter; raises BadRecord
GoldLetter = Callable[[str, tuple[str, ...]], str]

# ----------------------------------------------------------------------------------------------------
# How a question is shown to the model: values of `Adapter.format`


def unchanged(question: str, options: tuple[str, ...]) -> str:
    """The question as the data set has it."""
    return question


def ask_letter(question: str, options: tuple[str, ...]) -> str:
    """The question, which lists its options itself, and a request for the letter."""
    return ASK_LETTER.format(Question=question)


def list_options(question: str, options: tuple[str, ...]) -> str:
    """The question, its options one a line, and a request for the letter; unchanged if there are no options.

    Options that only repeat their letters (they are shown in the picture) are not listed.
    """
    if not options:
        return question
    lines = "\n".join(f"{letter}. {text}" for letter, text in texts_by_letter(options).items())
    in_picture = tuple(options) == tuple(LETTERS[: len(options)])
    return ask_letter(question if in_picture else OPTIONS.format(Question=question, Options=lines), options)


def without_image_mark(question: str, options: tuple[str, ...]) -> str:
    """As `list_options`, without MATH-Vision's <image1>: the picture comes before the text, as in training."""
    return list_options(_IMAGE_MARK.sub("", question).strip(), options)


def ask_yes_no(question: str, options: tuple[str, ...]) -> str:
    """The question, and a request for yes or no."""
    return ASK_YES_NO.format(Question=question)


# ----------------------------------------------------------------------------------------------------
# How the answer column names the correct option: values of `Adapter.gold_letter`


def letter_from_letter(answer: str, options: tuple[str, ...]) -> str:
    """For answers such as "B" or "(b)."."""
    letter = answer.strip().strip("().").upper()
    if not is_option(letter, len(options), unlisted=len(LETTERS)):
        raise BadRecord(f"its answer {answer[:40]!r} is not a letter of its {len(options)} options")
    return letter


def letter_from_index(answer: str, options: tuple[str, ...]) -> str:
    """For answers that count the options from 0."""
    if not answer.strip().isdigit() or int(answer) >= len(options):
        raise BadRecord(f"its answer {answer[:40]!r} is not an index of its {len(options)} options")
    return LETTERS[int(answer)]


def letter_from_text(answer: str, options: tuple[str, ...]) -> str:
    """For answers that repeat the text of an option."""
    if answer not in options:
        raise BadRecord(f"its answer {answer[:40]!r} is not one of its options")
    return LETTERS[options.index(answer)]


# ----------------------------------------------------------------------------------------------------
# The declaration


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One data set: where it is, what its columns mean, how a question is formatted and how an answer is judged.

    `question`, `answer`, `image`, `id`, `context`, `options`, `precision` and `category` are names of columns.
    """

    name: str
    hub_id: str
    split: str
    question: str
    answer: str
    judge: Literal["value", "choice", "yes_no", "none"]
    config: str | None = None
    image: str = "image"
    id: tuple[str, ...] = ()  # joined by "-"; () uses the row's number
    context: str | None = None  # text above the question, for rows that have it
    options: tuple[str, ...] = ()  # a column of lists, a text that lists them, or one column per option
    choice_if: tuple[str, str] | None = None  # (column, value) of the multiple-choice rows, if not all are
    choice_if_options: bool = False  # multiple choice are the rows that have options
    gold_letter: GoldLetter = letter_from_letter  # how the answer column names the correct option
    format: QuestionFormat = unchanged
    precision: str | None = None  # decimals to which a value is compared
    category: str | None = None  # accuracy is also reported for each of its values
    leave_out: Callable[[Row], str | None] | None = None  # the reason why a row is not asked; None asks it
    note: str = ""  # printed below the results

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        kind = [self.choice_if[0]] if self.choice_if else []
        named = [*self.id, self.context, self.question, self.image, *self.options, self.answer, *kind]
        return tuple(dict.fromkeys(column for column in (*named, self.precision, self.category) if column))


# ----------------------------------------------------------------------------------------------------
# A row as a question


@dataclass(frozen=True, slots=True)
class AdaptedRow:
    """A row in the form of GeoQA's questions: the formatted question, the ground truth, and how answers are judged."""

    question: str
    ground_truth: str
    judging: Judging


def adapt_row(adapter: Adapter, row: Row) -> AdaptedRow:
    """The question of a row; raises BadRecord, with the reason, for a row that cannot be used."""
    options = _options(adapter, row)
    judge = _judge(adapter, row, options)
    if judge != "choice":
        options = ()
    context = _text(row, adapter.context) if adapter.context else None
    question = adapter.format(_required_text(row, adapter.question), options)
    return AdaptedRow(
        f"{context}\n{question}" if context else question,
        _ground_truth(adapter, _required_text(row, adapter.answer), judge, options),
        Judging(judge, options, _precision(adapter, row), _text(row, adapter.category) if adapter.category else None),
    )


def options_in(text: str) -> tuple[str, ...]:
    """The options of "..? Options: A: a cat, B: a dog" or "..?\\nChoices:\\nA:50°\\nB:60°"; () if none are found."""
    # The options follow the last "Options:" or "Choices:"; each is marked by its letter, in order.
    heads = list(_OPTION_LIST.finditer(text))
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


def row_id(adapter: Adapter, row: Row, number: int) -> str:
    """The row's id from the id columns, or its number; raises BadRecord for an empty cell."""
    return "-".join(_required_text(row, column) for column in adapter.id) if adapter.id else str(number)


def _judge(adapter: Adapter, row: Row, options: tuple[str, ...]) -> Literal["value", "choice", "yes_no", "none"]:
    if adapter.choice_if_options:
        return "choice" if options else adapter.judge
    if adapter.choice_if:
        column, value = adapter.choice_if
        return "choice" if _text(row, column) == value else adapter.judge
    return adapter.judge


def _ground_truth(adapter: Adapter, answer: str, judge: str, options: tuple[str, ...]) -> str:
    if judge == "choice":
        return adapter.gold_letter(answer, options)
    if judge == "yes_no":
        if answer not in ("0", "1"):
            raise BadRecord(f"its {adapter.answer} is {answer[:40]!r}, not 0 or 1")
        return "yes" if answer == "1" else "no"
    return answer


def _options(adapter: Adapter, row: Row) -> tuple[str, ...]:
    """The texts of the row's options in order. Empty options at the end are dropped; an empty one in between keeps its letter."""
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


def _required_text(row: Row, column: str) -> str:
    text = _text(row, column)
    if text is None:
        raise BadRecord(f'"{column}" is empty')
    return text


def _text(row: Row, column: str) -> str | None:
    """A cell as text; None if it is blank. Tables that went through pandas have "nan" for a blank."""
    value = row[column]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bytes | list | dict):
        raise BadRecord(f'"{column}" holds a {type(value).__name__}, not text')
    text = str(value).strip()
    return None if not text or text == "nan" else text
