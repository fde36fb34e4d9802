#!/usr/bin/env bash
# Plain GRPO, Qwen2-VL-7B: 38.46 on Geo170K in the paper.
exec "$(dirname "$0")/paper_run.sh" Qwen2-VL-7B-Instruct grpo_qwen2_vl_7b --hint_policy none "$@"
