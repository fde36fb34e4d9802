"""The layout of the code: imports flow one way, files and functions stay short, and docs/layout.md describes what is there."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture(scope="module")
def sources(repository) -> dict[str, str]:
    """Module name -> source, of everything that is imported in a run."""
    paths = [path for folder in ("hint_grpo", "eval") for path in sorted((repository / folder).rglob("*.py"))]
    paths += [repository / "train_model.py", repository / "test_model.py"]
    return {module_name(path.relative_to(repository)): path.read_text(encoding="utf-8") for path in paths}


def imported_names(tree: ast.Module) -> Iterator[str]:
    """All imports, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not used here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(sources: Mapping[str, str]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for name, source in sources.items():
        imported = set(imported_names(ast.parse(source)))
        # `from module import name`: the module, unless the name is itself a module.
        modules = {one if one in sources else one.rpartition(".")[0] for one in imported}
        graph[name] = (modules & sources.keys()) - {name}
    return graph


def folder_of(module: str) -> str:
    """hint_grpo.data.jsonl -> hint_grpo.data; a module beside the folders stands for itself."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "hint_grpo" else parts[0]


def test_no_module_imports_itself_through_others(sources):
    graph = imports_of(sources)
    assert graph["hint_grpo.training.trainer"] >= {"hint_grpo.training.batch", "hint_grpo.rollout.escalation"}
    TopologicalSorter(graph).prepare()  # CycleError names the modules


def test_folders_depend_on_each_other_in_one_direction(sources):
    graph: dict[str, set[str]] = {}
    for module, imported in imports_of(sources).items():
        if module != "hint_grpo":
            graph.setdefault(folder_of(module), set()).update(map(folder_of, imported))
    TopologicalSorter({folder: others - {folder} for folder, others in graph.items()}).prepare()


def test_a_cycle_would_be_noticed():
    sources = {"a": "def f():\n    from b import x", "b": "import c", "c": "from a import f"}
    with pytest.raises(CycleError):
        TopologicalSorter(imports_of(sources)).prepare()


def test_files_and_functions_are_short(sources):
    long = [
        f"{name}: {lines} lines" for name, source in sources.items() if (lines := source.count("\n")) > MAX_FILE_LINES
    ]
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                long += [f"{name}.{node.name}: {lines} lines"] if lines > MAX_FUNCTION_LINES else []
    assert not long


def test_the_list_of_files_is_complete_and_says_what_they_say(repository):
    """Every module of hint_grpo and eval, with the first sentence of its docstring."""
    listed = {}
    folder = ""
    for line in (repository / "docs" / "layout.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            folder = line.removeprefix("## ").strip("`")
        elif line.startswith("- `") and folder.startswith(("hint_grpo/", "eval/")):
            file, _, text = line.removeprefix("- `").partition("`: ")
            listed[folder + file] = text
    found = {}
    for path in sorted(path for folder in ("hint_grpo", "eval") for path in (repository / folder).rglob("*.py")):
        if path.name != "__init__.py":
            found[path.relative_to(repository).as_posix()] = first_sentence(path.read_text(encoding="utf-8"))
    assert listed == found


def first_sentence(source: str) -> str:
    """The first line of a module's docstring up to its first full stop, with its line breaks as spaces."""
    paragraph = " ".join((ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".:")
