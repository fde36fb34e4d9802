"""Small hand-made records and pictures in the layouts of the real downloads."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Record = dict[str, Any]


def answer(reasoning: str, conclusion: str) -> str:
    return (
        f"<SUMMARY> I will look. </SUMMARY>\n\n<CAPTION> Lines. </CAPTION>\n\n"
        f"<REASONING> {reasoning} </REASONING>\n\n<CONCLUSION> {conclusion} </CONCLUSION>"
    )


def record(name: str, question: str, text: str, image: str = "geoqa+/images/1.png") -> Record:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": text}]
    return {"id": name, "image": image, "conversations": turns}


@pytest.fixture
def make_record() -> Callable[..., Record]:
    return record


@pytest.fixture
def make_answer() -> Callable[[str, str], str]:
    return answer


@pytest.fixture
def write_jsonl() -> Callable[[Path, Iterable[Record]], Path]:
    def write(file: Path, records: Iterable[Record]) -> Path:
        file.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records), "utf-8")
        return file

    return write


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """A data folder with two usable pictures, and a picture outside of it that must never be opened."""
    root = tmp_path / "LLaVA-CoT-100k"
    for folder in ("geoqa+/images", "CLEVR_v1.0/images/train", "coco"):
        (root / folder).mkdir(parents=True)
    picture = Image.new("RGB", (90, 60), "white")
    for path in ("geoqa+/images/1.png", "CLEVR_v1.0/images/train/2.png", "coco/3.png", "../outside.png"):
        picture.save(root / path)
    return root
