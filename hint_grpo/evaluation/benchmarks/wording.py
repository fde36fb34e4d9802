"""How a benchmark's questions are put, and how its answer column names the right option. Pure text, declared in `registry`.

Options are a tuple of texts, A first; () where the row has none, or they are not known.
"""

import re
from collections.abc import Callable
from string import ascii_uppercase as LETTERS

from hint_grpo.data.jsonl import BadRecord
from hint_grpo.prompts import ASK_LETTER, ASK_YES_NO, OPTIONS

Put = Callable[[str, tuple[str, ...]], str]
Gold = Callable[[str, tuple[str, ...]], str]

_LIST = re.compile(r"\b(?:options|choices)\s*:", re.IGNORECASE)
_IMAGE_MARK = re.compile(r"\s*<image1>")


def as_it_is(question: str, options: tuple[str, ...]) -> str:
    return question


def ask_letter(question: str, options: tuple[str, ...]) -> str:
    """For questions that list their options themselves."""
    return ASK_LETTER.format(Question=question)


def list_options(question: str, options: tuple[str, ...]) -> str:
    """The options below the question, one a line; as it is where there are none.

    Options that only repeat their letters (they stand in the picture) are not listed.
    """
    if not options:
        return question
    lines = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False) if text)
    shown = tuple(options) == tuple(LETTERS[: len(options)])
    return ask_letter(question if shown else OPTIONS.format(Question=question, Options=lines), options)


def without_image_mark(question: str, options: tuple[str, ...]) -> str:
    """MATH-Vision marks the picture's place by <image1>; here it stands before the text, as the model was trained."""
    return list_options(_IMAGE_MARK.sub("", question).strip(), options)


def ask_yes_no(question: str, options: tuple[str, ...]) -> str:
    return ASK_YES_NO.format(Question=question)


def by_letter(answer: str, options: tuple[str, ...]) -> str:
    letter = answer.strip().strip("().").upper()
    if len(letter) != 1 or letter not in LETTERS[: len(options) or None]:
        raise BadRecord(f"its answer {answer[:40]!r} is no letter of its {len(options)} options")
    return letter


def by_index(answer: str, options: tuple[str, ...]) -> str:
    """The answer counts from 0."""
    if not answer.strip().isdigit() or int(answer) >= len(options):
        raise BadRecord(f"its answer {answer[:40]!r} is no index of its {len(options)} options")
    return LETTERS[int(answer)]


def by_text(answer: str, options: tuple[str, ...]) -> str:
    if answer not in options:
        raise BadRecord(f"its answer {answer[:40]!r} is none of its options")
    return LETTERS[options.index(answer)]


def options_in(text: str) -> tuple[str, ...]:
    """The options of "..? Options: A: a cat, B: a dog" or "..?\\nChoices:\\nA:50°\\nB:60°"; () where none are found."""
    heads = list(_LIST.finditer(text))
    rest = text[heads[-1].end() :] if heads else ""
    found: list[str] = []
    start: int | None = None
    for letter in LETTERS:
        mark = re.compile(rf"(?:^|(?<=[\s,])){letter}\s?:").search(rest, start or 0)
        if mark is None:
            break
        if start is not None:
            found.append(rest[start : mark.start()])
        start = mark.end()
    if start is not None:
        found.append(rest[start:])
    return tuple(option.strip().rstrip(",").rstrip() for option in found)
