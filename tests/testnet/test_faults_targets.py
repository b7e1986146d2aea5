"""Whom a fault strikes, and how the rounds' seats are followed when members lose theirs."""

from __future__ import annotations

import random

from p2p_flock.chain_events import (
    ABSENCE_FAULT,
    LogPosition,
    RoundOpened,
    RoundSealed,
    SeatJoined,
    SeatMoved,
    SeatReactivated,
    SeatRemoved,
    Slashed,
)
from p2p_flock.testnet.faults.grammar import FaultPhase, Target, TargetKind
from p2p_flock.testnet.faults.targets import Roles, choose_groups, choose_targets, name_roles
from p2p_flock.testnet.verdict import judge_stakes, stakes_lost
from p2p_flock.testnet.watch import AllianceView
from p2p_flock.types import Assignment

NODES = tuple(f"node{index}" for index in range(8))
LEADER, TRAINER, VALIDATOR = TargetKind.LEADER, TargetKind.TRAINER, TargetKind.VALIDATOR
SEAL, UNMASK, COMMIT = FaultPhase.SEAL, FaultPhase.UNMASK, FaultPhase.COMMIT
ROLES = Roles(("node5", "node2", "node7"), ("node0", "node1", "node3", "node4", "node6"))
SEALED = Roles(ROLES.validators, ROLES.trainers, 1, ("node1", "node4"))  # by node2


def choose(
    target: Target, phase: FaultPhase | None = None, roles: Roles | None = ROLES, dead: tuple[str, ...] = ()
) -> tuple[str, ...]:
    living = set(NODES) - set(dead)
    return choose_targets(target, phase, roles, NODES, living, random.Random("a fault"))


def test_leader__is_the_first_validator_until_the_seal_then_who_sealed() -> None:
    """The fault would strike one whom nobody waits for."""
    assert choose(Target(LEADER), SEAL) == ("node5",)
    assert choose(Target(LEADER), SEAL, SEALED) == ("node5",)
    assert choose(Target(LEADER), COMMIT, SEALED) == ("node2",)
    assert choose(Target(LEADER), COMMIT, SEALED, dead=("node2",)) == ("node7",)
    assert choose(Target(LEADER), COMMIT, SEALED, dead=("node2", "node7")) == ("node5",)
    assert choose(Target(LEADER), SEAL, dead=ROLES.validators) == ()


def test_validator__is_one_that_does_not_lead() -> None:
    """Every fault of a validator would be one of the leader, now and then."""
    assert set(choose(Target(VALIDATOR), SEAL)) <= {"node2", "node7"}
    assert set(choose(Target(VALIDATOR, 2), SEAL)) == {"node2", "node7"}
    assert set(choose(Target(VALIDATOR, 3), SEAL)) == set(ROLES.validators)
    assert choose(Target(VALIDATOR), SEAL, dead=("node2", "node7")) == ("node5",)


def test_trainer__is_a_survivor_once_there_are_some() -> None:
    """A dropout that is struck after the seal would cost nobody anything."""
    assert set(choose(Target(TRAINER, 5), SEAL, SEALED)) == set(ROLES.trainers)
    assert set(choose(Target(TRAINER, 2), UNMASK, SEALED)) == {"node1", "node4"}
    assert choose(Target(TRAINER, 2), UNMASK, SEALED, dead=("node1",)) == ("node4",)
    assert len(choose(Target(TRAINER, 2), SEAL)) == 2


def test_many__are_living_ones() -> None:
    """A dead node would count as struck."""
    assert choose(Target(TargetKind.ALL), roles=None, dead=("node3",)) == tuple(n for n in NODES if n != "node3")
    assert len(choose(Target(TargetKind.HALF), roles=None)) == 4
    assert choose(Target(TargetKind.NODE, number=3), roles=None) == ("node3",)
    assert choose(Target(TargetKind.NODE, number=3), roles=None, dead=("node3",)) == ()


def test_choice__repeats_with_its_seed() -> None:
    """A failing run could not be repeated."""
    assert choose(Target(TargetKind.HALF)) == choose(Target(TargetKind.HALF))
    groups = choose_groups((3, 4, 1), NODES, random.Random(1))
    assert groups == choose_groups((3, 4, 1), NODES, random.Random(1))
    assert [len(group) for group in groups] == [3, 4, 1]
    assert sorted(name for group in groups for name in group) == list(NODES)


def test_roles__are_named_by_the_seats_of_the_round() -> None:
    """Another node would be struck than the one that has the role."""
    owners = {0: b"a", 1: b"b", 2: b"c", 3: b"d"}
    names = {b"a": "node3", b"b": "node0", b"c": "node1"}
    roles = name_roles(Assignment((2, 0), ((1, 3),)), owners, names, 1, {1})
    assert roles == Roles(("node1", "node3"), ("node0", "0x64"), 1, ("node0",))
    assert roles.leaders(COMMIT) == ("node3", "node1")


# --- the watch: seats that move, blocks that are taken back ------------------------------------------------------


def at(block: int) -> LogPosition:
    return LogPosition(block, 0, 1000 + block, bytes(32))


def joined(block: int, seat: int, owner: bytes) -> SeatJoined:
    return SeatJoined(at(block), seat, owner, "peer", bytes(32), 1, 0, b"")


def view_of_four() -> AllianceView:
    view = AllianceView()
    for seat, owner in enumerate((b"a", b"b", b"c", b"d")):
        view.fold(joined(seat, seat, owner), float(seat))
    view.fold(RoundOpened(at(10), 0, 4, 1, 1010), 10.0)
    return view


def test_view__a_round_keeps_the_seats_that_it_opened_with() -> None:
    """After a suspension another member's name would stand on the seat."""
    view = view_of_four()
    view.fold(SeatMoved(at(20), b"d", 3, 1), 20.0)  # b is suspended: the last seat moves into its place
    view.fold(SeatRemoved(at(20), 1, b"b"), 20.0)
    view.fold(RoundOpened(at(21), 1, 3, 2, 1021), 21.0)
    view.fold(SeatReactivated(at(30), 3, b"b", bytes(32), 2, 2), 30.0)
    view.fold(SeatRemoved(at(31), 3, b"b"), 31.0)  # the last one, so that nobody moves
    assert view.rounds[0].owners == {0: b"a", 1: b"b", 2: b"c", 3: b"d"}
    assert view.rounds[1].owners == {0: b"a", 1: b"d", 2: b"c"} == view.owners
    assert view.members == [b"a", b"b", b"c", b"d"]


def test_view__forgets_what_the_chain_took_back() -> None:
    """A round would count as sealed that is not, and its events would stand twice."""
    view = view_of_four()
    seal = RoundSealed(at(12), 0, 0, bytes(32), bytes(32), bytes(32), (15,), (0,), (b"",))
    view.note_time(1010, 11.0)
    view.fold(seal, 12.0)
    view.rewind(11)
    assert view.rounds[0].sealed is None and view.rounds[0].opened_seen_at == 10.0
    assert view.rounds[0].beacon_seen_at == 11.0
    view.fold(seal, 13.0)
    assert view.rounds[0].sealed_seen_at == 13.0
    view.rewind(5)
    assert view.rounds == {} and view.members == [b"a", b"b", b"c", b"d"]


def test_stakes__lost_by_honest_nodes_are_told() -> None:
    """An honest node that a fault has cost its stake would go unseen."""
    slashed = [Slashed(at(1), b"a", 0, 1, ABSENCE_FAULT, 10**18, b"b"), Slashed(at(2), b"a", 0, 2, 1, 10**18, b"b")]
    lost = stakes_lost(slashed, {b"a": "node3"})
    assert lost == {"node3": 2 * 10**18}
    assert judge_stakes(lost) == ["node3 lost 2 FLOCK of its stake"]
    assert judge_stakes(lost, crooked=("node3",)) == []
