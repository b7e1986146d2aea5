"""What a survivor says after the seal, and what it must never say.

Run by the contributor. The privacy of everybody in the cohort rests on this file: whatever it lets out is public for
ever. Every reason to keep silent is a value of :class:`Refusal`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from p2p_flock.crypto import suite
from p2p_flock.errors import CryptoError, DropReason, RemoteProtocolError
from p2p_flock.secagg import keys
from p2p_flock.secagg.bundle import holds_all_shares, holds_self_mask_share, open_bundle
from p2p_flock.secagg.context import CohortContext
from p2p_flock.secagg.dealing import compute_dealing, get_share
from p2p_flock.secagg.document import get_bundle_digest, get_pair_commitment, validate_digest
from p2p_flock.secagg.graph import find_short
from p2p_flock.secagg.secrets import RoundSecrets
from p2p_flock.wire.messages import (
    SHARE_BYTES,
    ContributionDocument,
    Manifest,
    ManifestEntry,
    PairSeedShare,
    SelfMaskShare,
    Unmasking,
    UnmaskingItem,
)

Faults = tuple[RemoteProtocolError, ...]
Documents = Mapping[int, ContributionDocument]


class Refusal(Enum):
    """Why a seal is not answered."""

    WRONG_ROUND = "the manifest is of another round or names a trainer twice"
    NOT_SEALED = "this trainer is not among the survivors"
    FOREIGN_ROOT = "the seal holds another contribution of this trainer than the one it made"
    TOO_FEW_SURVIVORS = "fewer than max(3, t, c + 3) members of the cohort are sealed"
    TOO_FEW_NEIGHBORS = "some member has sealed holders, but fewer than t; the sum cannot be opened"
    PAIR_SEED_MISMATCH = "two sealed neighbors committed to different pair seeds; their masks cannot cancel"
    ALREADY_ANSWERED = "another seal of this round number was answered before"


@dataclass(frozen=True, slots=True)
class Answered:
    """The one message of this round number; persist it before it is sent. ``faults``: dealers left out, and why."""

    unmasking: Unmasking
    faults: Faults


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was said."""

    reason: Refusal
    faults: Faults


def get_sealed_entries(context: CohortContext, manifest: Manifest) -> dict[int, ManifestEntry]:
    """The manifest's entries of this cohort's members, by ascending seat."""
    entries = {entry.seat: entry for entry in manifest.entries if entry.seat in context.seats}
    return dict(sorted(entries.items()))


def compute_answer(
    context: CohortContext,
    secrets: RoundSecrets,
    seal: bytes,
    manifest: Manifest,
    documents: Documents,
    bundles: Mapping[int, bytes],
) -> Answered | Refused:
    """Run by the survivor, on the seal that it knows from the chain and whose signatures it has checked.

    Pre-conditions:
        ``seal`` is the seal's digest and commits to ``manifest``; ``secrets.context_digest == context.digest``.

    Args:
        documents: what was found of the documents of :func:`compute_dealers`, by seat; others are not looked at.
        bundles: what was found of the sealed bundles that they dealt to this seat, by dealer.

    A dealer whose document or bundle is missing or bad is left out and named; the others are served all the same.
    """
    entries = get_sealed_entries(context, manifest)
    named = [entry.seat for entry in manifest.entries]
    own = entries.get(secrets.seat)
    if manifest.round != context.round or len(set(named)) != len(named):
        return Refused(Refusal.WRONG_ROUND, ())
    if own is None:
        return Refused(Refusal.NOT_SEALED, ())
    if (own.root, own.document_digest, own.next_mask_key) != (
        secrets.root,
        secrets.document_digest,
        secrets.next_mask_key,
    ):
        return Refused(Refusal.FOREIGN_ROOT, ())
    if len(entries) < context.survivors_min:
        return Refused(Refusal.TOO_FEW_SURVIVORS, ())
    if find_short(context, frozenset(entries)):
        return Refused(Refusal.TOO_FEW_NEIGHBORS, ())
    wanted = compute_wanted(context, secrets.seat, entries)
    dealers = {dealer: entries[dealer] for dealer in wanted if dealer != secrets.seat}
    sealed_documents, faults = _check_documents(context, dealers, documents)
    mismatches = _find_mismatches(context, secrets, sealed_documents)
    if mismatches:
        return Refused(Refusal.PAIR_SEED_MISMATCH, faults + mismatches)
    items: list[UnmaskingItem] = []
    for dealer, secrets_of in wanted.items():
        if dealer == secrets.seat:
            items += _items_of(dealer, secrets_of, _own_shares(context, secrets))
            continue
        if dealer not in sealed_documents:
            continue
        try:
            document, root = sealed_documents[dealer], dealers[dealer].root
            shares = _open_shares(context, secrets, document, root, bundles.get(dealer), secrets_of)
        except RemoteProtocolError as fault:
            faults += (fault,)
        else:
            items += _items_of(dealer, secrets_of, shares)
    return Answered(Unmasking(seal, tuple(sorted(items, key=sort_key))), faults)


def sort_key(item: UnmaskingItem) -> tuple[int, int, int]:
    """The order of items in a message: by owner, its self mask first, then its pair seeds by dropout."""
    if isinstance(item, SelfMaskShare):
        return (item.owner, 0, 0)
    return (item.owner, 1, item.dropout)


def get_secret_of(item: UnmaskingItem) -> int:
    """The secret of ``item.owner`` that the share is of, as in ``ShareCommitments.secret_of``."""
    return item.owner if isinstance(item, SelfMaskShare) else item.dropout


def compute_wanted(context: CohortContext, seat: int, sealed: Collection[int]) -> dict[int, tuple[int, ...]]:
    """What the survivor ``seat`` may say: dealer → the seats s, ascending, of whose secret k_(dealer, s) or b_dealer.

    For every member m whose shares it holds, m ∈ N[seat], either "m is sealed", its share of b_m, or "m is not", its
    shares of k_(l, m) as every sealed neighbor l dealt it. Never both: on that the privacy of all of them rests (SPEC
    §7). Only *sealed* dealers, ascending.
    """
    wanted: dict[int, list[int]] = {}
    for secret_of in context.holders(seat):
        dealers = (secret_of,) if secret_of in sealed else context.holders(secret_of)
        for dealer in dealers:
            if dealer in sealed:
                wanted.setdefault(dealer, []).append(secret_of)
    return {dealer: tuple(wanted[dealer]) for dealer in sorted(wanted)}


def compute_dealers(context: CohortContext, seat: int, sealed: Collection[int]) -> tuple[int, ...]:
    """The others, ascending, whose documents and bundles the survivor ``seat`` needs for its answer."""
    return tuple(dealer for dealer in compute_wanted(context, seat, sealed) if dealer != seat)


def _items_of(dealer: int, secrets_of: tuple[int, ...], shares: Mapping[int, bytes]) -> list[UnmaskingItem]:
    return [
        SelfMaskShare(dealer, shares[dealer])
        if secret_of == dealer
        else PairSeedShare(dealer, secret_of, shares[secret_of])
        for secret_of in secrets_of
    ]


def _own_shares(context: CohortContext, secrets: RoundSecrets) -> dict[int, bytes]:
    """One's own single share of each of one's own secrets; never the secrets themselves."""
    pair_seeds = {entry.neighbor: entry.pair_seed for entry in secrets.neighbors}
    dealing = compute_dealing(context, secrets.seat, secrets.self_mask, pair_seeds)
    return {secret_of: get_share(context, shares, secret_of, secrets.seat) for secret_of, shares in dealing.items()}


def _check_documents(
    context: CohortContext, dealers: Mapping[int, ManifestEntry], documents: Documents
) -> tuple[dict[int, ContributionDocument], Faults]:
    """The documents that are the sealed ones, and who is left out."""
    right: dict[int, ContributionDocument] = {}
    faults: Faults = ()
    for dealer, entry in dealers.items():
        try:
            if dealer not in documents:
                raise RemoteProtocolError(dealer, DropReason.NO_CONTRIBUTION, "its document was not found")
            validate_digest(context, dealer, documents[dealer], entry.document_digest)
        except RemoteProtocolError as fault:
            faults += (fault,)
        else:
            right[dealer] = documents[dealer]
    return right, faults


def _find_mismatches(context: CohortContext, secrets: RoundSecrets, documents: Documents) -> Faults:
    """Pairs of sealed neighbors whose commitments to their pair seed differ; both ends are named.

    Honest validators seal no such pair. Checking it again here means that keys substituted to a trainer (by a false
    RPC, say) open nothing even if the validators look away: no honest neighbor answers.
    """
    own = {
        entry.neighbor: keys.commit_pair_seed(context, secrets.seat, entry.neighbor, entry.pair_seed)
        for entry in secrets.neighbors
    }
    faults: Faults = ()
    for seat, document in documents.items():
        for other in context.neighbors(seat):
            if other == secrets.seat:
                theirs = own[seat]
            elif other in documents and seat < other:
                theirs = get_pair_commitment(context, documents[other], seat)
            else:
                continue
            if get_pair_commitment(context, document, other) != theirs:
                detail = f"seats {seat} and {other}"
                faults += tuple(
                    RemoteProtocolError(culprit, DropReason.PAIR_SEED_MISMATCH, detail)
                    for culprit in (seat, other)
                    if culprit != secrets.seat
                )
    return faults


def _open_shares(
    context: CohortContext,
    secrets: RoundSecrets,
    document: ContributionDocument,
    root: bytes,
    sealed_bundle: bytes | None,
    secrets_of: tuple[int, ...],
) -> dict[int, bytes]:
    """This seat's shares of ``secrets_of``, secrets of one dealer, checked to be those under the sealed root.

    Raises:
        RemoteProtocolError: BAD_BUNDLE, the dealer is the culprit; NO_CONTRIBUTION without a bundle.
    """
    dealer, holder = document.seat, secrets.seat
    if sealed_bundle is None:
        raise RemoteProtocolError(dealer, DropReason.NO_CONTRIBUTION, "its bundle was not found")
    if suite.sha256(sealed_bundle) != get_bundle_digest(context, document, holder):
        # Not the dealer's doing: whoever served these bytes lied. Harmless to the dealer.
        raise RemoteProtocolError(dealer, DropReason.NO_CONTRIBUTION, "its bundle was not found, only other bytes")
    key = next(entry.bundle_key for entry in secrets.partners if entry.partner == dealer)
    try:
        bundle = open_bundle(context, key, dealer, holder, sealed_bundle)
    except CryptoError as error:
        raise RemoteProtocolError(dealer, DropReason.BAD_BUNDLE, str(error)) from error
    # Whoever says only its share of the self mask has its path; the others rebuild their whole column.
    holds = holds_self_mask_share if secrets_of == (dealer,) else holds_all_shares
    if not holds(context, bundle, root, document.columns_path):
        # Not BAD_SHARE: only the two ends of the bundle see it, so nobody else can be shown it.
        raise RemoteProtocolError(dealer, DropReason.BAD_BUNDLE, "it holds other shares than committed to")
    places = {secret_of: place for place, secret_of in enumerate(context.secrets_held(dealer, holder))}
    starts = {secret_of: SHARE_BYTES * places[secret_of] for secret_of in secrets_of}
    return {secret_of: bundle.shares[start : start + SHARE_BYTES] for secret_of, start in starts.items()}
