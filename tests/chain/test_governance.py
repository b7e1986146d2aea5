"""Governance as read from the chain: against web3.py's encodings, and against endpoints that say what they like."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from typing import Any

import pytest
from eth_account.messages import _hash_eip191_message, encode_typed_data
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

from p2p_flock.chain.adapter import ChainConfig
from p2p_flock.chain.client import RpcClient
from p2p_flock.chain.contracts import EMISSION, GOVERNANCE_NAMES, GOVERNOR, address_bytes, load_contract
from p2p_flock.chain.devnet_deployment import Devnet
from p2p_flock.chain.governance import Governance, GovernanceContracts, open_governance
from p2p_flock.chain.governed_calls import read_call, spend
from p2p_flock.chain.locks import permit_digest
from p2p_flock.chain.proposals import (
    GovernedCall,
    Proposal,
    compute_proposal_id,
    decode_proposal,
    read_proposals,
    read_standing,
)
from p2p_flock.errors import ChainError, ConfigError
from tests.chain.fake_rpc import serve_fake
from tests.chain.test_contracts import abi_of, example

CONTRACTS = GovernanceContracts(*(bytes([index]) * 20 for index in range(1, 6)))
VOTER = b"\xaa" * 20
CALLS = (GovernedCall(b"\x09" * 20, 0, b"\x01\x02\x03\x04"), GovernedCall(b"\x08" * 20, 7, b""))
CREATED = next(event for event in load_contract(GOVERNOR).events.values() if event.name == "ProposalCreated")


def created_data(calls: tuple[GovernedCall, ...], text: bytes, **changes: Any) -> bytes:
    """The data of a ``ProposalCreated`` log, by web3's encoder; the description as the bytes that it may be."""
    values: dict[str, Any] = {
        "id": compute_proposal_id(calls, text),
        "proposer": Web3.to_checksum_address(VOTER),
        "targets": [Web3.to_checksum_address(call.target) for call in calls],
        "values": [call.value_wei for call in calls],
        "signatures": ["" for _ in calls],
        "calldatas": [call.data for call in calls],
        "start": 100,
        "end": 200,
        "description": text,
        **changes,
    }
    types = [kind if kind != "string" else "bytes" for kind in CREATED.types]
    return Web3().codec.encode(types, list(values.values()))


@pytest.mark.parametrize("name", GOVERNANCE_NAMES)
def test_calls__equal_those_of_web3(name: str) -> None:
    """A vote, or a payment of the treasury, would be encoded as something else."""
    theirs = Web3().eth.contract(abi=abi_of(name))
    for item in abi_of(name):
        if item["type"] != "function":
            continue
        ours = load_contract(name).functions[item["name"]]
        if len(ours.inputs) < len(item["inputs"]):
            continue  # of an overloaded function the shorter one is kept
        arguments = [b"\x01\x02\x03\x04" if part["type"] == "bytes4" else example(part) for part in item["inputs"]]
        signature = f"{item['name']}({','.join(ours.inputs)})"
        assert "0x" + ours.encode(*arguments).hex() == theirs.encode_abi(signature, args=arguments)


def test_proposal__is_read_whole() -> None:
    """Voters would see other calls than those that are executed."""
    proposal = decode_proposal(created_data(CALLS, b"Fund it"), 5)
    assert proposal == Proposal(compute_proposal_id(CALLS, b"Fund it"), VOTER, CALLS, 100, 200, b"Fund it", 5)
    targets = [Web3.to_checksum_address(call.target) for call in CALLS]
    arguments = [targets, [0, 7], [b"\x01\x02\x03\x04", b""], Web3.keccak(b"Fund it")]
    encoded = Web3().codec.encode(["address[]", "uint256[]", "bytes[]", "bytes32"], arguments)
    assert proposal.id == int.from_bytes(Web3.keccak(encoded), "big")


def test_proposal__no_text_hides_it() -> None:
    """One description that is no UTF-8 would make the whole list unreadable."""
    assert decode_proposal(created_data(CALLS, b"\xff\xfe\x00"), 5).description == b"\xff\xfe\x00"


@pytest.mark.parametrize(
    "changes", [{"id": 5}, {"description": b"Fund something else"}, {"values": [0, 8]}, {"values": [0]}]
)
def test_proposal__bad_what_is_not_its_ids_is_refused(changes: dict[str, Any]) -> None:
    """An endpoint could show other calls under the ID that is voted on."""
    with pytest.raises(ChainError):
        decode_proposal(created_data(CALLS, b"Fund it", **changes), 5)


@given(data=st.binary(max_size=900))
def test_proposal__of_any_bytes_is_decoded_or_refused(data: bytes) -> None:
    """What an endpoint sends as a log must never end a command but by a ChainError."""
    with contextlib.suppress(ChainError):
        decode_proposal(data, 1)


@given(data=st.binary(max_size=300), target=st.sampled_from(dataclasses.astuple(CONTRACTS)), known=st.booleans())
def test_call__of_any_bytes_reads_back_or_not_at_all(data: bytes, target: bytes, known: bool) -> None:
    """A proposer's bytes could end the command that shows them, or be shown as less than they are."""
    call = GovernedCall(target, 0, (spend(CONTRACTS, VOTER, 1).data[:4] if known else b"") + data)
    read = read_call(CONTRACTS, call)
    if read is not None:
        assert load_contract(read.contract).functions[read.function].encode(*read.arguments) == call.data


def test_permit__is_the_standards() -> None:
    """Locking would need a second transaction, or sign away something else."""
    fields = {"owner": "address", "spender": "address", "value": "uint256", "nonce": "uint256", "deadline": "uint256"}
    message = {
        "owner": Web3.to_checksum_address(VOTER),
        "spender": Web3.to_checksum_address(CONTRACTS.gm_flock),
        "value": 5 * 10**18,
        "nonce": 3,
        "deadline": 1_800_000_000,
    }
    domain = {"name": "FLOCK", "version": "1", "chainId": 8453,
              "verifyingContract": Web3.to_checksum_address(CONTRACTS.token)}  # fmt: skip
    types = {"Permit": [{"name": name, "type": kind} for name, kind in fields.items()]}
    signable = encode_typed_data(domain_data=domain, message_types=types, message_data=message)
    ours = permit_digest(CONTRACTS, 8453, VOTER, 5 * 10**18, 3, 1_800_000_000)
    assert ours == _hash_eip191_message(signable)


# --- endpoints that say what they like -------------------------------------------------------------------------

HEAD, BEGINNING, BLOCKS_MAX = 250_000, 90_000, 10_000


def answer_of(method: str, params: list[Any], logs_at: dict[int, bytes], state: int) -> object:
    """A chain of two-second blocks whose governor began at ``BEGINNING``; serves 10,000 blocks of logs at a time."""
    match method:
        case "eth_getBlockByNumber":
            number = HEAD if params[0] == "latest" else int(params[0], 16)
            return {"number": hex(number), "hash": "0x" + "11" * 32, "parentHash": "0x" + "22" * 32,
                    "timestamp": hex(2 * number)}  # fmt: skip
        case "eth_getLogs":
            first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
            if last - first >= BLOCKS_MAX:
                raise ValueError("the range is too large")
            return [
                {"address": "0x" + CONTRACTS.governor.hex(), "topics": ["0x" + CREATED.topic.hex()],
                 "blockNumber": hex(block), "logIndex": "0x0", "blockHash": "0x" + "11" * 32,
                 "transactionHash": "0x" + "33" * 32, "data": "0x" + data.hex()}
                for block, data in logs_at.items() if first <= block <= last
            ]  # fmt: skip
        case "eth_call":
            selector = params[0]["data"][:10]
            began = load_contract(EMISSION).functions["startsAt"].selector
            votes = load_contract(GOVERNOR).functions["proposalVotes"].selector
            words = [2 * BEGINNING] if selector == "0x" + began.hex() else [1, 2, 3] if selector == "0x" + votes.hex() \
                else [state]  # fmt: skip
            return "0x" + b"".join(word.to_bytes(32, "big") for word in words).hex()
    raise AssertionError(method)


@contextlib.contextmanager
def fake_governance(logs_at: dict[int, bytes], state: int = 1) -> Any:
    """Governance of :func:`answer_of`, and the list of ranges that were asked for."""
    ranges: list[tuple[int, int]] = []

    def one(request: dict[str, Any]) -> dict[str, object]:
        if request["method"] == "eth_getLogs":
            ranges.append((int(request["params"][0]["fromBlock"], 16), int(request["params"][0]["toBlock"], 16)))
        try:
            result = answer_of(request["method"], request["params"], logs_at, state)
        except ValueError as error:
            return {"id": request["id"], "error": {"code": -32600, "message": str(error)}}
        return {"id": request["id"], "result": result}

    def respond(body: object) -> tuple[int, bytes]:
        answers = [one(request) for request in body] if isinstance(body, list) else one(body)  # type: ignore[arg-type]
        return 200, json.dumps(answers).encode()

    with serve_fake(respond) as endpoint:
        client = RpcClient([endpoint.url])
        yield Governance(client, CONTRACTS, VOTER, ChainConfig((endpoint.url,), 84530, VOTER)), ranges
        client.close()


async def test_logs__are_read_in_pieces_where_the_provider_wants_it() -> None:
    """Behind a public endpoint there would be no list of proposals."""
    logs_at = {100_000: created_data(CALLS, b"first"), 249_999: created_data(CALLS, b"second")}
    with fake_governance(logs_at) as (governance, ranges):
        found = await read_proposals(governance, lambda _: False)
        assert [proposal.description for proposal in found] == [b"second", b"first"]
        asked = sorted(ranges[1:])
        assert asked[-1][1] == HEAD
        assert BEGINNING - BLOCKS_MAX <= asked[0][0] <= BEGINNING
        assert all(before[1] + 1 == after[0] for before, after in itertools.pairwise(asked))
        ranges.clear()
        found = await read_proposals(governance, lambda proposals: len(proposals) >= 1)
        assert [proposal.description for proposal in found] == [b"second"]
        assert len(ranges) == 11  # the whole, refused; then one batch


async def test_standing__of_a_state_that_no_governor_has_is_refused() -> None:
    """A lying endpoint could end the command with a defect's traceback."""
    proposal = decode_proposal(created_data(CALLS, b"Fund it"), 5)
    with fake_governance({}, state=1) as (governance, _):
        (standing,) = await read_standing(governance, [proposal])
        assert (standing.votes_against, standing.votes_for, standing.votes_abstain) == (1, 2, 3)
    with fake_governance({}, state=9) as (governance, _), pytest.raises(ChainError):
        await read_standing(governance, [proposal])


async def test_governance__of_the_development_chain_is_found(devnet: Devnet) -> None:
    """Nobody could try governance on a local network; or a planted governor would be believed."""
    governor = address_bytes(devnet.governor)
    async with open_governance(devnet.chain_config(), governor, VOTER) as governance:
        found = governance.contracts
        addresses = [devnet.token, devnet.gm_flock, devnet.governor, devnet.timelock, devnet.emission]
        assert ["0x" + address.hex() for address in dataclasses.astuple(found)] == [a.lower() for a in addresses]
    wrong = dataclasses.replace(devnet.chain_config(), chain_id=1)
    for config, address in ((wrong, governor), (devnet.chain_config(), found.gm_flock), (devnet.chain_config(), VOTER)):
        with pytest.raises(ConfigError):
            async with open_governance(config, address, VOTER):
                pass
