"""What is finished, interrupted or missing is read from files; the plan holds what a table and the figures need."""

import json
import os
from dataclasses import replace

import pytest

from eval.reproduce.cli import experiments_from, parse, select
from eval.reproduce.plan import RunPlan, plan_runs, steps_of
from eval.reproduce.recipes import PAPER_SETTINGS, TableRow, read_settings
from eval.reproduce.steps import Training, evaluations_both_ways, final_evaluation
from hint_grpo.machine.errors import UserError


def test_a_training_is_finished_by_its_last_weights_alone(experiment, write_training) -> None:
    training = Training(experiment, "grpo")
    assert training.state() == "missing"
    training.prepare()  # started, killed before its first checkpoint
    assert training.state() == "missing"
    write_training(experiment, "grpo", 4, checkpoints=(2,), finished=False)
    assert training.state() == "interrupted"
    (training.folder / "model.safetensors").write_bytes(b"")  # killed while the last weights were written
    assert training.state() == "interrupted"
    write_training(experiment, "grpo", 4)
    assert training.state() == "finished"


def test_a_half_written_checkpoint_does_not_count(experiment) -> None:
    training = Training(experiment, "grpo")
    (training.folder / ".unfinished" / "checkpoint-2").mkdir(parents=True)
    (training.folder / "checkpoint-2").mkdir()
    assert training.state() == "missing"


def test_a_run_with_other_settings_is_not_shown_as_this_one(experiment, write_training) -> None:
    training = Training(experiment, "grpo")
    training.check_settings()
    training.prepare()
    write_training(experiment, "grpo", 4)
    training.check_settings()
    other = json.loads((training.folder / "reproduce.json").read_text()) | {"max_steps": "8"}
    (training.folder / "reproduce.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match="max_steps 8 there, 4 now"):
        training.check_settings()


def test_an_evaluation_is_finished_by_a_summary_of_these_questions(experiment, write_training, write_summary) -> None:
    write_training(experiment, "grpo", 4)
    evaluation = final_evaluation("grpo", experiment, (0.0, 0.8))
    assert evaluation.state() == "missing"
    write_summary(evaluation, 0.0, 2, 1)
    assert evaluation.state() == "interrupted"
    summary = write_summary(evaluation, 0.8, 2, 1)
    assert evaluation.state() == "finished"
    for change in (
        {"num_questions": 3},
        {"decoding": {"max_new_tokens": 1024}},
        {"made_with": {"model_path": str(evaluation.weights), "prompt_path": "others.jsonl"}},
        {"made_with": {"model_path": "other", "prompt_path": str(experiment.prompt_path)}},
    ):
        good = json.loads(summary.read_text())
        summary.write_text(json.dumps(good | change))
        assert evaluation.state() == "interrupted", change
        summary.write_text(json.dumps(good))
    summary.write_text(json.dumps(good | {"num_questions": 3, "num_skipped": 1}))
    assert evaluation.state() == "finished"


def test_an_evaluation_of_weights_that_were_trained_anew_is_looked_at_again(
    experiment, write_training, write_summary
) -> None:
    folder = write_training(experiment, "grpo", 4)
    evaluation = final_evaluation("grpo", experiment)
    summary = write_summary(evaluation, 0.0, 2, 1)
    assert evaluation.state() == "finished"
    os.utime(folder / "model.safetensors", (0, summary.stat().st_mtime + 10))
    assert evaluation.state() == "interrupted"


def test_rows_become_one_need_per_run(experiment) -> None:
    rows = [TableRow("a", "A", "grpo"), TableRow("b", "B", "hint_grpo_m3", 0.8), TableRow("c", "C", "hint_grpo_m3")]
    assert plan_runs(rows, []) == [RunPlan("grpo", (0.0,)), RunPlan("hint_grpo_m3", (0.0, 0.8))]
    assert plan_runs(rows, ["hint_grpo_m3"]) == [
        RunPlan("hint_grpo_m3", (0.0, 0.8), True),
        RunPlan("base", (0.0,), True),
        RunPlan("grpo", (0.0,)),
    ]


def test_every_checkpoint_is_evaluated_both_ways_and_the_last_one_once(experiment, write_training) -> None:
    folder = write_training(experiment, "grpo", 4, checkpoints=(2, 4, 10), finished=False)
    found = [(step, seeing.label, seeing.weights) for step, seeing, _ in evaluations_both_ways("grpo", experiment)]
    assert found == [(step, f"checkpoint-{step}", folder / f"checkpoint-{step}") for step in (2, 4, 10)]
    write_training(experiment, "grpo", 10)
    found = [
        (step, seeing.label, blind.label, blind.no_image)
        for step, seeing, blind in evaluations_both_ways("grpo", experiment)
    ]
    assert found[-1] == (10, "final", "final", True)
    assert len(found) == 3


def test_a_chain_trains_then_evaluates_what_the_training_left(experiment, write_training) -> None:
    walk = steps_of(RunPlan("grpo", (0.0, 0.8), True), experiment)
    assert next(walk).name == "grpo-training"
    assert next(walk).name == "grpo-evaluation-final"
    write_training(experiment, "grpo", 4, checkpoints=(2, 4))
    assert [step.name for step in walk] == [
        "grpo-evaluation-checkpoint-2",
        "grpo-evaluation-checkpoint-2-no_image",
        "grpo-evaluation-final",
        "grpo-evaluation-final-no_image",
    ]


def test_the_commands(experiment) -> None:
    words = " ".join(Training(experiment, "grpo").command())
    assert "train_model.py --config eval/recipes/grpo.yaml" in words
    assert "--resume_from_checkpoint true" in words
    evaluation = final_evaluation("base", experiment, (0.0, 0.8))
    words = " ".join(evaluation.command())
    assert f"--model_path {experiment.model_path} " in words
    assert "--scale 0.0 0.8" in words
    assert "--no_image" not in words


def options(*words: str):
    return parse(words)[0]


def test_what_the_flags_select() -> None:
    assert select(options("--table", "ablation")).both_ways == ["grpo", "hint_grpo_m3"]
    part = select(options("--rows", "fixed_0.5,base"))
    assert ([row.name for row in part.rows], part.both_ways) == (["fixed_0.5", "base"], [])
    drawn = select(options("--figures"))
    assert {row.run for row in drawn.rows} == {"grpo", "hint_grpo_m3"}
    assert drawn.both_ways == ["grpo", "hint_grpo_m3"]
    with pytest.raises(UserError, match=r"unknown --rows fixed_0\.9; choose from base, "):
        select(options("--rows", "base,fixed_0.9"))
    with pytest.raises(UserError, match="unknown --both_ways r1v"):
        select(options("--figures", "--both_ways", "r1v"))


def test_mistakes_get_one_line(tmp_path) -> None:
    with pytest.raises(UserError, match="--eval_data, --prompt_path missing"):
        experiments_from(options("--model_path", "m", "--data_path", "d"), {})
    with pytest.raises(UserError, match="--world toy sets"):
        experiments_from(options("--world", "toy", "--model_path", "m"), {})
    with pytest.raises(UserError, match="--help"):
        options("--tabel", "ablation")


@pytest.mark.parametrize(
    ("training", "num_processes", "one_slot_each", "under_torchrun"),
    [
        ({"deepspeed": "local_scripts/zero3_offload.json"}, 1, True, True),  # one GPU or one CPU
        ({"deepspeed": "local_scripts/zero3_offload.json"}, 7, False, True),
        ({}, 2, True, True),
        ({}, 1, False, True),  # two GPUs: one process trains, and leaves the other GPU to the server
        ({}, 1, True, False),  # a toy run, alone on its GPU or core
        ({"deepspeed": "none"}, 1, True, False),
    ],
)
def test_who_needs_torchrun(experiment, training, num_processes, one_slot_each, under_torchrun) -> None:
    settings = replace(experiment.settings, training=training, one_slot_each=one_slot_each)
    command = Training(replace(experiment, settings=settings, num_processes=num_processes), "grpo").command()
    assert ("torch.distributed.run" in command) == under_torchrun
    assert (f"--nproc_per_node={num_processes}" in command) == under_torchrun


@pytest.mark.parametrize(("num_processes", "num_gpus"), [(1, 0), (1, 1), (1, 2), (7, 8)])
def test_train_model_accepts_the_command_with_the_papers_settings(
    experiment, num_processes, num_gpus, monkeypatch
) -> None:
    """As a process that torchrun starts would read it, on a machine with so many GPUs."""
    from hint_grpo.training import command_line, flag_checks

    (experiment.model_path / "config.json").write_text('{"model_type": "qwen2_vl"}')
    (experiment.model_path / "preprocessor_config.json").write_text("{}")
    overrides = {"attn_implementation": "sdpa"} | ({"use_cpu": True} if num_gpus == 0 else {})
    paper = replace(
        experiment, settings=read_settings(PAPER_SETTINGS), overrides=overrides, num_processes=num_processes
    )
    command = Training(paper, "hint_grpo_m3").command()
    variables = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for module in (command_line, flag_checks):
        monkeypatch.setattr(module, "count_gpus", lambda: num_gpus)
    given = command_line.read(command[command.index("train_model.py") + 1 :])
    command_line.check(given)
    assert given.values()["deepspeed"] == "local_scripts/zero3_offload.json"


def test_each_preset_is_an_experiment_with_its_own_folder(tmp_path) -> None:
    words = ("--world", "toy", "--output_dir", str(tmp_path), "--preset", "default", "paper", "released", "paper")
    default, paper, released = experiments_from(options(*words), {"max_steps": "2"})
    assert [each.output_dir for each in (default, paper, released)] == [
        tmp_path,
        tmp_path / "preset_paper",
        tmp_path / "preset_released",
    ]
    assert len({each.model_path for each in (default, paper, released)}) == 1
    commands = [Training(each, "hint_grpo_m3").command() for each in (default, paper, released)]
    assert "--preset" not in commands[0]  # a run from before there were presets is still this one
    for command, name in zip(commands[1:], ("paper", "released"), strict=True):
        assert command[command.index("--preset") + 1] == name
        assert command[command.index("--max_steps") + 1] == "2"
    # the toy world's re-split file lies where only this preset finds it
    steps_files = [str(tmp_path / "world" / "llavacot_geometry.jsonl") in command for command in commands]
    assert steps_files == [False, False, True]
    for experiment, expected in ((default, None), (paper, "paper"), (released, "released")):
        command = final_evaluation("hint_grpo_m3", experiment).command()
        assert (command[command.index("--preset") + 1] if "--preset" in command else None) == expected
