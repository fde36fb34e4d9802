"""HintGRPOTrainer on a tiny model of every family: what reaches the loss, and two steps that move the weights."""

import hint_grpo.machine.stack  # noqa: F401

import pytest
import torch
from datasets import Dataset
from PIL import Image
from tiny_models import VISION_PARAMETERS
from transformers import AutoModelForImageTextToText, AutoProcessor

from hint_grpo.data.images import open_image
from hint_grpo.machine.errors import UserError
from hint_grpo.training import ledger
from hint_grpo.training.config import HintGRPOConfig
from hint_grpo.training.trainer import HintGRPOTrainer

TEMPERATURE = 0.9


def correct_with_a_hint(completions, begun, **_):
    """Half of a group is correct once the turn is begun with a hint; nothing is correct before."""
    return [float(len(text) > len("<think>") and place % 2 == 0) for place, text in enumerate(begun)]


@pytest.fixture(scope="module")
def make_trainer(tiny_path, rows, tmp_path_factory):
    def make(family, dtype=torch.float32, **config):
        path = str(tiny_path(family))
        settings = {
            "output_dir": str(tmp_path_factory.mktemp("run")),
            "per_device_train_batch_size": 2,
            "num_generations": 2,
            "max_completion_length": 8,
            "max_prompt_length": 512,
            "max_steps": 2,
            "learning_rate": 1e-3,
            "bf16": False,
            "use_cpu": not torch.cuda.is_available(),
            "save_strategy": "no",
            "log_completions": False,
            "disable_tqdm": True,
            "seed": 1,
        }
        return HintGRPOTrainer(
            model=AutoModelForImageTextToText.from_pretrained(path, dtype=dtype),
            reward_funcs=[correct_with_a_hint],
            accuracy=correct_with_a_hint,
            args=HintGRPOConfig(**(settings | config)),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoProcessor.from_pretrained(path, padding_side="left"),
        )

    return make


def batch_for(trainer, rows):
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1  # set by the training loop
    rows = [{**row, "row": number} for number, row in enumerate(rows)]
    return trainer._generate_and_score_completions([row for row in rows for _ in range(trainer.num_generations)])


def test_two_steps_train_on_the_hinted_level_and_move_the_weights(family, make_trainer):
    # Checkpointed as in the published command; accumulation, so that TRL shuffles and splits the rollouts.
    trainer = make_trainer(family, gradient_checkpointing=True, gradient_accumulation_steps=2, logging_steps=1)
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    assert trainer.state.global_step == 2
    moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
    assert len(moved) > 0.9 * len(before), sorted(set(before) - moved)
    vision = VISION_PARAMETERS.get(family, "model.visual")
    assert any(name.startswith(vision) for name in moved)
    records = list(ledger.read(trainer.ledger_path))
    assert len(records) == 8
    assert all(record["level"] == 1 and record["hint_tokens"] > 0 and record["valid"] for record in records)
    # Policy and reference are the same before the first update: any row with another row's picture would show.
    kl = [row["kl"] for row in trainer.state.log_history if "kl" in row]
    assert kl[0] < 1e-6 < kl[1]


def test_masks_and_lengths_of_hinted_rollouts(family, make_trainer, rows):
    trainer = make_trainer(family)
    batch = batch_for(trainer, rows[:2])
    mask = batch["completion_mask"] * batch["tool_mask"]
    row = 0
    for rollout in trainer.batch.rollouts:
        turn = rollout.group.turn
        assert turn.begun == "<think>" + turn.hint.text == "<think>Row 1 has 1."
        for completion in rollout.group.completions:
            begun, sampled = len(turn.begun_ids), len(completion.token_ids)
            assert mask[row].sum() == sampled
            assert mask[row, :begun].sum() == 0
            ids = batch["completion_ids"][row, batch["completion_mask"][row].bool()].tolist()
            assert ids == turn.begun_ids + completion.token_ids
            assert batch["prompt_ids"][row, batch["prompt_mask"][row].bool()].tolist() == turn.prompt.ids
            row += 1
    assert not (batch["completion_ids"] == trainer.encoder.family.image_token_id).any()


def plain_logps(model, processor, turn, completion, image):
    """log pi of the sampled tokens from one unpadded forward pass, with inputs as the processor makes them for the prompt
    and `generate` lets them grow: types with zeros, a cross-attention mask with its last value."""
    text = processor.apply_chat_template(turn.prompt.messages, add_generation_prompt=True)
    given = dict(processor(text=[text], images=[image], return_tensors="pt", add_special_tokens=False))
    new = torch.tensor([turn.begun_ids + completion.token_ids])
    given["input_ids"] = torch.cat([given["input_ids"], new], dim=1)
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    if "mm_token_type_ids" in given:
        given["mm_token_type_ids"] = torch.cat([given["mm_token_type_ids"], torch.zeros_like(new)], dim=1)
    if "cross_attention_mask" in given:
        last = given["cross_attention_mask"][:, -1:].expand(-1, new.shape[1], -1, -1)
        given["cross_attention_mask"] = torch.cat([given["cross_attention_mask"], last], dim=1)
    with torch.no_grad():
        logits = model(**given, use_cache=False).logits[0]
    start = len(given["input_ids"][0]) - len(completion.token_ids)
    logps = torch.log_softmax(logits[start - 1 : -1] / TEMPERATURE, dim=-1)
    return logps.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]


def test_log_probabilities_are_those_of_plain_forward_passes(family, make_trainer, tiny_path, rows):
    """Pictures of different shapes in one left-padded batch, scored some rows at a time: each completion as if alone."""
    trainer = make_trainer(family, dtype=torch.float64)
    # The policy's log-probabilities, as vLLM's correction would have TRL compute them before the loss.
    trainer.num_iterations = 2
    batch = batch_for(trainer, rows)
    assert len(batch["prompt_ids"]) > trainer.args.per_device_train_batch_size
    model = AutoModelForImageTextToText.from_pretrained(tiny_path(family), dtype=torch.float64)
    processor = AutoProcessor.from_pretrained(tiny_path(family))
    row = 0
    for place, rollout in enumerate(trainer.batch.rollouts):
        turn = rollout.group.turn
        for completion in rollout.group.completions:
            expected = plain_logps(model, processor, turn, completion, open_image(rows[place]["image"]))
            blank = plain_logps(model, processor, turn, completion, Image.new("RGB", turn.prompt.image.size))
            begun = len(turn.begun_ids)
            # Norms and rotary angles are float32 inside the models; TRL loads the reference in float32.
            for name, bound in (("old_per_token_logps", 1e-5), ("ref_per_token_logps", 1e-4)):
                got = batch[name][row, begun : begun + len(expected)].double()
                torch.testing.assert_close(got, expected, atol=bound, rtol=0)
            assert (blank - expected).abs().max() > 1e-3, "the picture must matter"
            row += 1


def test_rollouts_never_hold_a_vision_token(family, make_trainer, rows):
    trainer = make_trainer(family, max_completion_length=32)
    never = set(trainer.backend.config.suppress_tokens or ())
    assert bool(never) == (family != "Mllama")  # whose placeholder has no logit
    with torch.no_grad():  # a policy that wants nothing else
        head = trainer.model.get_output_embeddings().weight
        for token in never:
            head[token] = 10 * head.mean(dim=0) + head[token]
    batch_for(trainer, rows)
    sampled = {t for r in trainer.batch.rollouts for g in r.groups.values() for c in g.completions for t in c.token_ids}
    assert sampled
    assert not sampled & {*never, trainer.encoder.family.image_token_id}


def test_query_injection(family, make_trainer, rows):
    trainer = make_trainer(family, hint_injection="query")
    batch_for(trainer, rows[:2])
    for place, rollout in enumerate(trainer.batch.rollouts):
        prompt = trainer.encoder.tokenizer.decode(rollout.groups[1].turn.prompt.ids)
        assert prompt.index(rows[place]["question"]) < prompt.index("Row 1 has 1.")


def test_vllm_without_the_family_is_refused_before_anything_is_loaded(make_trainer):
    with pytest.raises(UserError, match="--use_vllm false"):
        make_trainer("Mllama", use_vllm=True)


def test_mllama_needs_the_rows_that_trl_leaves_out(make_trainer, rows):
    """The aspect ratios go to the model with the rows they belong to; a wrong order would be seen."""
    trainer = make_trainer("Mllama")
    batch = batch_for(trainer, rows)
    tiles = batch["aspect_ratio_mask"].sum(dim=(1, 2)).tolist()
    assert len(set(tiles)) > 1
    assert tiles == [t for t in tiles[::2] for _ in range(2)]  # a group shares its picture
    right = trainer.compute_loss(trainer.model, batch).item()
    wrong = {**batch, "aspect_ratio_ids": batch["aspect_ratio_ids"].flip(0)}
    assert trainer.compute_loss(trainer.model, wrong).item() != pytest.approx(right, abs=1e-6)
