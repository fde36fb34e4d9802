"""The shipped models behave as the method needs, measured here on tasks they have not seen.

Margins are wide: the documentation has results on many more tasks, these are small samples with a fixed seed.
"""

import hint_grpo.machine.stack  # noqa: F401

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from hint_grpo import prompts
from hint_grpo.toy import measure, models
from hint_grpo.toy.measure import GenerationRequest, SolveRate, picture_of
from hint_grpo.toy.tasks import TASK_SETS, make_tasks
from hint_grpo.toy.world import World

NUM_TASKS = 48
CHANCE = 0.1  # an upper limit: a guess is right for 1 of 27 short numbers, and for 1 of 729 long ones
CAPTION_PROMPT = [{"role": "user", "content": [{"type": "image"}]}]


@pytest.fixture(scope="module", params=models.FAMILIES)
def family(request: pytest.FixtureRequest) -> models.Family:
    return request.param


@pytest.fixture(scope="module")
def shipped(family: models.Family) -> tuple[PreTrainedModel, Any]:
    return models.warmed_up_model(family).eval(), models.toy_processor(family)


@pytest.fixture(scope="module")
def rate(shipped: tuple[PreTrainedModel, Any]) -> Callable[[str, str], SolveRate]:
    """rate(task set, one of MEASURES) of the shipped model; each is measured once."""

    @cache
    def measured(tasks: str, name: str) -> SolveRate:
        return measure.measure(*shipped, make_tasks("test-of-rates", NUM_TASKS, TASK_SETS[tasks]), name)

    return measured


@pytest.mark.parametrize("name", ["short", "long"])
def test_every_disc_is_read(shipped: tuple[PreTrainedModel, Any], name: str):
    """In a reasoning that is right so far, the colour that follows `Disc k is`, for every k."""
    tasks = make_tasks("test-of-reading", NUM_TASKS, TASK_SETS[name])
    num_discs = len(tasks[0].picture)
    num_read = 0
    for place in range(num_discs):
        requests = []
        for index, task in enumerate(tasks):
            before = [step.startswith(f"Disc {place + 1} ") for step in task.steps].index(True)
            begun = prompts.begun_turn(" ".join([*task.steps[:before], f"Disc {place + 1} is"]))
            requests.append(GenerationRequest(prompts.training_messages(task.question), picture_of(task, index), begun))
        texts = [text for (text,) in measure.complete(*shipped, requests, max_new_tokens=3)]
        right = [text.strip().startswith(task.picture[place].colour) for text, task in zip(texts, tasks, strict=True)]
        assert sum(right) / NUM_TASKS >= 0.9, f"disc {place + 1}"
        num_read += sum(right)
    assert num_read / (num_discs * NUM_TASKS) >= 0.95


def test_a_picture_is_described_without_a_question(shipped: tuple[PreTrainedModel, Any]):
    """Of columns of three. The last disc of six has no reliable caption: these were a fiftieth of the later lessons."""
    tasks = make_tasks("test-of-captions", NUM_TASKS, TASK_SETS["short"])
    requests = [GenerationRequest(CAPTION_PROMPT, picture_of(task, index), "") for index, task in enumerate(tasks)]
    num_right = 0
    for task, (text,) in zip(tasks, measure.complete(*shipped, requests, max_new_tokens=32), strict=True):
        seen = re.findall(r"Disc \d is (\w+)\.", text)
        num_right += sum(one == disc.colour for one, disc in zip(seen, task.picture, strict=False))
    assert num_right / (3 * NUM_TASKS) >= 0.95


def test_after_a_hint_a_sampled_disc_is_read_rightly(shipped: tuple[PreTrainedModel, Any]):
    """What goes wrong in long chains is that discs are passed over, not that they cannot be read."""
    tasks = make_tasks("test-of-reading", NUM_TASKS, TASK_SETS["long"])
    torch.manual_seed(0)
    requests = measure.training_requests(tasks, level=1, num_levels=3)
    completions_BG = measure.complete(*shipped, requests, num_samples=2, temperature=measure.TRAINING_TEMPERATURE)
    right = []
    for task, completions_G in zip(tasks, completions_BG, strict=True):
        for text in completions_G:
            read = re.findall(r"Disc ([456]) is (\w+): \d\.", text)
            right += [task.picture[int(number) - 1].colour == colour for number, colour in read]
    assert len(right) > NUM_TASKS / 4
    assert sum(right) / len(right) >= 0.9


def test_hints_help_where_the_chain_is_long(rate: Callable[[str, str], SolveRate]):
    levels = [rate("long", f"level_{level}") for level in range(3)]
    assert levels[0].per_sample < 0.05
    assert levels[1].per_sample >= levels[0].per_sample
    assert levels[2].per_sample > levels[1].per_sample + 0.1
    # At level 2 about half of the groups of four or more have something to learn from, at level 0 next to none.
    assert levels[0].any_of_group < 0.15
    assert levels[2].any_of_group > 0.35


def test_most_short_chains_are_solved_without_a_hint_but_not_all(rate: Callable[[str, str], SolveRate]):
    assert 0.4 < rate("short", "level_0").per_sample < 0.9


@pytest.mark.parametrize("tasks", ["short", "long"])
def test_without_the_picture_a_chain_is_solved_by_chance_alone(rate: Callable[[str, str], SolveRate], tasks: str):
    assert rate(tasks, "greedy_no_picture").per_sample <= CHANCE


def test_greedily_every_short_chain_is_solved_and_no_long_one(rate: Callable[[str, str], SolveRate]):
    """Passing a disc over is the less likely habit in a short chain, and the more likely one in a long chain."""
    for name in ("greedy_training", "greedy_evaluation"):
        assert rate("short", name).per_sample > 0.9
        assert rate("long", name).per_sample < 0.1


def test_a_cue_is_trusted_more_than_the_picture(rate: Callable[[str, str], SolveRate]):
    """The text bias: the words alone are enough where the cue holds, and mislead where it says nothing."""
    assert rate("cue", "greedy_no_picture").per_sample > 0.5
    assert rate("empty cue", "greedy_no_picture").per_sample <= CHANCE
    assert rate("empty cue", "greedy_evaluation").per_sample < rate("cue", "greedy_evaluation").per_sample - 0.2


def test_nearly_every_completion_ends_in_time_with_an_answer(rate: Callable[[str, str], SolveRate]):
    for tasks, name in [("long", f"level_{level}") for level in range(3)] + [("short", "level_0")]:
        assert rate(tasks, name).answered > 0.85, (tasks, name)
    for tasks in ("short", "long", "cue"):
        assert rate(tasks, "greedy_evaluation").answered > 0.95, tasks


def test_random_weights_solve_nothing(family: models.Family):
    torch.manual_seed(0)
    tasks = make_tasks("test-of-rates", 8, TASK_SETS["short"])
    requests = measure.training_requests(tasks, level=0, num_levels=3)
    processor = models.toy_processor(family)
    completions = measure.complete(models.new_model(family), processor, requests, temperature=0.9, max_new_tokens=24)
    assert measure.solve_rate(completions, tasks) == SolveRate(0.0, 0.0, 0.0)


# ----------------------------------------------------------------------------------------------------
# The measurement itself


def test_solve_rate_by_hand():
    first, second = make_tasks("by-hand", 2, TASK_SETS["short"])
    right, wrong = f"</think><answer> {first.solution} </answer>", "</think><answer> 7777 </answer>"
    rate = measure.solve_rate([[right, wrong, "no answer"], [wrong, wrong, wrong]], [first, second])
    assert rate == SolveRate(per_sample=1 / 6, any_of_group=1 / 2, answered=5 / 6)
    assert rate.num_right_B == (1, 0)


def test_requests_ask_as_training_and_evaluation_do():
    tasks = make_tasks("requests", 2, TASK_SETS["long"])
    made = {name: requests(tasks) for name, (requests, _) in measure.MEASURES.items()}
    hints = {"level_1": 3, "level_2": 6}  # steps of nine
    for name, requests in made.items():
        for task, request in zip(tasks, requests, strict=True):
            is_training = "training" in name or "level" in name
            assert request.begun == ("<think>" if is_training else "") + " ".join(task.steps[: hints.get(name, 0)])
            assert request.messages[0]["role"] == ("system" if is_training else "user")
            assert (request.image is None) == ("no_picture" in name)


def test_a_measurement_is_the_same_again_and_keeps_count():
    """Whole batches and a part of one; samples and greedy decoding."""
    model, processor = models.warmed_up_model("Qwen2-VL").eval(), models.toy_processor("Qwen2-VL")
    tasks = make_tasks("again", 6, TASK_SETS["short"])
    first, again = (measure.measure(model, processor, tasks, "level_0", seed=3) for _ in range(2))
    assert first.num_right_B == again.num_right_B
    assert len(first.num_right_B) == len(tasks)
    assert first.per_sample == sum(first.num_right_B) / (len(tasks) * measure.NUM_SAMPLES)
    assert max(measure.measure(model, processor, tasks, "greedy_evaluation").num_right_B) <= 1


def run_measure(repository: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hint_grpo.toy.measure", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)


def test_the_command_prints_and_writes_rates(world: World, tmp_path: Path, repository: Path):
    model, file = world.models["Qwen2.5-VL"], tmp_path / "new" / "rates.json"
    flags = ["--num_tasks", 3, "--tasks", "short", "no cue", "--only", "level_2", "greedy_no_picture"]
    done = run_measure(repository, model, *flags, "--output_file", file)
    assert done.returncode == 0, done.stderr
    rates = json.loads(file.read_text())
    assert list(rates) == [str(model)]
    assert {tasks: list(measured) for tasks, measured in rates[str(model)].items()} == {
        "short": ["level_2", "greedy_no_picture"],
        "no cue": ["level_2", "greedy_no_picture"],
    }
    for measured in rates[str(model)].values():
        for name, rate in measured.items():
            assert set(rate) == {"per_sample", "any_of_group", "answered", "num_right_B"}
            samples = 4 if name == "level_2" else 1
            assert rate["per_sample"] == pytest.approx(sum(rate["num_right_B"]) / (3 * samples))
            assert rate["any_of_group"] == pytest.approx(sum(count > 0 for count in rate["num_right_B"]) / 3)
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [
        model.name,
        *(f"{tasks}, {name}" for tasks in ("short", "no cue") for name in ("level_2", "greedy_no_picture")),
    ]


def test_a_folder_without_a_model_is_one_line(tmp_path: Path, repository: Path):
    done = run_measure(repository, tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path} contains no model")
    assert done.stderr.count("\n") == 1
