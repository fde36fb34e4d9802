"""Decoded pictures in an unnamed temporary file: the check before an evaluation writes them, the decoding processes read them.

So a picture is decoded once per run, by the check. The file holds raw RGB up to a limit; a picture that finds no room is decoded
again where it is needed. It has no name, so the kernel removes it with the last process that has it open, even after a kill,
and it is not memory: the system may write it out and drop it.
"""

import os
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 512 << 20
"""Room for 754 pictures of GeoQA's sizes several times over, or for some 170 of a million pixels."""
CHANNELS = 3


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """The size of a decoded picture in pixels, and where it begins in the file; `offset` None: it is not there."""

    width: int
    height: int
    offset: int | None = None

    @property
    def num_bytes(self) -> int:
        return self.width * self.height * CHANNELS


class DecodedPictures:
    """The file. `fileno` is what a child process has to inherit (`pass_fds`) to read it with `read_decoded`. Thread-safe."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self._lock, self._end, self._max_bytes = threading.Lock(), 0, max_bytes

    def __enter__(self) -> "DecodedPictures":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def fileno(self) -> int:
        return self._file.fileno()

    def add(self, image: "Image") -> DecodedPicture:
        """Writes an RGB picture, if it still fits."""
        assert image.mode == "RGB"
        found = DecodedPicture(*image.size)
        with self._lock:
            if self._end + found.num_bytes > self._max_bytes:
                return found
            offset, self._end = self._end, self._end + found.num_bytes
        try:
            _write(self.fileno(), image.tobytes(), offset)
        except OSError:  # the disk is full: the other pictures are decoded where they are needed
            self._max_bytes = 0
            return found
        return DecodedPicture(*image.size, offset)


def read_decoded(fileno: int, picture: DecodedPicture) -> "Image":
    """A picture that was written; the same pixels. Raises EOFError if the file ends before it."""
    from PIL import Image  # here, because --help needs this module's types only

    assert picture.offset is not None
    content = bytearray()
    while len(content) < picture.num_bytes:
        part = os.pread(fileno, picture.num_bytes - len(content), picture.offset + len(content))
        if not part:
            raise EOFError("the file of decoded pictures is too short")
        content += part
    return Image.frombytes("RGB", (picture.width, picture.height), bytes(content))


def _write(fileno: int, content: bytes, offset: int) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(fileno, rest, offset)
        rest, offset = rest[written:], offset + written
