"""vLLM's own API server, with what the trainer needs of it.

    python -m hint_grpo.rollout.serve /PATH/TO/Qwen2-VL-7B-Instruct --port 8000 --tensor-parallel-size 2

Takes every flag of `vllm serve`. Added where they are missing: it listens on 127.0.0.1, takes token ids
(`/inference/v1/generate`), reports log-probabilities after temperature and the like, and takes new weights: over NCCL on
CUDA, from files elsewhere.
"""

import hint_grpo.stack

import os
import runpy
import sys

API_SERVER = "vllm.entrypoints.openai.api_server"
NEEDED = {
    "--host": "127.0.0.1",
    "--enable-scale-out": None,  # /inference/v1/generate
    "--logprobs-mode": "processed_logprobs",
    "--worker-extension-cls": "hint_grpo.rollout.weights.WeightLoading",
}
NEEDED_ON_CUDA = {"--weight-transfer-config": '{"backend": "nccl"}'}
NEEDED_ON_CPU = {
    "--enforce-eager": None,  # compiling for a CPU takes longer than it saves
    "--no-enable-chunked-prefill": None,  # a seeded request whose prompt is cut in two crashes vLLM on a CPU
}


def with_needed_flags(arguments: list[str], has_cuda: bool) -> list[str]:
    """`arguments` of `vllm serve`, MODEL first or as --model, and the flags above that they do not name."""
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--model", *arguments]
    given = {argument.partition("=")[0].replace("_", "-") for argument in arguments if argument.startswith("--")}
    for flag, value in (NEEDED | (NEEDED_ON_CUDA if has_cuda else NEEDED_ON_CPU)).items():
        if flag not in given:
            arguments = [*arguments, flag, *([] if value is None else [value])]
    return arguments


def main() -> None:
    os.environ["VLLM_SERVER_DEV_MODE"] = "1"  # the endpoints that take weights and forget caches
    sys.argv[1:] = with_needed_flags(sys.argv[1:], hint_grpo.stack.HAS_CUDA)
    # This module stays __main__: the engine's spawned process imports it again, and with it hint_grpo.stack.
    runpy.run_module(API_SERVER, run_name="__main__")


if __name__ == "__main__":
    main()
