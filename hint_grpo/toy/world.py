"""Writes a toy world: models and data in the layouts of the real downloads, so that every published command runs on it.

    DIR/Qwen2.5-VL-toy/  DIR/Qwen2-VL-toy/          models with processor, tokenizer, chat template
    DIR/LLaVA-CoT-100k/train.jsonl                  training records, with the download's irregularities
    DIR/LLaVA-CoT-100k/{geoqa+,CLEVR_v1.0,coco,sqa}/..   their pictures
    DIR/llavacot_geometry.jsonl                     the same records with reasonings in numbered steps, like the authors' file
    DIR/Geo170K/images/test/*.png                   test pictures
    DIR/geoqa_test_prompts.jsonl                    test questions

The same arguments give the same bytes.
"""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from hint_grpo.toy import NUM_TEST, NUM_TRAIN, records, tasks
from hint_grpo.toy.models import FAMILIES, Family, save_model
from hint_grpo.toy.records import resplit_records
from hint_grpo.toy.tasks import TASK_SETS, TaskMaker, make_tasks


@dataclass(frozen=True, slots=True)
class World:
    """The paths of a toy world, named by the flags that they are for."""

    root: Path
    models: dict[Family, Path]
    train_data: Path  # --data_path in training
    test_data: Path  # --data_path in evaluation
    test_prompts: Path  # --prompt_path
    steps_file: Path  # --steps_file


def build_world(
    directory: Path,
    *,
    num_train: int = NUM_TRAIN,
    num_test: int = NUM_TEST,
    families: Sequence[Family] = FAMILIES,
    warm: bool = True,
    seed: int = 0,
) -> World:
    """Writes everything under `directory`, which is created if missing.

    num_train, num_test: numbers of geometry records and test questions. families: which toy models to write.
    warm: with the shipped weights; False gives random weights from `seed`.
    """
    train, test = directory / "LLaVA-CoT-100k", directory / "Geo170K"
    train_file = write_training_data(train, num_train, seed)
    steps_file = _write_lines(directory / "llavacot_geometry.jsonl", resplit_records(train_file))
    prompts = write_test_data(directory, num_test, seed)
    models = {family: save_model(directory, family, warm=warm, seed=seed) for family in families}
    return World(directory, models, train, test, prompts, steps_file)


def write_training_data(root: Path, count: int, seed: int) -> Path:
    """Writes train.jsonl and its pictures: `count` geometry records, then a few that a geometry run filters out."""
    lines = []
    for index, task in enumerate(make_tasks(f"train-{seed}", count, TASK_SETS["train"])):
        rng = random.Random(f"train-{seed}/{index}/record")
        record = records.training_record(task, index, rng)
        _save(tasks.draw(task.picture, rng), root / record["image"])
        lines.append(record)
    for index, record in enumerate(records.foreign_records()):
        _save(Image.new("RGB", (84, 84), (60 + 40 * index, 120, 160)), root / record["image"])
        lines.append(record)
    return _write_lines(root / "train.jsonl", lines)


def write_test_data(root: Path, count: int, seed: int) -> Path:
    """Writes `count` test questions and their pictures; returns the file of questions."""
    rows = []
    for index, task in enumerate(make_tasks(f"test-{seed}", count, TASK_SETS["test"])):
        rows.append(records.test_row(task, f"./Geo170K/images/test/{index}.png"))
        _save(tasks.draw(task.picture, random.Random(f"test-{seed}/{index}/picture")), root / rows[-1]["image_path"])
    return _write_lines(root / "geoqa_test_prompts.jsonl", rows)


def write_own_data(root: Path, stream: str, count: int, maker: TaskMaker) -> Path:
    """Writes tasks of one set as a user's own data: train.jsonl, the same as test questions (prompts.jsonl), pictures/.

    Returns train.jsonl.
    """
    train, test = [], []
    for index, task in enumerate(make_tasks(stream, count, maker)):
        image = f"pictures/{index}.png"
        _save(tasks.draw(task.picture, random.Random(f"{stream}/{index}/picture")), root / image)
        train.append(records.own_record(task, f"{task.kind}-{index}", image))
        test.append(records.test_row(task, f"./{image}"))
    _write_lines(root / "prompts.jsonl", test)
    return _write_lines(root / "train.jsonl", train)


def _save(image: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)


def _write_lines(file: Path, rows: Iterable[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file
