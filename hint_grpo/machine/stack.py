"""Settings and workarounds that must be in place before transformers, torchvision or vLLM are imported. Import this module first.

Importing it does the work (once per process), because each of these is read when another library is imported:

- torchvision's ordinary wheel is built for CUDA. On a CPU build of torch its import fails with "operator torchvision::nms
  does not exist", and transformers' Qwen processors need it. Declaring the two operators that it looks up is enough.
- vLLM on a CPU reserves a core and sizes its cache by the machine; on a small machine both cost more than they gain.
- The engine has to run in this process: the trainer loads weights into it, and calibrated decoding steps it.
- torchrun sets one CPU thread per process, but the optimizer of ZeRO offload runs on the CPU. libgomp reads OMP_NUM_THREADS
  when a library loads it, as DeepSpeed's compiled optimizer may.
"""

import importlib.metadata
import importlib.util
import logging
import os
import sys
import warnings

import torch

from hint_grpo.machine.hardware import available_cores, torchrun_chose_threads

# C++ warnings: on a CPU only vLLM's line on memory binding. With CUDA they matter (NCCL).
if importlib.metadata.version("torch").endswith("+cpu"):
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


HAS_CUDA = torch.cuda.is_available()


def _work_around_torchvision() -> None:
    """Declares torchvision's missing operators, only if torch is a CPU build and the import fails without them."""
    if torch.version.cuda or importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # half-imported
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )


def _share_the_cores() -> None:
    """Gives each process of this node an equal share of the cores, unless the user has set OMP_NUM_THREADS."""
    if torchrun_chose_threads():
        threads = max(1, len(available_cores()) // int(os.environ["LOCAL_WORLD_SIZE"]))
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)


def inspect_models_in_this_process() -> None:
    """Call this before vLLM loads a model.

    vLLM inspects a model class in a new interpreter, so that the calling process does not initialise CUDA. With a CPU build of
    torch that interpreter fails, because it lacks the operators declared above. Without CUDA the inspection can run in this
    process.
    """
    if HAS_CUDA:
        return
    from vllm.model_executor.models import registry

    assert registry._run_in_subprocess, "this vLLM version inspects models differently"
    registry._run_in_subprocess = lambda inspect: inspect()


def _set_defaults(**variables: str) -> None:
    for name, value in variables.items():
        os.environ.setdefault(name, value)


_set_defaults(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_NO_USAGE_STATS="1",
    DO_NOT_TRACK="1",
    TOKENIZERS_PARALLELISM="false",
    VLLM_LOGGING_LEVEL="ERROR",
    TRL_EXPERIMENTAL_SILENCE="1",  # rollout_func may change with TRL; the pinned version is the one tested
)
if not HAS_CUDA:
    _set_defaults(
        DS_ACCELERATOR="cpu",
        VLLM_CPU_OMP_THREADS_BIND=",".join(map(str, available_cores())),
        VLLM_CPU_NUM_OF_RESERVED_CPU="0",
        VLLM_CPU_KVCACHE_SPACE="1",
    )
_share_the_cores()
_work_around_torchvision()
# vLLM configures its logging with its engine; earlier messages (no Triton on a CPU) would be printed at any level.
logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])
# Logged for every run of these models although the tokenizer's special tokens are right.
logging.getLogger("transformers.trainer_utils").addFilter(
    lambda record: not record.getMessage().startswith("The tokenizer has new PAD/BOS/EOS tokens")
)
# Not useful to a user, and printed at every collective and every data loader.
warnings.filterwarnings("ignore", category=FutureWarning, message=r"`torch\.distributed")
warnings.filterwarnings("ignore", category=UserWarning, message="'pin_memory' argument is set as true")
