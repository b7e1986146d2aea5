"""From what a machine saw to evidence: builders, one for each fault. Pure.

Called by ``validator.py``, ``trainer.py`` and ``watching.py``. ``None``: a fault that nobody else can be shown
(SPEC, "Evidence").
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.evidence import (
    NO_PROOF,
    BadDealing,
    BadShare,
    Court,
    DealtShare,
    Evidence,
    InvalidSeal,
    LeafProof,
    SealStatement,
    check_evidence,
)
from p2p_flock.alliance.sealing import Seal
from p2p_flock.chain_events import RoundSealed
from p2p_flock.crypto.secret_sharing import combine_shares, find_wrong_shares
from p2p_flock.errors import EvidenceError
from p2p_flock.secagg import keys
from p2p_flock.secagg.answer import get_secret_of
from p2p_flock.secagg.context import CohortContext
from p2p_flock.secagg.document import (
    ReceivedDocument,
    build_columns,
    build_tree,
    compute_other_leaves,
    compute_share_leaves,
    get_pair_commitment,
    get_share_commitment,
    pair_leaf,
    self_mask_leaf,
    share_leaf,
)
from p2p_flock.wire.messages import Envelope, Unmasking


def make_court(context: RoundContext) -> Court:
    """Judges without a beacon: the contract computes the seeds of its seals itself, so none of those is wrong."""
    return Court(context.domain, context.params.threshold, know_no_beacon, context.recover)


def know_no_beacon(beacon_round: int, signature: bytes) -> None:
    """A court's ``verify`` where no seed is judged."""


def get_culprits(context: RoundContext, evidence: Evidence) -> tuple[int, ...]:
    """Seats that the evidence convicts in this round; none where it proves nothing."""
    try:
        owners = check_evidence(make_court(context), evidence)
    except EvidenceError:
        return ()
    return tuple(seat.index for seat in context.snapshot.seats if seat.owner in owners)


def make_seal_statement(context: RoundContext, sealed: RoundSealed) -> SealStatement:
    """The seal on the chain, as its validators signed it."""
    survivors = b"".join(word.to_bytes(32, "big") for word in sealed.survivors)
    beacon_round = context.snapshot.beacon_round
    return SealStatement(sealed.round, sealed.view, beacon_round, sealed.seed, sealed.manifest_digest, survivors)


def describe_seal(context: RoundContext, seal: Seal) -> SealStatement:
    """A seal that this node computed itself."""
    survivors = b"".join(word.to_bytes(32, "big") for word in seal.survivors)
    beacon_round = context.snapshot.beacon_round
    return SealStatement(context.round, seal.view, beacon_round, context.seed, seal.manifest_digest, survivors)


def make_invalid_seal(context: RoundContext, sealed: RoundSealed, manifest: bytes) -> InvalidSeal | None:
    """Evidence against a seal on the chain whose manifest (bytes under its digest) is none, or not of this seal."""
    evidence = InvalidSeal(make_seal_statement(context, sealed), b"", manifest, sealed.signatures)
    return evidence if get_culprits(context, evidence) else None


def find_bad_share(
    context: RoundContext,
    sealed: RoundSealed,
    manifest: bytes,
    answer: Envelope,
    unmasking: Unmasking,
    documents: Mapping[int, ReceivedDocument],
) -> BadShare | None:
    """Evidence of the first share in an answer that is not the committed one; ``None`` where all are.

    Args:
        manifest: bytes of the sealed manifest.
        documents: validated documents by dealer, those that the manifest names.
    """
    cohort = context.cohorts[context.assignment.cohort_of(answer.seat)]
    for index, item in enumerate(unmasking.items):
        secret_of, holder, dealer = get_secret_of(item), answer.seat, item.owner
        if dealer not in documents or secret_of not in cohort.holder_set(dealer):
            continue
        if holder not in cohort.holder_set(secret_of):
            continue
        committed = get_share_commitment(cohort, documents[dealer], secret_of, holder)
        if keys.commit_share(cohort, dealer, secret_of, holder, item.share) != committed:
            place = cohort.place(secret_of, holder)
            proof = prove_leaf(cohort, documents[dealer], share_leaf(secret_of, place, holder, committed))
            seal = make_seal_statement(context, sealed)
            return BadShare(answer, index, seal, manifest, cohort.digest, committed, place, proof)
    return None


def find_bad_dealing(
    cohort: CohortContext,
    contribution: Envelope,
    received: ReceivedDocument,
    shares: Mapping[int, Mapping[int, bytes]],
) -> BadDealing | None:
    """Evidence against a dealer from its holders' answers; ``None`` where they show nothing wrong.

    A dealer that committed to a share that nobody can open is wrong too and cannot be shown to be.

    Args:
        contribution: the dealer's signed message, whose root is the document's.
        shares: secret_of → holder's seat → share as committed.
    """
    for secret_of, found in sorted(shares.items()):
        if len(found) >= cohort.threshold:
            evidence = _judge_dealing(cohort, contribution, received, secret_of, found)
            if evidence is not None:
                return evidence
    return None


def _judge_dealing(
    cohort: CohortContext,
    contribution: Envelope,
    received: ReceivedDocument,
    secret_of: int,
    found: Mapping[int, bytes],
) -> BadDealing | None:
    document, dealer = received.document, received.document.seat
    by_place = {cohort.place(secret_of, seat): share for seat, share in found.items()}
    first = sorted(by_place)[: cohort.threshold]
    wrong = find_wrong_shares(by_place, cohort.threshold)
    chosen = sorted([*first, *wrong[:1]])
    dealt = tuple(_dealt_share(cohort, received, secret_of, place, by_place[place]) for place in chosen)
    if wrong:
        return BadDealing(contribution, cohort.digest, secret_of, dealt, bytes(32), bytes(32), NO_PROOF)
    secret = combine_shares(by_place, cohort.threshold)
    if secret_of == dealer:
        committed, pair_context = document.self_mask_commitment, bytes(32)
        leaf, right = self_mask_leaf(committed), keys.commit_self_mask(cohort, dealer, secret)
    else:
        committed, pair_context = (
            get_pair_commitment(cohort, document, secret_of),
            cohort.pair_context(dealer, secret_of),
        )
        leaf = pair_leaf(secret_of, pair_context, committed)
        right = keys.commit_pair_seed(cohort, dealer, secret_of, secret)
    if right == committed:
        return None
    proof = prove_leaf(cohort, received, leaf)
    return BadDealing(contribution, cohort.digest, secret_of, dealt, committed, pair_context, proof)


def _dealt_share(
    cohort: CohortContext, received: ReceivedDocument, secret_of: int, place: int, share: bytes
) -> DealtShare:
    holder = cohort.holders(secret_of)[place]
    commitment = get_share_commitment(cohort, received, secret_of, holder)
    proof = prove_leaf(cohort, received, share_leaf(secret_of, place, holder, commitment))
    return DealtShare(place, holder, share, proof)


def prove_leaf(cohort: CohortContext, received: ReceivedDocument, leaf: bytes) -> LeafProof:
    """The path of a leaf under the contribution's root.

    Raises:
        ValueError: there is no such leaf.
    """
    dealer = received.document.seat
    columns = build_columns(cohort, dealer, received.commitments)
    tree = build_tree(cohort, received.document, columns)
    for column, leaves in enumerate(compute_share_leaves(cohort, dealer, received.commitments).values()):
        if leaf in leaves:
            place = leaves.index(leaf)
            proof = (*columns.prove(column, place), *tree.columns_path)
            return LeafProof(columns.count, (column << columns.height) + place, proof)
    place = compute_other_leaves(cohort, received.document).index(leaf)
    return LeafProof(columns.count, tree.first_index + place, tree.prove(place))
