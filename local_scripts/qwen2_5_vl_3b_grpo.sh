#!/usr/bin/env bash
# Plain GRPO, Qwen2.5-VL-3B.
exec "$(dirname "$0")/paper_run.sh" Qwen2.5-VL-3B-Instruct grpo_qwen2_5_vl_3b --hint_policy none "$@"
