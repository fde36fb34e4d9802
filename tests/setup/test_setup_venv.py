"""local_scripts/setup_venv.sh: which stack it chooses, and its message for a driver that is too old. Nothing is installed.

Stand-ins replace nvidia-smi and pip: a script that prints a driver's version, and a .venv whose python records its arguments.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def setup(repository, tmp_path):
    """setup(driver, STACK=...) -> (exit code, stderr, pip's arguments). `driver`: a version, "broken", or None."""
    project = tmp_path / "project"
    shutil.copytree(repository / "local_scripts", project / "local_scripts")
    shutil.copy(repository / "Makefile", project)
    for file in repository.glob("requirements*.txt"):
        shutil.copy(file, project)
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$2" = pip ] && echo "$@" >> asked; exit 0\n')
    python.chmod(0o755)

    def run(driver: str | None, command: tuple[str, ...] = ("local_scripts/setup_venv.sh",), **variables: str):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        if driver is not None:
            smi = folder / "nvidia-smi"
            smi.write_text("#!/bin/sh\n" + ("echo no device; exit 9\n" if driver == "broken" else f"echo {driver}\n"))
            smi.chmod(0o755)
        asked = project / "asked"
        asked.unlink(missing_ok=True)
        environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"} | variables
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr, asked.read_text() if asked.exists() else ""

    return run


def test_the_driver_decides(setup) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    code, _, asked = setup(None)
    assert code == 0
    assert "-r requirements-cpu.txt" in asked
    code, _, asked = setup("580.65.06")
    assert code == 0
    assert "-r requirements.txt" in asked
    assert "cpu" not in asked


@pytest.mark.parametrize(
    ("driver", "words"), [("570.133.20", "570.133.20, and requirements.txt (CUDA 13) needs R580"), ("broken", "R580")]
)
def test_an_unusable_gpu_is_reported_before_anything_is_installed(setup, driver, words) -> None:
    code, error, asked = setup(driver)
    assert (code, asked) == (2, "")
    assert len(error.splitlines()) == 1
    assert error.startswith("error: ")
    assert words in error
    assert "make STACK=cpu" in error


def test_the_variable_stack_wins_over_the_driver(setup) -> None:
    assert "-r requirements-cpu.txt" in setup("570.133.20", STACK="cpu")[2]
    asked = setup("broken", STACK="cuda")[2]
    assert "-r requirements.txt" in asked
    code, error, asked = setup("580.65.06", STACK="rocm")
    assert (code, asked) == (2, "")
    assert "use cuda or cpu" in error


def test_make_passes_stack_on(setup) -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    code, error, asked = setup("570.133.20", ("make", "STACK=cuda", ".venv/.ready"))
    assert code == 0, error
    assert "-r requirements.txt" in asked


def test_the_script_names_the_driver_that_the_code_needs(repository: Path) -> None:
    from hint_grpo.machine.hardware import OLDEST_DRIVER

    assert f"oldest_driver={OLDEST_DRIVER[13]} " in (repository / "local_scripts" / "setup_venv.sh").read_text()
