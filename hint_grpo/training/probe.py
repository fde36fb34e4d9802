"""Predicts, before any training, how far hints would raise data utilisation for a model and a data set.

    python -m hint_grpo.training.probe --model_name_or_path MODEL --data_path DATA [flags of train_model.py] [--num_prompts 64]

For some prompts it samples a group of completions at every hint ratio that M = 1 to 4 levels use (0, 1/4, 1/3, 1/2, 2/3, 3/4),
with the engine, rewards and settings that a training with the same flags would use. For each M, these groups determine which
group the method would train on (paper section 3.2), and so the share of prompts with mixed rewards, S_valid.

Letters: B prompts, G completions per group, M hint levels.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hint_grpo.evaluation.results import wilson_interval
from hint_grpo.hints import num_hint_steps
from hint_grpo.machine.errors import UserError, run_main
from hint_grpo.training.command_line import parse

LEVELS = (1, 2, 3, 4)
"""The values of M to predict for."""
TWELFTHS = sorted({12 * level // num_levels for num_levels in LEVELS for level in range(num_levels)})
"""Their hint ratios, level / M, as whole numbers of twelfths."""
FILE_NAME = "probe.json"


@dataclass(frozen=True, slots=True)
class ProbedGroup:
    """G completions of one prompt with a hint of `num_steps` steps; `num_tokens` tokens were sampled in all."""

    num_steps: int
    accuracy_G: tuple[float, ...]
    num_tokens: int

    @property
    def num_right(self) -> int:
        return sum(accuracy == 1.0 for accuracy in self.accuracy_G)

    @property
    def is_mixed(self) -> bool:
        """Whether the group gives GRPO a gradient: some completions right and some wrong."""
        return 0 < self.num_right < len(self.accuracy_G)


@dataclass(frozen=True, slots=True)
class ProbedPrompt:
    """One prompt with L = `num_steps` reasoning steps, and its groups by the number of steps given as a hint."""

    id: str
    num_steps: int
    groups: Mapping[int, ProbedGroup]


# ----------------------------------------------------------------------------------------------------
# Predictions from sampled groups: pure functions


@dataclass(frozen=True, slots=True)
class RatioResult:
    """How the prompts are answered with one share of their reasoning as a hint. Shares are in [0, 1]."""

    ratio: str
    """level / M as text, such as "1/3"."""
    num_prompts: int
    right: float
    """Share of right completions."""
    solved: float
    """Share of prompts with at least one right completion."""
    mixed: float
    """Share of prompts with right and wrong completions."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What Hint-GRPO with M = `num_levels` would train on. Shares are in [0, 1]."""

    num_levels: int
    utilization: float
    """S_valid: share of prompts whose chosen group is mixed."""
    interval: tuple[float, float]
    """95 % (Wilson), over prompts."""
    never_correct: float
    """Share of prompts without a right completion at any level."""
    tokens_per_prompt: float
    """Sampled tokens with lazy escalation: the chosen level's and those of the levels below it."""


def needed_steps(num_steps: int) -> list[int]:
    """The distinct hint lengths, in steps, that M = 1 to 4 use for a reasoning of `num_steps` steps."""
    return sorted({num_hint_steps(num_steps, twelfths, 12) for twelfths in TWELFTHS})


def at_ratio(prompts: Sequence[ProbedPrompt], twelfths: int) -> RatioResult:
    """The result at the hint ratio `twelfths` / 12. A prompt whose hint does not fit the context is left out."""
    counts = [num_hint_steps(prompt.num_steps, twelfths, 12) for prompt in prompts]
    groups = [p.groups[count] for p, count in zip(prompts, counts, strict=True) if count in p.groups]
    num_completions = sum(len(group.accuracy_G) for group in groups)
    return RatioResult(
        ratio={0: "0", 3: "1/4", 4: "1/3", 6: "1/2", 8: "2/3", 9: "3/4"}[twelfths],
        num_prompts=len(groups),
        right=sum(group.num_right for group in groups) / max(1, num_completions),
        solved=sum(group.num_right > 0 for group in groups) / max(1, len(groups)),
        mixed=sum(group.is_mixed for group in groups) / max(1, len(groups)),
    )


def tried_groups(prompt: ProbedPrompt, num_levels: int) -> list[ProbedGroup]:
    """The groups that lazy escalation over M levels would sample for a prompt, lowest level first, up to the first success."""
    # Levels with the same hint are one level.
    counts = dict.fromkeys(num_hint_steps(prompt.num_steps, level, num_levels) for level in range(num_levels))
    tried = []
    for count in counts:
        if count in prompt.groups:
            tried.append(prompt.groups[count])
            if tried[-1].num_right:
                break
    return tried


def predict(prompts: Sequence[ProbedPrompt], num_levels: int) -> Prediction:
    """S_valid and sampling cost of Hint-GRPO with M = `num_levels`, over at least one prompt. M = 1 is plain GRPO."""
    tried_B = [tried_groups(prompt, num_levels) for prompt in prompts]
    # The method trains on the lowest level with a right completion, else on level 0.
    chosen_B = [tried[-1] if tried[-1].num_right else tried[0] for tried in tried_B]
    num_mixed = sum(group.is_mixed for group in chosen_B)
    return Prediction(
        num_levels=num_levels,
        utilization=num_mixed / len(prompts),
        interval=wilson_interval(num_mixed, len(prompts)),
        never_correct=sum(not group.num_right for group in chosen_B) / len(prompts),
        tokens_per_prompt=sum(group.num_tokens for tried in tried_B for group in tried) / len(prompts),
    )


def report(prompts: Sequence[ProbedPrompt], num_generations: int) -> tuple[str, dict[str, Any]]:
    """(the tables to print, the content of probe.json)."""
    ratios = [at_ratio(prompts, twelfths) for twelfths in TWELFTHS]
    predictions = [predict(prompts, num_levels) for num_levels in LEVELS]
    lines = [
        f"{len(prompts)} prompts, {num_generations} completions each at every hint ratio",
        "",
        "| hint | prompts | right completions | prompts with a right one | mixed groups |",
        "|---|---|---|---|---|",
        *(f"| {r.ratio} | {r.num_prompts} | {r.right:.3f} | {r.solved:.3f} | {r.mixed:.3f} |" for r in ratios),
        "",
        "| M | predicted utilisation [95 %] | never correct | sampled tokens a prompt |",
        "|---|---|---|---|",
    ]
    for p in predictions:
        name = f"{p.num_levels} (plain GRPO)" if p.num_levels == 1 else str(p.num_levels)
        low, high = p.interval
        lines.append(
            f"| {name} | {p.utilization:.3f} [{low:.3f}, {high:.3f}] | {p.never_correct:.3f} | {p.tokens_per_prompt:.0f} |"
        )
    values = {
        "num_generations": num_generations,
        "ratios": [asdict(ratio) for ratio in ratios],
        "predictions": [asdict(prediction) for prediction in predictions],
        "prompts": [asdict(prompt) for prompt in prompts],
    }
    return "\n".join(lines), values


# ----------------------------------------------------------------------------------------------------
# Sampling with the trainer's own engine and rewards


def sample_prompts(trainer: Any, num_prompts: int, seed: int) -> Iterator[ProbedPrompt]:
    """Draws `num_prompts` prompts and samples this process's share of them, one training batch at a time."""
    from hint_grpo.rollout.escalation import roll_out

    dataset, process, sampler = trainer.train_dataset, trainer.accelerator, trainer.sampler
    drawn = random.Random(seed).sample(range(len(dataset)), num_prompts)[process.process_index :: process.num_processes]
    batch_size = trainer.args.prompts_per_device
    for start in range(0, len(drawn), batch_size):
        used = sampler.prepare([dataset[row] for row in drawn[start : start + batch_size]], step=0)
        rows = [prompt.row for prompt in used]
        # Of the twelve levels of the run (see main), those that M = 1 to 4 use.
        turns_BH = [
            [turn for turn in prompt.turns if turn.hint.num_steps in needed_steps(len(prompt.row["reasoning_steps"]))]
            for prompt in used
        ]
        rollouts = roll_out(
            turns_BH,
            sampler.backend,
            sampler.batch_scorer(rows),
            num_generations=trainer.num_generations,
            schedule="eager",
        )
        for row, rollout in zip(rows, rollouts, strict=True):
            groups = [
                ProbedGroup(
                    group.turn.hint.num_steps,
                    tuple(group.accuracy_G),
                    sum(len(completion.token_ids) for completion in group.completions),
                )
                for group in rollout.groups.values()
            ]
            yield ProbedPrompt(row["id"], len(row["reasoning_steps"]), {group.num_steps: group for group in groups})


def main(arguments: Sequence[str] | None = None) -> int:
    """Samples, predicts, prints the tables and writes probe.json into --output_dir. Raises UserError for wrong flags."""
    parser = argparse.ArgumentParser(prog="python -m hint_grpo.training.probe", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--num_prompts", type=int, default=64, help="prompts to sample (default 64)")
    parser.add_argument("--probe_seed", type=int, default=0, help="seed for drawing the prompts (default 0)")
    options, rest = parser.parse_known_args(arguments)
    if options.num_prompts < 1:
        raise UserError(f"--num_prompts {options.num_prompts}: give 1 or more")

    # Twelve levels cover all hint ratios of M = 1 to 4; without the KL term no reference model is loaded.
    script, training, model = parse(
        ["--output_dir", "output/probe", *rest, "--hint_policy", "adaptive", "--num_groups", "12", "--beta", "0"]
    )

    # After `parse`, because these imports take seconds and a mistake in a flag should not wait for them.
    from accelerate.utils import gather_object

    from hint_grpo.training import run as run

    processor = run.load_processor(model, training)
    dataset, _ = run.load_data(script, training, processor)
    run.try_plugins(script, training, dataset)
    num_prompts = min(options.num_prompts, len(dataset))
    with redirect_stdout(sys.stderr), run.rollout_server(training, model) as server:
        trainer = run.make_trainer(script, training, model, dataset, processor, server)
        prompts = gather_object(list(sample_prompts(trainer, num_prompts, options.probe_seed)))
    if trainer.accelerator.is_main_process:
        text, values = report(prompts, training.num_generations)
        folder = Path(training.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE_NAME).write_text(json.dumps(values, indent=1) + "\n", "utf-8")
        print(f"{text}\n\nsaved to {folder / FILE_NAME}", flush=True)
    return 0


if __name__ == "__main__":
    run_main(main)
