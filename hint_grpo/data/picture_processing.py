"""Resizes a picture between its file and the model's processor (`--picture_processing`).

    processor       Nothing is resized here; the processor resizes what `open_image` returns (torchvision).
    qwen_vl_utils   As in the authors' released code: the library qwen-vl-utils resizes the picture first (`smart_resize`
                    to multiples of 28, Pillow's bicubic), so that the processor has nothing left to resize. In training
                    only vLLM gets this picture; the policy's forward pass gets the picture as opened.

Both open pictures with `open_image`. With qwen_vl_utils it does not enlarge tiny ones, since the library rounds each side
up. The pixel limits come from the processor; Qwen2-VL and Qwen2.5-VL ship 3,136 and 12,845,056, the library's defaults.
"""

from typing import Any

from PIL import Image

from hint_grpo.data.images import MAX_ASPECT_RATIO, MIN_SIDE, open_image
from hint_grpo.data.paths import BadImage
from hint_grpo.families import family_of
from hint_grpo.machine.errors import UserError

MERGE = 2  # patches per image token along each side; fixed in qwen-vl-utils


def min_side(processing: str) -> int:
    """Pixels: the smallest side of an opened picture (`open_image`)."""
    return MIN_SIDE if processing == "processor" else 1


class Pictures:
    """Opens and resizes pictures for one processor; raises UserError if qwen_vl_utils does not support it. Thread-safe."""

    def __init__(self, processor: Any, processing: str = "processor") -> None:
        self.processing = processing
        if processing == "qwen_vl_utils":
            self._library = _load_library()
            image_processor, limits = processor.image_processor, family_of(processor).pixel_limits
            if not type(processor).__name__.startswith("Qwen") or limits is None or image_processor.merge_size != MERGE:
                raise UserError(
                    f"picture_processing qwen_vl_utils is for Qwen's models, and this one has a "
                    f"{type(processor).__name__}; use processor"
                )
            self._patch_size: int = image_processor.patch_size
            self._limits = {"min_pixels": limits[0], "max_pixels": limits[1]}

    def open(self, path: str) -> Image.Image:
        """The picture as RGB; only tiny pictures are resized yet. Raises BadImage."""
        return open_image(path, min_side=min_side(self.processing))

    def resized_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) in pixels of the picture that the processor gets; raises BadImage if it would refuse it."""
        if self.processing == "processor":
            return width, height
        rows, columns = self._library.smart_resize(height, width, factor=self._patch_size * MERGE, **self._limits)
        # Rounding to multiples of 28 can reduce a side to 0, or stretch the picture beyond what the processor accepts.
        if min(rows, columns) < 1 or max(rows, columns) > MAX_ASPECT_RATIO * min(rows, columns):
            raise BadImage(f"too long and thin: qwen_vl_utils makes {columns}x{rows} pixels of its {width}x{height}")
        return columns, rows

    def resized(self, image: Image.Image) -> Image.Image:
        """The picture that the processor gets; raises BadImage."""
        if self.processing == "processor":
            return image
        self.resized_size(*image.size)
        return self._library.fetch_image({"image": image, **self._limits}, image_patch_size=self._patch_size)

    def policy_and_sampler(self, path: str) -> tuple[Image.Image, Image.Image]:
        """A training picture for the policy's forward pass and for vLLM; raises BadImage.

        Both must become the same number of image tokens. The processor rounds sizes as the library does except for sides
        of 14 pixels or less; such a picture is resized for the policy too.
        """
        image = self.open(path)
        resized = self.resized(image)
        if self.processing == "qwen_vl_utils" and self._processor_size(image) != resized.size:
            image = resized
        return image, resized

    def _processor_size(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) in pixels to which the processor resizes `image`."""
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        rows, columns = smart_resize(image.height, image.width, self._patch_size * MERGE, **self._limits)
        return columns, rows


def _load_library() -> Any:
    import hint_grpo.machine.stack  # noqa: F401  # the library imports torchvision, which needs this first on a CPU-only torch

    try:
        import qwen_vl_utils
    except ImportError as error:
        raise UserError(
            f"picture_processing qwen_vl_utils needs the library qwen-vl-utils ({error}): "
            "pip install -r requirements.txt, or use processor"
        ) from error
    return qwen_vl_utils
