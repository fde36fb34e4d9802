"""Prompts of every family: text, ids and what goes with them, before any model."""

import hint_grpo.machine.stack  # noqa: F401

import pytest
from tiny_models import IMAGE_TOKEN, MLLAMA_LATER_TEMPLATE, tiny_processor

from hint_grpo.data.images import open_image
from hint_grpo.data.preflight import preflight
from hint_grpo.families import Family, Mllama, family_of
from hint_grpo.hints import LengthLimits
from hint_grpo.policies.paper import Adaptive
from hint_grpo.prompts import TRAINING_SYSTEM, begun_turn, training_messages
from hint_grpo.rollout.prompting import PromptEncoder


@pytest.fixture(scope="module")
def encoder(family) -> PromptEncoder:
    return PromptEncoder(tiny_processor(family))


def test_only_mllama_needs_code_of_its_own(family, encoder) -> None:
    assert type(encoder.family) is (Mllama if family == "Mllama" else Family)


def test_a_training_prompt_holds_everything_once(family, encoder, rows) -> None:
    for row in rows:
        prompt = encoder.prompt(training_messages(row["question"]), open_image(row["image"]))
        text = encoder.tokenizer.decode(prompt.short_ids)
        for part in (TRAINING_SYSTEM, row["question"], IMAGE_TOKEN.get(family, "<|image_pad|>")):
            assert text.count(part) == 1
        assert text.count("<|begin_of_text|>") == int(family == "Mllama")
        placeholders = encoder.family.num_image_tokens(*prompt.image.size)
        assert prompt.ids == encoder.family.expand(prompt.short_ids, placeholders)
        assert prompt.ids.count(encoder.family.image_token_id) == placeholders
        assert "pixel_values" in prompt.image_inputs
        assert not {"input_ids", "attention_mask", "mm_token_type_ids", "cross_attention_mask"} & {*prompt.image_inputs}


def test_the_begun_turn_is_a_token_boundary(encoder, rows) -> None:
    text = encoder.family.text(encoder.family.messages(training_messages(rows[0]["question"])))
    for hint in ("", "Row 1 has 2.", "3 discs", "\nA line"):
        begun = begun_turn(hint)
        assert encoder.family.ids(text + begun) == encoder.family.ids(text) + encoder.begun(begun)


def test_a_think_tag_of_the_model_survives_decoding(encoder) -> None:
    """Qwen3-VL has the tags as tokens of their own; the format reward has to see them."""
    assert encoder.decode(encoder.begun("<think>2 items</think><answer>2</answer>")).count("think>") == 2


def test_token_inputs_are_those_of_the_processor(family, encoder, rows) -> None:
    """Made anew from ids, they are what the processor says of the same prompts, left-padded together."""
    messages = encoder.family.messages(training_messages("How many?"))
    pictures = [open_image(row["image"]) for row in rows]
    texts = [encoder.family.text(messages)] * 2 + [encoder.family.text(messages) + " Some more text."] * 2
    given = encoder.processor(
        text=texts,
        images=[[picture] for picture in pictures],
        padding=True,
        padding_side="left",
        return_tensors="pt",
        add_special_tokens=False,
    )
    images = encoder.family.batch([encoder.family.image_inputs(picture) for picture in pictures])
    for name, tensor in images.items():
        assert (given[name] == tensor).all(), name
    made = encoder.family.token_inputs(given["input_ids"], images)
    assert set(made) == {"cross_attention_mask" if family == "Mllama" else "mm_token_type_ids"}
    for name, tensor in made.items():
        assert tensor.shape == given[name].shape
        assert (given[name] == tensor).all(), name


def test_mllama_takes_a_system_message_where_its_template_does() -> None:
    """The first template refuses it beside a picture, the later one takes a string, and would print a list."""
    first, later = family_of(tiny_processor("Mllama")), family_of(tiny_processor("Mllama", MLLAMA_LATER_TEMPLATE))
    messages = training_messages("How many?")
    assert first.text(first.messages(messages)) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
        f"<|image|>{TRAINING_SYSTEM}\nHow many?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert later.text(later.messages(messages)) == (
        f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{TRAINING_SYSTEM}<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n<|image|>How many?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_the_check_before_a_run_counts_every_familys_tokens(encoder, rows) -> None:
    """A limit at the longest prompt lets all pass; one token less finds exactly the longest."""
    lengths = [len(encoder.prompt(training_messages(row["question"]), open_image(row["image"])).ids) for row in rows]
    policy = Adaptive(2)
    for limit, too_long in ((max(lengths), 0), (max(lengths) - 1, lengths.count(max(lengths)))):
        limits = LengthLimits(limit, max_completion_length=8, context_length=4096)
        report = preflight(rows, processor=encoder.processor, policy=policy, limits=limits, workers=1)
        assert len(report.skip) == too_long
        assert [lengths[position] for position in report.skip] == [max(lengths)] * too_long
