"""The shipped models behave as the method needs, measured here on tasks they have not seen.

Margins are wide: the documentation has results on 512 tasks, these are small samples with a fixed seed.
"""

import hint_grpo.machine.stack  # noqa: F401

import pytest
import torch

from hint_grpo.toy import measure, models
from hint_grpo.toy.measure import SolveRate
from hint_grpo.toy.tasks import make_tasks

TASKS = make_tasks("test-of-rates", 64)
PICTURE_TASKS = [task for task in TASKS if task.needs_picture]


@pytest.fixture(scope="module", params=models.FAMILIES)
def family(request: pytest.FixtureRequest) -> models.Family:
    return request.param


@pytest.fixture(scope="module")
def levels(family: models.Family) -> list[SolveRate]:
    torch.manual_seed(0)
    return measure.level_rates(models.warmed_up_model(family), models.toy_processor(family), TASKS, num_samples=2)


def test_hints_help(levels: list[SolveRate]):
    assert levels[2].per_sample > levels[0].per_sample + 0.15
    assert levels[2].any_of_group > levels[1].any_of_group > levels[0].any_of_group


def test_without_hints_some_are_solved_and_most_are_not(levels: list[SolveRate]):
    assert 0.05 < levels[0].per_sample < 0.4


def test_nearly_every_completion_ends_in_time_with_an_answer(levels: list[SolveRate]):
    assert all(rate.answered > 0.9 for rate in levels)


def test_the_picture_matters_where_it_is_needed(family: models.Family):
    model, processor = models.warmed_up_model(family), models.toy_processor(family)
    seen = measure.greedy_rate(model, processor, PICTURE_TASKS, with_image=True)
    blind = measure.greedy_rate(model, processor, PICTURE_TASKS, with_image=False)
    assert seen.per_sample > blind.per_sample + 0.1


def test_random_weights_solve_nothing(family: models.Family):
    torch.manual_seed(0)
    requests = measure.training_requests(TASKS[:8], level=0, num_levels=3)
    processor = models.toy_processor(family)
    completions = measure.complete(models.new_model(family), processor, requests, temperature=0.9, max_new_tokens=24)
    assert measure.solve_rate(completions, TASKS[:8]) == SolveRate(0.0, 0.0, 0.0)


def test_solve_rate_by_hand():
    first, second = make_tasks("by-hand", 2)
    right, wrong = f"</think><answer> {first.solution} </answer>", "</think><answer> 7777 </answer>"
    rate = measure.solve_rate([[right, wrong, "no answer"], [wrong, wrong, wrong]], [first, second])
    assert rate == SolveRate(per_sample=1 / 6, any_of_group=1 / 2, answered=5 / 6)
