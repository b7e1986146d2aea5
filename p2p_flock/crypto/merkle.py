"""Merkle root over a list of payloads, with proofs.

Called by ``secagg/`` for the root of a contribution. Every leaf is hashed with the tree's domain, the number of leaves
and its own index, and leaves and nodes have different domains: no node can pass for a leaf (RFC 6962 §2.1), no leaf for
another, no tree for a shorter or longer one. An odd last node moves up unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from p2p_flock.crypto import suite
from p2p_flock.errors import CryptoError

LEAVES_MAX = 1 << 20


_LEAF, _NODE = "p2p_flock merkle leaf v1", "p2p_flock merkle node v1"


def _leaf(domain: bytes, count: int, index: int, payload: bytes) -> bytes:
    return suite.hash32(_LEAF, domain, count.to_bytes(4, "big"), index.to_bytes(4, "big"), payload)


def _node(left: bytes, right: bytes) -> bytes:
    return suite.hash32(_NODE, left, right)


def _hash_leaves(domain: bytes, payloads: Sequence[bytes]) -> list[bytes]:
    """:func:`_leaf` of every payload: all that frames have in common is made once, for there are tens of thousands."""
    head = suite.frame(_LEAF, domain, len(payloads).to_bytes(4, "big"), bytes(4), b"")[: -4 - 8]
    sha256 = hashlib.sha256
    return [
        sha256(head + index.to_bytes(4, "big") + len(payload).to_bytes(8, "big") + payload).digest()
        for index, payload in enumerate(payloads)
    ]


def _hash_pairs(level: Sequence[bytes]) -> list[bytes]:
    """:func:`_node` of every two; an odd last one as it is."""
    blank = suite.frame(_NODE, bytes(suite.DIGEST_BYTES), bytes(suite.DIGEST_BYTES))
    head, between = blank[: -2 * suite.DIGEST_BYTES - 8], blank[-suite.DIGEST_BYTES - 8 : -suite.DIGEST_BYTES]
    sha256 = hashlib.sha256
    pairs = zip(level[::2], level[1::2], strict=False)
    return [sha256(head + left + between + right).digest() for left, right in pairs] + list(level[len(level) & ~1 :])


def _levels(domain: bytes, payloads: Sequence[bytes]) -> list[list[bytes]]:
    if not 1 <= len(payloads) <= LEAVES_MAX:
        raise CryptoError(f"a Merkle tree has 1 to {LEAVES_MAX} leaves")
    levels = [_hash_leaves(domain, payloads)]
    while len(levels[-1]) > 1:
        levels.append(_hash_pairs(levels[-1]))
    return levels


def compute_root(domain: bytes, payloads: Sequence[bytes]) -> bytes:
    """The 32-byte root over ``payloads`` in order.

    Raises:
        CryptoError: no payload, or more than ``LEAVES_MAX``.
    """
    return _levels(domain, payloads)[-1][0]


def compute_proof(domain: bytes, payloads: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The siblings of leaf ``index`` from the bottom up.

    Raises:
        CryptoError: as :func:`compute_root`, or no such leaf.
    """
    if not 0 <= index < len(payloads):
        raise CryptoError(f"there is no leaf {index} of {len(payloads)}")
    proof = []
    for level in _levels(domain, payloads)[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        index //= 2
    return tuple(proof)


def verify_proof(root: bytes, domain: bytes, count: int, index: int, payload: bytes, proof: Sequence[bytes]) -> bool:
    """Whether ``payload`` is leaf ``index`` of the ``count`` leaves under ``root``; false for anything malformed."""
    if not 1 <= count <= LEAVES_MAX or not 0 <= index < count:
        return False
    digest = _leaf(domain, count, index, payload)
    siblings = list(proof)
    while count > 1:
        if index ^ 1 < count:
            if not siblings:
                return False
            sibling = siblings.pop(0)
            digest = _node(digest, sibling) if index % 2 == 0 else _node(sibling, digest)
        index, count = index // 2, (count + 1) // 2
    return not siblings and digest == root
