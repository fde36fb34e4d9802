"""The data rules of the authors' released code (`--data_rules released`, `--step_rules released`), quirks included.

    question    "Area of circle A. Choose.\\nA. 4π\\nB. 6π"   conclusion  "The answer is B."
    -> question "Area of circle "   solution "6π"                    (it is cut at the first "A." to "D.")

    reasoning   "We look. Step 1: A is 30°. Step 2: By Step 1, B is 45°."
    -> steps    "A is 30°."  "By"  ", B is 45°."                     (text before the first mark is lost, and so are marks)

A record that ends their run with an exception is left out here, under a filter with a name.
"""

import re

from hint_grpo.data.filters import Filter, Refused
from hint_grpo.scoring.checker import is_latex

CONCLUSION = re.compile(r"<CONCLUSION>(.*?)</CONCLUSION>", re.DOTALL)
STEP_MARK = re.compile(r"Step \d+")
OPTION_MARK = re.compile(r"[A-D]\.")
OPTION = re.compile(r"([A-D])\.\s*(\S.*?)(?=[A-D]\.|\Z)", re.DOTALL)
LETTER = re.compile(r"[A-D]")
NUMBER = re.compile(r"\d")


def released_steps(reasoning: str) -> tuple[str, ...]:
    """What stands behind each "Step k", wherever it stands in a sentence; () for a reasoning without such a mark."""
    return tuple(piece.strip(" :\n") for piece in STEP_MARK.split(reasoning)[1:])


def released_conclusion(answer: str) -> str | None:
    """What stands in <CONCLUSION>, white space included; None without a closed one."""
    found = CONCLUSION.search(answer)
    return found[1] if found else None


def released_fill_in(question: str, conclusion: str, *, keep_multiple_choice: bool = False) -> tuple[str, str]:
    """(question, solution) from the texts as they stand in the file, white space included. Raises Refused.

    A conclusion with exactly one capital among A to D names that option; any other one is the solution as it is.
    `keep_multiple_choice` is not in their code: question and letter stay, and the same samples are left out.
    """
    options = dict(OPTION.findall(question))
    letters = LETTER.findall(conclusion)
    solution = conclusion
    if len(letters) == 1:
        if letters[0] not in options:
            raise Refused(Filter.RELEASED_CODE_FAILS)
        solution = options[letters[0]].strip()
    if not NUMBER.search(solution) and not is_latex(solution):
        raise Refused(Filter.NO_NUMBER)
    if keep_multiple_choice and len(letters) == 1:
        return question, letters[0]
    return (OPTION_MARK.split(question)[0] if options and not keep_multiple_choice else question), solution
