"""Lengths in tokens: of a prompt against what the model can hold."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """What a prompt may cost. None: no limit."""

    max_prompt_length: int | None
    max_completion_length: int
    context_length: int | None

    def prompt_problem(self, prompt_tokens: int) -> str | None:
        """Why a prompt (image included, no hint) cannot be used at all; None where it can. It is never cut."""
        if self.max_prompt_length is not None and prompt_tokens > self.max_prompt_length:
            return f"prompt is longer than --max_prompt_length {self.max_prompt_length}"
        return None

    def prompt_fits(self, prompt_tokens: int, begun_tokens: int = 0) -> bool:
        """Whether prompt, begun turn (`<think>` and the hint) and a whole completion fit the model's context.

        Where they do not, the hint level is skipped and counted; at level 0 the sample is.
        """
        total = prompt_tokens + begun_tokens + self.max_completion_length
        return self.context_length is None or total <= self.context_length

    def fitting_levels(
        self, plain_tokens: int, levels: Mapping[int, tuple[int, int]]
    ) -> tuple[tuple[int, ...], str | None]:
        """Which hint levels of a sample fit, and why it cannot be used at all (None where it can).

        `plain_tokens` is the prompt without a hint; `levels` holds (prompt tokens, begun tokens) by level. Training and the
        check before it both decide here.
        """
        if problem := self.prompt_problem(plain_tokens):
            return (), f"{problem} ({plain_tokens} tokens)"
        fitting = tuple(level for level, (prompt, begun) in levels.items() if self.prompt_fits(prompt, begun))
        lowest = min(levels)
        if lowest not in fitting:
            tokens = sum(levels[lowest])
            return (), f"prompt and completion do not fit the context of {self.context_length} ({tokens} tokens)"
        return fitting, None
