#!/usr/bin/env bash
# Hint-GRPO, Qwen2-VL-7B: 45.62 on Geo170K in the paper (46.68 with calibration, --scale 0.8). M = 3 as in its
# tables; PRESET=released: M = 2.
exec "$(dirname "$0")/paper_run.sh" Qwen2-VL-7B-Instruct hint_grpo_qwen2_vl_7b "$@"
