"""The fold of the chain's log: who sits where, which key counts when, and what a lying log looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.chain_events import (
    AddressesRegistered,
    AllianceClosed,
    BallotRevealed,
    BallotsCommitted,
    ChainEvent,
    KeyRegistered,
    RoundOpened,
    RoundSealed,
    RoundSettled,
    RoundVoided,
    SeatJoined,
    SeatMoved,
    SeatRemoved,
    Slashed,
)
from p2p_flock.errors import ChainError
from p2p_flock.testing.alliance import DOMAIN
from p2p_flock.types import CohortOutcome
from tests.unit.alliance_log import LogWriter, key_of, owner_of

MEMBERS = 8


def fold(log: LogWriter, unbound: Sequence[object] = (), events: Sequence[ChainEvent] | None = None) -> AllianceHistory:
    """Fold a log with every manifest and beacon known."""
    history = AllianceHistory(DOMAIN, log.params)
    strangers = [owner_of(name) for name in unbound]
    for event in log.events if events is None else events:
        history.apply(event, isinstance(event, SeatJoined) and event.owner not in strangers)
    for record in history.rounds:
        history.add_randomness(record.opened.round, log.randomness(record.opened.round))
        if record.sealed is not None:
            history.add_manifest(log.manifests[record.opened.round])
    return history


def begun() -> LogWriter:
    """Eight members, round 0 open."""
    log = LogWriter()
    for name in range(MEMBERS):
        log.join(name)
    log.open()
    return log


def key_in(history: AllianceHistory, round_number: int, name: object) -> bytes | None:
    snapshot = history.snapshot(round_number)
    assert snapshot is not None
    return next(seat.mask_key for seat in snapshot.seats if seat.owner == owner_of(name))


# --- seats -------------------------------------------------------------------------------------------------------


def test_seats__freeze_at_open() -> None:
    """A join could change the roles of a round that runs."""
    log = begun()
    log.join("late")
    history = fold(log)
    snapshot = history.snapshot(0)
    assert snapshot is not None and len(snapshot.seats) == MEMBERS == history.rounds[0].opened.seat_count
    assert snapshot.seal_deadline_s == snapshot.opens_at_s + 30 + 3 * 5
    log.void()
    log.open()
    later = fold(log).snapshot(1)
    assert later is not None and later.seats[8].owner == owner_of("late") and later.seats[8].mask_key == key_of("late")


@pytest.mark.parametrize("leavers", [(7,), (0,), (0, 7), (3, 4), (7, 6), (0, 1, 2)])
def test_seats__move_when_somebody_leaves(leavers: tuple[int, ...]) -> None:
    """Every other node would stop with a chain error, or see other roles than the contract."""
    log = begun()
    for name in ("a", "b", "c"):
        log.join(name)
    for leaver in leavers:
        log.leave(leaver)
    assert all(fold(log).seats[leaver].leaving for leaver in leavers)
    log.void()
    log.open()
    history = fold(log)
    assert [seat.owner for seat in history.seats] == [owner_of(name) for name in log.names]


def test_seats__whose_peer_did_not_sign_have_no_key() -> None:
    """A seat could point at somebody else's node and be waited for."""
    history = fold(begun(), unbound=[2])
    assert key_in(history, 0, 2) is None and key_in(history, 0, 3) == key_of(3)


def test_seats__rejoining_owner_has_the_key_of_its_join() -> None:
    """A key that an earlier membership installed would come back to life."""
    log = begun()
    log.join("spare")
    log.seal()
    trainer = log.names[log.roles().trainers[0]]
    log.leave(trainer)
    log.settle()
    log.open()
    log.join(trainer)
    log.void()
    log.open()
    assert key_in(fold(log), 2, trainer) == key_of(trainer)


# --- keys --------------------------------------------------------------------------------------------------------


def test_key__counts_from_the_round_after() -> None:
    """Two ends of a pair could take different keys."""
    log = begun()
    validator = log.names[log.roles().validators[0]]
    log.register(validator, 1)
    history = fold(log)
    assert key_in(history, 0, validator) == key_of(validator)
    log.void()
    log.open()
    assert key_in(fold(log), 1, validator) == key_of(validator, 1)


def test_key__before_round_zero_replaces_the_first() -> None:
    """A member that lost its key before the start could never take part."""
    log = LogWriter()
    for name in range(MEMBERS):
        log.join(name)
    log.register(5, 1)
    log.open()
    assert key_in(fold(log), 0, 5) == key_of(5, 1)


def test_key__is_spent_by_election_and_installed_by_the_seal() -> None:
    """One key would mask two rounds, or a sealed trainer could not go on."""
    log = begun()
    trainers = [log.names[seat] for seat in log.roles().trainers]
    validator = log.names[log.roles().validators[0]]
    absent = trainers[2]
    log.seal(absent=(absent,))
    log.settle(CohortOutcome.REJECTED)  # the seal installs, whatever becomes of the sum
    log.open()
    history = fold(log)
    assert key_in(history, 1, trainers[0]) == key_of(trainers[0], 100)
    assert key_in(history, 1, absent) is None
    assert key_in(history, 1, validator) == key_of(validator)
    assert key_in(history, 0, absent) == key_of(absent), "what counted in an earlier round does not change"


def test_key__registered_in_the_lost_round_counts_in_the_next() -> None:
    """An elected trainer that was not sealed would sit out for ever."""
    log = begun()
    trainer = log.names[log.roles().trainers[0]]
    log.register(trainer, 1)
    log.void()
    log.open()
    history = fold(log)
    assert key_in(history, 1, trainer) == key_of(trainer, 1)
    other = next(name for name in (log.names[seat] for seat in log.roles().trainers) if name != trainer)
    assert history.upcoming_key(owner_of(other)) == (False, None), "not known while the round is unsealed"


def test_key__of_a_void_round_without_seal_is_spent_too() -> None:
    """The masks of an unsealed contribution are public; its key must not be used again."""
    log = begun()
    trainers = [log.names[seat] for seat in log.roles().trainers]
    log.void()
    log.open()
    history = fold(log)
    assert [key_in(history, 1, name) for name in trainers] == [None] * 5


def test_key__newest_of_manifest_and_registration_counts() -> None:
    """A registered key would be shadowed by an older installed one for ever."""
    log = begun()
    trainer = log.names[log.roles().trainers[0]]
    log.seal()
    log.settle()
    log.open()
    log.register(trainer, 7)
    log.void()
    log.open()
    history = fold(log)
    assert key_in(history, 1, trainer) == key_of(trainer, 100)
    assert key_in(history, 2, trainer) == key_of(trainer, 7)


def test_key__of_low_order_is_none() -> None:
    """The pair seeds of its owner would be known to all."""
    log = begun()
    log.events[3] = replace(log.events[3], mask_key=bytes(32))  # type: ignore[arg-type]
    assert key_in(fold(log), 0, 3) is None


def test_upcoming_key__is_known_after_the_seal() -> None:
    """A member would register a key that it does not need, or miss to register one that it does."""
    log = begun()
    trainers = [log.names[seat] for seat in log.roles().trainers]
    log.seal(absent=(trainers[4],))
    history = fold(log)
    assert history.upcoming_key(owner_of(trainers[0])) == (True, key_of(trainers[0], 100))
    assert history.upcoming_key(owner_of(trainers[4])) == (True, None)
    assert history.upcoming_key(owner_of("stranger")) == (True, None)


def test_upcoming_key__of_whom_the_running_seal_cannot_hold_is_known_before_it() -> None:
    """Who came back with a spent key would sit aside as validator, and a small committee void round after round."""
    log = begun()
    absent = log.names[log.roles().trainers[4]]
    log.seal(absent=(absent,))
    log.settle()
    log.open()
    roles, history = log.roles(), fold(log)
    for seat, name in enumerate(log.names):
        known, key = history.upcoming_key(owner_of(name))
        assert known is not (seat in roles.trainers and name != absent), name
        assert not known or (key is None) is (name == absent), name
    log.register(absent, 9)
    assert fold(log).upcoming_key(owner_of(absent)) == (True, key_of(absent, 9))
    log.void()
    log.open()
    assert key_in(fold(log), 2, absent) == key_of(absent, 9)


# --- what is missing ---------------------------------------------------------------------------------------------


def test_missing__manifest_and_beacon_are_asked_for() -> None:
    """A node that catches up would guess keys."""
    log = begun()
    log.seal()
    log.settle()
    log.open()
    history = AllianceHistory(DOMAIN, log.params)
    for event in log.events:
        history.apply(event, True)
    sealed = history.rounds[0].sealed
    assert sealed is not None and history.missing_manifest() == sealed.manifest_digest
    assert history.snapshot(1) is None and history.upcoming_key(owner_of(0)) == (False, None)
    history.add_manifest(log.manifests[0])
    assert history.missing_manifest() is None
    assert history.snapshot(1) is not None, "the seal names the seed of its round"
    assert history.seed(1) is None and history.assignment(1) is None
    history.add_randomness(1, log.randomness(1))
    assert history.assignment(1) == log.roles()


def test_closed__is_seen_either_way() -> None:
    """A node would wait for rounds that never come."""
    log = begun()
    log.seal()
    log.settle(closed=True)
    assert fold(log).closed and fold(log).rounds[0].adopted == ((0, log.events[-1].aggregate_digests[0]),)  # type: ignore[union-attr]
    other = begun()
    other.void()
    other.write(AllianceClosed(other.at(), 0))
    assert fold(other).closed and fold(other).rounds[0].adopted == ()


# --- reorganised and lying logs ----------------------------------------------------------------------------------


def random_log(choices: list[int]) -> LogWriter:
    log = begun()
    for step, choice in enumerate(choices):
        if choice == 0:
            log.join(f"late-{step}")
        elif choice == 1 and len(log.names) - len(log.leaving) > MEMBERS:
            log.leave(next(name for name in log.names if name not in log.leaving))
        elif choice == 2:
            log.register(log.names[step % len(log.names)], step + 1)
        elif choice == 3:
            log.seal(absent=(log.names[step % len(log.names)],))
            log.settle()
            log.open()
        elif choice == 4:
            log.void()
            log.open()
    return log


@settings(max_examples=40, deadline=None, print_blob=True)
@given(st.lists(st.integers(0, 4), max_size=10), st.data())
def test_reorg__refold_is_the_same(choices: list[int], data: st.DataObject) -> None:
    """After a reorganisation a node would hold other seats or keys than one that never saw the other branch."""
    log = random_log(choices)
    kept = data.draw(st.integers(0, len(log.events)))
    rewound = fold(log, events=log.events[:kept])
    for event in log.events[kept:]:
        rewound.apply(event, True)
    for record in rewound.rounds:
        rewound.add_randomness(record.opened.round, log.randomness(record.opened.round))
        if record.sealed is not None:
            rewound.add_manifest(log.manifests[record.opened.round])
    straight = fold(log)
    assert rewound.seats == straight.seats
    for record in straight.rounds:
        number = record.opened.round
        assert rewound.snapshot(number) == straight.snapshot(number)
        assert rewound.assignment(number) == straight.assignment(number)


def test_lying_log__is_named() -> None:
    """A false RPC endpoint would seat people, or end the node with an error that nobody catches."""
    log = begun()
    join, opened = log.events[0], log.events[-1]
    assert isinstance(join, SeatJoined) and isinstance(opened, RoundOpened)
    at, last = join.at, MEMBERS - 1
    sealed = begun()
    sealed.seal()
    seal = sealed.events[-1]
    assert isinstance(seal, RoundSealed)
    zero = bytes(32)
    settled = RoundSettled(at, 0, (1,), (zero,), (2,), (0,), zero, False, sealed.record((CohortOutcome.ADOPTED,)))
    revealed = BallotRevealed(at, 0, 0, b"\x01", b"\x00", 0, (zero,), zero, zero)
    unsealed_lies: list[ChainEvent] = [
        replace(join, seat=5),
        replace(join, seat=MEMBERS),  # the same owner again
        SeatRemoved(at, last, owner_of(0)),
        SeatRemoved(at, 99, owner_of(0)),
        SeatRemoved(at, 0, owner_of(0)),  # from the middle, without a move before it
        SeatMoved(at, owner_of(last), last, last),
        SeatMoved(at, owner_of(last), last, 99),
        SeatMoved(at, owner_of(last), last, -1),
        SeatMoved(at, owner_of(3), 3, 1),
        KeyRegistered(at, 0, owner_of(1), key_of(1), 0, 1),
        replace(opened, round=1),  # while round 0 runs
        replace(opened, round=5),
        replace(seal, round=9),
        BallotsCommitted(at, 0, (0,), (bytes(32),)),
        revealed,
        settled,
        RoundVoided(at, 3, 1),
    ]
    sealed_lies: list[ChainEvent] = [
        seal,
        BallotsCommitted(at, 0, (0, 1), (bytes(32),)),
        revealed,
        replace(settled, outcomes=(1, 1)),
        replace(settled, aggregate_digests=()),
    ]
    for good, lies in ((log, unsealed_lies), (sealed, sealed_lies)):
        for lie in lies:
            history = fold(good)
            with pytest.raises(ChainError, match="compare RPC endpoints"):
                history.apply(lie, True)


def test_lying_log__goes_on_after_the_end() -> None:
    """A round could be settled twice."""
    log = begun()
    log.void()
    for lie in (RoundVoided(log.at(), 0, 1), replace(log.events[-2], seat_count=9, round=1)):  # type: ignore[arg-type]
        with pytest.raises(ChainError):
            fold(log).apply(lie)


def test_manifest__must_be_the_one_on_chain() -> None:
    """Whoever serves a manifest could install keys of its choice."""
    log = begun()
    log.seal()
    history = fold(log)
    manifest = log.manifests[0]
    other = replace(manifest.entries[0], next_mask_key=key_of("attacker"))
    for wrong in (replace(manifest, entries=(other, *manifest.entries[1:])), replace(manifest, round=7)):
        with pytest.raises(ChainError):
            history.add_manifest(wrong)


# --- suspension, slashes, addresses ----------------------------------------------------------------------------


def ended(log: LogWriter, rounds: int = 1) -> LogWriter:
    for _ in range(rounds):
        log.seal()
        log.settle()
        log.open()
    return log


def test_reactivation__brings_the_member_back_with_a_fresh_key() -> None:
    """A member that was down for a while would need a new stake, or would be talked to at nobody's peer ID."""
    log = ended(begun(), 2)
    log.suspend(3, 0, 1)
    ended(log)
    history = fold(log)
    assert owner_of(3) in history.suspended
    assert all(entry.owner != owner_of(3) for entry in history.seats)
    log.reactivate(3, 50)
    assert fold(log).upcoming_key(owner_of(3)) == (True, key_of(3, 50))  # the running round draws others
    ended(log)
    history = fold(log)
    assert history.suspended == {}
    entry = next(entry for entry in history.seats if entry.owner == owner_of(3))
    assert (entry.peer_id, entry.weight, entry.binding_valid) == ("peer-3", 2, True)
    assert (entry.joined_round, entry.active_round, entry.leaving) == (0, 4, False)
    assert key_in(history, 4, 3) == key_of(3, 50)


def test_reactivation__of_an_unbound_seat_stays_unbound() -> None:
    """A false peer ID would become a true one by being suspended."""
    log = ended(begun(), 2)
    log.suspend(3, 0, 1)
    ended(log)
    log.reactivate(3, 50)
    ended(log)
    assert key_in(fold(log, unbound=[3]), 4, 3) is None


def test_lying_log__reactivates_whom_it_must_not() -> None:
    """Members that were never suspended, or were slashed, would come back without a stake."""
    left = ended(begun())
    left.leave(3)
    slashed = ended(begun(), 2)
    slashed.suspend(3, 0, 1)
    slashed.write(Slashed(slashed.at(), owner_of(3), 3, 0, 1, 1, owner_of("poster")))
    for log in (left, slashed):
        ended(log)
        log.reactivate(3, 50)
        with pytest.raises(ChainError):
            fold(log)


def test_slash__counts_once_in_a_tenure() -> None:
    """One fault could be paid for twice; or a member that joined anew could never be slashed again."""
    log = ended(begun())
    log.slash(3)
    assert fold(log).slashed[owner_of(3)].amount == 10**17
    twice = [*log.events, log.events[-2]]
    with pytest.raises(ChainError):
        fold(log, events=twice)
    ended(log)
    log.join(3)
    assert fold(log).slashed == {}


def test_addresses__the_newest_count() -> None:
    """A node that moved would be dialled where it was."""
    log = begun()
    for text in (b"/ip4/198.51.100.1/tcp/1", b"/ip4/198.51.100.2/tcp/1"):
        log.write(AddressesRegistered(log.at(), 3, owner_of(3), text))
    assert fold(log).addresses == {owner_of(3): b"/ip4/198.51.100.2/tcp/1"}
    log.write(AddressesRegistered(log.at(), 4, owner_of(3), b""))
    with pytest.raises(ChainError):
        fold(log)


@pytest.mark.parametrize("case", ["no_manifest", "other_round", "other_survivors", "out_of_order", "twice"])
def test_manifest__nonsense_under_the_digest_on_chain_installs_nothing(case: str) -> None:
    """One committee of liars would stop the alliance for ever, or split it."""
    log = begun()
    log.seal()
    good = log.manifests[0]
    manifest = {
        "no_manifest": None,
        "other_round": replace(good, round=1),
        "other_survivors": replace(good, entries=good.entries[1:]),
        "out_of_order": replace(good, entries=good.entries[::-1]),
        "twice": replace(good, entries=(good.entries[1], *good.entries[1:])),
    }[case]
    digest = bytes(32)
    sealed = log.events[-1]
    assert isinstance(sealed, RoundSealed)
    log.events[-1] = replace(sealed, manifest_digest=digest)
    log.settle(CohortOutcome.UNDECIDED)
    log.open()
    history = AllianceHistory(DOMAIN, log.params)
    for event in log.events:
        history.apply(event, True)
    assert history.take_manifest(digest, manifest) is False
    assert history.missing_manifest() is None
    assert history.rounds[0].manifest_invalid
    elected = [log.names[seat] for seat in history.assignment(0).trainers]  # type: ignore[union-attr]
    keyless = {name for name in log.names if key_in(history, 1, name) is None}
    assert keyless == set(elected)


def test_manifest__good_one_is_taken_once() -> None:
    """Content that nobody waits for would be taken for a round's."""
    log = begun()
    log.seal()
    history = AllianceHistory(DOMAIN, log.params)
    for event in log.events:
        history.apply(event, True)
    sealed = history.rounds[0].sealed
    assert sealed is not None
    assert history.take_manifest(bytes(32), log.manifests[0]) is False
    assert history.take_manifest(sealed.manifest_digest, log.manifests[0]) is True
    assert history.rounds[0].manifest == log.manifests[0]
    assert history.take_manifest(sealed.manifest_digest, None) is False
    assert not history.rounds[0].manifest_invalid
