"""Pictures as the language model takes them, encoded once however many scales are decoded."""

from collections import OrderedDict
from typing import Any

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.calibration.questions import QuestionEncoder
from hint_grpo.families import Picture

PICTURE_CACHE_BYTES = 2 << 30


class PictureCache:
    """Pictures by path, least recently used first out, so that further scales need not encode them again."""

    def __init__(self, model: Any, encoder: QuestionEncoder, max_bytes: int = PICTURE_CACHE_BYTES) -> None:
        self._model, self._encoder, self._max_bytes = model, encoder, max_bytes
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
        self._bytes += picture.nbytes
        while self._bytes > self._max_bytes and len(self._pictures) > 1:
            self._bytes -= self._pictures.popitem(last=False)[1].nbytes
        return picture

    def _encode(self, request: DecodeRequest) -> Picture:
        self.num_encoded += 1
        family = self._encoder.family
        inputs = family.image_inputs(self._encoder.picture(request))
        return family.encode(self._model, {name: t.to(self._model.device) for name, t in inputs.items()})
