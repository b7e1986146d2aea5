"""Where a round stands as one node sees it: the step, what came from whom, what is being waited for. Pure.

Called by the daemon for whoever watches. Reads what the machines and the chain's log show; changes nothing and guesses
nothing: contributions and answers go to the validators only, so at any other node they stay UNKNOWN until the chain
tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.penalties import compute_absent
from p2p_flock.alliance.trainer import Phase as TrainerPhase
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.alliance.validator import Phase as ValidatorPhase
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.params import AllianceParams
from p2p_flock.secagg.aggregator import Gathering
from p2p_flock.types import Assignment, Role

Machine = TrainerMachine | ValidatorMachine
WORD_BITS = 256
STRIKE_ROUNDS_MAX = 16


class Step(Enum):
    """The phases of DESIGN §6 in order."""

    BEACON = "beacon"
    TRAIN = "train"
    SEAL = "seal"
    UNMASK = "unmask"
    EVALUATE = "evaluate"
    COMMIT = "commit"
    SETTLE = "settle"


class Item(Enum):
    """What a participant owes in a round: a trainer the first two, a validator the next three."""

    CONTRIBUTION = "contribution"
    UNMASKING = "unmasking"
    HAVE = "have"
    COMMITMENT = "commitment"
    BALLOT = "ballot"
    BUNDLE = "bundle"  # of a neighbor's contribution: fetched from whoever has it


class Receipt(Enum):
    """What this node knows of an item."""

    HERE = "here"  # received and checked; its own: said
    ON_CHAIN = "on_chain"
    PARTIAL = "partial"  # named, but not all of it is here
    AWAITED = "awaited"
    REFUSED = "refused"  # it came and is no good
    MISSED = "missed"  # the round went on without it
    NOT_DUE = "not_due"
    NEEDLESS = "needless"  # the round went on; this one was not needed
    UNKNOWN = "unknown"  # it does not come to this node


@dataclass(frozen=True, slots=True)
class SeatProgress:
    """One participant. ``cohort``: of a trainer. ``items``: in the order in which they fall due."""

    seat: int
    role: Role
    cohort: int | None
    is_eligible: bool
    items: tuple[tuple[Item, Receipt], ...]


@dataclass(frozen=True, slots=True)
class CohortProgress:
    """Counts of one cohort; ``None`` for what this node does not see.

    Attributes:
        held: contributions that this validator holds and has verified.
        survivors: sealed trainers. answered: unmaskings that are here; ``threshold`` of them open the sum, if they
            leave no survivor uncovered.
    """

    cohort: int
    trainers: int
    held: int | None
    survivors: int | None
    answered: int | None
    threshold: int


@dataclass(frozen=True, slots=True)
class RoundProgress:
    """See the module.

    Attributes:
        step: the step as far as this node can tell; ``is_exact`` False where a later one may be running unseen.
        awaited: (seat, item) that this node itself cannot go on without, or would rather not.
    """

    step: Step
    is_exact: bool
    seats: tuple[SeatProgress, ...]
    cohorts: tuple[CohortProgress, ...]
    awaited: tuple[tuple[int, Item], ...]


def compute_progress(
    params: AllianceParams,
    assignment: Assignment,
    record: RoundRecord,
    machine: Machine | None,
    is_revealing: bool,
    is_train_over: bool,
) -> RoundProgress:
    """The round as seen by the node that runs ``machine`` (``None``: it has no part in this round).

    Args:
        is_revealing: the contract's commit phase is over.
        is_train_over: the train deadline has passed.
    """
    view = _View(params, assignment, record, machine, is_revealing, is_train_over)
    seats = tuple(view.seat(seat) for seat in (*assignment.validators, *assignment.trainers))
    cohorts = tuple(view.cohort(index) for index in range(len(assignment.cohorts)))
    is_validator = isinstance(machine, ValidatorMachine)
    is_exact = is_validator or view.step in (Step.COMMIT, Step.SETTLE)
    return RoundProgress(view.step, is_exact, seats, cohorts, view.awaited(seats))


def count_strikes(history: AllianceHistory, owner: bytes) -> int:
    """Settled rounds in a row, up to the last one, in which ``owner`` was absent since it was last seated.

    As far as two strikes need: the count ends at :data:`STRIKE_ROUNDS_MAX` rounds back. Void rounds do not count.
    """
    active_round = next((entry.active_round for entry in history.seats if entry.owner == owner), None)
    strikes = 0
    for record in reversed(history.rounds[-STRIKE_ROUNDS_MAX:]):
        number = record.opened.round
        if active_round is None or number < active_round:
            break
        absent = compute_absent(history, number)
        if absent is None:
            continue
        if owner not in absent:
            break
        strikes += 1
    return strikes


def survivors_of(record: RoundRecord, assignment: Assignment) -> frozenset[int]:
    """Trainer seats in the seal's bitmap; empty before the seal."""
    if record.sealed is None:
        return frozenset()
    words = record.sealed.survivors
    return frozenset(
        seat
        for index, seat in enumerate(assignment.trainers)
        if index // WORD_BITS < len(words) and words[index // WORD_BITS] >> index % WORD_BITS & 1
    )


class _View:
    """What the questions below share."""

    def __init__(
        self,
        params: AllianceParams,
        assignment: Assignment,
        record: RoundRecord,
        machine: Machine | None,
        is_revealing: bool,
        is_train_over: bool,
    ) -> None:
        self.params, self.assignment, self.record = params, assignment, record
        self.own_seat = None if machine is None else machine.seat
        self.trainer = machine if isinstance(machine, TrainerMachine) else None
        self.validator = machine if isinstance(machine, ValidatorMachine) else None
        self.survivors = survivors_of(record, assignment)
        self.held = frozenset(self.validator.collection.held_roots()) if self.validator is not None else frozenset()
        self.step = self._step(is_revealing, is_train_over)

    def _step(self, is_revealing: bool, is_train_over: bool) -> Step:
        if self.record.sealed is None:
            said_have = self.validator is not None and self.validator.seat in self.validator.seals.haves
            return Step.SEAL if said_have or is_train_over else Step.TRAIN
        if is_revealing:
            return Step.SETTLE
        if self.validator is None:
            return Step.COMMIT if self.record.commitments else Step.UNMASK
        match self.validator.phase:
            case ValidatorPhase.SEALING | ValidatorPhase.OPENING:
                return Step.UNMASK
            case ValidatorPhase.JUDGING:
                return Step.EVALUATE
            case ValidatorPhase.VOTING:
                return Step.SETTLE if self.validator.ballots.is_commit_phase_over else Step.COMMIT

    # --- a participant -----------------------------------------------------------------------------------------

    def seat(self, seat: int) -> SeatProgress:
        if seat in self.assignment.validators:
            position = self.assignment.validators.index(seat)
            said = (Item.HAVE, self._have(seat, position)), (Item.COMMITMENT, self._commitment(position))
            return SeatProgress(seat, Role.VALIDATOR, None, True, (*said, (Item.BALLOT, self._ballot(position))))
        is_eligible = self._is_eligible(seat)
        items = ((Item.CONTRIBUTION, self._contribution(seat, is_eligible)), (Item.UNMASKING, self._unmasking(seat)))
        return SeatProgress(seat, Role.TRAINER, self.assignment.cohort_of(seat), is_eligible, items)

    def _is_eligible(self, seat: int) -> bool:
        """Whether the trainer's mask key is unspent; True while the keys are not known."""
        return self.record.keys.get(self.record.seats[seat].owner, b"") is not None

    def _contribution(self, seat: int, is_eligible: bool) -> Receipt:
        if self.record.sealed is not None:
            return Receipt.ON_CHAIN if seat in self.survivors else Receipt.MISSED
        if not is_eligible:
            return Receipt.NOT_DUE
        if self.trainer is not None and seat == self.own_seat:
            match self.trainer.phase:
                case TrainerPhase.COMPUTING | TrainerPhase.MASKING | TrainerPhase.PREPARED:
                    return Receipt.AWAITED
                case TrainerPhase.ASIDE:
                    return Receipt.MISSED
                case _:
                    return Receipt.HERE
        if self.validator is None:
            return Receipt.UNKNOWN
        if seat in self.held:
            return Receipt.HERE
        return Receipt.PARTIAL if seat in self.validator.collection.named else Receipt.AWAITED

    def _unmasking(self, seat: int) -> Receipt:
        if seat not in self.survivors:
            return Receipt.NOT_DUE
        if self.trainer is not None and seat == self.own_seat:
            match self.trainer.phase:
                case TrainerPhase.ANSWERED:
                    return Receipt.HERE
                case TrainerPhase.ASIDE:
                    return Receipt.MISSED
                case _:
                    return Receipt.AWAITED
        if self.validator is None:
            return Receipt.UNKNOWN
        aggregator = self.validator.collection.aggregators[self.assignment.cohort_of(seat)]
        if isinstance(aggregator.phase, Gathering) and seat in aggregator.phase.refused:
            return Receipt.REFUSED
        if seat in aggregator.answered:
            return Receipt.HERE
        return Receipt.AWAITED if self.step is Step.UNMASK else Receipt.NEEDLESS

    def _have(self, seat: int, position: int) -> Receipt:
        if self.record.sealed is not None:
            signed = position in self.record.sealed.positions
            return Receipt.ON_CHAIN if signed else Receipt.NEEDLESS  # Q signatures suffice
        if self.validator is None:
            return Receipt.UNKNOWN
        if seat in self.validator.seals.haves:
            return Receipt.HERE
        return Receipt.AWAITED if self.step is Step.SEAL else Receipt.NOT_DUE

    def _commitment(self, position: int) -> Receipt:
        if position in self.record.commitments:
            return Receipt.ON_CHAIN
        if self.record.sealed is None:
            return Receipt.NOT_DUE
        if self.step is Step.SETTLE:
            return Receipt.MISSED
        if self.validator is None:
            return Receipt.AWAITED if self.record.commitments else Receipt.UNKNOWN
        if position in self.validator.ballots.committed:
            return Receipt.HERE
        return Receipt.AWAITED if self.step is Step.COMMIT else Receipt.NOT_DUE

    def _ballot(self, position: int) -> Receipt:
        if position in self.record.reveals:
            return Receipt.ON_CHAIN
        if self.step is not Step.SETTLE:
            return Receipt.NOT_DUE
        if position not in self.record.commitments:
            return Receipt.MISSED
        if self.validator is None:
            return Receipt.UNKNOWN
        return Receipt.HERE if position in self.validator.ballots.revealed else Receipt.AWAITED

    # --- together ----------------------------------------------------------------------------------------------

    def cohort(self, index: int) -> CohortProgress:
        trainers = self.assignment.cohorts[index]
        is_sealed = self.record.sealed is not None
        answered = None
        if self.validator is not None and is_sealed:
            answered = len(self.validator.collection.aggregators[index].answered)
        return CohortProgress(
            cohort=index,
            trainers=len(trainers),
            held=None if self.validator is None else len(self.held & set(trainers)),
            survivors=len(self.survivors & set(trainers)) if is_sealed else None,
            answered=answered,
            threshold=self.params.threshold,
        )

    def awaited(self, seats: Sequence[SeatProgress]) -> tuple[tuple[int, Item], ...]:
        """What this node's own machine waits for from others, in this step."""
        if self.trainer is not None:
            return tuple((seat, Item.BUNDLE) for seat in self.trainer.awaited_bundles)
        if self.validator is None:
            return ()
        due = {
            Step.TRAIN: Item.CONTRIBUTION,
            Step.SEAL: Item.HAVE,
            Step.UNMASK: Item.UNMASKING,
            Step.COMMIT: Item.COMMITMENT,
            Step.SETTLE: Item.BALLOT,
        }.get(self.step)
        return tuple(
            (seat.seat, item)
            for seat in seats
            if seat.seat != self.own_seat
            for item, receipt in seat.items
            if item is due and receipt in (Receipt.AWAITED, Receipt.PARTIAL)
        )
