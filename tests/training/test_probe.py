"""hint_grpo.training.probe: predictions by hand-computed numbers, and a real run on the toy model."""

import json
import subprocess
import sys

import pytest

from eval.runs import flag_words
from hint_grpo.evaluation.results import wilson_interval
from hint_grpo.hints import num_hint_steps
from hint_grpo.machine.errors import UserError
from hint_grpo.training import probe
from hint_grpo.training.probe import ProbedGroup, ProbedPrompt, at_ratio, needed_steps, predict, tried_groups


def group(num_steps: int, num_right: int, num_tokens: int = 10) -> ProbedGroup:
    return ProbedGroup(num_steps, tuple([1.0] * num_right + [0.0] * (4 - num_right)), num_tokens)


def prompt(name: str, num_steps: int, right_by_count: dict[int, int]) -> ProbedPrompt:
    return ProbedPrompt(name, num_steps, {count: group(count, right) for count, right in right_by_count.items()})


@pytest.fixture
def prompts() -> list[ProbedPrompt]:
    """Six steps: M = 2 gives 0 and 3 of them, M = 3 gives 0, 2 and 4, M = 4 gives 0, 1, 3 and 4."""
    return [
        prompt("mixed without a hint", 6, {0: 2, 1: 4, 2: 4, 3: 4, 4: 4}),
        prompt("right at two steps", 6, {0: 0, 1: 0, 2: 1, 3: 4, 4: 4}),
        prompt("right at four steps", 6, {0: 0, 1: 0, 2: 0, 3: 0, 4: 3}),
        prompt("never right", 6, {0: 0, 1: 0, 2: 0, 3: 0, 4: 0}),
        prompt("always right", 6, {0: 4, 1: 4, 2: 4, 3: 4, 4: 4}),
    ]


@pytest.mark.parametrize("num_steps", range(1, 40))
def test_every_level_of_every_m_is_among_the_needed_lengths(num_steps):
    wanted = {num_hint_steps(num_steps, level, m) for m in probe.LEVELS for level in range(m)}
    assert needed_steps(num_steps) == sorted(wanted)


@pytest.mark.parametrize(
    ("num_levels", "mixed", "never", "num_groups"),
    [
        (1, 1, 3, 5),  # only the first prompt is mixed
        (2, 1, 2, 1 + 2 + 2 + 2 + 1),  # at three steps the second is all right: solved, and no gradient
        (3, 3, 1, 1 + 2 + 3 + 3 + 1),  # at two steps the second is mixed, at four the third
        (4, 2, 1, 1 + 3 + 4 + 4 + 1),  # at three steps the second is all right, at four the third is mixed
    ],
)
def test_prediction_for_each_m(prompts, num_levels, mixed, never, num_groups):
    prediction = predict(prompts, num_levels)
    assert prediction.utilization == mixed / 5
    assert prediction.interval == wilson_interval(mixed, 5)
    assert prediction.never_correct == never / 5
    assert prediction.tokens_per_prompt == num_groups * 10 / 5


def test_a_hint_that_does_not_fit_is_not_tried():
    short = prompt("the long hints do not fit", 6, {0: 0, 1: 0})
    assert [group.num_steps for group in tried_groups(short, 3)] == [0]
    assert predict([short], 3).never_correct == 1.0
    assert at_ratio([short], 8).num_prompts == 0


def test_equal_hints_are_one_level():
    one_step = prompt("one step", 1, {0: 0})
    assert [group.num_steps for group in tried_groups(one_step, 4)] == [0]


def test_rates_at_a_ratio(prompts):
    result = at_ratio(prompts, 4)  # a third of six steps: two
    assert (result.ratio, result.num_prompts) == ("1/3", 5)
    assert (result.right, result.solved, result.mixed) == (9 / 20, 3 / 5, 1 / 5)


def test_zero_prompts_are_refused():
    with pytest.raises(UserError, match="--num_prompts 0"):
        probe.main(["--num_prompts", "0"])


def test_a_mistake_in_a_flag_is_found_before_torch_is_imported(repository):
    command = [sys.executable, "-X", "importtime", "-m", "hint_grpo.training.probe", "--loss_type", "foo"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    imported = {line.split("|")[-1].strip() for line in lines if line.startswith("import time:")}
    assert done.returncode == 2
    assert next(line for line in lines if not line.startswith("import time:")).startswith("error: --loss_type foo")
    assert not {"torch", "transformers", "trl", "accelerate"} & imported


def test_probe_of_the_toy_model(world, tmp_path, capsys):
    flags = {
        "model_name_or_path": world.models["Qwen2.5-VL"],
        "data_path": world.train_data,
        "output_dir": tmp_path,
        "num_prompts": 6,
        "num_generations": 2,
        "per_device_train_batch_size": 3,
        "max_completion_length": 24,
        "use_vllm": "false",
        "use_cpu": "true",
    }
    assert probe.main(flag_words(flags)) == 0
    values = json.loads((tmp_path / probe.FILE_NAME).read_text())
    assert len(values["prompts"]) == len({prompt["id"] for prompt in values["prompts"]}) == 6
    for sampled in values["prompts"]:
        assert [int(count) for count in sampled["groups"]] == needed_steps(sampled["num_steps"])
        assert all(len(group["accuracy_G"]) == 2 for group in sampled["groups"].values())
        assert all(0 < group["num_tokens"] <= 2 * 24 for group in sampled["groups"].values())
    assert [prediction["num_levels"] for prediction in values["predictions"]] == [1, 2, 3, 4]
    printed = capsys.readouterr().out
    assert "predicted utilisation" in printed
    assert str(tmp_path / probe.FILE_NAME) in printed
