"""Tasks: the reasoning is right, ends in the solution, and agrees with the picture (worked out here a second time)."""

import random
import re

import pytest

from hint_grpo.toy.tasks import (
    BANDS,
    PAINT,
    Fan,
    Grid,
    Item,
    Task,
    angle_sum,
    count_rest,
    count_rows,
    draw,
    make_tasks,
    remainder,
)
from hint_grpo.toy.warmup import CarelessSolver, Mix, biased_choice, guess, make_example

TASKS = make_tasks("test-of-tasks", 400)
GRID = Grid((Item("red", "disc"), None, Item("blue", "square"), *[Item("red", "square")] * 2, *[None] * 4))


def true_answer(task: Task) -> int:
    """From picture and question, without the code under test."""
    if isinstance(task.picture, Grid):
        colours = [item.colour for item in task.picture.places if item is not None]
        colour = re.search(r"red|blue|green", task.question.split("How many")[1])
        assert colour
        asked = colours.count(colour[0])
        return len(colours) - asked if "not" in task.question.split("How many")[1] else asked
    total = sum(task.picture.angles)
    return 180 - total if task.picture.straight_end else total


def last_number(text: str) -> int:
    return int(re.findall(r"\d+", text)[-1])


def test_every_kind_is_drawn():
    assert {task.kind for task in TASKS} == {
        *("count", "count-given", "supplement", "sum", "three"),
        *("remainder", "remainder-half-given", "remainder-given"),
    }


def test_solution_is_true_and_the_last_step_states_it():
    for task in TASKS:
        assert last_number(task.solution) == true_answer(task), task
        assert last_number(task.steps[-1]) == true_answer(task), task
        assert task.solution.endswith("°") == isinstance(task.picture, Fan)


def test_reasonings_have_3_to_5_steps_and_correct_sums():
    assert {len(task.steps) for task in TASKS} == {3, 4, 5}
    equations = [step for task in TASKS for step in task.steps if "=" in step]
    for step in equations:
        left, right = re.split("=", re.sub(r"^.* (?:is|AOC|AOD) (?=\d)", "", step).replace("°", "").rstrip("."))
        first, *rest = re.findall(r"[+-]? ?\d+", left)
        assert sum(int(part.replace(" ", "")) for part in (first, *rest)) == int(right), step


def test_what_the_question_gives_is_enough_exactly_where_no_picture_is_needed():
    for task in TASKS:
        given = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", task.question)]
        if isinstance(task.picture, Fan):
            assert given == list(task.picture.angles[: len(given)])
            assert (len(given) == len(task.picture.angles)) == (not task.needs_picture)
        else:
            assert bool(given) == (not task.needs_picture)
    assert 0.1 < sum(not task.needs_picture for task in TASKS) / len(TASKS) < 0.4


def test_reasonings_by_hand():
    assert count_rows(GRID, "red").steps == (
        "Row 1 has 1.",
        "Row 2 has 2.",
        "Row 3 has 0.",
        "The total is 1 + 2 + 0 = 3.",
    )
    assert count_rest(GRID, "red").steps[-1] == "The rest is 4 - 3 = 1."
    assert angle_sum((40, 30)).steps[-1] == "Angle AOC is 40° + 30° = 70°."
    assert remainder((40, 30), num_given=1).solution == "110°"
    assert ", angle AOB = 40.0, then" in remainder((40, 30), num_given=1).question


def test_a_stream_is_deterministic_and_grows_at_its_end():
    assert make_tasks("s", 30)[:10] == make_tasks("s", 10)
    assert make_tasks("s", 10) != make_tasks("t", 10)


@pytest.mark.parametrize("seed", range(5))
def test_grid_pictures_show_every_item_in_its_place(seed: int):
    task = next(task for task in make_tasks(f"grid-{seed}", 50) if isinstance(task.picture, Grid))
    assert isinstance(task.picture, Grid)
    image = draw(task.picture, random.Random(seed))
    assert image.size == (84, 84)
    for index, item in enumerate(task.picture.places):
        row, column = divmod(index, 3)
        centre = image.getpixel((28 * column + 14, 28 * row + 14))
        assert centre == (PAINT[item.colour] if item else BANDS[row])


def test_fan_pictures_show_every_angle_where_it_lies():
    import math

    image = draw(Fan((40, 60)), random.Random(1))
    assert image.size == (112, 84)
    middles = {20: "AOB", 70: "BOC", 140: "nothing"}
    seen = {
        image.getpixel((round(56 + 25 * math.cos(math.radians(d))), round(72 - 25 * math.sin(math.radians(d)))))
        for d in middles
    }
    assert len(seen) == 3
    assert (255, 255, 255) in seen


def test_two_drawings_of_one_task_differ_by_little():
    one, two = (draw(GRID, random.Random(seed)) for seed in (0, 1))
    assert one.tobytes() != two.tobytes()
    assert draw(GRID, random.Random(0)).tobytes() == one.tobytes()


def test_careless_reasonings_stay_consistent_but_are_often_wrong():
    rng, task = random.Random(0), remainder((40, 30), num_given=0)
    reasonings = [task.solve(CarelessSolver(rng, Mix(misread=0.5))) for _ in range(200)]
    for reasoning in reasonings:
        first, second = (last_number(step) for step in reasoning.steps[:2])
        assert reasoning.answer == f"{180 - first - second}°"  # misread only: the sums are right
    wrong = sum(reasoning.answer != task.solution for reasoning in reasonings)
    assert 60 < wrong < 180
    assert all(task.solve(CarelessSolver(rng, Mix())).steps == task.steps for _ in range(20))


def test_biased_choice_prefers_the_middle():
    rng = random.Random(0)
    drawn = [biased_choice(rng, range(20, 90, 10)) for _ in range(2000)]
    assert max(set(drawn), key=drawn.count) == 50
    assert set(drawn) == set(range(20, 90, 10))


def test_a_guess_is_one_step_that_states_its_answer():
    for task in TASKS[:40]:
        reasoning = guess(task, random.Random(task.question))
        assert reasoning.steps == (f"It looks like {reasoning.answer}.",)
        assert reasoning.answer.endswith("°") == task.solution.endswith("°")


def test_lessons_come_in_the_formats_that_training_and_evaluation_use():
    mix = Mix(guess=0.3, misread=0.3, miscomputed=0.3)
    examples = [make_example("lessons", index, mix) for index in range(300)]
    training = [example for example in examples if example.messages[0]["role"] == "system"]
    evaluation = [example for example in examples if example.messages[0]["role"] == "user"]
    assert 100 < len(training) < 200
    assert all(example.begun.startswith("<think>") and example.image for example in training)
    assert all(example.begun == "" for example in evaluation)
    assert 20 < sum(example.image is None for example in evaluation) < 90
    assert any(example.begun != "<think>" for example in training)
    for example in examples:
        turn = example.begun + example.rest
        assert re.fullmatch(r"<think>[^<]+</think><answer> \d+°? </answer>", turn), turn
        assert not example.begun.endswith(" ")
