"""Reads LLaVA-CoT-100k records into samples, by this project's rules or by those of the authors' released code.

    {"id": "g1", "image": "geoqa+/images/5137.png", "conversations": [
        {"from": "human", "value": "<image>\\nIn the figure, ... angle C is ()\\nA. 30°\\nB. 45°"},
        {"from": "gpt", "value": "<SUMMARY> .. </SUMMARY>\\n\\n<CAPTION> .. </CAPTION>\\n\\n
                                  <REASONING> .. </REASONING>\\n\\n<CONCLUSION> B </CONCLUSION>"}]}

A record may hold several questions; tags may be missing, unclosed, or separated by any white space. The authors'
re-split file (reasoning as "Step 1: ...") has the same schema and is read by the same code.

    record -> question_turns -> reasoning_and_conclusion -> fill_in, split_steps -> Sample, or Dropped with the filter
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hint_grpo.data.answers import conclusion_value
from hint_grpo.data.fill_in import clean_question, fill_in, one_image, refuse_special_tokens
from hint_grpo.data.jsonl import BadRecord, JsonRecord, UniqueIds, other_fields
from hint_grpo.data.paths import BadImage, ImageRoot
from hint_grpo.data.samples import Dropped, Filter, Outcome, Refused, Rules, Sample
from hint_grpo.scoring.checker import is_latex

# ----------------------------------------------------------------------------------------------------
# Cuts a correct reasoning into the L steps from which hints are built (paper section 3.2; see hint_grpo.hints).
#
#     "Step 1: AB = AC. Step 2: So angle B is 65°."  ->  ("Step 1: AB = AC.", "Step 2: So angle B is 65°.")
#
# The first method that yields at least two pieces is used: "Step k" markers, numbered lines, paragraphs, sentences. The text
# is only cut, never rewritten: nothing but white space at the cuts is lost, and text before the first marker is kept. A
# piece that only announces the next one ("so we have:") is joined to it, since alone it would not be a useful hint.
# The released code cuts differently (`released_steps`).

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


GEOMETRY_PREFIXES = ("geoqa+/", "CLEVR_v1.0/")
"""The image folders of the geometry part, which the paper trains on."""
TAG = re.compile(r"<\s*(/?)\s*(SUMMARY|CAPTION|DESCRIPTION|REASONING|CONCLUSION)\s*>", re.IGNORECASE)
ASKS = ("human", "user")
ANSWERS = ("gpt", "assistant")


@dataclass(frozen=True)
class LlavaCotReader:
    """Turns a record into samples and drops, one per question; raises BadRecord if it does not have this schema."""

    root: ImageRoot
    ids: UniqueIds
    image_prefixes: tuple[str, ...]
    keep_multiple_choice: bool
    data_rules: Rules = "project"
    step_rules: Rules = "project"

    def __call__(self, record: JsonRecord) -> Iterator[Outcome]:
        turns = question_turns(record.fields)
        # All questions of a record share its image: without a usable one, each of them is dropped.
        try:
            image = self._image(record.fields)
        except Refused as refused:
            yield from (Dropped(refused.reason, record.source) for _ in turns)
            return
        for number, (question, answer) in enumerate(turns, start=1):
            try:
                yield self._sample(record, image, number, question, answer)
            except Refused as refused:
                yield Dropped(refused.reason, record.source)

    def _image(self, fields: dict[str, Any]) -> str:
        """The absolute path of the record's image; raises Refused."""
        image = one_image(fields.get("image"))
        if not isinstance(image, str) or not image.strip():
            raise Refused(Filter.NO_IMAGE)
        try:
            absolute = self.root.absolute(image)
        except BadImage as error:
            raise Refused(Filter.IMAGE_OUTSIDE) from error
        relative = absolute[len(self.root.folder) :].lstrip("/")
        if self.image_prefixes and not relative.startswith(self.image_prefixes):
            raise Refused(Filter.OTHER_IMAGES)
        return absolute

    def _sample(self, record: JsonRecord, image: str, number: int, question: str, answer: str | None) -> Sample:
        """The sample of the record's question `number` (from 1); raises Refused."""
        if answer is None:
            raise Refused(Filter.NO_ANSWER)
        reasoning, conclusion = reasoning_and_conclusion(answer)
        if not conclusion:
            raise Refused(Filter.NO_CONCLUSION)
        refuse_special_tokens(question, reasoning, conclusion)
        question, solution = self._question_and_solution(question, answer, conclusion)
        return Sample(
            id=self.ids.claim(turn_id(record, number), record.source),
            image=image,
            question=question,
            solution=solution,
            reasoning_steps=released_steps(reasoning) if self.step_rules == "released" else split_steps(reasoning),
            source=record.source,
            extra=other_fields(record.fields, ("id", "image", "conversations")),
        )

    def _question_and_solution(self, question: str, answer: str, conclusion: str) -> tuple[str, str]:
        """(question, solution) by the data rules of the run; raises Refused."""
        keep = self.keep_multiple_choice
        if self.data_rules == "released":
            return released_fill_in(question, released_conclusion(answer) or conclusion, keep_multiple_choice=keep)
        question, value = fill_in(clean_question(question), conclusion, keep_multiple_choice=keep)
        return question, conclusion_value(conclusion) if value is None else value


def turn_id(record: JsonRecord, number: int) -> str:
    """The record's id, or its file:line if it has none, with ":2" and so on for its further questions."""
    name = record.fields.get("id")
    name = name if isinstance(name, str) and name else record.source
    return name if number == 1 else f"{name}:{number}"


def question_turns(fields: dict[str, Any]) -> list[tuple[str, str | None]]:
    """(question, the answer that follows it or None) for each question of a record; raises BadRecord."""
    conversations = fields.get("conversations")
    if not isinstance(conversations, list):
        raise BadRecord('"conversations" is missing or not a list')
    turns: list[tuple[str, str | None]] = []
    for message in conversations:
        speaker, text = _message(message)
        if speaker in ASKS:
            turns.append((text, None))
        elif speaker in ANSWERS and turns and turns[-1][1] is None:
            turns[-1] = (turns[-1][0], text)
    return turns


def _message(message: Any) -> tuple[str, str]:
    """(speaker in lower case, text with Unix line ends); raises BadRecord."""
    if not isinstance(message, dict) or not isinstance(message.get("value"), str):
        raise BadRecord('a message of "conversations" has no "value" text')
    return str(message.get("from", "")).lower(), message["value"].replace("\r\n", "\n")


def reasoning_and_conclusion(answer: str) -> tuple[str, str]:
    """The two sections that training uses; each is "" if the answer does not have it.

    Without a REASONING section, the text outside all sections before the conclusion is the reasoning (an answer that only
    marks its conclusion). Without a CONCLUSION section, the text after the closed REASONING is the conclusion.
    """
    sections = list(_sections(answer))
    names = [name for name, _ in sections]
    reasoning = [text for name, text in sections if name == "REASONING"]
    conclusion = [text for name, text in sections if name == "CONCLUSION"]
    if not reasoning and conclusion:
        reasoning = [text for name, text in sections[: names.index("CONCLUSION")] if name == ""]
    if not conclusion and reasoning:
        last = len(names) - 1 - names[::-1].index("REASONING")
        conclusion = [text for name, text in sections[last + 1 :] if name == ""]
    return "\n\n".join(reasoning), "\n\n".join(conclusion)


def _sections(answer: str) -> Iterator[tuple[str, str]]:
    """(section name, text) in order; text outside all sections has the name "".

    A section ends at its closing tag or, if unclosed, at the next opening tag. The text before a closing tag that was
    never opened belongs to that section.
    """
    name, start = "", 0
    for tag in TAG.finditer(answer):
        closes, tag_name = bool(tag[1]), tag[2].upper()
        text = answer[start : tag.start()].strip()
        if text:
            yield (tag_name if closes and not name else name), text
        name, start = ("" if closes else tag_name), tag.end()
    if rest := answer[start:].strip():
        yield name, rest


# ----------------------------------------------------------------------------------------------------
# The rules of the authors' released code (`--data_rules released`, `--step_rules released`), quirks included.
#
#     question    "Area of circle A. Choose.\nA. 4π\nB. 6π"   conclusion  "The answer is B."
#     -> question "Area of circle "   solution "6π"                    (cut at the first "A." to "D.")
#
#     reasoning   "We look. Step 1: A is 30°. Step 2: By Step 1, B is 45°."
#     -> steps    "A is 30°."  "By"  ", B is 45°."                     (text before the first mark and the marks are lost)
#
# A record on which their code raises an exception is left out here, under Filter.RELEASED_CODE_FAILS.

RELEASED_CONCLUSION = re.compile(r"<CONCLUSION>(.*?)</CONCLUSION>", re.DOTALL)
STEP_MARK = re.compile(r"Step \d+")
OPTION_MARK = re.compile(r"[A-D]\.")
OPTION = re.compile(r"([A-D])\.\s*(\S.*?)(?=[A-D]\.|\Z)", re.DOTALL)
LETTER = re.compile(r"[A-D]")
NUMBER = re.compile(r"\d")


def released_steps(reasoning: str) -> tuple[str, ...]:
    """The text after each "Step k", even in the middle of a sentence; () for a reasoning without such a mark."""
    return tuple(piece.strip(" :\n") for piece in STEP_MARK.split(reasoning)[1:])


def released_conclusion(answer: str) -> str | None:
    """The text in <CONCLUSION> with its white space; None if there is no closed one."""
    found = RELEASED_CONCLUSION.search(answer)
    return found[1] if found else None


def released_fill_in(question: str, conclusion: str, *, keep_multiple_choice: bool = False) -> tuple[str, str]:
    """(question, solution) from the unchanged texts of the file, white space included; raises Refused.

    A conclusion with exactly one capital letter from A to D names that option; any other conclusion is the solution.
    `keep_multiple_choice` is not in their code: question and letter stay, and the same samples are left out.
    """
    options = dict(OPTION.findall(question))
    letters = LETTER.findall(conclusion)
    solution = conclusion
    if len(letters) == 1:
        if letters[0] not in options:
            raise Refused(Filter.RELEASED_CODE_FAILS)
        solution = options[letters[0]].strip()
    if not NUMBER.search(solution) and not is_latex(solution):
        raise Refused(Filter.NO_NUMBER)
    if keep_multiple_choice and len(letters) == 1:
        return question, letters[0]
    return (OPTION_MARK.split(question)[0] if options and not keep_multiple_choice else question), solution
