"""A toy world: small models and data in the real layouts. `python -m hint_grpo.toy DIR` writes it.

tasks      what is asked: pictures, questions, correct reasoning
pictures   draws them
records    the download's record layouts and irregularities
tokenizer  Qwen's special tokens and chat template, a small vocabulary
models     Qwen2.5-VL and Qwen2-VL in miniature
world      writes all of it
lessons    what the warm-up shows a model
warmup     the short supervised training behind `weights/`
measure    how often a model solves the tasks, per hint level and with or without the picture
"""

NUM_TRAIN, NUM_TEST = 320, 60  # what `python -m hint_grpo.toy` writes unless told otherwise
