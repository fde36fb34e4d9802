"""How a step's time and memory grow with the size of a run, and how long a start takes as the data grows.

    python benchmarks/scaling.py

Each setting runs in a fresh process: the toy world's Qwen2.5-VL, rollouts by transformers, no completion correct (so that all
levels are sampled, the worst case) and every completion of full length. Peak memory is what training uses above what the process
used before it. The base setting is measured first and last; the ratios are to the mean of the two.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import hint_grpo.machine.stack  # noqa: F401

import argparse
import json
import platform
import resource
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoProcessor, PrinterCallback

from benchmarks.measuring import StepTimes, device_name, in_fresh_process, peak_of
from hint_grpo.data.dataset import load_training_data
from hint_grpo.toy.world import build_world
from hint_grpo.training.config import HintGRPOConfig
from hint_grpo.training.trainer import HintGRPOTrainer

RECORDS = (1_000, 10_000, 100_000)  # training data sizes


@dataclass(frozen=True)
class Setting:
    """Size of a run: prompts per step, completions per group, hint levels (M), tokens per completion."""

    prompts: int = 2
    generations: int = 4
    levels: int = 2
    tokens: int = 32


BASE = Setting()
GROWN = {
    "prompts": (replace(BASE, prompts=4), replace(BASE, prompts=8)),
    "generations": (replace(BASE, generations=8), replace(BASE, generations=16)),
    "levels": (replace(BASE, levels=4),),
    "completion length": (replace(BASE, tokens=64), replace(BASE, tokens=128)),
}


def none_correct(completions: list[Any], **_: Any) -> list[float]:
    """A reward of 0 for every completion, so that every prompt goes through all levels."""
    return [0.0] * len(completions)


def train(setting: Setting, model: Path, data: Path, steps: int) -> tuple[float, int]:
    """Trains for one warm-up step and `steps` steps; returns (median seconds per step, peak bytes)."""
    processor = AutoProcessor.from_pretrained(model, padding_side="left")
    dataset, _ = load_training_data(data, tokenizer=processor.tokenizer)
    dataset = dataset.filter(lambda row: len(row["reasoning_steps"]) >= 4)  # enough steps for four different levels
    with tempfile.TemporaryDirectory() as out:
        config = HintGRPOConfig(
            output_dir=out,
            per_device_train_batch_size=setting.prompts,
            num_generations=setting.generations,
            num_groups=setting.levels,
            max_completion_length=setting.tokens,
            generation_kwargs={"min_new_tokens": setting.tokens},
            max_prompt_length=512,
            max_steps=steps + 1,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            log_completions=False,
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = HintGRPOTrainer(
            model=str(model),
            reward_funcs=[none_correct],
            accuracy=none_correct,
            args=config,
            train_dataset=dataset,
            processing_class=processor,
        )
        trainer.remove_callback(PrinterCallback)
        times = StepTimes()
        trainer.add_callback(times)
        peak = peak_of(trainer.train)
    return statistics.median(times.seconds[1:]), peak


def write_records(world_data: Path, folder: Path, count: int) -> None:
    """Writes `count` records in LLaVA-CoT's layout: the toy world's records repeated under other ids, and its pictures."""
    records = [json.loads(line) for line in (world_data / "train.jsonl").read_text().splitlines()]
    records = [record for record in records if record.get("image", "").startswith(("geoqa+/", "CLEVR_v1.0/"))]
    folder.mkdir()
    for name in ("geoqa+", "CLEVR_v1.0"):
        shutil.copytree(world_data / name, folder / name)
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for number in range(count):
            file.write(json.dumps(records[number % len(records)] | {"id": str(number)}, ensure_ascii=False) + "\n")


def start(model: Path, data: Path, cache: Path) -> tuple[float, int]:
    """Loads the training data and reads one sample; returns (seconds, peak bytes of the process)."""
    processor = AutoProcessor.from_pretrained(model)
    begun = time.perf_counter()
    dataset, _ = load_training_data(data, tokenizer=processor.tokenizer, cache_dir=cache)
    _ = dataset[len(dataset) // 2]
    return time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def step_table(world: Any, steps: int) -> list[str]:
    """Markdown lines: time and memory of a step for the base setting and those that grow one size."""
    model, data = world.models["Qwen2.5-VL"], world.train_data

    def run(setting: Setting) -> tuple[float, int]:
        return in_fresh_process(train, setting, model, data, steps)

    first = run(BASE)
    grown = {name: [(setting, *run(setting)) for setting in settings] for name, settings in GROWN.items()}
    last = run(BASE)
    base_s, base_peak = (first[0] + last[0]) / 2, (first[1] + last[1]) / 2
    lines = [
        "| what doubles | prompts x generations x levels x tokens | s per step | over base | prompts/s | peak MiB | over base |",
        "|---|---|---|---|---|---|---|",
        _line("(base)", BASE, base_s, base_peak, base_s, base_peak),
    ]
    for name, rows in grown.items():
        lines += [_line(name, setting, seconds, peak, base_s, base_peak) for setting, seconds, peak in rows]
    return lines


def _line(name: str, setting: Setting, seconds: float, peak: float, base_s: float, base_peak: float) -> str:
    size = f"{setting.prompts} x {setting.generations} x {setting.levels} x {setting.tokens}"
    return (
        f"| {name} | {size} | {seconds:.2f} | {seconds / base_s:.2f} | {setting.prompts / seconds:.2f} | "
        f"{peak / 2**20:.0f} | {peak / base_peak:.2f} |"
    )


def start_table(world: Any, root: Path) -> list[str]:
    """Markdown lines: time of the first start, which fills the cache of prepared data, and of a later one."""
    lines = [
        "| training records | data at the first start (s) | data at a later start (s) | a later start, imports and processor "
        "included (s) | its peak memory (MiB) |",
        "|---|---|---|---|---|",
    ]
    for count in RECORDS:
        folder, cache = root / f"data-{count}", root / f"cache-{count}"
        write_records(world.train_data, folder, count)
        first, _ = in_fresh_process(start, world.models["Qwen2.5-VL"], folder, cache)
        begun = time.perf_counter()
        later, peak = in_fresh_process(start, world.models["Qwen2.5-VL"], folder, cache)
        whole = time.perf_counter() - begun
        lines.append(f"| {count:,} | {first:.1f} | {later:.2f} | {whole:.1f} | {peak / 2**20:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5, help="steps per setting, after one to warm up")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        world = build_world(root / "world", num_train=240, num_test=1, families=("Qwen2.5-VL",))
        starts = start_table(world, root)
        steps = step_table(world, arguments.steps)
    print(
        f"{device_name()}, {platform.machine()}, torch {torch.__version__}; median of {arguments.steps} steps",
        end="\n\n",
    )
    print("\n".join([*steps, "", *starts]))


if __name__ == "__main__":
    main()
