"""The rules themselves: each must see what is planted, or it would pass for ever."""

from __future__ import annotations

import ast
import re
from textwrap import dedent

import pytest

from tests.architecture.sources import Source, functions, imported_modules, length
from tests.architecture.test_sources import MACHINE_PATH, belongs_to, broad_catches, calls, is_core


def planted(text: str, path: str = "p2p_flock/secagg/planted.py") -> Source:
    text = dedent(text)
    return Source(path, text, ast.parse(text))


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("except Exception:\n    pass", {3: False}),
        ("except:\n    pass", {3: False}),
        ("except (ValueError, BaseException) as error:\n    print(error)", {3: False}),
        ("except Exception:  # the library raises anything\n    pass", {3: True}),
        ("except BaseException:\n    close()\n    raise", {}),
        ("except (ValueError, OSError):\n    pass", {}),
    ],
)
def test_rule__sees_broad_catches(handler: str, expected: dict[int, bool]) -> None:
    """A swallowed defect would pass the rule."""
    assert broad_catches(planted(f"try:\n    work()\n{handler}\n")) == expected


def test_rule__sees_imports_inside_functions() -> None:
    """A clock could be smuggled into the core by importing it late."""
    source = planted("""
        import os.path as disk
        def now() -> float:
            from time import time
            return time()
        """)
    assert [module for _, module in imported_modules(source)] == ["os.path", "time"]
    assert belongs_to("os.path", {"os"})
    assert not belongs_to("oscillator", {"os"})


def test_rule__sees_calls_through_attributes() -> None:
    """``torch.load`` would go unseen behind its module's name."""
    assert [name for _, name in calls(planted("import torch\ntorch.load(open('x'))\n"))] == ["torch.load", "open"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("p2p_flock/secagg/keys.py", True),
        ("p2p_flock/types.py", True),
        ("p2p_flock/ports.py", True),
        ("p2p_flock/daemon/types.py", False),
        ("p2p_flock/net/host.py", False),
        ("tests/secagg/keys.py", False),
    ],
)
def test_rule__knows_the_core(path: str, expected: bool) -> None:
    """The core's rules would be applied to nothing."""
    assert is_core(planted("", path)) is expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('path = "/' + 'tmp/x"', True),
        ("see `/" + "work/main/notes`", True),
        ("reads ../" + "shared/DESIGN.md", True),
        ("GET /api/homework/list", False),
        ('url = "https://example.org/root/x"', False),
    ],
)
def test_rule__sees_paths_of_a_machine(line: str, expected: bool) -> None:
    """A path that exists on one machine would land."""
    assert bool(re.search(MACHINE_PATH, line)) is expected


def test_rule__measures_functions() -> None:
    """The limit on a function's length would measure something else."""
    (function,) = functions(planted("def f() -> None:\n    pass\n    pass\n"))
    assert length(function) == 3
