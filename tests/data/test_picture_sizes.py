"""Pictures on their way to the processor: as they are, or resized by qwen-vl-utils as in the authors' code."""

import hint_grpo.machine.stack  # noqa: F401

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from qwen_vl_utils import process_vision_info
from transformers import MllamaImageProcessor, MllamaProcessor, Qwen2VLImageProcessor

from hint_grpo.data.paths import BadImage
from hint_grpo.data.picture_processing import Pictures
from hint_grpo.families import family_of
from hint_grpo.machine.errors import UserError
from hint_grpo.toy.models import toy_processor

SHIPPED_LIMITS = {"min_pixels": 3136, "max_pixels": 12845056}  # Qwen2-VL's and Qwen2.5-VL's preprocessor_config.json


def processor(**limits: int):
    whole = toy_processor("Qwen2.5-VL")
    whole.image_processor = Qwen2VLImageProcessor(**(SHIPPED_LIMITS | limits))
    return whole


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    channels = len(mode)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8), mode)


def saved(image: Image.Image, file: Path) -> str:
    image.save(file)
    return str(file)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((84, 84), (84, 84)),  # multiples of 28 stay
        ((124, 112), (112, 112)),  # 124 / 28 = 4.43, rounded to 4
        ((157, 19), (168, 28)),  # 5.6 and 0.68, rounded to 6 and 1
        ((20, 20), (56, 56)),  # 28 x 28 is below 3,136 pixels: each side times sqrt(3136 / 400) = 2.8
        ((1000, 10), (1008, 28)),  # a side never becomes 0
        # 20 million pixels: divided by sqrt(20e6 / 12845056) = 1.2478 the sides are 4007.0 and 3205.6, rounded down
        ((5000, 4000), (4004, 3192)),
    ],
)
def test_sizes_by_hand(size: tuple[int, int], expected: tuple[int, int]) -> None:
    pictures = Pictures(processor(), "qwen_vl_utils")
    assert pictures.resized_size(*size) == expected
    assert Pictures(processor()).resized_size(*size) == size


def test_a_huge_picture_stays_within_max_pixels() -> None:
    # 5000 x 4000 into 1,003,520 pixels: divided by sqrt(20e6 / 1003520) = 4.4643 the sides are 1120.0 and 896.0
    pictures = Pictures(processor(max_pixels=1003520), "qwen_vl_utils")
    assert pictures.resized(Image.new("RGB", (5000, 4000))).size == (1120, 896)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(84, 84), (124, 112), (157, 19), (9, 9)])
def test_equals_the_librarys_own_path(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    """To the pixel what `process_vision_info` makes of the file, which is what the authors' code calls."""
    file = saved(noise(*size, mode), tmp_path / "a.png")
    message = {"role": "user", "content": [{"type": "image", "image": file}, {"type": "text", "text": "?"}]}
    images, _ = process_vision_info([message])
    assert images is not None
    pictures = Pictures(processor(), "qwen_vl_utils")
    ours = np.asarray(pictures.resized(pictures.open(file)), dtype=int)
    # The two blend half-transparent pixels with white by formulas that round differently, by 1 before resizing.
    assert np.abs(ours - np.asarray(images[0], dtype=int)).max() <= (0 if mode == "RGB" else 2)


def test_real_pictures_equal_the_librarys_own_path(shared_data: Path) -> None:
    files = [
        *(shared_data / "geoqa" / "Geo170K" / "images" / "test").glob("*.png"),
        *(shared_data / "images" / "geo3k_mulberry" / "images").glob("*.png"),
        shared_data / "images" / "geoqa_plus_5238.png",
    ]
    assert len(files) == 33
    pictures = Pictures(processor(), "qwen_vl_utils")
    for file in files:
        images, _ = process_vision_info([{"role": "user", "content": [{"type": "image", "image": str(file)}]}])
        assert images is not None
        ours = np.asarray(pictures.resized(pictures.open(str(file))), dtype=int)
        assert np.abs(ours - np.asarray(images[0], dtype=int)).max() <= 2, file.name


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (100, 100), (255, 0, 0, 0))  # red, and invisible
    pictures = Pictures(processor(), "qwen_vl_utils")
    for one in pictures.policy_and_sampler(saved(image, tmp_path / "a.png")):
        assert one.getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("family_limits", [{}, {"max_pixels": 28 * 28 * 400}, {"min_pixels": 65536}])
@pytest.mark.parametrize(
    "size",
    [(84, 84), (124, 112), (157, 19), (19, 157), (15, 2990), (15, 15), (14, 14), (10, 1000), (1, 150), (700, 900)],
)
def test_policy_and_vllm_get_equally_many_tokens(
    tmp_path: Path, size: tuple[int, int], family_limits: dict[str, int]
) -> None:
    whole = processor(**family_limits)
    file = saved(noise(*size), tmp_path / "a.png")
    pictures = Pictures(whole, "qwen_vl_utils")
    for_policy, for_vllm = pictures.policy_and_sampler(file)
    grids = [
        whole.image_processor(images=[image], return_tensors="pt")["image_grid_thw"][0].tolist()
        for image in (for_policy, for_vllm)
    ]
    assert grids[0] == grids[1]
    assert for_vllm.size == (grids[1][2] * 14, grids[1][1] * 14)  # nothing is left for the processor to resize
    assert for_policy.size in ((size,) if min(size) > 14 else (size, for_vllm.size))
    assert pictures.resized_size(*size) == for_vllm.size
    assert family_of(whole).num_image_tokens(*for_policy.size) == grids[0][1] * grids[0][2] // 4


def test_a_picture_that_rounding_stretches_too_far_is_named(tmp_path: Path) -> None:
    """8200 x 41 is 200 : 1. Rounded to 8204 x 28 it is 293 : 1, which the processor refuses."""
    file = saved(Image.new("RGB", (8200, 41)), tmp_path / "a.png")
    with pytest.raises(BadImage, match="too long and thin: qwen_vl_utils makes 8204x28 pixels of its 8200x41"):
        Pictures(processor(), "qwen_vl_utils").policy_and_sampler(file)
    assert Pictures(processor()).policy_and_sampler(file)[0].size == (8200, 41)
    # 100 x 3000 within 3,136 pixels: divided by sqrt(300000 / 3136) = 9.78 the short side is 10.2, rounded down to 0
    with pytest.raises(BadImage, match="makes 0x280 pixels of its 100x3000"):
        Pictures(processor(max_pixels=3136), "qwen_vl_utils").resized_size(100, 3000)


def test_processor_changes_nothing(tmp_path: Path) -> None:
    for_policy, for_vllm = Pictures(processor()).policy_and_sampler(saved(noise(124, 112), tmp_path / "a.png"))
    assert for_policy is for_vllm
    assert np.array_equal(np.asarray(for_policy), np.asarray(noise(124, 112)))


def test_a_family_that_is_not_qwens_is_refused() -> None:
    tokenizer = toy_processor("Qwen2.5-VL").tokenizer
    other = MllamaProcessor(MllamaImageProcessor(), tokenizer, chat_template="")
    with pytest.raises(UserError, match="is for Qwen's models, and this one has a MllamaProcessor; use processor"):
        Pictures(other, "qwen_vl_utils")
    assert Pictures(other).resized_size(7, 7) == (7, 7)


def test_without_the_library_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qwen_vl_utils", None)
    with pytest.raises(UserError, match=r"needs the library qwen-vl-utils .*pip install"):
        Pictures(processor(), "qwen_vl_utils")
    Pictures(processor())  # does not need it
