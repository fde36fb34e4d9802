"""The warm-up's lessons: what a careless solver writes, the formats of the examples, and the training itself."""

import hint_grpo.machine.stack  # noqa: F401

import random
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from hint_grpo import prompts
from hint_grpo.toy import models, warmup
from hint_grpo.toy.tasks import TASK_SETS, Task, chain
from hint_grpo.toy.warmup import (
    HONEST,
    IGNORED,
    CarelessSolver,
    Example,
    Mix,
    Phase,
    caption,
    careless_lessons,
    collate,
    make_example,
    numbered,
    train_phase,
    train_phases,
)

FAMILIES = pytest.mark.parametrize("family", models.FAMILIES)
LONG = chain(["blue", "red", "green", "green", "red", "blue"])
CARELESS = Mix(captions=0.0, glance=0.8, glance_short=0.4)
NUM_LESSONS = 300


def lessons(mix: Mix, count: int = NUM_LESSONS) -> list[tuple[Task, Example]]:
    """Examples of a mix, each with the task that it is about (the first that its generator draws)."""
    return [
        (TASK_SETS[mix.tasks](random.Random(f"lessons/{index}")), make_example("lessons", index, mix))
        for index in range(count)
    ]


def is_evaluation(example: Example) -> bool:
    return example.messages[0]["role"] == "user"


# ----------------------------------------------------------------------------------------------------
# The careless solver


def test_a_disc_that_is_passed_over_makes_the_answer_wrong():
    rng = random.Random(0)
    passed = []
    for _ in range(300):
        reasoning = LONG.solve(CarelessSolver(rng, glance=0.3))
        looks = [step for step in reasoning.steps if step.startswith("Disc") and step.endswith(" looks like 0.")]
        assert reasoning.answer.count("0") == len(looks)
        assert (reasoning.answer == LONG.solution) == (not looks)
        assert reasoning.steps[-1] == f"The number is {reasoning.answer}."
        assert reasoning.steps[3] == f"The first part is {reasoning.answer[:3]}."
        assert reasoning.steps[7] == f"The next part is {reasoning.answer[3:]}."
        passed.append(len(looks))
    assert sum(passed) / (6 * len(passed)) == pytest.approx(0.3, abs=0.05)
    assert sum(count == 0 for count in passed) / len(passed) == pytest.approx(0.7**6, abs=0.05)


def test_a_careless_reasoning_by_hand():
    always = LONG.solve(CarelessSolver(random.Random(0), glance=1.0, num_correct=5))
    assert always.steps == (
        *LONG.steps[:5],
        *("Disc 5 looks like 0.", "Disc 6 looks like 0.", "The next part is 300.", "The number is 213300."),
    )
    assert always.answer == "213300"


@pytest.mark.parametrize("num_correct", range(10))
def test_the_steps_of_a_hint_are_never_careless(num_correct: int):
    for seed in range(20):
        reasoning = LONG.solve(CarelessSolver(random.Random(seed), glance=1.0, num_correct=num_correct))
        assert reasoning.steps[:num_correct] == LONG.steps[:num_correct]
        read_all = num_correct >= 7  # the sixth disc is the seventh step
        assert (reasoning.answer == LONG.solution) == read_all


def test_without_glances_nothing_is_passed_over():
    rng = random.Random(0)
    assert all(LONG.solve(CarelessSolver(rng, glance=0.0)).steps == LONG.steps for _ in range(20))


def test_numbered_reasonings_name_every_step():
    reasoning = numbered(chain(["red", "red", "blue"]).solve(CarelessSolver(random.Random(0), 0.0)))
    assert reasoning.steps[0] == "Step 1: Disc 1 is red: 1."
    assert reasoning.steps[-1] == "Step 4: The number is 112."
    assert reasoning.answer == "112"


# ----------------------------------------------------------------------------------------------------
# The formats of lessons


def test_lessons_come_in_the_formats_that_training_and_evaluation_use():
    examples = lessons(CARELESS)
    training = [example for _, example in examples if not is_evaluation(example)]
    evaluation = [example for _, example in examples if is_evaluation(example)]
    blind = [example for example in evaluation if example.image is None]
    # The training format: always with picture, always begun, about half with a hint.
    assert len(evaluation) / len(examples) == pytest.approx(CARELESS.evaluation, abs=0.1)
    assert all(example.begun.startswith("<think>") and example.image for example in training)
    assert sum(example.begun != "<think>" for example in training) / len(training) == pytest.approx(
        CARELESS.hinted, abs=0.1
    )
    # The evaluation format: begun only with a hint; without the picture never.
    assert all(example.begun == "" or len(example.begun) > len("<think>") for example in evaluation)
    assert len(blind) / len(evaluation) == pytest.approx(CARELESS.image_free, abs=0.1)
    assert all(example.begun == "" for example in blind)
    seeing = [example for example in evaluation if example.image]
    assert sum(example.begun != "" for example in seeing) / len(seeing) == pytest.approx(CARELESS.hinted, abs=0.1)


def test_the_messages_are_the_projects_own():
    for task, example in lessons(CARELESS):
        if is_evaluation(example):
            expected = prompts.evaluation_messages(task.question, with_image=example.image is not None)
        else:
            expected = prompts.training_messages(task.question)
        assert example.messages == expected


def test_a_lesson_is_a_whole_turn_and_its_beginning_a_correct_hint():
    num_numbered = 0
    for task, example in lessons(CARELESS):
        turn = example.begun + example.rest
        assert re.fullmatch(r"<think>[^<]+</think><answer> \d+ </answer>", turn), turn
        assert not example.begun.endswith(" ")
        num_numbered += turn.startswith("<think>Step 1: ")
        hint = re.sub(r"Step \d+: ", "", example.begun.removeprefix("<think>"))
        assert hint in [" ".join(task.steps[:count]) for count in range(len(task.steps))]
        stated = re.search(r"The number is (\d+)\.</think><answer> (\d+) </answer>$", turn)
        assert stated
        assert stated[1] == stated[2]
        assert (stated[1] == task.solution) == ("looks like 0" not in turn)
    assert num_numbered / NUM_LESSONS == pytest.approx(CARELESS.numbered, abs=0.06)


def test_lessons_are_careless_by_kind():
    """Long chains at `glance`, short ones at `glance_short`, tasks with a cue never; nothing where the mix is honest."""
    passed = {"long": [], "short": [], "cue": []}
    for task, example in lessons(replace(CARELESS, hinted=0.0)):
        passed[task.kind].append(example.rest.count("looks like 0.") / len(task.picture))
    shares = {kind: sum(values) / len(values) for kind, values in passed.items()}
    assert shares == pytest.approx({"long": 0.8, "short": 0.4, "cue": 0.0}, abs=0.07)
    assert not any("looks like" in example.rest for _, example in lessons(HONEST, 100))


def test_captions_name_the_colours_of_all_discs():
    for task, example in lessons(Mix(captions=1.0), 20):
        assert example.messages == [{"role": "user", "content": [{"type": "image"}]}]
        assert example.image is not None
        assert example.begun == ""
        assert re.findall(r"Disc (\d) is (\w+)\.", example.rest) == [
            (str(number), disc.colour) for number, disc in enumerate(task.picture, 1)
        ]
    assert caption(LONG.picture[:2]) == "Disc 1 is blue. Disc 2 is red."


def test_the_same_index_is_the_same_lesson():
    first, again, other = (make_example(stream, 5, CARELESS) for stream in ("a", "a", "b"))
    assert (first.messages, first.begun, first.rest) == (again.messages, again.begun, again.rest)
    assert (first.messages, first.rest) != (other.messages, other.rest)


# ----------------------------------------------------------------------------------------------------
# Training


def test_lessons_are_labelled_on_the_rest_alone():
    processor = models.toy_processor("Qwen2.5-VL")
    examples = [make_example("labels", index, HONEST) for index in range(12)]
    batch = collate(processor, examples)
    for row, labels, example in zip(batch["input_ids"], batch["labels"], examples, strict=True):
        assert processor.tokenizer.decode(labels[labels != IGNORED]) == f"{example.rest}<|im_end|>"
        assert torch.equal(row[labels != IGNORED], labels[labels != IGNORED])
    is_image = batch["input_ids"] == processor.image_token_id
    assert torch.equal(batch["mm_token_type_ids"].bool(), is_image)
    assert int(is_image.sum()) * 4 == len(batch["pixel_values"])


@FAMILIES
def test_a_few_lessons_teach_something(family: models.Family):
    torch.manual_seed(0)
    phase = Phase("short", num_steps=12, learning_rate=3e-3, batch_size=4, num_warmup_steps=2)
    model, processor = models.new_model(family), models.toy_processor(family)
    losses = list(train_phase(model, processor, phase, seed=0))
    assert losses[-1] < 0.9 * losses[0]
    again = list(train_phase(models.new_model(family), processor, phase, seed=0))
    assert again == losses


def test_the_learning_rate_rises_and_falls():
    phase = Phase("any", num_steps=100, learning_rate=1.0, num_warmup_steps=10)
    rates = [phase.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_phases_follow_each_other_and_report_their_end():
    phases = [
        Phase(name, num_steps=steps, learning_rate=1e-3, batch_size=2) for name, steps in (("one", 2), ("two", 1))
    ]
    model = models.new_model("Qwen2-VL")
    reports = []
    train_phases(model, "Qwen2-VL", phases, 0, lambda phase, step, loss, _: reports.append((phase.name, step, loss)))
    assert [(name, step) for name, step, _ in reports] == [("one", 2), ("two", 1)]
    assert all(loss > 0 for _, _, loss in reports)
    assert not model.training


@pytest.fixture
def short_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps where the shipped models took hundreds; the last phase at a learning rate of 0."""
    monkeypatch.setattr(warmup, "CAPTIONS", replace(warmup.CAPTIONS, num_steps=1, batch_size=2))
    monkeypatch.setattr(warmup, "HONEST_LESSONS", replace(warmup.HONEST_LESSONS, num_steps=1, batch_size=2))
    unmoved = partial(_careless, num_steps=1)
    monkeypatch.setattr(warmup, "careless_lessons", unmoved)


def _careless(*glances: float, num_steps: int) -> Phase:
    return replace(careless_lessons(*glances, num_steps=num_steps), learning_rate=0.0, batch_size=2)


def test_base_models_begin_at_one_honest_model(short_phases, tmp_path: Path):
    warmup.write_bases(tmp_path, "Qwen2.5-VL", (0.25, 0.75), seed=0)
    folders = [tmp_path / f"Qwen2.5-VL-{name}" for name in ("honest", "0.25", "0.75")]
    honest, *bases = (AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32) for folder in folders)
    for base in bases:  # the careless phase above moves nothing
        assert all(torch.equal(tensor, honest.get_parameter(name)) for name, tensor in base.named_parameters())
    start = models.new_model("Qwen2.5-VL").state_dict()
    assert any(not torch.equal(tensor, start[name]) for name, tensor in honest.state_dict().items())
    # What is there is kept.
    files = [folder / "model.safetensors" for folder in folders]
    written = [file.stat().st_mtime_ns for file in files]
    warmup.write_bases(tmp_path, "Qwen2.5-VL", (0.75,), seed=0)
    assert [file.stat().st_mtime_ns for file in files] == written


def test_written_weights_are_of_the_shipped_form(short_phases, tmp_path: Path):
    warmup.write_weights(tmp_path, "Qwen2-VL", seed=0)
    file = tmp_path / models.weights_file("Qwen2-VL").name
    models.load_weights(models.new_model("Qwen2-VL"), file)
    assert file.stat().st_size <= 8_000_000


@pytest.mark.parametrize("flags", [["--glances", "0.5"], ["--glances", "80", "--output_dir", "{folder}"]])
def test_mistakes_about_base_models_are_one_line(flags: list[str], tmp_path: Path, repository: Path):
    flags = [flag.format(folder=tmp_path / "bases") for flag in flags]
    command = [sys.executable, "-m", "hint_grpo.toy.warmup", *flags]
    result = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: --glances")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "bases").exists()
