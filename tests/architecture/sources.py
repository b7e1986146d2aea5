"""Reads the repository's own Python sources for the architecture tests; parses each file once."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "p2p_flock"
PYTHON_FOLDERS = ("p2p_flock", "tests", "scripts", "bootstrap", "contracts")
FOREIGN_FOLDERS = {"node_modules", "__pycache__", ".venv", "out", "cache"}


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: its path from the root, its text and its tree."""

    path: str
    text: str
    tree: ast.Module

    def __str__(self) -> str:
        return self.path


@cache
def python_sources() -> tuple[Source, ...]:
    """Every Python file of ours, in path order (also those that git does not know yet)."""
    found = []
    for folder in PYTHON_FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT)
            if not FOREIGN_FOLDERS.intersection(name.parts):
                text = path.read_text(encoding="utf-8")
                found.append(Source(str(name), text, ast.parse(text, filename=str(name))))
    return tuple(found)


def package_sources() -> tuple[Source, ...]:
    """Those of the installed package."""
    return tuple(source for source in python_sources() if source.path.startswith("p2p_flock/"))


def sources_of_tests() -> tuple[Source, ...]:
    """Those of the tests."""
    return tuple(source for source in python_sources() if source.path.startswith("tests/"))


@cache
def tracked_files() -> tuple[str, ...]:
    """Every file git tracks, by path from the root."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    return tuple(name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file())


def imported_modules(source: Source) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that an import statement names, also inside functions."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.lineno, node.module


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method, nested ones too."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.stmt) -> int:
    """Lines from the first to the last of a statement."""
    return (node.end_lineno or node.lineno) - node.lineno + 1
