"""The validators' agreement on a seal: Have messages, proposals by view, signatures. One part of the validator machine.

Records facts as they arrive and says, when asked, what to do next. Anything it signs is journalled first, one seal per
view and views only upward, so a restarted validator cannot contradict itself.
"""

from __future__ import annotations

from enum import Enum

from p2p_flock.alliance.collecting import Collection
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.leading import Attendance, compute_patience_ms, is_gone, turn_starts_ms
from p2p_flock.alliance.lost_trainers import LostTrainers
from p2p_flock.alliance.sealing import (
    Quarrels,
    Seal,
    check_proposal,
    choose_haves,
    compute_survivors,
    make_have,
    make_manifest,
    make_seal,
    read_have,
    some_cohort_is_viable,
)
from p2p_flock.errors import CryptoError, DropReason, RemoteProtocolError, WireError
from p2p_flock.ports import Effect, Persist, Report, SealRound, Send, Signer, StoreBlobs, Transact
from p2p_flock.secagg.collection import drop_quarrels
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import (
    Envelope,
    Have,
    ManifestEntry,
    SealProposal,
    SealSignature,
)

HAVE, SEAL_SIGNATURE = "have", "seal-signature"
RETRY_POST_MS = 1000


class Phase(Enum):
    """Where the desk stands."""

    COLLECTING = "collecting"  # contributions may still come; nothing was said
    HOLDING = "holding"  # a Have was said; others' proposals may be signed
    PROPOSED = "proposed"  # the own seal is being signed
    POSTED = "posted"  # the own seal is on its way to the chain


FOLLOWERS: dict[Phase, tuple[Phase, ...]] = {
    Phase.COLLECTING: (Phase.COLLECTING, Phase.HOLDING, Phase.PROPOSED, Phase.POSTED),  # all at once where V = 1
    Phase.HOLDING: (Phase.HOLDING, Phase.PROPOSED, Phase.POSTED),
    Phase.PROPOSED: (Phase.PROPOSED, Phase.POSTED),
    Phase.POSTED: (Phase.POSTED, Phase.PROPOSED),  # back when the transaction was lost: posted again a little later
}
NEVER_MS = 2**62


class SealDesk:
    """What this validator knows and promised about the seal of its round."""

    def __init__(
        self, context: RoundContext, seat: int, sign: Signer, attendance: Attendance, lost_trainers: LostTrainers
    ) -> None:
        self._context = context
        self._seat = seat
        self._position = context.assignment.validators.index(seat)
        self._sign = sign
        self._attendance = attendance
        self._lost_trainers = lost_trainers
        self._own_roots: dict[int, bytes] = {}
        self._have_count = 0
        self._haves: dict[int, tuple[Envelope, dict[int, bytes]]] = {}
        self._ready_at_ms: int | None = None
        self._complete_at_ms: int | None = None  # since when a verdict quorum holds all that is due
        self._suffices_at_ms: int | None = None  # since when a leader with what is here would propose
        self._signed: dict[int, SealSignature] = {}  # view -> what this node signed
        self._waiting: dict[int, SealProposal] = {}  # leader seat -> proposal that is not answered yet
        self._wanted: dict[int, tuple[ManifestEntry, ...]] = {}  # leader seat -> what its proposal names and we lack
        self._proposed: Seal | None = None
        self._proposal: Envelope | None = None
        self._signatures: dict[int, bytes] = {}  # position -> signature over the proposed seal
        self._post_at_ms: int | None = None

    @property
    def phase(self) -> Phase:
        """What follows from the facts that are here."""
        if self._proposed is not None:
            return Phase.POSTED if self._post_at_ms == NEVER_MS else Phase.PROPOSED
        return Phase.COLLECTING if self._ready_at_ms is None else Phase.HOLDING

    def restore(self, record: Persist) -> None:
        """Take back a promise found in the journal."""
        if record.kind == HAVE:
            self._have_count += 1
            try:
                have = decode(Have, record.body, 1 << 20)
                self._own_roots.update(read_have(self._context, have))
            except WireError:
                return  # said of other trainers, before the chain was reorganised
        elif record.kind == SEAL_SIGNATURE:
            signature = decode(SealSignature, record.body, 1 << 10)
            self._signed[signature.view] = signature

    @property
    def haves(self) -> dict[int, frozenset[int]]:
        """Trainer seats that each validator said it holds, by the validator's seat; the own one included."""
        return {seat: frozenset(roots) for seat, (_, roots) in self._haves.items()}

    # --- facts -------------------------------------------------------------------------------------------------

    def add_have(self, envelope: Envelope, have: Have) -> None:
        """Take another validator's Have.

        Raises:
            RemoteProtocolError: malformed, or it contradicts what that validator said before.
        """
        try:
            roots = read_have(self._context, have)
        except WireError as error:
            raise RemoteProtocolError(envelope.seat, DropReason.MALFORMED, str(error)) from error
        known = self._haves.get(envelope.seat)
        if known is not None:
            if any(roots.get(seat, root) != root for seat, root in known[1].items()):
                raise RemoteProtocolError(envelope.seat, DropReason.BAD_HAVE)
            if len(roots) <= len(known[1]):
                return
        self._haves[envelope.seat] = (envelope, roots)

    def add_proposal(self, seat: int, proposal: SealProposal) -> None:
        """Keep the newest proposal of a leader until it can be answered."""
        self._waiting[seat] = proposal

    def add_signature(self, seat: int, message: SealSignature) -> Seal | None:
        """Take a validator's signature over the seal that this node proposed; that seal where it is one.

        Raises:
            RemoteProtocolError: not its signature.
        """
        if self._proposed is None or message.view != self._proposed.view or message.seal != self._proposed.digest:
            return None
        try:
            signer = self._context.recover(self._proposed.signing_digest, message.signature)
        except CryptoError as error:
            raise RemoteProtocolError(seat, DropReason.BAD_SIGNATURE, str(error)) from error
        if signer != self._context.seat(seat).owner:
            raise RemoteProtocolError(seat, DropReason.BAD_SIGNATURE)
        self._signatures[self._context.assignment.validators.index(seat)] = message.signature
        return self._proposed

    def post_failed(self, now_ms: int) -> None:
        """The transaction was lost for a reason other than a lost race: try again a little later."""
        self._post_at_ms = now_ms + RETRY_POST_MS

    # --- what to do --------------------------------------------------------------------------------------------

    def advance(self, collection: Collection, now_ms: int) -> list[Effect]:
        """Next effects, given the contributions that this node holds and verified."""
        before = self.phase
        effects = self._say_have(collection, now_ms)
        for leader in list(self._waiting):
            effects += self._answer_proposal(leader, collection, now_ms)
        self._give_up(collection, now_ms)
        effects += self._propose(collection, now_ms)
        effects += self._post(now_ms)
        assert self.phase in FOLLOWERS[before]
        return effects

    def repeat(self) -> list[Effect]:
        """Say again what was said; no message is relied on."""
        effects: list[Effect] = []
        own = self._haves.get(self._seat)
        if own is not None:
            effects.append(Send(self._others(), own[0]))
        if self._proposal is not None:
            effects.append(Send(self._others(), self._proposal))
        return effects

    def wanted_documents(self) -> list[tuple[int, bytes, bytes]]:
        """(seat, root, document digest) of contributions that a quorum's Have messages name and that are not here."""
        return [(e.seat, e.root, e.document_digest) for entries in self._wanted.values() for e in entries]

    def named_roots(self) -> dict[int, dict[int, bytes]]:
        """Root by trainer's seat of each other validator's newest Have."""
        return {seat: roots for seat, (_, roots) in self._haves.items() if seat != self._seat}

    def _say_have(self, collection: Collection, now_ms: int) -> list[Effect]:
        said, is_due = self._haves.get(self._seat), now_ms >= self._context.train_deadline_ms
        lost = self._find_lost(now_ms)
        lacking = frozenset(seat for seat in lost if not collection.is_held(seat))
        if said is not None:
            if collection.held_count() <= len(said[1]):
                return []
        elif not is_due and not self._is_all_here(collection, lacking):
            return []
        held = collection.held_roots()
        if not held:
            return []
        if self._ready_at_ms is None:
            self._ready_at_ms = now_ms
        own = self._haves.get(self._seat)
        roots = {seat: self._own_roots.get(seat, root) for seat, root in held.items()}
        roots = {seat: root for seat, root in roots.items() if held[seat] == root}
        if own is not None and len(roots) <= len(own[1]):
            return []
        have = make_have(self._context, roots)
        envelope = self._context.seal_envelope(self._seat, have, self._sign)
        self._own_roots.update(roots)
        self._haves[self._seat] = (envelope, roots)
        self._have_count += 1
        effects: list[Effect] = [Persist(HAVE, str(self._have_count), encode(have)), Send(self._others(), envelope)]
        if said is None and lacking and not is_due:
            seats = ", ".join(map(str, sorted(lacking)))
            effects.append(Report("collect", f"not waiting for trainers whose connection is down: seats {seats}"))
        return effects

    def _find_lost(self, now_ms: int) -> frozenset[int]:
        return self._lost_trainers.find_lost(now_ms)

    def _is_all_here(self, collection: Collection, lacking: frozenset[int]) -> bool:
        """Whether every contribution is held or quarrels, but for those of ``lacking``, the lost trainers.

        Where no cohort can be sealed without the lost ones they are waited for: nothing is gained by going on.
        """
        eligible, quarrels = self._context.eligible_trainers, collection.quarrels()
        if collection.held_count() + 2 * len(quarrels) + len(lacking) < len(eligible):
            return False  # said before every held one is looked at: this is asked after each message
        held = collection.held_roots()
        quarrelling = {seat for pair in quarrels for seat in pair}
        if held.keys() | quarrelling >= eligible:
            return True
        is_viable = some_cohort_is_viable(self._context, held)
        return is_viable and held.keys() | quarrelling | lacking >= eligible

    def _propose(self, collection: Collection, now_ms: int) -> list[Effect]:
        """Propose when it is this node's turn and the Have messages suffice."""
        if self._ready_at_ms is None or (self._proposed is not None and self._position == self._proposed.view):
            return []
        if (
            now_ms < self._turn_starts_ms(self._position)
            or any(view > self._position for view in self._signed)
            or not self._haves_suffice(collection.quarrels(), now_ms)
        ):
            return []
        carried = choose_haves(self._context, self._haves)
        haves = {seat: self._haves[seat][1] for seat in carried}
        roots = collection.roots()
        survivors = compute_survivors(self._context, haves, collection.quarrels(), roots)
        if not some_cohort_is_viable(self._context, survivors):
            return []
        documents = {seat: held for seat in survivors if (held := collection.held_document(seat)) is not None}
        if len(documents) < len(survivors) or any(
            self._root_differs(seat, root) or roots[seat] != root for seat, root in survivors.items()
        ):
            return []  # another validator has what this one lacks: it is being fetched, or its trainer equivocates
        manifest = make_manifest(self._context, survivors, documents)
        seal = make_seal(self._context, self._position, manifest)
        promised = self._signed.get(seal.view)
        if promised is not None and promised.seal != seal.digest:
            return []  # proposed before a restart; the next view will do
        proposal = SealProposal(seal.view, encode(manifest), tuple(self._haves[seat][0] for seat in carried))
        self._proposed = seal
        self._proposal = self._context.seal_envelope(self._seat, proposal, self._sign)
        return [*self._sign_seal(seal), Send(self._others(), self._proposal), Report("seal", "seal proposed")]

    def _root_differs(self, seat: int, root: bytes) -> bool:
        return self._own_roots.get(seat, root) != root

    def _haves_suffice(self, quarrels: Quarrels, now_ms: int) -> bool:
        """Whether waiting longer could still add a survivor that this node should wait for."""
        assert self._ready_at_ms is not None
        if len(self._haves) < self._context.params.seal_quorum:
            return False
        complete = self._complete(quarrels, now_ms)
        waiting_for = [
            seat
            for seat in self._context.assignment.validators
            if seat not in complete and not is_gone(self._attendance.gone_since_ms, seat, now_ms)
        ]
        if not waiting_for or now_ms >= self._patience_ends_ms():
            return True
        # After the train deadline only validators that said nothing are waited for.
        return now_ms >= self._context.train_deadline_ms and all(seat in self._haves for seat in waiting_for)

    def _complete(self, quarrels: Quarrels, now_ms: int) -> set[int]:
        """Validators that hold everything that is due; what a lost trainer contributed is due from nobody."""
        everyone = drop_quarrels(self._context.eligible_trainers, quarrels) - self._find_lost(now_ms)
        return {seat for seat, (_, roots) in self._haves.items() if roots.keys() >= everyone}

    def _patience_ends_ms(self) -> int:
        """Until when a Have is waited for: a while after a verdict quorum's are complete, or after the train deadline.

        Once so many hold everything, nobody's word adds a survivor, and the round can be judged without the others.
        They are waited for because they should hold what they will have to open.
        """
        since_ms = self._context.train_deadline_ms
        if self._complete_at_ms is not None:
            since_ms = min(since_ms, self._complete_at_ms)
        return since_ms + compute_patience_ms(self._context.params.seal_seconds * 1000)

    def _give_up(self, collection: Collection, now_ms: int) -> None:
        """Wait no more for whoever said no Have in time, or led and let its turn pass. See :class:`Attendance`."""
        if self._ready_at_ms is None:
            return
        order = self._context.assignment.validators
        if self._complete_at_ms is None:
            complete = self._complete(collection.quarrels(), now_ms)
            self._complete_at_ms = now_ms if len(complete) >= self._context.params.verdict_quorum else None
        if now_ms >= self._patience_ends_ms():
            for seat in order:
                if seat not in self._haves and seat != self._seat:
                    self._attendance.give_up(seat, now_ms)
        if self._suffices_at_ms is None and self._haves_suffice(collection.quarrels(), now_ms):
            self._suffices_at_ms = now_ms
        if self._suffices_at_ms is None or now_ms < self._suffices_at_ms + self._context.params.seal_seconds * 1000:
            return  # nobody can be blamed for not proposing yet
        for view, seat in enumerate(order):
            if now_ms >= self._turn_starts_ms(view + 1) and seat != self._seat:
                self._attendance.give_up(seat, now_ms)

    def _answer_proposal(self, leader: int, collection: Collection, now_ms: int) -> list[Effect]:
        proposal = self._waiting[leader]
        self._wanted.pop(leader, None)
        try:
            quarrels, roots = collection.quarrels(), collection.roots()
            seal, survivors = check_proposal(self._context, leader, proposal, quarrels, roots)
        except RemoteProtocolError as error:
            del self._waiting[leader]
            return [Report("seal", str(error), error.culprit)]
        documents = {seat: held for seat in survivors if (held := collection.held_document(seat)) is not None}
        entries = {entry.seat: entry for entry in seal.manifest.entries}
        lacking = [seat for seat in survivors if seat not in documents]
        if lacking:
            self._wanted[leader] = tuple(entries[seat] for seat in lacking)
            return []  # being fetched
        del self._waiting[leader]
        others = [seat for seat in survivors if documents[seat][0] != entries[seat].document_digest]
        if others:
            # Under the root that is here the leader lies. Under another its trainer showed others another contribution.
            culprit = leader if any(roots[seat] == survivors[seat] for seat in others) else None
            return [Report("seal", "the proposal names another document than its trainer announced", culprit)]
        if any(documents[seat][1].next_mask_key != entries[seat].next_mask_key for seat in survivors):
            return [Report("seal", "the proposal installs a key that its trainer did not commit to", leader)]
        promised = self._signed.get(seal.view)
        if promised is not None and promised.seal != seal.digest:
            return [Report("seal", "a second seal in one view", leader)]
        if any(view > seal.view for view in self._signed) or not self._is_turn(seal.view, now_ms):
            return []
        signed = self._sign_seal(seal)
        answer = self._context.seal_envelope(self._seat, self._signed[seal.view], self._sign)
        return [*signed, Send((leader,), answer)]

    def _is_turn(self, view: int, now_ms: int) -> bool:
        """Whether the leaders before ``view`` had their time; a view early by half a timeout is let through."""
        if view == 0:
            return True
        if self._ready_at_ms is None:
            return now_ms >= self._context.train_deadline_ms
        return now_ms + self._context.params.seal_seconds * 500 >= self._turn_starts_ms(view)

    def _turn_starts_ms(self, view: int) -> int:
        assert self._ready_at_ms is not None
        order, timeout_ms = self._context.assignment.validators, self._context.params.seal_seconds * 1000
        return turn_starts_ms(order, view, self._ready_at_ms, timeout_ms, self._attendance.gone_since_ms)

    def _sign_seal(self, seal: Seal) -> list[Effect]:
        blobs = StoreBlobs((encode(seal.manifest),))
        if seal.view not in self._signed:
            signature = SealSignature(seal.view, seal.digest, self._sign(seal.signing_digest))
            self._signed[seal.view] = signature
        signature = self._signed[seal.view]
        if self._proposed is not None and seal.digest == self._proposed.digest:
            self._signatures[self._position] = signature.signature
        return [Persist(SEAL_SIGNATURE, str(seal.view), encode(signature)), blobs]

    def _post(self, now_ms: int) -> list[Effect]:
        seal = self._proposed
        if seal is None or len(self._signatures) < self._context.params.seal_quorum:
            return []
        if self._post_at_ms is not None and now_ms < self._post_at_ms:
            return []
        self._post_at_ms = NEVER_MS  # posted; post_failed() sets the next try
        positions = tuple(sorted(self._signatures))
        signatures = tuple(self._signatures[position] for position in positions)
        return [Transact(SealRound(seal.view, seal.manifest_digest, seal.survivors, positions, signatures))]

    def _others(self) -> tuple[int, ...]:
        return tuple(seat for seat in self._context.assignment.validators if seat != self._seat)
