"""All prompt strings, and the messages made of them.

    training     system message, image and question; the assistant's turn begins with `<think>` and the hint
    evaluation   image and question, then the instruction, without a system message (R1-V's protocol)

The strings are those of the released checkpoints, character by character: reproducing their results depends on it.
"""

from typing import Any

# The missing space after the first full stop is in the released checkpoints' prompt.
TRAINING_SYSTEM = (
    "A conversation between User and Assistant.The Assistant outputs the thinking process in <think> </think> "
    "and final answer (number) in <answer> </answer> tags."
)
EVALUATION_USER = (
    "{Question} Output the thinking process in <think> </think> and final answer (number) in <answer> </answer> tags."
)
THINK_OPEN = "<think>"
# For query injection, an ablation of the paper, which does not give the wording; this one is ours.
QUERY_HINT = "{Question}\nHint: {Hint}"
# For questions of other benchmarks (hint_grpo.evaluation.datasets) that do not list their options or ask for the form of
# the answer themselves. The paper does not give the wording; this one is ours.
OPTIONS = "{Question}\nOptions:\n{Options}"
ASK_LETTER = "{Question}\nAnswer with the letter of the right option."
ASK_YES_NO = "{Question}\nAnswer with yes or no."

Message = dict[str, Any]
"""A chat message as chat templates expect it: {"role": .., "content": parts or a text}."""


def begun_turn(hint: str) -> str:
    """The beginning of the assistant's turn under answer injection (paper section 3.2): `<think>`, then the hint."""
    return THINK_OPEN + hint


def question_with_hint(question: str, hint: str) -> str:
    """The user's question under query injection; unchanged if the hint is empty."""
    return QUERY_HINT.format(Question=question, Hint=hint) if hint else question


def _user_message(text: str, *, with_image: bool) -> Message:
    image: list[Message] = [{"type": "image"}] if with_image else []
    return {"role": "user", "content": [*image, {"type": "text", "text": text}]}


def training_messages(question: str) -> list[Message]:
    """System and user message of a training prompt, with one image placeholder before the question."""
    system = {"role": "system", "content": [{"type": "text", "text": TRAINING_SYSTEM}]}
    return [system, _user_message(question, with_image=True)]


def evaluation_messages(question: str, *, with_image: bool) -> list[Message]:
    """The evaluation message; `with_image=False` (the image-free branch of calibration) leaves out the image part."""
    # Not .format: questions may hold braces.
    return [_user_message(EVALUATION_USER.replace("{Question}", question), with_image=with_image)]
