"""The values of --hint_policy: the paper's policies, those of the literature, and the user's own by path."""

from collections.abc import Mapping, Sequence
from typing import Any

from hint_grpo.machine.errors import UserError
from hint_grpo.plugins import check_call, error_text, is_reference, load_callable
from hint_grpo.policies.base import FunctionPolicy, HintedSample, HintPolicy, levels_of, sizes_of
from hint_grpo.policies.g2rpo_a import G2RPOA
from hint_grpo.policies.ghpo import GHPO
from hint_grpo.policies.history import NOTHING
from hint_grpo.policies.paper import Adaptive, Fixed, NoHints, Random
from hint_grpo.policies.questa import QuestA
from hint_grpo.policies.seele import SEELE
from hint_grpo.policies.trapo import TRAPO
from hint_grpo.policies.uft import UFT

PAPER = ("adaptive", "fixed", "random", "none")
LITERATURE: dict[str, type[HintPolicy]] = {
    "uft": UFT,
    "questa": QuestA,
    "ghpo": GHPO,
    "g2rpo_a": G2RPOA,
    "seele": SEELE,
    "trapo": TRAPO,
}
FLAG = "--hint_policy"


def make_policy(
    name: str,
    *,
    num_levels: int = 3,
    ratio: float = 0.0,
    counts: Any = "exact",
    equal_hints: Any = "skip",
    arguments: Mapping[str, Any] | None = None,
) -> HintPolicy:
    """The policy `name`: one of PAPER or LITERATURE, or a path (`file.py:name`). Raises UserError.

    `num_levels`, `counts` and `equal_hints` are of adaptive hints, `ratio` of fixed ones, `arguments` (--hint_policy_args) of
    all others.
    """
    if arguments and name in PAPER:
        raise UserError(f"--hint_policy_args needs a policy that has settings, not {FLAG} {name}")
    if name == "adaptive":
        return Adaptive(num_levels, counts, equal_hints)
    if name == "fixed":
        return Fixed(ratio)
    if name in PAPER:
        return Random() if name == "random" else NoHints()
    if name in LITERATURE:
        return _called(LITERATURE[name], name, arguments or {})
    if is_reference(name):
        return _plugged(name, arguments or {})
    raise UserError(f"{FLAG} {name} is not known: use one of {', '.join((*PAPER, *LITERATURE))}, or file.py:name")


def _plugged(reference: str, arguments: Mapping[str, Any]) -> HintPolicy:
    """A class with a method `levels` (called with --hint_policy_args), or a function of the same form."""
    given = load_callable(reference, FLAG)
    if isinstance(given, type):
        given = _called(given, reference, arguments)
    elif arguments:
        raise UserError(f"--hint_policy_args needs a class, but {FLAG} {reference} is a function")
    if not callable(getattr(given, "levels", given)):
        raise UserError(f"{FLAG} {reference}: it has no method levels(sample, progress, history)")
    policy = given if isinstance(given, HintPolicy) else FunctionPolicy(given)
    levels = policy.function if isinstance(policy, FunctionPolicy) else policy.levels
    check_call(levels, reference, FLAG, "sample", "progress", "history")
    return policy


def _called(maker: type, name: str, arguments: Mapping[str, Any]) -> Any:
    try:
        return maker(**arguments)
    except TypeError as error:
        shown = " ".join(str(error).split())
        raise UserError(f"{FLAG} {name} cannot be made with --hint_policy_args {dict(arguments)}: {shown}") from error


def try_policy(policy: HintPolicy, steps: Sequence[str], columns: Mapping[str, Any], num_generations: int) -> None:
    """Asks a policy for the levels of a real sample, at the start, the middle and the end of a training. Raises UserError."""
    mixes = sizes_of(policy, num_generations) is not None
    sample = HintedSample(str(columns.get("id", "")), steps, "trial", columns)
    for progress in (0.0, 0.5, 0.999):
        try:
            if len(levels_of(policy, sample, progress, NOTHING)) > 1 and mixes:
                raise UserError(
                    f"{FLAG}: a policy with sizes gives one number of steps for each round, not several levels"
                )
        except UserError:
            raise
        except Exception as error:  # whatever the user's code raises
            raise UserError(f"{FLAG}: fails on the first sample: {error_text(error)}") from error
