#!/usr/bin/env bash
# Hint-GRPO, Qwen2-VL-7B, with M = 3 hint levels as in the paper's tables (PRESET=released: M = 2).
# In the paper: 45.62 % on Geo170K, 46.68 % with calibration (--scale 0.8).
exec "$(dirname "$0")/paper_run.sh" Qwen2-VL-7B-Instruct hint_grpo_qwen2_vl_7b "$@"
