"""Messages, seals, votes and the model against vectors that were computed by other means (scripts/make_vectors.py)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.manifest import decode_manifest, encode_manifest
from p2p_flock.alliance.model import AdoptedCohort, apply_cohorts, decode_model, encode_model
from p2p_flock.alliance.sealing import compute_survivors, decode_sealed_manifest, make_seal, read_have
from p2p_flock.alliance.voting import compute_commitment, compute_tally, is_valid_ballot, is_valid_commitment
from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.crypto.signing import (
    Marks,
    commit_digest,
    envelope_digest,
    pack_marks,
    recover_address,
    unpack_marks,
)
from p2p_flock.errors import CryptoError, WireError
from p2p_flock.params import AllianceParams
from p2p_flock.testing.alliance import make_params, make_setting
from p2p_flock.testing.contract_rounds import roll
from p2p_flock.types import Assignment, CohortOutcome, Domain, RoundSnapshot, Seat, Stage
from p2p_flock.wire import messages
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import Ballot, BallotCommitment, Have, Manifest

FOLDER = Path(__file__).parent
MESSAGES, SEALING, VOTING, MODEL = (
    json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    for name in ("messages", "sealing", "voting", "model")
)
Case = dict[str, Any]


def cases(entries: list[Case]) -> Any:
    return pytest.mark.parametrize("case", entries, ids=lambda case: case["name"])


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def domain_of(vectors: Case) -> Domain:
    return Domain(vectors["chain_id"], raw(vectors["contract"]), vectors["alliance"])


def context_of(vectors: Case, assignment: Assignment, params: AllianceParams, owners: list[bytes]) -> RoundContext:
    """A round with given roles: what a vector speaks about does not depend on how they were drawn."""
    keys = [mask_public_key(bytes([seat + 1]) * 32) for seat in range(len(owners))]
    seats = tuple(Seat(i, owner, "", 1, key) for i, (owner, key) in enumerate(zip(owners, keys, strict=True)))
    snapshot = RoundSnapshot(domain_of(vectors), vectors["round"], seats, 77, 0, 0, 0)
    seed = raw(SEALING["seals"][0]["seed"])
    base_model = raw(VOTING["ballots"][0]["base_model_digest"])
    manifest = make_setting().context.manifest
    return RoundContext(snapshot, params, manifest, Stage.TRAINING, base_model, seed, assignment)


# --- messages ----------------------------------------------------------------------------------------------------


@cases(MESSAGES["cases"])
def test_message__vector(case: Case) -> None:
    """Another implementation would not understand us, or get through what we refuse."""
    kind, data = getattr(messages, case["kind"]), raw(case["bytes"])
    if case["name"].startswith("bad_"):
        with pytest.raises(WireError):
            decode(kind, data, 1 << 20)
    else:
        assert encode(decode(kind, data, 1 << 20)) == data


def test_envelope__vector() -> None:
    """Signatures of another implementation would not hold."""
    case = MESSAGES["envelope"]
    digest = envelope_digest(domain_of(case), case["kind"], case["round"], case["seat"], raw(case["body"]))
    assert digest == raw(case["digest"])
    assert recover_address(digest, raw(case["signature"])) == raw(case["owner"])


# --- seals -------------------------------------------------------------------------------------------------------

TRAINERS = tuple(SEALING["trainers"])
SEAL_CONTEXT = context_of(
    SEALING, Assignment((0, 5, 7), (TRAINERS,)), make_params(), [bytes([i]) * 20 for i in range(1, 9)]
)


@cases(SEALING["survivors_cases"])
def test_survivors__vector(case: Case) -> None:
    """Two validators would seal different sums."""
    haves = {
        validator: {int(seat): raw(root) for seat, root in roots.items()}
        for validator, roots in zip((0, 5, 7), case["haves"], strict=False)
    }
    survivors = compute_survivors(SEAL_CONTEXT, haves, frozenset((low, high) for low, high in case["quarrels"]))
    assert sorted(survivors) == case["survivors"]
    if "root_of_4" in case:
        assert survivors[4] == raw(case["root_of_4"])


@cases(SEALING["seals"])
def test_seal__vector(case: Case) -> None:
    """Contract and node would sign different things."""
    survivors = tuple(int(word, 16) for word in case["survivors"])
    manifest = decode_sealed_manifest(SEAL_CONTEXT, raw(case["manifest"]), survivors)
    seal = make_seal(SEAL_CONTEXT, case["view"], manifest)
    assert (seal.manifest_digest, seal.survivors) == (raw(case["manifest_digest"]), survivors)
    assert (seal.digest, seal.signing_digest) == (raw(case["seal"]), raw(case["signing_digest"]))


@cases(SEALING["refused_manifests"])
def test_manifest__bad_vector(case: Case) -> None:
    """A seal could name others than the survivors on chain."""
    assert isinstance(decode(Manifest, raw(case["manifest"]), 1 << 20), Manifest), "well formed, and still wrong"
    with pytest.raises(WireError):
        decode_sealed_manifest(SEAL_CONTEXT, raw(case["manifest"]), (0b11111,))


@cases(SEALING["refused_haves"])
def test_have__bad_vector(case: Case) -> None:
    """A bitmap could be read in two ways."""
    with pytest.raises(WireError):
        read_have(SEAL_CONTEXT, Have(raw(case["held"]), (bytes(32),) * case["roots"]))


# --- votes -------------------------------------------------------------------------------------------------------

VOTE_OWNERS = [raw(owner) for owner in VOTING["owners"]]
VOTE_CONTEXT = context_of(
    VOTING,
    Assignment((0, 1, 2), ((3, 4, 5, 6), (7, 8, 9, 10))),
    make_params(cohort_count=2, seat_count=11),
    VOTE_OWNERS + [bytes([i]) * 20 for i in range(1, 9)],
)


@cases(VOTING["ballots"])
def test_ballot__vector(case: Case) -> None:
    """The contract would refuse our votes, or we would pass on votes that it refuses."""
    digests = tuple(raw(digest) for digest in case["aggregate_digests"])
    seal, position, verdicts, grades = raw(case["seal"]), case["position"], raw(case["verdicts"]), raw(case["grades"])
    model, salt, score = raw(case["base_model_digest"]), raw(case["salt"]), case["score_micro"]
    ballot = Ballot(seal, model, verdicts, grades, score, digests, salt)
    commitment = BallotCommitment(seal, raw(case["commitment"]), raw(case["commit_signature"]))
    is_good = is_valid_ballot(VOTE_CONTEXT, position, seal, commitment.commitment, ballot)
    if case["name"].startswith("bad_"):
        assert not is_good
        return
    assert is_good and is_valid_commitment(VOTE_CONTEXT, position, seal, commitment)
    assert compute_commitment(VOTE_CONTEXT, position, ballot) == commitment.commitment
    domain, number = VOTE_CONTEXT.domain, VOTE_CONTEXT.round
    assert commit_digest(domain, number, seal, position, commitment.commitment) == raw(case["commit_digest"])
    assert pack_marks(position, score, verdicts, grades) == int(case["marks"], 16)
    assert unpack_marks(int(case["marks"], 16), 2) == Marks(position, score, verdicts, grades)


@pytest.mark.parametrize("marks", VOTING["bad_marks"])
def test_marks__bad_vector(marks: str) -> None:
    """A word that the contract takes for no ballot would be read as one."""
    with pytest.raises(CryptoError):
        unpack_marks(int(marks, 16), 2)


@pytest.mark.parametrize("case", VOTING["rolling"], ids=lambda case: str(case["order"]))
def test_rolling_hash__vector(case: Case) -> None:
    """The simulated contract would take another order of commitments than the real one."""
    chain = bytes(32)
    for position, commitment in zip(case["order"], case["commitments"], strict=True):
        chain = roll(chain, position, raw(commitment))
    assert chain == raw(case["hash"])


@cases(VOTING["tallies"])
def test_tally__vector(case: Case) -> None:
    """Contract and node would follow different models."""
    ballots = {
        position: Ballot(bytes(32), bytes(32), bytes([vote]), bytes(1), 0, (raw(digest),), bytes(32))
        for position, (vote, digest) in enumerate(case["votes"])
    }
    quorum = make_params(case["validators"], seat_count=case["validators"] + 5).verdict_quorum
    tally = compute_tally(quorum, ballots, 0, is_void=False)
    assert tally.outcome is CohortOutcome[case["outcome"]]
    assert (tally.votes_for, tally.votes_against) == (case["votes_for"], case["votes_against"])


# --- the model ---------------------------------------------------------------------------------------------------


@cases(MODEL["cases"])
def test_model__vector(case: Case) -> None:
    """P2: two machines would hold different models after the same round."""
    before = decode_model(raw(case["before"]))
    width = len(case["cohorts"][0]["sum"])
    task = decode_manifest(
        encode_manifest(
            {
                "name": "t", "version": "1", "statistics_count": width, "parameter_count": width,
                "statistics_clip": case["clip"], "clip_norm": case["clip"],
            }
        )
    )  # fmt: skip
    cohorts = [AdoptedCohort(np.array(c["sum"], dtype=np.int64), c["weight_total"]) for c in case["cohorts"]]
    after = apply_cohorts(before, task, case["levels"], cohorts)
    assert encode_model(after) == raw(case["after"])
    assert after.digest == raw(case["digest"]) == hashlib.sha256(raw(case["after"])).digest()


@cases(MODEL["refused"])
def test_model__bad_vector(case: Case) -> None:
    """A model could have two digests."""
    with pytest.raises(WireError):
        decode_model(raw(case["bytes"]))


@pytest.mark.parametrize("vectors", [MESSAGES["cases"], VOTING["ballots"]])
def test_vectors__half_are_bad(vectors: list[Case]) -> None:
    """Vectors that only show what works do not show what must not."""
    bad = sum(case["name"].startswith("bad_") for case in vectors)
    assert 3 * bad >= len(vectors)
