"""A correct reasoning, cut into the steps that hints are made of.

The first of these that yields two pieces or more decides: "Step k" markers, numbered lines, paragraphs, sentences.
The text is only ever cut, never rewritten: apart from white space at the cuts nothing is lost, text before the first
marker included. A piece that only announces the next one ("so we have:") stays with it: alone it would be no hint.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

# "Step 2:", "**Step 2.**", "### step 2": where a line or a sentence begins, not in "as we saw in Step 1, ...".
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
# Begins with the set of all ends, which is what makes the search fast.
SENTENCE = re.compile(r"[.!?。\uff01\uff1f\n](?:(?<=[.!?])[\"'”’)\]*]*\s+|(?<![.!?])\s*)(?P<cut>\S)")
ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|fig|eq|approx|vs|no|cf|resp|deg)|(?:^|\n)[ \t]*[*_]{0,2}\(?\d{1,2})\.[*_]{0,2}$", re.IGNORECASE
)
# Bounded, so that thousands of unclosed formulas do not take hours.
DISPLAY_MATHS = re.compile(r"\\\[.{0,2000}?\\\]|\\\(.{0,2000}?\\\)|\$\$.{0,2000}?\$\$", re.DOTALL)
# A piece that begins so continues what stands before it: a formula, or a clause ("where r is the radius").
CONTINUES = re.compile(r"\\\[|\$\$|[=+≈<>×]|[a-z]{2,}\b(?!\s*=)")
ANNOUNCES = (":", "\uff1a", ",", "\uff0c", "=")


def split_steps(reasoning: str) -> tuple[str, ...]:
    """The steps of a reasoning, in order; () for an empty one."""
    text = reasoning.strip()
    for cuts in (_step_cuts, _numbered_cuts, _paragraph_cuts, _sentence_cuts):
        pieces = _pieces(text, cuts(text))
        if len(pieces) > 1:
            pieces = _joined(pieces, continuations=cuts is _paragraph_cuts or cuts is _sentence_cuts)
        if len(pieces) > 1:
            return tuple(pieces)
    return (text,) if text else ()


def _pieces(text: str, cuts: Iterator[int]) -> list[str]:
    bounds = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    return [piece for piece in pieces if piece.strip()]


def _joined(pieces: list[str], *, continuations: bool) -> list[str]:
    """Pieces that only announce the next one, or only continue the one before, joined as they stood in the text."""
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
    """Lines numbered 1, 2, 3, ...; other numbers at a line's start are numbers, or an inner list."""
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
    """Where the pattern would cut, except inside a formula."""
    has_formulas = "\\" in text or "$$" in text
    formulas = [match.span() for match in DISPLAY_MATHS.finditer(text)] if has_formulas else []
    for match in pattern.finditer(text):
        cut = match.start("cut")
        if not any(start < cut < end for start, end in formulas):
            yield cut
