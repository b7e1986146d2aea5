"""Runs evidence.json, which the contract runs too: one rule in two languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode as abi_decode

from p2p_flock.alliance.evidence import (
    BadDealing,
    BadShare,
    Court,
    DealtShare,
    Equivocation,
    Evidence,
    InvalidSeal,
    LeafProof,
    SealEquivocation,
    SealStatement,
    check_evidence,
)
from p2p_flock.crypto.signing import address_of, recover_address
from p2p_flock.errors import EvidenceError
from p2p_flock.types import Domain
from p2p_flock.wire.messages import Envelope

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "evidence.json").read_text(encoding="utf-8"))
OWNERS = {address_of(bytes.fromhex(secret)) for secret in VECTORS["owner_secrets"]}


def statement(values: Any) -> Envelope:
    number, kind, seat, body, signature = values
    return Envelope(kind, number, seat, body, signature)


def seal(values: Any) -> SealStatement:
    number, view, beacon_round, seed, digest, words = values
    survivors = b"".join(word.to_bytes(32, "big") for word in words)
    return SealStatement(number, view, beacon_round, seed, digest, survivors)


def proof(values: Any) -> LeafProof:
    return LeafProof(values[0], values[1], tuple(values[2]))


def read_call(case: Any) -> Evidence:
    """The evidence in a case's calldata."""
    v = abi_decode(VECTORS["functions"][case["function"]], bytes.fromhex(case["calldata"])[4:])
    match case["function"]:
        case "slashEquivocation":
            return Equivocation(statement(v[0]), statement(v[1]))
        case "slashSealEquivocation":
            return SealEquivocation(seal(v[0]), v[1], seal(v[2]), v[3])
        case "slashInvalidSeal":
            return InvalidSeal(seal(v[0]), v[1], v[2], tuple(v[3]))
        case "slashBadShare":
            return BadShare(statement(v[0]), v[1], seal(v[2]), v[3], v[4], v[5], v[6], proof(v[7]))
        case _:
            shares = tuple(DealtShare(s[0], s[1], s[2], proof(s[3])) for s in v[3])
            return BadDealing(statement(v[0]), v[1], v[2], shares, v[4], v[5], proof(v[6]))


def verify(beacon_round: int, signature: bytes) -> bytes | None:
    is_right = (beacon_round, signature.hex()) == (VECTORS["beacon_round"], VECTORS["beacon_signature"])
    return bytes.fromhex(VECTORS["randomness"]) if is_right else None


COURT = Court(
    Domain(VECTORS["chain_id"], bytes.fromhex(VECTORS["contract"]), VECTORS["alliance"]),
    VECTORS["threshold"],
    verify,
    recover_address,
)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_check_evidence__vector(case: Any) -> None:
    """Nodes would post what the contract refuses, or keep back what it would take; or an honest member loses money."""
    evidence = read_call(case)
    try:
        culprits = [owner.hex() for owner in check_evidence(COURT, evidence) if owner in OWNERS]
    except EvidenceError:
        culprits = []
    assert culprits == case["culprits"]


def test_vectors__half_of_them_are_bad() -> None:
    """What convicts is easily found; what must not is where the money is."""
    bad = [case for case in VECTORS["cases"] if case["name"].startswith("bad_")]
    assert 2 * len(bad) >= len(VECTORS["cases"])
    assert all((case["culprits"] == []) == case["name"].startswith("bad_") for case in VECTORS["cases"])
