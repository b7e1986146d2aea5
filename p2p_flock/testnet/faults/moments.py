"""When a fault strikes: waits for the real moment of a phase, as chain and nodes show it. Called by ``injector.py``.

The chain shows when a round opens, is sealed, committed and settled. What it does not show is asked of the nodes
themselves (``alliance.watch`` on their control sockets, which changes nothing):

| phase | strikes as soon as | and the chain holds |
|---|---|---|
| none | the round is open; for a role: the roles are drawn | no seal |
| TRAIN | a trainer (the struck one, where a trainer is meant) knows its role and trains | no seal |
| SEAL | training is over: a validator (the struck one, where one is meant) has said what it holds | no seal |
| UNMASK | the seal is on chain; survivors answer two blocks later | the seal |
| EVALUATE | a validator has opened every cohort and measures it | no commitment |
| COMMIT | a validator's ballot is ready | no commitment of the round's batch |
| SETTLE | a validator sees the commit phase over, or all commitments are on chain | no settlement |

A reorganisation strikes when the phase's own transaction has landed: the opening for TRAIN, the seal for SEAL and
UNMASK, the commitments for EVALUATE and COMMIT, the settlement for SETTLE.

A phase may pass between two looks (20 ms). A fault that named no round then waits for the next one; one that did has
missed its moment, which fails the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from p2p_flock.alliance.progress import Step
from p2p_flock.alliance.sortition import compute_assignment, compute_seed
from p2p_flock.chain.beacon import BeaconClient, BeaconNetwork
from p2p_flock.chain.devnet_beacon import devnet_chain_hash
from p2p_flock.daemon.control_client import control_call
from p2p_flock.errors import BeaconError, ControlError
from p2p_flock.testnet.faults.grammar import Fault, FaultKind, FaultPhase, TargetKind
from p2p_flock.testnet.faults.scene import Scene
from p2p_flock.testnet.faults.targets import Roles, name_roles
from p2p_flock.testnet.summary import sealed_seats
from p2p_flock.testnet.watch import RoundLog
from p2p_flock.types import Assignment, CohortOutcome, Domain

LOOK_SECONDS = 0.02
ASK_SECONDS_MAX = 1.0  # a daemon that answers later than this is asked again
ASKED_AT_ONCE_MAX = 8
BEACON_SECONDS_MAX = 30.0

_STEPS = {phase: Step(phase.value.lower()) for phase in FaultPhase}


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in the alliance's life a fault struck."""

    round: int
    roles: Roles | None


class Moments:
    """Waits; one for all faults of a run."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        devnet, alliance = scene.network.devnet, scene.network.alliance
        self._domain = Domain(alliance.chain_id, scene.network.contract, alliance.number)
        network = BeaconNetwork(
            bytes.fromhex(devnet.beacon_public_key), devnet.beacon_genesis_s, devnet.beacon_period_s
        )
        self._beacon = BeaconClient(network, devnet.beacon_urls, devnet_chain_hash(network))
        self._assignments: dict[int, Assignment] = {}
        self._limiter = trio.CapacityLimiter(ASKED_AT_ONCE_MAX)

    def close(self) -> None:
        """Drop the connections."""
        self._beacon.close()

    async def wait(self, fault: Fault, choose: Callable[[Roles | None], Sequence[str]]) -> Moment | None:
        """Until the fault's moment; ``None`` where it has passed unseen, or never comes.

        Args:
            choose: names of those that the fault would strike now.
        """
        log = await (self._first_training_round() if fault.round is None else self._opened(fault.round))
        while log is not None:
            number = log.opened.round
            if await self._reached(fault, number, choose):
                return Moment(number, self.roles(number))
            if fault.round is not None:
                return None
            log = await self._opened(number + 1)
        return None

    async def wait_for_end(self, number: int) -> None:
        """Until the round is settled or void."""
        while not self._scene.view.closed and not self._has_ended(number):
            await trio.sleep(LOOK_SECONDS)

    def roles(self, number: int) -> Roles | None:
        """The round's roles as the chain shows them now; ``None`` before the beacon."""
        log, assignment = self._log(number), self._assignments.get(number)
        if log is None or assignment is None:
            return None
        view = None if log.sealed is None else log.sealed.view
        survivors = sealed_seats(log, assignment.trainers)
        return name_roles(assignment, log.owners, self._scene.names_by_owner, view, survivors)

    # --- the chain ---------------------------------------------------------------------------------------------

    def _log(self, number: int) -> RoundLog | None:
        return self._scene.view.rounds.get(number)  # a reorganisation replaces it

    def _has_ended(self, number: int) -> bool:
        log = self._log(number)
        return log is not None and log.ended

    async def _opened(self, number: int) -> RoundLog | None:
        while True:
            log = self._log(number)
            if log is not None or self._scene.view.closed:
                return log
            await trio.sleep(LOOK_SECONDS)

    async def _first_training_round(self) -> RoundLog | None:
        """The first open round that follows an adopted one: until then rounds collect the statistics."""
        while True:
            rounds = self._scene.view.rounds
            for number in sorted(rounds):
                settled = rounds[number].settled
                if settled is not None and CohortOutcome.ADOPTED in settled.outcomes:
                    return await self._opened(number + 1)
            if self._scene.view.closed:
                return None
            await trio.sleep(LOOK_SECONDS)

    async def _draw_roles(self, number: int) -> bool:
        """Wait for the beacon; whether the roles are known now."""
        while number not in self._assignments:
            log = self._log(number)
            if log is None or log.ended:
                return False
            try:
                value = await self._beacon.wait_for(log.opened.beacon_round, time.time() + BEACON_SECONDS_MAX)
            except BeaconError:  # the chain stands still, and with it the local beacon
                await trio.sleep(LOOK_SECONDS)
                continue
            seed = compute_seed(self._domain, number, value.randomness)
            self._assignments[number] = compute_assignment(seed, log.opened.seat_count, self._scene.params)
        return True

    def _has_passed(self, phase: FaultPhase | None, log: RoundLog) -> bool:
        match phase:
            case None:
                return log.ended
            case FaultPhase.TRAIN | FaultPhase.SEAL:
                return log.sealed is not None or log.ended
            case FaultPhase.UNMASK | FaultPhase.EVALUATE | FaultPhase.COMMIT:
                return bool(log.commits) or log.ended
            case FaultPhase.SETTLE:
                return log.ended

    # --- the moment --------------------------------------------------------------------------------------------

    async def _reached(self, fault: Fault, number: int, choose: Callable[[Roles | None], Sequence[str]]) -> bool:
        """Wait for the fault's phase in this round; False where it passed unseen."""
        is_role = fault.target is not None and fault.target.is_role
        if fault.phase is None and not is_role:
            return not self._has_ended(number)
        if fault.kind is FaultKind.REORG:
            return await self._landed(fault.phase, number)
        if not await self._draw_roles(number):
            return False
        while (log := self._log(number)) is None or not self._has_passed(fault.phase, log):
            if log is not None and await self._is_there(fault, number, log, choose):
                newest = self._log(number)
                return newest is not None and not self._has_passed(fault.phase, newest)
            await trio.sleep(LOOK_SECONDS)
        return False

    async def _landed(self, phase: FaultPhase | None, number: int) -> bool:
        while not self._scene.view.closed or self._log(number) is not None:
            log = self._log(number)
            match phase:
                case None | FaultPhase.TRAIN:
                    is_landed = log is not None
                case FaultPhase.SEAL | FaultPhase.UNMASK:
                    is_landed = log is not None and log.sealed is not None
                case FaultPhase.EVALUATE | FaultPhase.COMMIT:
                    is_landed = log is not None and bool(log.commits)
                case FaultPhase.SETTLE:
                    is_landed = log is not None and log.settled is not None
            if is_landed:
                return True
            if log is not None and log.ended:  # void
                return False
            await trio.sleep(LOOK_SECONDS)
        return False

    async def _is_there(
        self, fault: Fault, number: int, log: RoundLog, choose: Callable[[Roles | None], Sequence[str]]
    ) -> bool:
        phase, roles = fault.phase, self.roles(number)
        assert roles is not None
        if phase is None:
            return True
        if phase is FaultPhase.UNMASK:
            return log.sealed is not None
        if phase in (FaultPhase.EVALUATE, FaultPhase.COMMIT) and log.sealed is None:
            return False
        if phase is FaultPhase.SETTLE:
            if not log.commits:
                return False
            if sum(len(each.positions) for each in log.commits) >= len(roles.validators):
                return True
        return await self._any_at(self._asked(fault, roles, choose(roles)), number, _STEPS[phase])

    def _asked(self, fault: Fault, roles: Roles, struck: Sequence[str]) -> list[str]:
        """Whose word counts: the struck ones', where they take the part that the phase is about; else anybody's."""
        part = roles.trainers if fault.phase is FaultPhase.TRAIN else roles.leaders(fault.phase)
        living = self._scene.living()
        is_role = fault.target is not None and fault.target.kind in (
            *(TargetKind.LEADER, TargetKind.TRAINER, TargetKind.VALIDATOR, TargetKind.NODE),
        )
        meant = [name for name in struck if name in part] if is_role else []
        return meant or [name for name in part if name in living]

    async def _any_at(self, names: Sequence[str], number: int, step: Step) -> bool:
        """Whether one of the nodes says that the round has come to this step, or further."""
        order, found = list(Step), []

        async def ask(name: str) -> None:
            said = await self._step_of(name, number)
            found.append(said is not None and order.index(said) >= order.index(step))

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(ask, name)
        return any(found)

    async def _step_of(self, name: str, number: int) -> Step | None:
        call = partial(control_call, self._scene.home(name), "alliance.watch", {}, timeout_s=ASK_SECONDS_MAX)
        try:
            answer = await trio.to_thread.run_sync(call, limiter=self._limiter)
        except ControlError:  # it died, or has more to do
            return None
        alliance = answer.get("alliance")
        running = alliance.get("running") if isinstance(alliance, dict) else None
        if not isinstance(running, dict) or running.get("round") != number:
            return None
        return Step(str(running["step"]))
