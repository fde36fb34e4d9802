"""Every recipe is what its row says, and train_model.py takes it with the settings that all recipes share."""

import pytest

from eval.reproduce.recipes import (
    BASE,
    PAPER_SETTINGS,
    RECIPES,
    TABLES,
    TOY_SETTINGS,
    read_flags,
    read_rows,
    read_settings,
    recipe_path,
    shared_flags,
)
from eval.runs import flag_words
from hint_grpo.machine.errors import UserError
from hint_grpo.policies.paper import Adaptive, NoHints
from hint_grpo.training.command_line import parse

# recipe -> (policy, levels, ratio, injection, multiple choice kept)
EXPECTED = {
    "grpo": ("none", 1, 0.0, "answer", False),
    "grpo_multiple_choice": ("none", 1, 0.0, "answer", True),
    "hint_grpo_m1": ("adaptive", 1, 0.0, "answer", False),
    "hint_grpo_m2": ("adaptive", 2, 0.0, "answer", False),
    "hint_grpo_m3": ("adaptive", 3, 0.0, "answer", False),
    "hint_grpo_m4": ("adaptive", 4, 0.0, "answer", False),
    "query_injection": ("adaptive", 3, 0.0, "query", False),
    "fixed_0.25": ("fixed", 1, 0.25, "answer", False),
    "fixed_0.5": ("fixed", 1, 0.5, "answer", False),
    "fixed_0.75": ("fixed", 1, 0.75, "answer", False),
    "random_alpha": ("random", 1, 0.0, "answer", False),
    "uft": ("uft", 1, 0.0, "answer", False),
    "questa": ("questa", 1, 0.0, "query", False),
    "ghpo": ("ghpo", 4, 0.0, "query", False),
    "g2rpo_a": ("g2rpo_a", 1, 0.0, "answer", False),
    "seele": ("seele", 1, 0.0, "answer", False),
    "trapo": ("trapo", 1, 0.0, "answer", False),
    "dynamic_sampling": ("none", 1, 0.0, "answer", False),
}
SCHEDULES = {"uft", "questa", "ghpo", "g2rpo_a", "seele", "trapo", "dynamic_sampling"}
# These need a GPU, or change this very process.
NOT_HERE = {"deepspeed": None, "attn_implementation": "sdpa", "use_cpu": True}


def test_every_recipe_is_expected_here() -> None:
    assert {path.stem for path in RECIPES.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("settings", [TOY_SETTINGS, PAPER_SETTINGS], ids=lambda path: path.stem)
@pytest.mark.parametrize("run", EXPECTED)
def test_train_model_takes_the_recipe(run, settings, world, tmp_path) -> None:
    paths = {"model_name_or_path": world.models["Qwen2.5-VL"], "data_path": world.train_data, "output_dir": tmp_path}
    flags = shared_flags(run, read_settings(settings), NOT_HERE | paths)
    script, training, _ = parse(["--config", str(recipe_path(run)), *flag_words(flags)])
    policy = training.policy
    ratio = getattr(policy, "ratio", 0.0)
    found = (training.hint_policy, policy.num_levels, ratio, training.hint_injection, script.keep_multiple_choice)
    assert found == EXPECTED[run]
    assert training.num_generations == 4
    assert training.save_only_model is False  # such a run could not be resumed
    assert training.max_steps == (80 if settings == TOY_SETTINGS else -1)


def test_one_hint_level_is_plain_grpo() -> None:
    """Why the row of M = 1 shows the run of plain GRPO."""
    for steps in (["a"], ["a", "b", "c"]):
        assert Adaptive(1).longest_levels(steps) == NoHints().longest_levels(steps)


def test_the_rows_of_the_ablation_table() -> None:
    rows = {row.name: row for row in read_rows(TABLES / "ablation.yaml")}
    assert {row.run for row in rows.values()} == {BASE} | set(EXPECTED) - {"hint_grpo_m1"} - SCHEDULES
    assert {name: row.paper for name, row in rows.items() if row.paper is not None} == {
        "base": 30.63,
        "grpo_multiple_choice": 35.81,
        "grpo": 38.46,
        "hint_grpo_m1": 38.46,
        "hint_grpo_m3": 45.62,
        "query_injection": 41.64,
        "calibration_0.0": 45.62,
        "calibration_0.8": 46.68,
        "calibration_1.6": 44.69,
    }
    scales = [row.scale for name, row in rows.items() if name.startswith("calibration")]
    assert scales == [0.0, 0.4, 0.8, 1.2, 1.6]
    assert all(row.scale == 0.0 or row.run == "hint_grpo_m3" for row in rows.values())


def test_the_rows_of_the_schedules_table() -> None:
    rows = {row.name: row for row in read_rows(TABLES / "schedules.yaml")}
    assert {row.run for row in rows.values()} == {BASE, "grpo", "hint_grpo_m3"} | SCHEDULES
    assert all(row.paper is None and row.scale == 0.0 for row in rows.values())


def test_a_recipe_wins_over_the_shared_settings_and_the_command_line_over_both() -> None:
    settings = read_settings(PAPER_SETTINGS)
    assert settings.training["save_total_limit"] == 2
    assert "save_total_limit" not in shared_flags("grpo", settings, {})  # it stands in the recipe
    assert shared_flags("grpo_multiple_choice", settings, {})["save_total_limit"] == 2
    assert shared_flags("grpo", settings, {"save_total_limit": 1})["save_total_limit"] == 1


def test_flags_behind_the_dashes() -> None:
    assert read_flags(["--max_steps", "8", "--bf16", "--reward_funcs", "accuracy", "format", "--seed=3"]) == {
        "max_steps": "8",
        "bf16": True,
        "reward_funcs": ["accuracy", "format"],
        "seed": "3",
    }
    with pytest.raises(UserError, match="max_steps 8"):
        read_flags(["8"])


def test_flags_as_words() -> None:
    assert flag_words({"scale": [0.0, 0.8], "use_vllm": True, "deepspeed": None, "limit": 5}) == [
        *("--scale", "0.0", "0.8"),
        *("--use_vllm", "true"),
        *("--limit", "5"),
    ]
