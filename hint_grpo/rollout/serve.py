"""vLLM's API server with the flags and endpoints that a trainer needs.

    python -m hint_grpo.rollout.serve /PATH/TO/Qwen2-VL-7B-Instruct --port 8000 --tensor-parallel-size 2

Accepts every flag of `vllm serve`. Unless given, these are added: listen on 127.0.0.1, accept token ids
(`/inference/v1/generate`), report log-probabilities after temperature and other sampling settings, at most one picture per
prompt, and accept new weights (over NCCL on CUDA, from files otherwise).

If HINT_GRPO_SERVER_TOKEN is set, every request must carry that token (`access.py`). A server that listens on an address that
other machines can reach needs one, unless --allow_unauthenticated is given.
"""

import os

if __name__ == "__main__":  # before hint_grpo.machine.stack, which silences vLLM inside a trainer
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "INFO")

import hint_grpo.machine.stack

import runpy
import sys

from hint_grpo.machine.errors import UserError, run_main
from hint_grpo.rollout.access import MIDDLEWARE, TOKEN_VARIABLE, is_loopback, token_of_the_environment

API_SERVER = "vllm.entrypoints.openai.api_server"
NEEDED = {
    "--host": "127.0.0.1",
    "--enable-scale-out": None,  # /inference/v1/generate
    "--logprobs-mode": "processed_logprobs",
    "--limit-mm-per-prompt": '{"image": 1, "video": 0}',  # vLLM would profile its memory for videos
    "--stream-interval": "16",  # tokens of a completion that are sent together (speculative escalation)
    "--worker-extension-cls": "hint_grpo.rollout.vllm_common.WeightLoading",
}
UNAUTHENTICATED = "--allow-unauthenticated"
NEEDED_ON_CUDA = {"--weight-transfer-config": '{"backend": "nccl"}'}
NEEDED_ON_CPU = {
    "--enforce-eager": None,  # compiling for a CPU takes longer than it saves
    "--no-enable-chunked-prefill": None,  # a seeded request whose prompt is cut in two crashes vLLM on a CPU
}


def with_needed_flags(arguments: list[str], has_cuda: bool) -> list[str]:
    """`arguments` of `vllm serve`, MODEL first or as --model, and the flags above that they do not name."""
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--model", *arguments]
    given = {_flag(argument).partition(".")[0] for argument in arguments}  # --flag.key sets one key of a JSON flag
    for flag, value in (NEEDED | (NEEDED_ON_CUDA if has_cuda else NEEDED_ON_CPU)).items():
        if flag not in given:
            arguments = [*arguments, flag, *([] if value is None else [value])]
    return arguments


def with_authentication(arguments: list[str], token: str | None) -> list[str]:
    """`arguments`, which include --host, with the middleware that checks the token.

    Raises UserError if other machines could reach a server without a token, or if vLLM's own API key was given instead.
    """
    flags = [_flag(argument) for argument in arguments]
    if "--api-key" in flags or (os.environ.get("VLLM_API_KEY") and not token):
        raise UserError(
            f"--api-key and VLLM_API_KEY do not protect the endpoints that replace weights: set {TOKEN_VARIABLE} instead, "
            "here and for the training run"
        )
    open_to_all = UNAUTHENTICATED in flags
    arguments = [argument for argument in arguments if _flag(argument) != UNAUTHENTICATED]
    host = _last_value(arguments, "--host")
    if token:  # last: vLLM calls the last middleware first
        return [*arguments, "--middleware", MIDDLEWARE]
    if not open_to_all and not is_loopback(host):
        raise UserError(
            f"--host {host} lets other machines replace the weights and read files: set {TOKEN_VARIABLE} to a secret, here and "
            "for the training run (openssl rand -hex 32 makes one), or add --allow_unauthenticated"
        )
    return arguments


def _flag(argument: str) -> str:
    """The flag's name in vLLM's spelling; empty if the argument is a value."""
    return argument.partition("=")[0].replace("_", "-") if argument.startswith("--") else ""


def _last_value(arguments: list[str], flag: str) -> str:
    """The flag's value; the last one counts."""
    values = [
        argument.partition("=")[2] if "=" in argument else following
        for argument, following in zip(arguments, [*arguments[1:], ""], strict=True)
        if _flag(argument) == flag
    ]
    return values[-1]


def main() -> None:
    token = token_of_the_environment()
    arguments = with_needed_flags(sys.argv[1:], hint_grpo.machine.stack.HAS_CUDA)
    sys.argv[1:] = with_authentication(arguments, token)
    os.environ["VLLM_SERVER_DEV_MODE"] = "1"  # the endpoints that replace weights and clear caches
    if token:
        os.environ.pop("VLLM_API_KEY", None)  # it would use the same header
    hint_grpo.machine.stack.inspect_models_in_this_process()
    # This module stays __main__: the engine's spawned process imports it again, and with it hint_grpo.machine.stack.
    runpy.run_module(API_SERVER, run_name="__main__")


if __name__ == "__main__":
    run_main(main)
