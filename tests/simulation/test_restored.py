"""P8: a node that was restored from an old backup sits the running round out, whatever its role, and comes back."""

from __future__ import annotations

import pytest

from p2p_flock.testing.checkers import Violation
from p2p_flock.testing.facts import Fact, RoundBegan, Said, Started
from p2p_flock.testing.node import Node
from p2p_flock.testing.simulator import Simulation
from p2p_flock.types import Role, Seat
from p2p_flock.wire.messages import (
    BallotCommitment,
    Contribution,
    Have,
    Message,
    SealProposal,
    SealSignature,
    Unmasking,
)
from tests.simulation.running import Recorder, run

AFTER_RESTORE_MS = 700
ROLE_OF_MESSAGE: dict[type[Message], Role] = {
    Contribution: Role.TRAINER, Unmasking: Role.TRAINER, Have: Role.VALIDATOR, SealProposal: Role.VALIDATOR,
    SealSignature: Role.VALIDATOR, BallotCommitment: Role.VALIDATOR,
}  # fmt: skip


def restore(simulation: Simulation, member: int) -> None:
    """Move a node to another machine, with a backup that holds nothing of the running round."""
    node = simulation.nodes[member]
    node.backup = {}
    node.stop("moved to another machine")
    simulation.at(AFTER_RESTORE_MS, lambda: node.start(True))


class RestoreSpeaker:
    """Restores whoever says such a message first."""

    def __init__(self, simulation: Simulation, message: type[Message]) -> None:
        self._simulation, self._message = simulation, message
        self.member: int | None = None

    def observe(self, fact: Fact) -> None:
        if self.member is None and isinstance(fact, Said) and isinstance(fact.message, self._message):
            self.member = fact.member
            self._simulation.at(5, lambda: restore(self._simulation, fact.member))

    def finish(self) -> None:
        assert self.member is not None


def play(message: type[Message], kind: type[Simulation], rounds: int, only: str | None = None) -> tuple[Recorder, int]:
    """The facts of a run in which the first member that says such a message is restored, and that member."""
    recorder = Recorder()
    restorers: list[RestoreSpeaker] = []

    def plan(simulation: Simulation) -> None:
        restorers.append(RestoreSpeaker(simulation, message))
        simulation.watch(restorers[0])
        simulation.watch(recorder)

    _, result = run(rounds=rounds, kind=kind, plan=plan, only=only)
    member = restorers[0].member
    assert result.is_complete and result.rounds_settled == rounds and member is not None
    return recorder, member


@pytest.mark.parametrize("message", ROLE_OF_MESSAGE)
def test_restored__sits_out_and_comes_back(message: type[Message]) -> None:
    """A node that forgot what it said could say the contrary; or never take part again."""
    recorder, member = play(message, Simulation, 4)
    back_ms = next(f.at_ms for f in recorder.facts if isinstance(f, Started) and f.restored)
    first = next(f for f in recorder.facts if isinstance(f, Said) and isinstance(f.message, message))
    began = next(f for f in recorder.facts if isinstance(f, RoundBegan) and f.context.round == first.round)
    assert began.context.role_of(began.members.index(member)) is ROLE_OF_MESSAGE[message]
    said = [fact.round for fact in recorder.facts if isinstance(fact, Said) and fact.member == member]
    late = [f.round for f in recorder.facts if isinstance(f, Said) and f.member == member and f.at_ms >= back_ms]
    assert first.round not in late and max(said) > first.round


class Reckless(Node):
    """Planted: comes back from an old backup with all its keys, and takes part as if nothing had been."""

    def start(self, restored: bool = False) -> None:
        kept = dict(self.mask_secrets)
        super().start(restored)
        self.mask_secrets.update(kept)


class RecklessNodes(Simulation):
    """Nodes that do not notice that they were restored."""

    def _make_node(self, number: int) -> Node:
        node = super()._make_node(number)
        node.__class__ = Reckless
        return node


@pytest.mark.parametrize("message", [kind for kind in ROLE_OF_MESSAGE if kind is not Unmasking])  # it is too late then
def test_restored__that_takes_part_is_caught(message: type[Message]) -> None:
    """P8's checker would miss a node, of whatever role, that forgot what it promised."""
    with pytest.raises(Violation, match="P8"):
        play(message, RecklessNodes, 1, only="P8")


# --- a validator whose seat has no key that could tell ---------------------------------------------------------------


class Keyless(Node):
    """Planted: takes part as a validator while its seat's key is spent."""

    def find_secret(self, seat: Seat) -> bytes | None:
        assignment = self.history.assignment(len(self.history.rounds) - 1)
        is_validator = assignment is not None and seat.index in assignment.validators
        return b"" if seat.mask_key is None and is_validator else super().find_secret(seat)


class KeylessNodes(Simulation):
    def _make_node(self, number: int) -> Node:
        node = super()._make_node(number)
        node.__class__ = Keyless
        return node


class SpendAndRestore:
    """A trainer of round 0 is down for that round, so that its key is spent; in round 1 it runs, and is restored."""

    def __init__(self, simulation: Simulation, position: int) -> None:
        self._simulation, self._position = simulation, position
        self._member = -1
        self.seat: Seat | None = None  # in round 1
        self.role: Role | None = None

    def observe(self, fact: Fact) -> None:
        simulation = self._simulation
        if not isinstance(fact, RoundBegan):
            return
        if fact.context.round == 0:
            self._member = fact.members[fact.context.trainers[self._position]]
            simulation.at(1, lambda: simulation.nodes[self._member].stop("killed"))
        elif fact.context.round == 1:
            seat = fact.members.index(self._member)
            self.seat, self.role = fact.context.seat(seat), fact.context.role_of(seat)
            simulation.at(1, lambda: simulation.nodes[self._member].start())
            simulation.at(2000, lambda: restore(simulation, self._member))

    def finish(self) -> None:
        pass


@pytest.mark.parametrize("kind", [Simulation, KeylessNodes])
def test_restored__validator_with_a_spent_key(kind: type[Simulation]) -> None:
    """A validator whose seat has no key could sign, be restored from an old backup, and sign anew."""
    spenders: list[SpendAndRestore] = []

    def plan(simulation: Simulation) -> None:
        spenders.append(SpendAndRestore(simulation, 0))
        simulation.watch(spenders[0])

    if kind is Simulation:
        assert run(rounds=3, plan=plan)[1].is_complete
    else:
        with pytest.raises(Violation, match="restored"):
            run(rounds=3, kind=kind, plan=plan, only="P8")
    assert spenders[0].role is Role.VALIDATOR
    assert spenders[0].seat is not None and spenders[0].seat.mask_key is None
