"""Python's recursion limit, which a library raises for the whole process."""

from __future__ import annotations

import subprocess
import sys

import pytest

NESTED = "import json\njson.loads('[' * 1_000_000)\n"


def run(code: str) -> int:
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode


@pytest.mark.parametrize("module", ["p2p_flock.chain.adapter", "p2p_flock.daemon.node"])
def test_recursion_limit__nested_json_is_an_error_not_a_crash(module: str) -> None:
    """A relay or RPC endpoint could end the node with a megabyte of brackets (P7)."""
    assert run(f"import {module}\n{NESTED}") == 1  # RecursionError


def test_recursion_limit__the_library_alone_crashes() -> None:
    """Once py_ecc leaves the limit alone, ``p2p_flock/chain/__init__.py`` may do so too."""
    assert run(f"import eth_account\n{NESTED}") < 0
