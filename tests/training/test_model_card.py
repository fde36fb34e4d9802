"""The model card and train_config.yaml: their texts from hand-made facts, and those that a real run writes."""

import subprocess
import sys

import pytest
import yaml

from hint_grpo.training.flags import declared_flags
from hint_grpo.training.model_card import CardFacts, card_text, utilization_of
from hint_grpo.training.presets import config_text


def record(step: int, valid: bool, level0: list[float], level: int, accuracy: list[float]) -> dict[str, object]:
    return {
        "step": step,
        "valid": valid,
        "level": level,
        "rewards": {"0": level0, str(level): accuracy},
        "accuracy": {"0": level0, str(level): accuracy},
    }


RECORDS = [
    record(1, True, [0.0, 1.0], 0, [0.0, 1.0]),
    record(1, True, [0.0, 0.0], 1, [1.0, 0.0]),
    record(2, False, [0.0, 0.0], 0, [0.0, 0.0]),
    record(2, False, [1.0, 1.0], 0, [1.0, 1.0]),
]


def facts(**changed: object) -> CardFacts:
    values = {
        "name": "run-1",
        "folder": "/PATH/TO/run-1",
        "base_model": "Qwen/Qwen2-VL-7B-Instruct",
        "base_is_on_hub": True,
        "data": "LLaVA-CoT-100k",
        "preset_line": "preset paper; overridden: nothing",
        "hints": "adaptive, M = 3 level(s), answer injection",
        "settings": {"learning_rate": 5e-5},
        "is_adapter": False,
        "utilization": utilization_of(RECORDS),
        "versions": {"torch": "2.13.0"},
    }
    return CardFacts(**(values | changed))


def test_utilization_by_hand():
    measured = utilization_of(RECORDS)
    assert (measured.num_prompts, measured.last_step) == (4, 2)
    assert (measured.valid, measured.valid_level0, measured.never_correct) == (0.5, 0.25, 0.25)
    assert utilization_of([]) is None


def test_card_describes_the_model():
    text = card_text(facts())
    metadata = yaml.safe_load(text.split("---")[1])
    assert metadata["base_model"] == "Qwen/Qwen2-VL-7B-Instruct"
    assert metadata["pipeline_tag"] == "image-text-to-text"
    for needed in ("preset paper", "adaptive, M = 3", "0.500", "0.250", "--scale 0.8", "2503.23905", "torch 2.13.0"):
        assert needed in text
    assert "None" not in text


def test_card_of_an_adapter_of_a_local_model():
    text = card_text(facts(is_adapter=True, base_model="my-model", base_is_on_hub=False, utilization=None))
    metadata = yaml.safe_load(text.split("---")[1])
    assert metadata["library_name"] == "peft"
    assert "base_model" not in metadata  # the Hub accepts only models that it hosts
    assert "hint_grpo.training.merge" in text


def test_config_holds_what_was_set_and_no_secret():
    values = {
        "num_groups": 2,
        "hint_policy": "adaptive",
        "hub_token": "hf_secret",
        "warmup_steps": 7,
        "hint_ratio": None,
    }
    text = config_text(values, declared_flags(), "released", {"learning_rate": 1e-3}, "2 cores")
    assert "# machine: 2 cores\n" in text
    assert yaml.safe_load(text) == {"num_groups": 2, "hint_policy": "adaptive", "warmup_steps": 7}
    assert "secret" not in text
    assert "# preset released; overridden: learning_rate 0.001" in text


@pytest.fixture(scope="module")
def run(world, repository, tmp_path_factory):
    out = tmp_path_factory.mktemp("card") / "my-run"
    flags = {
        "model_name_or_path": world.models["Qwen2.5-VL"],
        "data_path": world.train_data,
        "output_dir": out,
        "preset": "paper",
        "max_steps": 1,
        "num_generations": 2,
        "max_completion_length": 16,
        "per_device_train_batch_size": 2,
        "use_cpu": "true",
        "use_vllm": "false",
        "save_strategy": "no",
    }
    words = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, "train_model.py", *words]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, words


def test_a_run_writes_its_card(run):
    text = (run[0] / "README.md").read_text()
    assert "# my-run" in text
    assert "preset paper; overridden: nothing" in text
    assert "Over 2 prompts in 1 steps" in text
    assert "fine-tuned version of" not in text


def test_a_runs_config_reads_back_as_the_same_flags(run):
    from hint_grpo.training.command_line import read

    out, words = run
    again = read(["--config", str(out / "train_config.yaml")])
    # --report_to accepts several trackers: its default is a string, a given value a list.
    assert again.values() == read([*words, "--report_to", "none"]).values()
    assert again.preset == "paper"
