"""What a cohort is bound to: chain, contract, alliance, round, seed, members and their keys, and the sharing's numbers.

Built by ``alliance/`` from the chain alone, alike on every node. Every key, commitment, share and root of the cohort is
derived under a digest made here, so none of them means anything in another cohort, round, alliance or chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from p2p_flock.crypto import suite
from p2p_flock.crypto.key_agreement import is_usable_mask_key
from p2p_flock.crypto.ring import Ring
from p2p_flock.errors import ParameterError
from p2p_flock.params import COHORTS_MAX, SEATS_MAX, compute_holder_count
from p2p_flock.secagg import graph
from p2p_flock.types import ADDRESS_BYTES, Domain, Seat
from p2p_flock.wire.messages import CHUNK_BYTES, SHARE_BYTES, VECTOR_BYTES_MAX

PROTOCOL_VERSION = 1
_SHARING = "p2p_flock sharing context v1"


@dataclass(frozen=True, slots=True)
class CohortMember:
    """A trainer that can take part: seat index, owner (20 bytes), X25519 mask key (32 bytes, not of low order)."""

    seat: int
    owner: bytes
    mask_key: bytes


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise ParameterError(f"cohort breaks a rule: {rule}")


@dataclass(frozen=True)
class CohortContext:
    """One cohort of one round. Equal contexts have equal digests.

    Attributes:
        round: round number; seed: 32 bytes; cohort: index of the cohort in the round.
        members: trainers that have a usable mask key, ascending seat. The others are dropouts from the start.
        threshold: t, shares needed to recover a secret.
        collusion_bound: c, colluding owners among the holders of one secret (in a complete graph: in the cohort) that
            privacy survives.
        lane_bits: width of a lane, which names the ring (``crypto/ring.py``).
        lane_count: lanes of the vector, that is coordinates; packed rings hold several in a word.

    Raises:
        ParameterError: a rule of SPEC §2 is broken, or no graph serves so many members with t and c.
    """

    domain: Domain
    round: int
    seed: bytes
    cohort: int
    members: tuple[CohortMember, ...]
    threshold: int
    collusion_bound: int
    lane_bits: int
    lane_count: int

    def __post_init__(self) -> None:
        seats = self.seats
        _require(len(self.domain.contract) == ADDRESS_BYTES and len(self.seed) == 32, "20-byte contract, 32-byte seed")
        _require(0 <= self.round < 2**32 and 0 <= self.cohort < COHORTS_MAX, "round and cohort in range")
        _require(all(0 <= seat < SEATS_MAX for seat in seats), "seats in range")
        _require(list(seats) == sorted(set(seats)), "members in ascending order of seat, each once")
        _require(len({member.owner for member in self.members}) == len(seats), "one seat per owner")
        _require(all(len(member.owner) == ADDRESS_BYTES for member in self.members), "20-byte owners")
        _require(all(is_usable_mask_key(member.mask_key) for member in self.members), "usable mask keys")
        _require(self.lane_count >= 1 and self.vector_bytes <= VECTOR_BYTES_MAX, "1 lane to 4 GiB of lanes")
        _require(self.threshold in range(3, 256) and self.collusion_bound in range(256), "3 ≤ t ≤ 255 and 0 ≤ c ≤ 255")
        compute_holder_count(len(seats), self.threshold, self.collusion_bound)

    @cached_property
    def seats(self) -> tuple[int, ...]:
        """All members' seats, ascending."""
        return tuple(member.seat for member in self.members)

    @property
    def survivors_min(self) -> int:
        """Fewest sealed members with which the cohort may be opened: max(3, t, c + 3)."""
        return max(3, self.threshold, self.collusion_bound + 3)

    @property
    def is_viable(self) -> bool:
        """Whether enough members have a mask key. If not, the cohort is void before it starts; nobody contributes."""
        return len(self.members) >= self.survivors_min

    @cached_property
    def ring(self) -> Ring:
        """What masked updates are added in."""
        return Ring(self.lane_bits)

    @property
    def vector_bytes(self) -> int:
        """Size of one masked update."""
        return self.ring.vector_bytes(self.lane_count)

    @property
    def chunk_count(self) -> int:
        """Chunks of 1 MiB, the last one shorter, that a masked update is cut into."""
        return -(-self.vector_bytes // CHUNK_BYTES)

    def chunk_bytes(self, index: int) -> int:
        """Size of chunk ``index``."""
        return min(CHUNK_BYTES, self.vector_bytes - index * CHUNK_BYTES)

    def chunk_lanes(self, index: int) -> int:
        """Lanes in chunk ``index``; a chunk holds whole words of every ring."""
        most = self.ring.lanes_in(CHUNK_BYTES)
        return min(most, self.lane_count - index * most)

    def member(self, seat: int) -> CohortMember:
        """The member at ``seat``.

        Raises:
            ParameterError: no such member.
        """
        member = self._member_of.get(seat)
        if member is None:
            raise ParameterError(f"seat {seat} is no member of cohort {self.cohort}")
        return member

    @cached_property
    def _member_of(self) -> dict[int, CohortMember]:
        return {member.seat: member for member in self.members}

    # --- the graph (SPEC §2) -----------------------------------------------------------------------------------

    @cached_property
    def holder_count(self) -> int:
        """h: members that hold the shares of one secret; every member has h − 1 neighbors."""
        return compute_holder_count(len(self.seats), self.threshold, self.collusion_bound)

    @cached_property
    def is_complete(self) -> bool:
        """Whether everybody neighbors everybody."""
        return self.holder_count == len(self.seats)

    @cached_property
    def _holders_of(self) -> graph.Neighborhoods:
        ring = self.seats if self.is_complete else graph.compute_ring_order(self.seed, self.cohort, self.seats)
        return graph.compute_neighborhoods(ring, self.holder_count)

    @cached_property
    def _place_of(self) -> dict[int, dict[int, int]]:
        if self.is_complete:
            places = {seat: place for place, seat in enumerate(self.seats)}
            return dict.fromkeys(self.seats, places)
        return {
            seat: {holder: place for place, holder in enumerate(holders)} for seat, holders in self._holders_of.items()
        }

    @cached_property
    def _holder_sets(self) -> dict[int, frozenset[int]]:
        if self.is_complete:
            return dict.fromkeys(self.seats, frozenset(self.seats))
        return {seat: frozenset(holders) for seat, holders in self._holders_of.items()}

    def holders(self, secret_of: int) -> tuple[int, ...]:
        """N[secret_of], ascending: the closed neighborhood. Its members hold the shares of b_(secret_of) *and*, whoever
        l dealt it, of k_(l, secret_of); a holder's index here is its index in the secret sharing.

        Raises:
            ParameterError: no such member.
        """
        holders = self._holders_of.get(secret_of)
        if holders is None:
            raise ParameterError(f"seat {secret_of} is no member of cohort {self.cohort}")
        return holders

    def holder_set(self, secret_of: int) -> frozenset[int]:
        """:meth:`holders` of a member, for asking whether somebody is among them."""
        return self._holder_sets[secret_of]

    def place(self, secret_of: int, holder: int) -> int:
        """The index of ``holder`` in :meth:`holders`; both are members and neighbors, or one and the same."""
        return self._place_of[secret_of][holder]

    def neighbors(self, seat: int) -> tuple[int, ...]:
        """N(seat), ascending: those with whom ``seat`` shares a pair seed.

        Raises:
            ParameterError: no such member.
        """
        return tuple(other for other in self.holders(seat) if other != seat)

    def partners(self, seat: int) -> tuple[int, ...]:
        """Those to whom ``seat`` deals a bundle, and who deal one to it: whoever holds a share of one of its secrets.

        Its neighbors and theirs, ascending, without itself; in a complete graph its neighbors.
        """
        return tuple(other for other in self.columns(seat) if other != seat)

    def columns(self, dealer: int) -> tuple[int, ...]:
        """Whoever holds a share of one of the dealer's secrets, itself too, ascending: a column each (SPEC §4)."""
        if self.is_complete:
            return self.holders(dealer)
        if dealer not in self._columns:
            found = frozenset[int]().union(*(self.holder_set(secret_of) for secret_of in self.holders(dealer)))
            self._columns[dealer] = tuple(sorted(found))
        return self._columns[dealer]

    @cached_property
    def _columns(self) -> dict[int, tuple[int, ...]]:
        return {}  # filled on demand

    def secrets_held(self, dealer: int, holder: int) -> tuple[int, ...]:
        """The s, ascending, for which ``holder`` holds a share of the dealer's secret for s: what its bundle is of."""
        if self.is_complete:
            return self.holders(dealer)
        return tuple(sorted(self.holder_set(dealer) & self.holder_set(holder)))

    @property
    def commitments_bytes(self) -> int:
        """Size of one contribution's commitments to shares: h secrets among h holders each."""
        return SHARE_BYTES * self.holder_count * self.holder_count

    @cached_property
    def cohort_root(self) -> bytes:
        """Digest of the member list."""
        rows = [_u16(member.seat) + member.owner + member.mask_key for member in self.members]
        return suite.hash32("p2p_flock cohort root v1", *rows)

    @cached_property
    def digest(self) -> bytes:
        """Digest of everything in the context; 32 bytes."""
        return suite.hash32(
            "p2p_flock cohort context v1",
            PROTOCOL_VERSION.to_bytes(2, "big"),
            self.domain.chain_id.to_bytes(32, "big"),
            self.domain.contract,
            self.domain.alliance.to_bytes(32, "big"),
            self.round.to_bytes(4, "big"),
            self.seed,
            bytes([self.cohort]),
            self.cohort_root,
            bytes([self.threshold, self.collusion_bound, self.lane_bits]),
            self.lane_count.to_bytes(4, "big"),
        )

    def pair_context(self, seat: int, neighbor: int) -> bytes:
        """Digest that the pair's keys are bound to, the same from both ends; 32 bytes.

        Both public keys are in it: a key substituted at one end gives another pair seed, and so another commitment.
        """
        low, high = self.member(min(seat, neighbor)), self.member(max(seat, neighbor))
        pair = (low.seat, high.seat)
        if pair not in self._pair_contexts:
            parts = (self.digest, _u16(low.seat), _u16(high.seat), low.mask_key, high.mask_key)
            self._pair_contexts[pair] = suite.hash32("p2p_flock pair context v1", *parts)
        return self._pair_contexts[pair]

    @cached_property
    def _pair_contexts(self) -> dict[tuple[int, int], bytes]:
        return {}  # filled on demand: each is asked for once per share

    def sharing_context(self, dealer: int, secret_of: int) -> bytes:
        """Digest that one secret's dealing is bound to; ``secret_of`` is the dealer itself for its self mask.

        The dealer is in it, so the two dealings of one pair seed lie on different polynomials and their shares, which
        different seals may set free, never add up (SPEC §7).
        """
        secret = (dealer, secret_of)
        if secret not in self._sharing_contexts:
            self._sharing_contexts[secret] = compute_sharing_context(self.digest, dealer, secret_of)
        return self._sharing_contexts[secret]

    def sharing_contexts(self, dealer: int, secrets: Sequence[int]) -> list[bytes]:
        """:meth:`sharing_context` of each secret of one dealer; the same bytes without a call for every frame."""
        head = suite.frame(_SHARING, self.digest, _u16(dealer), bytes(2))[:-2]
        known = self._sharing_contexts
        for secret_of in secrets:
            if (dealer, secret_of) not in known:
                known[dealer, secret_of] = suite.sha256(head + secret_of.to_bytes(2, "big"))
        return [known[dealer, secret_of] for secret_of in secrets]

    @cached_property
    def _sharing_contexts(self) -> dict[tuple[int, int], bytes]:
        return {}


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def compute_sharing_context(context_digest: bytes, dealer: int, secret_of: int) -> bytes:
    """:meth:`CohortContext.sharing_context` for whoever knows of the cohort only its context's digest (evidence)."""
    return suite.hash32(_SHARING, context_digest, _u16(dealer), _u16(secret_of))


def build_context(
    domain: Domain,
    round_number: int,
    seed: bytes,
    cohort: int,
    trainers: Iterable[Seat],
    threshold: int,
    collusion_bound: int,
    lane_bits: int,
    lane_count: int,
) -> CohortContext:
    """The context of a cohort from its trainers' seats, in any order. Seats without a usable mask key are left out.

    Raises:
        ParameterError: as :class:`CohortContext`.
    """
    members = [
        CohortMember(seat.index, seat.owner, seat.mask_key)
        for seat in sorted(trainers, key=lambda seat: seat.index)
        if seat.mask_key is not None and is_usable_mask_key(seat.mask_key)
    ]
    return CohortContext(
        domain, round_number, seed, cohort, tuple(members), threshold, collusion_bound, lane_bits, lane_count
    )


def compute_aggregate_digest(context: CohortContext, ring_sum: bytes) -> bytes:
    """The digest that ballots name: sha-256 over context, lane width, length and the sum's little-endian words.

    Args:
        ring_sum: the words of ``lane_count`` lanes as bytes (``array.tobytes()`` of a little-endian array).

    Raises:
        ParameterError: another length than the context's.
    """
    _require(len(ring_sum) == context.vector_bytes, "the sum has the words of lane_count lanes")
    return suite.sha256(aggregate_preamble(context) + ring_sum)


def aggregate_preamble(context: CohortContext) -> bytes:
    """The bytes before the words in an aggregate's blob; the words follow to its end.

    It is ``suite.frame("p2p_flock aggregate v1", context digest, u8 lane width, u32 lane count, words)`` without the
    words: they are its last part, so the blob can be written while it is computed.
    """
    parts = (context.digest, bytes([context.lane_bits]), context.lane_count.to_bytes(4, "big"))
    head = suite.frame("p2p_flock aggregate v1", *parts)
    domain_bytes = 4 + int.from_bytes(head[:4], "big")
    count = (len(parts) + 1).to_bytes(4, "big")
    return head[:domain_bytes] + count + head[domain_bytes + 4 :] + context.vector_bytes.to_bytes(8, "big")
