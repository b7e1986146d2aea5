"""Evidence as the contract takes it: function and arguments by position, of ``contracts/src/interfaces/IEvidence.sol``.

Called by ``prosecution.py``: the core knows no ABI, and ``chain/`` knows no evidence.
"""

from __future__ import annotations

from typing import assert_never

from p2p_flock.alliance.evidence import (
    BadDealing,
    BadShare,
    Equivocation,
    Evidence,
    InvalidSeal,
    LeafProof,
    SealEquivocation,
    SealStatement,
)
from p2p_flock.wire.messages import Envelope

Arguments = tuple[object, ...]


def encode_evidence(evidence: Evidence) -> tuple[str, Arguments]:
    """Name of the function that judges it, and what to call it with; structs are tuples."""
    e = evidence
    match e:
        case Equivocation():
            return "slashEquivocation", (_statement(e.first), _statement(e.second))
        case SealEquivocation():
            return "slashSealEquivocation", (
                encode_seal(e.first),
                e.first_signature,
                encode_seal(e.second),
                e.second_signature,
            )
        case InvalidSeal():
            return "slashInvalidSeal", (encode_seal(e.seal), e.beacon_signature, e.manifest, list(e.signatures))
        case BadShare():
            leaf = (e.context, e.commitment, e.share_index, _proof(e.proof))
            return "slashBadShare", (_statement(e.unmasking), e.item_index, encode_seal(e.seal), e.manifest, *leaf)
        case BadDealing():
            shares = [(share.index, share.holder, share.share, _proof(share.proof)) for share in e.shares]
            secret = (e.secret_commitment, e.pair_context, _proof(e.secret_proof))
            return "slashBadDealing", (_statement(e.contribution), e.context, e.secret_of, shares, *secret)
        case _:
            assert_never(e)


def _statement(envelope: Envelope) -> Arguments:
    return (envelope.round, envelope.kind, envelope.seat, envelope.body, envelope.signature)


def encode_seal(seal: SealStatement) -> Arguments:
    """The contract's ``SealStatement`` by position."""
    return (seal.round, seal.view, seal.beacon_round, seal.seed, seal.manifest_digest, list(seal.words))


def _proof(proof: LeafProof) -> Arguments:
    return (proof.count, proof.index, list(proof.siblings))
