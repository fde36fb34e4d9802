"""Opens images: the only place that does, for training, evaluation and the check before them.

`open_image` returns an RGB picture that the Qwen image processors accept, or raises BadImage with the reason (`read_image`
also returns the digest of the file, from the same bytes). It differs from a plain `Image.open(path).convert("RGB")` in five
points, each of which would silently spoil training:

- 16-bit greyscale keeps its brightness (plain Pillow turns every value above 255 white)
- transparency becomes white (plain Pillow shows the hidden colour, usually black)
- EXIF orientation is applied
- only raster formats are read: Pillow would run Ghostscript on a PostScript file
- size limits are checked before anything is decoded
"""

import hashlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import BinaryIO

import numpy as np
from PIL import Image

from hint_grpo.data.paths import BadImage

MIN_SIDE = 28
"""Pixels. Qwen2-VL's patch (14) times its merge (2): the smallest side that the processor does not distort."""
MAX_ASPECT_RATIO = 200
"""Longer side by shorter side; the Qwen processors raise above it."""
MAX_PIXELS = 89_478_485
"""Pillow's threshold for a decompression bomb: 256 MiB of RGB."""

READ_WHOLE = 256 << 20
"""Bytes. A larger file is read twice by `read_image`, in pieces, so that it never lies in memory."""

# Pillow's names of the raster formats that are read; formats that the installed build lacks are skipped.
FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "TGA", "ICO", "JPEG2000", "AVIF", "PCX")
# What Pillow's decoders raised on damaged files in practice, besides Pillow's own errors (which are OSErrors).
DECODER_ERRORS = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, EOFError, SyntaxError, AttributeError, NotImplementedError),
    *(OverflowError, ZeroDivisionError, AssertionError, MemoryError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)
# Files that are not images, by their first bytes in lower case: the reason for BadImage.
NOT_IMAGES = {
    b"version https://git-lfs": "a Git LFS pointer, not the image itself: run `git lfs pull`",
    b"/annex/objects/": "a git-annex pointer, not the image itself: run `git annex get`",
    b"<!doctype html": "an HTML page, not an image: a download that failed",
    b"<html": "an HTML page, not an image: a download that failed",
    b"<?xml": "an XML text, not an image",
    b"<svg": "an SVG drawing; convert it to PNG",
    b"%pdf": "a PDF document; convert it to PNG",
    b"%!ps": "a PostScript document; convert it to PNG",
}

# By the first bytes of a file: its endings, the usual one first. Browsers and viewers choose the decoder by the ending.
ENDINGS = {
    b"\x89PNG\r\n\x1a\n": (".png",),
    b"\xff\xd8\xff": (".jpg", ".jpeg"),
    b"GIF8": (".gif",),
    b"BM": (".bmp",),
    b"II*\0": (".tiff", ".tif"),
    b"MM\0*": (".tiff", ".tif"),
    b"\0\0\0\x0cjP  ": (".jp2",),
}

# `upright` handles it: the picture is used without turning it.
warnings.filterwarnings("ignore", message="Corrupt EXIF data", module="PIL")


def open_image(path: str | os.PathLike[str], *, min_side: int = MIN_SIDE) -> Image.Image:
    """The first frame as upright 8-bit RGB, enlarged to sides of at least `min_side` pixels; raises BadImage."""
    with _reasons(), open(path, "rb") as file:
        return _decoded(file, min_side)


def read_image(path: str | os.PathLike[str], *, min_side: int = MIN_SIDE) -> tuple[Image.Image, str]:
    """The picture of `open_image`, and the SHA-256 of the file in hexadecimal, both from one read; raises BadImage."""
    with _reasons(), open(path, "rb") as file:
        whole = os.fstat(file.fileno()).st_size <= READ_WHOLE
        content = io.BytesIO(file.read()) if whole else file
        image = _decoded(content, min_side)
        content.seek(0)
        return image, hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def _reasons() -> Iterator[None]:
    """Turns what Pillow and the file system raise into BadImage with a reason for the user."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadImage("the file is missing") from error
    except DECODER_ERRORS as error:
        raise BadImage(_reason(error)) from error


def _decoded(file: BinaryIO, min_side: int) -> Image.Image:
    _refuse_other_files(file.read(256))
    file.seek(0)
    with Image.open(file, formats=_readable_formats()) as image:
        refuse_size(*image.size)
        return enlarge(upright(to_rgb(image), image), min_side)


def endings_of(content: bytes) -> tuple[str, ...]:
    """The endings that fit an image file's content, such as (".jpg", ".jpeg"); () if the format is not known here."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return (".webp",)
    if content[4:12] == b"ftypavif":
        return (".avif",)
    return next((endings for mark, endings in ENDINGS.items() if content.startswith(mark)), ())


def refuse_size(width: int, height: int) -> None:
    """Raises BadImage for a size (in pixels) that is unsafe to decode or that the processors refuse."""
    if width * height > MAX_PIXELS:
        raise BadImage(f"too large, or a decompression bomb ({width}x{height} pixels, limit {MAX_PIXELS:,})")
    if width < 1 or height < 1:
        raise BadImage(f"without pixels ({width}x{height})")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise BadImage(f"one side is more than {MAX_ASPECT_RATIO} times the other ({width}x{height} pixels)")


def enlarge(image: Image.Image, min_side: int) -> Image.Image:
    """The picture, enlarged if a side is below `min_side` pixels; its aspect ratio is kept.

    The Qwen processors round each side to a multiple of 28 separately: 157x19 becomes 168x28 (its aspect ratio changes by
    38 %), 1000x10 becomes 560x28, and older ones refuse sides below 28. Enlarged first, 157x19 becomes 231x28, then 224x28.
    """
    width, height = image.size
    if min(width, height) >= min_side:
        return image
    scale = min_side / min(width, height)
    return image.resize(
        (max(min_side, round(width * scale)), max(min_side, round(height * scale))), Image.Resampling.BICUBIC
    )


@cache
def _readable_formats() -> tuple[str, ...]:
    """The formats that this build of Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _refuse_other_files(head: bytes) -> None:
    """Raises BadImage for files that are recognisably something else, with a better reason than Pillow gives."""
    if not head:
        raise BadImage("the file is empty (0 bytes)")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, reason in NOT_IMAGES.items():
        if text.startswith(mark):
            raise BadImage(reason)


def _reason(error: BaseException) -> str:
    """A decoder's error in words for the user."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image, or damaged beyond recognition"
    text = " ".join(str(error).split())[:120] or "no reason given"
    if "truncated" in text.lower():
        return f"the image file is truncated ({text})"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large, or a decompression bomb ({text})"
    return f"cannot be decoded ({type(error).__name__}: {text})"


# ----------------------------------------------------------------------------------------------------
# Pixels: from any of Pillow's modes to upright 8-bit RGB, without saturation or black backgrounds.

WHITE = (255, 255, 255)
EXIF_ORIENTATION = 0x0112
TIFF_BITS_PER_SAMPLE = 258
# EXIF 2.3, tag Orientation: the transposition that turns the stored picture upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_rgb(image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB: deep greyscale is scaled to 8 bits, transparent parts become white."""
    if image.mode.startswith("I") or image.mode == "F":
        return deep_grey(image).convert("RGB")
    if image.has_transparency_data:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (*WHITE, 255)), rgba).convert("RGB")
    return image.convert("RGB")


def deep_grey(image: Image.Image) -> Image.Image:
    """Greyscale of more than 8 bits, reduced to 8: each pixel keeps its brightness relative to white."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    grey = np.rint(values * (255.0 / full_scale(image, values))).clip(0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def full_scale(image: Image.Image, values: np.ndarray) -> float:
    """The value that means white: from the file, otherwise the smallest usual one that no value exceeds."""
    largest = float(values.max())
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(TIFF_BITS_PER_SAMPLE, (16,))[0]
        return float(2**bits - 1)
    if image.mode == "F" and largest <= 255:
        return 1.0 if largest <= 1 else 255.0
    return 65535.0 if largest <= 65535 else largest


def upright(rgb: Image.Image, original: Image.Image) -> Image.Image:
    """`rgb` turned by the EXIF orientation of `original`; unchanged if the EXIF data cannot be read."""
    try:
        orientation = original.getexif().get(EXIF_ORIENTATION)
    except (OSError, ValueError, TypeError, KeyError, IndexError, SyntaxError):
        return rgb  # damaged metadata does not make a good picture unusable
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return rgb if turn is None else rgb.transpose(turn)
