"""What every member signed in one round, as far as this node saw it, and the evidence that follows. Pure.

A part of both machines. It keeps the first message of each (seat, kind) that may be said once, and the first seal that
each seat signed in each view; another one is evidence. Evidence is journalled before it is told, so a restart does not
forget it; each seat is accused once, for one fault is as dear as two. Never accuses its own seat.

At the limits: at most one message per seat and kind and one seal per seat and view are kept; later ones are compared
and dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p_flock.alliance import accusing
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.evidence import (
    CONTRIBUTION,
    EVIDENCE_BYTES_MAX,
    SAID_ONCE,
    UNMASKING,
    Equivocation,
    Evidence,
    EvidenceRecord,
    SealEquivocation,
    SealStatement,
    fault_of,
)
from p2p_flock.chain_events import RoundSealed
from p2p_flock.errors import WireError
from p2p_flock.ports import Accuse, Effect, Persist, Report, Send
from p2p_flock.secagg.aggregator import Aggregator
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import MESSAGE_BYTES_MAX, Contribution, Envelope, Manifest, Unmasking

EVIDENCE = "evidence"


class Watch:
    """See the module. ``seat`` is this node's."""

    def __init__(self, context: RoundContext, seat: int) -> None:
        self._context = context
        self._seat = seat
        self._first: dict[tuple[int, int], Envelope] = {}  # (seat, kind)
        self._seals: dict[tuple[int, int], tuple[SealStatement, bytes]] = {}  # (seat, view) -> seal, signature
        self._accused: set[int] = set()
        self._shown: set[tuple[int, int]] = set()  # (validator, trainer): whose contribution was shown to whom
        self._roots: dict[int, bytes] = {}  # trainer -> root of the first contribution it told

    def restore(self, record: Persist) -> None:
        """Take back evidence found in the journal; the session posts it."""
        try:
            (evidence,) = decode(EvidenceRecord, record.body, EVIDENCE_BYTES_MAX).evidence
        except WireError:
            return  # of another version; what is seen again is evidence again
        self._accused.update(accusing.get_culprits(self._context, evidence))

    # --- what is seen ------------------------------------------------------------------------------------------

    def note_message(self, envelope: Envelope) -> list[Effect]:
        """A message whose signature was checked."""
        if envelope.kind not in SAID_ONCE:
            return []
        first = self._first.setdefault((envelope.seat, envelope.kind), envelope)
        if first is envelope and envelope.kind == CONTRIBUTION:
            self._roots[envelope.seat] = decode(Contribution, envelope.body, MESSAGE_BYTES_MAX).root
        return [] if first.body == envelope.body else self._accuse(Equivocation(first, envelope))

    def note_seal_signature(self, seat: int, seal: SealStatement, signature: bytes) -> list[Effect]:
        """A seal that the owner of ``seat`` signed; its signature was checked."""
        first, first_signature = self._seals.setdefault((seat, seal.view), (seal, signature))
        return [] if first == seal else self._accuse(SealEquivocation(first, first_signature, seal, signature))

    def note_sealed(self, sealed: RoundSealed) -> list[Effect]:
        """The seal on the chain: whoever signed another one in its view contradicts itself."""
        statement = accusing.make_seal_statement(self._context, sealed)
        effects: list[Effect] = []
        for position, signature in zip(sealed.positions, sealed.signatures, strict=False):
            if position < len(self._context.assignment.validators):
                seat = self._context.assignment.validators[position]
                effects += self.note_seal_signature(seat, statement, signature)
        return effects

    def note_bad_manifest(self, sealed: RoundSealed, data: bytes) -> list[Effect]:
        """The bytes under the sealed digest are no manifest of this seal."""
        evidence = accusing.make_invalid_seal(self._context, sealed, data)
        return [] if evidence is None else self._accuse(evidence)

    def note_bad_share(
        self, sealed: RoundSealed, manifest: Manifest, aggregator: Aggregator, seat: int
    ) -> list[Effect]:
        """An aggregator refused the answer of ``seat`` for a share."""
        answer = self._first.get((seat, UNMASKING))
        if answer is None:
            return []
        message = decode(Unmasking, answer.body, MESSAGE_BYTES_MAX)
        documents = {
            entry.seat: received
            for entry in manifest.entries
            if (received := aggregator.get_received(entry.seat)) is not None
        }
        evidence = accusing.find_bad_share(*(self._context, sealed, encode(manifest), answer, message, documents))
        return [] if evidence is None else self._accuse(evidence)

    def note_bad_dealing(self, manifest: Manifest, aggregator: Aggregator, dealer: int) -> list[Effect]:
        """An opening failed for a dealer's shares. Without its signed message somebody else has to accuse."""
        received, said = aggregator.get_received(dealer), self._first.get((dealer, CONTRIBUTION))
        sealed_root = next((entry.root for entry in manifest.entries if entry.seat == dealer), None)
        if received is None or said is None or self._roots[dealer] != sealed_root:
            return []
        shares = {of: found for (seat, of), found in aggregator.get_shares().items() if seat == dealer}
        evidence = accusing.find_bad_dealing(aggregator.context, said, received, shares)
        return [] if evidence is None else self._accuse(evidence)

    # --- who tells whom what -----------------------------------------------------------------------------------

    def show_contradictions(self, named: Mapping[int, Mapping[int, bytes]], news_of: int) -> list[Effect]:
        """Show a validator that holds another root of a trainer the contribution that this node was told.

        A trainer that tells different validators different things is seen by none of them; whoever is shown the other
        message holds both.

        Args:
            named: per validator, the root by trainer's seat of its ``Have``.
            news_of: the seat that said something since this was asked last: a validator its ``Have``, a trainer its
                contribution. Looked at is what that can have changed.
        """
        effects: list[Effect] = []
        for validator, roots in sorted(named.items()):
            for trainer in sorted(roots) if validator == news_of else [news_of] if news_of in roots else []:
                root, known = roots[trainer], self._roots.get(trainer)
                if known not in (None, root) and validator != self._seat and (validator, trainer) not in self._shown:
                    self._shown.add((validator, trainer))
                    effects.append(Send((validator,), self._first[trainer, CONTRIBUTION]))
        return effects

    # --- evidence ----------------------------------------------------------------------------------------------

    def _accuse(self, evidence: Evidence) -> list[Effect]:
        culprits = accusing.get_culprits(self._context, evidence)
        fresh = set(culprits) - self._accused
        if not fresh or self._seat in culprits:
            return []
        self._accused |= fresh
        body = encode(EvidenceRecord((evidence,)))
        fault = fault_of(evidence)
        key = f"{fault.name.lower()}-{'-'.join(map(str, sorted(fresh)))}"
        text = f"evidence of {fault.words} against seat {', '.join(map(str, sorted(fresh)))}"
        return [Persist(EVIDENCE, key, body), Accuse(body), Report("evidence", text, min(fresh))]
