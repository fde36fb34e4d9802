"""What the readers of training data produce for each question: a sample, or the filter that left it out.

Shared types, imported by both readers (llava_cot.py, own_records.py), the text work behind them and the report.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

from hint_grpo.data.jsonl import Occurrences
from hint_grpo.data.paths import EMPTY, MISSING, OUTSIDE, UNREADABLE
from hint_grpo.policies.base import HintPolicy

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
    extra: str = ""
    """The record's other fields as a JSON object, for rewards and hint policies; "" if it has none."""


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


# ----------------------------------------------------------------------------------------------------
# The report on a loaded training file: counts per filter, bad lines, duplicate ids, samples by number of steps.
#
# Written beside the cached samples (dataset.py) and printed at every start, so that no record disappears silently.

PUBLISHED_FILE = "llavacot_geometry.jsonl"
PUBLISHED_KEPT, PUBLISHED_SAMPLES = 7_840, 7_616
"""Samples of the authors' file after their filters, and after their length filter (512 tokens or more: 224)."""


@dataclass
class DataReport:
    """The counts of one loaded data set; every question of the file is in `samples` or under one filter."""

    file: str
    records: int = 0
    questions: int = 0
    samples: int = 0
    filters: dict[str, Occurrences] = field(default_factory=dict)
    bad_lines: Occurrences = field(default_factory=Occurrences)
    duplicates: Occurrences = field(default_factory=Occurrences)
    samples_by_steps: dict[int, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    content_hash: str = ""
    """Over all samples' text, in order: tells a changed data set from a moved one."""

    def drop(self, reason: Filter, source: str) -> None:
        """Counts a question left out; `source` is its file:line."""
        self.filters.setdefault(reason.value, Occurrences()).add(source)

    def dropped(self, reasons: Iterable[Filter]) -> int:
        """Questions left out for any of these reasons."""
        return sum(self.filters[reason.value].count for reason in reasons if reason.value in self.filters)

    @property
    def num_unusable(self) -> int:
        """Records that should have been usable: bad lines and bad images (not those that a filter leaves out)."""
        return self.bad_lines.count + self.dropped(IMAGE_FILTERS)

    def against_published(self) -> str:
        """One line that compares the counts with those of the authors' released code, which does not check pictures."""
        # Their counts are before and after the length filter; image checks come later here and do not change them.
        later = (Filter.IMAGE_MISSING, Filter.IMAGE_EMPTY, Filter.IMAGE_UNREADABLE, Filter.REASONING_TOO_LONG)
        kept = self.questions - self.dropped(set(Filter) - set(later))
        samples = kept - self.dropped([Filter.REASONING_TOO_LONG])
        return (
            f"  the authors' released code keeps {PUBLISHED_KEPT:,} samples, {PUBLISHED_SAMPLES:,} after its length "
            f"filter; here {kept:,} ({_difference(kept, PUBLISHED_KEPT)}) and {samples:,} "
            f"({_difference(samples, PUBLISHED_SAMPLES)})"
        )

    def never_hinted(self, policy: HintPolicy) -> int:
        """Samples without a hint at any level; with adaptive hints these have no reasoning step or only one."""
        return sum(count for steps, count in self.samples_by_steps.items() if not policy.gives_hints(steps))

    def lines(self, policy: HintPolicy | None = None) -> list[str]:
        """The report as text, one fact per line."""
        lines = [f"{self.file}: {self.records:,} records, {self.questions:,} questions, {self.samples:,} samples used"]
        if self.settings.get("steps_cut_here"):
            lines.append(
                f"  reasoning is cut into steps here ({self.settings['steps_cut_here']} is not in the data folder)"
            )
        for reason in Filter:
            if places := self.filters.get(reason.value):
                explained = _explained(reason, self.settings)
                lines.append(f"  left out {places.count:,}: {reason.value}{explained} ({_first_places(places)})")
        for title, places in (("bad lines, skipped", self.bad_lines), ("duplicate ids, renamed", self.duplicates)):
            if places.count:
                lines += [f"  {title}: {places.count:,}", *places.lines()]
        if not self.settings.get("reasoning_checked", True):
            lines.append("  reasoning length was not checked: no tokenizer was given")
        if self.file == PUBLISHED_FILE or self.settings.get("data_rules") == "released":
            lines.append(self.against_published())
        if self.samples_by_steps:
            lines.append(f"  samples by number of steps: {histogram(self.samples_by_steps)}")
        if policy is not None and policy.gives_hints(10_000):
            lines.append(f"  samples with too few steps to get a hint: {self.never_hinted(policy):,}")
        return lines

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "DataReport":
        data = dict(data)
        data["filters"] = {name: Occurrences(**places) for name, places in data["filters"].items()}
        data["bad_lines"], data["duplicates"] = Occurrences(**data["bad_lines"]), Occurrences(**data["duplicates"])
        data["samples_by_steps"] = {int(steps): count for steps, count in data["samples_by_steps"].items()}
        return cls(**data)


def histogram(counts: dict[int, int], most: int = 12) -> str:
    """ "0: 3, 1: 12, 2: 40"; values above `most` share one entry."""
    shown = [f"{value}: {count:,}" for value, count in sorted(counts.items()) if value <= most]
    beyond = sum(count for value, count in counts.items() if value > most)
    return ", ".join([*shown, f"more than {most}: {beyond:,}"] if beyond else shown)


def _difference(count: int, published: int) -> str:
    return "equal" if count == published else f"{abs(count - published):,} {'more' if count > published else 'fewer'}"


def _first_places(places: Occurrences) -> str:
    """ "train.jsonl:3, train.jsonl:8, train.jsonl:9 and 12 more"."""
    more = places.count - len(places.first[:3])
    return ", ".join(places.first[:3]) + (f" and {more:,} more" if more else "")


def _explained(reason: Filter, settings: dict[str, Any]) -> str:
    """The setting behind a filter, in brackets."""
    if reason is Filter.OTHER_IMAGES:
        return f" [{', '.join(settings.get('image_prefixes', ()))}]"
    if reason is Filter.REASONING_TOO_LONG:
        return f" [{settings.get('max_reasoning_tokens')} tokens or more]"
    return ""
