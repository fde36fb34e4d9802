"""The only place with prompt strings. The exact strings of the released checkpoints: reproducing them needs every character.

Training   (system message + image and question, the assistant's turn begun with `<think>` and the hint)
Evaluation (no system message; R1-V's protocol: the instruction follows the question)
"""

from typing import Any

# The missing space after the first full stop is the released checkpoints' own.
TRAINING_SYSTEM = (
    "A conversation between User and Assistant.The Assistant outputs the thinking process in <think> </think> "
    "and final answer (number) in <answer> </answer> tags."
)
EVALUATION_USER = (
    "{Question} Output the thinking process in <think> </think> and final answer (number) in <answer> </answer> tags."
)
THINK_OPEN = "<think>"
# Query injection is the paper's ablation; it gives no wording, this one is ours.
QUERY_HINT = "{Question}\nHint: {Hint}"
# How the questions of other benchmarks are put (hint_grpo.evaluation.datasets), where they do not say it themselves.
# The paper gives no wording; this one is ours.
OPTIONS = "{Question}\nOptions:\n{Options}"
ASK_LETTER = "{Question}\nAnswer with the letter of the right option."
ASK_YES_NO = "{Question}\nAnswer with yes or no."

Message = dict[str, Any]


def begun_turn(hint: str) -> str:
    """What the assistant's turn is begun with under answer injection (paper section 3.2): `<think>`, then the hint."""
    return THINK_OPEN + hint


def question_with_hint(question: str, hint: str) -> str:
    """The user's question under query injection; unchanged where there is no hint."""
    return QUERY_HINT.format(Question=question, Hint=hint) if hint else question


def _user_message(text: str, *, with_image: bool) -> Message:
    image: list[Message] = [{"type": "image"}] if with_image else []
    return {"role": "user", "content": [*image, {"type": "text", "text": text}]}


def training_messages(question: str) -> list[Message]:
    """System and user message of a training prompt, with one image placeholder before the question."""
    system = {"role": "system", "content": [{"type": "text", "text": TRAINING_SYSTEM}]}
    return [system, _user_message(question, with_image=True)]


def evaluation_messages(question: str, *, with_image: bool) -> list[Message]:
    """The evaluation message; `with_image=False` is the image-free branch: the same message without its image part."""
    return [_user_message(EVALUATION_USER.replace("{Question}", question), with_image=with_image)]


def last_text(messages: str | list[Message]) -> str:
    """The text of a conversation's last message: a question without its image part, or a completion."""
    content = messages if isinstance(messages, str) else messages[-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")
