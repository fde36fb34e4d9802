"""Why an answer was scored as it was, for people who look at a run: the answer's text and a verdict in words.

It explains a score that has been given and decides nothing. Pure text handling, microseconds per completion.
"""

from typing import NamedTuple

from hint_grpo.scoring.checker import extract_answer
from hint_grpo.scoring.single_value import can_read

RIGHT = "right"
NO_ANSWER = "no <answer>"
NOT_A_VALUE = "not a value"
DIFFERENT = "different"
VERDICTS = (RIGHT, NO_ANSWER, NOT_A_VALUE, DIFFERENT)


class Explanation(NamedTuple):
    """`answer` is the text in the last closed <answer>, None without one; `verdict` one of VERDICTS."""

    answer: str | None
    verdict: str


def explain(completion: str, gold: str, *, correct: bool) -> Explanation:
    """The answer of a completion and why it was scored as `correct` or not, given the ground truth `gold`.

    "not a value": the ground truth is one value and nobody could name one in the answer. "different": the answer can be
    read, or is compared as text, and is another one.
    """
    answer = extract_answer(completion)
    if correct:
        return Explanation(answer, RIGHT)
    if answer is None:
        return Explanation(None, NO_ANSWER)
    return Explanation(answer, NOT_A_VALUE if can_read(gold) and not can_read(answer) else DIFFERENT)
