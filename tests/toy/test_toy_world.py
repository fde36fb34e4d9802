"""The world on disk: layout, schema, irregularities, determinism, command line."""

import hint_grpo.machine.stack  # noqa: F401

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from hint_grpo.data.dataset import load_training_data
from hint_grpo.toy.records import ODDITIES, foreign_records
from hint_grpo.toy.tasks import make_tasks
from hint_grpo.toy.world import World, write_test_data, write_training_data


def rows_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_data(tmp_path_factory.mktemp("train"), 64, seed=3)


def files_under(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def test_same_seed_same_bytes(tmp_path: Path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_training_data(tmp_path / name, 12, seed)
        write_test_data(tmp_path / name, 6, seed)
    assert files_under(tmp_path / "a") == files_under(tmp_path / "b")
    assert files_under(tmp_path / "a") != files_under(tmp_path / "c")


def test_training_records_have_the_downloads_schema(train: Path):
    rows = rows_of(train)
    assert len(rows) == 64 + len(foreign_records())
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == {"id", "image", "conversations"}
        speakers = [turn["from"] for turn in row["conversations"]]
        assert speakers == ["human", "gpt"] * (len(speakers) // 2)
        with Image.open(train.parent / row["image"]) as image:
            assert min(image.size) >= 28
        for turn in row["conversations"][1::2]:
            assert re.search(r"<SUMMARY> .* </SUMMARY>\s+<CAPTION> .* </CAPTION>\s+<REASONING>", turn["value"])
            assert "<CONCLUSION>" in turn["value"]


def test_training_records_hold_the_downloads_irregularities(train: Path):
    rows = rows_of(train)
    folders = {row["image"].split("/")[0] for row in rows}
    assert folders == {"geoqa+", "CLEVR_v1.0", "coco", "sqa"}
    questions = [row["conversations"][0]["value"] for row in rows]
    answers = [row["conversations"][1]["value"] for row in rows]
    assert any(question.startswith("<image>\n") for question in questions)
    assert any(re.search(r"\nA\. .*\nB\. ", question) for question in questions)
    assert any(re.search(r"<CONCLUSION> [A-D] ", answer) for answer in answers)
    assert any(re.search(r"<CONCLUSION> \([A-D]\) ", answer) for answer in answers)
    assert any(re.search(r"<CONCLUSION> The answer is [A-D]\. ", answer) for answer in answers)
    assert any(re.search(r"<CONCLUSION> The answer is \d", answer) for answer in answers)
    assert any(not answer.endswith("</CONCLUSION>") for answer in answers)
    separators = {re.search(r"</SUMMARY>(\s+)<CAPTION>", answer)[1] for answer in answers}
    assert separators == {"\n\n", " \n\n", "\n"}
    reasonings = [re.search(r"<REASONING> (.*) </REASONING>", answer, re.DOTALL)[1] for answer in answers]
    assert any(reasoning.startswith("Step 1: ") for reasoning in reasonings)
    assert any("\n\n" in reasoning for reasoning in reasonings)


def test_conversations_of_several_turns_exist(tmp_path: Path):
    rows = rows_of(write_training_data(tmp_path, 8 * 4 * len(ODDITIES), seed=0))
    assert any(len(row["conversations"]) == 4 for row in rows)


def test_the_option_named_by_the_letter_is_the_solution(train: Path):
    checked = 0
    for row in rows_of(train):
        question, answer = (turn["value"] for turn in row["conversations"][:2])
        letter = re.search(r"<CONCLUSION> (?:The answer is |\()?([A-D])\b", answer)
        if row["image"].startswith(("geoqa+", "CLEVR")) and letter:
            option = re.search(rf"^{letter[1]}\. (.*)$", question, re.MULTILINE)
            reasoning = answer.split("</REASONING>")[0]
            assert re.findall(r"\d+°?", reasoning)[-1] == option[1]
            checked += 1
    assert checked >= 2


def test_test_rows_have_geoqas_schema(tmp_path: Path):
    prompts = write_test_data(tmp_path, 20, seed=0)
    rows = rows_of(prompts)
    assert [row["image_path"] for row in rows] == [f"./Geo170K/images/test/{index}.png" for index in range(20)]
    for row in rows:
        assert set(row) == {"image_path", "question", "ground_truth"}
        assert re.fullmatch(r"\d+°?", row["ground_truth"])
        with Image.open(tmp_path / row["image_path"]) as image:
            image.load()


def test_the_projects_own_reader_finds_every_task_in_the_records(train: Path, tmp_path: Path):
    dataset, _ = load_training_data(train.parent, "LLaVA-CoT-100k", cache_dir=tmp_path)
    by_id = {row["id"]: row for row in dataset}
    for index, task in enumerate(make_tasks("train-3", 64)):
        sample = by_id[f"{task.source}_{index}"]
        assert sample["question"] == task.question
        assert sample["solution"] == task.solution
        assert tuple(re.sub(r"^Step \d+: ", "", step) for step in sample["reasoning_steps"]) == task.steps
    assert not any(name in by_id for name in ("coco_0", "sqa_0", "CLEVR_v1.0_yes"))


def test_whole_world(world: World):
    assert world.train_data.joinpath("train.jsonl").is_file()
    assert len(rows_of(world.test_prompts)) == 60
    for directory in world.models.values():
        names = {file.name for file in directory.iterdir()}
        assert {"config.json", "generation_config.json", "model.safetensors"} <= names
        assert {"processor_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= names


@pytest.mark.parametrize("flags", [["--num_train", "0"], ["--num_test", "-1"]])
def test_bad_flags_get_one_line_and_exit_code_2(flags: list[str], tmp_path: Path, repository: Path):
    command = [sys.executable, "-m", "hint_grpo.toy", str(tmp_path / "toy"), *flags]
    result = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "toy").exists()
