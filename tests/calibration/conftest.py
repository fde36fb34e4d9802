"""Models with random weights, made to be hard: sharp logits, tokens that hardly repeat, completions of all lengths."""

import hint_grpo.machine.stack  # noqa: F401

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from decoding import NEW_TOKENS, answers
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLForConditionalGeneration

from hint_grpo.calibration.decoder import Completion, DecodeRequest
from hint_grpo.calibration.load import load_decoder
from hint_grpo.toy.models import FAMILIES, load_tokenizer, new_model, toy_config, toy_processor
from hint_grpo.toy.world import write_test_data

NUM_QUESTIONS = 208
# With three of seven seeds tried, two tokens somewhere have scores that differ by no more than float32's rounding (1e-5 of 8), so
# that equal decoders may answer differently; with this one there are none.
SEED = 7
NUM_END_TOKENS = 12
MODEL_CLASSES = {"Qwen2.5-VL": Qwen2_5_VLForConditionalGeneration, "Qwen2-VL": Qwen2VLForConditionalGeneration}


@dataclass(frozen=True)
class CalibrationWorld:
    models: dict[str, Path]
    requests: list[DecodeRequest]


def save_sharp_model(root: Path, family: str) -> Path:
    """An untied, sharp-edged relative of the toy model: a dozen end tokens more, and much too fond of vision tokens."""
    config = toy_config(family, load_tokenizer())
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    torch.manual_seed(0)
    model = MODEL_CLASSES[family](config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0)
        model.lm_head.weight[config.vision_start_token_id : config.video_token_id + 1].mul_(2.0)
    model.generation_config = new_model(family).generation_config
    model.generation_config.repetition_penalty = 1.05
    model.generation_config.eos_token_id += random.Random(0).sample(range(300), NUM_END_TOKENS)
    directory = root / f"{family}-sharp"
    model.save_pretrained(directory)
    toy_processor(family).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def calibration_world(tmp_path_factory: pytest.TempPathFactory) -> CalibrationWorld:
    root = tmp_path_factory.mktemp("calibration")
    lines = write_test_data(root, NUM_QUESTIONS, SEED).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    requests = [DecodeRequest(f"q{i}", row["question"], str(root / row["image_path"])) for i, row in enumerate(rows)]
    return CalibrationWorld({family: save_sharp_model(root, family) for family in FAMILIES}, requests)


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def reference(calibration_world) -> Callable[..., dict[str, Completion]]:
    """What the transformers path answers, each combination computed once."""
    known: dict[Any, dict[str, Completion]] = {}

    def reference_answers(family: str, num_requests: int, scale: float, penalty: float | None = None):
        key = (family, num_requests, scale, penalty)
        if key not in known:
            decoder = load_decoder(
                calibration_world.models[family],
                backend="hf",
                batch_size=16,
                max_new_tokens=NEW_TOKENS,
                repetition_penalty=penalty,
            )
            known[key] = answers(decoder, calibration_world.requests[:num_requests], scale)
        return known[key]

    return reference_answers
