"""A user's reward function or scorer: called as TRL calls rewards, with its result checked.

A reward gets by name the parameters that it lists (all of them if it has **kwargs):

    completions       what the model wrote, as texts; or as messages, for a function that reads messages (below)
    prompts           the questions, in the same form
    completion_ids    the sampled tokens
    begun             the beginning of the model's turn: `<think>` and the hint
    trainer_state     transformers' TrainerState; log_metric and log_extra: TRL's functions
    and every column of the data: solution, question, id, reasoning_steps, ..., and the extra fields of a JSONL file

It returns a number or None for each completion, and may be async. As messages, a completion is
`[{"role": "assistant", "content": "<think>" + text}]`: the hint is left out, as it is from what is scored.
"""

import asyncio
import inspect
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from numbers import Real
from typing import Any, Literal

from hint_grpo.machine.errors import UserError
from hint_grpo.plugins import check_call, error_text, load_callable, signature_of
from hint_grpo.prompts import THINK_OPEN

Form = Literal["texts", "messages"]
KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class PluggedReward:
    """A reward function from outside the package, in the form of the built-in ones: called by keyword, returns a list."""

    def __init__(self, function: Callable[..., Any], reference: str, flag: str, name: str | None = None) -> None:
        self.function, self.reference, self.flag = function, reference, flag
        self.__name__ = name or getattr(function, "__name__", reference.rpartition(":")[2])
        self.form: Form | None = form_of(function)
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  # whether an object's __call__ is async, not whether it has one
        )
        self.names = self._names()

    def _names(self) -> set[str] | None:
        """The parameters to pass; None: all. Raises UserError for one that cannot be passed by name."""
        signature = signature_of(self.function)
        parameters = list(signature.parameters.values()) if signature else []
        for one in parameters:
            if one.kind is inspect.Parameter.POSITIONAL_ONLY and one.default is one.empty:
                raise UserError(f"{self.flag} {self.reference}: its parameter {one.name} must accept a keyword")
        if signature is None or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
            return None
        names = {one.name for one in parameters if one.kind in KEYWORD}
        if not names:
            raise UserError(
                f"{self.flag} {self.reference}: it accepts nothing; a reward is called with completions=[...]"
            )
        return names

    def __call__(self, **given: Any) -> list[float | None]:
        return self._checked(self._call(given), len(given["completions"]))

    def _call(self, given: Mapping[str, Any]) -> Any:
        """Calls the function with what it accepts."""
        arguments = dict(in_form(given, self.form or "texts"))
        if self.names is not None:
            arguments = {name: value for name, value in arguments.items() if name in self.names}
        result = self.function(**arguments)
        return _finished(result) if self.is_async else result

    def _checked(self, rewards: Any, count: int) -> list[float | None]:
        """The rewards as a list. Raises UserError if they are not one number or None per completion."""
        try:
            listed = list(rewards)
        except TypeError:
            raise self._mistake(f"it returns {type(rewards).__name__}, not a list of numbers") from None
        if len(listed) != count:
            raise self._mistake(f"it returns {len(listed)} rewards for {count} completions")
        return [None if one is None else self._number(one) for one in listed]

    def _number(self, value: Any) -> float:
        if isinstance(value, Real) or hasattr(value, "item"):  # a tensor's or an array's element
            return float(value)
        raise self._mistake(f"it returns {value!r:.40} in its list: give numbers or None")

    def _mistake(self, text: str) -> UserError:
        return UserError(f"{self.flag} {self.reference}: {text}")

    def try_out(self, given: Mapping[str, Any]) -> None:
        """Calls the function once on made-up completions of a real sample, and finds out whether it reads texts or messages.

        Raises UserError for a parameter that the data lacks, an exception, or a result of the wrong form.
        """
        self._check_parameters(given)
        forms: list[Form] = ["texts", "messages"] if self.form is None else [self.form]
        for self.form in forms:
            try:
                self(**given)
                return
            except UserError:
                raise
            except Exception as error:  # whatever the user's code raises
                if self.form == forms[-1] or not _expected_messages(error):
                    raise self._mistake(f"fails on the first sample: {error_text(error, skip=__file__)}") from error

    def _check_parameters(self, given: Mapping[str, Any]) -> None:
        signature = signature_of(self.function)
        for one in signature.parameters.values() if signature else ():
            if one.kind in KEYWORD and one.default is one.empty and one.name not in given:
                known = ", ".join(sorted(given))
                raise self._mistake(f"it needs {one.name!r}, which the data does not have; there are {known}")


def _expected_messages(error: Exception) -> bool:
    """Whether a function failed because it got texts: 'abc'[0]["content"] is a TypeError, 'abc'.get an AttributeError."""
    return isinstance(error, TypeError | AttributeError | IndexError) and "str" in str(error)


def form_of(function: Callable[..., Any]) -> Form | None:
    """Texts or messages, by the annotation of `completions`; None if that does not say."""
    signature = signature_of(function)
    parameter = signature.parameters.get("completions") if signature else None
    if signature is None or parameter is None or parameter.annotation is parameter.empty:
        return None
    annotation = str(parameter.annotation)
    if "dict" in annotation.lower() or "Mapping" in annotation:
        return "messages"
    return "texts" if annotation.endswith("[str]") else None


def in_form(given: Mapping[str, Any], form: Form) -> Iterator[tuple[str, Any]]:
    """The arguments with `completions` and `prompts` as texts or as messages. They come as texts and as messages."""
    for name, value in given.items():
        if name == "completions" and form == "messages":
            yield name, [[{"role": "assistant", "content": THINK_OPEN + text}] for text in value]
        elif name == "prompts" and form == "texts":
            yield name, [user_text(messages) for messages in value]
        else:
            yield name, value


def user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text of a prompt's user message: the question, with its hint under query injection."""
    content = next(message["content"] for message in messages if message["role"] == "user")
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)


@cache
def plugged_reward(reference: str, flag: str, name: str | None = None) -> PluggedReward:
    """The reward function that `reference` names, called `name` in logs (default: as in its file). Raises UserError.

    One object per process, so that `try_out` decides for the whole run whether it reads texts or messages.
    """
    return PluggedReward(load_callable(reference, flag), reference, flag, name)


# ----------------------------------------------------------------------------------------------------
# Scorers: one completion and one ground truth


Scorer = Callable[[str, str], float]


@cache
def plugged_scorer(reference: str) -> Scorer:
    """The function that `reference` names for --scorer, `(completion, solution) -> number or bool`. Raises UserError."""
    function = load_callable(reference, "--scorer")
    check_call(function, reference, "--scorer", "completion", "solution")

    def scorer(completion: str, solution: str) -> float:
        result = function(completion, solution)
        if not isinstance(result, Real) or math.isnan(result):
            raise UserError(f"--scorer {reference}: it returns {result!r:.40}: give a number, 1 for a right answer")
        return float(result)

    return scorer


def right_completion(solution: str) -> str:
    """A made-up correct completion, after its `<think>`, to try a user's function with."""
    return f"It is {solution}.</think><answer>{solution}</answer>"


def try_scorer(reference: str, completion: str, solution: str) -> None:
    """Calls a scorer once. Raises UserError if it fails, or returns something else than a number."""
    try:
        plugged_scorer(reference)(completion, solution)
    except UserError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise UserError(
            f"--scorer {reference}: fails on {completion!r:.60}: {error_text(error, skip=__file__)}"
        ) from error


# ----------------------------------------------------------------------------------------------------
# Async rewards: one event loop for the whole run, in a thread, so that a function may keep its connections open


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="async-rewards", daemon=True).start()
    return loop


def _finished(coroutine: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, _loop()).result()
