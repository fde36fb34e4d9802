"""The comparisons that need math_verify and sympy; only the worker process (`worker.py`) imports this module.

Nothing here is limited in time or memory: the limits are on the process. Requests come from `checker.py` as JSON:

    {"completion": "...", "gold": "...", "completion_first": false}    math_verify on a whole completion
    {"latex": "..."}                                                   does math_verify find LaTeX mathematics?
    {"any": [comparison, ...]}                                         does one of the comparisons hold?
    {"match": [[cell, ...], ...]}                                      can all values be matched, each to another one?

A comparison is {"equal": [[gold, answer], ...]}: pairs of LaTeX values that must all be equal. It may also have
"continued": links of a chain of equalities that must be equal or rounded. A cell is a comparison, true or false.
"""

import logging
from functools import lru_cache
from typing import Any

import math_verify.parser
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
from sympy.parsing import parse_expr

# No LaTeX pattern of math_verify matches without one of these (parser.py, make_latex_env_pattern and lazy_latex_regex).
_LATEX_OPENINGS = ("$", "\\[", "\\(", "\\frac", "\\boxed", "[")
_LATEX = (LatexExtractionConfig(),)
_EXPRESSIONS = (ExprExtractionConfig(),)
_BOTH = _LATEX + _EXPRESSIONS  # math_verify's default


def prepare() -> None:
    """Silences math_verify, speeds it up, and loads what the first comparison would load (half a second)."""
    for name in ("math_verify", "latex2sympy2_extended"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    math_verify.parser.parse_expr_cached = _with_prepared_names()
    # One comparison of each kind, so that sympy's lazy imports happen before the worker forks.
    decide({"any": [{"equal": [["\\frac{\\sqrt{3}}{2}", "\\sin(\\frac{60*\\pi }{180})"]]}]})
    decide({"completion": "180 - 115 = 65", "gold": "65"})


def _with_prepared_names() -> Any:
    """math_verify's `parse_expr_cached`, with sympy's names imported once.

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
    """The verdict on one request; the module's docstring lists the kinds."""
    if "completion" in request:
        return _whole_completion(
            request["gold"], request["completion"], completion_first=request.get("completion_first", False)
        )
    if "latex" in request:
        return bool(_parsed(request["latex"], _LATEX))
    if "match" in request:
        return _match(request["match"])
    return any(_holds(comparison) for comparison in request["any"])


# ----------------------------------------------------------------------------------------------------
# `paper` and `released`: math_verify on a whole completion


def _whole_completion(gold: str, completion: str, *, completion_first: bool) -> bool:
    """`verify(gold, completion)` (paper), or with the completion first (released code); verify is not symmetric."""
    # Skipping the LaTeX patterns where none can match saves most of the time on prose.
    latex = any(opening in completion for opening in _LATEX_OPENINGS)
    pair = _parsed(gold, _BOTH), _parsed(completion, _BOTH if latex else _EXPRESSIONS)
    return _equal(*(reversed(pair) if completion_first else pair))


# ----------------------------------------------------------------------------------------------------
# `strict`: comparisons of single values


def _match(rows: list[list[Any]]) -> bool:
    """Whether each value of the ground truth (a row) equals a different value of the answer (a column)."""
    free = [*range(len(rows))]
    for row in rows:
        equal = next((i for i in free if row[i] is True or (row[i] and _holds(row[i]))), None)
        if equal is None:
            return False
        free.remove(equal)
    return True


def _holds(comparison: dict[str, Any]) -> bool:
    """Whether all pairs of `equal` are equal and all links of `continued` continue their chain."""
    if not all(_equal(_value(gold), _value(answer)) for gold, answer in comparison["equal"]):
        return False
    return all(map(_is_continued, comparison.get("continued", ())))


def _is_continued(link: dict[str, Any]) -> bool:
    """Whether the second value is the first, rounded to its decimals; after ≈, whether they differ by 1 % or less."""
    try:
        first, second = (float(_value(latex)[0].evalf()) for latex in link["values"])
    except (AttributeError, IndexError, TypeError, ValueError, OverflowError):  # a variable, or nothing was read
        return False
    size = max(abs(first), abs(second))
    rounding = 0.5 * 10.0 ** -link["decimals"] + 1e-9 * size
    return abs(first - second) <= max(rounding, 0.01 * size if link["nearly"] else 0)


# ----------------------------------------------------------------------------------------------------
# Calls of math_verify. Its own time-outs rely on SIGALRM and are off: 0 seconds for parse, None for verify.


@lru_cache(maxsize=4096)
def _parsed(text: str, targets: tuple[Any, ...]) -> list[Any]:
    return parse(text, targets, parsing_timeout=0)


def _value(latex: str) -> list[Any]:
    return _parsed(f"${latex}$", _LATEX)


def _equal(gold: list[Any], answer: list[Any]) -> bool:
    return bool(verify(gold, answer, timeout_seconds=None))
