"""Turns a multiple-choice question into a fill-in-the-blank question, which is answered by a value.

    "... then angle C is ()\\nA. 30°\\nB. 45°\\nAnswer with the option's letter."   and   "The answer is B."
    -> "... then angle C is ()"   and   "45°"

Both readers of training records (llava_cot.py, own_records.py) call `fill_in`; the letter patterns are shared with
scoring and evaluation (hint_grpo.scoring.vocabulary).
"""

import re
from dataclasses import dataclass
from typing import Any

from hint_grpo.data.answers import LONGEST_CONCLUSION, boxed, conclusion_value, has_number, tidy
from hint_grpo.data.samples import Filter, Refused
from hint_grpo.scoring.vocabulary import LETTERS, MAX_UNLISTED, RAW_CLOSE, RAW_OPEN, UNLISTED


def fill_in(question: str, answer: str, *, keep_multiple_choice: bool) -> tuple[str, str | None]:
    """(question without its options, value): a letter in `answer` becomes its option's text; None if it names no option.

    With `keep_multiple_choice` (the paper's ablation) question and letter stay; the same samples are refused, so that both
    sides of the ablation train on the same ones. Raises Refused.
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


# ----------------------------------------------------------------------------------------------------
# The options of a question.
#
#     "... then angle C is ()\nA. 30°\nB. 45°\nAnswer with the option's letter from the given choices directly."
#     -> "... then angle C is ()"   and   {"A": "30°", "B": "45°"}
#
# Letters also name points: "AB touches circle A. B lies ..." holds no options. A list of options is a run of markers that
# begins at A, skips no letter and has a text after each. The easier a style of marker is to mistake for something else,
# the longer the run must be.

LONGEST_INLINE_OPTION = 60
"""Characters; a longer text between two markers in one line is part of the question."""


@dataclass(frozen=True)
class MarkerStyle:
    """A way to write option markers: the pattern, the shortest run accepted, and whether options may share a line."""

    marker: re.Pattern[str]
    shortest: int
    inline: bool


# Chinese records use the full-width forms of ( ) . : , ; which are written \uff08 and so on below.
# The most reliable style comes first. A colon marks an option only at the start of a line, because of
# "angle A: angle B: angle C = 1:2:3".
MARKER_STYLES = (
    MarkerStyle(
        re.compile(rf"^[ \t]*\**({UNLISTED})\**\s?[.)\uff0e、:\uff1a](?![A-Za-z]\.)[ \t]*", re.MULTILINE),
        2,
        inline=False,
    ),
    MarkerStyle(
        re.compile(rf"(?<![A-Za-z0-9∠△⊙]){RAW_OPEN}\s?({UNLISTED})\s?{RAW_CLOSE}[.:\uff1a、]?\s*"), 2, inline=True
    ),
    MarkerStyle(
        re.compile(rf"(?:(?<=[\s,;)\uff0c\uff1b\uff09。])|^)({UNLISTED})(?:[.)](?=[\s\d\\$√π-])|[\uff0e、])\s*"),
        3,
        inline=True,
    ),
)
HEADER = re.compile(
    r"\s*\**(?:the\s+)?(?:answer\s+)?(?:options|choices|选项)(?:\s+are)?\s*\**\s*[:\uff1a]?\**\s*$", re.IGNORECASE
)
TRIMMINGS = re.compile(r"^[\s*,;\uff0c\uff1b]+|[\s*,;.\uff0c\uff1b。]+$")  # around an option's text
# Instructions to answer with a letter, which make no sense once the options are gone.
ASKS_FOR_LETTER = re.compile(
    r"(?:please\s+)?(?:directly\s+)?\b(?:answer|respond|reply|choose|select|pick|provide|give|output|return)\b"
    r"[^.?!\n]{0,200}\b(?:letters?|options?|choices?)\b[^.?!\n]{0,200}[.!]?|请[^。\n]{0,200}选项[^。\n]{0,200}[。.]?",
    re.IGNORECASE,
)

INSTRUCTION = re.compile(r"\s*\**(?:hint|note|instructions?)\**\s*[:\uff1a]", re.IGNORECASE)
QUESTION_LABEL = re.compile(r"\s*\**\bquestion\**\s*[:\uff1a]\**\s*", re.IGNORECASE)

MOST_RUNS = 8
"""Markers "A" tried as the beginning of the options, from the end of the question; each try scans the rest of the text."""


def split_options(question: str) -> tuple[str, dict[str, str]]:
    """(the question without its options, the options by letter); (the question unchanged, {}) if it has none."""
    body = _without_request(question)
    for text in dict.fromkeys((_without_leading_request(body), body)):
        for style in MARKER_STYLES:
            run = _run_of_options(text, style)
            if run:
                stem = HEADER.sub("", text[: run[0].start()]).rstrip()
                options, rest = _option_texts(text, run, style)
                if stem and options:
                    return "\n".join(part for part in (stem, rest) if part), options
    return question, {}


def _without_request(question: str) -> str:
    """The question without a last line or sentence that asks for a letter."""
    question = question.rstrip()
    last_line = question.rfind("\n") + 1
    for match in ASKS_FOR_LETTER.finditer(question, last_line):
        if match.end() == len(question):
            return question[: match.start()].rstrip()
    return question


def _without_leading_request(question: str) -> str:
    """The question without an instruction in front of it ("Hint: ... provide the correct option letter ...")."""
    # The instruction is the first line or, in a text of one line, what stands before "Question:".
    label = QUESTION_LABEL.search(question)
    first, newline, rest = question.partition("\n")
    if not newline and label:
        first, rest = question[: label.start()], question[label.start() :]
    asks = ASKS_FOR_LETTER.search(first) if INSTRUCTION.match(first) else ASKS_FOR_LETTER.fullmatch(first.strip())
    if not asks or not rest.strip():
        return question
    label = QUESTION_LABEL.match(rest)
    return rest[label.end() if label else 0 :].lstrip()


def _run_of_options(text: str, style: MarkerStyle) -> list[re.Match[str]]:
    """The last run of markers A, B, C, ... with a text after each; [] if there is none."""
    markers = list(style.marker.finditer(text))
    for start in [i for i, marker in enumerate(markers) if marker[1] == "A"][: -MOST_RUNS - 1 : -1]:
        run = [markers[start]]
        for marker in markers[start + 1 :]:
            if marker[1] == LETTERS[len(run) % MAX_UNLISTED] and text[run[-1].end() : marker.start()].strip():
                run.append(marker)
        if len(run) >= style.shortest and text[run[-1].end() :].strip():
            return run
    return []


def _option_texts(text: str, run: list[re.Match[str]], style: MarkerStyle) -> tuple[dict[str, str], str]:
    """(the options' texts by letter, the lines after the last option); ({}, "") if they cannot be options."""
    ends = [marker.start() for marker in run[1:]] + [len(text)]
    texts = [text[marker.end() : end] for marker, end in zip(run, ends, strict=True)]
    texts[-1], _, rest = texts[-1].strip().partition("\n")
    texts = [TRIMMINGS.sub("", " ".join(option.split())) for option in texts]
    if not all(texts) or (
        style.inline and any("?" in option or len(option) > LONGEST_INLINE_OPTION for option in texts)
    ):
        return {}, ""
    return {marker[1]: option for marker, option in zip(run, texts, strict=True)}, rest.strip()


# ----------------------------------------------------------------------------------------------------
# The letter in a conclusion.

LETTER = rf"\**{RAW_OPEN}?({UNLISTED}){RAW_CLOSE}?\**"
# The whole conclusion is a letter, or a letter with its option's text.
LETTER_ALONE = re.compile(rf"{RAW_OPEN}?\s*({UNLISTED})\s*{RAW_CLOSE}?\s*[.:。]?")
LETTER_WITH_TEXT = re.compile(
    rf"{RAW_OPEN}?({UNLISTED})(?:{RAW_CLOSE}[.:\uff1a]?|[.:\uff0e\uff1a、])\s*(\S.*)", re.DOTALL
)
# "The answer is B", "choose option (B)"
LETTER_IN_SENTENCE = re.compile(
    r"(?:\b(?i:answer|option|choice)\b(?:\s+(?i:is|would\s+be|must\s+be))?|答案[是为]?|选择?)\s*[:\uff1a]?\s*(?i:option\s+|choice\s+)?"
    + LETTER
    + r"(?=\s*(?:[.),;:\uff0c\uff1b\uff1a。]|$))"
)
# "Choice B is correct", "(B) is the right answer"
LETTER_IS_RIGHT = re.compile(
    rf"(?:\b(?i:option|choice|answer)\s+|^){LETTER}\s+is\s+(?:the\s+)?(?i:(?:correct|right|best)\b|answer\b)"
)
# A second letter after the first, so that several are named ("A and C", "A, B").
ANOTHER_LETTER = re.compile(
    rf"\s*(?:[,\uff0c、;]|\band\b|\bor\b|&|和|或)+\s*\**{RAW_OPEN}?{UNLISTED}(?![\w°=])(?!\s*=)"
)
# A second option in the text after a letter ("A. 30°, B. 45°").
SECOND_OPTION = re.compile(
    rf"(?:[,;\uff0c\uff1b、]|\band\b|\bor\b|&|和|或)\s*{RAW_OPEN}?{UNLISTED}[)\uff09.\uff0e:\uff1a]"
)


def option_letter(conclusion: str) -> tuple[str, str] | None:
    """(letter, text that follows it) if the conclusion names an option, else None; raises Refused if it names several.

    "C", "(C)" and "The answer is C." give ("C", ""); "C. 40°" gives ("C", "40°").
    """
    if len(conclusion) > LONGEST_CONCLUSION:
        return None
    text = tidy(conclusion)
    boxes = boxed(text)
    text = boxes[0] if len(boxes) == 1 else text
    if match := LETTER_ALONE.fullmatch(text):
        return match[1], ""
    if match := LETTER_WITH_TEXT.fullmatch(text):
        if SECOND_OPTION.search(match[2]):
            raise Refused(Filter.SEVERAL_OPTIONS)
        return match[1], tidy(match[2])
    # A sentence: the last letter that it names as the answer.
    matches = [*LETTER_IN_SENTENCE.finditer(text), *LETTER_IS_RIGHT.finditer(text)]
    last = max(matches, key=lambda match: match.start(1), default=None)
    if last is None:
        return None
    if ANOTHER_LETTER.match(text, last.end()):
        raise Refused(Filter.SEVERAL_OPTIONS)
    return last[1], ""


# ----------------------------------------------------------------------------------------------------
# Cleaning that both readers of training records share.

IMAGE_TAG = re.compile(r"\s{0,9}<\s?(?:image|video|ImageHere)\s?/?>\s{0,9}", re.IGNORECASE)
# "<|image_pad|>" in a text would be read as an image that does not exist, and the model's forward pass would raise.
SPECIAL_TOKEN = re.compile(r"<\|[\w ]{1,40}\|>")


def clean_question(question: str) -> str:
    """The question without `<image>` tags: the prompt adds the image itself."""
    return (IMAGE_TAG.sub("\n", question) if "<" in question else question).strip()


def one_image(image: Any) -> Any:
    """A record's image, or the only element of a list; raises Refused for several images: the method trains on one."""
    if isinstance(image, list) and len(image) > 1:
        raise Refused(Filter.SEVERAL_IMAGES)
    return image[0] if isinstance(image, list) and image else image


def refuse_special_tokens(*texts: str) -> None:
    """Raises Refused if a text holds a special token, which would not be tokenised as text."""
    if any("<|" in text and SPECIAL_TOKEN.search(text) for text in texts):
        raise Refused(Filter.SPECIAL_TOKEN)
