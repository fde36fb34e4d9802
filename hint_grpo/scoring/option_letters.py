"""Letters of multiple-choice options: how they are written, and which option a letter names.

Every module that reads option letters builds on this one:

    data/fill_in.py                  the list of options in a training question
    data/answers.py                  the letter in a training record's conclusion; an unclear one is refused
    scoring/choices.py               the letters that a completion puts forward
    scoring/checker.py, remarks.py   a ground truth that is a letter; a letter in front of a value
    evaluation/datasets/adapter.py   a benchmark's answer column: a letter, an index or an option's text
    evaluation/judging.py            the chosen letter against the options of the question

What may stand around a letter differs between them on purpose: a wrong ground truth does more harm than a refused one,
while a completion is read generously. data/llava_cot.py does not use this module: it reproduces the authors' released
rules, which know only A to D.
"""

import re
from collections.abc import Sequence
from string import ascii_uppercase as LETTERS

MAX_UNLISTED = 8
"""Options assumed for a question that does not list them: a letter beyond H is then the name of a point or a variable."""
UNLISTED = f"[{LETTERS[0]}-{LETTERS[MAX_UNLISTED - 1]}]"

# Around a letter, as patterns. Texts that went through `plain_markup` have ASCII brackets only; raw training texts may
# have the full-width ones of Chinese records (\uff08 and \uff09), but no square ones.
OPEN, CLOSE = r"[(\[]", r"[)\]]"
RAW_OPEN, RAW_CLOSE = r"[(\uff08]", r"[)\uff09]"

# "The correct answer is:" or "option" in front of a letter.
LEAD = r"(?:(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s*)"

# A text that is a letter ("B", "(B)", "The answer is B."), and one that begins with a labelled letter ("B. 65°").
_LETTER_ALONE = re.compile(rf"{LEAD}?{OPEN}?([A-Z]){CLOSE}?[.:]?", re.IGNORECASE)
_LETTER_FIRST = re.compile(rf"\s*{OPEN}?([A-Z])(?:{CLOSE}\s*[.:]?|[.:])\s*\S")


def gold_letter(plain: str) -> str | None:
    """The letter that a ground truth gives ("B", "(B)", "B. 65°", "The answer is B."); None if it gives none.

    `plain` has gone through `plain_markup`.
    """
    match = _LETTER_ALONE.fullmatch(plain) or _LETTER_FIRST.match(plain)
    return match[1].upper() if match else None


def is_option(letter: str, num_options: int, *, unlisted: int = MAX_UNLISTED) -> bool:
    """Whether the letter names one of the options; 0 options means that they are not known, and `unlisted` counts."""
    return len(letter) == 1 and letter in LETTERS[: num_options or unlisted]


def texts_by_letter(options: Sequence[str]) -> dict[str, str]:
    """The options whose text is known, by letter: ("30°", "", "60°") -> {"A": "30°", "C": "60°"}."""
    return {letter: text for letter, text in zip(LETTERS, options, strict=False) if text}
