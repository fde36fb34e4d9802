"""Training with --picture_processing qwen_vl_utils: vLLM gets the library's picture, the policy the one that was opened."""

import hint_grpo.machine.stack  # noqa: F401

import base64
import io

import numpy as np
import pytest
import torch
from batches import correct_from, logp_gap
from PIL import Image

from hint_grpo.data.images import open_image

pytest.importorskip("vllm")


@pytest.fixture(scope="module")
def odd_samples(samples, tmp_path_factory):
    """The toy's pictures, which have sides of whole image tokens, made a little larger: something is left to resize."""
    folder = tmp_path_factory.mktemp("larger")
    rows = []
    for number, row in enumerate(samples[:4]):
        image = open_image(row["image"])
        file = folder / f"{number}.png"
        image.resize((image.width + 31, image.height + 17)).save(file)
        rows.append({**row, "image": str(file)})
    return rows


def test_a_run_of_two_steps(make_trainer, odd_samples, monkeypatch):
    trainer = make_trainer(
        accuracy=correct_from(20),
        samples=odd_samples,
        use_vllm=True,
        max_completion_length=32,
        learning_rate=1e-3,
        picture_processing="qwen_vl_utils",
    )
    record, seen, gaps = trainer._record, [], []

    def recording(*arguments):
        gaps.append(logp_gap(trainer))
        seen.extend(rollout.group.turn for rollout in trainer.batch.rollouts)
        record(*arguments)

    monkeypatch.setattr(trainer, "_record", recording)
    before = trainer.model.get_input_embeddings().weight.detach().clone()
    trainer.train()
    assert not torch.equal(before, trainer.model.get_input_embeddings().weight)
    assert len(seen) == 4
    # Not the same pictures, so the gap is wider than float32 rounding (1e-7), and far below what stops a run (0.01).
    assert len(gaps) == 2
    assert 1e-6 < max(gaps) < 5e-3, gaps
    paths = {turn.prompt.image.size: turn.prompt for turn in seen}
    for (width, height), prompt in paths.items():
        assert (width % 28, height % 28) != (0, 0)
        assert trainer.vllm_generation._prompt(seen[0])["multi_modal_data"]["image"] is seen[0].prompt.sampler_image
        assert prompt.sampler_image.size == (round(width / 28) * 28, round(height / 28) * 28)
        assert prompt.ids.count(trainer.model.config.image_token_id) == np.prod(prompt.sampler_image.size) / 28**2


def test_a_server_gets_the_librarys_picture(make_trainer, odd_samples):
    from hint_grpo.rollout.vllm_server import generate_request

    trainer = make_trainer(samples=odd_samples, picture_processing="qwen_vl_utils")
    (turn, *_), _ = trainer.turn_builder.turns(odd_samples[0], index=0, step=1)
    (part,) = generate_request("model", turn, {})["content_parts"]
    kind, _, data = part["url"].partition(",")
    assert kind == "data:image/png;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(data)))
    assert np.array_equal(np.asarray(sent), np.asarray(turn.prompt.sampler_image))
    assert sent.size != turn.prompt.image.size
    assert turn.prompt.image.size == open_image(odd_samples[0]["image"]).size
