"""What the authors' released code counts as right, in training (`--scorer released`).

    accuracy   1 if math_verify finds verify(parse(completion), parse(solution)); else 1 if the text in the completion's
               first <answer> equals the solution's; else 0
    format     1 if the completion alone is <think>..</think>, then <answer>..</answer>. A turn is begun with `<think>`
               outside of the completion, so only a second `<think>` earns it.

Their evaluation gives the first half of `accuracy`. The paper's protocol (`checker.py`) asks verify in the other order.
math_verify itself runs in the checker's workers; the text work here is theirs to the letter, quirks included.
"""

import re

_FIRST_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FORMAT = re.compile(r"<think>.*</think>\s*<answer>.*</answer>", re.DOTALL)


def same_answer_text(completion: str, solution: str) -> bool:
    """Whether both say the same, character by character, in their first `<answer>` (or, without one, in all)."""
    return _answer_text(completion) == _answer_text(solution)


def has_released_format(completion: str) -> bool:
    """Whether the completion alone, without the begun `<think>`, has both blocks; it may hold anything inside them."""
    return _FORMAT.fullmatch(completion) is not None


def _answer_text(text: str) -> str:
    found = _FIRST_ANSWER.search(text)
    return (found[1] if found else text).strip()
