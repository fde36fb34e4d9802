"""Reads which option an answer chooses, and whether it is yes or no. Used by `checker.py` and `evaluation/judging.py`.

    "B"   "(B) No"   "D (tokyo)."   "the answer should be (D)"   "答案:A"   "A and C are wrong, so B"     one letter
    "A, C"   "(A), (B), and (C)"   "A. 30° B. 45°"                                                  several letters
    "angle A is 30°"   "A triangle"   "not (C)"                                                     no letter

Every capital letter that stands alone is a mention. The text before and after it decides whether the writer chose it
(`_rank`), denied it, or named a point of the figure. Mentions joined by "or", "and" and commas form a group.
"""

import re
from dataclasses import dataclass

from hint_grpo.scoring.markup import plain_markup
from hint_grpo.scoring.vocabulary import CLOSE, LEAD, OPEN

# ----------------------------------------------------------------------------------------------------
# Patterns for the text before and after a letter; the comment gives an example, with the letter as B

# "(B)", "[ B ]", "B"; not "B'" or "AB"
_MENTION = re.compile(rf"(?<![A-Za-z]){OPEN}\s*([A-Z])\s*{CLOSE}|(?<![A-Za-z0-9\\'^_])([A-Z])(?![A-Za-z0-9'])")
_LONGEST_LEAD = 80  # characters before a letter that may lead to it
# Words between a lead and its letter: "should be the" in "answer should be the B".
_FILLER = (
    "is|are|was|would|should|must|will|could|can|only|be|to|the|an?|this|that|question|correct|right|best|final|most"
    "|likely|probably|definitely|clearly|surely|therefore|thus|then|so|indeed|option|choice|letter|answer|either|both"
    "|is|:|=|,|为|是|应该|应|该|项|只能|选项|选"
)
# "the answer is B", "I would go with (B)", "答案：B"
_LEAD = re.compile(
    r"(?:\b(?:answer|option|choice|letter|choose|chose|choosing|select(?:ed|ing)?|pick(?:ed|ing)?|go(?:ing)?\s+with)"
    rf"|答案|选项|选择|选)(?:\s*(?:{_FILLER})(?![A-Za-z]))*\s*[\"'(\[]?\s*$",
    re.IGNORECASE,
)
# "so B", "definitely (B)": counts only if the letter ends its sentence or clause.
_CONCLUDES = re.compile(
    r"\b(?:so|therefore|thus|hence|definitely|surely|clearly|certainly|probably|likely|obviously|think|say|believe|guess"
    r"|be|but|it's|it\s+is|that's|leaves)\s*[:,]?\s*$",
    re.IGNORECASE,
)
# "B is correct", "(B) must be the best choice", "B选项正确"
_PRAISED = re.compile(
    r"[)\].:]?\s*(?:(?:is|was|seems|looks|appears|must\s+be|would\s+be|should\s+be|has\s+to\s+be)\s+)(?:to\s+be\s+)?"
    r"(?:(?:the|my|most|clearly|definitely|likely|only|obviously|best|final)\s+)*(?:correct|right|best|true|answer|choice|option)\b"
    r"|\s*(?:选项|项)?\s*(?:是)?(?:正确|对的|符合)",
    re.IGNORECASE,
)
# After a letter at the start of a line: "B", "B. 65°", "B because ..."
_BEGINS_ITEM = re.compile(r"\s*(?:$|\n|[.:),;!(]|\s-\s|(?:because|since|as|due\s+to|for)\b)", re.IGNORECASE)
# The rest of a clause, without a word that begins a conclusion.
_CLAUSE = r"(?:(?!\b(?:but|so|therefore|because|hence|thus)\b)[^,.;:\n])*"
# "not B", "unlike B", "rules out B", "不选B"
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|rather\s+than|instead\s+of|unlike|except|exclud\w+|eliminat\w+|rul\w+\s+out"
    rf"|rejects?|wrong|incorrect)\b|n't\b|不|排除){_CLAUSE}$",
    re.IGNORECASE,
)
# "B is not", "B and C are both wrong", "B cannot", "B错"
_DENIED_AFTER = re.compile(
    r"\s*(?:(?:is|are|was|were|can|does|do|has|have|would|could|should|must|seems?)\s*(?:n't|not\b|(?:also\s+|both\s+|clearly\s+)?"
    r"(?:wrong|incorrect|false|too|impossible|excluded|eliminated|ruled\s+out)\b)|cannot\b|can't\b|不|错)",
    re.IGNORECASE,
)
# Between the letters of a group: "A or maybe B", "A, B", "A和B"
_BETWEEN = re.compile(
    r"\s*(?:[,;/&+]|\b(?:and|or|nor|und)\b|和|或|与|及|\s)*\s*(?:\b(?:option|choice|the|also|maybe|perhaps|either)\b\s*)*",
    re.IGNORECASE,
)
# After one of these a letter is a name: "triangle B", "from B", "角B"
_NAMED = re.compile(
    r"(?:\b(?:angles?|triangles?|circles?|points?|segments?|lines?|sides?|vertex|vertices|rays?|arcs?|planes?|squares?|figures?"
    r"|parts?|rectangles?|m|at|from|to|in|on|of|between|through|with|by|class|group|vitamin|type|grade)|角|点)\s*$",
    re.IGNORECASE,
)
# The letter belongs to a formula: "2 + B", "B = 5", "B -C"
_FORMULA_BEFORE = re.compile(r"[-+*/^<>≤≥√_|]\s*$")
_FORMULA_AFTER = re.compile(r"\s*[+*/=^<>≤≥≈_|'\"]|\s*-\S")
# Letters after one of these do not count: "B because A is too small"
_EXPLAINS = re.compile(r"\b(?:because|since|as|whereas|while|unlike|for|due\s+to|explanation|reason)\b", re.IGNORECASE)
# After the article: "A triangle"; not "A because it is red"
_ARTICLE = re.compile(r"\s+(?!(?:because|since|as|is|which|for|due|while|and|or|but|not)\b)[a-z]")
# A small letter that is the whole answer, "b", "(b).", or its beginning, "b) 65°"
_ALONE = re.compile(rf"{OPEN}?([a-z]){CLOSE}?\s*[.:,;]?")
_SMALL_FIRST = re.compile(rf"\s*{OPEN}?([a-z])(?:{CLOSE}|[.:](?=\s))")

# Ranks of a mention: _CHOSEN, as in "the answer is B"; _ITEM, at the start of a line; 1, in brackets or at the end of
# "so it is B"; 0, not an option letter.
_ITEM, _CHOSEN = 2, 3


@dataclass(frozen=True)
class _Mention:
    """A capital letter that stands alone, with its position in the text."""

    letter: str
    start: int
    end: int
    bracketed: bool
    rank: int


def letters_given(text: str) -> tuple[str, ...]:
    """The letters that an answer gives, each once. One is a choice; several are not.

    letters_given("The answer is (B).") is ("B",); letters_given("A, C") is ("A", "C").
    """
    plain = _capital_first(plain_markup(text).strip())
    groups = [group for group in _groups(plain) if not _is_denied(group, plain)]
    chosen = [group for group in groups if _rank_of(group) == _CHOSEN]
    items = [group for group in groups if _rank_of(group) == _ITEM]
    if chosen:
        # In "A. 30° B. 45° The answer is B" the listed options do not count; "A. The answer is B" gives both letters.
        groups = chosen if len(items) != 1 else [*items, *chosen]
    elif items:
        explained = _EXPLAINS.search(plain, items[0][-1].end)
        groups = [group for group in groups if explained is None or group[0].start < explained.start()]
    return tuple(dict.fromkeys(mention.letter for group in groups for mention in group))


def letters_led_to(text: str) -> list[str]:
    """The letters that phrases such as "the answer is" lead to, in order, in a text of any length."""
    return [mention.letter for mention in _mentions(text) if mention.rank == _CHOSEN]


def _capital_first(plain: str) -> str:
    """The text with a small option letter at its start as a capital: c, (c) and c) 65° become C, (C) and C) 65°."""
    lead = re.match(LEAD, plain, re.IGNORECASE)
    start = lead.end() if lead else 0
    letter = _ALONE.fullmatch(plain, start) or _SMALL_FIRST.match(plain, start)
    return plain[: letter.start(1)] + letter[1].upper() + plain[letter.end(1) :] if letter else plain


# ----------------------------------------------------------------------------------------------------
# Mentions, their ranks and their groups


def _mentions(text: str) -> list[_Mention]:
    """All mentions, names with rank 0 included; letters of formulas are left out."""
    mentions = []
    for match in _MENTION.finditer(text):
        bracketed = match[1] is not None
        start, end = match.span()
        before, after = text[max(0, start - _LONGEST_LEAD) : start], text[end : end + _LONGEST_LEAD]
        if not bracketed and (_FORMULA_BEFORE.search(before) or _FORMULA_AFTER.match(after)):
            continue
        rank = _rank(match[1] or match[2], bracketed, before, after, is_first=start == len(before))
        mentions.append(_Mention(match[1] or match[2], start, end, bracketed, rank))
    return mentions


def _rank(letter: str, bracketed: bool, before: str, after: str, is_first: bool) -> int:
    """How clearly the text around a letter makes it the choice; 0 for a name or a word."""
    if _PRAISED.match(after):
        return _CHOSEN
    if letter == "A" and not bracketed and _ARTICLE.match(after):
        return 0
    if _LEAD.search(before):
        return _CHOSEN
    begins = (is_first and not before.strip(" \"'(")) or re.search(r"\n\s*[\"'(]?$", before) is not None
    if begins and (bracketed or _BEGINS_ITEM.match(after)):
        return _ITEM
    if _NAMED.search(before):
        return 0
    if (
        bracketed
        or (before[-1:].isspace() and re.match(r"[.)]\s*\S", after))
        or (_CONCLUDES.search(before) and re.match(r"\s*[.,;!\n]|\s*$", after))
    ):
        return 1
    return 0


def _groups(text: str) -> list[list[_Mention]]:
    """The mentions in groups, joined by commas and conjunctions alone; groups of names are left out."""
    groups: list[list[_Mention]] = []
    for mention in _mentions(text):
        if groups and _BETWEEN.fullmatch(text, groups[-1][-1].end, mention.start):
            groups[-1].append(mention)
        else:
            groups.append([mention])
    return [group for group in groups if _rank_of(group)]


def _rank_of(group: list[_Mention]) -> int:
    return max(mention.rank for mention in group)


def _is_denied(group: list[_Mention], text: str) -> bool:
    return bool(_DENIED_BEFORE.search(text[: group[0].start]) or _DENIED_AFTER.match(text, group[-1].end))


# ----------------------------------------------------------------------------------------------------
# Yes or no

_YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
# "Yes, it is"; not "Yes or no" and "yes, no"
_YES_NO_FIRST = re.compile(r"\W*(yes|no)\s*(?:[.,;:!]|$)(?!\W*(?:or\W*|and\W*|then\W*)?(?:yes|no)\W*$)", re.IGNORECASE)


def yes_or_no(answer: str) -> str | None:
    """The first word of "No, ...", in lower case; else the one of "yes" and "no" that the answer contains; None if unclear."""
    if first := _YES_NO_FIRST.match(answer):
        return first[1].lower()
    found = {word.lower() for word in _YES_NO.findall(answer)}
    return found.pop() if len(found) == 1 else None


def last_yes_or_no(text: str) -> str | None:
    """The last "yes" or "no" in a text of any length."""
    every = _YES_NO.findall(text)
    return every[-1].lower() if every else None
