"""What a real training command costs: train_model.py on a model of random weights, from its own log.

    python benchmarks/training_run.py --size 3B --steps 4                                              on a GPU
    python benchmarks/training_run.py --size 3B --steps 4 --deepspeed local_scripts/zero3.json

The table has the median of the steps after the first: seconds per stage, sampled tokens per second, the difference of vLLM's and
the trainer's log-probabilities, and the most memory that PyTorch held. Random weights never answer: every prompt is sampled at
every level, and what is trained on is level 0.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hint_grpo.machine.stack import HAS_CUDA

import argparse
import json
import platform
import statistics
import subprocess
import tempfile
from typing import Any

import torch

from benchmarks.measuring import STAGES, device_name
from benchmarks.random_model import QWEN2_5_VL_3B, save_random_model, small
from eval.runs import ROOT, training_command
from hint_grpo.machine.errors import UserError, run_main
from hint_grpo.toy.world import write_training_data


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        parameters = prepare(root, arguments)
        rows = train(root, arguments)
    print(report(rows, parameters, arguments))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size", choices=("small", "3B"), default="small", help="3B: Qwen2.5-VL-3B's dimensions, for a GPU"
    )
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=8, help="per step")
    parser.add_argument("--group", type=int, default=4, help="completions per prompt")
    parser.add_argument("--max_tokens", type=int, default=256, help="of a completion")
    parser.add_argument("--end_share", type=float, default=0.005, help="share of end tokens in the random vocabulary")
    parser.add_argument("--escalation", default="auto")
    parser.add_argument("--deepspeed", help="a DeepSpeed configuration")
    parser.add_argument("--gpu_memory_utilization", type=float, default=0.25, help="vLLM's share of a GPU")
    parser.add_argument("--json", type=Path, help="also write the raw numbers to this file")
    return parser.parse_args()


def prepare(root: Path, arguments: argparse.Namespace) -> int:
    """Writes the model and the training data; returns the number of parameters."""
    write_training_data(root / "LLaVA-CoT-100k", 160, seed=0)
    size = QWEN2_5_VL_3B if arguments.size == "3B" else small(hidden_size=128, num_layers=2)
    parameters = save_random_model(root / "model", size, end_share=arguments.end_share)
    if HAS_CUDA:
        torch.cuda.empty_cache()  # the training is another process on the same GPU
    return parameters


def train(root: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs train_model.py; returns its log's steps. Raises UserError with the end of its output if it fails."""
    flags = {
        "model_name_or_path": root / "model",
        "data_path": root / "LLaVA-CoT-100k",
        "output_dir": root / "run",
        "per_device_train_batch_size": arguments.prompts,
        "num_generations": arguments.group,
        "max_completion_length": arguments.max_tokens,
        "max_prompt_length": 1024,
        "max_steps": arguments.steps,
        "learning_rate": 1e-6,
        "beta": 0.04,
        "temperature": 0.9,
        "torch_dtype": "bfloat16" if HAS_CUDA else None,
        "bf16": True if HAS_CUDA else None,
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": arguments.gpu_memory_utilization,
        "escalation": arguments.escalation,
        "deepspeed": arguments.deepspeed,
        "save_strategy": "no",
        "logging_steps": 1,
        "max_bad_steps": arguments.steps + 1,  # random weights give no training signal
        "report": False,
    }
    done = subprocess.run(training_command(flags), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"train_model.py failed:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    rows = [json.loads(line) for line in (root / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "time/generate" in row]


def report(rows: list[dict[str, Any]], parameters: int, arguments: argparse.Namespace) -> str:
    import vllm

    later = rows[1:] or rows

    def middle(name: str) -> float:
        return statistics.median(row.get(name, float("nan")) for row in later)

    times = {name: middle(f"time/{name}") for name in STAGES}
    tokens = statistics.median(row["hint/sampled_tokens"] + row.get("hint/discarded_tokens", 0.0) for row in later)
    step = middle("step_time")
    return "\n".join(
        [
            f"{device_name()}, {platform.machine()}, torch {torch.__version__}, vllm {vllm.__version__}; train_model.py on "
            f"a random Qwen2.5-VL of {parameters / 1e6:.0f} M parameters, {arguments.deepspeed or 'no DeepSpeed'}, escalation "
            f"{arguments.escalation}, {arguments.prompts} prompts x {arguments.group} completions of up to "
            f"{arguments.max_tokens} tokens; median of {len(later)} steps",
            "",
            f"| s per step | {' | '.join(f'{name} (s)' for name in STAGES)} | sampled tokens | tokens/s while sampling "
            "| gap, mean | gap, max | peak memory (GiB) |",
            f"|---|{'---|' * (len(STAGES) + 5)}",
            f"| {step:.2f} | {' | '.join(f'{value:.2f}' for value in times.values())} | {tokens:.0f} | "
            f"{tokens / times['generate']:.0f} | {middle('sampling/sampling_logp_difference/mean'):.1e} | "
            f"{middle('sampling/sampling_logp_difference/max'):.1e} | {middle('memory/peak_gib'):.1f} |",
        ]
    )


if __name__ == "__main__":
    run_main(main)
