"""What every reader of training data produces."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from hint_grpo.data.paths import EMPTY, MISSING, OUTSIDE, UNREADABLE

Rules = Literal["project", "released"]
"""By whose rules a record is read or a reasoning cut: this project's, or the authors' released code's (released.py)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One training question with its known correct reasoning (image, question, solution, L steps)."""

    id: str
    """Unique in its data set, also where a record holds several questions."""
    image: str
    """Absolute path; the image is opened later, by `hint_grpo.data.images.open_image`."""
    question: str
    solution: str
    """The correct value as text. An option's letter only where multiple choice is kept on purpose (an ablation)."""
    reasoning_steps: tuple[str, ...]
    source: str
    """Where it was read, as file:line."""


# ----------------------------------------------------------------------------------------------------
# Why a question or a sample is left out: every filter has a name, and every name is counted.


class Filter(StrEnum):
    """The names under which a DataReport counts; in the order in which the filters are applied."""

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
    """A question that a filter left out, and where it stands."""

    reason: Filter
    source: str


class Refused(Exception):
    """Raised inside a reader to leave the question at hand out; never leaves the reader."""

    def __init__(self, reason: Filter) -> None:
        super().__init__(reason)
        self.reason = reason
