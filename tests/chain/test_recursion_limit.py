"""Python's recursion limit, which a library of Ethereum's raises for the whole process."""

from __future__ import annotations

import subprocess
import sys

import pytest

NESTED = "import json\njson.loads('[' * 1_000_000)\n"
LIBRARIES = {"eth_account", "eth_abi", "eth_utils", "py_ecc", "web3"}
MODULES = ("p2p_flock.chain.adapter", "p2p_flock.chain.devnet", "p2p_flock.daemon.node", "p2p_flock.cli.init")


def run(code: str) -> int:
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode


@pytest.mark.parametrize("module", ["p2p_flock.chain.adapter", "p2p_flock.daemon.node"])
def test_recursion_limit__nested_json_is_an_error_not_a_crash(module: str) -> None:
    """A relay or RPC endpoint could end the node with a megabyte of brackets (P7)."""
    assert run(f"import {module}\n{NESTED}") == 1  # RecursionError


@pytest.mark.parametrize("module", MODULES)
def test_chain__imports_no_library_of_ethereum(module: str) -> None:
    """Each would cost every process a second at its start, and py_ecc raises the recursion limit."""
    assert run(f"import sys, {module}\nsys.exit(bool({LIBRARIES} & set(sys.modules)))") == 0
