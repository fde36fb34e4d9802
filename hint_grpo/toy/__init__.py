"""A toy world: small models and data in the real layouts. `python -m hint_grpo.toy DIR` writes it.

In the order of the data flow:

tasks      sets of tasks: pictures to draw, questions, correct reasoning in steps
records    tasks as records of the real downloads, with the downloads' irregularities
models     Qwen2.5-VL and Qwen2-VL in miniature, with tokenizer, chat template and processor
world      writes models and data; the entry point for code (`build_world`)
warmup     the supervised training behind the shipped `weights/`
measure    how often a model solves a set of tasks, per hint level and with or without the picture
"""

NUM_TRAIN, NUM_TEST = 320, 60  # defaults of `python -m hint_grpo.toy`: training records, test questions
