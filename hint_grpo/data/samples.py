"""What the readers of training data produce for each question: a sample, or the filter that left it out.

Shared types, imported by both readers (llava_cot.py, own_records.py), the text work behind them and the report.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from hint_grpo.data.paths import EMPTY, MISSING, OUTSIDE, UNREADABLE

Rules = Literal["project", "released"]
"""The rules by which a record is read or a reasoning is cut: this project's, or those of the authors' released code
(llava_cot.py)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One training question with its correct reasoning (the paper's question, answer and L reasoning steps)."""

    id: str
    """Unique in its data set, even if a record holds several questions."""
    image: str
    """Absolute path; the image is opened later, by `hint_grpo.data.images.open_image`."""
    question: str
    solution: str
    """The correct value as text; an option's letter only if multiple choice is kept on purpose (the ablation)."""
    reasoning_steps: tuple[str, ...]
    source: str
    """Where it was read, as file:line."""


# ----------------------------------------------------------------------------------------------------
# Filters: every reason to leave a question out has a name, and the report counts each of them.


class Filter(StrEnum):
    """The names that a DataReport counts, in the order in which the filters are applied."""

    OTHER_IMAGES = "image is not of the chosen part"
    NO_IMAGE = "record has no image"
    SEVERAL_IMAGES = "record has several images"
    IMAGE_OUTSIDE = OUTSIDE
    NO_ANSWER = "question without an answer"
    NO_CONCLUSION = "answer has no conclusion"
    SPECIAL_TOKEN = "text holds a special token of the model"
    LETTER_WITHOUT_OPTIONS = "answer is a letter, the question has no such option"
    SEVERAL_OPTIONS = "answer names several options"
    RELEASED_CODE_FAILS = "the released code ends with a KeyError: a letter without such an option"
    NO_NUMBER = "answer holds no number"
    SEVERAL_VALUES = "answer states several values"
    BOUND = "answer states a bound, not a value"
    UNCLEAR_ANSWER = "answer states no clear value"
    REASONING_TOO_LONG = "reasoning is too long"
    IMAGE_MISSING = MISSING
    IMAGE_EMPTY = EMPTY
    IMAGE_UNREADABLE = UNREADABLE


IMAGE_FILTERS = (Filter.IMAGE_OUTSIDE, Filter.IMAGE_MISSING, Filter.IMAGE_EMPTY, Filter.IMAGE_UNREADABLE)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A question that a filter left out, and its place as file:line."""

    reason: Filter
    source: str


Outcome = Sample | Dropped
"""What a reader makes of one question."""


class Refused(Exception):
    """Raised inside a reader to drop the current question; the reader catches it."""

    def __init__(self, reason: Filter) -> None:
        super().__init__(reason)
        self.reason = reason
