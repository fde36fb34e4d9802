"""The answer checker: one function decides the reward, the hint level and every number of a table.

`strict`  only the last closed `<answer>` counts; it is read as a person would read it, and math_verify compares the
          value.
`paper`   math_verify over the whole completion, as the paper's numbers were made: a value that stands elsewhere in the
          completion counts too, and of a ground truth such as 2√{3} only the 2 is looked at.
`released` the reward of the authors' released training code (`released.py`): math_verify over the whole completion,
          with the completion first, then equality of the text in `<answer>`.
`released_evaluation`   their evaluation: `paper` with the completion first.

Comparisons run in worker processes (`pool.py`), so they are bounded in time and memory on any thread and in any
process. Plain numbers are compared here: with the workers' result, but without the trip.
"""

import json
import re
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

from hint_grpo.machine.errors import UserError
from hint_grpo.scoring import pool
from hint_grpo.scoring.answer_tags import extract_answer
from hint_grpo.scoring.choices import letters_given, yes_or_no
from hint_grpo.scoring.markup import plain_markup
from hint_grpo.scoring.option_letters import gold_letter
from hint_grpo.scoring.pool import count
from hint_grpo.scoring.reading import MAX_CHARACTERS, Link, Reading, decimals, read, rounds_to
from hint_grpo.scoring.several import RELATION, Several, equations, formula_in, pairs, read_several, symbols_of
from hint_grpo.scoring.units import conversion
from hint_grpo.scoring.values import NO_SYMBOLS, Value

# ----------------------------------------------------------------------------------------------------
# What the authors' released code counts as right, in training (`--scorer released`).
#
#     accuracy   1 if math_verify finds verify(parse(completion), parse(solution)); else 1 if the text in the completion's
#                first <answer> equals the solution's; else 0
#     format     1 if the completion alone is <think>..</think>, then <answer>..</answer>. A turn is begun with `<think>`
#                outside of the completion, so only a second `<think>` earns it.
#
# Their evaluation gives the first half of `accuracy`. The paper's protocol (`checker.py`) asks verify in the other order.
# math_verify itself runs in the checker's workers; the text work here is theirs to the letter, quirks included.

_FIRST_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FORMAT = re.compile(r"<think>.*</think>\s*<answer>.*</answer>", re.DOTALL)


def same_answer_text(completion: str, solution: str) -> bool:
    """Whether both say the same, character by character, in their first `<answer>` (or, without one, in all)."""
    return _answer_text(completion) == _answer_text(solution)


def has_released_format(completion: str) -> bool:
    """Whether the completion alone, without the begun `<think>`, has both blocks; it may hold anything inside them."""
    return _FORMAT.fullmatch(completion) is not None


def _answer_text(text: str) -> str:
    found = _FIRST_ANSWER.search(text)
    return (found[1] if found else text).strip()


PROTOCOLS = ("strict", "paper", "released", "released_evaluation")

# Far beyond any completion; bounds what travels to a worker.
_MAX_TEXT = 1_000_000
# Numbers this short are exact in sympy's floats; longer ones go to a worker.
_SHORT = 12
# math_verify rounds decimals to six places before it compares them; a larger difference survives the rounding.
_SURELY_DIFFERENT = Fraction(2, 10**6)
_CLOSE = Fraction(1, 100)


def score(completion: str, gold: str, protocol: str = "strict") -> float:
    """1.0 where the completion's answer equals the ground truth, else 0.0. No input makes it raise.

    `completion` is what the model wrote: with its `<think>`, or behind a begun one. A comparison that exceeds its time
    or memory scores 0.0 and is counted in `stats()`.
    """
    check_protocol(protocol)
    count("scored")
    completion, gold = str(completion), str(gold)
    if max(len(completion), len(gold)) > _MAX_TEXT:
        count("oversized")
        return 0.0
    try:
        right = _strict(completion, gold) if protocol == "strict" else _whole(completion, gold, protocol)
    except pool.WorkerFailure as failure:
        count(failure.kind)
        right = False
    return float(right or (protocol == "released" and same_answer_text(completion, gold)))


def is_latex(text: str) -> bool:
    """Whether math_verify reads LaTeX mathematics in a text; False, and counted, where it fails or takes too long."""
    try:
        return _verdict(json.dumps({"latex": text}))
    except pool.WorkerFailure as failure:
        count(failure.kind)
        return False


def check_protocol(protocol: str) -> None:
    """UserError where `protocol` is not one of `PROTOCOLS`."""
    if protocol not in PROTOCOLS:
        raise UserError(f"unknown scoring protocol {protocol!r}: use one of {', '.join(PROTOCOLS)}")


def _whole(completion: str, gold: str, protocol: str) -> bool:
    request = {"completion": completion, "gold": gold, "completion_first": protocol != "paper"}
    return _verdict(json.dumps(request))


@lru_cache(maxsize=1024)  # the completions of a group repeat each other; failures are exceptions and are not kept
def _verdict(request: str) -> bool:
    count("compared")
    return pool.ask(json.loads(request))


def _strict(completion: str, gold: str) -> bool:
    answer = extract_answer(completion)
    if answer is None or not gold.strip():
        return False
    if _same_text(answer, gold):
        return True
    if len(answer) > MAX_CHARACTERS:
        count("oversized")
        return False
    gold_reading, answer_reading = read(gold), read(answer)
    if gold_reading is None:
        return _same_words(answer, gold) or (_option(gold) is None and _same_formula(answer, gold))
    if answer_reading is None:
        return _same_option(answer, gold)
    return _same_value(answer_reading, gold_reading)


def _same_text(answer: str, gold: str) -> bool:
    return answer.casefold().split() == gold.casefold().split()


def _same_value(answer: Reading, gold: Reading) -> bool:
    """Whether the answer's value, or an earlier link of its chain, is the ground truth's (or one of its chain's)."""
    undecided: list[dict[str, Any]] = []
    chain = (*answer.earlier, Link(answer.value, nearly=False))
    for i, link in enumerate(chain):
        # Only a link that the chain truly continues counts: "64 = 65" does not answer 64.
        conditions = _continuations(chain[i:])
        if conditions is None:
            continue
        for wanted in (gold.value, *(earlier.value for earlier in gold.earlier)):
            comparison = _comparison(link.value, wanted)
            if comparison is None or comparison["known"] is False:
                continue
            if comparison["known"] is True and not conditions:
                return True
            undecided.append({"equal": comparison["equal"], "continued": conditions})
    return bool(undecided) and _verdict(json.dumps({"any": undecided}))


def _continuations(chain: tuple[Link, ...]) -> list[dict[str, Any]] | None:
    """What a worker must decide before the first link counts: that each is the next one, rounded, or nearly where ≈ says so.

    None where a link is known not to be continued. Behind ≈ the last link too must be within 1 % of the first.
    """
    undecided: list[dict[str, Any]] = []
    pairs = [(one.value, other.value, one.nearly) for one, other in pairwise(chain)]
    if len(chain) > 2:
        pairs.append((chain[0].value, chain[-1].value, True))
    for first, second, nearly in pairs:
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
    """The request that compares two values, with the result where it is `known`; None where they cannot be equal."""
    factor = conversion(answer.unit, gold.unit)
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


def _option(gold: str) -> str | None:
    return gold_letter(plain_markup(gold[:MAX_CHARACTERS]))


def _same_option(answer: str, gold: str) -> bool:
    option = _option(gold)
    return option is not None and letters_given(answer[:MAX_CHARACTERS]) == (option,)


def _same_words(answer: str, gold: str) -> bool:
    """For ground truths that hold no value: an option letter, yes or no, a name."""
    if _option(gold) is not None:
        return _same_option(answer, gold)
    words = _words(gold)
    if words in (["yes"], ["no"]):
        return yes_or_no(answer) == words[0]
    return words != [] and words == _words(answer)


def _words(text: str) -> list[str]:
    """Words, signs, and the brackets of points and intervals."""
    text = re.sub(r"(?i)^.*\banswer\s*(?:is|:)\s*", "", plain_markup(text[:MAX_CHARACTERS]))
    signs = r"[-+*/=<>≤≥≠^()\[\]]" if re.search(r"[0-9].*,|,.*[0-9]", text) else r"[-+*/=<>≤≥≠^]"
    return [word for word in re.findall(rf"[^\W_]+|{signs}", text.casefold()) if word != "the"]


_MATHEMATICAL = re.compile(r"[-0-9=<>≤≥≠+*/^√\\]")


def _same_formula(answer: str, gold: str) -> bool:
    """For ground truths with variables, several values or intervals."""
    plain = plain_markup(gold[:MAX_CHARACTERS])
    if len(gold) > MAX_CHARACTERS or not _MATHEMATICAL.search(plain):
        return False
    symbols = symbols_of(gold)
    for letters in (NO_SYMBOLS, symbols):
        if several := read_several(gold, letters):
            found = read_several(answer, letters)
            return found is not None and _same_several(found, several)
    reading = None if RELATION.search(plain) else read(gold, symbols)
    if reading is not None:
        said = read(answer, symbols)
        return said is not None and _same_value(said, reading)
    formula = formula_in(answer, symbols)
    wanted = equations(plain, formula) if formula else []
    return bool(wanted) and _verdict(json.dumps({"any": [{"equal": pair} for pair in wanted]}))


def _same_several(answer: Several, gold: Several) -> bool:
    matched = pairs(gold, answer)
    if matched is None:
        return False
    if matched:
        return _all_equal([_comparison(said, wanted) for wanted, said in matched])
    rows = [[_known_or_asked(_comparison(said, wanted)) for said in answer.values] for wanted in gold.values]
    return all(any(cell is not False for cell in row) for row in rows) and _verdict(json.dumps({"match": rows}))


def _all_equal(comparisons: list[dict[str, Any] | None]) -> bool:
    asked: list[list[str]] = []
    for comparison in comparisons:
        if comparison is None or comparison["known"] is False:
            return False
        asked += [] if comparison["known"] else comparison["equal"]
    return not asked or _verdict(json.dumps({"any": [{"equal": asked}]}))


def _known_or_asked(comparison: dict[str, Any] | None) -> bool | dict[str, Any]:
    if comparison is None or comparison["known"] is not None:
        return comparison is not None and bool(comparison["known"])
    return {"equal": comparison["equal"]}
