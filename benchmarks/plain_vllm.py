"""How plain vLLM decodes where it is compared with this project: greedily, under the same rules of the model."""

from vllm import SamplingParams

from hint_grpo.calibration.prompting import GreedyRules


def plain_sampling(rules: GreedyRules, max_new_tokens: int, *, detokenize: bool = True) -> SamplingParams:
    """vLLM's settings for greedy decoding with a model's repetition penalty, suppressed tokens and end tokens."""
    return SamplingParams(
        temperature=0.0,
        max_tokens=max_new_tokens,
        repetition_penalty=rules.repetition_penalty,
        logit_bias=dict.fromkeys(rules.suppressed_ids, -100.0),
        ignore_eos=True,
        stop_token_ids=list(rules.eos_ids),
        detokenize=detokenize,
    )
