"""--table schedules --world toy: what is run for a row and a seed, and the table made of given numbers."""

import pytest

from eval.evidence.jobs import Job
from eval.reproduce.cli import output_folder, parse, seeds_of, select
from eval.reproduce.recipes import TABLES, read_rows
from eval.reproduce.schedules import check_overrides, experiment_of, table_lines, with_flags
from hint_grpo.machine.errors import UserError

ROWS = {row.name: row for row in read_rows(TABLES / "schedules.yaml")}


def options_of(*words):
    return parse(["--table", "schedules", "--world", "toy", *words])[0]


def test_rows_and_seeds_are_runs_of_recipes():
    wanted = experiment_of([ROWS["base"], ROWS["uft"], ROWS["grpo"]], (1, 2))
    assert [(run.method, run.seed, run.tasks) for run in wanted.runs] == [
        ("uft", 1, "chains"),
        ("uft", 2, "chains"),
        ("grpo", 1, "chains"),
        ("grpo", 2, "chains"),
    ]
    assert len(wanted.measurements) == 5  # the base model once, and every run
    assert len(experiment_of([ROWS["base"]], (1,)).measurements) == 1


def test_the_command_line():
    options = options_of("--rows", "uft,seele", "--seeds", "4", "5")
    assert [row.name for row in select(options).rows] == ["uft", "seele"]
    assert seeds_of(options) == (4, 5)
    assert output_folder(options).name == "reproduce_schedules"
    assert seeds_of(options_of()) == (1, 2, 3)
    with pytest.raises(UserError, match="--seeds 1 1: give each seed once"):
        seeds_of(options_of("--seeds", "1", "1"))
    with pytest.raises(UserError, match="--figures does not go with"):
        seeds_of(options_of("--figures"))


def test_flags_behind_the_dashes_end_the_command(tmp_path):
    job = Job("a", ["train_model.py", "--max_steps", "40"], tmp_path / "x")
    assert with_flags(job, {"max_steps": "2"}).command == ["train_model.py", "--max_steps", "40", "--max_steps", "2"]
    check_overrides(tmp_path / "out", {"max_steps": "2"})
    check_overrides(tmp_path / "out", {"max_steps": "2"})
    with pytest.raises(UserError, match="has runs with other flags"):
        check_overrides(tmp_path / "out", {})


def test_the_table_has_means_and_intervals_over_seeds():
    numbers = [
        {"method": "uft", "seed": seed, "hard": hard, "easy": 1.0, "utilization": 0.5, "tokens": 100.0 * seed}
        for seed, hard in ((1, 0.2), (2, 0.4))
    ]
    lines = table_lines([ROWS["base"], ROWS["uft"]], {"hard": 0.0, "easy": 0.75}, numbers)
    assert lines[2] == "| base model, no training | 0.000 | 0.750 | - | - | - |"
    # two seeds: t = 12.706 times half the distance
    assert lines[3] == (
        "| UFT | 0.300 [-0.971, 1.571] | 1.000 [1.000, 1.000] | 0.500 [0.500, 0.500] | 150 [-485, 785] | 2 |"
    )
