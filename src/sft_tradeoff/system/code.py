"""Digests of source code, so that Snakemake repeats a job when the code behind it changes."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = Path("src/sft_tradeoff")  # of the checkout that the workflow runs in


def code_digest(*patterns: str, root: Path = SOURCE) -> str:
    """Return a digest of Python modules that depends on their code alone.

    Comments, docstrings, formatting and file times do not change it. Any other change, a new module
    or a renamed one does.

    Args:
        patterns: Folders (with all that is below them) and glob patterns, relative to ``root``.
        root: Folder of the package.

    Returns:
        The first 16 hexadecimal digits of the SHA-256.

    Raises:
        FileNotFoundError: If a pattern matches no module; a digest of nothing would never change.
    """
    paths: set[Path] = set()
    for pattern in patterns:
        below = f"{pattern}/**/*.py" if (root / pattern).is_dir() else pattern
        found = {path for path in root.glob(below) if path.suffix == ".py"}
        if not found:
            raise FileNotFoundError(2, "no Python module matches", str(root / pattern))
        paths |= found
    digest = hashlib.sha256()
    for path in sorted(paths):
        code = _source_digest(path.read_bytes(), str(path))
        digest.update(f"{path.relative_to(root).as_posix()} {code}\n".encode())
    return digest.hexdigest()[:16]


def imported(module: str, *wings: str, root: Path = SOURCE) -> set[str]:
    """Return a module and what it imports from the package, directly or not, as digest patterns.

    Imports for type checkers alone are left out.

    Args:
        module: Relative to the package, such as ``domains.esci.generated``.
        wings: Folders and modules, relative to ``root``; nothing outside them is followed.
        root: Folder of the package.
    """
    found: set[str] = set()
    open_ = [_path_of(module.split("."), root)]
    while open_:
        path = open_.pop()
        name = path.relative_to(root).as_posix() if path else ""
        if not path or name in found or not name.startswith(wings):
            continue
        found.add(name)
        names = _imports_of(path.read_bytes(), str(path))
        package = f"{root.name}."
        open_ += [_path_of(n.removeprefix(package).split("."), root) for n in names if package in n]
    return found


def _path_of(parts: list[str], root: Path) -> Path | None:
    """File of a module, or of the module that a dotted name is defined in."""
    for end in range(len(parts), 0, -1):
        path = root.joinpath(*parts[:end])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


@cache
def _imports_of(source: bytes, name: str) -> tuple[str, ...]:
    return tuple(_imported_names(ast.parse(source, name)))


def _imported_names(node: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports, within functions too."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imported_names(child)


# Every rule asks for the digest of dozens of modules, most of them the same.
@cache
def _source_digest(source: bytes, name: str) -> str:
    return hashlib.sha256(repr(_code(ast.parse(source, name))).encode()).hexdigest()


def _code(node: Any) -> Any:
    """A syntax tree as nested lists without docstrings.

    Not ``ast.dump``: which empty fields it prints differs between versions of Python.
    """
    if isinstance(node, list):
        return [_code(item) for item in node]
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    kept = [(key, _code(value)) for key, value in fields.items() if value not in (None, [])]
    return [type(node).__name__, *kept]
