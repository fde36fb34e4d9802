"""Tasks: the reasoning is right, ends in the solution, and agrees with the picture (read here a second time, from its pixels)."""

import random
import re

import pytest
from PIL import Image

from hint_grpo.toy.tasks import (
    BANDS,
    PAINT,
    TASK_SETS,
    TINT_MEAN,
    TINT_SPREAD,
    Disc,
    Task,
    chain,
    cue_tasks,
    cued,
    draw,
    make_tasks,
)

CHAINS = make_tasks("test-of-chains", 150, TASK_SETS["chains"])
CUED = make_tasks("test-of-cues", 150, TASK_SETS["half-true cue"])


def centres(image: Image.Image, num_discs: int) -> list[tuple[int, int, int]]:
    """The pixel in the middle of each disc's place, from top to bottom."""
    return [image.getpixel((14, 28 * place + 14)) for place in range(num_discs)]  # type: ignore[misc]  # an RGB picture


def nearest(pixel: tuple[int, int, int]) -> str:
    """The colour whose paint is most like the pixel."""
    return min(PAINT, key=lambda colour: sum((a - b) ** 2 for a, b in zip(pixel, PAINT[colour], strict=True)))


def spelled(colours: list[str], question: str) -> str:
    """The number that discs spell by the key that the question gives."""
    key = dict(re.findall(r"[Aa] (\w+) disc is (\d)", question))
    assert len(key) == len(PAINT)
    return "".join(key[colour] for colour in colours)


def discs_that_agree(tasks: list[Task]) -> float:
    """The share of discs that have the colour that the question names."""
    agree = [disc.colour == named_colour(task) for task in tasks for disc in task.picture]
    return sum(agree) / len(agree)


def named_colour(task: Task) -> str:
    found = re.fullmatch(r".* In the (\w+) picture, the number is \(\)", task.question)
    assert found, task.question
    return found[1]


# ----------------------------------------------------------------------------------------------------
# Question, picture, reasoning, solution


ALIKE = {"short": 1 / 3, "long": 1 / 3, "cue": 1 / 3}
SHARES = {  # of the kinds in every set
    "long": {"long": 1},
    "short": {"short": 1},
    "chains": {"short": 1 / 2, "long": 1 / 2},
    "cue": {"cue": 1},
    "half-true cue": {"cue": 1},
    "empty cue": {"cue": 1},
    "no cue": {"cue": 1},
    "lessons": {"short": 1 / 5, "long": 1 / 5, "cue": 3 / 5},
    "train": ALIKE,
    "test": ALIKE,
}


@pytest.mark.parametrize("name", TASK_SETS)
def test_kinds_of_a_set_come_in_their_shares(name: str):
    drawn = [task.kind for task in make_tasks("kinds", 600, TASK_SETS[name])]
    shares = {kind: drawn.count(kind) / len(drawn) for kind in set(drawn)}
    assert shares == pytest.approx(SHARES[name], abs=0.06)


@pytest.mark.parametrize(("name", "validity"), [("lessons", 0.9), ("train", 0.9), ("test", 1 / 3)])
def test_the_cue_holds_in_lessons_and_training_and_says_nothing_in_the_test(name: str, validity: float):
    cue = [task for task in make_tasks("validity", 1500, TASK_SETS[name]) if task.kind == "cue"]
    assert discs_that_agree(cue) == pytest.approx(validity, abs=0.04)


def test_the_picture_spells_the_solution():
    for index, task in enumerate(CHAINS):
        pixels = centres(draw(task.picture, random.Random(index)), len(task.picture))
        assert task.solution == spelled([nearest(pixel) for pixel in pixels], task.question), task


def test_the_solution_follows_from_the_colours():
    for task in CHAINS + CUED:
        assert task.solution == spelled([disc.colour for disc in task.picture], task.question), task
        assert len(task.picture) == {"short": 3, "long": 6, "cue": 3}[task.kind]
        assert task.source == {"short": "geoqa+", "long": "CLEVR_v1.0", "cue": "CLEVR_v1.0"}[task.kind]


def test_steps_read_disc_by_disc_and_end_in_the_solution():
    for task in CHAINS + CUED:
        read = [re.fullmatch(r"Disc (\d) is (\w+): (\d)\.", step) for step in task.steps]
        discs = [match.groups() for match in read if match]
        assert [int(number) for number, _, _ in discs] == list(range(1, len(task.picture) + 1))
        assert [colour for _, colour, _ in discs] == [disc.colour for disc in task.picture]
        assert "".join(digit for _, _, digit in discs) == task.solution
        assert task.steps[-1] == f"The number is {task.solution}."
        assert len(task.steps) == (9 if task.kind == "long" else 4)


def test_reasonings_by_hand():
    assert chain(["blue", "red", "green"]).steps == (
        "Disc 1 is blue: 2.",
        "Disc 2 is red: 1.",
        "Disc 3 is green: 3.",
        "The number is 213.",
    )
    long = chain(["green", "green", "red", "blue", "blue", "red"])
    assert long.steps == (
        *("Disc 1 is green: 3.", "Disc 2 is green: 3.", "Disc 3 is red: 1.", "The first part is 331."),
        *("Disc 4 is blue: 2.", "Disc 5 is blue: 2.", "Disc 6 is red: 1.", "The next part is 221."),
        "The number is 331221.",
    )
    assert long.solution == "331221"
    assert long.question == (
        "A red disc is 1, a blue disc is 2, a green disc is 3. From top to bottom, the number is ()"
    )
    misled = cued((Disc("red", "blue", 0.9), Disc("blue"), Disc("red")), "blue")
    assert misled.solution == "121"  # the cue and the tint change nothing about the answer
    assert misled.question.endswith(". In the blue picture, the number is ()")
    assert cued(misled.picture, None).question.endswith(". In the picture, the number is ()")


# ----------------------------------------------------------------------------------------------------
# Streams, cues, tints


@pytest.mark.parametrize("name", TASK_SETS)
def test_a_stream_is_deterministic_and_grows_at_its_end(name: str):
    maker = TASK_SETS[name]
    assert make_tasks("s", 30, maker)[:10] == make_tasks("s", 10, maker)
    assert make_tasks("s", 10, maker) != make_tasks("t", 10, maker)


@pytest.mark.parametrize(("name", "validity"), [("cue", 0.9), ("half-true cue", 0.6), ("empty cue", 1 / 3)])
def test_the_cue_agrees_with_its_share_of_the_discs(name: str, validity: float):
    assert discs_that_agree(make_tasks("validity", 1000, TASK_SETS[name])) == pytest.approx(validity, abs=0.03)


@pytest.mark.parametrize(("validity", "share"), [(1.0, 1.0), (0.0, 0.0)])
def test_a_cue_can_be_always_right_or_always_wrong(validity: float, share: float):
    assert discs_that_agree(make_tasks("validity", 50, cue_tasks(validity))) == share


def test_where_the_cue_is_empty_or_missing_every_colour_is_equally_frequent():
    for name in ("empty cue", "no cue", "chains"):
        colours = [disc.colour for task in make_tasks("colours", 600, TASK_SETS[name]) for disc in task.picture]
        for colour in PAINT:
            assert colours.count(colour) / len(colours) == pytest.approx(1 / 3, abs=0.05)


def test_no_cue_names_no_colour():
    for task in make_tasks("no-cue", 50, TASK_SETS["no cue"]):
        key, _, asked = task.question.partition(". ")
        assert all(colour in key and colour not in asked for colour in PAINT)


def test_tints_are_of_another_colour_and_as_strong_as_documented():
    discs = [disc for task in make_tasks("tints", 1000, TASK_SETS["empty cue"]) for disc in task.picture]
    shares = [disc.tint_share for disc in discs]
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert all(disc.tint != disc.colour for disc in discs)
    mean = sum(shares) / len(shares)
    assert mean == pytest.approx(TINT_MEAN, abs=0.02)
    assert sum((share - mean) ** 2 for share in shares) / len(shares) == pytest.approx(TINT_SPREAD**2, rel=0.15)
    # Some discs look more like their tint, so that even a perfect reader of pictures would err there.
    assert 0.05 < sum(share > 0.5 for share in shares) / len(shares) < 0.3


def test_discs_of_chains_have_no_tint():
    assert all(disc.tint_share == 0.0 for task in CHAINS for disc in task.picture)


# ----------------------------------------------------------------------------------------------------
# Drawing


@pytest.mark.parametrize(("num_discs", "size"), [(1, (28, 112)), (3, (28, 112)), (4, (28, 112)), (6, (28, 168))])
def test_a_picture_has_a_place_per_disc_and_at_least_four(num_discs: int, size: tuple[int, int]):
    column = tuple(Disc(("red", "blue", "green")[place % 3]) for place in range(num_discs))
    image = draw(column, random.Random(num_discs))
    assert (image.size, image.mode) == (size, "RGB")
    assert centres(image, num_discs) == [PAINT[disc.colour] for disc in column]
    # Beside the disc is the background of its place; below the last disc the picture is empty.
    corners = [image.getpixel((1, 28 * place + 3)) for place in range(num_discs)]
    assert corners == list(BANDS[:num_discs])
    below = [image.getpixel((14, 28 * place + 14)) for place in range(num_discs, size[1] // 28)]
    assert set(below) <= {(255, 255, 255)}


def test_a_tint_is_visible():
    for index, task in enumerate(CUED):
        pixels = centres(draw(task.picture, random.Random(index)), 3)
        for pixel, disc in zip(pixels, task.picture, strict=True):
            for value, own, other in zip(pixel, PAINT[disc.colour], PAINT[disc.tint], strict=True):
                assert abs(value - (own + disc.tint_share * (other - own))) <= 1, disc


def test_tints_of_half_a_disc_and_more_hide_the_colour():
    column = (Disc("red", "blue", 0.25), Disc("red", "blue", 0.75), Disc("red", "blue", 1.0))
    pixels = centres(draw(column, random.Random(0)), 3)
    assert [nearest(pixel) for pixel in pixels] == ["red", "blue", "blue"]
    assert pixels[2] == PAINT["blue"]


def test_two_drawings_of_one_task_differ_by_little():
    column = chain(["red", "blue", "green"]).picture
    one, two = (draw(column, random.Random(seed)) for seed in (0, 1))
    assert one.tobytes() != two.tobytes()
    assert draw(column, random.Random(0)).tobytes() == one.tobytes()
    assert centres(one, 3) == centres(two, 3)
