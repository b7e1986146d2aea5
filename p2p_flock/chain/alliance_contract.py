"""One alliance on chain: its parameters, state, seats, logs, and the transactions a member sends to it.

Made by ``adapter.Chain.alliance``; called by the daemon and the CLI. Reads that privacy hangs on (seats, keys, logs)
are agreed on by all configured endpoints. Never decides anything: who may send what, when, is the machines' business.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import base58

from p2p_flock.chain.archive import LogArchive
from p2p_flock.chain.client import Call, Json, RpcClient, as_bytes
from p2p_flock.chain.contracts import (
    ALLIANCE,
    TOKEN,
    address_bytes,
    address_text,
    compute_params_hash,
    load_contract,
    peer_id_text,
)
from p2p_flock.chain.events import LogReader, decode_round_state
from p2p_flock.chain.follower import ChainFeed, Follower
from p2p_flock.chain.records import (
    AllianceAccounts,
    AllianceTerms,
    RoundState,
    SeatRecord,
    StakeRecord,
    TransactionReceipt,
)
from p2p_flock.chain.transactions import Sender
from p2p_flock.chain_events import ChainEvent, SettledRecord
from p2p_flock.crypto.signing import pack_marks
from p2p_flock.errors import ChainError, UsageError
from p2p_flock.params import AllianceParams
from p2p_flock.types import Domain
from p2p_flock.wire.messages import Ballot

SEATS_PER_CALL = 256  # about 0.5 kB each in the answer
REWARDS_PER_BATCH = 64  # calls in one request: records of 64 validators and 4,096 seats have 3 kB
CLAIMS_PER_CALL = 32  # rounds in one transaction, about 2 million gas: far below a block's, whatever the chain
# settleRound only records while others' ballots are missing and settles at the deadline: an estimate made just before
# it may lack the gas for tallying 64 ballots over 16 cohorts and opening the next round. Unused gas costs nothing.
SETTLE_GAS_HEADROOM = 2_000_000
ROUND_GAS_HEADROOM = 300_000


async def read_contract(client: RpcClient, contract: str, address: bytes, function: str, *arguments: object) -> Any:
    """One view call on which all endpoints agree; the bare value where the function returns one.

    Raises:
        ChainError: the endpoints failed or disagree, or no such contract stands there.
    """
    view = load_contract(contract).functions[function]
    (answer,) = await client.agreed((eth_call(address, view.encode(*arguments)),))
    values = view.decode(as_bytes(answer))
    return values[0] if len(values) == 1 else values


def eth_call(address: bytes, data: bytes, block: str = "latest") -> Call:
    """The request for a view call."""
    request: dict[str, Json] = {"to": address_text(address), "data": "0x" + data.hex()}
    return Call("eth_call", (request, block))


class AllianceHandle:
    """Bound to one alliance contract and, for transactions, one account."""

    def __init__(
        self,
        client: RpcClient,
        sender: Sender,
        domain: Domain,
        params: AllianceParams,
        terms: AllianceTerms,
        token: bytes,
        poll_interval_s: float,
    ) -> None:
        self._client, self._sender = client, sender
        self._token = token
        self._poll_interval_s = poll_interval_s
        self.domain, self.params, self.terms = domain, params, terms
        self.contract = domain.contract

    # --- reads ---------------------------------------------------------------------------------------------------

    async def round_state(self) -> RoundState:
        """The contract's state, by one call to the first endpoint.

        Raises:
            ChainError: the endpoint failed.
        """
        view = load_contract(ALLIANCE).functions["roundState"]
        (answer,) = await self._client.batch((eth_call(self.contract, view.selector),))
        if isinstance(answer, ChainError):
            raise answer
        return decode_round_state(as_bytes(answer))

    async def seats(self) -> tuple[SeatRecord, ...]:
        """The whole seat table, members that joined after the current round opened included.

        Raises:
            ChainError: the endpoints failed or disagree.
        """
        records: list[SeatRecord] = []
        while True:
            page = await self._read("getSeats", len(records), SEATS_PER_CALL)
            records += [_seat_record(index, values) for index, values in enumerate(page, start=len(records))]
            if len(page) < SEATS_PER_CALL:
                return tuple(records)

    async def stake(self, owner: bytes | None = None) -> StakeRecord:
        """An owner's stake; the own account's by default.

        Raises:
            ChainError: the endpoints failed or disagree.
        """
        return StakeRecord(*await self._read("getStake", owner or self._sender.address))

    async def credit_wei(self, owner: bytes | None = None) -> int:
        """FLOCK wei that :meth:`claim` would pay without naming rounds.

        Raises:
            ChainError: the endpoints failed or disagree.
        """
        return int(await self._read("getCredit", owner or self._sender.address))

    async def rewards_wei(self, records: Sequence[SettledRecord], owner: bytes | None = None) -> tuple[int, ...]:
        """FLOCK wei that claiming each of these rounds would add, refunds included: 0 for one that was claimed.

        Raises:
            ChainError: the endpoints failed or disagree, or a record is not the chain's.
        """
        view = load_contract(ALLIANCE).functions["getReward"]
        account = owner or self._sender.address
        calls = [eth_call(self.contract, view.encode(account, dataclasses.astuple(record))) for record in records]
        rewards: list[int] = []
        for start in range(0, len(calls), REWARDS_PER_BATCH):
            answers = await self._client.agreed(calls[start : start + REWARDS_PER_BATCH])
            rewards += [int(view.decode(as_bytes(answer))[0]) for answer in answers]
        return tuple(rewards)

    async def accounts(self) -> AllianceAccounts:
        """The sums that make up the contract's balance, FLOCK wei.

        Raises:
            ChainError: the endpoints failed or disagree.
        """
        return AllianceAccounts(*await self._read("getAccounts"))

    async def confirmed_model(self) -> tuple[int, bytes]:
        """Round and digest of the last global model that an accept quorum named; a zero digest before there is one.

        Raises:
            ChainError: the endpoints failed or disagree.
        """
        number, digest = await self._read("getConfirmedModel")
        return int(number), bytes(digest)

    async def events(self, from_block: int, to_block: int) -> tuple[ChainEvent, ...]:
        """Typed logs of the inclusive block range, in chain order.

        Raises:
            ChainError: the endpoints failed or disagree.
        """
        return await LogReader(self._client, self.contract).read(from_block, to_block)

    async def _read(self, function: str, *arguments: object) -> Any:
        return await read_contract(self._client, ALLIANCE, self.contract, function, *arguments)

    def follow(self, from_block: int, archive: LogArchive | None = None) -> ChainFeed:
        """Everything from ``from_block`` on: ``async for update in alliance.follow(block)``, which never ends.

        Args:
            archive: what an earlier run read already, and where this one keeps what it reads.
        """
        follower = Follower(self._client, self.contract, from_block, archive)
        return ChainFeed(follower, self._poll_interval_s, self._sender.look_after)

    # --- membership ----------------------------------------------------------------------------------------------

    async def join(
        self,
        *,
        peer_id: str,
        mask_key: bytes,
        weight: int,
        params_hash: bytes,
        maximum_loss: int,
        peer_signature: bytes,
        allowlist_proof: Sequence[bytes] = (),
    ) -> TransactionReceipt:
        """Stake and take a seat; approves exactly the stake first where the allowance does not cover it.

        Args:
            peer_id: libp2p peer ID, base58 text.
            mask_key: X25519 public key, 32 bytes.
            params_hash: of the parameters the member was shown (``compute_params_hash``).
            maximum_loss: largest stake the member accepts to lose, FLOCK wei.
            peer_signature: Ed25519, 64 bytes, by the peer ID over the join binding.
            allowlist_proof: the owner's, where not everybody may join (``alliance.allowlist``).

        Raises:
            UsageError: the terms are not those of this alliance; nothing was sent.
            TransactionFailedError: refused; ``reason`` is e.g. AlreadySeated, NoSeatFree, WrongParameters,
                NotOnAllowlist, JoinDeadlinePassed.
            ChainError: the endpoint failed.
        """
        if maximum_loss < self.params.seat_stake:
            raise UsageError(
                f"A seat stakes {self.params.seat_stake} FLOCK wei, more than the maximum loss of {maximum_loss} that "
                "you accept. Raise it or stay out."
            )
        if params_hash != compute_params_hash(self.params):
            raise UsageError(
                "The parameters you agreed to are not this alliance's; look at them again before you join."
            )
        await approve_token(self._client, self._sender, self._token, self.contract, self.params.seat_stake)
        request = (base58.b58decode(peer_id), mask_key, weight, params_hash, maximum_loss, peer_signature)
        return await self._send("join", (*request, list(allowlist_proof)))

    async def leave(self) -> TransactionReceipt:
        """Ask to leave; the seat is freed when the next round opens."""
        return await self._send("leave")

    async def withdraw(self) -> TransactionReceipt:
        """Take the stake back once unbonding is over (``reason`` Unbonding before)."""
        return await self._send("withdraw")

    async def claim(self, records: Sequence[SettledRecord] = ()) -> tuple[TransactionReceipt, ...]:
        """Take all credit, after booking what these rounds owe: as many transactions as they need, one at least.

        Raises:
            TransactionFailedError: refused; ``reason`` NothingToClaim, WrongRecord, … What went before stands.
            ChainError: the endpoint failed.
        """
        if not records:
            return (await self._send("claim"),)
        structs = [dataclasses.astuple(record) for record in records]
        starts = range(0, len(structs), CLAIMS_PER_CALL)
        return tuple([await self._send("claimRounds", structs[at : at + CLAIMS_PER_CALL]) for at in starts])

    async def register_key(self, mask_key: bytes) -> TransactionReceipt:
        """Install a fresh mask key from the next round to open."""
        return await self._send("registerKey", mask_key)

    # --- penalties -----------------------------------------------------------------------------------------------

    async def slash(self, function: str, arguments: Sequence[object]) -> TransactionReceipt:
        """Post evidence of a provable fault; a tenth of the slash is credited to this account.

        Args:
            function: of the contract's ``slash…`` functions; arguments: by position, structs as tuples.

        Raises:
            TransactionFailedError: refused; ``reason`` AlreadySlashed where somebody else was first, NotSlashable, …
            ChainError: the endpoint failed.
        """
        return await self._send(function, *arguments)

    async def suspend(self, owner: bytes, first: SettledRecord, second: SettledRecord) -> TransactionReceipt:
        """Queue a seat for removal that was absent in the two rounds settled last; no stake is lost.

        Raises:
            TransactionFailedError: refused; ``reason`` AlreadyLeaving, NotAbsent, NotConsecutive, WrongRecord, …
            ChainError: the endpoint failed.
        """
        return await self._send("suspend", owner, dataclasses.astuple(first), dataclasses.astuple(second))

    async def suspend_suspected(self, owner: bytes, records: Sequence[SettledRecord]) -> TransactionReceipt:
        """Queue a seat for removal whose cohorts were rejected ``suspicion_bound`` times in a row; no stake is lost.

        Args:
            records: of all settled rounds, ascending, from one of the owner's tenure to the last settled one.

        Raises:
            TransactionFailedError: refused; ``reason`` SuspicionIsOff, AlreadyLeaving, NotSuspected, NotConsecutive,
                RoundBeforeTenure, WrongRecord, …
            ChainError: the endpoint failed.
        """
        return await self._send("suspendSuspected", owner, [dataclasses.astuple(record) for record in records])

    async def reactivate(self, mask_key: bytes) -> TransactionReceipt:
        """Take a seat again after a suspension, with a fresh mask key; nothing is paid.

        Raises:
            TransactionFailedError: refused; ``reason`` StillSeated before the seat's removal, NotSuspended,
                SeatIsSuspected after :meth:`suspend_suspected`, …
            ChainError: the endpoint failed.
        """
        return await self._send("reactivate", mask_key)

    async def register_addresses(self, addresses: bytes) -> TransactionReceipt:
        """Publish where this node can be dialled: multiaddrs in UTF-8, one a line, at most 512 bytes.

        Raises:
            TransactionFailedError: refused; ``reason`` NotSeated, AddressesTooLong.
            ChainError: the endpoint failed.
        """
        return await self._send("registerAddresses", addresses)

    async def close(self) -> TransactionReceipt:
        """Close an alliance that has waited for seats for 30 days, or waits while nobody may join any more."""
        return await self._send("close")

    # --- the round's transactions --------------------------------------------------------------------------------

    async def seal_round(
        self,
        *,
        round: int,
        view: int,
        beacon_signature: bytes,
        manifest_digest: bytes,
        survivors: Sequence[int],
        positions: Sequence[int],
        signatures: Sequence[bytes],
    ) -> TransactionReceipt:
        """Post the seal.

        Args:
            beacon_signature: uncompressed, 96 bytes (``BeaconValue.signature``).
            survivors: words of the bitmap over trainer indexes, ``ceil(T / 256)`` of them.
            positions, signatures: of the signing validators, strictly ascending; 65 bytes r ‖ s ‖ v each.

        Raises:
            TransactionFailedError: ``reason`` AlreadySealed where somebody else was first, DeadlinePassed, …
            ChainError: the endpoint failed.
        """
        return await self._send(
            "sealRound",
            round,
            view,
            beacon_signature,
            manifest_digest,
            list(survivors),
            _bitmap(positions),
            b"".join(signatures),
            gas_headroom=ROUND_GAS_HEADROOM,
        )

    async def commit_round(
        self,
        *,
        seal: Sequence[object],
        positions: Sequence[int],
        commitments: Sequence[bytes],
        signatures: Sequence[bytes],
    ) -> TransactionReceipt:
        """Post ballot commitments.

        Args:
            seal: the contract's ``SealStatement`` by position, of the running round's seal.
            positions: strictly ascending; commitments and signatures (65 bytes each) in the same order.

        Raises:
            TransactionFailedError: ``reason`` NothingNew where all were known already, DeadlinePassed, …
            ChainError: the endpoint failed.
        """
        return await self._send(
            "commitRound",
            seal,
            _bitmap(positions),
            list(commitments),
            b"".join(signatures),
            gas_headroom=ROUND_GAS_HEADROOM,
        )

    async def settle_round(
        self,
        *,
        seal: Sequence[object],
        order: bytes,
        unopened: Sequence[bytes],
        positions: Sequence[int],
        ballots: Sequence[Ballot],
    ) -> TransactionReceipt:
        """Post ballots (``positions[i]`` is the validator of ``ballots[i]``) and settle where that is due.

        Args:
            seal: the contract's ``SealStatement`` by position, of the running round's seal.
            order: all committed positions, a byte each, in the order in which the chain took them.
            unopened: commitments, in that order, of the positions without a ballot here.
            positions: strictly ascending.

        Raises:
            TransactionFailedError: ``reason`` WrongRound where the round is settled already, NothingNew, …;
                WrongCommitments or MissingBallot where the log went on meanwhile.
            ChainError: the endpoint failed.
        """
        structs = [
            (
                pack_marks(position, ballot.score_micro, ballot.verdicts, ballot.grades),
                ballot.base_model_digest,
                list(ballot.aggregate_digests),
                ballot.salt,
            )
            for position, ballot in zip(positions, ballots, strict=True)
        ]
        return await self._send("settleRound", seal, order, list(unopened), structs, gas_headroom=SETTLE_GAS_HEADROOM)

    async def void_round(self, round: int) -> TransactionReceipt:
        """End a round that was not sealed, or not committed to, in time.

        Raises:
            TransactionFailedError: ``reason`` DeadlineNotPassed, WrongRound, RoundHasCommitments, …
            ChainError: the endpoint failed.
        """
        return await self._send("voidRound", round, gas_headroom=ROUND_GAS_HEADROOM)

    async def _send(
        self, function: str, *arguments: object, gas_headroom: int = ROUND_GAS_HEADROOM
    ) -> TransactionReceipt:
        data = load_contract(ALLIANCE).functions[function].encode(*arguments)
        action = f"{function} of alliance {self.domain.alliance}"
        return await self._sender.send(action, self.contract, data, gas_headroom=gas_headroom)


async def approve_token(client: RpcClient, sender: Sender, token: bytes, spender: bytes, amount: int) -> None:
    """Let ``spender`` take ``amount`` FLOCK wei, unless it may already; exactly that, never "infinite".

    Raises:
        ChainError: the endpoint failed or the transaction did.
    """
    if amount == 0 or await read_contract(client, TOKEN, token, "allowance", sender.address, spender) >= amount:
        return
    data = load_contract(TOKEN).functions["approve"].encode(spender, amount)
    await sender.send(f"approving {amount} FLOCK wei", token, data)


def _bitmap(positions: Sequence[int]) -> int:
    """Its bits say which; the order of what belongs to them is ascending, so theirs must be.

    Raises:
        UsageError: not strictly ascending.
    """
    if any(before >= after for before, after in itertools.pairwise(positions)):
        raise UsageError(f"positions must be strictly ascending, not {list(positions)}")
    return sum(1 << position for position in positions)


def _seat_record(index: int, values: tuple[Any, ...]) -> SeatRecord:
    owner, peer_id, *others = values
    return SeatRecord(index, address_bytes(owner), peer_id_text(peer_id), *others)
