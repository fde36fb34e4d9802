"""Where the answer stands in a completion: the think and answer tags. Pure text handling, linear in its length.

One completion, as a model writes it after the begun `<think>`:

    Since AB is parallel to CD, angle 2 = 180 - 115 = 65.</think>
    <answer>65°</answer>
"""

import re

from hint_grpo.prompts import THINK_OPEN

_TAG = re.compile(r"<(/?)(think|answer)\s*>", re.IGNORECASE)
_BODY = r"(?:(?!</?(?:think|answer)>).)*"
_TURN = re.compile(rf"\s*<think>(?P<think>{_BODY})</think>\s*<answer>(?P<answer>{_BODY})</answer>\s*", re.DOTALL)


def extract_answer(completion: str) -> str | None:
    """The text of the last closed `<answer>` outside the thinking; None where there is none or it is blank.

    A completion may continue a begun `<think>`, so a `</think>` without an opening closes the turn's beginning.
    A `<think>` that is never closed holds nothing back: an `<answer>` that opens inside it ends the thinking.
    A closed `<answer>` counts with all that it encloses: `<answer><answer>65</answer>115</answer>` says 65 and 115.
    """
    think_start: int | None = _begun(completion)
    opened: list[int] = []
    answers: list[tuple[int, int]] = []
    for tag in _TAG.finditer(completion):
        closing, name = tag[1] == "/", tag[2].lower()
        if name == "answer" and not closing:
            opened.append(tag.end())
        elif name == "answer" and opened:
            start = opened.pop()
            _drop_from(answers, start)  # the blocks inside this one
            answers.append((start, tag.start()))
        elif name == "think" and not closing and think_start is None:
            think_start = tag.start()
        elif name == "think" and closing and think_start is not None:
            _drop_from(answers, think_start)
            opened.clear()
            think_start = None
    if not answers:
        return None
    start, end = answers[-1]
    return _TAG.sub("\n", completion[start:end]).strip() or None


def _drop_from(answers: list[tuple[int, int]], start: int) -> None:
    """Drops the answers that begin at `start` or later; each is dropped once, so linear in all."""
    while answers and answers[-1][0] >= start:
        answers.pop()


def _begun(completion: str) -> int | None:
    """0 where the first think tag is a closing one: the thinking was begun before the completion."""
    for tag in _TAG.finditer(completion):
        if tag[2].lower() == "think":
            return 0 if tag[1] else None
    return None


def is_well_formatted(completion: str, begun: str = THINK_OPEN) -> bool:
    """Whether the whole turn, what it was begun with included, is one `<think>...</think><answer>...</answer>`.

    White space may stand around the two blocks; neither may be blank, and no tag may stand inside them.
    """
    turn = _TURN.fullmatch(begun + completion)
    return turn is not None and bool(turn["think"].strip()) and bool(turn["answer"].strip())
