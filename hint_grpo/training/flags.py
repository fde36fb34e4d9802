"""The flags of train_model.py: their names, types, defaults and help.

A flag is a field of one of the dataclasses in `hint_grpo.training.config`, TRL or transformers. Importing those takes many
seconds, and neither `--help` nor a mistake in a flag should wait for that. So this module imports none of them: it parses the
source text of the installed versions. The dataclasses stay the only place where a flag is declared.

`command_line` builds its parser from `declared_flags`, `flag_help` prints them; `flag_values` lists the values they accept.
"""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

# The dataclasses that train_model.py builds, each with the classes that declare its fields: (package, file, class), base classes
# first. A field that is declared twice has its last declaration.
SOURCES = (
    ("ScriptArguments", (("hint_grpo", "training/config.py", "ScriptArguments"),)),
    (
        "HintGRPOConfig",
        (
            ("transformers", "training_args.py", "TrainingArguments"),
            ("trl", "trainer/base_config.py", "_BaseConfig"),
            ("trl", "trainer/grpo_config.py", "GRPOConfig"),
            ("hint_grpo", "training/config.py", "HintGRPOConfig"),
        ),
    ),
    ("ModelConfig", (("trl", "trainer/model_config.py", "ModelConfig"),)),
)
# Fields that are not flags: an object that a command line cannot express, and a value that the launcher sets.
NOT_FLAGS = frozenset({"parallelism_config", "local_rank"})
Kind = Literal["bool", "int", "float", "str", "json"]


class Unknown:
    """The type of UNKNOWN: the default of a flag whose default is computed at run time."""

    def __repr__(self) -> str:
        return "(computed)"


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag, as its dataclass declares it."""

    name: str
    owner: str
    """The dataclass that gets the value: ScriptArguments, HintGRPOConfig or ModelConfig."""
    kind: Kind
    many: bool
    """Whether it accepts several values."""
    optional: bool
    """Whether None is allowed (`null` in a YAML file, `none` on the command line)."""
    default: Any
    """UNKNOWN if it is computed at run time."""
    choices: tuple[str, ...] | None
    """The values of its annotation (`Literal`) or metadata; `flag_values.choices` adds those of the other flags."""
    help: str
    own: bool
    """Whether this project declares it, not TRL or transformers."""


@cache
def declared_flags() -> dict[str, Flag]:
    """Every flag by name, in the order of the dataclasses. Raises ModuleNotFoundError if TRL or transformers is missing."""
    flags: dict[str, Flag] = {}
    for owner, sources in SOURCES:
        for package, file, name in sources:
            for statement in _fields(_tree(package, file), name):
                flag = _flag(statement, owner, own=package == "hint_grpo")
                if flag is not None:
                    flags[flag.name] = flag
    return {name: flag for name, flag in flags.items() if name not in NOT_FLAGS}


# ----------------------------------------------------------------------------------------------------
# Reading source text, by Python's own parser (ast)


def enum_values(package: str, file: str, name: str) -> tuple[str, ...]:
    """The values of the string enum `name` in a package's source."""
    members = [node for node in _class(_tree(package, file), name).body if isinstance(node, ast.Assign)]
    return tuple(str(node.value.value) for node in members if isinstance(node.value, ast.Constant))


def dict_keys(package: str, file: str, name: str) -> tuple[str, ...]:
    """The keys of the dictionary `name` at the top level of a package's source. Raises LookupError if it is not there."""
    for node in _tree(package, file).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and ast.unparse(node.targets[0]) == name:
            return tuple(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    raise LookupError(f"{package}/{file} has no dictionary {name}")


def package_folder(package: str) -> Path | None:
    """The folder of a package, found without importing it; None if it is not installed."""
    spec = importlib.util.find_spec(package)
    return Path(next(iter(spec.submodule_search_locations or ()))) if spec is not None else None


@cache
def _tree(package: str, file: str) -> ast.Module:
    folder = package_folder(package)
    if folder is None:
        raise ModuleNotFoundError(f"No module named {package!r}")
    return ast.parse((folder / file).read_text(encoding="utf-8"))


def _class(tree: ast.Module, name: str) -> ast.ClassDef:
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def _fields(tree: ast.Module, name: str) -> Iterator[ast.AnnAssign]:
    for node in _class(tree, name).body:
        if isinstance(node, ast.AnnAssign):
            yield node


def _flag(statement: ast.AnnAssign, owner: str, *, own: bool) -> Flag | None:
    """The flag of one field; None if it is not an argument of __init__ (a class variable, `init=False`)."""
    settings = _settings(statement.value)
    if ast.unparse(statement.annotation).startswith("ClassVar") or settings.get("init") is False:
        return None
    metadata = settings.get("metadata", {})
    kind, many, optional, choices = _type(statement.annotation)
    default = settings.get("default", settings.get("default_factory", UNKNOWN))
    return Flag(
        name=ast.unparse(statement.target),
        owner=owner,
        kind=kind,
        many=many,
        optional=optional or default is None,
        default=default,
        choices=choices or (tuple(listed) if isinstance(listed := metadata.get("choices"), list | tuple) else None),
        help=" ".join(str(metadata.get("help", "")).replace("%%", "%").split()),
        own=own,
    )


def _settings(value: ast.expr | None) -> dict[str, Any]:
    """The keyword arguments of `field(...)`, evaluated; for a plain default, as in `x: int = 1`, only "default"."""
    if not isinstance(value, ast.Call):
        return {} if value is None else {"default": _evaluated(value)}
    settings: dict[str, Any] = {}
    for keyword in value.keywords:
        if keyword.arg == "metadata" and isinstance(keyword.value, ast.Dict):
            pairs = zip(keyword.value.keys, keyword.value.values, strict=True)
            settings["metadata"] = {key.value: _evaluated(one) for key, one in pairs if isinstance(key, ast.Constant)}
        elif keyword.arg is not None:
            settings[keyword.arg] = _evaluated(keyword.value)
    return settings


def _evaluated(node: ast.expr) -> Any:
    """The value of a literal or of a default factory; UNKNOWN if it would have to be executed."""
    if isinstance(node, ast.Lambda):
        node = node.body
    if isinstance(node, ast.Name) and node.id in ("list", "dict"):
        return [] if node.id == "list" else {}
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNKNOWN


def _type(annotation: ast.expr) -> tuple[Kind, bool, bool, tuple[str, ...] | None]:
    """(kind, many, optional, choices) of an annotation such as `list[str] | None`.

    A union of several types (`float | str`) is read as text: its dataclass converts it.
    """
    parts = _union(annotation)
    names = [ast.unparse(part) for part in parts]
    optional = "None" in names
    lists = [part for part in parts if isinstance(part, ast.Subscript) and ast.unparse(part.value) == "list"]
    literals = [part for part in parts if isinstance(part, ast.Subscript) and ast.unparse(part.value) == "Literal"]
    if lists:
        inner = ast.unparse(lists[0].slice)
        return ("float" if inner == "float" else "str"), True, optional, None
    if any(name.startswith("dict") for name in names):
        return "json", False, optional, None
    if literals and len(parts) - optional == 1:
        return "str", False, optional, tuple(ast.literal_eval(literals[0].slice))
    plain: dict[str, Kind] = {"bool": "bool", "int": "int", "float": "float"}
    kinds = {plain.get(name, "str") for name in names if name != "None"}
    return (kinds.pop() if len(kinds) == 1 else "str"), False, optional, None


def _union(annotation: ast.expr) -> list[ast.expr]:
    """The parts of `A | B | C`."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return [*_union(annotation.left), *_union(annotation.right)]
    return [annotation]
