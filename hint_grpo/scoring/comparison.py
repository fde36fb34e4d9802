"""What a worker process decides: are two values equal, or does a completion hold the ground truth (math_verify, sympy).

Imported by worker processes alone: nothing here is bounded in time or memory, the process around it is.
"""

import logging
from functools import lru_cache
from typing import Any

import math_verify.parser
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
from sympy.parsing import parse_expr

# What math_verify's LaTeX patterns cannot do without (parser.py, make_latex_env_pattern and lazy_latex_regex).
_LATEX_OPENINGS = ("$", "\\[", "\\(", "\\frac", "\\boxed", "[")
_LATEX = (LatexExtractionConfig(),)
_EXPRESSIONS = (ExprExtractionConfig(),)
_BOTH = _LATEX + _EXPRESSIONS  # math_verify's default


def prepare() -> None:
    """Silences math_verify, spares it needless work, and loads what the first comparison would load (half a second)."""
    for name in ("math_verify", "latex2sympy2_extended"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    math_verify.parser.parse_expr_cached = _with_prepared_names()
    decide({"any": [{"equal": [["\\frac{\\sqrt{3}}{2}", "\\sin(\\frac{60*\\pi }{180})"]]}]})
    decide({"completion": "180 - 115 = 65", "gold": "65"})


def _with_prepared_names() -> Any:
    """math_verify's `parse_expr_cached`, with the names of sympy at hand.

    Without `global_dict`, `parse_expr` runs `from sympy import *` on every call, a third of the time per completion.
    The names are the same, and so are the results.
    """
    names: dict[str, Any] = {}
    exec("from sympy import *", names)

    @lru_cache(maxsize=1024)
    def parse_expr_cached(expr: str) -> Any:
        return parse_expr(expr, evaluate=False, global_dict=names)

    return parse_expr_cached


def decide(request: dict[str, Any]) -> bool:
    """The verdict on a request of `checker.py`: a whole completion (`paper`, `released`), whether a text holds LaTeX, or
    comparisons of values (`strict`).
    """
    if "completion" in request:
        return _whole(request["gold"], request["completion"], completion_first=request.get("completion_first", False))
    if "latex" in request:
        return bool(_parsed(request["latex"], _LATEX))
    if "match" in request:
        return _match(request["match"])
    return any(_holds(comparison) for comparison in request["any"])


def _whole(gold: str, completion: str, *, completion_first: bool) -> bool:
    """`verify(gold, answer)` (the paper's protocol) on all that math_verify finds in the completion, or the other way
    round (the released code's; verify is not symmetric).
    """
    # Where no LaTeX pattern can match, trying them is most of the cost of prose.
    latex = any(opening in completion for opening in _LATEX_OPENINGS)
    pair = _parsed(gold, _BOTH), _parsed(completion, _BOTH if latex else _EXPRESSIONS)
    return _equal(*(reversed(pair) if completion_first else pair))


def _match(rows: list[list[Any]]) -> bool:
    """Whether each value of the ground truth (a row) equals another value of the answer (a column)."""
    free = [*range(len(rows))]
    for row in rows:
        equal = next((i for i in free if row[i] is True or (row[i] and _holds(row[i]))), None)
        if equal is None:
            return False
        free.remove(equal)
    return True


def _holds(comparison: dict[str, Any]) -> bool:
    """`equal`: pairs (gold, answer) of LaTeX values that must all be equal. `continued`: the links of a chain."""
    if not all(_equal(_value(gold), _value(answer)) for gold, answer in comparison["equal"]):
        return False
    return all(map(_continued, comparison.get("continued", ())))


# math_verify's own time-outs rest on SIGALRM and stay off: 0 seconds switches off parse's, None verify's.
@lru_cache(maxsize=4096)
def _parsed(text: str, targets: tuple[Any, ...]) -> list[Any]:
    return parse(text, targets, parsing_timeout=0)


def _equal(gold: list[Any], answer: list[Any]) -> bool:
    return bool(verify(gold, answer, timeout_seconds=None))


def _value(latex: str) -> list[Any]:
    return _parsed(f"${latex}$", _LATEX)


def _continued(link: dict[str, Any]) -> bool:
    """Whether the second value is the first, rounded to its decimals; behind ≈, whether they differ by 1 % or less."""
    try:
        first, second = (float(_value(latex)[0].evalf()) for latex in link["values"])
    except (AttributeError, IndexError, TypeError, ValueError, OverflowError):  # a variable, or nothing was read
        return False
    size = max(abs(first), abs(second))
    rounding = 0.5 * 10.0 ** -link["decimals"] + 1e-9 * size
    return abs(first - second) <= max(rounding, 0.01 * size if link["nearly"] else 0)
