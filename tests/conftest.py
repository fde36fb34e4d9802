"""What tests share: the toy world (built once), the real data where it lies, and a reward that is computed by hand."""

import os
import shutil
from pathlib import Path

import pytest

from hint_grpo.machine.hardware import available_cores

# The toy model is too small to share out: two threads would spend their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")

ROOT = Path(__file__).resolve().parents[1]


def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: two files side by side, but one at a time where they would share a GPU's memory."""
    return 1 if shutil.which("nvidia-smi") else min(2, len(available_cores()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items:
        import torch

        if not torch.cuda.is_available():
            for item in gpu_items:
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU"))


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real third-party data, not part of the project: the folder HINT_GRPO_TEST_DATA, or one beside the repository."""
    folder = Path(os.environ.get("HINT_GRPO_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the real data is not here")
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory):
    """The toy world with its warmed-up models."""
    from hint_grpo.toy.world import build_world

    return build_world(tmp_path_factory.mktemp("world"))
