"""The flags of train_model.py, read from the source text of the dataclasses that declare them.

Importing TRL and transformers takes many seconds; a wrong flag and `--help` should not wait for it. The dataclasses stay the only
declaration: this module parses their files (of the installed versions) and imports none of them.
"""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

# Where the dataclasses stand; of a field declared twice the later one counts. (class, (file, class), ...)
SOURCES = (
    ("ScriptArguments", (("hint_grpo", "config.py", "ScriptArguments"),)),
    (
        "HintGRPOConfig",
        (
            ("transformers", "training_args.py", "TrainingArguments"),
            ("trl", "trainer/base_config.py", "_BaseConfig"),
            ("trl", "trainer/grpo_config.py", "GRPOConfig"),
            ("hint_grpo", "config.py", "HintGRPOConfig"),
        ),
    ),
    ("ModelConfig", (("trl", "trainer/model_config.py", "ModelConfig"),)),
)
# Objects that no command line can give.
NOT_FLAGS = frozenset({"parallelism_config", "local_rank"})
Kind = Literal["bool", "int", "float", "str", "json"]


class Unknown:
    """A default that is computed at run time."""

    def __repr__(self) -> str:
        return "(computed)"


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True)
class Flag:
    """One field. `many`: takes several values; `optional`: null in a YAML file; `own`: declared by this project."""

    name: str
    owner: str
    kind: Kind
    many: bool
    optional: bool
    default: Any
    choices: tuple[str, ...] | None
    help: str
    own: bool


@cache
def declared_flags() -> dict[str, Flag]:
    """Every flag by name, in the order of the dataclasses."""
    flags: dict[str, Flag] = {}
    for owner, sources in SOURCES:
        for package, file, name in sources:
            for statement in _fields(_tree(package, file), name):
                flag = _flag(statement, owner, own=package == "hint_grpo")
                if flag is not None:
                    flags[flag.name] = flag
    return {name: flag for name, flag in flags.items() if name not in NOT_FLAGS}


def enum_values(package: str, file: str, name: str) -> tuple[str, ...]:
    """The values of a string enum in a package's source."""
    members = [node for node in _class(_tree(package, file), name).body if isinstance(node, ast.Assign)]
    return tuple(str(node.value.value) for node in members if isinstance(node.value, ast.Constant))


def dict_keys(package: str, file: str, name: str) -> tuple[str, ...]:
    """The keys of a dictionary at the top level of a package's source."""
    for node in _tree(package, file).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and ast.unparse(node.targets[0]) == name:
            return tuple(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    raise LookupError(f"{package}/{file} has no dictionary {name}")


def installed(package: str) -> Path | None:
    """The folder of a package, which is not imported; None if it is not installed."""
    spec = importlib.util.find_spec(package)
    return Path(next(iter(spec.submodule_search_locations or ()))) if spec is not None else None


@cache
def _tree(package: str, file: str) -> ast.Module:
    folder = installed(package)
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
    """None for what is not a flag: a field that __init__ does not take, a class variable."""
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
    """The keyword arguments of `field(...)`, evaluated; of a plain default `x: int = 1` that default."""
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
    if isinstance(node, ast.Lambda):
        node = node.body
    if isinstance(node, ast.Name) and node.id in ("list", "dict"):
        return [] if node.id == "list" else {}
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNKNOWN


def _type(annotation: ast.expr) -> tuple[Kind, bool, bool, tuple[str, ...] | None]:
    """(kind, many, optional, choices) of an annotation such as `list[str] | None`."""
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
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return [*_union(annotation.left), *_union(annotation.right)]
    return [annotation]
