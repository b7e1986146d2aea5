"""Which contributions survive, and what a seal says: pure rules, run alike by the proposing and the signing validators.

A seal follows from the validators' signed ``Have`` messages and nothing else, so a leader can omit nobody that Q
validators hold and add nobody that they do not.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.gossip import validate_envelope
from p2p_flock.crypto.signing import seal_digest, seal_struct_hash
from p2p_flock.errors import CryptoError, DropReason, RemoteProtocolError, WireError
from p2p_flock.secagg.collection import drop_quarrels
from p2p_flock.secagg.graph import survivors_closure
from p2p_flock.types import Verdict
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import (
    MANIFEST_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    ContributionDocument,
    Envelope,
    Have,
    Manifest,
    ManifestEntry,
    SealProposal,
)

ENVELOPE_HEAD_BYTES_MAX = 96  # all of an envelope but its body
MANIFEST_ENTRY_BYTES_MAX = 110
FRAME_BYTES_MAX = 4096  # what else stands in a proposal and around it

Quarrels = frozenset[tuple[int, int]]  # seats whose documents commit to different pair seeds


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal as the contract hashes it. ``digest`` is the EIP-712 struct hash that ballots and unmaskings name."""

    view: int
    manifest: Manifest
    manifest_digest: bytes
    survivors: tuple[int, ...]
    digest: bytes
    signing_digest: bytes


def make_have(context: RoundContext, roots: Mapping[int, bytes]) -> Have:
    """The Have of a validator that holds and verified the contributions with these roots, by seat."""
    bitmap = bytearray(-(-len(context.trainers) // 8))
    held = []
    for index, seat in enumerate(context.trainers):
        if seat in roots:
            bitmap[index // 8] |= 1 << index % 8
            held.append(roots[seat])
    return Have(bytes(bitmap), tuple(held))


def read_have(context: RoundContext, have: Have) -> dict[int, bytes]:
    """Root held by seat.

    Raises:
        WireError: the bitmap's length or its bits contradict the round or the number of roots.
    """
    trainers = context.trainers
    if len(have.held) != -(-len(trainers) // 8):
        raise WireError("Have: bitmap of the wrong length")
    bits = int.from_bytes(have.held, "little")
    if bits >> len(trainers):
        raise WireError("Have: bits beyond the last trainer")
    seats = [seat for index, seat in enumerate(trainers) if bits >> index & 1]
    if len(seats) != len(have.roots):
        raise WireError("Have: as many roots as bits are needed")
    return dict(zip(seats, have.roots, strict=True))


def find_candidates(context: RoundContext, haves: Mapping[int, Mapping[int, bytes]]) -> dict[int, bytes]:
    """Root by seat of every trainer of which at least Q validators hold the same contribution."""
    candidates: dict[int, bytes] = {}
    for seat in context.trainers:
        counts = Counter(roots[seat] for roots in haves.values() if seat in roots)
        if counts and seat in context.eligible_trainers:
            root, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
            if count >= context.params.seal_quorum:
                candidates[seat] = root
    return candidates


def compute_survivors(
    context: RoundContext,
    haves: Mapping[int, Mapping[int, bytes]],
    quarrels: Quarrels,
    roots: Mapping[int, bytes] | None = None,
) -> dict[int, bytes]:
    """Root by surviving seat, from the Have of each validator seat.

    A trainer survives when at least Q validators hold the same root of it, it is not on the losing side of a quarrel
    about a pair seed (anyone who holds both documents sees those), and at least t of its holders survive with it
    (DESIGN §6, SEAL).

    Args:
        roots: whose contribution under which root ``quarrels`` are about; ``None``: about the candidates. A quarrel
            about another contribution of a trainer, which it showed to this validator alone, concerns nobody: two
            validators would compute different survivors from the same messages.
    """
    candidates = find_candidates(context, haves)
    if roots is not None:
        quarrels = frozenset(pair for pair in quarrels if all(roots.get(seat) == candidates.get(seat) for seat in pair))
    kept: set[int] = set()
    for cohort in context.cohorts:
        held = frozenset(cohort.seats) & candidates.keys()
        kept |= survivors_closure(cohort, drop_quarrels(held, quarrels))
    return {seat: root for seat, root in candidates.items() if seat in kept}


def choose_haves(context: RoundContext, haves: Mapping[int, tuple[Envelope, dict[int, bytes]]]) -> tuple[int, ...]:
    """The validators whose Have messages a proposal carries: all of them, or the most complete ones that fit.

    With 64 validators and 512 trainers all of them are longer than a message may be; a quorum of them always fits.
    """
    room_bytes = MESSAGE_BYTES_MAX - FRAME_BYTES_MAX - len(context.trainers) * MANIFEST_ENTRY_BYTES_MAX
    chosen = []
    for seat in sorted(haves, key=lambda seat: (-len(haves[seat][1]), seat)):
        room_bytes -= len(haves[seat][0].body) + ENVELOPE_HEAD_BYTES_MAX
        if room_bytes >= 0:
            chosen.append(seat)
    return tuple(sorted(chosen))


def some_cohort_is_viable(context: RoundContext, survivors: Mapping[int, bytes]) -> bool:
    """Whether at least one cohort reaches max(3, t, c + 3) survivors; the contract refuses a seal without one."""
    return any(
        sum(seat in survivors for seat in seats) >= context.params.survivors_min for seats in context.assignment.cohorts
    )


def make_manifest(
    context: RoundContext, survivors: Mapping[int, bytes], documents: Mapping[int, tuple[bytes, ContributionDocument]]
) -> Manifest:
    """The manifest of these survivors, given (document digest, document) by seat."""
    entries = []
    for seat in context.trainers:
        if seat in survivors:
            digest, document = documents[seat]
            entries.append(ManifestEntry(seat, survivors[seat], digest, document.next_mask_key))
    return Manifest(context.round, tuple(entries))


def survivors_bitmap(context: RoundContext, manifest: Manifest) -> tuple[int, ...]:
    """256-bit words over trainer indexes, as ``sealRound`` takes them."""
    words = [0] * -(-len(context.trainers) // 256)
    index_of = {seat: index for index, seat in enumerate(context.trainers)}
    for entry in manifest.entries:
        index = index_of[entry.seat]
        words[index // 256] |= 1 << index % 256
    return tuple(words)


def make_seal(context: RoundContext, view: int, manifest: Manifest) -> Seal:
    """The seal of ``manifest`` in ``view``."""
    manifest_digest = hashlib.sha256(encode(manifest)).digest()
    survivors = survivors_bitmap(context, manifest)
    digest = seal_struct_hash(
        context.domain,
        context.round,
        view,
        context.snapshot.beacon_round,
        context.seed,
        manifest_digest,
        survivors,
    )
    return Seal(view, manifest, manifest_digest, survivors, digest, seal_digest(context.domain, digest))


def decode_sealed_manifest(context: RoundContext, data: bytes, survivors: tuple[int, ...]) -> Manifest:
    """Read the manifest that a seal on the chain names (its digest was checked by whoever fetched it).

    Raises:
        WireError: not canonical, or not the survivors that the chain holds. Q validators signed nonsense.
    """
    manifest = decode(Manifest, data, MANIFEST_BYTES_MAX)
    index_of = {seat: index for index, seat in enumerate(context.trainers)}
    indexes = [index_of.get(entry.seat, -1) for entry in manifest.entries]
    if manifest.round != context.round or -1 in indexes or indexes != sorted(set(indexes)):
        raise WireError("manifest: not of this round, or trainers out of order")
    if survivors_bitmap(context, manifest) != survivors:
        raise WireError("manifest: its survivors are not the sealed ones")
    return manifest


def check_proposal(
    context: RoundContext,
    leader: int,
    proposal: SealProposal,
    quarrels: Quarrels,
    roots: Mapping[int, bytes] | None = None,
) -> tuple[Seal, dict[int, bytes]]:
    """Check a proposed seal against the Have messages it carries. Run by the other validators.

    Documents are checked by the caller, who must hold each entry's document before it signs.

    Args:
        quarrels, roots: as of :func:`compute_survivors`; ``roots`` of everything that this validator holds.

    Returns:
        the seal, and the surviving roots by seat.

    Raises:
        RemoteProtocolError: naming the leader; the proposal does not follow from the Have messages (BAD_PROPOSAL), or
            it may follow with a quarrel that this validator cannot see (PAIR_SEED_MISMATCH, which is harmless).
    """

    def refuse(detail: str) -> RemoteProtocolError:
        return RemoteProtocolError(leader, DropReason.BAD_PROPOSAL, detail)

    view = proposal.view
    if view >= context.params.validator_count or context.assignment.validators[view] != leader:
        raise refuse("not the leader of this view")
    haves = _checked_haves(context, proposal.haves, refuse)
    if len(haves) < context.params.seal_quorum:
        raise refuse("fewer Have messages than the quorum")
    candidates = find_candidates(context, haves)
    sees_all = roots is None or all(roots.get(seat) == root for seat, root in candidates.items())
    survivors = compute_survivors(context, haves, quarrels, roots)
    if not some_cohort_is_viable(context, survivors):
        raise refuse("no cohort has enough survivors")
    try:
        manifest = decode(Manifest, proposal.manifest, MANIFEST_BYTES_MAX)
    except WireError as error:
        raise refuse(str(error)) from error
    expected = [(seat, survivors[seat]) for seat in context.trainers if seat in survivors]
    named = [(entry.seat, entry.root) for entry in manifest.entries]
    if not sees_all and manifest.round == context.round and named != expected and candidates.items() >= set(named):
        # The leader may have dropped somebody for a quarrel between documents that are not here (yet): no blame.
        detail = "its survivors are not those that this validator computes from the documents it holds"
        raise RemoteProtocolError(leader, DropReason.PAIR_SEED_MISMATCH, detail)
    if manifest.round != context.round or named != expected:
        raise refuse("the manifest's survivors are not those of the Have messages")
    return make_seal(context, view, manifest), survivors


def _checked_haves(
    context: RoundContext, envelopes: tuple[Envelope, ...], refuse: Callable[[str], RemoteProtocolError]
) -> dict[int, dict[int, bytes]]:
    haves: dict[int, dict[int, bytes]] = {}
    for envelope in envelopes:
        checked = validate_envelope(context, envelope)
        if checked.verdict is not Verdict.ACCEPT or not isinstance(checked.message, Have):
            raise refuse("a carried Have is not good")
        if envelope.seat in haves:
            raise refuse("two Have messages of one validator")
        try:
            haves[envelope.seat] = read_have(context, checked.message)
        except WireError as error:
            raise refuse(str(error)) from error
    return haves


def is_signed_by_quorum(
    context: RoundContext, signing_digest: bytes, positions: tuple[int, ...], signatures: tuple[bytes, ...]
) -> bool:
    """Whether Q distinct validators signed. A trainer checks this itself before it unmasks, whatever its RPC says."""
    if len(positions) != len(signatures) or len(positions) < context.params.seal_quorum:
        return False
    if list(positions) != sorted(set(positions)) or positions[-1] >= context.params.validator_count:
        return False
    for position, signature in zip(positions, signatures, strict=True):
        try:
            signer = context.recover(signing_digest, signature)
        except CryptoError:
            return False
        if signer != context.seat(context.assignment.validators[position]).owner:
            return False
    return True
