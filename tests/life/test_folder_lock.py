"""One run per output folder: held by the kernel, shared by nobody, gone with its process."""

import os
import signal
import subprocess
import sys
import time

import pytest

from hint_grpo.machine.errors import UserError
from hint_grpo.machine.files import LOCK_FILE, only_run_in

HOLDER = """
import sys, time
from pathlib import Path
from hint_grpo.machine.files import only_run_in
with only_run_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def hold(folder, repository):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, folder], cwd=repository, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path, repository):
    first = hold(tmp_path, repository)
    try:
        with pytest.raises(UserError, match="another run is writing to"), only_run_in(tmp_path):
            pass
        with only_run_in(tmp_path / "another"):
            pass
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (tmp_path / LOCK_FILE).exists()
    with only_run_in(tmp_path):
        pass
    assert not (tmp_path / LOCK_FILE).exists()


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    with only_run_in(tmp_path):
        child = os.fork()
        if child == 0:
            time.sleep(600)
    try:
        with only_run_in(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_folder_in_which_nothing_was_written_is_removed_again(tmp_path):
    with only_run_in(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK_FILE).exists()
    assert not (tmp_path / "a").exists()
    with only_run_in(tmp_path / "a" / "b"):
        (tmp_path / "a" / "kept").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]
    with only_run_in(tmp_path / "a"):
        pass
    assert (tmp_path / "a" / "kept").exists()


def test_who_waited_for_a_lock_file_that_was_removed_takes_the_new_one(tmp_path, monkeypatch):
    """Between another run's opening of the file and its lock, the holder removes the file and a third run makes a new one."""
    import fcntl

    lock, made = fcntl.flock, []

    def interrupted(file, operation):
        if not made:
            (tmp_path / LOCK_FILE).unlink()
            made.append((tmp_path / LOCK_FILE).open("w"))
            lock(made[0], fcntl.LOCK_EX)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", interrupted)
    with made_closed(made), pytest.raises(UserError, match="another run"), only_run_in(tmp_path):
        pass


class made_closed:
    def __init__(self, files):
        self.files = files

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for file in self.files:
            file.close()


@pytest.mark.slow
def test_a_second_training_in_the_same_folder_is_refused(start, flags, tmp_path):
    with only_run_in(tmp_path / "out"):
        run = start(flags(tmp_path / "out", max_steps=1))
        run.wait_for_end()
    assert run.process.returncode == 2
    assert "another run is writing to" in run.text().splitlines()[-1]
    assert not (tmp_path / "out").exists()  # nothing was written, and the lock's holder removed the empty folder
