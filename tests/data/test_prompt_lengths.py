"""Image tokens by arithmetic equal the real processor's; what fits the context."""

import hint_grpo.machine.stack  # noqa: F401

from pathlib import Path

import pytest
from PIL import Image
from transformers import Qwen2VLImageProcessor

from hint_grpo.data.images import open_image
from hint_grpo.data.preflight import holds_answer
from hint_grpo.families import family_of
from hint_grpo.hints import LengthLimits
from hint_grpo.toy.models import toy_processor

SIZES = [
    (1, 1),
    (157, 19),
    (19, 157),
    (28, 28),
    (29, 5600),
    (100, 100),
    (224, 224),
    (1000, 13),
    (640, 480),
    (1999, 301),
]


@pytest.mark.parametrize("max_pixels", [28 * 28 * 4, 28 * 28 * 1280, 2359296])
@pytest.mark.parametrize("size", SIZES)
def test_image_tokens_equal_the_processors(tmp_path: Path, size: tuple[int, int], max_pixels: int) -> None:
    whole = toy_processor("Qwen2.5-VL")
    processor = whole.image_processor = Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=max_pixels)
    Image.new("RGB", size).save(tmp_path / "1.png")
    image = open_image(tmp_path / "1.png")
    grid = processor(images=[image], return_tensors="pt")["image_grid_thw"][0]
    assert family_of(whole).num_image_tokens(*image.size) == grid.prod().item() // processor.merge_size**2


def test_a_small_picture_is_distorted_less_than_by_the_processor_alone(tmp_path: Path) -> None:
    """157x19 alone becomes 168x28; enlarged first it keeps its shape to 3 %."""
    processor = Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=28 * 28 * 1280)
    small = Image.new("RGB", (157, 19))
    small.save(tmp_path / "1.png")

    def shape(image: Image.Image) -> tuple[int, int]:
        _, rows, columns = processor(images=[image], return_tensors="pt")["image_grid_thw"][0].tolist()
        return columns * processor.patch_size, rows * processor.patch_size

    assert shape(small) == (168, 28)
    assert shape(open_image(tmp_path / "1.png")) == (224, 28)


def test_what_fits() -> None:
    limits = LengthLimits(max_prompt_length=100, max_completion_length=50, context_length=160)
    assert limits.prompt_problem(100) is None
    assert "--max_prompt_length 100" in (limits.prompt_problem(101) or "")
    assert limits.prompt_fits(100, 10)
    assert not limits.prompt_fits(100, 11)
    assert not limits.prompt_fits(111)
    unlimited = LengthLimits(None, 50, None)
    assert unlimited.prompt_problem(10**9) is None
    assert unlimited.prompt_fits(10**9, 10**9)


@pytest.mark.parametrize(
    ("hint", "solution", "holds"),
    [
        ("Angle A is 65 degrees.", "65°", True),
        ("So x = 65.0", "65", True),
        ("It costs 1,000.", "1000 dollars", True),
        ("Angle A is 165 degrees, B 6.5, C 65.5.", "65°", False),
        ("The 2 sides are equal.", "2", True),
        ("AB = 5 cm", "x = 5", True),
        ("So it is $ 3 \\sqrt{2} $.", "3\\sqrt{2}", True),
        ("So it is 3 and the root of 2.", "3\\sqrt{2}", False),
        ("The ratio is 3:5.", "3:5", True),
        ("3 and 5", "3:5", False),
        ("It is 4π.", "4π", True),
        ("It is 4.", "4π", False),
        ("It is a rhombus", "rhombus", True),
        ("", "5", False),
        ("Then 7" + "7" * 5000, "7" * 5001, True),
        ("Then 007.50", "7.5", True),
        ("anything", "", False),
    ],
)
def test_a_hint_that_holds_the_answer(hint: str, solution: str, holds: bool) -> None:
    assert holds_answer(hint, solution) is holds
