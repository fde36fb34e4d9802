"""Finds the answer of a completion: the think and answer tags. The first step of `strict`; linear in the text's length.

One completion, as a model writes it after the `<think>` with which its turn begins:

    Since AB is parallel to CD, angle 2 = 180 - 115 = 65.</think>
    <answer>65°</answer>
"""

import re

from hint_grpo.prompts import THINK_OPEN

_TAG = re.compile(r"<(/?)(think|answer)\s*>", re.IGNORECASE)  # "</Think >" too
# A well-formed turn: text without tags, in two blocks.
_BODY = r"(?:(?!</?(?:think|answer)>).)*"
_TURN = re.compile(rf"\s*<think>(?P<think>{_BODY})</think>\s*<answer>(?P<answer>{_BODY})</answer>\s*", re.DOTALL)


def extract_answer(completion: str) -> str | None:
    """The text of the last closed `<answer>` outside the thinking; None if there is none, or if it is blank.

    A completion may continue a `<think>` of its prompt, so a `</think>` without an opening tag closes thinking that
    began before the completion. If a `<think>` is never closed, an `<answer>` inside it still counts.
    A closed `<answer>` includes any nested ones: `<answer><answer>65</answer>115</answer>` gives both numbers.

        extract_answer("so 65.</think><answer> 65° </answer>")    "65°"
        extract_answer("<think>so it is 65")                      None
    """
    think_start: int | None = _start_of_unopened_thinking(completion)
    opened: list[int] = []  # starts of the answers that are still open
    answers: list[tuple[int, int]] = []  # (start, end) of the closed ones
    for tag in _TAG.finditer(completion):
        closing, name = tag[1] == "/", tag[2].lower()
        if name == "answer" and not closing:
            opened.append(tag.end())
        elif name == "answer" and opened:
            start = opened.pop()
            _drop_from(answers, start)  # the blocks nested in this one
            answers.append((start, tag.start()))
        elif name == "think" and not closing and think_start is None:
            think_start = tag.start()
        elif name == "think" and closing and think_start is not None:
            # All that stood in the thinking is discarded, open answers too.
            _drop_from(answers, think_start)
            opened.clear()
            think_start = None
    if not answers:
        return None
    start, end = answers[-1]
    return _TAG.sub("\n", completion[start:end]).strip() or None


def _drop_from(answers: list[tuple[int, int]], start: int) -> None:
    """Drops the answers that begin at `start` or later. Each is dropped once, so the total is linear."""
    while answers and answers[-1][0] >= start:
        answers.pop()


def _start_of_unopened_thinking(completion: str) -> int | None:
    """0 if the first think tag is a closing one: the thinking began before the completion."""
    for tag in _TAG.finditer(completion):
        if tag[2].lower() == "think":
            return 0 if tag[1] else None
    return None


def is_well_formatted(completion: str, begun: str = THINK_OPEN) -> bool:
    """Whether the whole turn, `begun` + `completion`, is one `<think>...</think><answer>...</answer>`.

    `begun` is the text with which the prompt begins the turn. White space around the two blocks is allowed; neither
    block may be blank or contain a tag.
    """
    turn = _TURN.fullmatch(begun + completion)
    return turn is not None and bool(turn["think"].strip()) and bool(turn["answer"].strip())
