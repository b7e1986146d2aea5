"""A whole alliance in one process: accounts that join and sign as the daemons of a round will. Test support only.

Signatures are made with eth-account's EIP-712 code, independent of ours and of the contract's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import trio
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

from p2p_flock.alliance.allowlist import compute_allowlist_root, make_allowlist_proof
from p2p_flock.alliance.sortition import compute_assignment, compute_seed
from p2p_flock.chain.account import Account
from p2p_flock.chain.adapter import Chain, open_chain
from p2p_flock.chain.alliance_contract import AllianceHandle
from p2p_flock.chain.beacon import BeaconValue
from p2p_flock.chain.contracts import compute_params_hash
from p2p_flock.chain.devnet_deployment import Devnet, fund
from p2p_flock.chain.keystore import create_account
from p2p_flock.chain.records import RoundState
from p2p_flock.params import AllianceParams
from p2p_flock.types import Assignment, Domain, Vote
from p2p_flock.wire.messages import Ballot

FLOCK = 10**18
PEER_ID = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
MANIFEST_DIGEST = keccak(text="manifest")
BASE_MODEL, AGGREGATE = keccak(text="base model"), keccak(text="aggregate")
GRADE, SCORE_MICRO = 5, 700_000
FIELDS = {
    "Seal": (
        ("alliance", "uint256"),
        ("round", "uint32"),
        ("view", "uint32"),
        ("beaconRound", "uint64"),
        ("seed", "bytes32"),
        ("manifestDigest", "bytes32"),
        ("survivorsDigest", "bytes32"),
    ),
    "Commit": (
        ("alliance", "uint256"),
        ("round", "uint32"),
        ("seal", "bytes32"),
        ("position", "uint32"),
        ("commitment", "bytes32"),
    ),
}


def small_params(**changes: int | bytes) -> AllianceParams:
    """Six seats, two validators, one cohort of four; phases that leave a test its time."""
    values: dict[str, int | bytes] = {
        "manifest_digest": keccak(text="task"),
        "seat_stake": 100 * FLOCK,
        "reward_per_round": 1_000,
        "round_count": 3,
        "seat_count_min": 6,
        "seat_count_max": 7,
        "validator_count": 2,
        "cohort_count": 1,
        "threshold": 3,
        "collusion_bound": 0,
        "lane_bits": 32,
        "levels": 1 << 16,
        "weight_max": 8,
        "loss_tolerance_micro": 10_000,
        **dict.fromkeys(("train_seconds", "seal_seconds", "unmask_seconds", "evaluate_seconds"), 20),
        "commit_seconds": 20,
        "settle_seconds": 20,
        "opening_slot_seconds": 1,
        "beacon_margin": 1,
        "redraw_rounds": 1,
        "penalty_window_seconds": 60,
        "unbonding_seconds": 120,
        "provable_slash_bps": 1_000,
        "void_count_max": 3,
    }
    return AllianceParams(**{**values, **changes})  # type: ignore[arg-type]


def mask_key(index: int, generation: int = 0) -> bytes:
    """A stand-in for an X25519 key; the contract sees 32 bytes."""
    return keccak(text=f"mask key {index} {generation}")


@dataclass
class Committee:
    """All members of one alliance; ``handles[i]`` sends as ``accounts[i]``."""

    chains: list[Chain]
    accounts: list[Account]
    handles: list[AllianceHandle]

    @property
    def domain(self) -> Domain:
        return self.handles[0].domain

    async def join_all(self) -> None:
        """Everybody takes a seat, the last one opens round 0."""
        async with trio.open_nursery() as nursery:
            for index in range(len(self.handles)):
                nursery.start_soon(self.join, index)

    async def join(self, index: int) -> None:
        """One member takes a seat, with its proof where only those on a list may."""
        handle, owner = self.handles[index], self.chains[index].address
        listed = handle.terms.allowlist
        await handle.join(
            peer_id=PEER_ID,
            mask_key=mask_key(index),
            weight=1 + index,
            params_hash=compute_params_hash(handle.params),
            maximum_loss=handle.params.seat_stake,
            peer_signature=bytes(64),
            allowlist_proof=make_allowlist_proof(listed, owner) if owner in listed else (),
        )

    async def owners(self) -> list[bytes]:
        """Owner addresses in seat order."""
        return [seat.owner for seat in await self.handles[0].seats()]

    def sign(self, owner: bytes, kind: str, values: Sequence[object]) -> bytes:
        """EIP-712 signature, 65 bytes, by the member with this address."""
        account = next(a for a in self.accounts if bytes.fromhex(a.address[2:]) == owner)
        names = [{"name": name, "type": type_} for name, type_ in FIELDS[kind]]
        document = {
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"},
                    {"name": "version", "type": "string"},
                    {"name": "chainId", "type": "uint256"},
                    {"name": "verifyingContract", "type": "address"},
                ],
                kind: names,
            },
            "primaryType": kind,
            "domain": {
                "name": "p2p_flock",
                "version": "1",
                "chainId": self.domain.chain_id,
                "verifyingContract": "0x" + self.domain.contract.hex(),
            },
            "message": dict(zip((name for name, _ in FIELDS[kind]), values, strict=True)),
        }
        return bytes(EthAccount.sign_message(encode_typed_data(full_message=document), account.key).signature)

    def assignment(self, state: RoundState, value: BeaconValue) -> tuple[bytes, Assignment]:
        """Seed and roles of the open round."""
        seed = compute_seed(self.domain, state.round, value.randomness)
        return seed, compute_assignment(seed, state.seat_count, self.handles[0].params)

    async def seal_arguments(
        self, state: RoundState, value: BeaconValue, view: int = 0, absent: Collection[bytes] = ()
    ) -> dict[str, object]:
        """What ``seal_round`` takes when every trainer but the ``absent`` ones survived and all validators signed."""
        seed, assignment = self.assignment(state, value)
        owners = await self.owners()
        survivors = (sum(1 << i for i, seat in enumerate(assignment.trainers) if owners[seat] not in absent),)
        digest = keccak(b"".join(word.to_bytes(32, "big") for word in survivors))
        message = (
            *(self.domain.alliance, state.round, view, state.beacon_round),
            *(seed, MANIFEST_DIGEST, digest),
        )
        return {
            "round": state.round,
            "view": view,
            "beacon_signature": value.signature,
            "manifest_digest": MANIFEST_DIGEST,
            "survivors": survivors,
            "positions": tuple(range(len(assignment.validators))),
            "signatures": tuple(self.sign(owners[seat], "Seal", message) for seat in assignment.validators),
        }

    def seal_statement(self, state: RoundState, value: BeaconValue, view: int = 0) -> tuple[object, ...]:
        """The seal of :meth:`seal_arguments`, as the contract's struct by position."""
        seed, assignment = self.assignment(state, value)
        survivors = [(1 << len(assignment.trainers)) - 1]
        return (state.round, view, state.beacon_round, seed, MANIFEST_DIGEST, survivors)

    async def ballots(
        self, state: RoundState, value: BeaconValue, votes: Sequence[Vote] = (Vote.YES,)
    ) -> tuple[list[bytes], list[bytes], list[Ballot]]:
        """Commitments, their signatures, and the ballots, in position order: one vote a cohort, a yes of grade 5."""
        _, assignment = self.assignment(state, value)
        owners = await self.owners()
        commitments, signatures, ballots = [], [], []
        for position, seat in enumerate(assignment.validators):
            salt = keccak(text=f"salt {position}")
            fields = (self.domain.alliance, state.round, state.seal, position)
            commitment = compute_commitment(self.domain, state, position, salt, votes)
            commitments.append(commitment)
            signatures.append(self.sign(owners[seat], "Commit", (*fields, commitment)))
            grades = bytes(GRADE * (vote is Vote.YES) for vote in votes)
            digests = (AGGREGATE,) * len(votes)
            ballots.append(Ballot(state.seal, BASE_MODEL, bytes(votes), grades, SCORE_MICRO, digests, salt))
        return commitments, signatures, ballots


def compute_commitment(domain: Domain, state: RoundState, position: int, salt: bytes, votes: Sequence[Vote]) -> bytes:
    """The contract interface's commitment to :meth:`Committee.ballots`' ballot: keccak of ten words of static type."""
    marks = position | SCORE_MICRO << 16
    for cohort, vote in enumerate(votes):
        marks |= vote << 48 + 2 * cohort | GRADE * (vote is Vote.YES) << 80 + 4 * cohort
    words = (
        keccak(text="p2p_flock ballot v2"),
        domain.chain_id.to_bytes(32, "big"),
        domain.contract.rjust(32, b"\0"),
        domain.alliance.to_bytes(32, "big"),
        state.round.to_bytes(32, "big"),
        state.seal,
        marks.to_bytes(32, "big"),
        BASE_MODEL,
        keccak(AGGREGATE * len(votes)),
        salt,
    )
    return keccak(b"".join(words))


@asynccontextmanager
async def open_committee(
    devnet: Devnet, params: AllianceParams, count: int, poll_interval_s: float = 0.05, listed: int = 0
) -> AsyncIterator[Committee]:
    """Funded accounts, each with its own connection; the first one has created the alliance.

    Args:
        listed: so many of them, the first ones, are on the alliance's allowlist; 0: there is none.
    """
    accounts = [create_account() for _ in range(count)]
    await fund(devnet, [bytes.fromhex(account.address[2:]) for account in accounts])
    async with AsyncExitStack() as stack:
        chains = [
            await stack.enter_async_context(open_chain(devnet.chain_config(poll_interval_s), account))
            for account in accounts
        ]
        owners = sorted(chain.address for chain in chains[:listed])
        params = dataclasses.replace(params, allowlist_root=compute_allowlist_root(owners))
        pool = params.reward_per_round * params.round_count
        number = await chains[0].create_alliance(params, pool, "digits", owners)
        handles = [await chain.alliance(number) for chain in chains]
        yield Committee(chains, accounts, handles)
