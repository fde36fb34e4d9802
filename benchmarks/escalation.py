"""What hint levels add to a training step: lazy, eager and speculative escalation and the original's schedule, over plain GRPO.

    python benchmarks/escalation.py [--steps 6]
    python benchmarks/escalation.py --size 3B --median_tokens 128 --max_tokens 512       on a GPU

One trainer with one vLLM engine in its process runs steps of all variants in turn, so that other load on the machine affects
all alike; the table has ratios of medians.

- Half of a step's prompts fail level 0 and half of those level 1, fixed in advance (the model has random weights).
- Each completion's length is drawn from a log-normal distribution, by round, prompt, level and place in the group, and is the
  same for all variants. A hint that gives a third of a reasoning leaves two thirds to write. Sigma 0.6 is that of Qwen2-VL-7B's
  published answers to GeoQA (the longest is ten times the median).
- The published command's step on a node of 8 GPUs has 7 prompts x 4 completions; here it has 8 x 4.
- On a GPU: weights in float32, computation and sampling in bfloat16, and vLLM sleeps while the policy is trained.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hint_grpo.machine.stack import HAS_CUDA

import argparse
import json
import math
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from copy import copy
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import vllm
from transformers import AutoModelForImageTextToText, AutoProcessor, PrinterCallback, TrainerCallback
from vllm.v1.engine.parallel_sampling import ParentRequest

from benchmarks.measuring import STAGES, device_name
from benchmarks.profiles import NEEDED_LEVELS, OriginalSchedule
from benchmarks.random_model import QWEN2_5_VL_3B, save_random_model, small
from benchmarks.step_model import Work
from hint_grpo.data.dataset import load_training_data
from hint_grpo.policies.paper import Adaptive, NoHints
from hint_grpo.rollout import vllm_colocate
from hint_grpo.toy.world import build_world
from hint_grpo.training.config import HintGRPOConfig

PLAIN, LAZY, EAGER = "num_groups 1", "num_groups 3, lazy", "num_groups 3, eager"
SPECULATIVE, ORIGINAL = "num_groups 3, speculative", "original's schedule"
EXTRA_PASS = "num_groups 1, a separate forward pass for old log-probabilities"  # as TRL does
SCHEDULES = {
    PLAIN: "lazy",
    EXTRA_PASS: "lazy",
    LAZY: "lazy",
    EAGER: "eager",
    SPECULATIVE: "speculative",
    ORIGINAL: "eager",
}
VARIANTS = tuple(SCHEDULES)
NUM_LEVELS = 3


@dataclass(frozen=True, slots=True)
class Lengths:
    """The lengths of completions without a hint, in tokens: log-normal, cut at `longest`."""

    median: int
    sigma: float
    longest: int

    def __call__(self, key: str, level: int, num_levels: int = NUM_LEVELS) -> int:
        """The length that `key` determines, shorter by the share of the reasoning that the level's hint gives."""
        drawn = random.Random(key).lognormvariate(math.log(self.median), self.sigma)
        return max(4, round(min(self.longest, drawn) * (1 - level / num_levels)))


class FixedLengthVLLM(vllm_colocate.ColocatedVLLM):
    """Ends every completion at its length from `lengths`, which is the same for all variants of a round."""

    lengths: Lengths
    round_number = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # vLLM derives each completion's sampling settings here from those of its group: set its length too.
        one_of_a_group = ParentRequest._get_child_sampling_params

        def with_length(request: ParentRequest, place: int) -> Any:
            prompt, level = request.external_req_id.split("-")
            tokens = self.lengths(f"{self.round_number}/{prompt}/{level}/{place}", int(level))
            settings = copy(one_of_a_group(request, place))
            settings.max_tokens = tokens
            return settings

        ParentRequest._get_child_sampling_params = with_length  # type: ignore[method-assign]

    def _settings(self, turn: Any, num_generations: int) -> dict[str, Any]:
        return super()._settings(turn, num_generations) | {"ignore_eos": True}


@dataclass(frozen=True, slots=True)
class Step:
    """What one step cost. `tokens`: all that were sampled, kept or not; `memory`: the most that PyTorch held, in bytes."""

    seconds: float
    stages: dict[str, float]
    tokens: int
    memory: int
    gap: float  # mean difference of vLLM's and the trainer's log-probabilities


class AlternateVariants(TrainerCallback):
    """Switches the trainer to the next variant before every step, and collects the steps by variant."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.steps: dict[str, list[Step]] = {variant: [] for variant in VARIANTS}
        self.prompt_tokens: list[int] = []
        self.hint_tokens: dict[int, list[int]] = {}  # by level, of groups that were sampled

    def on_step_begin(self, args: Any, state: Any, *rest: Any, **kwargs: Any) -> None:
        self.variant = VARIANTS[state.global_step % len(VARIANTS)]
        policy = NoHints() if self.variant in (PLAIN, EXTRA_PASS) else Adaptive(NUM_LEVELS)
        self.trainer.turn_builder = replace(self.trainer.turn_builder, policy=policy)
        self.trainer.args.schedule = SCHEDULES[self.variant]
        self.trainer.scores_all_levels = self.variant == ORIGINAL
        self.trainer._separate_old_logps = self.variant == EXTRA_PASS
        self.trainer.backend.round_number = state.global_step // len(VARIANTS)
        self.trainer.stages.take()
        if HAS_CUDA:
            torch.cuda.reset_peak_memory_stats()
        self.start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, *rest: Any, **kwargs: Any) -> None:
        if HAS_CUDA:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self.start
        stages = self.trainer.stages.take()
        gap = self.trainer._metrics["train"]["sampling/sampling_logp_difference/mean"][-1]
        if state.global_step <= len(VARIANTS):  # warm-up
            return
        rollouts = self.trainer.batch.rollouts
        tokens = sum(rollout.num_tokens for rollout in rollouts)
        memory = torch.cuda.max_memory_allocated() if HAS_CUDA else 0
        for turn in (group.turn for rollout in rollouts for group in rollout.groups.values()):
            self.prompt_tokens.append(len(turn.prompt.ids))
            self.hint_tokens.setdefault(turn.hint.level, []).append(len(turn.begun_ids))
        step = Step(seconds, {name: stages[name] for name in STAGES}, tokens, memory, gap)
        self.steps[self.variant].append(step)
        print(
            f"{self.variant}: {seconds:.2f} s, of that sampling {stages['generate']:.2f} s, {tokens} tokens", flush=True
        )


def setting_of(measured: AlternateVariants, lengths: Lengths, arguments: argparse.Namespace) -> dict[str, Any]:
    """What benchmarks/step_model.py needs to predict these steps: the lengths, levels and prompts of every round."""
    prompts, places = range(arguments.prompts), range(arguments.group)
    works = [
        Work(
            lengths_BHG=[
                [
                    [lengths(f"{number}/{prompt}/{level}/{place}", level) for place in places]
                    for level in range(NUM_LEVELS)
                ]
                for prompt in prompts
            ],
            needed_B=[NEEDED_LEVELS[prompt % len(NEEDED_LEVELS)] for prompt in prompts],
            prompt_tokens=round(statistics.mean(measured.prompt_tokens)),
            hint_tokens_H=[round(statistics.mean(measured.hint_tokens[level])) for level in range(NUM_LEVELS)],
        )
        for number in range(1, arguments.steps + 1)
    ]
    schedules = {
        variant: (schedule, 1 if variant == PLAIN else NUM_LEVELS, variant == ORIGINAL)
        for variant, schedule in SCHEDULES.items()
        if variant != EXTRA_PASS
    }
    return {"works": list(map(asdict, works)), "schedules": schedules, "plain": PLAIN, "eager": EAGER}


def measure(root: Path, arguments: argparse.Namespace) -> tuple[AlternateVariants, int]:
    """Runs one warm-up step and `steps` steps per variant; returns the measurements and the model's number of parameters."""
    world = build_world(root / "world", num_train=160, num_test=1, families=("Qwen2.5-VL",))
    size = QWEN2_5_VL_3B if arguments.size == "3B" else small(arguments.hidden_size, arguments.layers)
    parameters = save_random_model(root / "model", size, end_share=0.0)
    processor = AutoProcessor.from_pretrained(root / "model", padding_side="left")
    dataset, _ = load_training_data(world.train_data, tokenizer=processor.tokenizer)
    dataset = dataset.filter(lambda row: len(row["reasoning_steps"]) >= 3)
    config = HintGRPOConfig(
        output_dir=str(root / "run"),
        per_device_train_batch_size=arguments.prompts,
        num_generations=arguments.group,
        max_completion_length=arguments.max_tokens,
        max_prompt_length=512,
        max_steps=len(VARIANTS) * (arguments.steps + 1),
        num_train_epochs=99,
        learning_rate=0.0,  # every step does the same work
        num_groups=NUM_LEVELS,
        escalation="eager",  # so that the engine is large enough for all levels at once
        use_vllm=True,
        vllm_mode="colocate",
        vllm_enable_sleep_mode=HAS_CUDA,
        vllm_gpu_memory_utilization=arguments.gpu_memory_utilization,
        bf16=HAS_CUDA,
        use_cpu=not HAS_CUDA,
        save_strategy="no",
        log_completions=False,
        disable_tqdm=True,
        logging_strategy="no",
    )
    config.rollout_dtype = "bfloat16" if HAS_CUDA else None

    def accuracy(completions: list[Any], **_: Any) -> list[float]:
        return [0.0] * len(completions)  # replaced by the scorer of ProfiledTrainer

    FixedLengthVLLM.lengths = Lengths(arguments.median_tokens, arguments.sigma, arguments.max_tokens)
    vllm_colocate.ColocatedVLLM = FixedLengthVLLM  # type: ignore[misc]
    trainer = OriginalSchedule(
        model=AutoModelForImageTextToText.from_pretrained(root / "model", dtype=torch.float32),
        reward_funcs=[accuracy],
        accuracy=accuracy,
        args=config,
        train_dataset=dataset,
        processing_class=processor,
    )
    trainer.remove_callback(PrinterCallback)
    measured = AlternateVariants(trainer)
    trainer.add_callback(measured)
    trainer.train()
    return measured, parameters


def report(steps: dict[str, list[Step]], parameters: int, arguments: argparse.Namespace) -> str:

    def middle(variant: str, value: Callable[[Step], float]) -> float:
        return statistics.median(map(value, steps[variant]))

    seconds = {variant: middle(variant, lambda step: step.seconds) for variant in VARIANTS}
    tokens = {variant: statistics.mean(step.tokens for step in steps[variant]) for variant in VARIANTS}
    lines = [
        f"{device_name()}, {platform.machine()}, torch {torch.__version__}, vllm {vllm.__version__}; random Qwen2.5-VL of "
        f"{parameters / 1e6:.0f} M parameters, {arguments.prompts} prompts x {arguments.group} completions, median length "
        f"{arguments.median_tokens}, sigma {arguments.sigma}, at most {arguments.max_tokens} tokens; median of "
        f"{len(steps[PLAIN])} steps of each variant",
        "",
        "| variant | s per step | over num_groups 1 | of that sampling (s) | tokens sampled per step | over num_groups 1 |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {variant} | {seconds[variant]:.2f} | {100 * (seconds[variant] / seconds[PLAIN] - 1):+.1f} % | "
        f"{middle(variant, lambda step: step.stages['generate']):.2f} | {tokens[variant]:.0f} | "
        f"{tokens[variant] / tokens[PLAIN]:.2f} x |"
        for variant in VARIANTS
    ]
    lines += [
        "",
        f"| variant | {' | '.join(f'{name} (s)' for name in STAGES)} | sampled tokens/s | peak memory (GiB) | gap |",
        f"|---|{'---|' * (len(STAGES) + 3)}",
    ]
    for variant in VARIANTS:
        times = " | ".join(f"{middle(variant, lambda step, n=name: step.stages[n]):.2f}" for name in STAGES)  # type: ignore[misc]
        speed = middle(variant, lambda step: step.tokens / step.stages["generate"])
        memory = f"{max(step.memory for step in steps[variant]) / 2**30:.1f}" if HAS_CUDA else "-"
        lines.append(f"| {variant} | {times} | {speed:.0f} | {memory} | {middle(variant, lambda step: step.gap):.1e} |")
    return "\n".join([*lines, "", "The paper reports +20.5 % for its own schedule at M = 3 (7B, 8 GPUs)."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6, help="measured steps per variant")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=4)
    parser.add_argument(
        "--size", choices=("small", "3B"), default="small", help="3B: Qwen2.5-VL-3B's dimensions, for a GPU"
    )
    parser.add_argument("--hidden_size", type=int, default=320, help="of the small model")
    parser.add_argument("--layers", type=int, default=6, help="of the small model")
    parser.add_argument("--median_tokens", type=int, default=48, help="of a completion's length without a hint")
    parser.add_argument("--sigma", type=float, default=0.6, help="of the logarithm of that length")
    parser.add_argument("--max_tokens", type=int, default=192, help="the longest completion")
    parser.add_argument("--gpu_memory_utilization", type=float, default=0.3, help="vLLM's share of a GPU")
    parser.add_argument("--json", type=Path, help="also write the raw numbers to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured, parameters = measure(Path(folder), arguments)
    print(report(measured.steps, parameters, arguments))
    if arguments.json:
        steps = {variant: list(map(asdict, those)) for variant, those in measured.steps.items()}
        setting = setting_of(measured, FixedLengthVLLM.lengths, arguments)
        arguments.json.write_text(json.dumps({"steps": steps, "setting": setting}))


if __name__ == "__main__":
    main()
