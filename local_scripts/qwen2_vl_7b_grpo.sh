#!/usr/bin/env bash
# Plain GRPO, Qwen2-VL-7B. In the paper: 38.46 % on Geo170K.
exec "$(dirname "$0")/paper_run.sh" Qwen2-VL-7B-Instruct grpo_qwen2_vl_7b --hint_policy none "$@"
