"""The project as a wheel: what is in it, and that its two commands run where the checkout cannot be seen."""

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

NEEDED = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "requirements-common.txt",
    "hint_grpo",
    "eval",
    "benchmarks",
    "tests",
)


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network from a copy: the build writes beside its sources."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in NEEDED:
        path = repository / name
        shutil.copytree(path, source / name, ignore=ignore) if path.is_dir() else shutil.copy(path, source)
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    _run([sys.executable, "-m", "pip", "wheel", ".", *offline, "-w", str(output)], source)
    (wheel,) = output.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel, and with this environment's packages behind it."""
    folder = tmp_path_factory.mktemp("installed")
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    _run([*pip, "--no-deps", "--no-index", str(wheel)], folder)
    return folder / "bin"


def _run(command: list[str], folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path, repository: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = (path for path in (repository / "hint_grpo").rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert names == {path.relative_to(repository).as_posix() for path in package}
    assert "hint_grpo/toy/weights/Qwen2.5-VL-toy.safetensors" in names


def test_its_dependencies_are_the_requirements(wheel: Path, repository: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    requires = [re.sub(r"[\s\"']", "", line) for line in metadata.get_all("Requires-Dist", [])]
    assert [line for line in requires if "extra==" not in line] == _requirements(repository, "requirements-common.txt")
    extras = {"cpu": "requirements-cpu.txt", "cuda": "requirements.txt"}
    for extra, file in extras.items():
        expected = [f"{line};extra=={extra}" for line in _requirements(repository, file)]
        assert [line for line in requires if line.endswith(f"extra=={extra}")] == expected
    assert set(metadata.get_all("Provides-Extra", [])) == extras.keys()


def _requirements(repository: Path, file: str) -> list[str]:
    """The packages that the file itself lists, without comments and the lists that it includes."""
    lines = (line.partition("#")[0].strip() for line in (repository / file).read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def test_it_is_imported_from_elsewhere(installed: Path, repository: Path, tmp_path: Path) -> None:
    code = (
        "import hint_grpo, hint_grpo.hints, hint_grpo.scoring.rewards; from hint_grpo.toy.models import WEIGHTS;"
        "print(hint_grpo.__file__, hint_grpo.__version__, sorted(path.name for path in WEIGHTS.iterdir()))"
    )
    output = _run([str(installed / "python"), "-I", "-c", code], tmp_path)
    assert str(installed.parent) in output
    assert str(repository) not in output
    assert "Qwen2-VL-toy.safetensors" in output


@pytest.mark.parametrize(
    ("command", "flag"), [("hint-grpo-train", "--hint_policy"), ("hint-grpo-eval", "--no_image")], ids=["train", "eval"]
)
def test_its_commands_answer_help_and_a_mistake(installed: Path, tmp_path: Path, command: str, flag: str) -> None:
    assert flag in _run([str(installed / command), "--help"], tmp_path)
    done = subprocess.run([installed / command, "--no_such_flag", "1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown")


def test_the_published_scripts_run_the_same_commands(repository: Path) -> None:
    scripts = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    for script, entry in (("train_model.py", "hint-grpo-train"), ("test_model.py", "hint-grpo-eval")):
        module, _, function = scripts[entry].partition(":")
        assert f"from {module} import {function}\n" in (repository / script).read_text("utf-8")
