"""What a benchmark declares (`Adapter`), and how one of its rows becomes a question.

A column that is not there is a UserError before anything else happens (`rows`); a row that cannot be used is a BadRecord
with the reason.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import ascii_uppercase as LETTERS
from typing import Any, Literal

from hint_grpo.data.jsonl import BadRecord
from hint_grpo.data.questions import Judging
from hint_grpo.evaluation.benchmarks.wording import Gold, Put, as_it_is, by_letter, options_in

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
