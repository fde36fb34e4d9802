"""Questions per minute of the whole evaluation command, against plain vLLM: `python benchmarks/evaluation.py`.

    plain      a process that does what vLLM's documentation shows: opens the pictures, LLM(...), LLM.generate(...)
    1 scale    python test_model.py --scale 0.0
    2 scales   python test_model.py --scale 0.0 0.8

"whole" is the time from the start of the process to its end: imports, the check of pictures and weights, loading, decoding,
judging, the report. "decoding" is the part from the first question given to a loaded engine to the last answer. All use the same
engine settings, and plain the same repetition penalty, suppressed tokens and end tokens.

The methods alternate over several rounds and the table shows medians; ratios are computed within a round, because a machine is
seldom idle. Without --model_path a random model of about 25 million parameters and the toy world's questions are used.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hint_grpo.machine.errors import UserError, run_main

SCALES = {"1 scale": ("0.0",), "2 scales": ("0.0", "0.8")}
METHODS = ("plain", *SCALES)
END_SHARE = 0.01  # share of the random vocabulary that ends a completion


@dataclass(frozen=True, slots=True)
class Measurement:
    """One method in one round: seconds of the whole process and of decoding, tokens, completions at scale 0.0 by question id."""

    method: str
    whole: float
    decoding: float
    num_tokens: int
    completions: dict[str, str]

    def per_minute(self, part: str) -> float:
        """Questions per minute of a `part`, "whole" or "decoding"; a question asked at two scales counts once."""
        return 60 * len(self.completions) / getattr(self, part)


def main() -> None:
    arguments = parse()
    if arguments.plain:  # the process that `measure_plain` started
        print(json.dumps(plain(arguments)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        prepare(arguments, Path(scratch))
        rounds = []
        for number in range(arguments.rounds):
            rounds.append({method: measure(method, arguments, Path(scratch)) for method in METHODS})
            speeds = "  ".join(f"{method} {one.per_minute('whole'):.1f}" for method, one in rounds[-1].items())
            print(f"round {number + 1}, questions per minute of the whole process:  {speeds}", flush=True)
    print(
        f"\n{device()}, {arguments.questions} questions of up to {arguments.max_new_tokens} tokens, {arguments.rounds} rounds\n"
    )
    print(table(rounds))
    print(f"\n{agreement(rounds[0])}")
    if arguments.json:
        arguments.json.write_text(json.dumps([{m: asdict(one) for m, one in each.items()} for each in rounds]))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", type=Path, help="a real model instead of the random one")
    parser.add_argument("--prompt_path", type=Path, help="questions in GeoQA's layout (default: the toy world's)")
    parser.add_argument("--data_path", type=Path, help="folder Geo170K with their pictures")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--max_new_tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=32, help="questions in vLLM at once")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--gpu_memory_utilization", type=float, default=0.9)
    parser.add_argument(
        "--size", choices=("small", "3B"), default="small", help="3B: Qwen2.5-VL-3B's dimensions, for a GPU"
    )
    parser.add_argument("--hidden_size", type=int, default=512, help="of the small random model")
    parser.add_argument("--layers", type=int, default=6, help="of the small random model")
    parser.add_argument("--json", type=Path, help="also write the raw numbers to this file")
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if bool(arguments.prompt_path) != bool(arguments.data_path):
        raise UserError("--prompt_path and --data_path must be given together")
    return arguments


def prepare(arguments: argparse.Namespace, scratch: Path) -> None:
    """Fills in the defaults: the random model, the toy world's questions."""
    if arguments.prompt_path is None:
        from hint_grpo.toy.world import write_test_data

        arguments.prompt_path = write_test_data(scratch, arguments.questions, seed=0)
        arguments.data_path = scratch / "Geo170K"
    if arguments.model_path is None:
        from benchmarks.random_model import QWEN2_5_VL_3B, save_random_model, small

        arguments.model_path = scratch / "random"
        size = QWEN2_5_VL_3B if arguments.size == "3B" else small(arguments.hidden_size, arguments.layers)
        parameters = save_random_model(arguments.model_path, size, end_share=END_SHARE)
        print(f"random model of {parameters / 1e6:.1f} M parameters")


def device() -> str:
    from benchmarks.measuring import device_name

    return device_name()


# ----------------------------------------------------------------------------------------------------
# The methods, each in a new process


def measure(method: str, arguments: argparse.Namespace, scratch: Path) -> Measurement:
    return measure_plain(arguments) if method == "plain" else measure_command(method, arguments, scratch)


def measure_plain(arguments: argparse.Namespace) -> Measurement:
    from eval.runs import flag_words

    names = ("model_path", "prompt_path", "data_path", "questions", "max_new_tokens", "batch_size", "dtype")
    flags = {name: getattr(arguments, name) for name in (*names, "gpu_memory_utilization")}
    whole, output = timed([sys.executable, __file__, *flag_words(flags), "--plain"])
    return Measurement("plain", whole, **json.loads(output.splitlines()[-1]))


def measure_command(method: str, arguments: argparse.Namespace, scratch: Path) -> Measurement:
    from eval.runs import ROOT, flag_words
    from hint_grpo.evaluation.results import read_results, read_summary

    with tempfile.TemporaryDirectory(dir=scratch) as output:
        flags = {
            "model_path": arguments.model_path,
            "prompt_path": arguments.prompt_path,
            "data_path": arguments.data_path,
            "limit": arguments.questions,
            "max_new_tokens": arguments.max_new_tokens,
            "batch_size": arguments.batch_size,
            "dtype": arguments.dtype,
            "gpu_memory_utilization": arguments.gpu_memory_utilization,
            "backend": "vllm",
            "output_dir": output,
            "scale": SCALES[method],
        }
        whole, _ = timed([sys.executable, str(ROOT / "test_model.py"), *flag_words(flags)])
        decoding, num_tokens, completions = 0.0, 0, {}
        for scale in reversed(SCALES[method]):
            folder = Path(output) / f"scale-{scale}"
            results = read_results(folder / "results.jsonl")
            tokens = sum(result.num_tokens for result in results.values())
            decoding += tokens / read_summary(folder)["tokens_per_second"]
            num_tokens += tokens
            completions = {id: result.completion for id, result in results.items()}  # in the end those of scale 0.0
    return Measurement(method, whole, decoding, num_tokens, completions)


def timed(command: Sequence[str]) -> tuple[float, str]:
    """(seconds, stdout) of a process. Raises UserError with the end of its messages if it fails."""
    start = time.perf_counter()
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise UserError(f"{' '.join(command)} failed:\n{process.stderr[-3000:]}")
    return seconds, process.stdout


def plain(arguments: argparse.Namespace) -> dict[str, Any]:
    """vLLM's offline inference: the fields of a Measurement that this process knows."""
    from hint_grpo.machine.stack import inspect_models_in_this_process

    from PIL import Image
    from transformers import AutoConfig
    from vllm import LLM

    from benchmarks.plain_vllm import plain_sampling
    from hint_grpo.calibration.load import choose_dtype, load_decoding_processor, load_rules
    from hint_grpo.calibration.prompting import QuestionEncoder
    from hint_grpo.calibration.vllm_engine import EngineSettings, engine_values
    from hint_grpo.data.questions import read_questions
    from hint_grpo.prompts import evaluation_messages

    # 1. The engine, with the settings that test_model.py chooses.
    config = AutoConfig.from_pretrained(arguments.model_path)
    processor = load_decoding_processor(arguments.model_path, max_pixels=None, trust_remote_code=False)
    rules = load_rules(arguments.model_path, config, processor.tokenizer, repetition_penalty=None)
    settings = EngineSettings(
        model_path=arguments.model_path,
        dtype=str(choose_dtype(arguments.dtype)).removeprefix("torch."),
        max_num_seqs=2 * arguments.batch_size,
        max_new_tokens=arguments.max_new_tokens,
        gpu_memory_utilization=arguments.gpu_memory_utilization,
    )
    context_length = config.get_text_config().max_position_embeddings
    encoder = QuestionEncoder(processor, max_new_tokens=arguments.max_new_tokens, context_length=context_length)
    inspect_models_in_this_process()
    llm = LLM(**engine_values(settings, encoder, rules))
    sampling = plain_sampling(rules, arguments.max_new_tokens)
    # 2. Prompts and pictures, then the completions.
    questions = read_questions(arguments.prompt_path, arguments.data_path, limit=arguments.questions).questions
    start = time.perf_counter()
    prompts = [
        {
            "prompt": processor.apply_chat_template(
                evaluation_messages(question.question, with_image=True), tokenize=False, add_generation_prompt=True
            ),
            "multi_modal_data": {"image": Image.open(question.image).convert("RGB")},
        }
        for question in questions
    ]
    outputs = [output.outputs[0] for output in llm.generate(prompts, sampling, use_tqdm=False)]
    decoding = time.perf_counter() - start
    # vLLM's own texts may end differently, in the middle of a character.
    texts = [encoder.completion_text(output.token_ids) for output in outputs]
    return {
        "decoding": decoding,
        "num_tokens": sum(len(output.token_ids) for output in outputs),
        "completions": {question.id: text for question, text in zip(questions, texts, strict=True)},
    }


# ----------------------------------------------------------------------------------------------------
# Results


def table(rounds: Sequence[dict[str, Measurement]]) -> str:
    """Medians over the rounds as Markdown. "x plain": questions per minute over those of plain in the same round."""
    lines = [
        "| | tokens | whole (s) | questions/min | x plain | decoding (s) | questions/min | x plain |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in rounds[0]:
        cells = [method, str(rounds[0][method].num_tokens)]
        for part in ("whole", "decoding"):
            cells += [
                f"{statistics.median(getattr(each[method], part) for each in rounds):.1f}",
                f"{statistics.median(each[method].per_minute(part) for each in rounds):.1f}",
                f"{times_plain(rounds, method, part):.2f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def times_plain(rounds: Sequence[dict[str, Measurement]], method: str, part: str) -> float:
    """Median ratio of questions per minute of a method and of plain vLLM."""
    return statistics.median(each[method].per_minute(part) / each["plain"].per_minute(part) for each in rounds)


def agreement(measured: dict[str, Measurement]) -> str:
    """For how many questions test_model.py at scale 0.0 and plain vLLM gave the same completion."""
    plain_texts, own = measured["plain"].completions, measured["1 scale"].completions
    same = sum(own[id] == text for id, text in plain_texts.items())
    return f"same completion at scale 0.0 and by plain vLLM for {same} of {len(plain_texts)} questions"


if __name__ == "__main__":
    run_main(main)
