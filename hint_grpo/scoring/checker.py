"""The answer checker: `score` decides the reward, the hint level and every accuracy. `scoring/__init__.py` shows the path.

Its protocols:

`strict`    only the last closed `<answer>` counts. It is read as a person would read it, and the values are compared.
`paper`     math_verify over the whole completion, as for the paper's numbers: a value anywhere in the completion counts,
            and of a ground truth such as 2√{3} only the 2 is compared.
`released`  the reward of the authors' released training code (see the section below): math_verify over the whole
            completion, with the completion as first argument, then equality of the text in `<answer>`.
`released_evaluation`  their evaluation: `released` without the equality of texts.

Comparisons run in worker processes (`pool.py`), so they are limited in time and memory in any thread of any process.
Plain numbers are compared here, with the same result and without the cost of a request.
"""

import json
import re
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

from hint_grpo.machine.errors import UserError
from hint_grpo.prompts import THINK_OPEN
from hint_grpo.scoring import pool
from hint_grpo.scoring.choices import letters_given, yes_or_no
from hint_grpo.scoring.expressions import NO_SYMBOLS, Value, decimals, rounds_to
from hint_grpo.scoring.markup import plain_markup
from hint_grpo.scoring.pool import count
from hint_grpo.scoring.several_values import (
    RELATION,
    SeveralValues,
    paired_values,
    possible_equalities,
    read_several_values,
    stated_formula,
    symbols_of,
)
from hint_grpo.scoring.single_value import MAX_CHARACTERS, Link, Reading, read_single_value
from hint_grpo.scoring.vocabulary import UP_TO_ANSWER_IS, conversion_factor, gold_letter

# ----------------------------------------------------------------------------------------------------
# The answer of a completion: the think and answer tags. The first step of `strict`; linear in the text's length.
#
# One completion, as a model writes it after the `<think>` with which its turn begins:
#
#     Since AB is parallel to CD, angle 2 = 180 - 115 = 65.</think>
#     <answer>65°</answer>

_TAG = re.compile(r"<(/?)(think|answer)\s*>", re.IGNORECASE)  # "</Think >" too
# A well-formed turn: text without tags, in two blocks.
_BODY = r"(?:(?!</?(?:think|answer)>).)*"
_TURN = re.compile(rf"\s*<think>(?P<think>{_BODY})</think>\s*<answer>(?P<answer>{_BODY})</answer>\s*", re.DOTALL)


def extract_answer(completion: str) -> str | None:
    """The text of the last closed `<answer>` outside the thinking; None if there is none, or if it is blank.

    A completion may continue a `<think>` of its prompt, so a `</think>` without an opening tag closes thinking that
    began before the completion. If a `<think>` is never closed, an `<answer>` inside it still counts.
    A closed `<answer>` includes any nested ones: `<answer><answer>65</answer>115</answer>` gives both numbers.

        extract_answer("so 65.</think><answer> 65° </answer>")    "65°"
        extract_answer("<think>so it is 65")                      None
    """
    think_start: int | None = _start_of_unopened_thinking(completion)
    opened: list[int] = []  # starts of the answers that are still open
    answers: list[tuple[int, int]] = []  # (start, end) of the closed ones
    for tag in _TAG.finditer(completion):
        closing, name = tag[1] == "/", tag[2].lower()
        if name == "answer" and not closing:
            opened.append(tag.end())
        elif name == "answer" and opened:
            start = opened.pop()
            _drop_from(answers, start)  # the blocks nested in this one
            answers.append((start, tag.start()))
        elif name == "think" and not closing and think_start is None:
            think_start = tag.start()
        elif name == "think" and closing and think_start is not None:
            # All that stood in the thinking is discarded, open answers too.
            _drop_from(answers, think_start)
            opened.clear()
            think_start = None
    if not answers:
        return None
    start, end = answers[-1]
    return _TAG.sub("\n", completion[start:end]).strip() or None


def _drop_from(answers: list[tuple[int, int]], start: int) -> None:
    """Drops the answers that begin at `start` or later. Each is dropped once, so the total is linear."""
    while answers and answers[-1][0] >= start:
        answers.pop()


def _start_of_unopened_thinking(completion: str) -> int | None:
    """0 if the first think tag is a closing one: the thinking began before the completion."""
    for tag in _TAG.finditer(completion):
        if tag[2].lower() == "think":
            return 0 if tag[1] else None
    return None


def is_well_formatted(completion: str, begun: str = THINK_OPEN) -> bool:
    """Whether the whole turn, `begun` + `completion`, is one `<think>...</think><answer>...</answer>`.

    `begun` is the text with which the prompt begins the turn. White space around the two blocks is allowed; neither
    block may be blank or contain a tag.
    """
    turn = _TURN.fullmatch(begun + completion)
    return turn is not None and bool(turn["think"].strip()) and bool(turn["answer"].strip())


# ----------------------------------------------------------------------------------------------------
# The score

PROTOCOLS = ("strict", "paper", "released", "released_evaluation")

# Far longer than any completion; limits what is sent to a worker.
_MAX_TEXT = 1_000_000
# Numbers this short are exact in sympy's floats; longer ones are compared by a worker.
_SHORT = 12
# math_verify rounds decimals to six places before it compares them; a larger difference survives the rounding.
_SURELY_DIFFERENT = Fraction(2, 10**6)
_CLOSE = Fraction(1, 100)  # how far apart the links of a chain may be after ≈, relative to the larger one


def score(completion: str, gold: str, protocol: str = "strict") -> float:
    """1.0 if the completion's answer equals the ground truth, else 0.0. Never raises because of the texts.

    `completion` is what the model wrote, with its `<think>` or without it. A comparison that exceeds its limits on time
    or memory scores 0.0 and is counted in `stats()`. Raises UserError for an unknown protocol, and RankError if no worker
    process can start.

        score("so 65.</think><answer>65 degrees</answer>", "65°")             1.0
        score("so it is 65.</think><answer>about right</answer>", "65°")      0.0, but 1.0 with protocol="paper"
    """
    check_protocol(protocol)
    count("scored")
    completion, gold = str(completion), str(gold)
    if max(len(completion), len(gold)) > _MAX_TEXT:
        count("oversized")
        return 0.0
    try:
        if protocol == "strict":
            right = _answer_is_right(completion, gold)
        else:
            right = _completion_is_right(completion, gold, protocol)
    except pool.WorkerFailure as failure:
        count(failure.kind)
        right = False
    return float(right or (protocol == "released" and _same_answer_text(completion, gold)))


def check_protocol(protocol: str) -> None:
    """Raises UserError if `protocol` is not one of `PROTOCOLS`."""
    if protocol not in PROTOCOLS:
        raise UserError(f"unknown scoring protocol {protocol!r}: use one of {', '.join(PROTOCOLS)}")


def is_latex(text: str) -> bool:
    """Whether math_verify finds LaTeX mathematics in a text; False, and counted, if it fails or times out."""
    try:
        return _worker_verdict(json.dumps({"latex": text}))
    except pool.WorkerFailure as failure:
        count(failure.kind)
        return False


@lru_cache(maxsize=1024)  # completions of a group repeat each other; failures are exceptions and are not cached
def _worker_verdict(request: str) -> bool:
    """The verdict of a worker on a request in JSON; `symbolic.py` lists the kinds. WorkerFailure if there is none."""
    count("compared")
    return pool.request_verdict(json.loads(request))


# ----------------------------------------------------------------------------------------------------
# `paper` and `released`: the whole completion
#
# The authors' released training code (`--scorer released`) gives two rewards:
#
#     accuracy   1 if math_verify finds verify(parse(completion), parse(solution)); else 1 if the text in the completion's
#                first <answer> equals the solution's; else 0
#     format     1 if the completion alone is <think>..</think>, then <answer>..</answer>. Their prompt begins the turn
#                with `<think>`, so only a completion with a second `<think>` earns it.
#
# Their evaluation uses the first half of `accuracy`. The paper's protocol calls verify with the ground truth first.
# The text functions reproduce their code exactly, quirks included.

_FIRST_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_RELEASED_FORMAT = re.compile(r"<think>.*</think>\s*<answer>.*</answer>", re.DOTALL)


def _completion_is_right(completion: str, gold: str, protocol: str) -> bool:
    request = {"completion": completion, "gold": gold, "completion_first": protocol != "paper"}
    return _worker_verdict(json.dumps(request))


def has_released_format(completion: str) -> bool:
    """Whether the completion alone, without the `<think>` of the prompt, has both blocks; any text may stand in them."""
    return _RELEASED_FORMAT.fullmatch(completion) is not None


def _same_answer_text(completion: str, solution: str) -> bool:
    """Whether the texts in the first `<answer>` of both are identical; without an `<answer>`, the whole text counts."""
    return _first_answer_text(completion) == _first_answer_text(solution)


def _first_answer_text(text: str) -> str:
    found = _FIRST_ANSWER.search(text)
    return (found[1] if found else text).strip()


# ----------------------------------------------------------------------------------------------------
# `strict`: the text of the answer


def _answer_is_right(completion: str, gold: str) -> bool:
    """Whether the last closed `<answer>` gives the ground truth. What is compared depends on the ground truth."""
    answer = extract_answer(completion)
    if answer is None or not gold.strip():
        return False
    if _same_text(answer, gold):
        return True
    if len(answer) > MAX_CHARACTERS:
        count("oversized")
        return False
    gold_reading, answer_reading = read_single_value(gold), read_single_value(answer)
    if gold_reading is None:
        # An option letter, yes or no, other words, several values or a formula.
        return _same_words(answer, gold) or (_option(gold) is None and _same_formula(answer, gold))
    if answer_reading is None:
        # "B" for the ground truth "B. 65°"
        return _same_option(answer, gold)
    return _same_value(answer_reading, gold_reading)


def _same_text(answer: str, gold: str) -> bool:
    return answer.casefold().split() == gold.casefold().split()


# ----------------------------------------------------------------------------------------------------
# Ground truths that are one value


def _same_value(answer: Reading, gold: Reading) -> bool:
    """Whether the answer's value, or an earlier link of its chain, equals the ground truth (or a link of its chain)."""
    undecided: list[dict[str, Any]] = []  # comparisons for the worker
    chain = (*answer.earlier, Link(answer.value, nearly=False))
    for i, link in enumerate(chain):
        # An earlier link counts only if the chain is true: "64 = 65" does not answer 64.
        conditions = _conditions_of_chain(chain[i:])
        if conditions is None:
            continue
        for wanted in (gold.value, *(earlier.value for earlier in gold.earlier)):
            comparison = _comparison(link.value, wanted)
            if comparison is None or comparison["known"] is False:
                continue
            if comparison["known"] is True and not conditions:
                return True
            undecided.append({"equal": comparison["equal"], "continued": conditions})
    return bool(undecided) and _worker_verdict(json.dumps({"any": undecided}))


def _conditions_of_chain(chain: tuple[Link, ...]) -> list[dict[str, Any]] | None:
    """What a worker must confirm before the first link of a chain counts; None if the chain is known to be wrong.

    Each link must be the next one, rounded, or within 1 % of it if ≈ stands between them. A chain of three or more must
    also end within 1 % of its first link, or with it rounded.
    """
    undecided: list[dict[str, Any]] = []
    steps = [(link.value, following.value, link.nearly) for link, following in pairwise(chain)]
    if len(chain) > 2:
        steps.append((chain[0].value, chain[-1].value, True))
    for first, second, nearly in steps:
        if len(first.parts) > 1 or len(second.parts) > 1:
            return None
        continued = rounds_to(first, second)
        if continued is None:
            places = decimals(second)
            undecided.append({"values": [first.parts[0], second.parts[0]], "nearly": nearly, "decimals": places})
        elif not continued and not (nearly and _numbers_close(first, second)):
            return None
    return undecided


def _comparison(answer: Value, gold: Value) -> dict[str, Any] | None:
    """A comparison for the worker, with its result as `known` if it needs none; None if the two cannot be equal.

    65 degrees and 65: {"equal": [("65", "65")], "known": True}. 2√3 and √12: `known` is None. 3 cm and 3 s: None.
    """
    factor = conversion_factor(answer.unit, gold.unit)
    if factor is None or len(answer.parts) != len(gold.parts):
        return None
    parts = answer.parts
    if factor != 1:
        parts = tuple(rf"({part})*{factor.numerator}/{factor.denominator}" for part in parts)
    known: bool | None = None
    if _is_short(answer) and _is_short(gold) and answer.number is not None and gold.number is not None:
        difference = abs(answer.number * factor - gold.number)
        known = True if difference == 0 else False if difference > _SURELY_DIFFERENT else None
    return {"equal": list(zip(gold.parts, parts, strict=True)), "known": known}


def _is_short(value: Value) -> bool:
    return value.number is not None and all(len(part) <= _SHORT + len(r"\frac{}{}") for part in value.parts)


def _numbers_close(first: Value, second: Value) -> bool:
    """Whether two plain numbers differ by 1 % or less."""
    if first.number is None or second.number is None:
        return False
    return abs(first.number - second.number) <= _CLOSE * max(abs(first.number), abs(second.number))


# ----------------------------------------------------------------------------------------------------
# Ground truths that are words: an option letter, yes or no, a name


def _option(gold: str) -> str | None:
    return gold_letter(plain_markup(gold[:MAX_CHARACTERS]))


def _same_option(answer: str, gold: str) -> bool:
    option = _option(gold)
    return option is not None and letters_given(answer[:MAX_CHARACTERS]) == (option,)


def _same_words(answer: str, gold: str) -> bool:
    if _option(gold) is not None:
        return _same_option(answer, gold)
    words = _words(gold)
    if words in (["yes"], ["no"]):
        return yes_or_no(answer) == words[0]
    return words != [] and words == _words(answer)


def _words(text: str) -> list[str]:
    """Words, signs, and the brackets of points and intervals: "The answer is (0, x]" gives ["(", "0", "x", "]"]."""
    text = UP_TO_ANSWER_IS.sub("", plain_markup(text[:MAX_CHARACTERS]))
    signs = r"[-+*/=<>≤≥≠^()\[\]]" if re.search(r"[0-9].*,|,.*[0-9]", text) else r"[-+*/=<>≤≥≠^]"
    return [word for word in re.findall(rf"[^\W_]+|{signs}", text.casefold()) if word != "the"]


# ----------------------------------------------------------------------------------------------------
# Ground truths with variables, several values or intervals


_MATHEMATICAL = re.compile(r"[-0-9=<>≤≥≠+*/^√\\]")


def _same_formula(answer: str, gold: str) -> bool:
    plain = plain_markup(gold[:MAX_CHARACTERS])
    if len(gold) > MAX_CHARACTERS or not _MATHEMATICAL.search(plain):
        return False
    symbols = symbols_of(gold)
    # Several values, a point or an interval; letters are words first and variables only if that fails.
    for letters in (NO_SYMBOLS, symbols):
        if several := read_several_values(gold, letters):
            answer_values = read_several_values(answer, letters)
            return answer_values is not None and _same_values(answer_values, several)
    # One value with variables: "2a", "90°-α".
    gold_reading = None if RELATION.search(plain) else read_single_value(gold, symbols)
    if gold_reading is not None:
        answer_reading = read_single_value(answer, symbols)
        return answer_reading is not None and _same_value(answer_reading, gold_reading)
    # An equation or an inequality.
    formula = stated_formula(answer, symbols)
    ways = possible_equalities(plain, formula) if formula else []
    return bool(ways) and _worker_verdict(json.dumps({"any": [{"equal": pairs} for pairs in ways]}))


def _same_values(answer: SeveralValues, gold: SeveralValues) -> bool:
    pairs = paired_values(gold, answer)
    if pairs is None:
        return False
    if pairs:
        return _all_equal([_comparison(answer_value, gold_value) for gold_value, answer_value in pairs])
    # In any order: a row per value of the ground truth, a column per value of the answer.
    rows = [[_cell(_comparison(column, row)) for column in answer.values] for row in gold.values]
    return all(any(cell is not False for cell in row) for row in rows) and _worker_verdict(json.dumps({"match": rows}))


def _all_equal(comparisons: list[dict[str, Any] | None]) -> bool:
    undecided: list[list[str]] = []
    for comparison in comparisons:
        if comparison is None or comparison["known"] is False:
            return False
        undecided += [] if comparison["known"] else comparison["equal"]
    return not undecided or _worker_verdict(json.dumps({"any": [{"equal": undecided}]}))


def _cell(comparison: dict[str, Any] | None) -> bool | dict[str, Any]:
    """The result of a comparison if it is known, else the comparison for the worker."""
    if comparison is None or comparison["known"] is not None:
        return comparison is not None and bool(comparison["known"])
    return {"equal": comparison["equal"]}
