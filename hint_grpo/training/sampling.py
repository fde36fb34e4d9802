"""BatchSampler: from a batch's data rows to its rollouts, with a policy, rewards and a backend that stay the same meanwhile.

The weights that sample must be in the backend before.
"""

import hint_grpo.machine.stack  # noqa: F401

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from accelerate.utils import gather_object

from hint_grpo.policies.base import sizes_of
from hint_grpo.rollout import redraw
from hint_grpo.rollout.escalation import LevelRule, Rollout, RolloutBackend, roll_out
from hint_grpo.rollout.mixed import roll_out_mixed
from hint_grpo.rollout.prompting import PreparedPrompt, TurnBuilder, prepare_prompt
from hint_grpo.rollout.scorer import BatchScorer, GroupScorer
from hint_grpo.training import ledger
from hint_grpo.training.batch import RolloutBatch


@dataclass(frozen=True, slots=True)
class BatchSampler:
    """Samples batches of one rank. `args`: HintGRPOConfig; `weights_F`: of the reward functions; `add_score_seconds` gets the
    time that scoring took, from any thread."""

    dataset: Sequence[dict[str, Any]]
    builder: TurnBuilder
    scorer: GroupScorer
    rule: LevelRule
    backend: RolloutBackend
    args: Any
    weights_F: Sequence[float]
    rank: int
    add_score_seconds: Callable[[float], None]

    def prepare(self, rows: Sequence[dict[str, Any]], step: int) -> list[PreparedPrompt]:
        """B rows to B prompts that can be sampled; a row that cannot be used is replaced by the next usable one."""
        return [
            prepare_prompt(self.builder, self.dataset, row, index=index, step=step) for index, row in enumerate(rows)
        ]

    def sample(self, prompts: Sequence[PreparedPrompt], step: int, *, weights_step: int) -> RolloutBatch:
        """B prompts to B rollouts. `weights_step`: how many steps the weights in the backend have been trained for."""
        rollouts = self._roll_out(prompts, step)
        if not self.args.keep_sampling:
            return RolloutBatch(step, prompts, rollouts, weights_step)
        fresh = redraw.fresh_rows(
            len(self.dataset),
            used=[prompt.row["row"] for prompt in prompts],
            key=f"{self.args.seed}/{step}/{self.rank}",
        )
        drawn = redraw.until_useful(
            prompts,
            rollouts,
            max_rounds=self.args.keep_sampling,
            useful=lambda rollout: ledger.has_signal(rollout, self.weights_F),
            draw=lambda count: self.prepare([self.dataset[row] for row in islice(fresh, count)], step),
            roll_out=lambda new_prompts: self._roll_out(new_prompts, step),
            anywhere=lambda count: any(gather_object([count])),
        )
        return RolloutBatch(step, drawn.prompts, drawn.rollouts, weights_step, drawn.redrawn_tokens, drawn.num_redrawn)

    def _roll_out(self, prompts: Sequence[PreparedPrompt], step: int) -> list[Rollout]:
        """Level by level; or, with a policy that mixes hints in a group, round by round."""
        scorer = self.batch_scorer([prompt.row for prompt in prompts])
        if sizes := sizes_of(self.builder.policy, self.args.num_generations):
            next_turn = partial(self.builder.next_turn, prompts, step)
            return roll_out_mixed([prompt.turns[0] for prompt in prompts], sizes, self.backend, scorer, next_turn)
        return roll_out(
            [prompt.turns for prompt in prompts],
            self.backend,
            scorer,
            num_generations=self.args.num_generations,
            schedule=self.args.schedule,
            rule=self.rule,
        )

    def batch_scorer(self, rows: list[dict[str, Any]]) -> BatchScorer:
        """Scores the completions of a batch; `rows`: its data rows (B)."""
        return BatchScorer(self.scorer, rows, self.add_score_seconds)


def reward_arguments(state: Any, log_metric: Callable[[str, float], None]) -> dict[str, Any]:
    """What TRL passes to reward functions beside the columns. Its table of completions is not written: no `log_extra`."""
    return {"trainer_state": state, "log_metric": log_metric, "log_extra": lambda *_: None}
