"""Whether an answer is right, by what its question asks for: a value, an option's letter, or yes or no.

Each in two protocols. `strict` looks at the last closed `<answer>` alone. `paper` looks at the whole completion: for a
value it is the paper's own (`hint_grpo.scoring`); the paper does not say how choices were judged, so for those it is this
project's counterpart: an answer that is stated outside the tags counts too.
"""

import re
from collections.abc import Iterable
from fractions import Fraction
from string import ascii_uppercase as LETTERS

from hint_grpo.data.questions import Judging
from hint_grpo.scoring import extract_answer, score
from hint_grpo.scoring.markup import plain_markup
from hint_grpo.scoring.reading import MAX_CHARACTERS, read

# Options whose texts are not known are at most this many.
UNKNOWN_OPTIONS = 8

_LEAD = r"(?:(?:so|thus|therefore),?\s+)?(?:the\s+)?(?:(?:correct|right|final|best)\s+)*(?:answer|option|choice)"
_LETTER_ALONE = re.compile(rf"(?:{_LEAD}\s*(?:is)?\s*:?\s*)?(?:option\s+)?[(\[]?([A-Z])[)\]]?[.:,;]?", re.IGNORECASE)
_LETTER_FIRST = re.compile(r"(?:[(\[]([A-Z])[)\]]|([A-Z])\s?[.:)])\s*\S", re.IGNORECASE)
_LETTER_LED = re.compile(rf"{_LEAD}\s*(?:is|:)?\s*:?\s*(?:option\s+)?(?:[(\[]([A-Z])[)\]]|([A-Z])\b(?!['’]))")
_LETTER_BRACKETED = re.compile(r"\(([A-Z])\)")
_YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_YES_NO_FIRST = re.compile(r"\W*(yes|no)\s*(?:[.,;:!]|$)", re.IGNORECASE)
_TAG = re.compile(r"</?(?:think|answer)\s*>", re.IGNORECASE)


def is_right(completion: str, gold: str, judging: Judging, protocol: str) -> bool:
    """`gold` is a value, the right option's letter, "yes" or "no". What is judged elsewhere is never right here."""
    if judging.judge == "choice":
        return _chosen(completion, judging.options, protocol) == gold
    if judging.judge == "yes_no":
        return _yes_or_no(completion, protocol) == gold
    if judging.judge == "none":
        return False
    return score(completion, gold, protocol) == 1.0 or _rounds_to(completion, gold, judging.precision)


def option_named(text: str, options: tuple[str, ...]) -> str | None:
    """The letter that a short answer gives: "B", "(B)", "B. 65°", "The answer is B", or an option's text ("65°").

    A letter counts before a text: "B. 65°" is B where 65° stands at C.
    """
    plain = plain_markup(text[:MAX_CHARACTERS]).strip()
    for pattern in (_LETTER_ALONE.fullmatch, _LETTER_FIRST.match, _LETTER_LED.match):
        letter = _within(pattern(plain), options)
        if letter:
            return letter
    return _option_said(text, options)


def _chosen(completion: str, options: tuple[str, ...], protocol: str) -> str | None:
    answer = extract_answer(completion)
    named = option_named(answer, options) if answer else None
    if named or protocol == "strict":
        return named
    lines = [line for line in _TAG.sub("\n", completion).splitlines() if line.strip()]
    if lines and (named := option_named(lines[-1], options)):
        return named
    for pattern in (_LETTER_LED, _LETTER_BRACKETED):
        said = [letter for match in pattern.finditer(completion) if (letter := _within(match, options))]
        if said:
            return said[-1]
    return None


def _within(match: re.Match[str] | None, options: tuple[str, ...]) -> str | None:
    """The letter a pattern found, where there is such an option."""
    letter = next(filter(None, match.groups()), "").upper() if match else ""
    return letter if letter and letter in LETTERS[: len(options) or UNKNOWN_OPTIONS] else None


def _option_said(text: str, options: tuple[str, ...]) -> str | None:
    """The letter of the one option whose text, or else whose value, the answer is; None where none or several are."""
    told = {letter: option for letter, option in zip(LETTERS, options, strict=False) if option}
    same = [letter for letter, option in told.items() if _words(option) == _words(text)]
    if same:
        return _only(same)
    answer = f"<answer>{text}</answer>"
    return _only(letter for letter, option in told.items() if score(answer, option) == 1.0)


def _words(text: str) -> list[str]:
    return text.casefold().strip(" .,;:!\n\t").split()


def _only(letters: Iterable[str]) -> str | None:
    found = list(letters)
    return found[0] if len(found) == 1 else None


def _yes_or_no(completion: str, protocol: str) -> str | None:
    said = _yes_or_no_in(extract_answer(completion) or "")
    if said or protocol == "strict":
        return said
    every = _YES_NO.findall(completion)
    return every[-1].lower() if every else None


def _yes_or_no_in(answer: str) -> str | None:
    """Of "No, ..." the first word; else the one of the two that is said at all."""
    if first := _YES_NO_FIRST.match(answer):
        return first[1].lower()
    return _only({word.lower() for word in _YES_NO.findall(answer)})


def _rounds_to(completion: str, gold: str, precision: int | None) -> bool:
    """Whether the answer, a plain number, rounds to the ground truth at `precision` decimals (a tie: either way)."""
    answer = extract_answer(completion) if precision is not None else None
    if answer is None or precision is None:
        return False
    said, wanted = read(answer), read(gold)
    if said is None or wanted is None or said.value.number is None or wanted.value.number is None:
        return False
    return abs(said.value.number - wanted.value.number) <= Fraction(1, 2 * 10**precision)
