#!/usr/bin/env bash
# The settings that all runs of the paper share, for 8 GPUs: 7 train under ZeRO-3, 1 serves vLLM.
# Called by the run scripts in this folder: paper_run.sh MODEL_FOLDER RUN_NAME [flags of train_model.py]
#
# Environment variables:
#   DATA            folder of LLaVA-CoT-100k
#   MODELS          folder with the downloaded models
#   OUT             folder for the runs (default: output)
#   PRESET          whose settings: default, paper or released (docs/faithfulness.md); if set, the run's folder is RUN_NAME_PRESET
#   GPUS_TO_TRAIN   training processes (default: 7)
#   DEEPSPEED       DeepSpeed configuration (default: local_scripts/zero3.json, which keeps the optimizer on the GPUs, where 7 or
#                   more processes train on GPUs of 70 GB or more; otherwise local_scripts/zero3_offload.json, the published one;
#                   docs/performance.md, Memory)
#   PORT            of torchrun (default: 7001)
#   ATTENTION       attention implementation (default: flash_attention_2)
#
# Rerunning a script resumes its run. CPU threads, which the optimizer of ZeRO offload needs: train_model.py gives each process
# its share of the cores unless OMP_NUM_THREADS is set (torchrun alone would set one thread).
set -euo pipefail
cd "$(dirname "$0")/.."
model=$1 run=$2
shift 2
: "${DATA:?set DATA to the folder of LLaVA-CoT-100k}" "${MODELS:?set MODELS to the folder that contains $model}"

# The memory of the smallest GPU in MiB; 0 without nvidia-smi.
smallest=$({ nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits 2>/dev/null || true; } | sort -n | sed -n 1p)
configuration=local_scripts/zero3_offload.json
if [[ ${smallest:-0} =~ ^[0-9]+$ && ${smallest:-0} -ge 70000 && ${GPUS_TO_TRAIN:-7} -ge 7 ]]; then
    configuration=local_scripts/zero3.json
fi

exec torchrun --nproc_per_node="${GPUS_TO_TRAIN:-7}" --nnodes 1 --node_rank 0 \
    --master-addr localhost --master-port "${PORT:-7001}" --shutdown-timeout 300 train_model.py \
    --preset "${PRESET:-default}" --deepspeed "${DEEPSPEED:-$configuration}" --model_name_or_path "$MODELS/$model" \
    --data_path "$DATA" --dataset_name LLaVA-CoT-100k \
    --max_prompt_length 8192 --max_completion_length 768 --per_device_train_batch_size 1 \
    --gradient_accumulation_steps 1 --num_generations 4 --logging_steps 1 \
    --bf16 --torch_dtype bfloat16 --gradient_checkpointing true \
    --attn_implementation "${ATTENTION:-flash_attention_2}" --max_pixels 2359296 \
    --num_train_epochs 2 --eval_strategy no --reward_funcs accuracy \
    --use_vllm true --vllm_gpu_memory_utilization 0.6 --save_steps 500 --save_total_limit 3 \
    --resume_from_checkpoint true --output_dir "${OUT:-output}/$run${PRESET:+_$PRESET}" "$@"
