# The CUDA stack of requirements.txt in an image.
#
#   docker build -t hint-grpo .
#   docker run --gpus all --ipc host -v /PATH/TO/DATA:/data -v "$PWD/output":/opt/hint-grpo/output hint-grpo \
#       python train_model.py --help
#
# The wheels are CUDA 13 builds: the host needs NVIDIA driver R580 or newer. flash-attn is not included: it is compiled
# against the installed torch (`pip install flash-attn --no-build-isolation`, with CUDA's compiler in the image).
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04

# Triton compiles kernels at run time: it needs a C compiler and Python's headers.
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-dev python3-venv gcc g++ git make \
    && rm -rf /var/lib/apt/lists/*

ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /opt/hint-grpo
COPY requirements.txt requirements-common.txt ./
RUN python3 -m venv "$VIRTUAL_ENV" && pip install --no-cache-dir -r requirements.txt

COPY . .
RUN pip install --no-cache-dir --no-deps .
CMD ["python", "train_model.py", "--help"]
