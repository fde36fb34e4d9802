"""The result of the check before a run (preflight.py): a text report, and the positions that a run must leave out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hint_grpo.data.jsonl import Occurrences
from hint_grpo.data.samples import histogram
from hint_grpo.hints import LengthLimits


@dataclass
class PreflightReport:
    """Counts over everything checked; `skip` holds the positions (in checking order) of what cannot be used."""

    name: str
    limits: LengthLimits
    has_hints: bool
    checked: int = 0
    seconds: float = 0.0
    skip: list[int] = field(default_factory=list)
    unusable: dict[str, Occurrences] = field(default_factory=dict)
    compared_as_text: Occurrences = field(default_factory=Occurrences)
    longest_tokens: int = 0
    longest_source: str = ""
    skipped_levels: Counter[int] = field(default_factory=Counter)
    """By level: samples whose prompt at this level is too long for the context."""
    leaks: Counter[int] = field(default_factory=Counter)
    """By level: samples whose hint contains the answer."""
    levels: Counter[int] = field(default_factory=Counter)
    """By level: samples that have this level (levels that repeat the hint of the level below are skipped)."""
    by_steps: Counter[int] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """Whether a run could use everything that was checked."""
        return not self.skip

    def add_lengths(self, source: str, plain_tokens: int, levels: Mapping[int, tuple[int, int]]) -> list[str]:
        """Records a sample's tokens: of its prompt without a hint, and (prompt, begun turn) by level.

        Keeps the longest, counts levels that do not fit, and returns what makes the sample unusable ([] if nothing).
        """
        longest = max(prompt + begun for prompt, begun in levels.values())
        if longest > self.longest_tokens:
            self.longest_tokens, self.longest_source = longest, source
        fitting, problem = self.limits.fitting_levels(plain_tokens, levels)
        if problem:
            return [problem]
        self.skipped_levels.update(level for level in levels if level not in fitting)
        return []

    def add_item(self, source: str, num_steps: int, leaks: Mapping[int, bool], problems: list[str]) -> None:
        """Counts one item; `leaks` tells by level whether the hint contains the answer. Any problem makes it unusable."""
        if problems:
            self.skip.append(self.checked)
        for problem in problems:
            # Grouped by the part before the details in brackets.
            self.unusable.setdefault(problem.partition(" (")[0], Occurrences()).add(f"{source}: {problem}")
        self.checked += 1
        self.by_steps[num_steps] += 1
        self.levels.update(list(leaks))
        self.leaks.update(level for level, leak in leaks.items() if leak)

    @classmethod
    def merged(cls, reports: Sequence["PreflightReport"]) -> "PreflightReport":
        """One report from the parts that the ranks checked, in rank order."""
        first = reports[0]
        total = cls(first.name, first.limits, first.has_hints)
        for part in reports:
            total.skip += [total.checked + position for position in part.skip]
            total.checked += part.checked
            total.seconds = max(total.seconds, part.seconds)
            for reason, places in part.unusable.items():
                total.unusable.setdefault(reason, Occurrences()).extend(places)
            total.compared_as_text.extend(part.compared_as_text)
            if part.longest_tokens > total.longest_tokens:
                total.longest_tokens, total.longest_source = part.longest_tokens, part.longest_source
            for name in ("skipped_levels", "leaks", "levels", "by_steps"):
                getattr(total, name).update(getattr(part, name))
        return total

    def lines(self) -> list[str]:
        """The report as text, one fact per line."""
        per_thousand = 1000 * self.seconds / max(1, self.checked)
        lines = [
            f"checked {self.checked:,} {self.name} in {self.seconds:.1f} s ({per_thousand:.2f} s per thousand): "
            f"{len(self.skip):,} cannot be used"
        ]
        for reason, places in sorted(self.unusable.items(), key=lambda pair: -pair[1].count):
            lines += [f"  {places.count:,}: {reason}", *places.lines()]
        lines.append(self._length_line())
        if self.compared_as_text.count:
            lines.append(f"  ground truths that are compared as text, not as a value: {self.compared_as_text.count:,}")
            lines += self.compared_as_text.lines()
        return lines + (self._hint_lines() if self.has_hints else [])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def _length_line(self) -> str:
        context = self.limits.context_length
        total = self.longest_tokens + self.limits.max_completion_length
        hint = " with its longest hint" if self.has_hints else ""
        of = f" of {context:,}" if context is not None else " (no limit is known)"
        return (
            f"  longest prompt{hint}: {self.longest_tokens:,} tokens ({self.longest_source}); with "
            f"{self.limits.max_completion_length:,} new ones {total:,}{of}"
        )

    def _hint_lines(self) -> list[str]:
        lines = [f"  samples by number of steps: {histogram(self.by_steps)}"]
        for level, count in sorted(self.levels.items()):
            share = 100 * self.leaks[level] / count
            skipped = self.skipped_levels[level]
            lines.append(
                f"  level {level}: {count:,} samples; the hint already holds the answer in {share:.1f} %"
                + (f"; too long for the context: {skipped:,}" if skipped else "")
            )
        return lines
