"""From a conclusion, which may be a letter, a value or a sentence, to the value a completion is compared with.

"C"  "(C)"  "The answer is C."  "C. 40°"       -> the letter C (its option's text is the value)
"40°"  "x = 40"  "The angle is 40°."           -> "40°", "40", "40°"
"There are 5 red cubes in the picture."        -> "5", the only number
"AB = 10√3 ≈ 17.3 m"                           -> "10√3 ≈ 17.3 m": the checker accepts both
"x = 3 or x = 5"                               -> as it stands: the checker compares both
"AB = 3, BC = 4"                               -> refused: several values, and no way to tell which is asked for
"greater than 3"                               -> refused: a bound

A wrong ground truth teaches wrong things in silence; a refused sample is counted. So in doubt it is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hint_grpo.data.samples import Filter, Refused
from hint_grpo.scoring.option_letters import RAW_CLOSE, RAW_OPEN, UNLISTED

# ----------------------------------------------------------------------------------------------------
# A value as a person writes it, found among words: "exactly 2√3 cm long" holds "2√3 cm", "5 red cubes" holds "5".

NUMBER_SIGN = re.compile(r"[\d½⅓⅔¼¾⅕⅙⅛⅜⅝⅞π]|\\pi\b")
LABEL = re.compile(
    r"(?:(?:∠|\\angle|\b(?:angle|figure|fig\.|point|line|triangle))\s*\d+\b|\b[A-Za-z]_\{?\d+\}?)", re.IGNORECASE
)
NUMBER = re.compile(
    r"[-−]?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?(?:\s*:\s*\d+(?:\.\d+)?)*\s*"
    r"(?:°|%|π|degrees?\b|(?:square\s+|cubic\s+)?(?:[cmk]m|m|km|centimeters?|meters?|units?)\b[²³]?)?"
)
LEADING_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?")
# With one of these a number is a part of the value and not the value: √3, 16\\pi, x^2, sin 30°, 2x.
MORE_THAN_A_NUMBER = re.compile(
    r"[√≈]|\\(?:sqrt|pi|[dtc]?frac|sin|cos|tan|cot|log|ln)(?![A-Za-z])|\^|\b(?:arc)?(?:sin|cos|tan|cot|log|ln)\b"
    r"|\d(?![cdkm]?m\b|[gmsh]\b)[A-Za-z](?![A-Za-z])"
)
WORD = re.compile(r"(?<!\\)\b[A-Za-z]{2,}\b|[\u4e00-\u9fff]+")
# What may stand beside a number in a value: units, names of points and variables ("AB = 5 cm"), "or" between two
# solutions.
VALUE_WORD = re.compile(
    r"[A-Z]{2,4}|or|and|pi|sqrt|sin|cos|tan|cot|[cmkd]?m|[cmk]?g|in|ft|sq|deg|degrees?|percent|square|cubic|units?|"
    r"(?:centi|milli|kilo|deci)?met(?:er|re)s?|inch(?:es)?|feet|foot|yards?|miles?|"
    r"[或和度元升克秒分时天]|小时|分钟|海里|公里|千克|(?:平方|立方)?[毫厘分千]?米"
)
# Words and signs that make another number of the one beside them.
CHANGES = re.compile(
    r"\b(?:half|twice|double|triple|thrice|quarter|third)\s+(?:of\s+)?(?:the\s+)?\d"
    r"|\b(?:(?:root|squares?|cubes?|multiple|factor|power|reciprocal|inverse|sine|cosine|tangent)\s+of|by|from|subtract\w*|add\w*"
    r"|multipl\w*|divid\w*)\s+(?:the\s+)?[-\\($]*[\d√]"
    r"|\d\s+(?:dozens?|hundreds?|thousands?|millions?|billions?|squared|cubed"
    r"|thirds?|quarters?|halves|fourths?|fifths?|sixths?|eighths?|tenths?|plus|minus|divided|multiplied|times\s+\d)\b",
    re.IGNORECASE,
)
TORN = re.compile(r"[-−+*/×÷=]\s*(?:[*/×÷=)]|$)|^\s*[+*/×÷=]")
LABEL_IN_FORMULA = re.compile(rf"{LABEL.pattern}\s*[-−+*/×÷]|[-−+*/×÷]\s*{LABEL.pattern}", re.IGNORECASE)
NEGATIVE = re.compile(r"(?<![\d\w)}°]\s)\b(?:negative|minus)\s+(?=[\d√\\π.$])", re.IGNORECASE)
DANGLING = re.compile(r"^(?:(?:or|and|in)\s+|[\s,;:]+)+|(?:\s+(?:or|and|in)|[\s,;:]+)+$")
NAMES_BEFORE = re.compile(r"^(?:[A-Z]{1,4}\s+)+(?=[\d√\\π$])")


def tidy(conclusion: str) -> str:
    """Without what only decorates: white space, bold, a formula's brackets around everything, the closing full stop."""
    text = " ".join(conclusion.replace("**", "").split()).strip("*_ ")
    text = text[:-1].rstrip() if text.endswith((".", "。")) or re.search(r"[a-z]!$", text) else text
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")):
        inner = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and inner and opening not in inner:
            return inner.strip()
    return text


def has_number(text: str) -> bool:
    """Whether the text holds a number; the 1 of "angle 1" is a name."""
    return NUMBER_SIGN.search(LABEL.sub("", text)) is not None


def is_value(text: str) -> bool:
    """A number with only units and names around it: "40°", "3\\sqrt{2} cm", "x = 3 or x = 5"; not "5 red cubes"."""
    return has_number(text) and all(VALUE_WORD.fullmatch(word) for word in WORD.findall(_without_text(text)))


def value_in(text: str) -> str:
    """The one value in what a statement says; raises Refused where it holds several, or one that words change."""
    text, written = NEGATIVE.sub("-", LABEL.sub(" ", text)), text
    if CHANGES.search(text) or LABEL_IN_FORMULA.search(written):
        raise Refused(Filter.UNCLEAR_ANSWER)
    text = _without_empty_estimate(_balanced(tidy(text)))
    if is_value(text) and not _whole(text):
        raise Refused(Filter.UNCLEAR_ANSWER)
    if is_value(text):
        return NAMES_BEFORE.sub("", tidy(text)) if MORE_THAN_A_NUMBER.search(text) else tidy(text)
    runs = [run for run in _runs(text) if has_number(run)]
    if len(runs) != 1:
        raise Refused(Filter.SEVERAL_VALUES)
    run = NAMES_BEFORE.sub("", _balanced(tidy(DANGLING.sub("", runs[0]))))
    if MORE_THAN_A_NUMBER.search(run):
        if not _whole(run):
            raise Refused(Filter.UNCLEAR_ANSWER)
        return _without_empty_estimate(run)
    numbers = {number.strip() for number in NUMBER.findall(run)}
    if len(numbers) > 1:
        raise Refused(Filter.SEVERAL_VALUES)
    return numbers.pop() if numbers else run


def _runs(text: str) -> list[str]:
    """The pieces of a text between words that belong to no value."""
    runs, start = [], 0
    for word in WORD.finditer(text):
        if not VALUE_WORD.fullmatch(word[0]) and not text[: word.start()].endswith(
            ("\\text{", "\\text{ ", "\\mathrm{")
        ):
            runs.append(text[start : word.start()])
            start = word.end()
    return [*runs, text[start:]]


def _without_empty_estimate(text: str) -> str:
    """The value alone where only a name stands before "≈"; "10√3 ≈ 17.3" stays."""
    before, sign, behind = text.rpartition("≈")
    return text if not sign or has_number(before) else behind.strip()


def _balanced(text: str) -> str:
    """Without a formula's brackets where only one of a pair is left."""
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        if text.count(opening) != text.count(closing):
            text = text.replace(opening, "").replace(closing, "")
    return (text.replace("$", "") if text.count("$") % 2 else text).strip()


def same_number(first: str, second: str) -> bool:
    """ "65" and "65°" are one value."""
    numbers = [LEADING_NUMBER.match(text) for text in (first, second)]
    if not all(numbers) or not all(NUMBER.fullmatch(text) for text in (first, second)):
        return first == second
    return len({number[0] for number in numbers if number}) == 1


def _whole(text: str) -> bool:
    """Whether a piece holds whole brackets and whole sums, and no part of a tag: no words were cut out of its middle."""
    opened, closed = (sum(map(text.count, signs)) for signs in ("([{", ")]}"))
    return opened == closed and "</" not in text and text[:1] not in "<>" and not TORN.search(text)


def _without_text(text: str) -> str:
    return re.sub(r"\\(?:text|mathrm)\b", "", text)


LONGEST_CONCLUSION = 2000
"""Characters; what is longer is an essay and states no clear value. It also bounds the time that a hostile text costs."""

LETTER = rf"\**{RAW_OPEN}?({UNLISTED}){RAW_CLOSE}?\**"
LETTER_ALONE = re.compile(rf"{RAW_OPEN}?\s*({UNLISTED})\s*{RAW_CLOSE}?\s*[.:。]?")
LETTER_WITH_TEXT = re.compile(
    rf"{RAW_OPEN}?({UNLISTED})(?:{RAW_CLOSE}[.:\uff1a]?|[.:\uff0e\uff1a、])\s*(\S.*)", re.DOTALL
)
LETTER_IN_SENTENCE = re.compile(
    r"(?:\b(?i:answer|option|choice)\b(?:\s+(?i:is|would\s+be|must\s+be))?|答案[是为]?|选择?)\s*[:\uff1a]?\s*(?i:option\s+|choice\s+)?"
    + LETTER
    + r"(?=\s*(?:[.),;:\uff0c\uff1b\uff1a。]|$))"
)
# "Choice B is correct", "(B) is the right answer"
LETTER_IS_RIGHT = re.compile(
    rf"(?:\b(?i:option|choice|answer)\s+|^){LETTER}\s+is\s+(?:the\s+)?(?i:(?:correct|right|best)\b|answer\b)"
)
# Behind a letter: another one, so that both are meant ("A and C", "A, B").
ANOTHER_LETTER = re.compile(
    rf"\s*(?:[,\uff0c、;]|\band\b|\bor\b|&|和|或)+\s*\**{RAW_OPEN}?{UNLISTED}(?![\w°=])(?!\s*=)"
)
SECOND_OPTION = re.compile(
    rf"(?:[,;\uff0c\uff1b、]|\band\b|\bor\b|&|和|或)\s*{RAW_OPEN}?{UNLISTED}[)\uff09.\uff0e:\uff1a]"
)

ANSWER_IS = re.compile(
    r"\banswer\b(?:\s+is|\s*:)?(?:\s+that)?\s*:?\s*(?P<value>.+)$|答案[是为]?[:\uff1a]?\s*(?P<wert>.+)$", re.I | re.S
)
CONCLUDES = re.compile(r"\b(?:therefore|thus|hence|so|then|consequently|in\s+conclusion)\b|所以|因此|故", re.I)
SAYS = re.compile(r"\b(?:is|are|was|were|be|equals?|measures?)\b(?:\s+(?:to|equal\s+to))*|=|等于|[是为]", re.I)
CONDITION = re.compile(r"\b(?:when|if|where|since|because|given|as)\b", re.IGNORECASE)
# Where one statement ends; the dot of an abbreviation does not end it, nor does the comma of 1,563.
CLAUSE_END = re.compile(
    r"[;\uff1b\uff0c。\n]|,(?!\d)|(?<!\bsq)(?<!\bcu)(?<!\bno)(?<!\bfig)(?<!\bapprox)[.!?](?=\s|$)"
    r"|\b(?:and|or|but|while|whereas)\b|[和或]",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"[.!?](?=\s)|[。\n]")
JOINED = re.compile(r"\b(?:and|or)\b|[和或]", re.IGNORECASE)
# "..., which is 20": the same thing again, worked out further.
RESTATED = re.compile(r"(?:which|that|this|it)", re.IGNORECASE)
GOES_ON = re.compile(r"and|or|和|或", re.IGNORECASE)
A_NUMBER = r"(?:\\?[$(\[]|\\d?frac|\\sqrt|[-−+√π.½¼¾])*\s*[\d√π½¼¾{]"
BOUND = re.compile(
    r"(?:\b(?:(?:greater|more|less|fewer|larger|smaller|bigger|higher|lower|longer|shorter|other)\s+than"
    r"(?:\s+or\s+equal\s+to)?|at\s+(?:least|most)|up\s+to|above|under|below|beyond|exceeds?|exceeding|almost|between)\b"
    rf"|[大小高低多少]于|超过|至[多少]|不足)\s*(?={A_NUMBER})",
    re.IGNORECASE,
)
OR_MORE = re.compile(
    r"\b(?:or|and)\s+(?:more|less|fewer|greater|above|below|higher|lower|up)\b|以[上下]", re.IGNORECASE
)
DENIES = re.compile(
    r"\bnot\b(?!\s+(?:only|just))|n[’']t\b|\b(?:never|cannot|rather\s+than|instead\s+of|neither|nor|except)\b"
    r"|(?<![\u4e00-\u9fff])不[是为]|而非",
    re.IGNORECASE,
)
# What a total is made of, told behind it.
BREAKDOWN = re.compile(
    r"[:\uff1a](?=\s)|[,;]?\s*\b(?:namely|including|consisting\s+of|made\s+up\s+of|comprising|of\s+which)\b", re.I
)
COUNTED_THING = re.compile(r"\d+\s+[A-Za-z]{3,}")
REMARK = re.compile(
    r"(?<=[^\s=(])\s+[(\uff08](?=[^()]*(?<!\\)\b(?!sqrt|sin|cos|tan|cot|log)[a-z]{3,})[^()\uff08\uff09]*[)\uff09]"
)
ROUGHLY_WORD = (
    r"(?:≈|\\approx\b|(?:\b(?:or|which\s+is|that\s+is|i\.e\.),?\s+)?"
    r"\b(?:approximately|about|approx\b\.?|roughly|around|nearly)\b)"
)
ROUGHLY_BRACKETED = re.compile(rf"\s*\(\s*{ROUGHLY_WORD}\s*(?={A_NUMBER})([^()]*)\)", re.IGNORECASE)
ROUGHLY = re.compile(rf"\s*[,;]?\s*{ROUGHLY_WORD}\s*(?={A_NUMBER})", re.IGNORECASE)
AND_A_HALF = re.compile(r"\d\s+and\s+(?:a|one)\s+(?:half|third|quarter)\b", re.IGNORECASE)
BOXES = re.compile(r"\\boxed\s*\{")


def option_letter(conclusion: str) -> tuple[str, str] | None:
    """(letter, text that follows it) where the conclusion names an option; None where it does not.

    Raises Refused where it names several.
    """
    if len(conclusion) > LONGEST_CONCLUSION:
        return None
    text = tidy(conclusion)
    boxes = _boxes(text)
    text = boxes[0] if len(boxes) == 1 else text
    if match := LETTER_ALONE.fullmatch(text):
        return match[1], ""
    if match := LETTER_WITH_TEXT.fullmatch(text):
        if SECOND_OPTION.search(match[2]):
            raise Refused(Filter.SEVERAL_OPTIONS)
        return match[1], tidy(match[2])
    matches = [*LETTER_IN_SENTENCE.finditer(text), *LETTER_IS_RIGHT.finditer(text)]
    last = max(matches, key=lambda match: match.start(1), default=None)
    if last is None:
        return None
    if ANOTHER_LETTER.match(text, last.end()):
        raise Refused(Filter.SEVERAL_OPTIONS)
    return last[1], ""


def conclusion_value(conclusion: str) -> str:
    """The value that a conclusion states. Raises Refused: no number, a bound, several values, or nothing clear."""
    if len(conclusion) > LONGEST_CONCLUSION:
        raise Refused(Filter.UNCLEAR_ANSWER)
    text = tidy(conclusion)
    boxes = list(dict.fromkeys(_boxes(text)))
    if len(boxes) > 1:
        raise Refused(Filter.SEVERAL_VALUES)
    text = boxes[0] if boxes else text
    if not has_number(text):
        raise Refused(Filter.NO_NUMBER)
    if (match := ANSWER_IS.search(text)) and has_number(match["value"] or match["wert"]):
        text = tidy(match["value"] or match["wert"])
    concluded = [text[match.end() :] for match in CONCLUDES.finditer(text) if has_number(text[match.end() :])]
    text = tidy((concluded or [text])[-1].strip(" ,\uff0c"))
    text = _with_estimates(text)
    text = _without_breakdown(text)
    if OR_MORE.search(text) and has_number(text):
        raise Refused(Filter.BOUND)
    if AND_A_HALF.search(text):
        raise Refused(Filter.UNCLEAR_ANSWER)
    return _of_statements(list(_statements(text)), text)


@dataclass(frozen=True, slots=True)
class Statement:
    """`subject` = `value`; the subject is "" where only a value stands there."""

    subject: str
    value: str


def _statements(text: str) -> Iterator[Statement]:
    """What the clauses with a number state as a fact. Raises Refused where they hold only conditions, denials, bounds."""
    before = ""  # why the clause before states nothing; "" where it states a fact
    reasons: list[str] = []
    stated = False
    for joint, clause in _clauses(text):
        if not has_number(clause):
            continue
        fact, why = _fact(clause)
        # "between 3 and 5", "if a = 3 and b = 4": what stands behind "and" belongs to what came before it.
        goes_on = bool(before) and GOES_ON.fullmatch(joint) is not None
        if goes_on and fact is not None and (before == "condition" or not fact.subject):
            fact, why = None, before
        before = why
        if fact is not None:
            stated = True
            yield fact
        else:
            reasons.append(why)
    if not stated:
        raise Refused(Filter.BOUND if "bound" in reasons else Filter.UNCLEAR_ANSWER)


def _fact(clause: str) -> tuple[Statement | None, str]:
    """What a clause with a number states, or why nothing: it is a condition, a denial or a bound."""
    for why, pattern in (("condition", CONDITION), ("denial", DENIES)):
        match = pattern.search(clause)
        if not match or not _is_meant(clause, match, why):
            continue
        clause = clause[: match.start()]
        if not has_number(clause):
            return None, why
    links = SAYS.split(clause)
    subject, value = (links[0], links[-1]) if len(links) > 1 and has_number(links[-1]) else ("", clause)
    if match := BOUND.search(value):
        value = value[: match.start()]
        if not has_number(value):
            return None, "bound"
    return Statement(" ".join(subject.split()), value.strip()), ""


def _is_meant(clause: str, match: re.Match[str], why: str) -> bool:
    """Whether a word makes a condition ("calculated as 5" is none), or denies a number ("not marked is 40°" does not)."""
    before, behind = clause[: match.start()], clause[match.end() :]
    if why == "condition":
        return has_number(before) or not before.strip()
    return has_number(re.split(r"\b(?:is|are|was|were)\b", behind)[0])


def _of_statements(statements: list[Statement], text: str) -> str:
    """The one value of the statements, or the list that one subject may have."""
    last = max((i for i, each in enumerate(statements) if RESTATED.fullmatch(each.subject)), default=0)
    statements = statements[last:]
    if len(statements) == 1:
        return value_in(statements[0].value)
    first, *others = statements
    value = tidy(first.value)
    if all(same_number(tidy(other.value), value) for other in others):
        return max((value_in(statement.value) for statement in statements), key=len)
    listed = "" if SENTENCE_END.search(text) else text
    if is_value(listed) and len({statement.subject for statement in statements}) == 1:
        return listed
    start = max(0, text.find(first.value))
    if not any(other.subject for other in others) and not JOINED.search(text[:start]) and is_value(listed[start:]):
        return tidy(listed[start:])
    raise Refused(Filter.SEVERAL_VALUES)


def _clauses(text: str) -> Iterator[tuple[str, str]]:
    """(what joins it to the one before, clause); brackets are not cut."""
    start, joint, depth, at = 0, "", 0, 0
    for match in CLAUSE_END.finditer(text):
        between = text[at : match.start()]
        depth += len(re.findall(r"(?<!\\)[(\[{]", between)) - len(re.findall(r"(?<!\\)[)\]}]", between))
        at = match.start()
        if depth <= 0:
            yield joint, text[start : match.start()]
            start, joint = match.end(), match[0]
    yield joint, text[start:]


def _with_estimates(text: str) -> str:
    """ "10√3 (about 17.3)" and "10√3, approximately 17.3" as "10√3 ≈ 17.3"; an estimate of something told in words stays."""
    for pattern in (ROUGHLY_BRACKETED, ROUGHLY):
        match = pattern.search(text)
        if match and is_value(SAYS.split(text[: match.start()])[-1]):
            inner = match[1] if pattern is ROUGHLY_BRACKETED else ""
            text = f"{text[: match.start()]} ≈ {inner}{text[match.end() :]}"
    return text.strip()


def _without_breakdown(text: str) -> str:
    """ "4 (2 cubes and 2 cylinders)" and "There are 4 objects: 2 cubes, 2 cylinders" without what the 4 are."""
    remark = REMARK.search(text)
    if remark and has_number(text[: remark.start()]):
        text = REMARK.sub("", text).strip()
    match = BREAKDOWN.search(text)
    if match and has_number(text[: match.start()]) and not is_value(text[match.end() :]):
        text = text[: match.start()] if COUNTED_THING.search(text, match.end()) else text
    return tidy(text)


def _boxes(text: str) -> list[str]:
    """What stands in each \\boxed{...}, the braces matched; without empty ones."""
    boxes = []
    for start in BOXES.finditer(text):
        depth, position = 1, start.end()
        while position < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            position += 1
        if not depth:
            boxes.append(text[start.end() : position - 1].strip())
    return [box for box in boxes if box]
