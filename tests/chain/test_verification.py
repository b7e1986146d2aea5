"""The inputs for explorers: whoever compiles them gets the code that was deployed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from p2p_flock.chain.verification import NAMES, compute_input, write_inputs
from p2p_flock.errors import UsageError

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
QUICK = ("Beacon",)  # some seconds; the others are compiled in the slow run


def compile_input(path: Path) -> dict[str, str]:
    """Creation and runtime code (hex) of the contract that the file is named after."""
    beside_python = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{beside_python}{os.pathsep}{os.environ['PATH']}"}
    assert shutil.which("node", path=environment["PATH"]), "node is missing; scripts/setup installs it"
    command = [str(CONTRACTS / "script" / "solc"), "--standard-json", str(path)]
    result = subprocess.run(command, env=environment, cwd=path.parent, capture_output=True, check=True, timeout=900)
    output = json.loads(result.stdout)
    errors = [error["formattedMessage"] for error in output.get("errors", ()) if error["severity"] == "error"]
    assert not errors, errors[0]
    (found,) = [
        contracts[path.stem]["evm"]
        for source, contracts in output["contracts"].items()
        if source.endswith(f"/{path.stem}.sol")
    ]
    return {kind: found[kind]["object"] for kind in ("bytecode", "deployedBytecode")}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_inputs__compile_to_the_artifact(tmp_path: Path, name: str) -> None:
    """An explorer would call the deployed contract unverified, or show other sources for it."""
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(compute_input(CONTRACTS, name)))
    code = compile_input(path)
    artifact = json.loads((resources.files("p2p_flock.chain") / "artifacts" / f"{name}.json").read_text())
    assert hashlib.sha256(bytes.fromhex(code["deployedBytecode"])).hexdigest() == artifact["deployedBytecodeSha256"]
    assert artifact["bytecode"] in ("0x", "0x" + code["bytecode"])  # of what Genesis makes, Genesis holds the code


def test_inputs__are_whole(tmp_path: Path) -> None:
    """A source that is missing is found out on the explorer's page, after the deployment."""
    written = write_inputs(CONTRACTS, tmp_path / "verification")
    assert [path.stem for path in written] == list(NAMES)
    for path in written:
        document = json.loads(path.read_text())
        assert any(source.endswith(f"/{path.stem}.sol") for source in document["sources"])
        assert document["settings"]["evmVersion"] == "osaka"
        assert document["settings"]["metadata"] == {"bytecodeHash": "none"}
    genesis = json.loads((tmp_path / "verification" / "Genesis.json").read_text())
    assert "node_modules/@openzeppelin/contracts/governance/TimelockController.sol" in genesis["sources"]


def test_inputs__without_a_checkout(tmp_path: Path) -> None:
    """An installed package has no sources; that must be said, not shown as a traceback."""
    with pytest.raises(UsageError, match="this needs a checkout"):
        write_inputs(tmp_path, tmp_path / "verification")
