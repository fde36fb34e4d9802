"""The world on disk: layout, schema, irregularities, what the project's readers find in it, determinism, command line."""

import hint_grpo.machine.stack  # noqa: F401

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from hint_grpo.data.dataset import load_training_data
from hint_grpo.data.llava_cot import released_steps, split_steps
from hint_grpo.data.questions import read_questions
from hint_grpo.toy.records import LAYOUTS, ODDITIES, foreign_records, joined_steps
from hint_grpo.toy.tasks import TASK_SETS, make_tasks
from hint_grpo.toy.world import World, build_world, write_own_data, write_test_data, write_training_data


def rows_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_data(tmp_path_factory.mktemp("train"), 64, seed=3)


def without_number(step: str) -> str:
    return re.sub(r"^Step \d+: ", "", step)


def files_under(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def test_same_seed_same_bytes(tmp_path: Path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_training_data(tmp_path / name, 12, seed)
        write_test_data(tmp_path / name, 6, seed)
        write_own_data(tmp_path / name / "own", f"own-{seed}", 6, TASK_SETS["chains"])
    assert files_under(tmp_path / "a") == files_under(tmp_path / "b")
    one, other = files_under(tmp_path / "a"), files_under(tmp_path / "c")
    assert all(one[name] != other[name] for name in one if name.endswith(".jsonl"))
    assert any(one[name] != other.get(name) for name in one if name.endswith(".png"))


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
    reasonings = [reasoning for reasoning in reasonings if reasoning.startswith(("Step 1: Disc 1", "Disc 1"))]
    numbered = [reasoning for reasoning in reasonings if reasoning.startswith("Step 1: ")]
    paragraphs = [reasoning for reasoning in reasonings if "\n\n" in reasoning]
    sentences = [reasoning for reasoning in reasonings if "\n" not in reasoning]
    assert len(numbered) + len(paragraphs) + len(sentences) == len(reasonings) == 64
    assert min(len(numbered), len(paragraphs), len(sentences)) > 10


def test_the_option_named_by_the_letter_is_the_solution(train: Path):
    checked = 0
    for row in rows_of(train):
        question, answer = (turn["value"] for turn in row["conversations"][:2])
        letter = re.search(r"<CONCLUSION> (?:The answer is |\()?([A-D])\b", answer)
        if row["image"].startswith(("geoqa+", "CLEVR")) and letter:
            option = re.search(rf"^{letter[1]}\. (.*)$", question, re.MULTILINE)
            reasoning = answer.split("</REASONING>")[0]
            assert re.findall(r"\d+", reasoning)[-1] == option[1]
            assert len(set(re.findall(r"^[A-D]\. (\d+)$", question, re.MULTILINE))) == 4
            checked += 1
    assert checked >= 2


def test_test_rows_have_geoqas_schema(tmp_path: Path):
    prompts = write_test_data(tmp_path, 20, seed=0)
    rows = rows_of(prompts)
    assert [row["image_path"] for row in rows] == [f"./Geo170K/images/test/{index}.png" for index in range(20)]
    for row in rows:
        assert set(row) == {"image_path", "question", "ground_truth"}
        assert re.fullmatch(r"([123]{3}){1,2}", row["ground_truth"])
        with Image.open(tmp_path / row["image_path"]) as image:
            assert image.size == (28, 112 if len(row["ground_truth"]) == 3 else 168)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_cut_into_the_tasks_steps(layout: str):
    for task in make_tasks("layouts", 60, TASK_SETS["test"]):
        cut = split_steps(joined_steps(task, layout))
        assert tuple(map(without_number, cut)) == task.steps
        assert all(step.startswith("Step ") == (layout == "numbered") for step in cut)


def test_the_released_codes_cutter_finds_numbered_steps_alone():
    for task in make_tasks("layouts", 20, TASK_SETS["test"]):
        assert released_steps(joined_steps(task, "numbered")) == task.steps
        assert released_steps(joined_steps(task, "paragraphs")) == ()


def test_the_projects_own_reader_finds_every_task_in_the_records(train: Path, tmp_path: Path):
    dataset, _ = load_training_data(train.parent, "LLaVA-CoT-100k", cache_dir=tmp_path)
    by_id = {row["id"]: row for row in dataset}
    for index, task in enumerate(make_tasks("train-3", 64, TASK_SETS["train"])):
        sample = by_id[f"{task.source}_{index}"]
        assert sample["question"] == task.question
        assert sample["solution"] == task.solution
        assert tuple(map(without_number, sample["reasoning_steps"])) == task.steps
        with Image.open(sample["image"]) as image:
            assert image.size == (28, 28 * max(4, len(task.picture)))
    assert not any(name in by_id for name in ("coco_0", "sqa_0", "CLEVR_v1.0_yes"))


def test_the_second_turn_of_a_conversation_counts_the_red_discs(tmp_path: Path):
    """A record of two turns is two samples with one picture."""
    count = 8 * len(ODDITIES)
    train = write_training_data(tmp_path / "data", count, seed=0)
    dataset, _ = load_training_data(train.parent, "LLaVA-CoT-100k", cache_dir=tmp_path / "cache")
    second = {row["id"]: row for row in dataset if row["id"].endswith(":2")}
    index = count - 1  # the last oddity
    task = make_tasks("train-0", count, TASK_SETS["train"])[index]
    sample = second.pop(f"{task.source}_{index}:2")
    assert not second
    assert sample["question"] == "How many discs are red?"
    assert sample["solution"] == str([disc.colour for disc in task.picture].count("red"))


def test_resplit_records_hold_the_same_steps_in_numbered_form(tmp_path: Path):
    world = build_world(tmp_path, num_train=24, num_test=1, families=(), seed=3)
    dataset, _ = load_training_data(
        world.train_data, "LLaVA-CoT-100k", steps_file=world.steps_file, cache_dir=tmp_path / "cache"
    )
    by_id = {row["id"]: row for row in dataset}
    tasks = make_tasks("train-3", 24, TASK_SETS["train"])
    assert len(by_id) == len(tasks)
    for index, task in enumerate(tasks):
        steps = by_id[f"{task.source}_{index}"]["reasoning_steps"]
        assert tuple(steps) == tuple(f"Step {number}: {step}" for number, step in enumerate(task.steps, 1))


@pytest.mark.parametrize("name", ["long", "cue"])
def test_own_data_is_read_as_a_users_own(name: str, tmp_path: Path):
    file = write_own_data(tmp_path / "own", "own", 20, TASK_SETS[name])
    dataset, report = load_training_data(file.parent, file.name, cache_dir=tmp_path / "cache")
    questions = read_questions(file.parent / "prompts.jsonl", file.parent).questions
    tasks = make_tasks("own", 20, TASK_SETS[name])
    assert report.samples == report.records == len(tasks)
    assert [row["id"] for row in dataset] == [f"{name}-{index}" for index in range(20)]
    for row, question, task in zip(dataset, questions, tasks, strict=True):
        assert row["question"] == question.question == task.question
        assert row["solution"] == question.ground_truth == task.solution
        assert tuple(row["reasoning_steps"]) == task.steps
        assert row["image"] == question.image
        with Image.open(row["image"]) as image:
            assert image.size == (28, 168 if name == "long" else 112)


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
