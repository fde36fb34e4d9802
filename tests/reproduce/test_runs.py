"""Commands as processes: their logs, their cores, and that they do not outlive or disturb one another."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from eval.runs import ROOT, claim, each_on_a_slot, run
from hint_grpo.evaluation.pool import WorkerSlot
from hint_grpo.machine.errors import UserError

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait_for(path: Path) -> str:
    for _ in range(600):
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.05)
    raise AssertionError(f"{path} was never written")


def test_output_goes_to_the_log_and_a_failure_names_it(tmp_path, capsys) -> None:
    log = tmp_path / "logs" / "step.txt"
    run(python("print('one')"), log)
    with pytest.raises(UserError, match=r"step failed \(exit code 3\).*step\.txt"):
        run(python("print('two'); raise SystemExit(3)"), log)
    assert log.read_text() == "one\ntwo\n"  # the log of an earlier try is kept
    assert "two" in capsys.readouterr().err


@linux
def test_a_command_is_bound_to_its_core(tmp_path) -> None:
    core = max(os.sched_getaffinity(0))
    run(
        python("import os; print(os.sched_getaffinity(0), os.environ['OMP_NUM_THREADS'])"),
        tmp_path / "log.txt",
        WorkerSlot(cores=(core,)),
    )
    assert (tmp_path / "log.txt").read_text() == f"{{{core}}} 1\n"


def test_a_command_sees_only_the_gpu_of_its_slot(tmp_path) -> None:
    run(python("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"), tmp_path / "log.txt", WorkerSlot(gpu="3"))
    assert (tmp_path / "log.txt").read_text() == "3\n"


def test_every_job_has_its_slot_alone() -> None:
    at_work: list[WorkerSlot] = []
    done: list[int] = []

    def work(job: int, slot: WorkerSlot) -> None:
        assert slot not in at_work
        at_work.append(slot)
        time.sleep(0.01)
        at_work.remove(slot)
        done.append(job)

    each_on_a_slot(work, list(range(10)), [WorkerSlot(cores=(0,)), WorkerSlot(cores=(1,))])
    assert sorted(done) == list(range(10))


def test_the_first_exception_ends_the_rest() -> None:
    done: list[int] = []

    def work(job: int, slot: WorkerSlot) -> None:
        if job == 1:
            raise UserError("no")
        done.append(job)

    with pytest.raises(UserError, match="no"):
        each_on_a_slot(work, [0, 1, 2, 3], [WorkerSlot()])
    assert 0 in done


@linux
def test_a_command_ends_when_its_parent_is_killed(tmp_path) -> None:
    pid_file = tmp_path / "pid"
    child = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    parent = subprocess.Popen(
        python(
            f"from pathlib import Path; from eval.runs import run; run({python(child)!r}, Path({str(tmp_path)!r}) / 'l')"
        ),
        cwd=ROOT,
    )
    process = psutil.Process(int(wait_for(pid_file)))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    process.wait(timeout=30)


@linux
def test_a_folder_stays_claimed_for_as_long_as_a_command_works_on_it(tmp_path) -> None:
    """The command that holds the claim ends later than the process that made it: the next one waits for the command."""
    told, go_on, folder = tmp_path / "told", tmp_path / "go_on", tmp_path / "folder"
    child = f"import os, time; open({str(told)!r}, 'w').write('x')\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.05)"
    code = (
        "import subprocess; from pathlib import Path; from eval.runs import claim\n"
        f"with claim(Path({str(folder)!r})) as claimed:\n    subprocess.Popen({python(child)!r}, pass_fds=[claimed])"
    )
    subprocess.run(python(code), cwd=ROOT, check=True)
    wait_for(told)
    second = subprocess.Popen(
        python(
            f"from pathlib import Path; from eval.runs import claim\nwith claim(Path({str(folder)!r})): print('mine')"
        ),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert second.stdout is not None
    assert "waiting for the process" in second.stdout.readline()
    go_on.touch()
    assert second.communicate(timeout=60)[0] == "mine\n"
    with claim(folder):
        pass
