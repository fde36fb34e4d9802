"""A toy world: small models and data in the real layouts. `python -m hint_grpo.toy DIR` writes it.

tasks     what is asked: pictures, questions, correct reasoning       pictures   draws them
records   the download's record layouts and irregularities            tokenizer  Qwen's special tokens, a small vocabulary
models    Qwen2.5-VL and Qwen2-VL in miniature                        world      writes all of it
warmup    the short supervised training behind `weights/`             measure    solve rates per hint level
"""
