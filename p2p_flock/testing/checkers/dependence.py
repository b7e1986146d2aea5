"""P4: nobody is needed by all. Whatever a round hangs on is held by two honest members at least, nobody is the only one
that is asked or told, and rounds go on when a member is gone for good.
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p_flock.alliance.sealing import decode_sealed_manifest
from p2p_flock.chain_events import AllianceClosed, RoundSealed, RoundSettled
from p2p_flock.crypto.suite import sha256
from p2p_flock.errors import WireError
from p2p_flock.ports import BlobsFetched, CohortOpened, Fetch, StoreBlobs
from p2p_flock.secagg.opening import Opened
from p2p_flock.testing.checkers.base import Checker, Handler, Roster
from p2p_flock.testing.checkers.stalls import compute_round_max_ms
from p2p_flock.testing.facts import Acted, Ended, Healed, Logged, RoundBegan, Said, Served, Stopped
from p2p_flock.types import CohortOutcome, Role
from p2p_flock.wire.messages import BallotCommitment, Contribution, Have, SealProposal, Unmasking

TOLD_TO_ALL = (Contribution, Unmasking, Have, SealProposal, BallotCommitment)
HOLDERS_MIN = 2
ROUNDS_OF_PATIENCE = 3  # void rounds in a row that a death may leave behind, its own included
SOURCE_PULLS_MIN = 40  # below, one source for everything may be chance


class Dependence(Checker):
    """See the module."""

    name = "P4"

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._holders: dict[int, dict[bytes, set[int]]] = {}  # round -> blob -> validators and authors that hold it
        self._sources: dict[int, int] = {}  # member -> pulls that it served
        self._pulls: dict[int, int] = {}  # member -> pulls that it made
        self._pull_count = 0
        self._dead: set[int] = set()
        self._last_death_ms: int | None = None
        self._settled_at_ms = 0
        self._healed_at_ms: int | None = None
        self._ended: Ended | None = None
        self._is_closed = False

    def handlers(self) -> Mapping[type, Handler]:
        return {
            RoundBegan: self._forget, Acted: self._acted, Said: self._said, Served: self._served,
            Logged: self._logged, Stopped: self._stopped, Healed: self._healed, Ended: self._run_ended,
        }  # fmt: skip

    def _forget(self, fact: RoundBegan) -> None:
        self._holders = {number: held for number, held in self._holders.items() if number >= fact.context.round - 1}

    # --- who is asked and told -----------------------------------------------------------------------------------

    def _acted(self, fact: Acted) -> None:
        if isinstance(fact.event, BlobsFetched):
            self._hold(fact, (*fact.event.blobs, *fact.event.sizes))
        elif isinstance(fact.event, CohortOpened) and isinstance(fact.event.result, Opened):
            self._hold(fact, (fact.event.result.aggregate_digest,))
        for effect in fact.effects:
            if isinstance(effect, StoreBlobs):
                self._hold(fact, tuple(sha256(blob) for blob in effect.blobs))
            elif isinstance(effect, Fetch) and self.roster.is_honest(fact.member):
                validators = self.roster.params.validator_count
                if len(set(effect.seats)) < min(HOLDERS_MIN, validators) and effect.digests:
                    raise self.fail(f"round {fact.round}: member {fact.member} asks only seats {effect.seats}")

    def _hold(self, fact: Acted, digests: tuple[bytes, ...]) -> None:
        held = self._holders.setdefault(fact.round, {})
        for digest in digests:
            held.setdefault(digest, set()).add(fact.member)

    def _said(self, fact: Said) -> None:
        """What all validators need goes to all of them, so that nobody stands between."""
        if not isinstance(fact.message, TOLD_TO_ALL) or not self.roster.is_honest(fact.member):
            return
        if not self.roster.is_own_seat(fact.member, fact.round, fact.envelope.seat):
            return
        context = self.roster.context_of(fact.member, fact.round)
        if context is None:
            return
        owners = [context.seat(seat).owner for seat in context.assignment.validators]
        left_out = {self.roster.member_of(owner) for owner in owners} - {*fact.to, fact.member, None}
        if left_out:
            kind = type(fact.message).__name__
            raise self.fail(f"round {fact.round}: member {fact.member} keeps its {kind} from {left_out}")

    def _served(self, fact: Served) -> None:
        if self.roster.is_honest(fact.member):
            self._pull_count += 1
            self._sources[fact.source] = self._sources.get(fact.source, 0) + 1
            self._pulls[fact.member] = self._pulls.get(fact.member, 0) + 1

    # --- what is held --------------------------------------------------------------------------------------------

    def _logged(self, fact: Logged) -> None:
        event = fact.event
        if isinstance(event, RoundSealed):
            self._check_sealed(event)
        elif isinstance(event, RoundSettled):
            self._settled_at_ms = fact.at_ms
            self._is_closed = self._is_closed or event.closed
            self._check_adopted(event)
        elif isinstance(event, AllianceClosed):
            self._is_closed = True

    def _check_sealed(self, event: RoundSealed) -> None:
        """Every sealed document and the manifest lie with Q validators, as the Have messages say."""
        began = self.roster.canonical.get(event.round)
        data = self.roster.find_blob(event.manifest_digest)
        if began is None or data is None:
            return
        context = began.context
        liars = self._liars(event.round)
        needed = min(HOLDERS_MIN, context.params.seal_quorum) - liars
        self._check_held(event.round, "the sealed manifest", event.manifest_digest, needed)
        try:
            manifest = decode_sealed_manifest(context, data, event.survivors)
        except WireError:
            return
        for entry in manifest.entries:
            self._check_held(event.round, f"seat {entry.seat}'s document", entry.document_digest, needed)

    def _check_adopted(self, event: RoundSettled) -> None:
        needed = min(HOLDERS_MIN, self.roster.params.verdict_quorum) - self._liars(event.round)
        for outcome, digest in zip(event.outcomes, event.aggregate_digests, strict=True):
            if outcome == CohortOutcome.ADOPTED:
                self._check_held(event.round, "an adopted sum", digest, needed)

    def _liars(self, round_number: int) -> int:
        """Byzantine validators of the round: each may say that it holds what it does not."""
        began = self.roster.canonical.get(round_number)
        if began is None:
            return 0
        seats = [seat for seat, member in enumerate(began.members) if member in self.roster.byzantine]
        return sum(began.context.role_of(seat) is Role.VALIDATOR for seat in seats)

    def _check_held(self, round_number: int, what: str, digest: bytes, needed: int) -> None:
        held = self._holders.get(round_number, {}).get(digest, set())
        honest = [member for member in held if self.roster.is_honest(member)]
        if len(honest) < needed:
            raise self.fail(f"round {round_number}: {what} is held by {honest} alone: everybody needs them")

    # --- who is gone ---------------------------------------------------------------------------------------------

    def _stopped(self, fact: Stopped) -> None:
        if fact.is_final and fact.member not in self._dead:
            self._dead.add(fact.member)
            self._last_death_ms = fact.at_ms

    def _healed(self, fact: Healed) -> None:
        self._healed_at_ms = fact.at_ms

    def _run_ended(self, fact: Ended) -> None:
        self._ended = fact

    def finish(self) -> None:
        """Rounds went on after the last death, and no one member served everybody."""
        ended = self._ended
        if ended is not None and self._last_death_ms is not None and not self._is_closed and self._enough_left():
            since_ms = max(self._last_death_ms, self._healed_at_ms or 0)
            patience_ms = ROUNDS_OF_PATIENCE * compute_round_max_ms(self.roster.params)
            if ended.at_ms - since_ms > patience_ms and self._settled_at_ms < since_ms:
                raise self.fail(f"no round settled after {sorted(self._dead)} were gone for good")
        for source, count in sorted(self._sources.items()):
            others = self._pull_count - self._pulls.get(source, 0)
            if others >= SOURCE_PULLS_MIN and count == others:
                raise self.fail(f"member {source} served every blob that anybody else pulled")

    def _enough_left(self) -> bool:
        """Whether those alive can fill a committee and every cohort, so that at least nothing is in their way."""
        began = self.roster.canonical.get(self.roster.newest_round)
        if began is None:
            return False
        params = self.roster.params
        alive = sum(member not in self._dead for member in began.members)
        spare = len(began.members) - alive
        return spare <= 1 and alive >= params.validator_count + params.cohort_count * params.survivors_min
