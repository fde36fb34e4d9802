"""Real training runs as processes: started, looked at, killed, and looked for afterwards."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from eval.runs import flag_words
from hint_grpo.machine.processes import free_port


class Run:
    """train_model.py with everything it starts; standard output and errors in one file."""

    def __init__(self, command: list[str], cwd: Path, log: Path) -> None:
        self.log = log
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "PYTHONFAULTHANDLER": "1",
        }
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT)
        self.seen: dict[int, psutil.Process] = {}

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def look(self) -> None:
        """Remembers every process of the run, so that it can be looked for when the run is over."""
        try:
            family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        self.seen |= {process.pid: process for process in family}

    def wait_for(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.look()
            assert self.process.poll() is None, self.text()[-3000:]
            time.sleep(0.02)
        self.look()

    def kill_trainer(self) -> None:
        """SIGKILL to torchrun and every rank, or to the lone process; never to the server, which they cannot end any more."""
        trainer = [process for process in self.seen.values() if self.is_trainer(process)]
        for process in [self.process, *trainer]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self.process.wait()

    @staticmethod
    def is_trainer(process: psutil.Process) -> bool:
        try:
            return "train_model.py" in process.cmdline()
        except psutil.NoSuchProcess:
            return False

    def finish(self) -> str:
        self.wait_for_end()
        assert self.process.returncode == 0, self.text()[-3000:]
        return self.text()

    def wait_for_end(self) -> None:
        while self.process.poll() is None:
            self.look()
            time.sleep(0.1)

    def server_port(self) -> int:
        return int(re.findall(r"http://127\.0\.0\.1:(\d+)", self.text())[-1])

    def end(self) -> None:
        """Ends every process. Where the run still goes, its test has failed: first shows where each process is."""
        self.look()
        alive = [process for process in self.seen.values() if process.is_running()]
        if self.process.poll() is None:
            for process in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGABRT)  # PYTHONFAULTHANDLER writes the stacks
            psutil.wait_procs(alive, timeout=10)
            print(self.text()[-10_000:])
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def left_over(self) -> list[str]:
        """Processes of the run that live on, after a time in which they may end."""
        deadline = time.monotonic() + 40
        while (alive := [p for p in self.seen.values() if p.is_running() and p.status() != "zombie"]) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.2)
        return [f"{process.pid} {process.cmdline()}" for process in alive]


@pytest.fixture
def launch(repository, tmp_path):
    """launch(command) -> Run; every process of it is ended with the test."""
    runs: list[Run] = []

    def launch(command: list[str]) -> Run:
        runs.append(Run(command, repository, tmp_path / f"run-{len(runs)}.log"))
        return runs[-1]

    yield launch
    for run in runs:
        run.end()


@pytest.fixture
def start(launch):
    """start(flags, ranks=1) -> Run of train_model.py on this machine."""

    def start(flags: list[str], ranks: int = 1) -> Run:
        launcher = [
            *("-m", "torch.distributed.run", f"--nproc_per_node={ranks}", "--nnodes", "1", "--node_rank", "0"),
            *("--master-addr", "localhost", "--master-port", str(free_port()), "--shutdown-timeout", "120"),
        ]
        return launch([sys.executable, *(launcher if ranks > 1 else []), "train_model.py", *flags])

    return start


@pytest.fixture
def flags(world):
    """Flags of a short run on the toy world, float32 on the CPU."""

    def flags(out: Path, **more: object) -> list[str]:
        settings = {
            "model_name_or_path": world.models["Qwen2.5-VL"],
            "data_path": world.train_data,
            "output_dir": out,
            "num_generations": 2,
            "max_completion_length": 64,
            "learning_rate": 1e-3,
            "use_cpu": "true",
            "log_completions": "false",
            "disable_tqdm": "true",
        }
        return flag_words(settings | more)

    return flags
