"""Pictures as the language model takes them, encoded once however many scales are decoded."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.calibration.questions import open_picture

PICTURE_CACHE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the language model takes it: (t, h, w) in patches, one embedding per image token (on the CPU)."""

    grid_thw: torch.Tensor
    embeds: torch.Tensor


class PictureCache:
    """Pictures by path, least recently used first out, so that further scales need not encode them again."""

    def __init__(self, model: Any, image_processor: Any, max_bytes: int = PICTURE_CACHE_BYTES) -> None:
        self._model, self._image_processor, self._max_bytes = model, image_processor, max_bytes
        self._pictures: OrderedDict[str, Picture] = OrderedDict()
        self._bytes = 0
        self.num_encoded = 0

    def get(self, request: DecodeRequest) -> Picture:
        assert request.image is not None
        if request.image in self._pictures:
            self._pictures.move_to_end(request.image)
            return self._pictures[request.image]
        picture = self._encode(request)
        self._pictures[request.image] = picture
        self._bytes += picture.embeds.nbytes
        while self._bytes > self._max_bytes and len(self._pictures) > 1:
            self._bytes -= self._pictures.popitem(last=False)[1].embeds.nbytes
        return picture

    def _encode(self, request: DecodeRequest) -> Picture:
        self.num_encoded += 1
        inputs = self._image_processor(images=[open_picture(request)], return_tensors="pt").to(self._model.device)
        grid_thw = inputs["image_grid_thw"]
        features = self._model.model.get_image_features(inputs["pixel_values"], grid_thw, return_dict=True)
        return Picture(grid_thw.cpu(), torch.cat(tuple(features.pooler_output)).cpu())
