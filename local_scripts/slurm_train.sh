#!/usr/bin/env bash
# Training on several nodes under SLURM: the first node serves vLLM with tensor and data parallelism, the others train.
#
#     DATA=... MODELS=... sbatch --nodes 3 local_scripts/slurm_train.sh Qwen2-VL-7B-Instruct hint_grpo_3_nodes
#
# Environment variables: DATA, MODELS, OUT and PRESET as in paper_run.sh; TENSOR_PARALLEL (default: 2) of the 8 vLLM GPUs.
#
# Ten minutes before its time limit the job gets SIGUSR1 and passes it on to the training processes, which save a checkpoint and
# end. Submit the same line again to resume.
#SBATCH --job-name=hint-grpo
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@600
#SBATCH --open-mode=append
set -euo pipefail
model=$1 run=$2
shift 2
: "${DATA:?set DATA to the folder of LLaVA-CoT-100k}" "${MODELS:?set MODELS to the folder that contains $model}"
cd "${SLURM_SUBMIT_DIR:?submit this script with sbatch from the project folder}"

nodes=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
server=${nodes[0]} first=${nodes[1]}
num_training=$((${#nodes[@]} - 1))
tensor_parallel=${TENSOR_PARALLEL:-2}

# Every node of the cluster can reach the server, so it requires this token, which srun passes on in the environment.
export HINT_GRPO_SERVER_TOKEN=${HINT_GRPO_SERVER_TOKEN:-$(.venv/bin/python -c 'import secrets; print(secrets.token_hex(32))')}
export SLURM_EXPORT_ENV=ALL

# The vLLM server, on the first node.
srun --nodes 1 --ntasks 1 --nodelist "$server" \
    .venv/bin/python -m hint_grpo.rollout.serve "$MODELS/$model" --host 0.0.0.0 --port 8000 --dtype bfloat16 \
    --tensor-parallel-size "$tensor_parallel" --data-parallel-size $((8 / tensor_parallel)) \
    --max-model-len 9504 --mm-processor-kwargs '{"max_pixels": 2359296}' &
serving=$!

# Training, on the other nodes.
srun --nodes "$num_training" --ntasks "$num_training" --nodelist "$(IFS=,; echo "${nodes[*]:1}")" \
    bash -c '.venv/bin/torchrun --nproc_per_node 8 --nnodes '"$num_training"' --node_rank "$SLURM_PROCID" \
        --rdzv_backend c10d --rdzv_id "$SLURM_JOB_ID" --rdzv_endpoint '"$first"':29500 \
        --shutdown-timeout 540 train_model.py "$@"' _ \
    --preset "${PRESET:-default}" --deepspeed local_scripts/zero3.json --model_name_or_path "$MODELS/$model" \
    --data_path "$DATA" --dataset_name LLaVA-CoT-100k --max_prompt_length 8192 --max_completion_length 768 \
    --per_device_train_batch_size 1 --num_generations 4 --bf16 --torch_dtype bfloat16 --gradient_checkpointing true \
    --attn_implementation flash_attention_2 --max_pixels 2359296 --num_train_epochs 2 --reward_funcs accuracy \
    --use_vllm true --vllm_mode server --vllm_server_base_url "http://$server:8000" \
    --save_steps 500 --save_total_limit 3 --resume_from_checkpoint true --output_dir "${OUT:-output}/$run${PRESET:+_$PRESET}" "$@" &
training=$!

# SIGUSR1 goes to the training processes only, because it would kill srun and torchrun.
trap 'srun --overlap --nodes "$num_training" --ntasks "$num_training" --nodelist "$(IFS=,; echo "${nodes[*]:1}")" \
    pkill -USR1 -f "python[0-9.]* -u train_model.py"' USR1
# A signal interrupts `wait`: wait again while the training runs.
until wait "$training"; do kill -0 "$training" 2> /dev/null || exit 1; done
kill "$serving"
