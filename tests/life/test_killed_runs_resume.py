"""SIGKILL at different moments, and resuming: what comes out is, to the bit, what an uninterrupted run gives."""

import json
import signal

import pytest
from outputs import first_questions, records, records_so_far, same_weights

pytestmark = pytest.mark.slow


def steps_begun(out) -> int:
    return max((record["step"] for record in records_so_far(out)), default=0)


def losses(out) -> list[float]:
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [row["loss"] for row in history if "loss" in row]


@pytest.fixture
def small_data(world, tmp_path):
    """Eight questions of the toy world, so that an epoch is over soon."""
    return first_questions(world.train_data, tmp_path / "data", 8)


def test_killed_in_both_epochs_mid_cycle_and_right_after_a_save(start, flags, small_data, tmp_path):
    """Two steps are trained on one batch of rollouts, and a checkpoint every three steps falls between them."""
    more = {
        "data_path": small_data,
        "steps_per_generation": 2,
        "save_steps": 3,
        "num_train_epochs": 2,
        "resume_from_checkpoint": "true",
    }
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    text = start(flags(whole, **more)).finish()
    assert "starting at step 0" in text
    total = len(losses(whole))
    assert total >= 14  # two epochs of seven questions or more

    run = start(flags(cut, **more))
    run.wait_for(lambda: steps_begun(cut) >= 5)  # first epoch, mid-cycle, after the checkpoint between two steps
    run.kill_trainer()
    assert not (cut / "model.safetensors").exists()

    run = start(flags(cut, **more))
    run.wait_for(lambda: (cut / "checkpoint-6").exists())  # the moment it appears
    run.kill_trainer()
    assert "checkpoint-3" in run.text()

    run = start(flags(cut, **more))
    run.wait_for(lambda: steps_begun(cut) >= 11)  # second epoch
    run.kill_trainer()

    assert "resuming from" in start(flags(cut, **more)).finish()
    assert same_weights(whole, cut)
    for step in range(3, total + 1, 3):
        assert same_weights(whole / f"checkpoint-{step}", cut / f"checkpoint-{step}"), step
    assert records(cut) == records(whole)
    assert losses(cut) == losses(whole)
    assert any(losses(whole))  # there was something to learn
    assert not list(cut.glob(".*"))  # nothing half-written is left


def test_two_ranks_under_zero3_with_vllm(start, flags, tmp_path):
    more = {
        "deepspeed": "local_scripts/zero3_offload.json",
        "use_vllm": "true",
        "vllm_mode": "colocate",
        "save_steps": 2,
        "max_steps": 5,
        "resume_from_checkpoint": "true",
    }
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    start(flags(whole, **more), ranks=2).finish()
    run = start(flags(cut, **more), ranks=2)
    run.wait_for(lambda: (cut / "checkpoint-2").exists() and steps_begun(cut) >= 3)
    run.kill_trainer()
    assert not run.left_over()
    start(flags(cut, **more), ranks=2).finish()
    assert records(cut) == records(whole)
    assert losses(cut) == losses(whole)
    assert same_weights(whole, cut)


def test_sigusr1_ends_the_run_after_its_step(start, flags, small_data, tmp_path):
    out = tmp_path / "out"
    more = {"data_path": small_data, "save_steps": 1000, "max_steps": 1000, "save_only_model": "true"}
    run = start(flags(out, **more))
    run.wait_for(lambda: steps_begun(out) >= 2)
    run.process.send_signal(signal.SIGUSR1)
    assert "stopped by a signal after step" in run.finish()
    (checkpoint,) = out.glob("checkpoint-*")
    assert (checkpoint / "optimizer.pt").exists()
    assert not (out / "model.safetensors").exists()


def test_a_run_cut_off_behind_its_last_checkpoint_takes_no_step_too_many(start, flags, small_data, tmp_path):
    out = tmp_path / "out"
    more = {"data_path": small_data, "save_steps": 2, "max_steps": 2, "resume_from_checkpoint": "true"}
    start(flags(out, **more)).finish()
    weights = (out / "model.safetensors").read_bytes()
    for name in ("model.safetensors", "config.json", "trainer_state.json"):
        (out / name).unlink()
    assert "saved to" in start(flags(out, **more)).finish()
    assert (out / "model.safetensors").read_bytes() == weights
    assert len(losses(out)) == 2
    assert not (out / "optimizer.pt").exists()
    assert (out / "processor_config.json").exists()


def test_the_last_checkpoint_of_weights_alone_is_refused(start, flags, small_data, tmp_path):
    out = tmp_path / "out"
    more = {"data_path": small_data, "save_steps": 2, "max_steps": 2}
    start(flags(out, **more, save_only_model="true")).finish()
    again = {**more, "max_steps": 4, "resume_from_checkpoint": out / "checkpoint-2"}
    run = start(flags(out, **again))
    run.wait_for_end()
    assert run.process.returncode == 2
    assert "no optimizer state" in run.text()
    assert "--resume_anyway true" in run.text()
    assert len(losses(out)) == 2
    start(flags(out, **again, resume_anyway="true")).finish()
    assert len(losses(out)) == 4

    run = start(flags(out, **more, resume_from_checkpoint=out / "checkpoint-4", seed=7))
    run.wait_for_end()
    assert run.process.returncode == 2
    assert "seed 42 there, 7 here" in run.text()
