"""Cuts a correct reasoning into the L steps from which hints are built (paper section 3.2; see hint_grpo.hints).

    "Step 1: AB = AC. Step 2: So angle B is 65°."  ->  ("Step 1: AB = AC.", "Step 2: So angle B is 65°.")

The first method that yields at least two pieces is used: "Step k" markers, numbered lines, paragraphs, sentences. The text
is only cut, never rewritten: nothing but white space at the cuts is lost, and text before the first marker is kept. A
piece that only announces the next one ("so we have:") is joined to it, since alone it would not be a useful hint.
The released code cuts differently (llava_cot.released_steps).
"""

import re
from collections.abc import Iterator
from itertools import pairwise

# Each pattern marks the place of a cut by its group `cut`.
# "Step 2:", "**Step 2.**", "### step 2" at the beginning of a line or sentence; not in "as we saw in Step 1, ...".
STEP_MARKER = re.compile(
    r"(?:^|\n[ \t]*|(?<=[.!?;:。\uff01\uff1f)\]}$*])[ \t]+)"  # the beginning of a line or a sentence
    r"(?P<cut>(?:[#>*_]+[ \t]*)?step\s{0,3}\d{1,3}\s{0,3}[*_]{0,2}\s{0,3}[:.)\-–—\uff1a]"
    r"|[#>*_]+[ \t]*step\s{0,3}\d{1,3}\b)",
    re.IGNORECASE,
)
NUMBERED_LINE = re.compile(
    r"^[ \t]*(?P<cut>[*_]{0,2}\(?(?P<number>\d{1,2})[.)、](?:[*_]{0,2}[ \t]|(?=[^\d\s])))",  # not the decimal "3.5"
    re.MULTILINE,
)
PARAGRAPH = re.compile(r"\n[ \t]*\n\s*(?P<cut>\S)")
# Starts with one character class, so scanning is fast.
SENTENCE = re.compile(r"[.!?。\uff01\uff1f\n](?:(?<=[.!?])[\"'”’)\]*]*\s+|(?<![.!?])\s*)(?P<cut>\S)")
# A full stop that does not end a sentence: an abbreviation, or the number of a list item.
ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|fig|eq|approx|vs|no|cf|resp|deg)|(?:^|\n)[ \t]*[*_]{0,2}\(?\d{1,2})\.[*_]{0,2}$", re.IGNORECASE
)
# Formulas are not cut. Bounded, so that a text with thousands of unclosed formulas does not need hours.
DISPLAY_MATHS = re.compile(r"\\\[.{0,2000}?\\\]|\\\(.{0,2000}?\\\)|\$\$.{0,2000}?\$\$", re.DOTALL)
# A piece that begins like this continues the previous one: a formula, or a clause ("where r is the radius").
CONTINUES = re.compile(r"\\\[|\$\$|[=+≈<>×]|[a-z]{2,}\b(?!\s*=)")
# A piece that ends like this announces the next one.
ANNOUNCES = (":", "\uff1a", ",", "\uff0c", "=")


def split_steps(reasoning: str) -> tuple[str, ...]:
    """The steps of a reasoning, in order; one step if it cannot be cut, () if it is empty."""
    text = reasoning.strip()
    for cuts in (_step_cuts, _numbered_cuts, _paragraph_cuts, _sentence_cuts):
        pieces = _pieces(text, cuts(text))
        if len(pieces) > 1:
            pieces = _joined(pieces, continuations=cuts is _paragraph_cuts or cuts is _sentence_cuts)
        if len(pieces) > 1:
            return tuple(pieces)
    return (text,) if text else ()


def _pieces(text: str, cuts: Iterator[int]) -> list[str]:
    """The text between the cuts (character positions); blank pieces are left out."""
    bounds = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    return [piece for piece in pieces if piece.strip()]


def _joined(pieces: list[str], *, continuations: bool) -> list[str]:
    """Joins a piece that announces the next one with it and, with `continuations`, one that continues the previous one."""
    joined: list[str] = []
    for piece in pieces:
        if joined and (joined[-1].rstrip().endswith(ANNOUNCES) or (continuations and CONTINUES.match(piece))):
            joined[-1] += piece
        else:
            joined.append(piece)
    return [piece.strip() for piece in joined]


def _step_cuts(text: str) -> Iterator[int]:
    return _outside_maths(text, STEP_MARKER) if "step" in text.lower() else iter(())


def _numbered_cuts(text: str) -> Iterator[int]:
    """Lines numbered 1, 2, 3, ...; any other number at the start of a line is a plain number or an inner list."""
    expected = 1
    for match in NUMBERED_LINE.finditer(text):
        if int(match["number"]) == expected:
            expected += 1
            yield match.start("cut")


def _paragraph_cuts(text: str) -> Iterator[int]:
    return _outside_maths(text, PARAGRAPH)


def _sentence_cuts(text: str) -> Iterator[int]:
    for cut in _outside_maths(text, SENTENCE):
        if not ABBREVIATION.search(text[max(0, cut - 12) : cut].rstrip()):
            yield cut


def _outside_maths(text: str, pattern: re.Pattern[str]) -> Iterator[int]:
    """The cuts of the pattern that are not inside a formula."""
    has_formulas = "\\" in text or "$$" in text
    formulas = [match.span() for match in DISPLAY_MATHS.finditer(text)] if has_formulas else []
    for match in pattern.finditer(text):
        cut = match.start("cut")
        if not any(start < cut < end for start, end in formulas):
            yield cut
