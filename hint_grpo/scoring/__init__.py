"""The answer checker of training and evaluation, and the rewards built on it. Light to import: no torch, no sympy.

score(completion, gold, protocol="strict")   1.0 or 0.0; see `checker.py` for the protocols
extract_answer(completion)                   what stands in the last closed <answer>
is_well_formatted(completion, begun)         one <think>...</think>, then one <answer>...</answer>
can_read(gold)                               whether `strict` can read a ground truth as a value
stats(), reset_stats()                       time-outs and failures so far in this process
"""

from hint_grpo.scoring.answer_tags import extract_answer, is_well_formatted
from hint_grpo.scoring.checker import PROTOCOLS, score
from hint_grpo.scoring.pool import reset_stats, stats
from hint_grpo.scoring.reading import can_read

__all__ = ["PROTOCOLS", "can_read", "extract_answer", "is_well_formatted", "reset_stats", "score", "stats"]
