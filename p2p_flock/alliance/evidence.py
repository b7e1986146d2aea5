"""Provable faults: what evidence of each consists of, and whether it proves anything. Pure.

:func:`check_evidence` is the contract's rule (``contracts/src/Evidence.sol``) in Python; both run
``tests/vectors/evidence.json``. Every node runs it before it posts, so that nobody pays for a refused transaction, and
no honest member can be accused by mistake. Who holds a stake, and since when, the chain knows: see ``penalties.py``.
Made by ``accusing.py``; kept in the journal as an :class:`EvidenceRecord`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, assert_never

from p2p_flock.alliance.sortition import compute_seed
from p2p_flock.chain_events import ABSENCE_FAULT
from p2p_flock.crypto import merkle
from p2p_flock.crypto.secret_sharing import combine_shares, find_wrong_shares
from p2p_flock.crypto.signing import envelope_digest, seal_digest, seal_struct_hash
from p2p_flock.errors import CryptoError, EvidenceError, WireError
from p2p_flock.params import SEATS_MAX, SHARING_HOLDERS_MAX
from p2p_flock.ports import Recoverer
from p2p_flock.secagg import keys
from p2p_flock.secagg.answer import get_secret_of
from p2p_flock.secagg.context import compute_sharing_context
from p2p_flock.secagg.document import pair_leaf, self_mask_leaf, share_leaf
from p2p_flock.types import Domain
from p2p_flock.wire.codec import Length, decode
from p2p_flock.wire.messages import (
    MANIFEST_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    U16,
    U32,
    U64,
    Contribution,
    Digest,
    Envelope,
    Manifest,
    SeatIndex,
    Secret,
    Signature,
    Unmasking,
)

CONTRIBUTION, UNMASKING = 1, 2
# Messages that are said once per round number, ever: two different ones of a kind contradict (WIRE.md, kinds).
SAID_ONCE = frozenset({1, 2, 6, 7})
WORD_BYTES = 32
BEACON_SIGNATURE_BYTES_MAX = 256
EVIDENCE_BYTES_MAX = 3 << 20  # a manifest and a body of at most 1 MiB each, and proofs

SignatureTuple = Annotated[tuple[Signature, ...], Length(1, 64)]


class Fault(IntEnum):
    """The number in the contract's ``Slashed`` event."""

    EQUIVOCATION = 1
    SEAL_EQUIVOCATION = 2
    INVALID_SEAL = 3
    BAD_SHARE = 4
    BAD_DEALING = 5

    @property
    def words(self) -> str:
        """For operators."""
        return self.name.lower().replace("_", " ")


def describe_fault(number: int) -> str:
    """Words for the number in a ``Slashed`` event, also for one of a later version."""
    if number == ABSENCE_FAULT:
        return "absence"
    return Fault(number).words if number in tuple(Fault) else f"fault {number}"


@dataclass(frozen=True, slots=True)
class SealStatement:
    """An EIP-712 ``Seal`` of this alliance, whether or not the chain took it.

    Attributes:
        view: the leader's view.
        survivors: words of the bitmap over trainer indexes, 32 bytes each, big-endian.
    """

    round: U32
    view: U32
    beacon_round: U64
    seed: Digest
    manifest_digest: Digest
    survivors: Annotated[bytes, Length(0, SEATS_MAX // 8)]

    @property
    def words(self) -> tuple[int, ...]:
        """The bitmap as the contract takes it."""
        steps = range(0, len(self.survivors), WORD_BYTES)
        return tuple(int.from_bytes(self.survivors[at : at + WORD_BYTES], "big") for at in steps)


@dataclass(frozen=True, slots=True)
class LeafProof:
    """A path in a Merkle tree of ``count`` leaves, from the bottom up (``crypto/merkle.py``)."""

    count: U32
    index: U32
    siblings: Annotated[tuple[Digest, ...], Length(0, 20)]


NO_PROOF = LeafProof(0, 0, ())


@dataclass(frozen=True, slots=True)
class DealtShare:
    """One share of a dealing, with the path of its leaf; ``index`` is the holder's place, x = index + 1."""

    index: U16
    holder: SeatIndex
    share: Secret
    proof: LeafProof


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two different messages of one kind in one round, both signed by one owner."""

    first: Envelope
    second: Envelope


@dataclass(frozen=True, slots=True)
class SealEquivocation:
    """Two different seals of one view of one round, both signed by one owner."""

    first: SealStatement
    first_signature: Signature
    second: SealStatement
    second_signature: Signature


@dataclass(frozen=True, slots=True)
class InvalidSeal:
    """A seal with a seed that its beacon does not give, or with a manifest that contradicts itself or the seal.

    Attributes:
        beacon_signature: of the seal's beacon round; empty where the seed is not to be judged.
        manifest: bytes under the seal's digest; empty where the seed is the fault.
    """

    seal: SealStatement
    beacon_signature: Annotated[bytes, Length(0, BEACON_SIGNATURE_BYTES_MAX)]
    manifest: Annotated[bytes, Length(0, MANIFEST_BYTES_MAX)]
    signatures: SignatureTuple


@dataclass(frozen=True, slots=True)
class BadShare:
    """An answer to a seal, with a share that is not the one committed to under the root that the seal names.

    Attributes:
        item_index: place of the share in the answer.
        context: digest of the cohort's context, the domain of the root's tree.
        commitment, share_index, proof: the leaf of the committed share.
    """

    unmasking: Envelope
    item_index: U16
    seal: SealStatement
    manifest: Annotated[bytes, Length(1, MANIFEST_BYTES_MAX)]
    context: Digest
    commitment: Digest
    share_index: U16
    proof: LeafProof


@dataclass(frozen=True, slots=True)
class BadDealing:
    """Committed shares that lie on no one polynomial, or on one whose value at 0 is not the committed secret.

    Attributes:
        secret_commitment, pair_context, secret_proof: the secret's leaf; ``pair_context`` is not read for a self mask,
            none of them where the shares themselves contradict.
    """

    contribution: Envelope
    context: Digest
    secret_of: SeatIndex
    shares: Annotated[tuple[DealtShare, ...], Length(1, SHARING_HOLDERS_MAX)]
    secret_commitment: Digest
    pair_context: Digest
    secret_proof: LeafProof


Evidence = Equivocation | SealEquivocation | InvalidSeal | BadShare | BadDealing


@dataclass(frozen=True, slots=True)
class EvidenceRecord:
    """How the journal holds one piece of evidence."""

    evidence: Annotated[tuple[Evidence, ...], Length(1, 1)]


_FAULTS: dict[type[Evidence], Fault] = {
    Equivocation: Fault.EQUIVOCATION,
    SealEquivocation: Fault.SEAL_EQUIVOCATION,
    InvalidSeal: Fault.INVALID_SEAL,
    BadShare: Fault.BAD_SHARE,
    BadDealing: Fault.BAD_DEALING,
}


def fault_of(evidence: Evidence) -> Fault:
    """Which fault it is evidence of."""
    return _FAULTS[type(evidence)]


def round_of(evidence: Evidence) -> int:
    """The round whose statement it judges."""
    match evidence:
        case Equivocation() | SealEquivocation():
            return evidence.first.round
        case InvalidSeal():
            return evidence.seal.round
        case BadShare():
            return evidence.unmasking.round
        case BadDealing():
            return evidence.contribution.round
        case _:
            assert_never(evidence)


@dataclass(frozen=True)
class Court:
    """What evidence is judged by.

    Attributes:
        threshold: t of the alliance.
        verify: randomness of a beacon round that this signature proves, as the beacon contract computes it; ``None``
            where it proves none.
        recover: who signed.
    """

    domain: Domain
    threshold: int
    verify: Callable[[int, bytes], bytes | None]
    recover: Recoverer


def check_evidence(court: Court, evidence: Evidence) -> tuple[bytes, ...]:
    """The owners (20 bytes each) that the evidence convicts, in the order of its signatures.

    Raises:
        EvidenceError: it proves nothing; the text says why.
    """
    try:
        match evidence:
            case Equivocation():
                return (_check_equivocation(court, evidence),)
            case SealEquivocation():
                return (_check_seal_equivocation(court, evidence),)
            case InvalidSeal():
                return _check_invalid_seal(court, evidence)
            case BadShare():
                return (_check_bad_share(court, evidence),)
            case BadDealing():
                return (_check_bad_dealing(court, evidence),)
            case _:
                assert_never(evidence)
    except (CryptoError, WireError) as error:
        raise EvidenceError(str(error)) from error


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise EvidenceError(f"the evidence proves nothing: {rule}")


def signer_of(court: Court, statement: Envelope) -> bytes:
    """The owner that signed a message.

    Raises:
        CryptoError: nobody did.
    """
    digest = envelope_digest(court.domain, statement.kind, statement.round, statement.seat, statement.body)
    return court.recover(digest, statement.signature)


def hash_seal(domain: Domain, seal: SealStatement) -> bytes:
    """hashStruct of the seal, its digest everywhere."""
    terms = (seal.round, seal.view, seal.beacon_round, seal.seed, seal.manifest_digest)
    return seal_struct_hash(domain, *terms, seal.words)


def _sealer_of(court: Court, seal: SealStatement, signature: bytes) -> bytes:
    return court.recover(seal_digest(court.domain, hash_seal(court.domain, seal)), signature)


def _check_equivocation(court: Court, evidence: Equivocation) -> bytes:
    first, second = evidence.first, evidence.second
    _require(first.kind in SAID_ONCE, "messages of this kind may be said more than once")
    same = (first.round, first.kind, first.seat) == (second.round, second.kind, second.seat)
    _require(same, "the messages are of different rounds, kinds or seats")
    _require(first.body != second.body, "the messages are the same")
    culprit = signer_of(court, first)
    _require(culprit == signer_of(court, second), "different owners signed the messages")
    return culprit


def _check_seal_equivocation(court: Court, evidence: SealEquivocation) -> bytes:
    first, second = evidence.first, evidence.second
    _require((first.round, first.view) == (second.round, second.view), "the seals are of different rounds or views")
    _require(hash_seal(court.domain, first) != hash_seal(court.domain, second), "the seals are the same")
    culprit = _sealer_of(court, first, evidence.first_signature)
    _require(culprit == _sealer_of(court, second, evidence.second_signature), "different owners signed the seals")
    return culprit


def _check_invalid_seal(court: Court, evidence: InvalidSeal) -> tuple[bytes, ...]:
    seal = evidence.seal
    is_wrong = _has_wrong_seed(court, evidence) or _has_wrong_manifest(seal, evidence.manifest)
    _require(is_wrong, "the seal is a valid one")
    return tuple(_sealer_of(court, seal, signature) for signature in evidence.signatures)


def _has_wrong_seed(court: Court, evidence: InvalidSeal) -> bool:
    if not evidence.beacon_signature:
        return False
    randomness = court.verify(evidence.seal.beacon_round, evidence.beacon_signature)
    _require(randomness is not None, "the beacon's signature is not one of the seal's beacon round")
    return randomness is not None and compute_seed(court.domain, evidence.seal.round, randomness) != evidence.seal.seed


def _has_wrong_manifest(seal: SealStatement, data: bytes) -> bool:
    """Whether the sealed bytes are no manifest, or one of another round, with a seat twice, or with other survivors.

    It asks nothing that a reorganisation could change: an honest validator signed a seal of the chain it saw.
    """
    if hashlib.sha256(data).digest() != seal.manifest_digest:
        return False
    try:
        manifest = decode(Manifest, data, MANIFEST_BYTES_MAX)
    except WireError:
        return True
    named = [entry.seat for entry in manifest.entries]
    survivor_count = sum(word.bit_count() for word in seal.words)
    return manifest.round != seal.round or len(set(named)) != len(named) or len(named) != survivor_count


def _check_bad_share(court: Court, evidence: BadShare) -> bytes:
    statement, seal = evidence.unmasking, evidence.seal
    _require(statement.kind == UNMASKING, "the message is no answer to a seal")
    answer = decode(Unmasking, statement.body, MESSAGE_BYTES_MAX)
    _require(answer.seal == hash_seal(court.domain, seal), "the answer is to another seal")
    _require(hashlib.sha256(evidence.manifest).digest() == seal.manifest_digest, "the seal is of another manifest")
    manifest = decode(Manifest, evidence.manifest, MANIFEST_BYTES_MAX)
    _require(evidence.item_index < len(answer.items), "the answer has fewer items")
    item = answer.items[evidence.item_index]
    secret_of = get_secret_of(item)
    root = next((entry.root for entry in manifest.entries if entry.seat == item.owner), b"")
    _require(root != b"", "the share's dealer is not sealed")
    leaf = share_leaf(secret_of, evidence.share_index, statement.seat, evidence.commitment)
    _require(_is_under(root, evidence.context, leaf, evidence.proof), "the leaf is not under the dealer's root")
    sharing_context = compute_sharing_context(evidence.context, item.owner, secret_of)
    given = keys.commit_share_under(sharing_context, statement.seat, item.share)
    _require(given != evidence.commitment, "the share is the committed one")
    return signer_of(court, statement)


def _check_bad_dealing(court: Court, evidence: BadDealing) -> bytes:
    statement, secret_of = evidence.contribution, evidence.secret_of
    _require(statement.kind == CONTRIBUTION, "the message is no contribution")
    root, dealer = decode(Contribution, statement.body, MESSAGE_BYTES_MAX).root, statement.seat
    sharing_context = compute_sharing_context(evidence.context, dealer, secret_of)
    indexes = [share.index for share in evidence.shares]
    _require(indexes == sorted(set(indexes)), "the shares are not in order, each once")
    _require(len(indexes) >= court.threshold, "there are fewer shares than the threshold")
    for share in evidence.shares:
        commitment = keys.commit_share_under(sharing_context, share.holder, share.share)
        leaf = share_leaf(secret_of, share.index, share.holder, commitment)
        _require(_is_under(root, evidence.context, leaf, share.proof), "a share is not under the dealer's root")
    shares = {share.index: share.share for share in evidence.shares}
    if not find_wrong_shares(shares, court.threshold):
        secret = combine_shares(shares, court.threshold)
        _require(_is_other_secret(evidence, root, sharing_context, secret), "the dealing is right")
    return signer_of(court, statement)


def _is_other_secret(evidence: BadDealing, root: bytes, sharing_context: bytes, secret: bytes) -> bool:
    committed = evidence.secret_commitment
    if evidence.secret_of == evidence.contribution.seat:
        leaf, right = self_mask_leaf(committed), keys.commit_self_mask_under(sharing_context, secret)
    else:
        leaf = pair_leaf(evidence.secret_of, evidence.pair_context, committed)
        right = keys.commit_pair_seed_under(evidence.pair_context, secret)
    return _is_under(root, evidence.context, leaf, evidence.secret_proof) and right != committed


def _is_under(root: bytes, domain: bytes, leaf: bytes, proof: LeafProof) -> bool:
    return merkle.verify_proof(root, domain, proof.count, proof.index, leaf, proof.siblings)
