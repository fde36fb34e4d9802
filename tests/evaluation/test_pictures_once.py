"""Each picture file is opened and decoded once in a whole run, and the processes start while pictures are checked."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.data.decoded import DecodedPictures
from hint_grpo.evaluation.pool import ChunkSizes, Pool, Task, WorkerSlot, choose_slots, expected_slots

ROOT = Path(__file__).resolve().parents[2]
NUM_QUESTIONS = 8
# Python imports this module at its start, in every process of the run: it writes a line per opened and per decoded picture.
NOTES = """
import os, sys
from PIL import ImageFile

notes = os.open(os.environ["PICTURE_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
load = ImageFile.ImageFile.load

def note_open(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".png") and os.sep + "test" + os.sep in str(arguments[0]):
        os.write(notes, f"open {os.path.basename(arguments[0])}\\n".encode())

def noted_load(image):
    if image.tile:  # not decoded yet
        os.write(notes, f"decode of {image.size}\\n".encode())
    return load(image)

sys.addaudithook(note_open)
ImageFile.ImageFile.load = noted_load
"""


def run(world, tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "notes").mkdir(exist_ok=True)
    (tmp_path / "notes" / "sitecustomize.py").write_text(NOTES)
    environment = {"PYTHONPATH": f"{tmp_path / 'notes'}", "PICTURE_NOTES": str(tmp_path / "notes.txt")}
    command = [
        *(sys.executable, "test_model.py", "--model_path", str(world.models["Qwen2.5-VL"])),
        *("--data_path", str(world.test_data), "--prompt_path", str(world.test_prompts), "--no_report"),
        *("--output_dir", str(tmp_path / "output"), "--limit", str(NUM_QUESTIONS), "--max_new_tokens", "4", *flags),
    ]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)


def noted(tmp_path: Path) -> Counter[str]:
    return Counter((tmp_path / "notes.txt").read_text().splitlines())


@pytest.mark.parametrize("backend", ["hf", pytest.param("vllm", marks=pytest.mark.slow)])
def test_a_run_at_two_scales_opens_and_decodes_each_picture_once(world, tmp_path: Path, backend: str) -> None:
    done = run(world, tmp_path, "--backend", backend, "--scale", "0.0", "0.8")
    assert done.returncode == 0, done.stderr
    opened = {name: number for name, number in noted(tmp_path).items() if name.startswith("open")}
    assert opened == {f"open {number}.png": 1 for number in range(NUM_QUESTIONS)}
    assert sum(noted(tmp_path).values()) == 2 * NUM_QUESTIONS


def test_a_check_of_the_data_opens_each_picture_once(world, tmp_path: Path) -> None:
    assert run(world, tmp_path, "--check_data").returncode == 0
    assert sum(noted(tmp_path).values()) == 2 * NUM_QUESTIONS


def test_pictures_in_several_questions_are_opened_once(world, tmp_path: Path) -> None:
    (tmp_path / "twice.jsonl").write_text(2 * world.test_prompts.read_text().splitlines(keepends=True)[0])
    done = run(world, tmp_path, "--prompt_path", str(tmp_path / "twice.jsonl"), "--backend", "hf", "--scale", "0.8")
    assert done.returncode == 0, done.stderr
    assert noted(tmp_path)["open 0.png"] == 1


def test_a_broken_picture_is_one_line_before_a_model_loads(world, tmp_path: Path) -> None:
    """The process that was started meanwhile is gone, and was told to load nothing."""
    (tmp_path / "broken.jsonl").write_text('{"image_path": "./broken.png", "question": "?", "ground_truth": "1"}\n')
    (tmp_path / "broken.png").write_bytes((world.test_data / "images/test/0.png").read_bytes()[:100])
    flags = ("--prompt_path", str(tmp_path / "broken.jsonl"), "--data_path", str(tmp_path))
    done = run(world, tmp_path, *flags, "--backend", "hf")
    assert done.returncode == 2
    assert re.fullmatch(
        r"error: 1 questions of .*broken\.jsonl.* first broken\.jsonl:1: .*broken\.png: .*\n", done.stderr
    )
    assert not (tmp_path / "output").exists()


# ----------------------------------------------------------------------------------------------------
# Processes that start before it is known what they decode


def test_processes_of_the_same_slots_are_kept(tmp_path: Path) -> None:
    one, two, three = (WorkerSlot(cores=(0,)), WorkerSlot(), WorkerSlot())
    with DecodedPictures() as decoded, Pool("hf", decoded.fileno(), tmp_path) as pool:
        pool.start([one, two, three])
        first = [process._popen.pid for process in pool._processes]
        pool.start([one, two])
        assert [process._popen.pid for process in pool._processes] == first[:2]
        pool.start([two])
        assert [process._popen.pid for process in pool._processes] != first[:1]
        (last,) = pool._processes
    assert last.has_died()


def test_what_is_expected_is_what_is_chosen() -> None:
    for number in (None, 1, 2, 3):
        assert expected_slots(None, number) == choose_slots(None, number)


def test_a_process_that_waited_decodes(world, tmp_path: Path) -> None:
    """It is killed while it waits, and starts again when its death is noticed."""
    picture = str(world.test_data / "images/test/0.png")
    loading = {"model_path": str(world.models["Qwen2.5-VL"]), "backend": "hf", "max_new_tokens": 4}
    with DecodedPictures() as decoded, Pool("hf", decoded.fileno(), tmp_path) as pool:
        pool.start([WorkerSlot()])
        pool._processes[0]._popen.kill()
        task = Task(DecodeRequest("q", "How many discs are red?", picture), (0.0, 0.8))
        answers = list(pool.run([task], loading, ChunkSizes(1)))
    assert [(answer.id, answer.scale) for answer in answers] == [("q", 0.0), ("q", 0.8)]
