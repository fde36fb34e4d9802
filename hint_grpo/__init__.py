"""Text-Debiased Hint-GRPO (arXiv 2503.23905): train with adaptive hints, evaluate with text-bias calibration.

Nothing heavy is imported here: `hint_grpo.hints`, `hint_grpo.scoring` and `hint_grpo.data` work without torch or vLLM.
"""

__version__ = "0.1.0"
