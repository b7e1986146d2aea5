"""Claims of many rounds: asked and sent in pieces that endpoints and blocks take."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import cast

from p2p_flock.chain.abi import decode, encode
from p2p_flock.chain.alliance_contract import CLAIMS_PER_CALL, REWARDS_PER_BATCH, AllianceHandle
from p2p_flock.chain.client import Call, Json, RpcClient
from p2p_flock.chain.contracts import ALLIANCE, load_contract
from p2p_flock.chain.records import AllianceTerms, TransactionReceipt
from p2p_flock.chain.transactions import Sender
from p2p_flock.chain_events import SettledRecord
from p2p_flock.types import Domain
from tests.chain.committee import small_params

OWNER, CONTRACT = b"\x07" * 20, b"\x09" * 20
ROUNDS = 150
RECORDS = tuple(
    SettledRecord(number, 6, 0b11, 1, bytes(32), (0b1111,), (100,), (200, 200), 33, OWNER, OWNER, OWNER)
    for number in range(ROUNDS)
)
MIDDLE = (len(RECORDS) - 1) // 2


class CountingClient:
    """An endpoint that owes as many wei as the round's number."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def agreed(self, calls: Sequence[Call]) -> list[Json]:
        self.batches.append(len(calls))
        return [self.answer(call) for call in calls]

    def answer(self, call: Call) -> Json:
        view = load_contract(ALLIANCE).functions["getReward"]
        data = bytes.fromhex(str(cast(dict[str, str], call.params[0])["data"])[2:])
        assert data[:4] == view.selector
        owner, record = decode(view.inputs, data[4:])
        assert owner == "0x" + OWNER.hex()
        return "0x" + encode(view.outputs, [record[0]]).hex()


class KeepingSender:
    """Keeps what is sent."""

    address = OWNER

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes]] = []

    async def send(self, action: str, to: bytes, data: bytes, gas_headroom: int) -> TransactionReceipt:
        self.sent.append((to, data))
        return TransactionReceipt(len(self.sent).to_bytes(32, "big"), 21_000, 1, 1, 1)


def handle_with(client: CountingClient, sender: KeepingSender) -> AllianceHandle:
    terms = AllianceTerms(1, CONTRACT, OWNER, bytes(32), "digits", 1)
    domain = Domain(84_530, CONTRACT, 1)
    return AllianceHandle(
        cast(RpcClient, client), cast(Sender, sender), domain, small_params(), terms, bytes(20), poll_interval_s=0.1
    )


async def test_rewards__are_asked_in_bounded_batches() -> None:
    """A member of a long alliance could not see what it earned: no endpoint takes a request of megabytes."""
    client = CountingClient()
    rewards = await handle_with(client, KeepingSender()).rewards_wei(RECORDS)
    assert rewards == tuple(range(ROUNDS))
    assert client.batches == [REWARDS_PER_BATCH, REWARDS_PER_BATCH, ROUNDS - 2 * REWARDS_PER_BATCH]
    assert await handle_with(client, KeepingSender()).rewards_wei(()) == ()


async def test_claims__fit_into_blocks() -> None:
    """A claim of a year's rounds would need more gas than a transaction may have, and never be paid."""
    sender = KeepingSender()
    receipts = await handle_with(CountingClient(), sender).claim(RECORDS)
    function = load_contract(ALLIANCE).functions["claimRounds"]
    claimed: list[int] = []
    for to, data in sender.sent:
        assert (to, data[:4]) == (CONTRACT, function.selector)
        (records,) = decode(function.inputs, data[4:])
        assert 0 < len(records) <= CLAIMS_PER_CALL
        claimed += [record[0] for record in records]
    assert claimed == list(range(ROUNDS))
    assert [receipt.hash for receipt in receipts] == [n.to_bytes(32, "big") for n in range(1, len(sender.sent) + 1)]


async def test_claims__without_rounds_take_the_credit() -> None:
    """A tenth of a slash, or the creator's residual, would need a settled round to be paid."""
    sender = KeepingSender()
    assert len(await handle_with(CountingClient(), sender).claim()) == 1
    assert sender.sent == [(CONTRACT, load_contract(ALLIANCE).functions["claim"].selector)]


def test_record__keeps_its_order_in_calldata() -> None:
    """A record with two fields swapped has another hash: nobody could claim."""
    values = dataclasses.astuple(RECORDS[MIDDLE])
    (kind,) = load_contract(ALLIANCE).functions["claimRounds"].inputs
    ((again,),) = decode([kind], encode([kind], [[values]]))
    senders = ("0x" + OWNER.hex(),) * 3
    assert again == (*values[:-3], *senders)
