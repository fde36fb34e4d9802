"""Calibrated decoding in five ways, in one run on one machine: `python benchmarks/calibrated_decoding.py`.

    paper     transformers' generate, a logits processor on doubled static batches of 10 (as in the paper's code)
    hf        hint_grpo's transformers path: batches by length, finished questions leave the batch
    vllm      hint_grpo's vLLM path
    vllm-0    the same at scale 0: one request per question
    plain     vLLM's LLM.generate without calibration or hint_grpo's decoder

Targets on two CPU cores: vllm at least 2.5 times as fast as paper, and a calibrated token at most 2.1 times the cost of a plain
one. Each measurement is a fresh process. The methods alternate over several rounds and the table shows medians, because a
machine is seldom idle. Without --model_path a random model of about 25 million parameters is used.

    python benchmarks/calibrated_decoding.py --size 3B --questions 16 64 256 --paper_batch_size 256 --rounds 1      on a GPU

With several numbers of questions a process decodes each in turn, all at once where the method's batch size allows it.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.machine.errors import UserError, run_main

METHODS = ("paper", "hf", "vllm", "vllm-0", "plain")
NUM_WARM_UP = 2  # questions decoded before the clock starts
Tokens = dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One method in one round, for the first `questions`: wall and CPU seconds, and each question's tokens by its id."""

    method: str
    questions: int
    seconds: float
    cpu_seconds: float
    tokens: Tokens

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.tokens.values()))

    @property
    def speed(self) -> float:
        """Tokens per second of wall time."""
        return self.num_tokens / self.seconds


def main() -> None:
    arguments = parse()
    # A process that `in_fresh_process` started: one measurement, printed as the last line.
    if arguments.worker:
        print(json.dumps([asdict(measured) for measured in measure(arguments)]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        prepare(arguments, Path(scratch))
        rounds = []
        for number in range(arguments.rounds):
            rounds.append({method: in_fresh_process(method, arguments) for method in arguments.methods})
            for place, questions in enumerate(arguments.questions):
                speeds = "  ".join(f"{method} {measured[place].speed:.0f}" for method, measured in rounds[-1].items())
                print(f"round {number + 1}, {questions} questions, tokens/s:  {speeds}", flush=True)
    for place in range(len(arguments.questions)):
        print(table([{method: measured[place] for method, measured in one.items()} for one in rounds], arguments))
    if arguments.json:
        arguments.json.write_text(json.dumps([{m: list(map(asdict, them)) for m, them in r.items()} for r in rounds]))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", type=Path, help="a real model instead of the random one")
    parser.add_argument("--prompt_path", type=Path, help="questions in GeoQA's layout (default: the toy world's)")
    parser.add_argument("--data_path", type=Path, help="folder Geo170K with their pictures")
    parser.add_argument("--questions", type=int, nargs="+", default=[40])
    parser.add_argument("--max_new_tokens", type=int, default=128)
    parser.add_argument("--scale", type=float, default=0.8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument(
        "--paper_batch_size", type=int, default=10, help="questions per batch of paper (10: the paper's)"
    )
    parser.add_argument("--hf_batch_size", type=int, default=10, help="questions per batch of hf")
    parser.add_argument("--vllm_batch_size", type=int, help="questions in vLLM at once (default: all)")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--gpu_memory_utilization", type=float, default=0.9)
    parser.add_argument("--end_share", type=float, default=0.01, help="share of end tokens in the random vocabulary")
    parser.add_argument(
        "--size", choices=("small", "3B"), default="small", help="3B: Qwen2.5-VL-3B's dimensions, for a GPU"
    )
    parser.add_argument("--hidden_size", type=int, default=512, help="of the small random model")
    parser.add_argument("--layers", type=int, default=6, help="of the small random model")
    parser.add_argument("--json", type=Path, help="also write the raw numbers to this file")
    parser.add_argument("--worker", choices=METHODS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if bool(arguments.prompt_path) != bool(arguments.data_path):
        raise UserError("--prompt_path and --data_path must be given together")
    arguments.vllm_batch_size = arguments.vllm_batch_size or max(arguments.questions)
    return arguments


def prepare(arguments: argparse.Namespace, scratch: Path) -> None:
    """Fills in the defaults: the random model, the toy world's questions."""
    if arguments.prompt_path is None:
        from hint_grpo.toy.world import write_test_data

        arguments.prompt_path = write_test_data(scratch, max(arguments.questions), seed=0)
        arguments.data_path = scratch / "Geo170K"
    if arguments.model_path is None:
        from random_model import QWEN2_5_VL_3B, save_random_model, small

        arguments.model_path = scratch / "random"
        size = QWEN2_5_VL_3B if arguments.size == "3B" else small(arguments.hidden_size, arguments.layers)
        parameters = save_random_model(arguments.model_path, size, end_share=arguments.end_share)
        print(f"random model of {parameters / 1e6:.1f} M parameters")


def in_fresh_process(method: str, arguments: argparse.Namespace) -> list[Measurement]:
    """Runs this script for one method. Raises UserError with the end of its output if it fails."""
    values = {
        name: value for name, value in vars(arguments).items() if name not in ("worker", "methods", "rounds", "json")
    }
    flags = [
        text
        for name, value in values.items()
        for text in (f"--{name}", *map(str, value if isinstance(value, list) else [value]))
    ]
    command = [sys.executable, __file__, *flags, "--worker", method]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise UserError(f"{method} failed:\n{process.stderr[-3000:]}")
    return [Measurement(**values) for values in json.loads(process.stdout.splitlines()[-1])]


def measure(arguments: argparse.Namespace) -> list[Measurement]:
    """Decodes every number of questions with `arguments.worker`; loading and the first NUM_WARM_UP are not measured."""
    requests = read_requests(arguments)
    decode = LOADERS[arguments.worker](arguments)
    decode(requests[:NUM_WARM_UP])
    measured = []
    for questions in arguments.questions:
        wall, cpu = time.perf_counter(), time.process_time()
        tokens = decode(requests[:questions])
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        measured.append(Measurement(arguments.worker, questions, seconds, cpu_seconds, tokens))
    return measured


def read_requests(arguments: argparse.Namespace) -> list[DecodeRequest]:
    lines = arguments.prompt_path.read_text(encoding="utf-8").splitlines()[: max(arguments.questions)]
    rows = [json.loads(line) for line in lines]
    root = arguments.data_path.resolve()
    return [
        DecodeRequest(str(index), row["question"], str(root / row["image_path"].partition("Geo170K/")[2]))
        for index, row in enumerate(rows)
    ]


# ----------------------------------------------------------------------------------------------------
# The methods: each loader returns a function from requests to tokens


def load_ours(arguments: argparse.Namespace, backend: str, batch_size: int, scale: float) -> Callable[..., Tokens]:
    """This project's decoder."""
    from hint_grpo.calibration.load import load_decoder

    decoder = load_decoder(
        arguments.model_path,
        backend=backend,
        batch_size=batch_size,
        max_new_tokens=arguments.max_new_tokens,
        dtype=arguments.dtype,
        gpu_memory_utilization=arguments.gpu_memory_utilization,
    )
    return lambda requests: {c.id: list(c.token_ids) for c in decoder.decode(requests, scale)}


def load_paper(arguments: argparse.Namespace) -> Callable[..., Tokens]:
    """Doubled static batches in the order of the questions; every row runs until all rows of its batch have ended."""
    from hint_grpo.calibration.hf import HfDecoder
    from hint_grpo.calibration.load import load_decoder
    from hint_grpo.prompts import evaluation_messages

    ours = load_decoder(arguments.model_path, backend="hf", dtype=arguments.dtype)
    assert isinstance(ours, HfDecoder)
    model, processor, rules = ours.model, ours.encoder.processor, ours.rules

    # logits + scale * (logits - logits without the picture), for both halves of the batch.
    def combine_halves(_: Any, logits: Any) -> Any:
        with_image, text_only = logits.chunk(2)
        return (with_image + arguments.scale * (with_image - text_only)).repeat(2, 1)

    def decode_batch(requests: list[DecodeRequest]) -> Tokens:
        texts = [
            processor.apply_chat_template(
                evaluation_messages(request.question, with_image=with_image), tokenize=False, add_generation_prompt=True
            )
            for with_image in (True, False)
            for request in requests
        ]
        inputs = processor(
            text=texts,
            images=[ours.encoder.picture(request) for request in requests],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(model.device)
        output = model.generate(
            **inputs,
            max_new_tokens=arguments.max_new_tokens,
            do_sample=False,
            logits_processor=[combine_halves],
        )
        rows = output[: len(requests), inputs["input_ids"].shape[1] :].tolist()
        return {request.id: until_end(row, rules.eos_ids) for request, row in zip(requests, rows, strict=True)}

    def decode(requests: list[DecodeRequest]) -> Tokens:
        tokens: Tokens = {}
        for start in range(0, len(requests), arguments.paper_batch_size):
            tokens |= decode_batch(requests[start : start + arguments.paper_batch_size])
        return tokens

    return decode


def until_end(row: list[int], eos_ids: tuple[int, ...]) -> list[int]:
    """The tokens up to the first end token, inclusive."""
    ends = [position for position, token in enumerate(row) if token in eos_ids]
    return row[: ends[0] + 1] if ends else row


def load_plain(arguments: argparse.Namespace) -> Callable[..., Tokens]:
    """vLLM without calibration, with its built-in repetition penalty and logit bias."""
    from hint_grpo.machine.stack import HAS_CUDA, inspect_models_in_this_process

    from transformers import AutoConfig
    from vllm import LLM

    from benchmarks.plain_vllm import plain_sampling
    from hint_grpo.calibration.load import choose_dtype, load_decoding_processor, load_rules
    from hint_grpo.calibration.prompting import QuestionEncoder

    config = AutoConfig.from_pretrained(arguments.model_path)
    context_length = config.get_text_config().max_position_embeddings
    processor = load_decoding_processor(arguments.model_path, max_pixels=None, trust_remote_code=False)
    encoder = QuestionEncoder(processor, max_new_tokens=arguments.max_new_tokens, context_length=context_length)
    rules = load_rules(arguments.model_path, config, processor.tokenizer, repetition_penalty=None)
    inspect_models_in_this_process()
    llm = LLM(
        str(arguments.model_path),
        dtype=str(choose_dtype(arguments.dtype)).removeprefix("torch."),
        max_model_len=min(context_length, 8192),
        max_num_seqs=2 * arguments.vllm_batch_size,
        enforce_eager=not HAS_CUDA,
        enable_prefix_caching=False,
        limit_mm_per_prompt={"image": 1, "video": 0},
        generation_config="vllm",
        **({"gpu_memory_utilization": arguments.gpu_memory_utilization} if HAS_CUDA else {}),
    )
    sampling = plain_sampling(rules, arguments.max_new_tokens, detokenize=False)

    def decode(requests: list[DecodeRequest]) -> Tokens:
        prompts: list[Any] = []
        for request in requests:
            question, image = encoder.encode(request, scale=0.0)
            prompts.append({"prompt_token_ids": question.prompt_ids, "multi_modal_data": {"image": image}})
        outputs = llm.generate(prompts, sampling, use_tqdm=False)
        return {r.id: list(output.outputs[0].token_ids) for r, output in zip(requests, outputs, strict=True)}

    return decode


LOADERS: dict[str, Callable[[argparse.Namespace], Callable[..., Tokens]]] = {
    "paper": load_paper,
    "hf": lambda arguments: load_ours(arguments, "hf", arguments.hf_batch_size, arguments.scale),
    "vllm": lambda arguments: load_ours(arguments, "vllm", arguments.vllm_batch_size, arguments.scale),
    "vllm-0": lambda arguments: load_ours(arguments, "vllm", arguments.vllm_batch_size, 0.0),
    "plain": load_plain,
}


# ----------------------------------------------------------------------------------------------------
# Results


def table(rounds: list[dict[str, Measurement]], arguments: argparse.Namespace) -> str:
    """Medians over the rounds; ratios are computed within a round, because both sides then saw the same load."""
    lines = [
        f"{rounds[0][arguments.methods[0]].questions} questions, up to {arguments.max_new_tokens} tokens each, "
        f"scale {arguments.scale}, median of {len(rounds)} rounds",
        f"{'method':8} {'tokens':>7} {'tokens/s':>9} {'x paper':>8} {'cost (plain 1)':>15} {'cpu s/1000 tokens':>18}",
    ]
    for method in arguments.methods:
        speed = statistics.median(r[method].speed for r in rounds)
        cpu = statistics.median(1000 * r[method].cpu_seconds / r[method].num_tokens for r in rounds)
        faster, slower = times_as_fast(rounds, method, "paper"), times_as_fast(rounds, "plain", method)
        tokens = rounds[0][method].num_tokens
        lines.append(f"{method:8} {tokens:7} {speed:9.1f} {faster:8.2f} {slower:15.2f} {cpu:18.1f}")
    return "\n".join(lines + agreement(rounds[0]))


def times_as_fast(rounds: list[dict[str, Measurement]], method: str, other: str) -> float:
    """Median ratio of two methods' tokens per second; NaN if one was not measured."""
    if method not in rounds[0] or other not in rounds[0]:
        return math.nan
    return statistics.median(r[method].speed / r[other].speed for r in rounds)


def agreement(measured: dict[str, Measurement]) -> list[str]:
    """For pairs of methods that compute the same thing: for how many questions they gave the same tokens."""
    lines = []
    for one, other in (("vllm", "hf"), ("vllm-0", "plain")):
        if one in measured and other in measured:
            same = sum(measured[one].tokens[key] == measured[other].tokens[key] for key in measured[one].tokens)
            lines.append(f"{one} and {other}: same tokens for {same} of {len(measured[one].tokens)} questions")
    return lines


if __name__ == "__main__":
    run_main(main)
