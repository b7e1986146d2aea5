"""The committed contract artifacts as encoders and decoders: calls, results, logs, custom errors.

Called by the rest of ``chain/``. The ABI JSON in ``artifacts/`` is generated from ``contracts/`` and checked against it
by the tests there; nothing of it is repeated here by hand but the order of the fields in our own dataclasses, which
the tests compare with the ABI's names.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, cast

import base58

from p2p_flock.chain.abi import AbiError, decode, encode
from p2p_flock.crypto.suite import keccak256
from p2p_flock.errors import ChainError
from p2p_flock.params import AllianceParams
from p2p_flock.types import ADDRESS_BYTES

TOKEN, BEACON, FACTORY, ALLIANCE = "FlockToken", "Beacon", "AllianceFactory", "Alliance"
GENESIS, GM_FLOCK, GOVERNOR = "Genesis", "GmFlock", "FlockGovernor"
TIMELOCK, EMISSION = "TimelockController", "Emission"
GOVERNANCE_NAMES = (GENESIS, GM_FLOCK, GOVERNOR, TIMELOCK, EMISSION)
MEMBERS, EVIDENCE, CHALLENGES = "Members", "Evidence", "Challenges"  # parts of Alliance; its ABI has theirs
CONTRACT_NAMES = (TOKEN, BEACON, FACTORY, ALLIANCE)
SELECTOR_BYTES = 4
PEER_ID_BYTES_MAX = 64  # as in Members.sol
ERROR_TEXT_SELECTOR = bytes.fromhex("08c379a0")  # Error(string), Solidity's `require` with text
PANIC_SELECTOR = bytes.fromhex("4e487b71")  # Panic(uint256), Solidity's own checks


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a contract; values go in and come out by position, structs as tuples, addresses as bytes."""

    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def encode(self, *arguments: object) -> bytes:
        """Calldata."""
        return self.selector + encode(self.inputs, arguments)

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """The returned values.

        Raises:
            ChainError: the bytes are not this function's result (no contract there, or another one).
        """
        return _decoded(self.outputs, data, self.name)


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One event of a contract."""

    name: str
    topic: bytes
    names: tuple[str, ...]
    types: tuple[str, ...]
    indexed: tuple[bool, ...]

    def decode(self, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
        """Arguments by ABI name. Indexed arguments of ours are all of value types.

        Raises:
            ChainError: topics or data do not fit the event.
        """
        count = sum(self.indexed)
        if len(topics) != count + 1:
            raise ChainError(f"a log of {self.name} has {len(topics)} topics instead of {count + 1}")
        plain = _decoded([t for t, i in zip(self.types, self.indexed, strict=True) if not i], data, self.name)
        marked = _decoded(
            [t for t, i in zip(self.types, self.indexed, strict=True) if i], b"".join(topics[1:]), self.name
        )
        plain_values, marked_values = iter(plain), iter(marked)
        return {
            name: next(marked_values if indexed else plain_values)
            for name, indexed in zip(self.names, self.indexed, strict=True)
        }


@dataclass(frozen=True, slots=True)
class Contract:
    """One artifact: functions by name, events by first topic, errors by selector, creation bytecode."""

    name: str
    functions: Mapping[str, Function]
    events: Mapping[bytes, LoggedEvent]
    errors: Mapping[bytes, tuple[str, tuple[str, ...], tuple[str, ...]]]
    constructor_inputs: tuple[str, ...]
    bytecode: bytes

    def encode_constructor(self, *arguments: object) -> bytes:
        """Data of the transaction that creates the contract."""
        return self.bytecode + encode(self.constructor_inputs, arguments)


@cache
def load_contract(name: str) -> Contract:
    """Read the artifact of one of :data:`CONTRACT_NAMES` from the package.

    Raises:
        ChainError: the installation lacks the artifact.
    """
    try:
        text = resources.files("p2p_flock.chain").joinpath("artifacts", f"{name}.json").read_text()
    except FileNotFoundError as error:
        raise ChainError(f"The installation lacks artifacts/{name}.json; install p2p-flock again.") from error
    artifact = json.loads(text)
    functions: dict[str, Function] = {}
    events, errors = {}, {}
    constructor: tuple[str, ...] = ()
    for item in artifact["abi"]:
        inputs = tuple(_type_of(part) for part in item.get("inputs", ()))
        names = tuple(part["name"] for part in item.get("inputs", ()))
        digest = keccak256(f"{item.get('name', '')}({','.join(inputs)})".encode())
        if item["type"] == "constructor":
            constructor = inputs
        elif item["type"] == "function":
            outputs = tuple(_type_of(part) for part in item["outputs"])
            function = Function(item["name"], digest[:SELECTOR_BYTES], inputs, outputs)
            # Of an overloaded function the plain name means the shorter one; the other is OpenZeppelin's, for the past.
            if len(functions.setdefault(item["name"], function).inputs) > len(inputs):
                functions[item["name"]] = function
        elif item["type"] == "event":
            indexed = tuple(bool(part["indexed"]) for part in item["inputs"])
            events[digest] = LoggedEvent(item["name"], digest, names, inputs, indexed)
        elif item["type"] == "error":
            errors[digest[:SELECTOR_BYTES]] = (item["name"], names, inputs)
    bytecode = bytes.fromhex(artifact["bytecode"].removeprefix("0x"))
    return Contract(name, functions, events, errors, constructor, bytecode)


def _type_of(part: Mapping[str, Any]) -> str:
    """The text form of an ABI parameter: a struct is a parenthesis of its fields."""
    kind = cast(str, part["type"])
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(_type_of(field) for field in part["components"]) + ")" + kind.removeprefix("tuple")


def _decoded(types: Sequence[str], data: bytes, what: str) -> tuple[Any, ...]:
    try:
        return decode(types, data)
    except AbiError as error:
        raise ChainError(
            f"{what}: the answer has not the form that the contract gives it. "
            "Check the contract addresses and the chain in the configuration."
        ) from error


@cache
def _all_errors() -> Mapping[bytes, tuple[str, tuple[str, ...], tuple[str, ...]]]:
    names = (*CONTRACT_NAMES, *GOVERNANCE_NAMES)
    return {selector: error for name in names for selector, error in load_contract(name).errors.items()}


def decode_revert(data: bytes) -> tuple[str, dict[str, Any]]:
    """Name and arguments of the error that a call reverted with; any of our contracts' and Solidity's own.

    Unknown data gives ``"Reverted"`` (or the selector in hex), never an exception: it comes from outside.
    """
    selector, body = data[:SELECTOR_BYTES], data[SELECTOR_BYTES:]
    try:
        if selector == ERROR_TEXT_SELECTOR:
            return _decoded(["string"], body, "Error")[0], {}
        if selector == PANIC_SELECTOR:
            return f"Panic(0x{_decoded(['uint256'], body, 'Panic')[0]:02x})", {}
        if selector in _all_errors():
            name, names, types = _all_errors()[selector]
            return name, dict(zip(names, _decoded(types, body, name), strict=True))
    except ChainError:
        pass
    return (f"Reverted(0x{selector.hex()})" if selector else "Reverted"), {}


def params_to_abi(params: AllianceParams) -> tuple[Any, ...]:
    """The contract's struct, by position."""
    return dataclasses.astuple(params)


def params_from_abi(values: tuple[Any, ...]) -> AllianceParams:
    """Inverse of :func:`params_to_abi`."""
    return AllianceParams(*values)


def compute_params_hash(params: AllianceParams) -> bytes:
    """``keccak256(abi.encode(params))``: what a member signs up to. 32 bytes."""
    (struct,) = load_contract(ALLIANCE).functions["params"].outputs
    return keccak256(encode([struct], [params_to_abi(params)]))


def address_bytes(value: str) -> bytes:
    """An address from hex text as 20 bytes."""
    return bytes.fromhex(value.removeprefix("0x"))


def peer_id_text(peer_id: bytes) -> str:
    """A peer ID's raw bytes, as the contract holds them, as base58 text.

    Raises:
        ChainError: longer than the contract takes. Base58 takes time with the square of the length: a minute for the
            100 kB that an endpoint may claim.
    """
    if len(peer_id) > PEER_ID_BYTES_MAX:
        raise ChainError(f"a peer ID has at most {PEER_ID_BYTES_MAX} bytes, not {len(peer_id)}")
    return base58.b58encode(peer_id).decode()


def address_text(address: bytes) -> str:
    """20 bytes as lower-case hex text, as JSON-RPC takes it."""
    if len(address) != ADDRESS_BYTES:
        raise ChainError(f"an address has {ADDRESS_BYTES} bytes, not {len(address)}")
    return "0x" + address.hex()
