"""DeepSpeed builds operators when a run begins: a run that is killed meanwhile must not make the next one wait for ever."""

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import threading

import pytest

from hint_grpo.machine.errors import UserError
from hint_grpo.machine.extension_lock import KernelBaton

HOLDER = """
import sys, time
from hint_grpo.machine.extension_lock import KernelBaton
assert KernelBaton(sys.argv[1]).try_acquire()
print("held", flush=True)
time.sleep(600)
"""
BUILD = """
import sys
from hint_grpo.machine import extension_lock
extension_lock.install()
from torch.utils import cpp_extension
cpp_extension.load("answer", [sys.argv[1]], build_directory=sys.argv[2], is_python_module=False)
"""


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "lock"


def test_a_file_left_behind_is_taken_over(lock) -> None:
    lock.touch()
    baton = KernelBaton(str(lock))
    assert baton.try_acquire()
    assert not KernelBaton(str(lock)).try_acquire()
    baton.release()
    assert not lock.exists()
    assert KernelBaton(str(lock)).try_acquire()


def test_a_file_system_without_locks_is_named(lock, monkeypatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match="set TORCH_EXTENSIONS_DIR to a folder on a local disk"):
        KernelBaton(str(lock)).try_acquire()


def test_waiting_ends_with_the_holder(lock, repository) -> None:
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        baton = KernelBaton(str(lock))
        assert not baton.try_acquire()
        waiting = threading.Thread(target=baton.wait)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        holder.kill()
        waiting.join(30)
        assert not waiting.is_alive()
    assert KernelBaton(str(lock)).try_acquire()


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_an_extension_is_built_where_a_killed_process_left_its_lock(tmp_path, lock, repository) -> None:
    lock.touch()
    source = tmp_path / "answer.cpp"
    source.write_text('extern "C" int answer() { return 42; }\n')
    command = [sys.executable, "-c", BUILD, str(source), str(tmp_path)]
    subprocess.run(command, cwd=repository, check=True, timeout=300)
    assert (tmp_path / "answer.so").exists()
    assert not lock.exists()


def test_a_run_under_deepspeed_uses_it(flags, repository, tmp_path) -> None:
    program = (
        "from hint_grpo.training.command_line import parse; from torch.utils import cpp_extension; import sys; "
        "parse(sys.argv[1:]); "
        "assert cpp_extension.FileBaton.__name__ == 'KernelBaton'"
    )
    words = flags(tmp_path, deepspeed="local_scripts/zero3_offload.json")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    torchrun = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    environment = os.environ | torchrun | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    subprocess.run([sys.executable, "-c", program, *words], cwd=repository, env=environment, check=True, timeout=300)
