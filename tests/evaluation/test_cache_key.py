"""The cache key changes with all that an answer depends on, and with nothing else."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hint_grpo.data.questions import Question
from hint_grpo.evaluation.store import conditions_for, file_digest, model_digest
from hint_grpo.hub import check_model_files
from hint_grpo.machine.errors import UserError

DECODING: dict[str, Any] = {"weights": "w", "backend": "hf", "dtype": "float32", "max_new_tokens": 8, "scale": 0.8}


def question(**more: str) -> Question:
    fields = {"id": "0", "image": "/a.png", "image_path": "a.png", "question": "How many?", "ground_truth": "4"}
    return Question(**(fields | more), source="q.jsonl:1")


def key(asked: Question, image: str = "digest", with_image: bool = True, **decoding: Any) -> str:
    images = {asked.id: image} if with_image else {}
    return conditions_for([asked], images, DECODING | decoding, with_image=with_image).keys_by_id[asked.id]


@pytest.mark.parametrize(
    "other",
    [
        key(question(question="How many red?")),
        key(question(), image="another"),
        key(question(), with_image=False),
        key(question(), weights="v"),
        key(question(), backend="vllm"),
        key(question(), dtype="bfloat16"),
        key(question(), max_new_tokens=9),
        key(question(), picture_processing="qwen_vl_utils"),
        key(question(), scale=0.0),
    ],
)
def test_what_an_answer_depends_on_changes_the_key(other: str) -> None:
    assert other != key(question())


def test_what_it_does_not_depend_on_leaves_the_key() -> None:
    assert key(question(id="7", ground_truth="5", image="/moved/a.png", image_path="moved/a.png")) == key(question())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"0" * 1000)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def test_a_copied_model_is_the_same_model(model: Path, tmp_path: Path) -> None:
    before = model_digest(model, tmp_path / "memo.json")
    shutil.copytree(model, tmp_path / "copy")
    assert model_digest(tmp_path / "copy", tmp_path / "other_memo.json") == before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "chat_template.jinja", "generation_config.json"])
def test_every_file_that_decoding_reads_counts(model: Path, tmp_path: Path, name: str) -> None:
    memo = tmp_path / "memo.json"
    before = model_digest(model, memo)
    (model / name).write_bytes(b"1" * 1000)
    assert model_digest(model, memo) != before


def test_weights_overwritten_with_the_same_size_and_date_are_noticed(model: Path, tmp_path: Path) -> None:
    memo, weights = tmp_path / "memo.json", model / "model.safetensors"
    before = model_digest(model, memo)
    dates = (weights.stat().st_atime_ns, weights.stat().st_mtime_ns)
    weights.write_bytes(b"1" * 1000)
    os.utime(weights, ns=dates)
    assert model_digest(model, memo) != before


def test_training_state_beside_the_weights_does_not_count(model: Path, tmp_path: Path) -> None:
    before = model_digest(model, tmp_path / "memo.json")
    (model / "trainer_state.json").write_text("{}")
    (model / "optimizer.pt").write_bytes(b"1")
    (model / "README.md").write_text("a model")
    assert model_digest(model, tmp_path / "memo.json") == before


def test_unchanged_files_are_not_read_again(model: Path, tmp_path: Path) -> None:
    memo = tmp_path / "memo.json"
    model_digest(model, memo)
    remembered = json.loads(memo.read_text())
    assert sorted(remembered.values()) == sorted(map(file_digest, model.iterdir()))
    memo.write_text(json.dumps(dict.fromkeys(remembered, "from the memo")))
    assert model_digest(model, memo) != model_digest(model, tmp_path / "empty.json")


@pytest.mark.parametrize("missing", ["folder", "config.json"])
def test_a_folder_without_a_model_is_named(model: Path, missing: str) -> None:
    (model / "config.json").unlink()
    with pytest.raises(UserError, match="--model_path"):
        check_model_files(model if missing == "config.json" else model / "gone", "--model_path")
