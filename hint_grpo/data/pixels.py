"""Any of Pillow's pixel modes to 8-bit RGB, without saturating, without black backgrounds, the right way up."""

import numpy as np
from PIL import Image

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
