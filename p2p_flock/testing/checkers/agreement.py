"""P2: every honest member applies the same model, it follows from the chain, and every adopted sum is the plain sum.

The model is folded here from the adopted aggregates; where only honest trainers were sealed, the aggregate must be the
sum of what their workers gave, and in small rounds everything must be what ``alliance/reference.py`` makes of it. A
settlement that a reorganisation took back stays a legitimate answer of whoever has not seen that yet; in the end only
the chain's own counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from p2p_flock.alliance.aggregates import decode_aggregate
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.model import AdoptedCohort, Model, apply_cohorts
from p2p_flock.alliance.pay import Senders
from p2p_flock.alliance.reference import RoundInputs, RoundOutputs, run_round
from p2p_flock.alliance.sealing import decode_sealed_manifest
from p2p_flock.alliance.trainer import SECRETS
from p2p_flock.chain_events import BallotRevealed, RoundSealed, RoundSettled
from p2p_flock.errors import WireError
from p2p_flock.ports import Persist, UpdateComputed
from p2p_flock.testing.checkers.base import ROUNDS_KEPT, Checker, Handler, Roster
from p2p_flock.testing.facts import Acted, Logged, ModelApplied, Reorganised, RoundBegan, Started, Stopped
from p2p_flock.types import CohortOutcome, Vote
from p2p_flock.wire.messages import Manifest

MODELS_KEPT = 16
REFERENCE_LANES_MAX = 100_000  # it counts in Python's integers


@dataclass
class _Round:
    """What the chain holds of one round, and what was told of it.

    Attributes:
        plain: by contribution root, what the trainer's worker gave.
        follows: every digest that followed from a settlement of this round on some fork.
        canonical: the digest that follows from the settlement that stands now.
        applied: newest digest by member.
    """

    sealed: RoundSealed | None = None
    reveals: dict[int, BallotRevealed] = field(default_factory=dict)
    settled: RoundSettled | None = None
    plain: dict[bytes, tuple[int, UpdateComputed]] = field(default_factory=dict)
    computed: dict[int, UpdateComputed] = field(default_factory=dict)
    follows: set[bytes] = field(default_factory=set)
    canonical: bytes | None = None
    applied: dict[int, bytes] = field(default_factory=dict)


class Agreement(Checker):
    """See the module."""

    name = "P2"

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._rounds: dict[int, _Round] = {}
        self._models: dict[bytes, Model] = {roster.model.digest: roster.model}
        self._down: set[int] = set()

    def handlers(self) -> Mapping[type, Handler]:
        return {
            RoundBegan: self._forget, Acted: self._acted, Logged: self._logged, Reorganised: self._reorganised,
            ModelApplied: self._applied, Stopped: self._stopped, Started: self._started,
        }  # fmt: skip

    def _of(self, number: int) -> _Round:
        return self._rounds.setdefault(number, _Round())

    def _forget(self, fact: RoundBegan) -> None:
        self._rounds = {number: known for number, known in self._rounds.items() if not self.roster.is_past(number)}
        if self.roster.newest_round >= ROUNDS_KEPT:
            self._models = dict(list(self._models.items())[-MODELS_KEPT:])

    def _stopped(self, fact: Stopped) -> None:
        self._down.add(fact.member)

    def _started(self, fact: Started) -> None:
        self._down.discard(fact.member)

    # --- plain values --------------------------------------------------------------------------------------------

    def _acted(self, fact: Acted) -> None:
        if isinstance(fact.event, UpdateComputed):
            self._of(fact.round).computed[fact.member] = fact.event
        elif fact.effects and isinstance(fact.effects[0], Persist) and fact.effects[0].kind == SECRETS:
            computed = self._of(fact.round).computed.get(fact.member)
            if computed is not None:
                self._of(fact.round).plain[bytes.fromhex(fact.effects[0].key)] = (fact.member, computed)

    # --- the chain -----------------------------------------------------------------------------------------------

    def _logged(self, fact: Logged) -> None:
        match fact.event:
            case RoundSealed() as event:
                self._of(event.round).sealed = event
            case BallotRevealed() as event:
                self._of(event.round).reveals[event.position] = event
            case RoundSettled() as event:
                self._of(event.round).settled = event
                self._settle(event)

    def _reorganised(self, fact: Reorganised) -> None:
        for known in self._rounds.values():
            if known.sealed is not None and known.sealed.at.block >= fact.first_block:
                known.sealed = None
            known.reveals = {p: event for p, event in known.reveals.items() if event.at.block < fact.first_block}
            if known.settled is not None and known.settled.at.block >= fact.first_block:
                known.settled = known.canonical = None

    def _settle(self, event: RoundSettled) -> None:
        known, began = self._of(event.round), self.roster.canonical.get(event.round)
        if began is None or known.sealed is None:
            raise self.fail(f"round {event.round} is settled without having been sealed or begun")
        context = began.context
        base = self._models.get(context.base_model_digest)
        if base is None:
            raise self.fail(f"round {event.round} began with a model that follows from nothing")
        manifest = self._read_manifest(context, known.sealed)
        survivors = {entry.seat: entry.root for entry in manifest.entries} if manifest is not None else {}
        expected = None  # where Q validators sealed nonsense, members go on without a sum; the reference knows no such
        if manifest is not None:
            expected = self._run_reference(context, began.randomness, known, base, survivors)
        cohorts = []
        for index, outcome in enumerate(event.outcomes):
            if outcome == CohortOutcome.ADOPTED:
                members = [seat for seat in context.assignment.cohorts[index] if seat in survivors]
                cohorts.append(self._adopt(context, index, event.aggregate_digests[index], members, expected))
        model = apply_cohorts(base, context.manifest, context.params.levels_in(context.stage), cohorts)
        is_whole = expected is not None and len(expected.sums) >= len(cohorts)
        if expected is not None and is_whole and event.outcomes != expected.outcomes:
            found, due = event.outcomes, expected.outcomes
            raise self.fail(f"round {event.round}: the chain decided {found}, the reference {due}")
        if expected is not None and is_whole and model.digest != expected.model.digest:
            raise self.fail(f"round {event.round}: another model than the reference's")
        is_judged = expected is not None and is_whole and self._are_voters_honest(context, known)
        if expected is not None and is_judged and event.record != expected.record:
            raise self.fail(f"round {event.round}: the chain pays {event.record}, the reference {expected.record}")
        self._models[model.digest] = model
        known.follows.add(model.digest)
        known.canonical = model.digest

    def _read_manifest(self, context: RoundContext, sealed: RoundSealed) -> Manifest | None:
        data = self.roster.find_blob(sealed.manifest_digest)
        if data is None:
            return None
        try:
            return decode_sealed_manifest(context, data, sealed.survivors)
        except WireError:
            return None  # Q validators sealed nonsense: nobody survives

    def _adopt(
        self, context: RoundContext, index: int, digest: bytes, members: Collection[int], expected: RoundOutputs | None
    ) -> AdoptedCohort:
        blob = self.roster.find_blob(digest)
        if blob is None:
            raise self.fail(f"round {context.round}: the adopted sum of cohort {index} is nowhere to be had")
        total = decode_aggregate(context.cohorts[index], blob, context.sum_bound(index, members))
        if expected is not None and index in expected.sums and tuple(total.tolist()) != expected.sums[index]:
            raise self.fail(f"round {context.round}: cohort {index} opened to another sum than its trainers' values")
        return AdoptedCohort(total, sum(context.weight_of(seat) for seat in members), digest)

    # --- the reference -------------------------------------------------------------------------------------------

    def _run_reference(
        self, context: RoundContext, randomness: bytes, known: _Round, base: Model, survivors: Mapping[int, bytes]
    ) -> RoundOutputs | None:
        """What the reference makes of what was sealed and revealed; ``None`` where a sealed trainer is not honest.

        In a large round it adds up one cohort only, another one each time: it knows no vectors.
        """
        plain = {seat: known.plain.get(root) for seat, root in survivors.items()}
        trained = {seat: entry[1] for seat, entry in plain.items() if entry and self.roster.is_honest(entry[0])}
        if not randomness or len(trained) < len(survivors):
            return None
        answering = frozenset(survivors)
        is_large = len(survivors) * context.manifest.width(context.stage) > REFERENCE_LANES_MAX
        if is_large:
            answering &= frozenset(context.assignment.cohorts[context.round % len(context.cohorts)])
        return run_round(
            RoundInputs(
                context.domain, context.round, context.params, context.manifest, base, context.snapshot.seats,
                randomness, {seat: np.asarray(event.values[:], dtype=np.float64) for seat, event in trained.items()},
                {seat: event.entropy for seat, event in trained.items()},
                dict.fromkeys(context.assignment.validators, frozenset(survivors)), answering,
                {} if is_large else self._read_verdicts(context, known), grades=self._read_grades(context, known),
                senders=self._read_senders(known),
            )
        )  # fmt: skip

    def _are_voters_honest(self, context: RoundContext, known: _Round) -> bool:
        """The reference counts what is good and bad; what a liar names besides is between it and the contract."""
        began = self.roster.canonical[context.round]
        seats = [context.assignment.validators[position] for position in known.reveals]
        return all(self.roster.is_honest(began.members[seat]) for seat in seats)

    @staticmethod
    def _read_grades(context: RoundContext, known: _Round) -> dict[int, dict[int, int]]:
        return {
            context.assignment.validators[position]: dict(enumerate(event.grades))
            for position, event in known.reveals.items()
        }

    @staticmethod
    def _read_senders(known: _Round) -> Senders:
        assert known.settled is not None
        record = known.settled.record
        return Senders(record.sealer, record.committer, record.settler)

    def _read_verdicts(self, context: RoundContext, known: _Round) -> dict[int, dict[int, bool]]:
        """Per validator and cohort. A yes to another digest than the adopted one counts for nothing."""
        assert known.settled is not None
        verdicts: dict[int, dict[int, bool]] = {}
        for position, event in known.reveals.items():
            votes = verdicts[context.assignment.validators[position]] = {}
            for cohort, verdict in enumerate(event.verdicts):
                is_good = event.aggregate_digests[cohort] == known.settled.aggregate_digests[cohort]
                if verdict == Vote.NO or (verdict == Vote.YES and is_good):
                    votes[cohort] = verdict == Vote.YES
        return verdicts

    # --- members -------------------------------------------------------------------------------------------------

    def _applied(self, fact: ModelApplied) -> None:
        if not self.roster.is_honest(fact.member) or self.roster.is_past(fact.round):
            return
        known = self._of(fact.round)
        if fact.after == fact.before and not known.follows:
            return  # void: it changes nothing
        known.applied[fact.member] = fact.after
        if not known.follows:
            raise self.fail(f"member {fact.member} applied round {fact.round}, which did not settle")
        if fact.after not in known.follows:
            raise self.fail(f"round {fact.round}: member {fact.member} applied a model that follows from no settlement")

    def finish(self) -> None:
        """Whoever is up in the end has the chain's own model of every round that it applied."""
        for number, known in sorted(self._rounds.items()):
            for member, digest in sorted(known.applied.items()):
                if known.canonical is not None and digest != known.canonical and member not in self._down:
                    raise self.fail(f"round {number}: member {member} is left with another model than the chain's")
