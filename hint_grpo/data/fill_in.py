"""A question and its answer as one that is answered by a value: shared by both readers of training data."""

import re
from typing import Any

from hint_grpo.data.answers import conclusion_value, option_letter
from hint_grpo.data.filters import Filter, Refused
from hint_grpo.data.multiple_choice import split_options
from hint_grpo.data.value_text import has_number

IMAGE_TAG = re.compile(r"\s{0,9}<\s?(?:image|video|ImageHere)\s?/?>\s{0,9}", re.IGNORECASE)
# "<|image_pad|>" in a text would be read as an image that is not there, and stop the run in the model's forward pass.
SPECIAL_TOKEN = re.compile(r"<\|[\w ]{1,40}\|>")


def clean_question(question: str) -> str:
    """The question without `<image>` tags: the prompt places the image itself."""
    return (IMAGE_TAG.sub("\n", question) if "<" in question else question).strip()


def one_image(image: Any) -> Any:
    """A record's image; of a list of one, that one. Raises Refused for several: the method trains on one."""
    if isinstance(image, list) and len(image) > 1:
        raise Refused(Filter.SEVERAL_IMAGES)
    return image[0] if isinstance(image, list) and image else image


def refuse_special_tokens(*texts: str) -> None:
    """Raises Refused where a text would be tokenised as something else than text."""
    if any("<|" in text and SPECIAL_TOKEN.search(text) for text in texts):
        raise Refused(Filter.SPECIAL_TOKEN)


def fill_in(question: str, answer: str, *, keep_multiple_choice: bool) -> tuple[str, str | None]:
    """(question, value): options leave the question, a letter becomes its option's text; value None: `answer` is no
    letter.

    Under `keep_multiple_choice` (the paper's ablation) question and letter stay; what is checked is the same, so that
    both sides of the ablation train on the same samples. Raises Refused.
    """
    stem, options = split_options(question)
    named = option_letter(answer)
    if named is None:
        return (question if keep_multiple_choice else stem), None
    letter, text = named
    if letter not in options and not text:
        raise Refused(Filter.LETTER_WITHOUT_OPTIONS)
    value = options[letter] if letter in options else conclusion_value(text)
    if not has_number(value):
        raise Refused(Filter.NO_NUMBER)
    if keep_multiple_choice and letter in options:
        return question, letter
    return stem, value
