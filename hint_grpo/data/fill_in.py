"""A question and its answer as one that is answered by a value: shared by both readers of training data."""

import re
from dataclasses import dataclass
from typing import Any

from hint_grpo.data.answers import conclusion_value, has_number, option_letter
from hint_grpo.data.samples import Filter, Refused
from hint_grpo.scoring.option_letters import LETTERS, MAX_UNLISTED, RAW_CLOSE, RAW_OPEN, UNLISTED

# ----------------------------------------------------------------------------------------------------
# Multiple choice becomes fill-in-the-blank: the options leave the question.
#
#     "... then angle C is ()\nA. 30°\nB. 45°\nAnswer with the option's letter from the given choices directly."
#     -> "... then angle C is ()"   and   {"A": "30°", "B": "45°"}
#
# Letters also name points: "AB touches circle A. B lies ..." holds no options. A list of options is a run of markers that
# begins at A, misses no letter, and leaves no option empty; the more easily a style is mistaken, the longer the run must
# be.

LONGEST_INLINE_OPTION = 60


@dataclass(frozen=True)
class Style:
    """A way to write option markers: its pattern, and the shortest run that is believed."""

    marker: re.Pattern[str]
    shortest: int
    inline: bool


# Chinese records write the full-width forms of ( ) . : , ; which stand below as \uff08 and so on.
# The order is the order of trust. A colon marks options at a line's start only: "angle A: angle B: angle C = 1:2:3".
STYLES = (
    Style(
        re.compile(rf"^[ \t]*\**({UNLISTED})\**\s?[.)\uff0e、:\uff1a](?![A-Za-z]\.)[ \t]*", re.MULTILINE),
        2,
        inline=False,
    ),
    Style(re.compile(rf"(?<![A-Za-z0-9∠△⊙]){RAW_OPEN}\s?({UNLISTED})\s?{RAW_CLOSE}[.:\uff1a、]?\s*"), 2, inline=True),
    Style(
        re.compile(rf"(?:(?<=[\s,;)\uff0c\uff1b\uff09。])|^)({UNLISTED})(?:[.)](?=[\s\d\\$√π-])|[\uff0e、])\s*"),
        3,
        inline=True,
    ),
)
HEADER = re.compile(
    r"\s*\**(?:the\s+)?(?:answer\s+)?(?:options|choices|选项)(?:\s+are)?\s*\**\s*[:\uff1a]?\**\s*$", re.IGNORECASE
)
TRIMMINGS = re.compile(r"^[\s*,;\uff0c\uff1b]+|[\s*,;.\uff0c\uff1b。]+$")  # around an option's text
# What asks for a letter makes no sense once the options are gone.
ASKS_FOR_LETTER = re.compile(
    r"(?:please\s+)?(?:directly\s+)?\b(?:answer|respond|reply|choose|select|pick|provide|give|output|return)\b"
    r"[^.?!\n]{0,200}\b(?:letters?|options?|choices?)\b[^.?!\n]{0,200}[.!]?|请[^。\n]{0,200}选项[^。\n]{0,200}[。.]?",
    re.IGNORECASE,
)

INSTRUCTION = re.compile(r"\s*\**(?:hint|note|instructions?)\**\s*[:\uff1a]", re.IGNORECASE)
QUESTION_LABEL = re.compile(r"\s*\**\bquestion\**\s*[:\uff1a]\**\s*", re.IGNORECASE)

# "A."s tried as the beginning of the options, from the end of a question; each is a walk through the rest.
MOST_RUNS = 8


def split_options(question: str) -> tuple[str, dict[str, str]]:
    """The question without its options, and the options by letter; the question as it was and {} where it has none."""
    body = _without_request(question)
    for text in dict.fromkeys((_without_leading_request(body), body)):
        for style in STYLES:
            run = _run_of_options(text, style)
            if run:
                stem = HEADER.sub("", text[: run[0].start()]).rstrip()
                options, rest = _option_texts(text, run, style)
                if stem and options:
                    return "\n".join(part for part in (stem, rest) if part), options
    return question, {}


def _without_request(question: str) -> str:
    """The question without a closing line or sentence that asks for a letter."""
    question = question.rstrip()
    last_line = question.rfind("\n") + 1
    for match in ASKS_FOR_LETTER.finditer(question, last_line):
        if match.end() == len(question):
            return question[: match.start()].rstrip()
    return question


def _without_leading_request(question: str) -> str:
    """The question without "Hint: ... provide the correct option letter ..." or the like before it."""
    label = QUESTION_LABEL.search(question)
    first, newline, rest = question.partition("\n")
    if not newline and label:
        first, rest = question[: label.start()], question[label.start() :]
    asks = ASKS_FOR_LETTER.search(first) if INSTRUCTION.match(first) else ASKS_FOR_LETTER.fullmatch(first.strip())
    if not asks or not rest.strip():
        return question
    label = QUESTION_LABEL.match(rest)
    return rest[label.end() if label else 0 :].lstrip()


def _run_of_options(text: str, style: Style) -> list[re.Match[str]]:
    """The last run of markers A, B, C, ... with a text behind each; [] where there is none."""
    markers = list(style.marker.finditer(text))
    for start in [i for i, marker in enumerate(markers) if marker[1] == "A"][: -MOST_RUNS - 1 : -1]:
        run = [markers[start]]
        for marker in markers[start + 1 :]:
            if marker[1] == LETTERS[len(run) % MAX_UNLISTED] and text[run[-1].end() : marker.start()].strip():
                run.append(marker)
        if len(run) >= style.shortest and text[run[-1].end() :].strip():
            return run
    return []


def _option_texts(text: str, run: list[re.Match[str]], style: Style) -> tuple[dict[str, str], str]:
    """The options' texts, and what stands behind the last one's line; ({}, "") where they cannot be options."""
    ends = [marker.start() for marker in run[1:]] + [len(text)]
    texts = [text[marker.end() : end] for marker, end in zip(run, ends, strict=True)]
    texts[-1], _, rest = texts[-1].strip().partition("\n")
    texts = [TRIMMINGS.sub("", " ".join(option.split())) for option in texts]
    if not all(texts) or (
        style.inline and any("?" in option or len(option) > LONGEST_INLINE_OPTION for option in texts)
    ):
        return {}, ""
    return {marker[1]: option for marker, option in zip(run, texts, strict=True)}, rest.strip()


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
