"""What a block explorer needs to compile our contracts itself and compare: the compiler's standard JSON input.

Called by ``scripts/deploy --verification``, in a checkout: sources are not part of the installed package. The settings
are those that the artifact says it was built with, so what an explorer compiles is what was deployed; a test compiles
every input with the same compiler and compares the code.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path, PurePosixPath

from p2p_flock.chain.deployment_plan import CONTRACTS
from p2p_flock.chain.runtime_code import get_build
from p2p_flock.errors import UsageError

IMPORT = re.compile(r'^import\s[^;]*?"([^"]+)"\s*;', re.MULTILINE)
LIBRARY = "node_modules/@openzeppelin/contracts"
NAMES = tuple(sorted({name for name, _ in CONTRACTS.values()}))


def write_inputs(contracts: Path, target: Path) -> list[Path]:
    """Write one ``<Contract>.json`` for every contract of a deployment.

    Args:
        contracts: the checkout's folder ``contracts``, with its dependencies installed.
        target: a folder; made where it is missing.

    Raises:
        UsageError: a source is missing, or the folder cannot be written.
    """
    written = []
    for name in NAMES:
        path = target / f"{name}.json"
        text = json.dumps(compute_input(contracts, name), indent=1)
        try:
            target.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}. Check the permissions.") from error
        written.append(path)
    return written


def compute_input(contracts: Path, name: str) -> dict[str, object]:
    """The standard JSON input of one contract: its source and all that it imports, and the settings of its artifact.

    Raises:
        UsageError: a source is missing.
    """
    try:
        remappings = tomllib.loads((contracts / "foundry.toml").read_text())["profile"]["default"]["remappings"]
        sources = _collect(contracts, _find(contracts, name), remappings)
    except OSError as error:
        raise UsageError(
            f"{error.filename} is missing: this needs a checkout in which scripts/contracts has run."
        ) from error
    build = get_build(name)
    return {
        "language": "Solidity",
        "sources": {path: {"content": sources[path]} for path in sorted(sources)},
        "settings": {
            "remappings": remappings,
            "optimizer": {"enabled": True, "runs": build.optimizer_runs},
            "metadata": {"bytecodeHash": "none"},
            "evmVersion": build.evm_version,
            "viaIR": build.via_ir,
            "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]}},
        },
    }


def _find(contracts: Path, name: str) -> str:
    """Path of the contract's source, relative to ``contracts``."""
    for folder in ("src", LIBRARY):
        for path in sorted((contracts / folder).rglob(f"{name}.sol")):
            return path.relative_to(contracts).as_posix()
    raise UsageError(f"There is no {name}.sol in {contracts}. Run scripts/contracts in a checkout.")


def _collect(contracts: Path, first: str, remappings: list[str]) -> dict[str, str]:
    """Contents by path of ``first`` and of all that it imports, over any number of steps."""
    sources: dict[str, str] = {}
    waiting = [first]
    while waiting:
        path = waiting.pop()
        if path in sources:
            continue
        sources[path] = (contracts / path).read_text()
        waiting += [_resolve(path, imported, remappings) for imported in IMPORT.findall(sources[path])]
    return sources


def _resolve(path: str, imported: str, remappings: list[str]) -> str:
    if imported.startswith("."):
        parts: list[str] = []
        for part in (PurePosixPath(path).parent / imported).parts:
            if part == "..":
                parts.pop()
            else:
                parts.append(part)
        return "/".join(parts)
    for remapping in remappings:
        prefix, _, target = remapping.partition("=")
        if imported.startswith(prefix):
            return target + imported.removeprefix(prefix)
    return imported
