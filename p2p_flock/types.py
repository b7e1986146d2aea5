"""Plain immutable values shared by the whole core.

No behaviour beyond parsing and formatting of their own text form; imports nothing of the package but ``errors``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import cached_property

from p2p_flock.errors import UsageError

DIGEST_BYTES = 32
ADDRESS_BYTES = 20
MASK_KEY_BYTES = 32


class Verdict(Enum):
    """What a message check says (libp2p gossip validation; Ethereum consensus specs, p2p-interface)."""

    ACCEPT = "accept"
    IGNORE = "ignore"
    REJECT = "reject"


class Role(Enum):
    """A seat's role in one round."""

    TRAINER = "trainer"
    VALIDATOR = "validator"


class Stage(IntEnum):
    """What the elected trainers contribute: data statistics until a sum of them is adopted, then updates."""

    STATISTICS = 0
    TRAINING = 1


class Vote(IntEnum):
    """One cohort's entry in a ballot; the byte the contract reads."""

    UNAVAILABLE = 0
    YES = 1
    NO = 2


class CohortOutcome(IntEnum):
    """What the contract decided about a cohort."""

    UNDECIDED = 0
    ADOPTED = 1
    REJECTED = 2
    VOID = 3


@dataclass(frozen=True, slots=True)
class AllianceId:
    """``flock:<chain id>:<factory address>:<number>``: all that a newcomer needs besides an RPC URL."""

    chain_id: int
    factory: bytes
    number: int

    def __str__(self) -> str:
        return f"flock:{self.chain_id}:0x{self.factory.hex()}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> AllianceId:
        """Read the text form.

        Raises:
            UsageError: the text is not an alliance ID.
        """
        match = re.fullmatch(r"flock:(\d{1,18}):0x([0-9a-fA-F]{40}):(\d{1,18})", text.strip())
        if match is None:
            raise UsageError(
                f"{text!r} is not an alliance ID. It looks like flock:<chain id>:0x<40 hex digits>:<number>; "
                "ask the alliance's creator for it, or list known ones with `p2p-flock alliance list`."
            )
        return cls(int(match[1]), bytes.fromhex(match[2]), int(match[3]))


def describe_round_id(alliance: int | str, round_number: int | None) -> str:
    """``a7-r12``: the short name of a round in logs and files, the same on every node; ``a7`` outside of rounds.

    Args:
        alliance: its number at the factory. Two factories' alliances may share it; a node is in one at a time.
    """
    return f"a{alliance}" if round_number is None else f"a{alliance}-r{round_number}"


@dataclass(frozen=True, slots=True)
class Domain:
    """What every signature of an alliance is bound to: chain, alliance contract (20 bytes), alliance number."""

    chain_id: int
    contract: bytes
    alliance: int


@dataclass(frozen=True, slots=True)
class Seat:
    """One place in the sortition, as frozen when the round opened.

    Attributes:
        index: position in the contract's seat table.
        owner: the owner's EVM address, 20 bytes.
        peer_id: libp2p peer ID bound at join, base58 text.
        weight: public bucket of the owner's example count, 1..weight_max.
        mask_key: X25519 public key, 32 bytes; ``None`` where it is spent and no fresh one was installed.
    """

    index: int
    owner: bytes
    peer_id: str
    weight: int
    mask_key: bytes | None


@dataclass(frozen=True, slots=True)
class RoundSnapshot:
    """All that is fixed about a round when it opens.

    Attributes:
        round: round number, counts voids too.
        seats: the frozen seats, in table order.
        beacon_round: the drand round whose value elects.
        opens_at_s: when that value is published, Unix seconds of chain time.
        train_deadline_s, seal_deadline_s: Unix seconds of chain time.
    """

    domain: Domain
    round: int
    seats: tuple[Seat, ...]
    beacon_round: int
    opens_at_s: int
    train_deadline_s: int
    seal_deadline_s: int


@dataclass(frozen=True)
class Assignment:
    """Who does what in a round: the output of the sortition.

    Attributes:
        validators: seat indexes in leader order; index in this tuple = position.
        cohorts: per cohort the seat indexes of its trainers, in position order.
        trainers: all trainers in position order (the concatenation of ``cohorts``); index here = trainer index,
            the bit of the survivors bitmap.
    """

    validators: tuple[int, ...]
    cohorts: tuple[tuple[int, ...], ...]

    @cached_property
    def trainers(self) -> tuple[int, ...]:
        return tuple(seat for cohort in self.cohorts for seat in cohort)

    @cached_property
    def _cohort_of(self) -> dict[int, int]:
        return {seat: index for index, cohort in enumerate(self.cohorts) for seat in cohort}

    def cohort_of(self, seat: int) -> int:
        """Index of the cohort that holds ``seat``.

        Raises:
            KeyError: the seat is no trainer in this round.
        """
        return self._cohort_of[seat]
