"""The answer checker of training and evaluation, and the rewards built on it. Light to import: no torch, no sympy.

    score(completion, gold, protocol="strict")   1.0 if the answer is right, else 0.0; the protocols are in `checker.py`
    extract_answer(completion)                   the text in the last closed <answer>
    is_well_formatted(completion, begun)         whether the turn is one <think>...</think>, then one <answer>...</answer>
    can_read(gold)                               whether `strict` can read a ground truth as a value
    stats(), reset_stats()                       counts of time-outs and failures in this process

The path of an answer under `strict`; the ground truth is read in the same way, from `markup.py` on:

    completion           "... so angle 2 = 65.</think><answer>B. $x = 60 + 5 = 65^\\circ$</answer>"
      checker.py         the text of the answer                            "B. $x = 60 + 5 = 65^\\circ$"
      markup.py          LaTeX, Markdown and HTML as plain text            "B. x = 60 + 5 = 65°"
      single_value.py    labels, working and remarks removed               "x = 60 + 5 = 65°"
                         clauses, then the links of "="                    "60 + 5", "65°"
      expressions.py     one link as a `Value` with its unit (vocabulary.py)    65, and 65 degrees
      checker.py         equal to the ground truth's value?                plain numbers are compared here,
      pool.py            all else in a worker process                      with limits on time and memory:
      worker.py            the process itself
      symbolic.py          math_verify and sympy, called by the worker     is 2√3 equal to √12?

Ground truths of another kind leave this path after `markup.py`: several values, points and intervals (several_values.py),
formulas (several_values.py), option letters, yes and no (choices.py). `vocabulary.py` holds the words that all readers
watch for, such as "not", "more than" and "because". The protocols `paper` and `released` skip all reading: `checker.py` sends the
whole completion to the worker. `explanation.py` says in
words why an answer was scored as it was. `rewards.py` makes TRL reward functions of `score` and `is_well_formatted`.
"""

from hint_grpo.scoring.checker import PROTOCOLS, extract_answer, is_well_formatted, score
from hint_grpo.scoring.pool import reset_stats, stats
from hint_grpo.scoring.single_value import can_read

__all__ = ["PROTOCOLS", "can_read", "extract_answer", "is_well_formatted", "reset_stats", "score", "stats"]
