"""What a checkpoint says about its run, which ones are refused, and the rollouts that wait in it."""

import hint_grpo.machine.stack  # noqa: F401

import json
from dataclasses import replace

import pytest
import torch
from datasets import Dataset

from hint_grpo.machine.errors import UserError
from hint_grpo.training import checkpoints
from hint_grpo.training.checkpoints import RunIdentity, check_resumable, checkpoint_to_resume, data_fingerprint

IDENTITY = RunIdentity(
    data="d",
    num_samples=3,
    num_processes=2,
    prompts_per_device=1,
    num_generations=4,
    gradient_accumulation_steps=1,
    steps_per_generation=1,
    num_iterations=1,
    seed=42,
    hint_policy="adaptive",
    num_groups=3,
    hint_ratio=None,
    hint_injection="answer",
)


def rows(**change):
    row = {
        "id": "a",
        "question": "How many?",
        "solution": "3",
        "reasoning_steps": ["One.", "Two."],
        "image": "/x/a.png",
    }
    return [row, row | {"id": "b"}, row | {"id": "c"} | change]


def test_the_fingerprint_is_of_the_texts_in_order():
    same = data_fingerprint(Dataset.from_list(rows()))
    assert data_fingerprint(Dataset.from_list(rows(image="/elsewhere/c.png"))) == same
    assert data_fingerprint(Dataset.from_list(rows()[::-1]).select([2, 1, 0])) == same
    for change in ({"id": "d"}, {"question": "How few?"}, {"solution": "4"}, {"reasoning_steps": ["One. Two."]}):
        assert data_fingerprint(Dataset.from_list(rows(**change))) != same
    assert data_fingerprint(Dataset.from_list(rows()[::-1])) != same
    assert data_fingerprint(Dataset.from_list(rows()[:2])) != same


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "run" / "checkpoint-4"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text("{}")
    (folder / "optimizer.pt").write_bytes(b"x")
    checkpoints.write_identity(folder, IDENTITY, {"micro_steps": 4})
    return folder


def test_which_checkpoint_is_meant(checkpoint, tmp_path):
    run = checkpoint.parent
    later = run / "checkpoint-12"
    later.mkdir()
    assert checkpoint_to_resume("true", run) == checkpoint  # the other one is not whole
    (later / "trainer_state.json").write_text("{}")
    assert checkpoint_to_resume("true", run) == later  # by number, not by name
    assert checkpoint_to_resume(True, run) == later  # as a YAML file says it
    assert checkpoint_to_resume(str(checkpoint), run) == checkpoint
    assert checkpoint_to_resume("true", tmp_path / "new") is None
    assert checkpoint_to_resume(None, run) is None
    assert checkpoint_to_resume("False", run) is None
    with pytest.raises(UserError, match="is not a checkpoint"):
        checkpoint_to_resume(str(run), run)


def test_checkpoints_of_an_earlier_run_are_put_aside(checkpoint):
    run = checkpoint.parent
    assert checkpoints.put_aside(run, 4) is None
    assert checkpoints.put_aside(run, 0) == run / "earlier-1"
    assert (run / "earlier-1" / "checkpoint-4" / "optimizer.pt").exists()
    assert checkpoint_to_resume("true", run) is None


def test_the_own_checkpoint_is_resumed(checkpoint):
    check_resumable(checkpoint, IDENTITY, anyway=False, deepspeed=False)
    assert checkpoints.read_identity(checkpoint)["micro_steps"] == 4


def test_other_data_or_settings_are_refused_by_name(checkpoint):
    written = json.loads((checkpoint / checkpoints.IDENTITY_FILE).read_text())
    (checkpoint / checkpoints.IDENTITY_FILE).write_text(json.dumps(written | {"data": "e", "num_processes": 7}))
    with pytest.raises(UserError, match=r"data e there, d here; num_processes 7 there, 2 here.*--resume_anyway true"):
        check_resumable(checkpoint, IDENTITY, anyway=False, deepspeed=False)
    check_resumable(checkpoint, IDENTITY, anyway=True, deepspeed=False)


def test_another_level_rule_is_refused_and_an_older_checkpoint_has_the_default(checkpoint):
    released = replace(IDENTITY, level_rule="summed_rewards", equal_hints="sample")
    with pytest.raises(UserError, match=r"level_rule accuracy there, summed_rewards here; equal_hints skip there"):
        check_resumable(checkpoint, released, anyway=False, deepspeed=False)
    written = json.loads((checkpoint / checkpoints.IDENTITY_FILE).read_text())
    for name in ("level_rule", "equal_hints", "hint_counts"):
        del written[name]
    (checkpoint / checkpoints.IDENTITY_FILE).write_text(json.dumps(written))
    check_resumable(checkpoint, IDENTITY, anyway=False, deepspeed=False)
    with pytest.raises(UserError, match="level_rule accuracy there"):
        check_resumable(checkpoint, released, anyway=False, deepspeed=False)


def test_weights_alone_are_refused(checkpoint):
    (checkpoint / "optimizer.pt").unlink()
    with pytest.raises(UserError, match="--resume_anyway true continues with a new optimizer"):
        check_resumable(checkpoint, IDENTITY, anyway=False, deepspeed=False)
    check_resumable(checkpoint, IDENTITY, anyway=True, deepspeed=False)
    with pytest.raises(UserError, match="--model_name_or_path"):  # DeepSpeed cannot load it at all
        check_resumable(checkpoint, IDENTITY, anyway=True, deepspeed=True)
    (checkpoint / "global_step4").mkdir()
    check_resumable(checkpoint, IDENTITY, anyway=False, deepspeed=True)


def test_waiting_rollouts_come_back_as_they_were(tmp_path):
    batches = [
        {"ids": torch.tensor([[1, 2]]), "logps": torch.tensor([[0.1, -0.2]]), "num_images": [1, 1], "none": None},
        {"ids": torch.tensor([[3, 4]]).T, "logps": torch.tensor(0.5), "num_images": [2]},
    ]
    checkpoints.save_rollouts(tmp_path, 1, batches)
    assert checkpoints.load_rollouts(tmp_path, 0, "cpu") is None
    loaded = checkpoints.load_rollouts(tmp_path, 1, "cpu")
    assert len(loaded) == 2
    for batch, back in zip(batches, loaded, strict=True):
        assert batch["num_images"] == back["num_images"]
        assert batch["ids"].equal(back["ids"])
        assert batch["logps"].equal(back["logps"])


def test_a_checkpoint_gets_its_name_when_it_is_whole(tmp_path):
    unfinished = checkpoints.unfinished_folder(tmp_path) / checkpoints.checkpoint_name(3)
    unfinished.mkdir(parents=True)
    (unfinished / "model.safetensors").write_bytes(b"new")
    assert checkpoint_to_resume("true", tmp_path) is None  # not seen before it is published
    old = tmp_path / "checkpoint-3"
    old.mkdir()
    (old / "left").write_bytes(b"old")
    checkpoints.publish(unfinished, tmp_path)
    assert [file.name for file in old.iterdir()] == ["model.safetensors"]
    assert [folder.name for folder in tmp_path.iterdir()] == ["checkpoint-3"]


def test_the_name_of_checkpoints_is_transformers_own():
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

    assert checkpoints.PREFIX == PREFIX_CHECKPOINT_DIR
