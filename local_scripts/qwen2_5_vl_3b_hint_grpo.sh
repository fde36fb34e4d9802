#!/usr/bin/env bash
# Hint-GRPO, Qwen2.5-VL-3B, with M = 3 hint levels as in the paper's tables (PRESET=released: M = 2).
exec "$(dirname "$0")/paper_run.sh" Qwen2.5-VL-3B-Instruct hint_grpo_qwen2_5_vl_3b "$@"
