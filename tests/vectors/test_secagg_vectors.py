"""Runs secagg.json: whole cohorts through both machines, and messages that they must refuse."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from p2p_flock.crypto.ring import Ring, Words
from p2p_flock.secagg import aggregator, contributor
from p2p_flock.secagg.aggregator import Aggregator, BlobVerified, DocumentReceived, UnmaskingReceived
from p2p_flock.secagg.answer import Answered
from p2p_flock.secagg.context import CohortContext, CohortMember
from p2p_flock.secagg.contributor import Contributor, PreparedContribution, UpdateMasked, contribute, plan_masking
from p2p_flock.secagg.opening import OpenedInMemory, Unopened
from p2p_flock.types import Domain
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import (
    DOCUMENT_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    ContributionDocument,
    Manifest,
    ManifestEntry,
    Unmasking,
)

FILE = json.loads((Path(__file__).parent / "secagg.json").read_text(encoding="utf-8"))
RUNS = {case["name"]: case for case in FILE["cases"]}


def context_of(case: dict) -> CohortContext:
    members = tuple(
        CohortMember(member["seat"], bytes.fromhex(member["owner"]), bytes.fromhex(member["mask_key"]))
        for member in case["members"]
    )
    domain = Domain(case["chain_id"], bytes.fromhex(case["contract"]), case["alliance"])
    numbers = (case["threshold"], case["collusion_bound"], case["lane_bits"], case["lane_count"])
    return CohortContext(domain, case["round"], bytes.fromhex(case["seed"]), case["cohort"], members, *numbers)


@cache
def contribute_all(name: str) -> tuple[CohortContext, dict[int, Contributor], dict[int, PreparedContribution]]:
    """Everybody who is sealed, after contributing."""
    case = RUNS[name]
    context = context_of(case)
    machines, made = {}, {}
    for member in case["members"]:
        seat = member["seat"]
        if seat in case["dropped_before"]:
            continue
        lanes: Words = np.array(member["lanes"], dtype=Ring(case["lane_bits"]).dtype)
        machines[seat] = Contributor(context, seat)
        secret, entropy = bytes.fromhex(member["mask_secret"]), bytes.fromhex(member["entropy"])
        whole = contribute(context, seat, secret, lanes, entropy)
        event = UpdateMasked(plan_masking(context, seat, secret, entropy), whole.document.chunk_digests)
        output = machines[seat].handle(event)
        assert isinstance(output, PreparedContribution) and replace(output, chunks=whole.chunks) == whole
        made[seat] = whole
    return context, machines, made


def manifest_of(context: CohortContext, made: dict[int, PreparedContribution]) -> Manifest:
    entries = [
        ManifestEntry(seat, one.root, one.document_digest, one.document.next_mask_key) for seat, one in made.items()
    ]
    return Manifest(context.round, tuple(entries))


def sealed_aggregator(name: str) -> Aggregator:
    context, _, made = contribute_all(name)
    machine = Aggregator(context)
    for seat, one in made.items():
        assert (
            machine.handle(DocumentReceived(seat, one.root, one.document_digest, one.document, one.commitments)) == ()
        )
        for blob in (*one.chunks, *one.bundles.values()):
            assert machine.handle(BlobVerified(hashlib.sha256(blob).digest(), len(blob))) == ()
    machine.handle(aggregator.SealConfirmed(bytes.fromhex(RUNS[name]["seal"]), manifest_of(context, made)))
    return machine


@pytest.mark.parametrize("name", RUNS)
def test_secagg__vector(name: str) -> None:
    """Nodes of two versions could not take part in one round."""
    case = RUNS[name]
    context, machines, made = contribute_all(name)
    assert context.digest.hex() == case["context_digest"]
    assert {str(seat): one.root.hex() for seat, one in made.items()} == case["roots"]
    assert {str(seat): one.document_digest.hex() for seat, one in made.items()} == case["document_digests"]
    vectors = {str(seat): hashlib.sha256(b"".join(one.chunks)).hexdigest() for seat, one in made.items()}
    assert vectors == case["vector_digests"]
    validator = sealed_aggregator(name)
    documents = {seat: one.document for seat, one in made.items()}
    said = {}
    for seat, machine in machines.items():
        if seat in case["dropped_after"]:
            continue
        bundles = {dealer: one.bundles[seat] for dealer, one in made.items() if seat in one.bundles}
        seal, manifest = bytes.fromhex(case["seal"]), manifest_of(context, made)
        answer = machine.handle(contributor.SealConfirmed(seal, manifest, documents, bundles))
        if isinstance(answer, Answered):
            said[str(seat)] = hashlib.sha256(encode(answer.unmasking)).hexdigest()
            assert validator.handle(UnmaskingReceived(seat, answer.unmasking)) == ()
    result = validator.open({seat: one.chunks for seat, one in made.items()}, 100 * len(made))
    if case["sum"] is None:
        assert isinstance(result, Unopened)
    else:
        assert said == case["unmasking_digests"]
        assert isinstance(result, OpenedInMemory)
        assert result.ring_sum.tolist() == case["sum"]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in FILE["refused_documents"]])
def test_secagg__refused_document(case: dict) -> None:
    """One node would hold what another refuses, and no seal would find a quorum."""
    machine = Aggregator(contribute_all(FILE["refused_for"])[0])
    document = decode(ContributionDocument, bytes.fromhex(case["document"]), DOCUMENT_BYTES_MAX)
    root, digest = bytes.fromhex(case["root"]), bytes.fromhex(case["document_digest"])
    faults = machine.handle(DocumentReceived(case["seat"], root, digest, document, bytes.fromhex(case["commitments"])))
    assert [(fault.culprit, fault.reason.name) for fault in faults] == [(case["seat"], case["reason"])]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in FILE["refused_unmaskings"]])
def test_secagg__refused_unmasking(case: dict) -> None:
    """One node would count an answer that another refuses."""
    unmasking = decode(Unmasking, bytes.fromhex(case["unmasking"]), MESSAGE_BYTES_MAX)
    faults = sealed_aggregator(FILE["refused_for"]).handle(UnmaskingReceived(case["seat"], unmasking))
    assert [(fault.culprit, fault.reason.name) for fault in faults] == [(case["seat"], case["reason"])]
