"""The layout of the code: tests mirror the wings, modules stay small, imports form no circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

PACKAGE = Path("src/sft_tradeoff")
UNIT_TESTS = Path("tests/unit")
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60


def folders(root: Path) -> set[str]:
    """Packages below ``root``, relative to it."""
    return {str(path.parent.relative_to(root)) for path in root.rglob("__init__.py")}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_test_folder_is_a_wing() -> None:
    assert folders(UNIT_TESTS) <= folders(PACKAGE)


def test_every_wing_has_a_test_folder() -> None:
    wings = {name for name in folders(PACKAGE) if "/" not in name}
    assert wings <= folders(UNIT_TESTS)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_wing_is_on_the_map(document: str) -> None:
    maps = re.findall(r"^```\n(.*?)^```", Path(document).read_text(), re.MULTILINE | re.DOTALL)
    wings = {name for name in folders(PACKAGE) if "/" not in name and name != "."}
    assert any(wings <= set(re.findall(r"\w+", text)) for text in maps)


@pytest.mark.parametrize("path", sorted(UNIT_TESTS.rglob("test_*.py")), ids=str)
def test_a_test_file_is_named_after_a_module(path: Path) -> None:
    """``test_<module>.py``, or ``test_<module>_<aspect>.py``."""
    wing = PACKAGE / path.parent.relative_to(UNIT_TESTS)
    modules = {entry.stem for entry in wing.iterdir() if not entry.name.startswith("_")}
    subject = path.stem.removeprefix("test_")
    assert any(f"{subject}_".startswith(f"{module}_") for module in modules), (
        f"no module of {wing} is named at the start of {subject!r}; modules: {sorted(modules)}"
    )


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_MODULE_LINES
    for function in functions(ast.parse(text)):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= MAX_FUNCTION_LINES, f"{function.name} has {lines} lines"


def test_imports_form_no_circle() -> None:
    """Imports inside functions count; those for type checking only do not."""
    graph = grimp.build_graph("sft_tradeoff", exclude_type_checking_imports=True, cache_dir=None)
    assert len(graph.modules) == len(MODULES)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle
