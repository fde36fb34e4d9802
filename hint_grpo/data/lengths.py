"""Which prompts and hint levels fit: their length in tokens against the run's limits and the model's context.

One rule for the check before a run (preflight.py, preflight_report.py), training (rollout/prompting.py) and evaluation. It
is apart from preflight.py because the report, which preflight.py imports, needs it too, and because preflight.py imports
`datasets`, which costs evaluation two seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """Limits in tokens. None: no limit."""

    max_prompt_length: int | None
    max_completion_length: int
    context_length: int | None

    def prompt_problem(self, prompt_tokens: int) -> str | None:
        """Why a prompt (with its image, without a hint) is too long to be used; None if it is not. It is never truncated."""
        if self.max_prompt_length is not None and prompt_tokens > self.max_prompt_length:
            return f"prompt is longer than --max_prompt_length {self.max_prompt_length}"
        return None

    def prompt_fits(self, prompt_tokens: int, begun_tokens: int = 0) -> bool:
        """Whether the prompt, the begun turn (`<think>` and the hint) and a full-length completion fit the context.

        A hint level that does not fit is skipped and counted; if level 0 does not fit, the sample is.
        """
        total = prompt_tokens + begun_tokens + self.max_completion_length
        return self.context_length is None or total <= self.context_length

    def fitting_levels(
        self, plain_tokens: int, levels: Mapping[int, tuple[int, int]]
    ) -> tuple[tuple[int, ...], str | None]:
        """(the hint levels of a sample that fit, why the sample cannot be used at all or None).

        `plain_tokens` is the prompt without a hint; `levels` holds (prompt tokens, begun tokens) by level. Both training and
        the check before it use this function.
        """
        if problem := self.prompt_problem(plain_tokens):
            return (), f"{problem} ({plain_tokens} tokens)"
        fitting = tuple(level for level, (prompt, begun) in levels.items() if self.prompt_fits(prompt, begun))
        lowest = min(levels)
        if lowest not in fitting:
            tokens = sum(levels[lowest])
            return (), f"prompt and completion do not fit the context of {self.context_length} ({tokens} tokens)"
        return fitting, None
