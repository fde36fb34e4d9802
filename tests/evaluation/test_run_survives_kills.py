"""Kill -9 at any moment, of everything or of one process: what was answered stays, and the file comes out the same."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hint_grpo.evaluation.results import read_results

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
NUM_QUESTIONS = 40
SCALES = ("0.0", "0.8")
Run = Callable[..., subprocess.Popen[str]]


def hear_ctrl_c() -> None:
    """A shell that runs the tests in its background has SIGINT ignored, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def start(world) -> Iterator[Run]:
    """start(output, *flags): test_model.py in a process group of its own; batches of two, so answers trickle in."""
    runs: list[subprocess.Popen[str]] = []

    def start(output: Path, *flags: str) -> subprocess.Popen[str]:
        flags = (
            *("--model_path", str(world.models["Qwen2.5-VL"]), "--data_path", str(world.test_data)),
            *("--prompt_path", str(world.test_prompts), "--output_dir", str(output), "--limit", str(NUM_QUESTIONS)),
            *("--scale", *SCALES, "--backend", "hf", "--batch_size", "2", "--max_new_tokens", "40", *flags),
        )
        command = [sys.executable, "test_model.py", *flags]
        pipe = subprocess.PIPE
        run = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
            preexec_fn=hear_ctrl_c,
        )
        runs.append(run)
        return run

    yield start
    for run in runs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


@pytest.fixture(scope="module")
def uninterrupted(start: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The final file of each scale as a run that nobody killed writes it."""
    output = tmp_path_factory.mktemp("uninterrupted")
    finish(start(output))
    return final_files(output)


@pytest.mark.parametrize(("seed", "backend"), [(1, "hf"), (2, "hf"), (3, "vllm")])
def test_everything_killed(
    start: Run, uninterrupted: dict[str, bytes], tmp_path: Path, seed: int, backend: str
) -> None:
    """In float32 both backends give the same tokens, so both are held against the same file."""
    moment = random.Random(seed)
    run = start(tmp_path, "--backend", backend)
    wait_for_answers(run, tmp_path, moment.randrange(1, NUM_QUESTIONS))
    time.sleep(moment.random() * 0.3)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    kept = {scale: len(read_results(tmp_path / f"scale-{scale}" / "results.jsonl")) for scale in SCALES}
    assert 0 < sum(kept.values()) < 2 * NUM_QUESTIONS

    _, messages = finish(start(tmp_path, "--backend", backend))
    for scale, count in kept.items():
        assert not count or f"scale-{scale}: {count} of {NUM_QUESTIONS} answers exist already" in messages
    assert final_files(tmp_path) == uninterrupted


def test_one_worker_of_two_killed(start: Run, uninterrupted: dict[str, bytes], tmp_path: Path) -> None:
    run = start(tmp_path, "--num_processes", "2")
    wait_for_answers(run, tmp_path, 3)
    workers = children(run.pid)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    _, messages = finish(run)
    assert "ended with signal 9: starting it again" in messages
    assert final_files(tmp_path) == uninterrupted


def test_the_main_process_killed_alone_takes_its_worker_along(
    start: Run, uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    run = start(tmp_path)
    wait_for_answers(run, tmp_path, 5)
    (worker,) = children(run.pid)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    wait_until(lambda: not Path(f"/proc/{worker}").exists() or _is_zombie(worker))
    finish(start(tmp_path))
    assert final_files(tmp_path) == uninterrupted


def test_ctrl_c_ends_every_process_and_prints_how_to_resume(start: Run, tmp_path: Path) -> None:
    run = start(tmp_path)
    wait_for_answers(run, tmp_path, 1)
    (worker,) = children(run.pid)
    os.killpg(run.pid, signal.SIGINT)
    _, messages = run.communicate()
    assert run.returncode == 130
    assert messages.splitlines()[-1].startswith("interrupted; every answer so far is on disk")
    assert not Path(f"/proc/{worker}").exists()


def test_a_worker_that_dies_again_and_again_ends_the_run_with_a_reason(start: Run, tmp_path: Path) -> None:
    run = start(tmp_path)
    wait_for_answers(run, tmp_path, 3)
    killed: set[int] = set()
    while run.poll() is None:
        for worker in set(children(run.pid)) - killed:
            os.kill(worker, signal.SIGKILL)
            killed.add(worker)
        time.sleep(0.02)
    _, messages = run.communicate()
    assert run.returncode == 2
    error = messages.splitlines()[-1]
    assert error.startswith("error: 3 decoding processes ended one after the other")
    assert "worker-0.log" in error
    assert read_results(tmp_path / "scale-0.0" / "results.jsonl")


def finish(run: subprocess.Popen[str]) -> tuple[str, str]:
    output, messages = run.communicate()
    assert run.returncode == 0, messages
    return output, messages


def final_files(output: Path) -> dict[str, bytes]:
    return {scale: (output / f"scale-{scale}" / "results.jsonl").read_bytes() for scale in SCALES}


def wait_for_answers(run: subprocess.Popen[str], output: Path, count: int) -> None:
    def enough() -> bool:
        assert run.poll() is None, run.communicate()[1]
        files = [output / f"scale-{scale}" / "results.jsonl" for scale in SCALES]
        return sum(file.read_bytes().count(b"\n") for file in files if file.exists()) >= count

    wait_until(enough)


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """The decoding processes of a run; the answer checker's are its children too."""
    try:
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [
            int(child)
            for child in pids
            if b"hint_grpo.evaluation.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _is_zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
