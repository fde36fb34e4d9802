"""--preset: which flags it sets, that a given flag wins, and the line that reports both."""

import dataclasses

import pytest

from hint_grpo.machine.errors import UserError
from hint_grpo.training.command_line import parse
from hint_grpo.training.config import HintGRPOConfig, ScriptArguments
from hint_grpo.training.presets import PRESETS, overridden, preset_line, preset_values

RELEASED = {
    "steps_file": "llavacot_geometry.jsonl",
    "data_rules": "released",
    "step_rules": "released",
    "scorer": "released",
    "level_rule": "summed_rewards",
    "equal_hints": "sample",
    "hint_counts": "float",
    "num_groups": 2,
    "learning_rate": 1e-6,
    "vllm_importance_sampling_correction": False,
    "picture_processing": "qwen_vl_utils",
}
PAPER = {
    "num_groups": 3,
    "learning_rate": 5e-5,
    "vllm_importance_sampling_correction": False,
    "equal_hints": "sample",
}
DEFAULT = {
    "steps_file": None,
    "data_rules": "project",
    "step_rules": "project",
    "scorer": "strict",
    "level_rule": "accuracy",
    "equal_hints": "skip",
    "hint_counts": "exact",
    "num_groups": 3,
    "learning_rate": 1e-6,
    "vllm_importance_sampling_correction": True,
    "picture_processing": "processor",
}


@pytest.fixture
def parsed(world, tmp_path):
    """The values that matter here, and the config, of a command line."""

    def run(*words):
        common = {"model_name_or_path": world.models["Qwen2.5-VL"], "data_path": world.train_data}
        common |= {"output_dir": tmp_path, "use_cpu": "true", "use_vllm": "false"}
        script, training, _ = parse(
            [*(word for name, value in common.items() for word in (f"--{name}", str(value))), *words]
        )
        return {name: getattr(script, name, getattr(training, name, None)) for name in DEFAULT}, training

    return run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), DEFAULT),
        (("--preset", "default"), DEFAULT),
        (("--preset", "paper"), DEFAULT | PAPER),
        (("--preset=released",), RELEASED),
    ],
)
def test_what_a_preset_sets(parsed, words, expected):
    values, training = parsed(*words)
    assert values == expected
    assert training.preset_overrides == {}


def test_a_given_flag_wins_and_is_named(parsed, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("num_groups: 3\nscorer: released\n")
    words = ["--preset", "released", "--config", str(recipe), "--learning_rate", "0.000001", "--level_rule", "accuracy"]
    values, training = parsed(*words)
    assert values == RELEASED | {"num_groups": 3, "level_rule": "accuracy"}
    assert preset_line("released", training.preset_overrides) == (
        "preset released; overridden: level_rule accuracy (preset: summed_rewards), num_groups 3 (preset: 2)"
    )
    _, training = parsed("--preset", "released", "--num_groups", "2")
    assert preset_line("released", training.preset_overrides) == "preset released; overridden: nothing"


def test_a_recipe_may_name_the_preset(parsed, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("preset: paper\nlearning_rate: 0.001\n")
    values, training = parsed("--config", str(recipe))
    assert values == DEFAULT | PAPER | {"learning_rate": 0.001}
    assert (training.preset, list(training.preset_overrides)) == ("paper", ["learning_rate"])


def test_the_authors_file_belongs_to_their_data_set():
    given = {"dataset_name": "my.jsonl"}
    assert "steps_file" not in preset_values("released", given)
    assert preset_line("released", overridden("released", given)) == (
        "preset released; overridden: steps_file not used (preset: llavacot_geometry.jsonl)"
    )


def test_unknown_presets_are_refused(parsed):
    with pytest.raises(UserError, match="unknown --preset original: use one of default, paper, released"):
        parsed("--preset", "original")


def test_every_value_is_a_flag():
    flags = {field.name for owner in (ScriptArguments, HintGRPOConfig) for field in dataclasses.fields(owner)}
    assert all(preset.keys() <= flags for preset in PRESETS.values())
