"""The trainer's round as one machine: train, contribute once, and, if sealed, unmask once. See SPEC, "Trainer".

Driven by ``daemon/driver.py`` and by the simulator. It never trusts a validator: it checks the seal's signatures
itself, answers only for what the sealed manifest names, and whatever happens says each of its two messages at most
once per round number, to the same bytes on every repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.sealing import decode_sealed_manifest, is_signed_by_quorum
from p2p_flock.alliance.watching import Watch
from p2p_flock.crypto.fixed_point import Encoder
from p2p_flock.crypto.noise import Noise
from p2p_flock.crypto.signing import seal_digest, seal_struct_hash
from p2p_flock.crypto.suite import derive_key, sha256
from p2p_flock.errors import RemoteProtocolError, WireError
from p2p_flock.ports import (
    BlobsFetched,
    Effect,
    Event,
    Fetch,
    MaskUpdate,
    Persist,
    Report,
    SealObserved,
    Send,
    Signer,
    StoreBlobs,
    TimePassed,
    Train,
    UpdateComputed,
    UpdateMasked,
)
from p2p_flock.secagg import contributor
from p2p_flock.secagg.answer import Answered, Refused, compute_dealers, get_sealed_entries
from p2p_flock.secagg.bundle import SEALED_BUNDLE_BYTES_MAX
from p2p_flock.secagg.contributor import (
    Contributed,
    Contributor,
    Masking,
    PreparedContribution,
    SealConfirmed,
    plan_masking,
)
from p2p_flock.secagg.document import get_bundle_digest, validate_document
from p2p_flock.secagg.secrets import ROUND_SECRETS_BYTES_MAX, RoundSecrets
from p2p_flock.types import Stage
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import (
    DOCUMENT_BYTES_MAX,
    MANIFEST_BYTES_MAX,
    Contribution,
    ContributionDocument,
    Envelope,
    Manifest,
    ManifestEntry,
)

RESEND_MS = 2000  # a lost message costs this long; five trainers and three validators make 8 small messages a second
FETCH_RETRY_MS = 1000
LAST_CALL_PERMILLE = 800  # of the unmask phase: time enough for one small message to arrive before its end
ENVELOPE_RECORD_MAX = 1 << 21

CONTRIBUTION, UNMASKING, SECRETS = "contribution", "unmasking", "round-secrets"


class Phase(Enum):
    """Where a trainer stands in its round."""

    COMPUTING = "computing"  # the worker trains
    MASKING = "masking"  # its update is encoded and masked, chunk by chunk
    PREPARED = "prepared"  # masked, journalled, stored; nothing said yet
    CONTRIBUTED = "contributed"  # promised; waiting for a seal
    ANSWERING = "answering"  # sealed; fetching what the answer is made of
    ANSWERED = "answered"  # unmasked; repeats the same bytes until the round ends
    ASIDE = "aside"  # not sealed, or too late to contribute: nothing more to say


class TrainerMachine:
    """One trainer in one round.

    Attributes:
        phase: current phase.
        next_mask_secret: secret of the mask key that a seal of our contribution installs; ``None`` before it exists.
    """

    def __init__(self, context: RoundContext, seat: int, sign: Signer, mask_secret_key: bytes) -> None:
        self.context = context
        self.seat = seat
        self.phase = Phase.COMPUTING
        self._sign = sign
        self._mask_secret_key = mask_secret_key
        self._cohort = context.cohorts[context.assignment.cohort_of(seat)]
        self._contributor = Contributor(self._cohort, seat)
        self._masking: Masking | None = None
        self._secrets: RoundSecrets | None = None
        self._contribution: Envelope | None = None
        self._unmasking: Envelope | None = None
        self._seal: SealObserved | None = None
        self._manifest: Manifest | None = None
        self._dealers: tuple[ManifestEntry, ...] | None = None  # of the sealed manifest
        self._documents: dict[int, ContributionDocument] = {}
        self._bundles: dict[int, bytes] = {}
        self._resend_at_ms: int | None = None
        self._fetch_at_ms: int | None = None
        self._requested: tuple[bytes, ...] = ()

    # --- the machine -------------------------------------------------------------------------------------------

    def start(self, records: Sequence[Persist], now_ms: int) -> tuple[Effect, ...]:
        """Begin, or begin again after a restart with what the journal holds of this round."""
        if self.seat not in self._cohort.seats:
            return self._step_aside("this seat's mask key is spent and no fresh one counts yet")
        if not self._cohort.is_viable:
            return self._step_aside("too few of the cohort's trainers have a usable mask key")
        found = {(record.kind, record.key): record.body for record in records}
        contribution = found.get((CONTRIBUTION, ""))
        if contribution is None:
            # Secrets without a contribution were never spoken about: a fresh start contradicts nothing.
            self._resend_at_ms = None
            return (
                Train(self.context.stage, compute_training_seed(self.context, self.seat)),
                Report("train", "training on own data"),
            )
        self._contribution = decode(Envelope, contribution, ENVELOPE_RECORD_MAX)
        root = decode(Contribution, self._contribution.body, ENVELOPE_RECORD_MAX).root
        secrets = found.get((SECRETS, root.hex()))
        if secrets is None:
            return self._step_aside("the round's secrets are gone; was an old backup restored?")
        self._secrets = decode(RoundSecrets, secrets, ROUND_SECRETS_BYTES_MAX)
        if (self._secrets.context_digest, self._secrets.seat) != (self._cohort.digest, self.seat):
            return self._step_aside("contributed to this round number before the chain was reorganised: once is all")
        self._contributor = Contributor(self._cohort, self.seat, Contributed(self._secrets))
        self.phase = Phase.CONTRIBUTED
        if (UNMASKING, "") in found:
            self._unmasking = decode(Envelope, found[UNMASKING, ""], ENVELOPE_RECORD_MAX)
            self.phase = Phase.ANSWERED
        return (Report(self.phase.value, "resumed from the journal"), *self._repeat(now_ms))

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        """Take one event. A cell that the table does not hold is ignored: late and repeated events are normal."""
        cell = _TABLE[self.phase].get(type(event))
        if cell is None:
            return ()
        action, followers = cell
        effects = action(self, event, now_ms)
        assert self.phase in followers
        return effects

    def deadline_ms(self) -> int | None:
        """The next repetition or retry; also the train deadline, so that a late worker is noticed."""
        times = [time for time in (self._resend_at_ms, self._fetch_at_ms) if time is not None]
        if self.phase in (Phase.COMPUTING, Phase.MASKING):
            times.append(self.context.seal_deadline_ms)
        return min(times, default=None)

    @property
    def awaited_bundles(self) -> tuple[int, ...]:
        """Sealed members whose document or bundle this trainer is fetching for its answer."""
        if self.phase is not Phase.ANSWERING or self._manifest is None:
            return ()
        return tuple(entry.seat for entry in self._dealer_entries() if entry.seat not in self._bundles)

    @property
    def next_mask_secret(self) -> bytes | None:
        return self._secrets.next_mask_secret if self._secrets is not None else None

    # --- actions -----------------------------------------------------------------------------------------------

    def _mask(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        assert isinstance(event, UpdateComputed)
        if now_ms >= self.context.seal_deadline_ms:
            return self._step_aside("training ended after the round could still be sealed")
        manifest, stage = self.context.manifest, self.context.stage
        if event.values.size != manifest.width(stage):
            return self._step_aside(f"the update has {event.values.size} values, the task {manifest.width(stage)}")
        entropy = derive_key(event.entropy, "round secrets")
        share = self.context.noise_shares[self.context.assignment.cohort_of(self.seat)]
        self._masking = plan_masking(self._cohort, self.seat, self._mask_secret_key, entropy)
        encoder = Encoder(
            event.values,
            is_update=stage is Stage.TRAINING,
            bound=manifest.clip_norm if stage is Stage.TRAINING else manifest.statistics_clip,
            levels=self.context.params.levels_in(stage),
            weight=self.context.weight_of(self.seat) if stage is Stage.TRAINING else 1,
            lane_bits=self.context.params.lane_bits,
            dither_key=derive_key(event.entropy, "dither"),
            noise=None if share is None else Noise(derive_key(event.entropy, "noise"), share.variance),
            noise_bound=0 if share is None else share.bound,
        )
        self.phase = Phase.MASKING
        return (MaskUpdate(self._masking, encoder),)

    def _contribute(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        assert isinstance(event, UpdateMasked) and self._masking is not None
        if event.problem:
            return self._step_aside(event.problem)
        made = self._contributor.handle(contributor.UpdateMasked(self._masking, event.chunk_digests))
        assert isinstance(made, PreparedContribution)
        self._masking, self._secrets = None, made.secrets
        message = Contribution(made.root, made.document_digest)
        self._contribution = self.context.seal_envelope(self.seat, message, self._sign)
        self.phase = Phase.PREPARED
        self._resend_at_ms = now_ms  # at once, when the blobs are stored
        return (
            # Keyed by root: killed before the contribution is journalled, a restart draws others under their own key.
            Persist(SECRETS, made.root.hex(), encode(made.secrets), secret=True),
            StoreBlobs((encode(made.document), made.commitments, *made.bundles.values())),
        )

    def _announce(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        assert self._contribution is not None
        if now_ms >= self.context.seal_deadline_ms:
            return self._step_aside("masking ended after the round could still be sealed")
        self.phase = Phase.CONTRIBUTED
        return (
            Persist(CONTRIBUTION, "", encode(self._contribution)),
            *self._repeat(now_ms),
            Report("contribute", "masked update published"),
        )

    def _seal_seen_too_early(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        # A masked vector that appears after the seal could only ever be opened against us: it is never published.
        return self._step_aside("the round was sealed before the masked update was published")

    def _too_late(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if now_ms >= self.context.seal_deadline_ms:
            return self._step_aside("training and masking did not end before the seal deadline")
        return ()

    def _seal_seen(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        assert isinstance(event, SealObserved)
        sealed = event.event
        context = self.context
        expected = seal_struct_hash(
            context.domain,
            context.round,
            sealed.view,
            context.snapshot.beacon_round,
            context.seed,
            sealed.manifest_digest,
            sealed.survivors,
        )
        signing_digest = seal_digest(self.context.domain, expected)
        if sealed.seed != self.context.seed or sealed.seal != expected:
            return self._step_aside("the seal contradicts the beacon; is the RPC endpoint honest?")
        if not is_signed_by_quorum(self.context, signing_digest, sealed.positions, sealed.signatures):
            return self._step_aside("the seal lacks its validators' signatures; is the RPC endpoint honest?")
        self._seal = event
        self.phase = Phase.ANSWERING
        self._resend_at_ms = None
        return (Report("unmask", "sealed"), *self._fetch_missing(now_ms))

    def _fetched(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        assert isinstance(event, BlobsFetched)
        culprits: list[Effect] = []
        if self._manifest is None:
            effects = self._take_manifest(event.blobs)
            if self.phase is Phase.ASIDE:
                return effects
            culprits.extend(effects)
        if self._manifest is not None:
            culprits.extend(self._take_documents(event.blobs))
            culprits.extend(self._take_bundles(event.blobs))
            if not self._missing_digests():
                return (*culprits, *self._answer(now_ms))
        if self._missing_digests() != self._requested:  # each answer names what to ask for next
            return (*culprits, *self._fetch_missing(now_ms))
        return tuple(culprits)

    def _answer_or_retry(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        assert self._seal is not None
        sealed_at_ms = self._seal.event.at.timestamp_s * 1000
        last_call_ms = sealed_at_ms + self.context.params.unmask_seconds * LAST_CALL_PERMILLE
        # At the last call it answers with whatever it holds: t of n holders suffice, and one message is all it may say.
        if self._manifest is not None and self._documents and now_ms >= last_call_ms:
            return self._answer(now_ms)
        if self._fetch_at_ms is not None and now_ms >= self._fetch_at_ms:
            return self._fetch_missing(now_ms)
        return ()

    def _repeat_action(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if self._resend_at_ms is not None and now_ms >= self._resend_at_ms:
            return self._repeat(now_ms)
        return ()

    # --- parts -------------------------------------------------------------------------------------------------

    def _repeat(self, now_ms: int) -> tuple[Effect, ...]:
        envelope = self._unmasking or self._contribution
        assert envelope is not None
        self._resend_at_ms = now_ms + RESEND_MS
        return (Send(self.context.assignment.validators, envelope),)

    def _step_aside(self, why: str) -> tuple[Effect, ...]:
        self.phase = Phase.ASIDE
        self._masking = None
        self._resend_at_ms = self._fetch_at_ms = None
        return (Report("aside", why),)

    def _dealer_entries(self) -> tuple[ManifestEntry, ...]:
        """The sealed members whose shares the answer consists of: in a sparse graph not the whole cohort."""
        assert self._manifest is not None
        if self._dealers is None:
            entries = get_sealed_entries(self._cohort, self._manifest)
            self._dealers = tuple(entries[seat] for seat in compute_dealers(self._cohort, self.seat, entries))
        return self._dealers

    def _take_manifest(self, blobs: Mapping[bytes, bytes]) -> tuple[Effect, ...]:
        assert self._seal is not None and self._contribution is not None
        sealed = self._seal.event
        data = blobs.get(sealed.manifest_digest)
        if data is None:
            return ()
        try:
            self._manifest = decode_sealed_manifest(self.context, data, sealed.survivors)
        except WireError as error:
            accusation = Watch(self.context, self.seat).note_bad_manifest(sealed, data)
            return (*accusation, *self._step_aside(f"the sealed manifest is not good: {error}"))
        return ()

    def _take_documents(self, blobs: Mapping[bytes, bytes]) -> list[Effect]:
        reports: list[Effect] = []
        for entry in self._dealer_entries():
            data = blobs.get(entry.document_digest)
            if data is None or entry.seat in self._documents:
                continue
            try:
                document = decode(ContributionDocument, data, DOCUMENT_BYTES_MAX)
                validate_document(self._cohort, entry.seat, document)
                self._documents[entry.seat] = document
            except (WireError, RemoteProtocolError) as error:
                reports.append(Report("unmask", str(error), entry.seat))
        return reports

    def _take_bundles(self, blobs: Mapping[bytes, bytes]) -> list[Effect]:
        for seat, digest in self._bundle_digests().items():
            if digest in blobs:
                self._bundles[seat] = blobs[digest]
        return []

    def _bundle_digests(self) -> dict[int, bytes]:
        cohort = self._cohort
        return {seat: get_bundle_digest(cohort, document, self.seat) for seat, document in self._documents.items()}

    def _missing_digests(self) -> tuple[bytes, ...]:
        assert self._seal is not None
        if self._manifest is None:
            return (self._seal.event.manifest_digest,)
        documents = tuple(e.document_digest for e in self._dealer_entries() if e.seat not in self._documents)
        bundles = tuple(digest for seat, digest in self._bundle_digests().items() if seat not in self._bundles)
        return documents + bundles

    def _fetch_missing(self, now_ms: int) -> tuple[Effect, ...]:
        self._fetch_at_ms = now_ms + FETCH_RETRY_MS
        digests = self._requested = self._missing_digests()
        limit = max(MANIFEST_BYTES_MAX, DOCUMENT_BYTES_MAX, SEALED_BUNDLE_BYTES_MAX)
        others = tuple(entry.seat for entry in self._dealer_entries()) if self._manifest is not None else ()
        sources = self.context.assignment.validators + others
        return (Fetch("unmask", digests, sources, limit),)

    def _answer(self, now_ms: int) -> tuple[Effect, ...]:
        assert self._seal is not None and self._manifest is not None and self._secrets is not None
        self._fetch_at_ms = None
        answer = self._contributor.handle(
            SealConfirmed(self._seal.event.seal, self._manifest, self._documents, self._bundles)
        )
        assert isinstance(answer, Answered | Refused)
        faults = tuple(Report("unmask", str(fault), fault.culprit) for fault in answer.faults)
        if isinstance(answer, Refused):
            return (*self._step_aside(answer.reason.value), *faults)
        self._unmasking = self.context.seal_envelope(self.seat, answer.unmasking, self._sign)
        self.phase = Phase.ANSWERED
        return (
            Persist(UNMASKING, "", encode(self._unmasking)),
            *self._repeat(now_ms),
            *faults,
            Report("unmask", "unmasking sent"),
        )


def compute_training_seed(context: RoundContext, seat: int) -> int:
    """Orders the batches: 63 bits of a hash of the round's seed and the seat, so that a run can be replayed."""
    return int.from_bytes(sha256(b"p2p_flock batches v1" + context.seed + seat.to_bytes(4, "big"))[:8], "big") >> 1


_Action = Callable[[TrainerMachine, Event, int], tuple[Effect, ...]]
_Cell = tuple[_Action, tuple[Phase, ...]]

# Phase → event → what is done, and the phases that may follow. What is not here is ignored.
_TABLE: dict[Phase, dict[type, _Cell]] = {
    Phase.COMPUTING: {
        UpdateComputed: (TrainerMachine._mask, (Phase.MASKING, Phase.ASIDE)),
        SealObserved: (TrainerMachine._seal_seen_too_early, (Phase.ASIDE,)),
        TimePassed: (TrainerMachine._too_late, (Phase.COMPUTING, Phase.ASIDE)),
    },
    Phase.MASKING: {
        UpdateMasked: (TrainerMachine._contribute, (Phase.PREPARED, Phase.ASIDE)),
        SealObserved: (TrainerMachine._seal_seen_too_early, (Phase.ASIDE,)),
        TimePassed: (TrainerMachine._too_late, (Phase.MASKING, Phase.ASIDE)),
    },
    Phase.PREPARED: {
        SealObserved: (TrainerMachine._seal_seen_too_early, (Phase.ASIDE,)),
        TimePassed: (TrainerMachine._announce, (Phase.CONTRIBUTED, Phase.ASIDE)),
    },
    Phase.CONTRIBUTED: {
        SealObserved: (TrainerMachine._seal_seen, (Phase.ANSWERING, Phase.ASIDE)),
        TimePassed: (TrainerMachine._repeat_action, (Phase.CONTRIBUTED,)),
    },
    Phase.ANSWERING: {
        BlobsFetched: (TrainerMachine._fetched, (Phase.ANSWERING, Phase.ANSWERED, Phase.ASIDE)),
        TimePassed: (TrainerMachine._answer_or_retry, (Phase.ANSWERING, Phase.ANSWERED, Phase.ASIDE)),
    },
    Phase.ANSWERED: {TimePassed: (TrainerMachine._repeat_action, (Phase.ANSWERED,))},
    Phase.ASIDE: {},
}
