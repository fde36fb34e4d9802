"""The value that a training record's conclusion states: the ground truth that completions are compared with.

    "40°"  "x = 40"  "The angle is 40°."       -> "40°", "40", "40°"
    "There are 5 red cubes in the picture."    -> "5", the only number
    "AB = 10√3 ≈ 17.3 m"                       -> "10√3 ≈ 17.3 m": the checker accepts both forms
    "x = 3 or x = 5"                           -> unchanged: the checker compares both
    "AB = 3, BC = 4"                           -> refused: several values, and the question decides which one counts
    "greater than 3"                           -> refused: a bound

Conclusions that name an option ("The answer is C.") are read by fill_in.py, which calls this module for everything else.
A wrong ground truth teaches wrong answers unnoticed, while a refused sample is counted, so in doubt it is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hint_grpo.data.samples import Filter, Refused

LONGEST_CONCLUSION = 2000
"""Characters. A longer conclusion is an essay without a clear value; the limit also bounds the time spent on hostile text."""

# ----------------------------------------------------------------------------------------------------
# A value among words: "exactly 2√3 cm long" holds "2√3 cm", "5 red cubes" holds "5".

# Any of these characters shows that a text holds a number ...
NUMBER_SIGN = re.compile(r"[\d½⅓⅔¼¾⅕⅙⅛⅜⅝⅞π]|\\pi\b")
# ... unless it belongs to a name: "angle 1", "x_2".
LABEL = re.compile(
    r"(?:(?:∠|\\angle|\b(?:angle|figure|fig\.|point|line|triangle))\s*\d+\b|\b[A-Za-z]_\{?\d+\}?)", re.IGNORECASE
)
# A plain number, fraction or ratio with its unit.
NUMBER = re.compile(
    r"[-−]?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?(?:\s*:\s*\d+(?:\.\d+)?)*\s*"
    r"(?:°|%|π|degrees?\b|(?:square\s+|cubic\s+)?(?:[cmk]m|m|km|centimeters?|meters?|units?)\b[²³]?)?"
)
LEADING_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?")
# With one of these, a number is only a part of the value: √3, 16\pi, x^2, sin 30°, 2x.
MORE_THAN_A_NUMBER = re.compile(
    r"[√≈]|\\(?:sqrt|pi|[dtc]?frac|sin|cos|tan|cot|log|ln)(?![A-Za-z])|\^|\b(?:arc)?(?:sin|cos|tan|cot|log|ln)\b"
    r"|\d(?![cdkm]?m\b|[gmsh]\b)[A-Za-z](?![A-Za-z])"
)
WORD = re.compile(r"(?<!\\)\b[A-Za-z]{2,}\b|[\u4e00-\u9fff]+")
# Words that may belong to a value: units, names of points and variables ("AB = 5 cm"), "or" between two solutions.
VALUE_WORD = re.compile(
    r"[A-Z]{2,4}|or|and|pi|sqrt|sin|cos|tan|cot|[cmkd]?m|[cmk]?g|in|ft|sq|deg|degrees?|percent|square|cubic|units?|"
    r"(?:centi|milli|kilo|deci)?met(?:er|re)s?|inch(?:es)?|feet|foot|yards?|miles?|"
    r"[或和度元升克秒分时天]|小时|分钟|海里|公里|千克|(?:平方|立方)?[毫厘分千]?米"
)
# Arithmetic in words, so that the number written is not the value: "half of 6", "5 squared", "3 dozen".
ARITHMETIC = re.compile(
    r"\b(?:half|twice|double|triple|thrice|quarter|third)\s+(?:of\s+)?(?:the\s+)?\d"
    r"|\b(?:(?:root|squares?|cubes?|multiple|factor|power|reciprocal|inverse|sine|cosine|tangent)\s+of|by|from|subtract\w*|add\w*"
    r"|multipl\w*|divid\w*)\s+(?:the\s+)?[-\\($]*[\d√]"
    r"|\d\s+(?:dozens?|hundreds?|thousands?|millions?|billions?|squared|cubed"
    r"|thirds?|quarters?|halves|fourths?|fifths?|sixths?|eighths?|tenths?|plus|minus|divided|multiplied|times\s+\d)\b",
    re.IGNORECASE,
)
# A formula that was cut in the middle: it begins or ends with an operator, or has two in a row.
TORN = re.compile(r"[-−+*/×÷=]\s*(?:[*/×÷=)]|$)|^\s*[+*/×÷=]")
# "angle 1 + angle 2": a label that is an operand.
LABEL_IN_FORMULA = re.compile(rf"{LABEL.pattern}\s*[-−+*/×÷]|[-−+*/×÷]\s*{LABEL.pattern}", re.IGNORECASE)
# "negative 3" is -3; "x minus 3" is not.
NEGATIVE = re.compile(r"(?<![\d\w)}°]\s)\b(?:negative|minus)\s+(?=[\d√\\π.$])", re.IGNORECASE)
# Conjunctions and separators left over at either end of a piece.
DANGLING = re.compile(r"^(?:(?:or|and|in)\s+|[\s,;:]+)+|(?:\s+(?:or|and|in)|[\s,;:]+)+$")
# Names of points in front of a value: the AB of "AB 2√3 cm".
NAMES_BEFORE = re.compile(r"^(?:[A-Z]{1,4}\s+)+(?=[\d√\\π$])")


def tidy(conclusion: str) -> str:
    """The text without decoration: extra white space, bold, formula brackets around everything, the final full stop."""
    text = " ".join(conclusion.replace("**", "").split()).strip("*_ ")
    text = text[:-1].rstrip() if text.endswith((".", "。")) or re.search(r"[a-z]!$", text) else text
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")):
        inner = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and inner and opening not in inner:
            return inner.strip()
    return text


def has_number(text: str) -> bool:
    """Whether the text holds a number; the 1 of "angle 1" is a name and does not count."""
    return NUMBER_SIGN.search(LABEL.sub("", text)) is not None


def is_value(text: str) -> bool:
    """Whether the text is a number with only units and names around it: "40°", "x = 3 or x = 5"; not "5 red cubes"."""
    return has_number(text) and all(VALUE_WORD.fullmatch(word) for word in WORD.findall(_without_text(text)))


def value_in(text: str) -> str:
    """The one value in a statement; raises Refused if it holds several, or one in words of arithmetic ("half of 6")."""
    text, written = NEGATIVE.sub("-", LABEL.sub(" ", text)), text
    if ARITHMETIC.search(text) or LABEL_IN_FORMULA.search(written):
        raise Refused(Filter.UNCLEAR_ANSWER)
    text = _without_empty_estimate(_balanced(tidy(text)))
    if is_value(text) and not _whole(text):
        raise Refused(Filter.UNCLEAR_ANSWER)
    # The whole statement is a value.
    if is_value(text):
        return NAMES_BEFORE.sub("", tidy(text)) if MORE_THAN_A_NUMBER.search(text) else tidy(text)
    # A value among words: exactly one piece between words may hold a number.
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
    """The pieces of a text between words that cannot belong to a value; words in a formula's \\text{} do not cut."""
    runs, start = [], 0
    for word in WORD.finditer(text):
        if not VALUE_WORD.fullmatch(word[0]) and not text[: word.start()].endswith(
            ("\\text{", "\\text{ ", "\\mathrm{")
        ):
            runs.append(text[start : word.start()])
            start = word.end()
    return [*runs, text[start:]]


def _without_empty_estimate(text: str) -> str:
    """The value alone if only a name stands before "≈" ("AB ≈ 5" -> "5"); "10√3 ≈ 17.3" stays."""
    before, sign, behind = text.rpartition("≈")
    return text if not sign or has_number(before) else behind.strip()


def _balanced(text: str) -> str:
    """The text without a formula's brackets if only one of a pair is left."""
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        if text.count(opening) != text.count(closing):
            text = text.replace(opening, "").replace(closing, "")
    return (text.replace("$", "") if text.count("$") % 2 else text).strip()


def same_number(first: str, second: str) -> bool:
    """Whether two texts are one value: "65" and "65°" are. Other texts than plain numbers must be equal."""
    numbers = [LEADING_NUMBER.match(text) for text in (first, second)]
    if not all(numbers) or not all(NUMBER.fullmatch(text) for text in (first, second)):
        return first == second
    return len({number[0] for number in numbers if number}) == 1


def _whole(text: str) -> bool:
    """Whether a piece was cut cleanly: its brackets match, no sum is torn, and it holds no part of a tag."""
    opened, closed = (sum(map(text.count, signs)) for signs in ("([{", ")]}"))
    return opened == closed and "</" not in text and text[:1] not in "<>" and not TORN.search(text)


def _without_text(text: str) -> str:
    """The text without the commands \\text and \\mathrm, whose arguments stay."""
    return re.sub(r"\\(?:text|mathrm)\b", "", text)


# ----------------------------------------------------------------------------------------------------
# A conclusion: which clause states the answer, and the one value it gives.

ANSWER_IS = re.compile(
    r"\banswer\b(?:\s+is|\s*:)?(?:\s+that)?\s*:?\s*(?P<value>.+)$|答案[是为]?[:\uff1a]?\s*(?P<value_zh>.+)$",
    re.I | re.S,
)
CONCLUDES = re.compile(r"\b(?:therefore|thus|hence|so|then|consequently|in\s+conclusion)\b|所以|因此|故", re.I)
EQUALS = re.compile(r"\b(?:is|are|was|were|be|equals?|measures?)\b(?:\s+(?:to|equal\s+to))*|=|等于|[是为]", re.I)
CONDITION = re.compile(r"\b(?:when|if|where|since|because|given|as)\b", re.IGNORECASE)
# The end of a clause; not the dot of an abbreviation, nor the comma of 1,563.
CLAUSE_END = re.compile(
    r"[;\uff1b\uff0c。\n]|,(?!\d)|(?<!\bsq)(?<!\bcu)(?<!\bno)(?<!\bfig)(?<!\bapprox)[.!?](?=\s|$)"
    r"|\b(?:and|or|but|while|whereas)\b|[和或]",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"[.!?](?=\s)|[。\n]")
JOINED = re.compile(r"\b(?:and|or)\b|[和或]", re.IGNORECASE)
# "..., which is 20": the same value again, worked out further.
RESTATED = re.compile(r"(?:which|that|this|it)", re.IGNORECASE)
CONJUNCTION = re.compile(r"and|or|和|或", re.IGNORECASE)
# The beginning of a number or formula, for patterns that look ahead for one.
A_NUMBER = r"(?:\\?[$(\[]|\\d?frac|\\sqrt|[-−+√π.½¼¾])*\s*[\d√π½¼¾{]"
# "greater than 3", "at most 5", "between 2 and 4".
BOUND = re.compile(
    r"(?:\b(?:(?:greater|more|less|fewer|larger|smaller|bigger|higher|lower|longer|shorter|other)\s+than"
    r"(?:\s+or\s+equal\s+to)?|at\s+(?:least|most)|up\s+to|above|under|below|beyond|exceeds?|exceeding|almost|between)\b"
    rf"|[大小高低多少]于|超过|至[多少]|不足)\s*(?={A_NUMBER})",
    re.IGNORECASE,
)
# "3 or more".
OR_MORE = re.compile(
    r"\b(?:or|and)\s+(?:more|less|fewer|greater|above|below|higher|lower|up)\b|以[上下]", re.IGNORECASE
)
NEGATION = re.compile(
    r"\bnot\b(?!\s+(?:only|just))|n[’']t\b|\b(?:never|cannot|rather\s+than|instead\s+of|neither|nor|except)\b"
    r"|(?<![\u4e00-\u9fff])不[是为]|而非",
    re.IGNORECASE,
)
# Introduces the parts of a total: "4 objects: 2 cubes, 2 cylinders".
BREAKDOWN = re.compile(
    r"[:\uff1a](?=\s)|[,;]?\s*\b(?:namely|including|consisting\s+of|made\s+up\s+of|comprising|of\s+which)\b", re.I
)
COUNTED_THING = re.compile(r"\d+\s+[A-Za-z]{3,}")
# A remark in brackets after a value: "4 (2 cubes and 2 cylinders)".
REMARK = re.compile(
    r"(?<=[^\s=(])\s+[(\uff08](?=[^()]*(?<!\\)\b(?!sqrt|sin|cos|tan|cot|log)[a-z]{3,})[^()\uff08\uff09]*[)\uff09]"
)
# An estimate after an exact value, in brackets or after a comma.
ROUGHLY_WORD = (
    r"(?:≈|\\approx\b|(?:\b(?:or|which\s+is|that\s+is|i\.e\.),?\s+)?"
    r"\b(?:approximately|about|approx\b\.?|roughly|around|nearly)\b)"
)
ROUGHLY_BRACKETED = re.compile(rf"\s*\(\s*{ROUGHLY_WORD}\s*(?={A_NUMBER})([^()]*)\)", re.IGNORECASE)
ROUGHLY = re.compile(rf"\s*[,;]?\s*{ROUGHLY_WORD}\s*(?={A_NUMBER})", re.IGNORECASE)
AND_A_HALF = re.compile(r"\d\s+and\s+(?:a|one)\s+(?:half|third|quarter)\b", re.IGNORECASE)
BOXES = re.compile(r"\\boxed\s*\{")


def conclusion_value(conclusion: str) -> str:
    """The value that a conclusion states; raises Refused if it has no number, a bound, several values, or no clear one."""
    if len(conclusion) > LONGEST_CONCLUSION:
        raise Refused(Filter.UNCLEAR_ANSWER)
    # A single \boxed{...} is the answer.
    text = tidy(conclusion)
    boxes = list(dict.fromkeys(boxed(text)))
    if len(boxes) > 1:
        raise Refused(Filter.SEVERAL_VALUES)
    text = boxes[0] if boxes else text
    if not has_number(text):
        raise Refused(Filter.NO_NUMBER)
    # Only what follows "the answer is", and of that only what follows the last "therefore".
    if (match := ANSWER_IS.search(text)) and has_number(match["value"] or match["value_zh"]):
        text = tidy(match["value"] or match["value_zh"])
    concluded = [text[match.end() :] for match in CONCLUDES.finditer(text) if has_number(text[match.end() :])]
    text = tidy((concluded or [text])[-1].strip(" ,\uff0c"))
    # "10√3 (about 17.3)" becomes "10√3 ≈ 17.3"; the parts of a total are dropped.
    text = _with_estimates(text)
    text = _without_breakdown(text)
    if OR_MORE.search(text) and has_number(text):
        raise Refused(Filter.BOUND)
    if AND_A_HALF.search(text):
        raise Refused(Filter.UNCLEAR_ANSWER)
    return _of_statements(list(_statements(text)), text)


@dataclass(frozen=True, slots=True)
class Statement:
    """`subject` = `value`; the subject is "" if the clause is only a value."""

    subject: str
    value: str


def _statements(text: str) -> Iterator[Statement]:
    """The facts in the clauses with a number; raises Refused if there are only conditions, negations and bounds."""
    before = ""  # why the previous clause states no fact; "" if it states one
    reasons: list[str] = []
    stated = False
    for joint, clause in _clauses(text):
        if not has_number(clause):
            continue
        fact, why = _fact(clause)
        # "between 3 and 5", "if a = 3 and b = 4": the part after "and" belongs to the bound or condition before it.
        continues = bool(before) and CONJUNCTION.fullmatch(joint) is not None
        if continues and fact is not None and (before == "condition" or not fact.subject):
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
    """(fact, "") of a clause with a number, or (None, why not): it is a condition, a negation or a bound."""
    # Only what stands before a condition or negation is a fact: "x is 5 when y is 3".
    for why, pattern in (("condition", CONDITION), ("negation", NEGATION)):
        match = pattern.search(clause)
        if not match or not _is_meant(clause, match, why):
            continue
        clause = clause[: match.start()]
        if not has_number(clause):
            return None, why
    # Of "AB = 2 * 5 = 10" the subject is AB and the value 10.
    links = EQUALS.split(clause)
    subject, value = (links[0], links[-1]) if len(links) > 1 and has_number(links[-1]) else ("", clause)
    if match := BOUND.search(value):
        value = value[: match.start()]
        if not has_number(value):
            return None, "bound"
    return Statement(" ".join(subject.split()), value.strip()), ""


def _is_meant(clause: str, match: re.Match[str], why: str) -> bool:
    """Whether a matched word counts: "calculated as 5" is not a condition, "not marked is 40°" does not negate 40°."""
    before, behind = clause[: match.start()], clause[match.end() :]
    if why == "condition":
        return has_number(before) or not before.strip()
    return has_number(re.split(r"\b(?:is|are|was|were)\b", behind)[0])


def _of_statements(statements: list[Statement], text: str) -> str:
    """The one value of the statements, or the list of values of one subject; raises Refused for several values."""
    # "AB = 5 * 4, which is 20": only the last restatement counts.
    last = max((i for i, each in enumerate(statements) if RESTATED.fullmatch(each.subject)), default=0)
    statements = statements[last:]
    if len(statements) == 1:
        return value_in(statements[0].value)
    first, *others = statements
    # The same number several times: the longest spelling ("65°" rather than "65").
    value = tidy(first.value)
    if all(same_number(tidy(other.value), value) for other in others):
        return max((value_in(statement.value) for statement in statements), key=len)
    # Several solutions of one subject, in one sentence: "x = 3 or x = 5", "the angles are 30° and 60°".
    listed = "" if SENTENCE_END.search(text) else text
    if is_value(listed) and len({statement.subject for statement in statements}) == 1:
        return listed
    start = max(0, text.find(first.value))
    if not any(other.subject for other in others) and not JOINED.search(text[:start]) and is_value(listed[start:]):
        return tidy(listed[start:])
    raise Refused(Filter.SEVERAL_VALUES)


def _clauses(text: str) -> Iterator[tuple[str, str]]:
    """(what joins it to the previous one, clause) in order; text in brackets is not cut."""
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
    """ "10√3 (about 17.3)" and "10√3, approximately 17.3" as "10√3 ≈ 17.3"; unchanged if no value stands before."""
    for pattern in (ROUGHLY_BRACKETED, ROUGHLY):
        match = pattern.search(text)
        if match and is_value(EQUALS.split(text[: match.start()])[-1]):
            inner = match[1] if pattern is ROUGHLY_BRACKETED else ""
            text = f"{text[: match.start()]} ≈ {inner}{text[match.end() :]}"
    return text.strip()


def _without_breakdown(text: str) -> str:
    """The text without the parts of a total: "4 (2 cubes and 2 cylinders)", "There are 4 objects: 2 cubes, 2 cylinders"."""
    remark = REMARK.search(text)
    if remark and has_number(text[: remark.start()]):
        text = REMARK.sub("", text).strip()
    match = BREAKDOWN.search(text)
    if match and has_number(text[: match.start()]) and not is_value(text[match.end() :]):
        text = text[: match.start()] if COUNTED_THING.search(text, match.end()) else text
    return tidy(text)


def boxed(text: str) -> list[str]:
    """The contents of each \\boxed{...} with matching braces; empty ones are left out."""
    boxes = []
    for start in BOXES.finditer(text):
        depth, position = 1, start.end()
        while position < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            position += 1
        if not depth:
            boxes.append(text[start.end() : position - 1].strip())
    return [box for box in boxes if box]
