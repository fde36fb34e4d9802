"""What every reader of training data produces."""

from dataclasses import dataclass
from typing import Literal

Rules = Literal["project", "released"]
"""By whose rules a record is read or a reasoning cut: this project's, or the authors' released code's (released.py)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One training question with its known correct reasoning (image, question, solution, L steps)."""

    id: str
    """Unique in its data set, also where a record holds several questions."""
    image: str
    """Absolute path; the image is opened later, by `hint_grpo.data.images.open_image`."""
    question: str
    solution: str
    """The correct value as text. An option's letter only where multiple choice is kept on purpose (an ablation)."""
    reasoning_steps: tuple[str, ...]
    source: str
    """Where it was read, as file:line."""
