"""What happened to every line of a training file: counts per filter, bad lines, duplicates, steps."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from hint_grpo.data.jsonl import Noted
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
    filters: dict[str, Noted] = field(default_factory=dict)
    bad_lines: Noted = field(default_factory=Noted)
    duplicates: Noted = field(default_factory=Noted)
    samples_by_steps: dict[int, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    content_hash: str = ""
    """Over all samples' text, in order: tells a changed data set from a moved one."""

    def drop(self, reason: Filter, source: str) -> None:
        self.filters.setdefault(reason.value, Noted()).add(source)

    def dropped(self, reasons: Iterable[Filter]) -> int:
        return sum(self.filters[reason.value].count for reason in reasons if reason.value in self.filters)

    @property
    def num_unusable(self) -> int:
        """What a run cannot use although it was meant to: bad lines and bad images."""
        return self.bad_lines.count + self.dropped(IMAGE_FILTERS)

    def against_published(self) -> str:
        """One line that compares the counts with those of the authors' released code; pictures are not looked at there."""
        later = (Filter.IMAGE_MISSING, Filter.IMAGE_EMPTY, Filter.IMAGE_UNREADABLE, Filter.REASONING_TOO_LONG)
        kept = self.questions - self.dropped(set(Filter) - set(later))
        samples = kept - self.dropped([Filter.REASONING_TOO_LONG])
        return (
            f"  the authors' released code keeps {PUBLISHED_KEPT:,} samples, {PUBLISHED_SAMPLES:,} after its length "
            f"filter; here {kept:,} ({_difference(kept, PUBLISHED_KEPT)}) and {samples:,} "
            f"({_difference(samples, PUBLISHED_SAMPLES)})"
        )

    def never_hinted(self, policy: HintPolicy) -> int:
        """Samples without a hint at any level: those with no step, and those with a single one."""
        return sum(count for steps, count in self.samples_by_steps.items() if not policy.gives_hints(steps))

    def lines(self, policy: HintPolicy | None = None) -> list[str]:
        """The report as text, one fact a line."""
        lines = [f"{self.file}: {self.records:,} records, {self.questions:,} questions, {self.samples:,} samples used"]
        if self.settings.get("steps_cut_here"):
            lines.append(
                f"  reasoning is cut into steps here ({self.settings['steps_cut_here']} is not in the data folder)"
            )
        for reason in Filter:
            if noted := self.filters.get(reason.value):
                lines.append(
                    f"  left out {noted.count:,}: {reason.value}{_explained(reason, self.settings)} ({_places(noted)})"
                )
        for title, noted in (("bad lines, skipped", self.bad_lines), ("duplicate ids, renamed", self.duplicates)):
            if noted.count:
                lines += [f"  {title}: {noted.count:,}", *noted.lines()]
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
        data["filters"] = {name: Noted(**noted) for name, noted in data["filters"].items()}
        data["bad_lines"], data["duplicates"] = Noted(**data["bad_lines"]), Noted(**data["duplicates"])
        data["samples_by_steps"] = {int(steps): count for steps, count in data["samples_by_steps"].items()}
        return cls(**data)


def histogram(counts: dict[int, int], most: int = 12) -> str:
    """ "0: 3, 1: 12, 2: 40"; what lies beyond `most` in one entry."""
    shown = [f"{value}: {count:,}" for value, count in sorted(counts.items()) if value <= most]
    beyond = sum(count for value, count in counts.items() if value > most)
    return ", ".join([*shown, f"more than {most}: {beyond:,}"] if beyond else shown)


def _difference(count: int, published: int) -> str:
    return "equal" if count == published else f"{abs(count - published):,} {'more' if count > published else 'fewer'}"


def _places(noted: Noted) -> str:
    more = noted.count - len(noted.first[:3])
    return ", ".join(noted.first[:3]) + (f" and {more:,} more" if more else "")


def _explained(reason: Filter, settings: dict[str, Any]) -> str:
    if reason is Filter.OTHER_IMAGES:
        return f" [{', '.join(settings.get('image_prefixes', ()))}]"
    if reason is Filter.REASONING_TOO_LONG:
        return f" [{settings.get('max_reasoning_tokens')} tokens or more]"
    return ""
