"""What is read from a checkpoint about greedy decoding."""

import hint_grpo.machine.stack  # noqa: F401

import pytest
from transformers import GenerationConfig

from hint_grpo.calibration.prompting import GreedyRules, read_rules
from hint_grpo.machine.errors import UserError
from hint_grpo.toy.models import load_tokenizer, toy_config

TOKENIZER = load_tokenizer()
CONFIG = toy_config("Qwen2.5-VL", TOKENIZER)


def rules(penalty: float | None = None, **settings: object) -> GreedyRules:
    return read_rules(CONFIG, GenerationConfig(**settings), TOKENIZER, penalty)


def test_end_tokens_as_a_list_one_or_none() -> None:
    assert rules(eos_token_id=[7, 9]).eos_ids == (7, 9)
    assert rules(eos_token_id=7).eos_ids == (7,)
    assert rules().eos_ids == (TOKENIZER.eos_token_id,)


def test_finish_reason_looks_at_the_last_token() -> None:
    assert rules(eos_token_id=[7, 9]).finish_reason([1, 9]) == "stop"
    assert rules(eos_token_id=[7, 9]).finish_reason([9, 1]) == "length"


def test_repetition_penalty_of_the_checkpoint_and_its_override() -> None:
    assert rules().repetition_penalty == 1.0
    assert rules(repetition_penalty=1.05).repetition_penalty == 1.05
    assert rules(1.0, repetition_penalty=1.05).repetition_penalty == 1.0
    with pytest.raises(UserError, match="repetition_penalty"):
        rules(0.0)


def test_every_vision_token_is_suppressed() -> None:
    names = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
    assert set(TOKENIZER.convert_tokens_to_ids(list(names))) == set(rules().suppressed_ids)
    assert {*rules().suppressed_ids, 3} == set(rules(suppress_tokens=[3]).suppressed_ids)


def test_sampling_settings_do_not_matter() -> None:
    assert rules(do_sample=True, temperature=1e-6, top_p=0.001, top_k=1) == rules()


@pytest.mark.parametrize("setting", [{"no_repeat_ngram_size": 3}, {"bad_words_ids": [[1]]}, {"min_new_tokens": 5}])
def test_rules_that_no_backend_applies_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(setting))):
        rules(**setting)


def test_rules_survive_plain_values() -> None:
    original = rules(eos_token_id=[7, 9], repetition_penalty=1.05)
    assert GreedyRules.from_dict(original.as_dict()) == original
