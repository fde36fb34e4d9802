"""Loads what a user plugs in from outside the package: `module:name`, or `file.py:name`.

    --reward_funcs accuracy rewards.py:brevity        --hint_policy my_package.hints:Decaying

Every mistake is one line that names the flag (UserError). The file is executed once per process, when the flags are checked:
before torch is imported, unless the file imports it.
"""

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from hint_grpo.machine.errors import UserError, nearest


def is_reference(text: Any) -> bool:
    """Whether a flag's value is `module:name` or `file.py:name`, not the name of something built in."""
    return isinstance(text, str) and ":" in text


def load(reference: str, flag: str) -> Any:
    """What `reference` names. Raises UserError, which names `flag`, if it is not there or cannot be imported."""
    where, _, name = reference.rpartition(":")
    if not where or not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"{flag} {reference}: give module:name or file.py:name")
    module = _module(where, flag, reference)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise UserError(f"{flag} {reference}: {where} has no {part}{_suggestion(part, found)}")
        found = getattr(found, part)
    return found


def _suggestion(name: str, owner: Any) -> str:
    """`; did you mean CLOCKS?`, or nothing."""
    public = {one.lower(): one for one in getattr(owner, "__dict__", ()) if not one.startswith("_")}
    found = nearest(name, public)
    return f"; did you mean {public[found]}?" if found else ""


def load_callable(reference: str, flag: str) -> Callable[..., Any]:
    """As `load`, for a function or another callable."""
    found = load(reference, flag)
    if not callable(found):
        raise UserError(f"{flag} {reference}: it is a {type(found).__name__}; give a function")
    return found


def check_call(function: Callable[..., Any], reference: str, flag: str, *parameters: str) -> None:
    """Raises UserError if `function` cannot be called with `parameters` by position."""
    signature = signature_of(function)
    if signature is None:
        return
    try:
        signature.bind(*parameters)
    except TypeError as error:
        raise UserError(f"{flag} {reference}: it is called with ({', '.join(parameters)}), but {error}") from error


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """The signature; None for the few built-in functions that have none."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def error_text(error: BaseException, *, skip: str = __file__) -> str:
    """ "rewards.py:12: KeyError: 'x'": where and how the user's code failed, in one line."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != skip]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: " if frames else ""
    return f"{place}{type(error).__name__}: {' '.join(str(error).split())[:200]}"


# ----------------------------------------------------------------------------------------------------
# Importing


def _module(where: str, flag: str, reference: str) -> ModuleType:
    is_file = where.endswith(".py") or "/" in where
    if is_file and not Path(where).is_file():
        raise UserError(f"{flag} {reference}: there is no file {where}")
    try:
        return _from_file(Path(where).resolve()) if is_file else _from_path(where)
    except ModuleNotFoundError as error:
        if not is_file and (where == error.name or where.startswith(f"{error.name}.")):
            raise UserError(
                f"{flag} {reference}: there is no module {where} (in the current folder or installed); a file is "
                "named with its ending, as file.py:name"
            ) from error
        raise UserError(f"{flag} {reference}: {where} cannot be imported: {error_text(error)}") from error
    except SyntaxError as error:
        raise UserError(f"{flag} {reference}: {where} is not Python: line {error.lineno}: {error.msg}") from error
    except Exception as error:  # whatever the user's code raises while it is imported
        raise UserError(f"{flag} {reference}: {where} cannot be imported: {error_text(error)}") from error


@cache
def _from_file(path: Path) -> ModuleType:
    """The module of a file. Its name holds a digest of the path, so that two files of one name can be used together."""
    name = f"hint_grpo_plugin_{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _from_path(name: str) -> ModuleType:
    """An installed module, or one in the current folder, as with `python -m`."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    return importlib.import_module(name)
