"""What vLLM is asked for one turn, in the process or over HTTP: plain values, the fields of vLLM's SamplingParams."""

from typing import Any

NEVER = -100.0  # logit bias; vLLM's bound for it
FINAL_ONLY = 2  # RequestOutputKind: every completion once, when it is whole


def sampling_settings(args: Any, suppressed_ids: list[int], *, seed: int, num_generations: int) -> dict[str, Any]:
    """G completions by the trainer's settings `args`; `suppressed_ids` are never sampled."""
    settings = {
        "n": num_generations,
        "seed": seed,  # completion g gets seed + g
        "temperature": args.temperature,
        "top_p": args.top_p,
        "top_k": args.top_k,
        "min_p": args.min_p or 0.0,
        "repetition_penalty": args.repetition_penalty,
        "max_tokens": args.max_completion_length,
        "logprobs": 0,  # of the sampled token alone
        "logit_bias": dict.fromkeys(suppressed_ids, NEVER),
        "output_kind": FINAL_ONLY,
        "detokenize": False,
    }
    return settings | (args.generation_kwargs or {})
