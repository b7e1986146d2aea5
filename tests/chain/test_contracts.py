"""Our encodings against the ABI's names and against web3.py, which is not used outside this file."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

from p2p_flock.chain.contracts import (
    ALLIANCE,
    CONTRACT_NAMES,
    FACTORY,
    compute_params_hash,
    decode_revert,
    load_contract,
    params_from_abi,
    params_to_abi,
)
from p2p_flock.chain.events import _EXPANDERS, _MAKERS, Log, decode_log, decode_round_state
from p2p_flock.chain.records import RoundPhase, RoundState, SeatRecord
from p2p_flock.chain_events import SettledRecord
from p2p_flock.errors import ChainError
from p2p_flock.params import AllianceParams
from tests.chain.committee import small_params

EXAMPLES: dict[str, Any] = {
    "address": "0x" + "Ab" * 20,
    "bool": True,
    "bytes": b"some bytes, longer than a word of thirty-two",
    "bytes32": bytes(range(32)),
    "string": "heart disease",
}


def abi_of(name: str) -> list[dict[str, Any]]:
    text = resources.files("p2p_flock.chain").joinpath("artifacts", f"{name}.json").read_text()
    return list(json.loads(text)["abi"])


def example(part: dict[str, Any]) -> Any:
    """A value of an ABI type, other than zero."""
    kind = part["type"]
    if kind.endswith("[]"):
        return [example({**part, "type": kind[:-2]})] * 2
    if kind == "tuple":
        return tuple(example(field) for field in part["components"])
    if kind.startswith("uint"):
        return 2 ** int(kind[4:]) - 3
    value = EXAMPLES[kind]
    return Web3.to_checksum_address(value) if kind == "address" else value


def type_of(part: dict[str, Any]) -> str:
    """As eth-abi writes types."""
    kind = str(part["type"])
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(type_of(field) for field in part["components"]) + ")" + kind.removeprefix("tuple")


def plain(value: Any) -> Any:
    """Values of both decoders in one form: addresses in lower case, lists and structs as tuples."""
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, Mapping):
        return plain(tuple(value.values()))
    return tuple(plain(item) for item in value) if isinstance(value, (list, tuple)) else value


def record_fields() -> list[str]:
    """Names of the fields of the record that ``getReward`` takes."""
    item = next(i for i in abi_of(ALLIANCE) if i["type"] == "function" and i["name"] == "getReward")
    return [field["name"] for field in item["inputs"][1]["components"]]


def struct_fields(name: str, function: str, *, inputs: bool = False) -> list[str]:
    """Names of the fields of the first struct that a function takes or returns."""
    item = next(i for i in abi_of(name) if i["type"] == "function" and i["name"] == function)
    return [field["name"] for field in item["inputs" if inputs else "outputs"][0]["components"]]


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", lambda m: "_" + m[1].lower(), name)


@pytest.mark.parametrize(
    ("fields", "kind", "own"),
    [
        pytest.param(struct_fields(FACTORY, "create", inputs=True), AllianceParams, (), id="params_in"),
        pytest.param(struct_fields(ALLIANCE, "params"), AllianceParams, (), id="params_out"),
        pytest.param(struct_fields(ALLIANCE, "roundState"), RoundState, (), id="round_state"),
        pytest.param(struct_fields(ALLIANCE, "getSeats"), SeatRecord, ("index",), id="seat"),
        pytest.param(record_fields(), SettledRecord, (), id="record"),
    ],
)
def test_structs__have_the_fields_of_the_abi_in_its_order(fields: list[str], kind: type, own: tuple[str, ...]) -> None:
    """We convert by position: two fields that swap places in the contract would swap meanings here."""
    ours = [field.name.removesuffix("_s") for field in dataclasses.fields(kind) if field.name not in own]
    assert ours == [snake(name) for name in fields]


@pytest.mark.parametrize("name", CONTRACT_NAMES)
def test_calls__equal_those_of_web3(name: str) -> None:
    """An encoding of our own making would be refused by the contract, or worse, understood differently."""
    theirs = Web3().eth.contract(abi=abi_of(name))
    for item in abi_of(name):
        if item["type"] == "function":
            arguments = [example(part) for part in item["inputs"]]
            encoded = load_contract(name).functions[item["name"]].encode(*arguments)
            assert "0x" + encoded.hex() == theirs.encode_abi(item["name"], args=arguments)


@pytest.mark.parametrize("name", CONTRACT_NAMES)
def test_constructors__equal_those_of_web3(name: str) -> None:
    """A deployment with shifted arguments would make a chain of contracts that trust the wrong token."""
    contract = load_contract(name)
    inputs = next(i for i in abi_of(name) if i["type"] == "constructor")["inputs"]
    arguments = [example(part) for part in inputs]
    theirs = Web3().eth.contract(abi=abi_of(name), bytecode=contract.bytecode)
    transaction = theirs.constructor(*arguments).data_in_transaction
    assert "0x" + contract.encode_constructor(*arguments).hex() == transaction


def test_logs__equal_those_of_web3() -> None:
    """A log that is decoded wrongly sends the whole alliance's nodes into different rounds."""
    web3 = Web3()
    theirs = web3.eth.contract(abi=abi_of(ALLIANCE))
    for event in load_contract(ALLIANCE).events.values():
        item = next(i for i in abi_of(ALLIANCE) if i["type"] == "event" and i["name"] == event.name)
        values = {part["name"]: example(part) for part in item["inputs"]}
        indexed = [part for part in item["inputs"] if part["indexed"]]
        others = [part for part in item["inputs"] if not part["indexed"]]
        topics = [event.topic, *(web3.codec.encode([p["type"]], [values[p["name"]]]) for p in indexed)]
        data = web3.codec.encode([type_of(p) for p in others], [values[p["name"]] for p in others])
        log = {
            "topics": topics,
            "data": data,
            "address": EXAMPLES["address"],
            **{"blockHash": bytes(32), "blockNumber": 1, "logIndex": 0, "transactionHash": bytes(32)},
            "transactionIndex": 0,
        }
        ours = event.decode(topics, data)
        decoded = theirs.events[event.name]().process_log(log)["args"]
        assert list(ours) == list(values)
        for name, value in decoded.items():
            assert plain(ours[name]) == plain(value)


def test_logs__that_the_core_knows_exist_in_the_contract() -> None:
    """An event renamed in the contract would never arrive, and no node would notice."""
    assert {*_MAKERS, *_EXPANDERS} <= {event.name for event in load_contract(ALLIANCE).events.values()}


@given(
    topics=st.lists(st.binary(min_size=32, max_size=32), max_size=3),
    data=st.binary(max_size=400),
    index=st.integers(0, 40),
)
def test_logs__of_any_bytes_are_decoded_or_refused(topics: list[bytes], data: bytes, index: int) -> None:
    """What an endpoint sends as a log must never end a node but by a ChainError."""
    known = list(load_contract(ALLIANCE).events)
    log = Log(1, 0, bytes(32), bytes(32), (known[index % len(known)], *topics), data)
    with contextlib.suppress(ChainError):
        decode_log(log, 0)


@given(data=st.binary(max_size=900))
def test_round_state__of_any_bytes_is_decoded_or_refused(data: bytes) -> None:
    """What an endpoint sends as a state must never end a node but by a ChainError."""
    with contextlib.suppress(ChainError):
        assert isinstance(decode_round_state(data).phase, RoundPhase)


def test_params__round_trip_and_hash() -> None:
    """The hash is what a member agrees to: it must cover every parameter."""
    params = small_params()
    assert params_from_abi(params_to_abi(params)) == params
    seen = {compute_params_hash(params)}
    for field in dataclasses.fields(params):
        value = getattr(params, field.name)
        changed = bytes([value[0] ^ 1]) + value[1:] if isinstance(value, bytes) else value + 1
        seen.add(compute_params_hash(dataclasses.replace(params, **{field.name: changed})))
    assert len(seen) == 1 + len(dataclasses.fields(params))


def test_reverts__are_named() -> None:
    """ "execution reverted" tells neither a node whether it lost a race nor a user what to do."""
    web3 = Web3()
    for name in CONTRACT_NAMES:
        for selector, (error, names, types) in load_contract(name).errors.items():
            values = [example({"type": kind}) for kind in types]
            found, arguments = decode_revert(selector + web3.codec.encode(types, values))
            assert found == error
            assert list(arguments) == list(names)
    assert decode_revert(bytes.fromhex("08c379a0") + web3.codec.encode(["string"], ["too late"])) == ("too late", {})
    assert decode_revert(bytes.fromhex("4e487b71") + web3.codec.encode(["uint256"], [0x11])) == ("Panic(0x11)", {})
    assert decode_revert(b"") == ("Reverted", {})
    assert decode_revert(b"\x01\x02\x03\x04") == ("Reverted(0x01020304)", {})


@given(data=st.binary(max_size=200), index=st.integers(0, 200))
def test_reverts__of_any_bytes_have_some_name(data: bytes, index: int) -> None:
    """Revert data comes from outside; a defect in decoding it must not hide that the call failed."""
    known = [*load_contract(ALLIANCE).errors, bytes.fromhex("08c379a0"), bytes.fromhex("4e487b71")]
    assert decode_revert(known[index % len(known)] + data)[0]
    assert decode_revert(data)[0]
