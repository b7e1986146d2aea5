"""Targets of chain/: what an RPC endpoint or a beacon relay answers, down to the bytes of HTTP."""

from __future__ import annotations

import itertools
import json
import random
import socket
from collections.abc import Sequence
from functools import cache, partial
from http.client import HTTPConnection

from p2p_flock.chain.abi import AbiError, split_types
from p2p_flock.chain.abi import decode as decode_abi
from p2p_flock.chain.abi import encode as encode_abi
from p2p_flock.chain.beacon import BeaconClient, BeaconNetwork, public_key_of, sign_beacon
from p2p_flock.chain.client import Call, Json, RpcClient, as_bytes, as_object, as_quantity, block_head
from p2p_flock.chain.contracts import (
    ALLIANCE,
    CONTRACT_NAMES,
    GOVERNANCE_NAMES,
    Contract,
    decode_revert,
    load_contract,
    params_from_abi,
)
from p2p_flock.chain.events import Log, decode_log, decode_round_state, parse_log
from p2p_flock.chain.http import HttpEndpoint
from p2p_flock.chain.sent import explain_refusal, is_about_nonce, is_known, parse_receipt, sort_simulations
from p2p_flock.crypto.signing import pack_marks
from p2p_flock.errors import BeaconError, ChainError, RpcError
from tests.fuzz.target import Form, Target

CONTRACT = bytes(range(20))
SECRET = bytes(31) + b"\x07"
CALLS = tuple(Call(method) for method in ("eth_getLogs", "eth_getBlockByNumber", "eth_call"))


# --- JSON-RPC ----------------------------------------------------------------------------------------------------


class Answering:
    """An endpoint that answers every request with the same bytes."""

    name = "https://example.org"

    def __init__(self, body: bytes) -> None:
        self._body = body

    def request(self, *_arguments: object) -> tuple[int, bytes]:
        return 200, self._body

    def close(self) -> None:
        """Nothing to do."""


def run_rpc(data: bytes) -> bool:
    """The body of an answer to three calls, and every reader of the values in it."""
    client = RpcClient(["http://127.0.0.1:1"])
    client._endpoints = [Answering(data)]  # type: ignore[list-item]
    client._numbers = itertools.count(1)
    try:
        answers = client._exchange(CALLS, 0)
    except ChainError:
        return False
    taken = False
    sort_simulations([[answers[0], answers[1]]])
    for answer in answers:
        if isinstance(answer, RpcError):
            is_known(answer), is_about_nonce(answer), str(explain_refusal("join", answer))
            continue
        for read in (block_head, as_quantity, as_bytes, as_object, partial(parse_receipt, bytes(32)), read_logs):
            try:
                read(answer)
                taken = True
            except ChainError:
                continue
    return taken


def read_logs(answer: Json) -> None:
    """As LogReader does with the answer to eth_getLogs."""
    if not isinstance(answer, list):
        raise ChainError("no list")
    for item in answer[:16]:
        log, _ = parse_log(item, CONTRACT)
        decode_log(log, 1)


def rpc_seeds() -> Sequence[bytes]:
    log = example_logs()[0]
    head = {
        "number": "0x8",
        "hash": "0x" + "11" * 32,
        "parentHash": "0x" + "22" * 32,
        "timestamp": "0x65",
        "baseFeePerGas": "0x7",
    }
    values: list[list[object]] = [
        [[log_to_json(log)], head, "0x" + "00" * 64],
        [[log_to_json(log) for log in example_logs()[:6]], None, "0x"],
        ["0x5208", head, {"gasUsed": "0x1", "blockNumber": "0x2", "status": "0x1", "contractAddress": None}],
    ]
    seeds = [
        json.dumps([{"jsonrpc": "2.0", "id": at + 1, "result": value} for at, value in enumerate(row)]).encode()
        for row in values
    ]
    error = {"code": 3, "message": "execution reverted", "data": "0x08c379a0" + "00" * 64}
    failed = [
        {"id": 1, "error": error},
        {"id": 2, "error": {"code": -32005, "message": "x"}},
        {"id": 3, "result": "0x1"},
    ]
    return [*seeds, json.dumps(failed).encode()]


def log_to_json(log: Log) -> dict[str, object]:
    return {
        "address": "0x" + CONTRACT.hex(), "topics": ["0x" + topic.hex() for topic in log.topics],
        "data": "0x" + log.data.hex(), "blockNumber": hex(log.block), "logIndex": hex(log.index),
        "blockHash": "0x" + log.block_hash.hex(), "transactionHash": "0x" + log.transaction.hex(),
    }  # fmt: skip


# --- the ABI -----------------------------------------------------------------------------------------------------


@cache
def event_topics() -> tuple[bytes, ...]:
    return tuple(sorted(load_contract(ALLIANCE).events))


@cache
def all_functions() -> tuple[tuple[str, ...], ...]:
    """The result types of every function of every contract."""
    contracts: list[Contract] = [load_contract(name) for name in (*CONTRACT_NAMES, *GOVERNANCE_NAMES)]
    return tuple(sorted({function.outputs for contract in contracts for function in contract.functions.values()}))


@cache
def example_logs() -> tuple[Log, ...]:
    """A log of every event, with small random values."""
    generator = random.Random(1)
    logs = []
    for topic in event_topics():
        event = load_contract(ALLIANCE).events[topic]
        marked = [t for t, indexed in zip(event.types, event.indexed, strict=True) if indexed]
        plain = [t for t, indexed in zip(event.types, event.indexed, strict=True) if not indexed]
        topics = (topic, *(encode_abi([t], [example_value(t, generator)]) for t in marked))
        data = encode_abi(plain, [example_value(t, generator) for t in plain])
        logs.append(Log(8, 2, bytes(32), bytes(32), topics, data))
    return tuple(logs)


def example_value(text: str, generator: random.Random) -> object:
    """A small value of an ABI type."""
    if text.endswith("[]"):
        return [example_value(text[:-2], generator) for _ in range(generator.randrange(3))]
    if text.startswith("("):
        return [example_value(part, generator) for part in split_types(text[1:-1])]
    if text.startswith("uint"):
        return generator.choice((0, 1, 2, 5))
    if text == "bool":
        return bool(generator.randrange(2))
    if text == "address":
        return generator.randbytes(20)
    if text == "string":
        return "text"
    return generator.randbytes(int(text[5:]) if text != "bytes" else generator.choice((0, 32, 65)))


def run_event(data: bytes) -> bool:
    """First byte: which event. Then its indexed topics, then its data."""
    topic = event_topics()[data[0] % len(event_topics())] if data else event_topics()[0]
    count = sum(load_contract(ALLIANCE).events[topic].indexed)
    topics = [data[1 + 32 * at : 33 + 32 * at].ljust(32, b"\0") for at in range(count)]
    try:
        decode_log(Log(8, 2, bytes(32), bytes(32), (topic, *topics), data[1 + 32 * count :]), 1)
    except ChainError:
        return False
    return True


@cache
def settled_log() -> Log:
    """A settlement of two cohorts by two validators that contradicts itself nowhere."""
    event = next(e for e in load_contract(ALLIANCE).events.values() if e.name == "RoundSettled")
    # Outcomes stand after the bitmap of revealed ballots: 0b1001 is an adopted and a rejected cohort.
    record = (4, 9, 0b101, 0b1001, b"r" * 32, [15], [11, 0], [7, 0, 9], 3, *(bytes([n]) * 20 for n in (1, 2, 3)))
    values = {
        "round": 4, "cohortOutcome": [1, 2], "aggregateDigests": [b"s" * 32, b"o" * 32], "votesFor": [2, 1],
        "votesAgainst": [0, 1], "baseModelDigest": b"m" * 32, "closed": False, "record": record,
        "marks": [
            pack_marks(0, 500_000, b"\x01\x01", b"\x05\x01") | 0b111 << 144,
            pack_marks(2, 1, b"\x01\x00", b"\x0f\x00"),
        ],
    }  # fmt: skip
    parts = list(zip(event.names, event.types, event.indexed, strict=True))
    topics = (event.topic, *(encode_abi([kind], [values[name]]) for name, kind, indexed in parts if indexed))
    plain = [(kind, values[name]) for name, kind, indexed in parts if not indexed]
    data = encode_abi([kind for kind, _ in plain], [value for _, value in plain])
    return Log(8, 2, bytes(32), bytes(32), topics, data)


def event_seeds() -> Sequence[bytes]:
    logs = (*example_logs(), settled_log())
    return [bytes([event_topics().index(log.topics[0])]) + b"".join(log.topics[1:]) + log.data for log in logs]


def run_abi(data: bytes) -> bool:
    """First byte: which function's result; an odd second one reads a revert, the parameters and the round state too."""
    outputs = all_functions()[data[0] % len(all_functions())] if data else all_functions()[0]
    body = data[1:]
    decode_revert(body)
    taken = False
    try:
        decode_round_state(body)
        taken = True
    except ChainError:
        pass
    try:
        values = decode_abi(outputs, body)
        assert decode_abi(outputs, encode_abi(outputs, values)) == values, "values that are others when encoded"
        if outputs == load_contract(ALLIANCE).functions["params"].outputs:
            params_from_abi(values[0])
        taken = True
    except AbiError:
        pass
    return taken


def abi_seeds() -> Sequence[bytes]:
    generator = random.Random(2)
    seeds = []
    for at, outputs in enumerate(all_functions()):
        seeds.append(bytes([at % 256]) + encode_abi(outputs, [example_value(text, generator) for text in outputs]))
    return seeds


# --- HTTP and the beacon -------------------------------------------------------------------------------------------


class Wired(HttpEndpoint):
    """An endpoint whose server has already said everything."""

    def __init__(self, said: bytes) -> None:
        super().__init__("http://127.0.0.1:1", timeout_s=2.0, body_bytes_max=4096)
        self._said = said

    def _connect(self) -> HTTPConnection:
        ours, theirs = socket.socketpair()
        theirs.sendall(self._said)
        theirs.shutdown(socket.SHUT_WR)
        self._theirs = theirs  # kept open: what we send has somewhere to go
        connection = HTTPConnection("127.0.0.1", 1, timeout=2.0)
        connection.sock = ours
        return connection

    def close(self) -> None:
        super().close()
        self._theirs.close()


def run_http(data: bytes) -> bool:
    endpoint = Wired(data)
    try:
        _, body = endpoint.request("POST", "", b"{}", {})
        assert len(body) <= 4096
    except ChainError:
        return False
    finally:
        endpoint.close()
    return True


def http_seeds() -> Sequence[bytes]:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"
    return [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}",
        chunked,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 500 No\r\n\r\nbody until the end",
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    ]


@cache
def beacon() -> BeaconClient:
    network = BeaconNetwork(public_key_of(SECRET), 1_700_000_000, 3)
    return BeaconClient(network, ["http://127.0.0.1:1"], "00" * 32)


def run_beacon(data: bytes) -> bool:
    try:
        value = beacon()._fetch(Answering(data), 7)  # type: ignore[arg-type]
    except (BeaconError, ChainError):
        return False
    assert value.beacon_round == 7 and len(value.randomness) == 32
    return True


def beacon_seeds() -> Sequence[bytes]:
    signature = sign_beacon(SECRET, 7).hex()
    return [json.dumps({"round": 7, "randomness": "00" * 32, "signature": signature}).encode()]


TARGETS = (
    Target("rpc", run_rpc, rpc_seeds, Form.JSON, 16384, weight=0.15),
    Target("event", run_event, event_seeds, Form.WORDS, 8192, prefix_bytes=1, weight=4.0),
    Target("abi", run_abi, abi_seeds, Form.WORDS, 4096, prefix_bytes=1, weight=4.0),
    Target(
        "http", run_http, http_seeds, Form.BYTES, 4096,
        tokens=(b"\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: -1\r\n", b"HTTP/1.1 ", b"FFFFFFFF\r\n"),
        weight=0.2,
    ),
    Target("beacon", run_beacon, beacon_seeds, Form.JSON, 1024, weight=0.03),
)  # fmt: skip
