"""Tiny models of every family, and a few drawn pictures with questions."""

import hint_grpo.machine.stack  # noqa: F401

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from tiny_models import FAMILIES, save_tiny_model

# Of several shapes: Mllama cuts them into one, two and four tiles.
SIZES = ((56, 56), (200, 60), (120, 130), (60, 110))


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """tiny_path(family, sharp=False): the folder of a saved model, made once."""
    root, made = tmp_path_factory.mktemp("tiny"), {}

    def path(family: str, sharp: bool = False) -> Path:
        if (family, sharp) not in made:
            made[family, sharp] = save_tiny_model(root, family, sharp=sharp)
        return made[family, sharp]

    return path


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Training rows, each with a picture of another shape."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for number, (width, height) in enumerate(SIZES):
        picture = Image.new("RGB", (width, height), (240, 240, 60 * number))
        pen = ImageDraw.Draw(picture)
        for disc in range(number + 1):
            pen.ellipse((4 + 13 * disc, 8, 14 + 13 * disc, 18), fill=(200, 20, 40 * disc))
        picture.save(folder / f"{number}.png")
        rows.append(
            {
                "id": f"row{number}",
                "image": str(folder / f"{number}.png"),
                "question": f"How many red items are in picture {number}?",
                "solution": str(number + 1),
                "reasoning_steps": [f"Row {step} has {step}." for step in range(1, 5)],
                "source": f"rows.jsonl:{number + 1}",
            }
        )
    return rows
