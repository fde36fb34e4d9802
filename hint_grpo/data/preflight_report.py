"""What the check before a run found: printed line by line, and the positions that a run has to leave out."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from hint_grpo.data.jsonl import Noted
from hint_grpo.data.lengths import LengthLimits
from hint_grpo.data.report import histogram


@dataclass
class PreflightReport:
    """Counts over everything checked; `skip` holds the positions, in the order checked, of what cannot be used."""

    name: str
    limits: LengthLimits
    has_hints: bool
    checked: int = 0
    seconds: float = 0.0
    skip: list[int] = field(default_factory=list)
    unusable: dict[str, Noted] = field(default_factory=dict)
    compared_as_text: Noted = field(default_factory=Noted)
    longest_tokens: int = 0
    longest_source: str = ""
    skipped_levels: Counter[int] = field(default_factory=Counter)
    leaks: Counter[int] = field(default_factory=Counter)
    num_levels: int = 1
    by_steps: Counter[int] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """Whether a run could use everything that was checked."""
        return not self.skip

    def note_lengths(self, source: str, levels: list[tuple[int, int]]) -> list[str]:
        """(prompt tokens, begun tokens) of each level: keeps the longest, counts levels that do not fit.

        Returns what makes the sample unusable: its prompt without a hint is too long.
        """
        longest = max(prompt + begun for prompt, begun in levels)
        if longest > self.longest_tokens:
            self.longest_tokens, self.longest_source = longest, source
        first = levels[0][0]
        if problem := self.limits.prompt_problem(first):
            return [f"{problem} ({first} tokens)"]
        fits = [self.limits.prompt_fits(prompt, begun) for prompt, begun in levels]
        if not fits[0]:
            return [f"prompt and completion do not fit the context of {self.limits.context_length} ({first} tokens)"]
        self.skipped_levels.update(level for level, does in enumerate(fits) if not does)
        return []

    def note_item(self, source: str, num_steps: int, leaks: list[bool], problems: list[str]) -> None:
        """Counts one item; any problem makes it unusable."""
        if problems:
            self.skip.append(self.checked)
        for problem in problems:
            self.unusable.setdefault(problem.partition(" (")[0], Noted()).add(f"{source}: {problem}")
        self.checked += 1
        self.by_steps[num_steps] += 1
        self.num_levels = max(self.num_levels, len(leaks))
        self.leaks.update(level for level, leak in enumerate(leaks) if leak)

    def lines(self) -> list[str]:
        """The report as text, one fact a line."""
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
        for level in range(self.num_levels):
            share = 100 * self.leaks[level] / max(1, self.checked)
            skipped = (
                f"; too long for the context: {self.skipped_levels[level]:,}" if self.skipped_levels[level] else ""
            )
            lines.append(f"  level {level}: the hint already holds the answer in {share:.1f} %{skipped}")
        return lines
