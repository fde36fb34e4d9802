"""The report on a loaded training file: counts per filter, bad lines, duplicate ids, samples by number of steps.

Written beside the cached samples (store.py) and printed at every start, so that no record disappears silently.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from hint_grpo.data.jsonl import Occurrences
from hint_grpo.data.samples import IMAGE_FILTERS, Filter
from hint_grpo.hints import HintPolicy

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
