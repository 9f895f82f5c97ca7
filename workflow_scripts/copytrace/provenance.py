"""Digests of code and files: what a rule's outputs were made by, so that an edit reruns what it touches.

Standard library only: Snakemake calls this while it parses the workflow.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent


def code_digest(script: str | Path) -> str:
    """Digest of a script and of every `copytrace` module that it imports, directly or through others.

    Comments, docstrings and layout are left out: a corrected typo must not retrain 33 models. Imports inside
    functions count. `script` is a path; returns 16 hexadecimal digits.
    """
    modules = _imported_by(Path(script))
    text = "".join(f"{path.name}\n{_code_of(path)}\n" for path in [Path(script), *sorted(modules)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def value_digest(*values: object) -> str:
    """Digest of JSON-like values, independent of the order of keys; 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _imported_by(path: Path) -> set[Path]:
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        new = _direct_imports(waiting.pop()) - found
        found |= new
        waiting.extend(new)
    return found


@cache
def _direct_imports(path: Path) -> frozenset[Path]:
    """The files of `copytrace` modules and packages that the file at `path` imports itself."""
    names: set[str] = set()
    for node in _statements(_parsed(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = path.relative_to(PACKAGE.parent).parent.parts
                base = ".".join([*parents[: len(parents) - node.level + 1], *base.split(".")]).rstrip(".")
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    files: set[Path] = set()
    for name in names:
        if name.split(".")[0] != PACKAGE.name:
            continue
        steps = name.split(".")[1:]
        for depth in range(len(steps) + 1):
            place = PACKAGE.joinpath(*steps[:depth])
            files |= {f for f in (place / "__init__.py", place.with_suffix(".py")) if f.is_file()}
    return frozenset(files)


@cache
def _code_of(path: Path) -> str:
    tree = _parsed(path)
    for node in _statements(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [statement for statement in node.body if not _is_docstring(statement)] or [ast.Pass()]
    return ast.unparse(tree)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """A module and all statements in it; `ast.walk` would pass through ten times as many expressions, which hold none.

    Every Snakemake command, and every job of a cluster, waits for this.
    """
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for block in ("body", "orelse", "handlers", "finalbody", "cases"):
            waiting += getattr(node, block, [])


def _is_docstring(statement: ast.stmt) -> bool:
    """A string that stands alone: of a module, a class, a function, or of a dataclass' field above it."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
