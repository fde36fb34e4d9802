"""The nearest known name to one that is not known: for flags, YAML keys and choices."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """A name that `name` abbreviates, resembles, or is a part of; None if there is none."""
    names = sorted(known)
    name = name.lower().replace("-", "_")
    begun = [one for one in names if one.startswith(name)]
    if name and begun:
        return min(begun, key=len)
    alike = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if alike:
        return alike[0]
    holding = [one for one in names if len(name) > 3 and name in one]
    return min(holding, key=len) if holding else None


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`; did you mean --num_groups?`, or nothing."""
    found = nearest(name, known)
    return f"; did you mean {prefix}{found}?" if found else ""
