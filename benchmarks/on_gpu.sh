#!/usr/bin/env bash
# What one NVIDIA GPU can show, in stages of at most eight minutes:
#
#   benchmarks/on_gpu.sh [--output_dir DIR] [STAGE ...]        default: output/on_gpu, all stages
#
# Each stage prints a table, which is kept as DIR/STAGE.txt with its raw numbers as DIR/STAGE.json. A stage that is finished is not
# run again, so a second call goes on after an interruption. Without a GPU the stages run with tiny models, to see that they work.
set -uo pipefail
cd "$(dirname "$0")/.."

out=output/on_gpu
if [[ ${1:-} == --output_dir ]]; then
    out=$2
    shift 2
fi
python=${PYTHON:-$([[ -x .venv/bin/python ]] && echo .venv/bin/python || echo python3)}
all=(tests escalation_short escalation_long decoding training zero3 zero3_offload server)
mkdir -p "$out"

if command -v nvidia-smi >/dev/null; then
    size=(--size 3B)
    short=(--prompts 16 --group 4 --median_tokens 48 --max_tokens 192 --steps 3)
    long=(--prompts 4 --group 8 --median_tokens 96 --sigma 0.8 --max_tokens 384 --steps 3)
    decoding=(--questions 16 64 256 --paper_batch_size 256 --max_new_tokens 128 --end_share 0.005)
    training=(--steps 4 --max_tokens 256)
else
    echo "no NVIDIA GPU here: tiny models on the CPU, to see that the stages work; the numbers mean nothing"
    size=(--size small)
    short=(--hidden_size 128 --layers 2 --prompts 4 --median_tokens 8 --max_tokens 16 --steps 1)
    long=("${short[@]}" --sigma 0.8)
    decoding=(--hidden_size 128 --layers 2 --questions 2 4 --max_new_tokens 8)
    training=(--steps 2 --prompts 2 --max_tokens 16)
fi

command_of() {
    local benchmarks=("$python" -u)
    case $1 in
    tests) echo "$python -m pytest -q -m gpu tests -p no:cacheprovider --continue-on-collection-errors" ;;
    escalation_short) echo "${benchmarks[*]} benchmarks/escalation.py ${size[*]} ${short[*]}" ;;
    escalation_long) echo "${benchmarks[*]} benchmarks/escalation.py ${size[*]} ${long[*]}" ;;
    decoding) echo "${benchmarks[*]} benchmarks/calibrated_decoding.py ${size[*]} ${decoding[*]} --methods paper vllm vllm-0 plain --rounds 1" ;;
    training) echo "${benchmarks[*]} benchmarks/training_run.py ${size[*]} ${training[*]}" ;;
    zero3) echo "${benchmarks[*]} benchmarks/training_run.py ${size[*]} ${training[*]} --deepspeed local_scripts/zero3.json" ;;
    zero3_offload) echo "${benchmarks[*]} benchmarks/training_run.py ${size[*]} ${training[*]} --deepspeed local_scripts/zero3_offload.json" ;;
    server) echo "echo skipped: two ranks that train and one GPU that serves need three GPUs" ;;
    *)
        echo "unknown stage $1: one of ${all[*]}" >&2
        exit 2
        ;;
    esac
}

stages=("${@:-${all[@]}}")
for stage in "${stages[@]}"; do command_of "$stage" >/dev/null; done
failed=()
for stage in "${stages[@]}"; do
    if [[ -e $out/$stage.done ]]; then
        echo "== $stage: finished before"
        continue
    fi
    command=$(command_of "$stage")
    [[ $stage == tests || $stage == server ]] || command+=" --json $out/$stage.json"
    echo "== $stage: $command"
    start=$SECONDS
    if timeout 480 $command 2>"$out/$stage.err" | tee "$out/$stage.txt"; then
        touch "$out/$stage.done"
    else
        tail -n 30 "$out/$stage.err"
        failed+=("$stage")
    fi
    echo "== $stage: $((SECONDS - start)) s"
done
if ((${#failed[@]})); then
    echo "failed: ${failed[*]}"
    exit 1
fi
