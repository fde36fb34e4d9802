"""The pictures of a page, scaled down: inside the page as data URIs, or, if there are many, in files beside it."""

import base64
import io
import os
from collections.abc import Iterable
from typing import Any

from PIL import Image

from hint_grpo.data.images import open_image
from hint_grpo.data.paths import BadImage
from hint_grpo.report.page_files import PageFiles

MAX_SIDE = 224
OVER_LIMIT = "left out: the page's pictures have reached their size limit"
# Format, ending, options of Pillow.
FORMATS = (("png", "png", {"optimize": True}), ("jpeg", "jpg", {"quality": 85}))


def scaled_pictures(
    paths: Iterable[str], files: PageFiles, *, max_bytes: int, max_embedded: int
) -> list[dict[str, Any]]:
    """Reads the pictures in their order, until they fill `max_bytes` together.

    Returns for each {"path": ..., "src": a data URI or an address beside the page, or null with a "reason"}. More than
    `max_embedded` pictures are written to files.
    """
    paths = list(paths)
    size, pictures = 0, []
    for path in paths:
        src, reason = None, OVER_LIMIT
        if size < max_bytes:
            try:
                src, length = _embedded(path) if len(paths) <= max_embedded else _beside(path, files)
                reason, size = "", size + length
            except BadImage as error:
                reason = str(error)
            except (OSError, ValueError) as error:  # ValueError: a null character in the path
                reason = getattr(error, "strerror", None) or str(error)
        if size > max_bytes:
            src, reason = None, OVER_LIMIT
        pictures.append({"path": path, "src": src, "reason": reason})
    return pictures


def _embedded(path: str) -> tuple[str, int]:
    """The picture as a data URI, and its length."""
    kind, _, content = _scaled(open_image(path))
    text = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return text, len(text)


def _beside(path: str, files: PageFiles) -> tuple[str, int]:
    """The address of the scaled picture's file, and its size. A picture is scaled again only if it has changed."""
    status = os.stat(path)
    source = f"{path} {status.st_mtime_ns} {status.st_size}"
    address = files.find_picture(source, [ending for _, ending, _ in FORMATS])
    if address is None:
        _, ending, content = _scaled(open_image(path))
        address = files.add_picture(source, ending, content)
    return address, (files.folder / address).stat().st_size


def _scaled(picture: Image.Image) -> tuple[str, str, bytes]:
    """The picture at no more than 224 pixels a side, as PNG or JPEG, whichever is smaller (drawings: PNG, photographs: JPEG)."""
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    encoded = []
    for kind, ending, options in FORMATS:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        encoded.append((kind, ending, buffer.getvalue()))
    return min(encoded, key=lambda each: len(each[2]))
