"""What the chain adapter answers with: frozen values without behaviour.

Made by ``alliance_contract.py`` and ``transactions.py``, read by the daemon and the CLI. Money is in wei (18 decimals),
times are Unix seconds of chain time, addresses have 20 bytes and digests 32. The logs' values stand in
``p2p_flock/chain_events.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from p2p_flock.chain_events import ChainEvent


class RoundPhase(IntEnum):
    """The contract's phase of the running round."""

    WAITING = 0  # too few seats to open a round: the first needs seat_count_min, later ones the structural minimum
    OPEN = 1
    SEALED = 2
    REVEALING = 3
    CLOSED = 4


@dataclass(frozen=True, slots=True)
class RoundState:
    """The contract's ``roundState()``, field by field in ABI order; ``timestamp_s`` is the block's it was read at.

    Attributes:
        seal: struct hash of the first valid one, 32 bytes; what it stands for is in the log (``RoundSealed``).
        committed_positions, revealed_positions: bitmaps over validator positions.
    """

    round: int
    phase: RoundPhase
    seat_count: int
    beacon_round: int
    opens_at_s: int
    train_deadline_s: int
    seal_deadline_s: int
    sealed_at_s: int
    commit_deadline_s: int
    reveal_deadline_s: int
    seal: bytes
    committed_positions: int
    revealed_positions: int
    commit_count: int
    settled_round_count: int
    void_count: int
    timestamp_s: int


@dataclass(frozen=True, slots=True)
class SeatRecord:
    """One seat as the contract lists it, field by field in ABI order, after its table index.

    Attributes:
        key_round: round in which ``mask_key`` was registered (in force from the next OPEN);
            ``BEFORE_ROUND_ZERO`` for one registered before the first OPEN. Likewise ``previous_key_round``.
        peer_signature: Ed25519, 64 bytes, by the peer ID over the join binding; the contract cannot check it.
    """

    index: int
    owner: bytes
    peer_id: str
    mask_key: bytes
    key_round: int
    previous_key: bytes
    previous_key_round: int
    key_generation: int
    weight: int
    joined_round: int
    leaving: bool
    peer_signature: bytes


@dataclass(frozen=True, slots=True)
class ChainUpdate:
    """What one poll of an alliance found.

    Attributes:
        block, timestamp_s: the newest block.
        state: the contract's state, read at that block or one that came after it within the same poll.
        events: logs not handed out before, in chain order.
        rewound_to: where the chain was reorganised: all logs handed out earlier that stand above this block are void
            and ``events`` starts over from there. ``None`` as a rule.
    """

    block: int
    timestamp_s: int
    state: RoundState
    events: tuple[ChainEvent, ...]
    rewound_to: int | None = None


@dataclass(frozen=True, slots=True)
class TransactionReceipt:
    """A mined transaction: hash, gas used, block number, status (1 succeeded), price per gas in wei.

    ``l1_fee_wei``: what an OP chain takes besides, for the data on L1; endpoints that do not say it are not held to
    disagree.
    """

    hash: bytes
    gas_used: int
    block: int
    status: int
    gas_price_wei: int
    contract: bytes | None = None
    l1_fee_wei: int = field(default=0, compare=False)

    @property
    def cost_wei(self) -> int:
        """ETH wei that it took from the sender, beside what it sent."""
        return self.gas_used * self.gas_price_wei + self.l1_fee_wei


@dataclass(frozen=True, slots=True)
class StakeRecord:
    """An owner's stake in FLOCK wei; ``release_at_s`` is 0 while it is seated in an alliance that has not closed."""

    seated: bool
    seat: int
    stake_wei: int
    release_at_s: int


@dataclass(frozen=True, slots=True)
class AllianceAccounts:
    """What the alliance contract holds, FLOCK wei: members' stakes, the unspent reward pool, rewards not yet paid."""

    stakes_wei: int
    pool_wei: int
    owed_wei: int


@dataclass(frozen=True, slots=True)
class AllianceTerms:
    """What never changes about an alliance, besides its parameters; ``created_block`` is where following starts.

    ``allowlist``: owners that may join, 20 bytes each, ascending; empty where everybody may.
    """

    number: int
    contract: bytes
    creator: bytes
    manifest_digest: bytes
    task_name: str
    created_block: int
    allowlist: tuple[bytes, ...] = ()
