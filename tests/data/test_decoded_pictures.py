"""Decoded pictures in an unnamed file: the same pixels in another process, a limit, and a full disk."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hint_grpo.data.decoded import DecodedPicture, DecodedPictures, read_decoded

ROOT = Path(__file__).resolve().parents[2]


def noise(width: int, height: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_the_same_pixels_come_back() -> None:
    images = [noise(40 + seed, 30, seed) for seed in range(5)]
    with DecodedPictures() as decoded:
        places = [decoded.add(image) for image in images]
        for image, place in reversed(list(zip(images, places, strict=True))):
            again = read_decoded(decoded.fileno(), place)
            assert again.size == image.size
            assert again.mode == "RGB"
            assert again.tobytes() == image.tobytes()


def test_a_child_reads_them() -> None:
    image = noise(50, 40, 0)
    with DecodedPictures() as decoded:
        decoded.add(noise(10, 10, 1))
        place = decoded.add(image)
        code = (
            "import sys; from hint_grpo.data.decoded import DecodedPicture, read_decoded;"
            "file, *place = map(int, sys.argv[1:]);"
            "sys.stdout.buffer.write(read_decoded(file, DecodedPicture(*place)).tobytes())"
        )
        numbers = map(str, (decoded.fileno(), place.width, place.height, place.offset))
        child = subprocess.run(
            [sys.executable, "-c", code, *numbers], cwd=ROOT, pass_fds=(decoded.fileno(),), stdout=subprocess.PIPE
        )
    assert child.stdout == image.tobytes()


def test_beyond_the_limit_only_the_size_is_kept() -> None:
    with DecodedPictures(max_bytes=3 * 30 * 30) as decoded:
        assert decoded.add(noise(31, 30, 0)) == DecodedPicture(31, 30)
        assert decoded.add(noise(30, 30, 0)) == DecodedPicture(30, 30, 0)
        assert decoded.add(noise(1, 1, 0)) == DecodedPicture(1, 1)


def test_a_full_disk_is_no_error() -> None:
    """A limit on the size of files stands in for the disk: both fail in `write`."""
    code = (
        "import resource; from PIL import Image; from hint_grpo.data.decoded import DecodedPictures;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        "decoded = DecodedPictures();"
        "print([decoded.add(Image.new('RGB', (side, side))).offset for side in (20, 40, 10)])"
    )
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert child.stdout.strip() == "[0, None, None]", child.stderr


def test_a_file_that_is_too_short_is_an_error() -> None:
    with DecodedPictures() as decoded, pytest.raises(EOFError):
        read_decoded(decoded.fileno(), DecodedPicture(4, 4, 0))
