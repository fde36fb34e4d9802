"""vLLM loads the toy models and agrees with transformers: greedy tokens and their log-probabilities, in float32."""

from hint_grpo.machine.stack import inspect_models_in_this_process

import importlib.util
import json

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from hint_grpo import prompts
from hint_grpo.toy import models
from hint_grpo.toy.world import World

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]
NUM_PROMPTS, NUM_TOKENS = 6, 144


@pytest.mark.parametrize("family", models.FAMILIES)
def test_vllm_agrees_with_transformers(world: World, family: models.Family):
    from vllm import LLM, SamplingParams

    inspect_models_in_this_process()
    directory = world.models[family]
    processor = AutoProcessor.from_pretrained(directory)
    rows = [json.loads(line) for line in world.test_prompts.read_text().splitlines()[:NUM_PROMPTS]]
    texts = [
        processor.apply_chat_template(
            prompts.training_messages(row["question"]), add_generation_prompt=True, tokenize=False
        )
        for row in rows
    ]
    images = [Image.open(world.root / row["image_path"]).convert("RGB") for row in rows]
    engine = LLM(model=str(directory), enforce_eager=True, dtype="float32", max_model_len=512, max_num_seqs=8, seed=0)
    outputs = engine.generate(
        [{"prompt": text, "multi_modal_data": {"image": image}} for text, image in zip(texts, images, strict=True)],
        SamplingParams(temperature=0.0, max_tokens=NUM_TOKENS, logprobs=0),
        use_tqdm=False,
    )
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
    differences = []
    for text, image, output in zip(texts, images, outputs, strict=True):
        inputs = processor(text=[text], images=[image], return_tensors="pt")
        with torch.no_grad():
            reference = model.generate(
                **inputs,
                max_new_tokens=NUM_TOKENS,
                do_sample=False,
                repetition_penalty=1.0,
                output_logits=True,
                return_dict_in_generate=True,
            )
        tokens = reference.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        assert list(output.outputs[0].token_ids) == tokens
        expected = torch.stack(reference.logits).squeeze(1).log_softmax(-1)
        for place, token in enumerate(tokens):
            found = output.outputs[0].logprobs[place][token].logprob
            differences.append(abs(found - expected[place, token].item()))
    assert sum(differences) / len(differences) < 1e-4
