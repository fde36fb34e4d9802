"""What a decoding backend takes and gives: the contract between `hint_grpo.calibration` and `hint_grpo.evaluation`.

Light to import. `load_decoder` (hint_grpo.calibration.load) builds one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """One question to answer. `image` is an absolute path; None asks without the picture (the blind test)."""

    id: str
    question: str
    image: str | None


@dataclass(frozen=True, slots=True)
class Completion:
    """One greedy completion. `token_ids` hold the end token where there is one; `text` is without special tokens."""

    id: str
    text: str
    token_ids: tuple[int, ...]
    finish_reason: Literal["stop", "length"]


class Decoder(Protocol):
    """Greedy decoding with text-bias calibration (paper section 3.3)."""

    def decode(self, requests: Sequence[DecodeRequest], scale: float) -> Iterator[Completion]:
        """Yields completions as they finish, in any order, each request exactly once."""
        ...

    def close(self) -> None: ...
