"""What stands on the chain where one of our contracts was created, and whether it is that contract.

Called by the deployment. Constructors write immutables into the code, so the code on a chain differs from the
artifact's in those places, and in no other; what was written there is for the getters to say. Pure.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, cast

from p2p_flock.errors import ChainError

PUSH1, PUSH32 = 0x60, 0x7F
WORD_BYTES = 32


@cache
def load_runtime_code(name: str, creator: str) -> bytes:
    """The code that the constructor of ``name`` leaves, with zeros where it writes immutables.

    The compiler puts it, whole, into the creation code; which part of that it is, its length and digest tell.

    Args:
        name: of the contract's artifact.
        creator: of the artifact whose creation code holds it: its own, or that of the contract that creates it.

    Raises:
        ChainError: the installation lacks an artifact, or the two do not belong together.
    """
    creation = bytes.fromhex(_load_artifact(creator)["bytecode"].removeprefix("0x"))
    artifact = _load_artifact(name)
    length, digest = artifact["deployedBytecodeBytes"], artifact["deployedBytecodeSha256"]
    # All code of Solidity begins with a PUSH1, of the free memory pointer.
    at = creation.find(PUSH1)
    while 0 <= at <= len(creation) - length:
        code = creation[at : at + length]
        if hashlib.sha256(code).hexdigest() == digest:
            return code
        at = creation.find(PUSH1, at + 1)
    raise ChainError(
        f"artifacts/{creator}.json does not hold the code of artifacts/{name}.json. Run scripts/contracts --write."
    )


@cache
def get_runtime_length(name: str) -> int:
    """Bytes of the contract's code on a chain.

    Raises:
        ChainError: the installation lacks the artifact.
    """
    return int(_load_artifact(name)["deployedBytecodeBytes"])


@dataclass(frozen=True, slots=True)
class Build:
    """The compiler's settings that decided an artifact's code."""

    optimizer_runs: int
    evm_version: str
    via_ir: bool


def get_build(name: str) -> Build:
    """How the artifact was compiled.

    Raises:
        ChainError: the installation lacks the artifact.
    """
    compiler = _load_artifact(name)["compiler"]
    return Build(int(compiler["optimizerRuns"]), str(compiler["evmVersion"]), bool(compiler["viaIr"]))


def _load_artifact(name: str) -> dict[str, Any]:
    try:
        text = resources.files("p2p_flock.chain").joinpath("artifacts", f"{name}.json").read_text()
    except FileNotFoundError as error:
        raise ChainError(f"The installation lacks artifacts/{name}.json; install p2p-flock again.") from error
    return cast(dict[str, Any], json.loads(text))


def is_runtime_code(name: str, creator: str, code: bytes) -> bool:
    """Whether ``code``, of a chain, is the artifact's but for its immutables.

    Raises:
        ChainError: as :func:`load_runtime_code`.
    """
    template = load_runtime_code(name, creator)
    if len(code) != len(template):
        return False
    at = 0
    while at < len(template):
        if template[at] == PUSH32 and not any(template[at + 1 : at + 1 + WORD_BYTES]):
            if code[at] != PUSH32:
                return False
            at += 1 + WORD_BYTES  # the place of an immutable
        elif code[at] != template[at]:
            return False
        else:
            at += 1
    return True
