"""The one place that opens an image: for training, evaluation and the check before them.

Every image comes out as an RGB picture that the Qwen image processors accept, or as a BadImage with the reason.
Differences from a plain `Image.open(path).convert("RGB")`, each of which spoils training silently:

- 16-bit greyscale keeps its mean (plain Pillow cuts everything above 255 to white), see pixels.py
- transparency becomes white paper (plain Pillow: whatever colour lies underneath, most often black)
- EXIF orientation is honoured
- only raster formats are read: Pillow would hand a PostScript file to Ghostscript
- size limits act before anything is decoded
"""

import os
import struct
import warnings
import zlib
from functools import cache

import numpy as np
from PIL import Image

from hint_grpo.data.paths import BadImage

# ----------------------------------------------------------------------------------------------------
# Any of Pillow's pixel modes to 8-bit RGB, without saturating, without black backgrounds, the right way up.

WHITE = (255, 255, 255)
EXIF_ORIENTATION = 0x0112
TIFF_BITS_PER_SAMPLE = 258
# EXIF 2.3, tag Orientation: what turns the stored picture upright.
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
    """8-bit RGB; deep greyscale scaled to 8 bits, transparent parts white."""
    if image.mode.startswith("I") or image.mode == "F":
        return deep_grey(image).convert("RGB")
    if image.has_transparency_data:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (*WHITE, 255)), rgba).convert("RGB")
    return image.convert("RGB")


def deep_grey(image: Image.Image) -> Image.Image:
    """Greyscale of more than 8 bits as 8 bits: the brightness relative to full scale is kept."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    grey = np.rint(values * (255.0 / full_scale(image, values))).clip(0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def full_scale(image: Image.Image, values: np.ndarray) -> float:
    """The value that means white: as the file says, otherwise the smallest usual one that no value exceeds."""
    largest = float(values.max())
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(TIFF_BITS_PER_SAMPLE, (16,))[0]
        return float(2**bits - 1)
    if image.mode == "F" and largest <= 255:
        return 1.0 if largest <= 1 else 255.0
    return 65535.0 if largest <= 65535 else largest


def upright(rgb: Image.Image, original: Image.Image) -> Image.Image:
    """`rgb` turned as the EXIF orientation of `original` asks; unreadable EXIF data asks for nothing."""
    try:
        orientation = original.getexif().get(EXIF_ORIENTATION)
    except (OSError, ValueError, TypeError, KeyError, IndexError, SyntaxError):
        return rgb  # damaged metadata is no reason to lose a sound picture
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return rgb if turn is None else rgb.transpose(turn)


MIN_SIDE = 28
"""Qwen2-VL's patch (14) times its merge (2): the smallest side that the processor does not distort."""
MAX_ASPECT_RATIO = 200
"""The Qwen processors raise beyond it."""
MAX_PIXELS = 89_478_485
"""Pillow's own threshold for a decompression bomb: 256 MiB of RGB."""

FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "TGA", "ICO", "JPEG2000", "AVIF", "PCX")
# What Pillow's decoders were seen to raise on damaged files, besides its own errors (which are OSErrors).
DECODER_ERRORS = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, EOFError, SyntaxError, AttributeError, NotImplementedError),
    *(OverflowError, ZeroDivisionError, AssertionError, MemoryError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)
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

warnings.filterwarnings(
    "ignore", message="Corrupt EXIF data", module="PIL"
)  # handled: the picture is taken as it stands


def open_image(path: str | os.PathLike[str], *, min_side: int = MIN_SIDE) -> Image.Image:
    """The image as RGB, upright, its first frame, sides of `min_side` pixels or more; raises BadImage."""
    try:
        with open(path, "rb") as file:
            _refuse_other_files(file.read(256))
            file.seek(0)
            with Image.open(file, formats=_readable_formats()) as image:
                refuse_size(*image.size)
                return enlarge(upright(to_rgb(image), image), min_side)
    except FileNotFoundError as error:
        raise BadImage("the file is missing") from error
    except DECODER_ERRORS as error:
        raise BadImage(_reason(error)) from error


def refuse_size(width: int, height: int) -> None:
    """Raises BadImage for a picture that must not, or cannot, be processed."""
    if width * height > MAX_PIXELS:
        raise BadImage(f"too large, or a decompression bomb ({width}x{height} pixels, limit {MAX_PIXELS:,})")
    if width < 1 or height < 1:
        raise BadImage(f"without pixels ({width}x{height})")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise BadImage(f"one side is more than {MAX_ASPECT_RATIO} times the other ({width}x{height} pixels)")


def enlarge(image: Image.Image, min_side: int) -> Image.Image:
    """A tiny picture enlarged, its shape kept.

    The Qwen processors round each side to a multiple of 28 on its own: of 157x19 they make 168x28 (its shape changed by
    38 %), of 1000x10 560x28, and older ones refuse sides below 28. Enlarged first, 157x19 becomes 231x28, then 224x28.
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
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _refuse_other_files(head: bytes) -> None:
    if not head:
        raise BadImage("the file is empty (0 bytes)")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, reason in NOT_IMAGES.items():
        if text.startswith(mark):
            raise BadImage(reason)


def _reason(error: BaseException) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image, or damaged beyond recognition"
    text = " ".join(str(error).split())[:120] or "no reason given"
    if "truncated" in text.lower():
        return f"the image file is truncated ({text})"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large, or a decompression bomb ({text})"
    return f"cannot be decoded ({type(error).__name__}: {text})"
