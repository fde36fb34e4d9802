"""Run by torchrun: two ranks that escalate differently. Each prints, as JSON, what it saw of its own completions.

Rank 0's questions are right at once, rank 1's only with the longest hint. Every completion's log-probabilities under its own
prompt are compared with the sampler's: those of another prompt's completion would be far off.
"""

import hint_grpo.machine.stack  # noqa: F401

import json
import os
import sys
from pathlib import Path

import torch

from hint_grpo.training import run
from hint_grpo.training.command_line import parse


def right_late(completions, begun, **_):
    """Right from the second step of reasoning on; rank 0's always. Half of a group, so that there is an advantage."""
    late = int(os.environ["RANK"]) == 1
    right = not late or len(begun[0]) > right_late.threshold
    return [float(right and place % 2 == 0) for place in range(len(completions))]


right_late.threshold = 40


def largest_gap(trainer) -> float | None:
    """Max over this rank's completions of the mean |trainer's - sampler's log-probability| per token; None: it is the policy."""
    if not trainer.use_vllm:
        return None
    never = torch.tensor(trainer.vllm_generation.suppressed_ids)
    model = trainer.accelerator.unwrap_model(trainer.model)
    gaps = []
    for rollout in trainer.batch.rollouts:
        for group in rollout.groups.values():
            turn = group.turn
            for completion in group.completions:
                begun = turn.prompt.ids + turn.begun_ids
                ids = torch.tensor([begun + completion.token_ids])
                types = (ids == model.config.image_token_id).long()
                with torch.no_grad():
                    logits = model(input_ids=ids, mm_token_type_ids=types, **turn.prompt.image_inputs).logits[0]
                logits = logits[len(begun) - 1 : -1] / trainer.args.temperature
                logits[:, never] = -torch.inf
                logps = torch.log_softmax(logits, -1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
                gaps.append((logps - torch.tensor(completion.logps)).abs().mean().item())
    return max(gaps)


def main(report: Path) -> None:
    script, training, model = parse(sys.argv[2:])
    processor = run.load_processor(model, training)
    dataset, _ = run.load_data(script, training, processor)
    seen = []
    with run.rollout_server(training, model) as server:
        trainer = run.make_trainer(script, training, model, dataset, processor, server)
        trainer.scorer.accuracy, trainer.scorer.rewards = right_late, [right_late]
        record = trainer._record

        def look(*arguments):
            seen.append(
                {
                    "levels": [sorted(rollout.groups) for rollout in trainer.batch.rollouts],
                    "chosen": [rollout.chosen for rollout in trainer.batch.rollouts],
                    "solutions": [row["solution"] for row in trainer.batch.rows],
                    "gap": largest_gap(trainer),
                }
            )
            record(*arguments)

        trainer._record = look
        trainer.train()
    report.with_suffix(f".{training.process_index}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
