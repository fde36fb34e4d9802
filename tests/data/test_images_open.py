"""open_image: every picture comes out as RGB that the Qwen processors accept, or as BadImage with the reason."""

import hashlib
import random
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hint_grpo.data import images
from hint_grpo.data.images import MAX_ASPECT_RATIO, MAX_PIXELS, MIN_SIDE, open_image, read_image
from hint_grpo.data.paths import BadImage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")


def mean(image: Image.Image) -> float:
    return float(np.asarray(image, dtype=np.float64).mean())


def gradient(width: int = 64, height: int = 40) -> np.ndarray:
    """Grey values over the whole range, all rows equal."""
    return np.tile(np.linspace(0, 1, width), (height, 1))


def saved(image: Image.Image, file: Path, **options: object) -> Path:
    image.save(file, **options)
    return file


def outcome(file: Path) -> str:
    """The picture's mode, or the reason why there is none."""
    try:
        return open_image(file).mode
    except BadImage as error:
        return str(error)


def png_bytes() -> bytes:
    buffer = BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bit_grey_keeps_its_mean(tmp_path: Path, suffix: str) -> None:
    deep = Image.fromarray((gradient() * 65535).astype(np.uint16))
    file = saved(deep, tmp_path / f"deep.{suffix}")
    naive = mean(Image.open(file).convert("RGB"))
    image = open_image(file)
    assert image.mode == "RGB"
    assert mean(image) == pytest.approx(127.5, abs=1)
    if suffix == "png":
        assert naive > 200, "plain Pillow saturates: the reason for this code"


def test_a_dark_sixteen_bit_picture_stays_dark(tmp_path: Path) -> None:
    file = saved(Image.fromarray(np.full((30, 30), 257 * 3, np.uint16)), tmp_path / "dark.png")
    assert mean(open_image(file)) == 3


def test_sixteen_bit_grey_with_a_transparent_value(tmp_path: Path) -> None:
    values = np.full((32, 32), 65535, np.uint16)
    values[:16] = 0
    file = tmp_path / "deep.png"
    plain = BytesIO()
    Image.fromarray(values).save(plain, "PNG")
    header, rest = plain.getvalue()[:33], plain.getvalue()[33:]
    chunk = b"tRNS" + struct.pack(">H", 0)
    file.write_bytes(header + struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk)) + rest)
    assert mean(open_image(file)) == 255


@pytest.mark.parametrize(("top", "expected"), [(1.0, 127.5), (255.0, 127.5), (65535.0, 127.5)])
def test_float_pictures_are_scaled_by_their_range(tmp_path: Path, top: float, expected: float) -> None:
    file = saved(Image.fromarray((gradient() * top).astype(np.float32)), tmp_path / "float.tif")
    assert mean(open_image(file)) == pytest.approx(expected, abs=1)


def test_transparency_becomes_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    assert mean(Image.open(saved(clear, tmp_path / "a.png")).convert("RGB")) == 0, "plain Pillow: black"
    assert mean(open_image(tmp_path / "a.png")) == 255
    assert mean(open_image(saved(clear, tmp_path / "a.webp", lossless=True))) == 255
    assert mean(open_image(saved(Image.new("LA", (40, 40), (0, 0)), tmp_path / "la.png"))) == 255
    assert mean(open_image(saved(Image.new("L", (40, 40), 7), tmp_path / "l.png", transparency=7))) == 255
    assert (
        mean(open_image(saved(Image.new("RGB", (40, 40), (1, 2, 3)), tmp_path / "r.png", transparency=(1, 2, 3))))
        == 255
    )
    palette = Image.new("P", (40, 40), 5)
    palette.putpalette([0, 0, 0] * 256)
    assert mean(open_image(saved(palette, tmp_path / "p.png", transparency=5))) == 255
    assert mean(open_image(saved(palette, tmp_path / "p.gif", transparency=5))) == 255


def test_half_transparent_black_is_grey(tmp_path: Path) -> None:
    file = saved(Image.new("RGBA", (40, 40), (0, 0, 0, 128)), tmp_path / "half.png")
    assert mean(open_image(file)) == pytest.approx(127, abs=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int) -> None:
    """A picture stored in each of the eight ways comes out with its red corner top left."""
    upright = np.full((40, 60, 3), 255, np.uint8)
    upright[:10, :15] = (255, 0, 0)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(Image.fromarray(np.ascontiguousarray(stored)), tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(open_image(file)), upright)


def test_unknown_or_damaged_exif_is_no_reason_to_lose_a_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert open_image(saved(Image.new("RGB", (30, 30)), tmp_path / "a.jpg", exif=exif)).size == (30, 30)
    damaged = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    assert open_image(saved(Image.new("RGB", (30, 30)), tmp_path / "b.jpg", exif=damaged)).size == (30, 30)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "RGBX"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (30, 30), (255, 255, 255)).convert(mode) if mode != "LAB" else Image.new("LAB", (30, 30))
    file = saved(image, tmp_path / "picture.tif")
    assert open_image(file).mode == "RGB"


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (30, 30), colour) for colour in ("red", "blue")]
    file = saved(frames[0], tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    assert open_image(file).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "HTML"),
        (b"\n  <html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
        (b"/annex/objects/MD5E-s10--0123.png\n", "git annex get"),
        (b'<?xml version="1.0"?><svg/>', "XML"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "PostScript"),
        (b"%PDF-1.4", "PDF"),
        (b"just some text", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
        (png_bytes()[: len(png_bytes()) // 2], "truncated"),
        (png_bytes()[:-60], "truncated"),
    ],
)
def test_what_is_no_sound_picture_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "1.png"
    file.write_bytes(content)
    with pytest.raises(BadImage, match=reason):
        open_image(file)


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    file = saved(Image.open(BytesIO(png_bytes())), tmp_path / "1.jpg")
    file.write_bytes(file.read_bytes()[:-400])
    with pytest.raises(BadImage, match="truncated"):
        open_image(file)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="missing"):
        open_image(tmp_path / "none.png")
    with pytest.raises(BadImage, match="directory"):
        open_image(tmp_path)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it is huge."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + png_bytes()[33:]


@pytest.mark.parametrize("side", [9_460, 20_000, 2**31 - 1])
def test_decompression_bombs_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    file = tmp_path / "bomb.png"
    file.write_bytes(bomb(side, side))
    assert side * side > MAX_PIXELS
    with pytest.raises(BadImage, match="decompression bomb"):
        open_image(file)


def test_longer_than_200_to_1_is_refused_and_200_to_1_is_not(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="200 times"):
        open_image(saved(Image.new("RGB", (201 * 30, 30)), tmp_path / "long.png"))
    with pytest.raises(BadImage, match="200 times"):
        open_image(saved(Image.new("RGB", (2, 402)), tmp_path / "thin.png"))
    assert open_image(saved(Image.new("RGB", (200 * 30, 30)), tmp_path / "edge.png")).size == (6000, 30)


@given(st.integers(1, 60), st.integers(1, 60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_tiny_pictures_are_enlarged_in_their_shape(
    tmp_path_factory: pytest.TempPathFactory, side: int, factor: int, tall: bool
) -> None:
    size = (side, side * factor) if tall else (side * factor, side)
    file = saved(Image.new("RGB", size, "white"), tmp_path_factory.mktemp("tiny") / "1.png")
    image = open_image(file)
    assert min(image.size) == max(MIN_SIDE, side)
    assert max(image.size) <= MAX_ASPECT_RATIO * min(image.size)
    assert image.size[0] / image.size[1] == pytest.approx(size[0] / size[1], rel=0.02)
    assert mean(image) == 255


def test_a_large_enough_picture_is_not_touched(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (28, 31, 3), dtype=np.uint8)
    file = saved(Image.fromarray(pixels), tmp_path / "1.png")
    assert np.array_equal(np.asarray(open_image(file)), pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "JPEG2000", "PCX"])
def test_damaged_bytes_give_a_picture_or_bad_image_and_nothing_else(tmp_path: Path, kind: str) -> None:
    """300 random damages of each format: no other exception ever comes out."""
    buffer = BytesIO()
    Image.open(BytesIO(png_bytes())).save(buffer, kind)
    rng = random.Random(kind)
    file = tmp_path / "damaged"
    for _ in range(300):
        content = bytearray(buffer.getvalue())
        for _ in range(rng.choice((1, 3, 20))):
            content[rng.randrange(min(len(content), rng.choice((40, 400, 10**6))))] = rng.randrange(256)
        file.write_bytes(bytes(content[: rng.randrange(1, len(content) + 1)] if rng.random() < 0.3 else content))
        assert outcome(file)


@pytest.mark.parametrize("limit", [1 << 20, 10], ids=["at once", "in pieces"])
def test_a_picture_and_its_digest_come_from_one_read(
    tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "READ_WHOLE", limit)
    file = tmp_path / "a.png"
    file.write_bytes(png_bytes())
    image, digest = read_image(file)
    assert image.tobytes() == open_image(file).tobytes()
    assert digest == hashlib.sha256(png_bytes()).hexdigest()
    file.write_bytes(png_bytes()[:-200])
    with pytest.raises(BadImage, match="truncated"):
        read_image(file)
    with pytest.raises(BadImage, match="missing"):
        read_image(tmp_path / "gone.png")
