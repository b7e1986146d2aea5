"""Merkle roots and proofs."""

from __future__ import annotations

import pytest

from p2p_flock.crypto import merkle, suite
from p2p_flock.errors import CryptoError

DOMAIN = b"domain"


def payloads(count: int) -> list[bytes]:
    return [bytes([n]) * n for n in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 33])
def test_verify_proof__accepts_every_leaf(count: int) -> None:
    """A wrong share could not be shown to anybody."""
    leaves = payloads(count)
    root = merkle.compute_root(DOMAIN, leaves)
    for index, leaf in enumerate(leaves):
        proof = merkle.compute_proof(DOMAIN, leaves, index)
        assert merkle.verify_proof(root, DOMAIN, count, index, leaf, proof)


def test_verify_proof__refuses_every_change() -> None:
    """Somebody honest could be shown to have committed to what it never did."""
    leaves = payloads(7)
    root, proof = merkle.compute_root(DOMAIN, leaves), merkle.compute_proof(DOMAIN, leaves, 4)
    bad = [
        (bytes(32), DOMAIN, 7, 4, leaves[4], proof),
        (root, b"other", 7, 4, leaves[4], proof),
        (root, DOMAIN, 8, 4, leaves[4], proof),
        (root, DOMAIN, 7, 5, leaves[4], proof),
        (root, DOMAIN, 7, 7, leaves[4], proof),
        (root, DOMAIN, 7, -1, leaves[4], proof),
        (root, DOMAIN, 0, 0, leaves[4], proof),
        (root, DOMAIN, 7, 4, leaves[5], proof),
        (root, DOMAIN, 7, 4, leaves[4], proof[:-1]),
        (root, DOMAIN, 7, 4, leaves[4], (*proof, bytes(32))),
        (root, DOMAIN, 7, 4, leaves[4], (proof[1], proof[0], *proof[2:])),
    ]
    assert not any(merkle.verify_proof(*case) for case in bad)


def test_compute_root__binds_order_and_count() -> None:
    """Chunks could be swapped, or a shorter vector passed off under the same root."""
    leaves = payloads(5)
    roots = {
        merkle.compute_root(DOMAIN, leaves),
        merkle.compute_root(DOMAIN, leaves[::-1]),
        merkle.compute_root(DOMAIN, leaves[:4]),
        merkle.compute_root(DOMAIN, [*leaves, leaves[-1]]),
        merkle.compute_root(b"other", leaves),
    }
    assert len(roots) == 5


def test_compute_root__no_node_passes_for_a_leaf() -> None:
    """A tree over two nodes would have the root of the tree over their leaves (second preimage)."""
    leaves = payloads(4)
    halves = [
        suite.frame("p2p_flock merkle node v1", *[merkle._leaf(DOMAIN, 4, n, leaves[n]) for n in pair])
        for pair in ((0, 1), (2, 3))
    ]
    assert merkle.compute_root(DOMAIN, halves) != merkle.compute_root(DOMAIN, leaves)


def test_compute_root__bad_counts_are_refused() -> None:
    """The root of nothing would be a contribution of nothing."""
    with pytest.raises(CryptoError):
        merkle.compute_root(DOMAIN, [])
    with pytest.raises(CryptoError):
        merkle.compute_proof(DOMAIN, payloads(3), 3)
