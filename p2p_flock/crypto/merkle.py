"""Merkle root over a list of payloads, with proofs.

Called by ``secagg/`` for the root of a contribution. Every leaf is hashed with the tree's domain, the number of leaves
and its own index, and leaves and nodes have different domains: no node can pass for a leaf (RFC 6962 §2.1), no leaf for
another, no tree for a shorter or longer one. An odd last node moves up unchanged.

A :class:`ColumnTree` is such a tree whose first leaves stand in columns: aligned subtrees, filled up with blanks that
nobody hashes. Whoever has the columns' roots and the other leaves finds the root, without the columns' leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from p2p_flock.crypto import suite
from p2p_flock.errors import CryptoError

LEAVES_MAX = 1 << 20
BLANK = bytes(suite.DIGEST_BYTES)  # a place in a column without a leaf, and a node of two such; no leaf hashes to it


_LEAF, _NODE = "p2p_flock merkle leaf v1", "p2p_flock merkle node v1"


def _leaf(domain: bytes, count: int, index: int, payload: bytes) -> bytes:
    return suite.hash32(_LEAF, domain, count.to_bytes(4, "big"), index.to_bytes(4, "big"), payload)


def _node(left: bytes, right: bytes) -> bytes:
    return suite.hash32(_NODE, left, right)


def _hash_leaves(domain: bytes, payloads: Sequence[bytes], count: int, start: int = 0) -> list[bytes]:
    """:func:`_leaf` of every payload: all that frames have in common is made once, for there are tens of thousands."""
    head = suite.frame(_LEAF, domain, count.to_bytes(4, "big"), bytes(4), b"")[: -4 - 8]
    sha256 = hashlib.sha256
    return [
        sha256(head + index.to_bytes(4, "big") + len(payload).to_bytes(8, "big") + payload).digest()
        for index, payload in enumerate(payloads, start)
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
    return _fold(_hash_leaves(domain, payloads, len(payloads)))


def _fold(level: list[bytes]) -> list[list[bytes]]:
    """This level and those above it, the root's last."""
    levels = [level]
    while len(levels[-1]) > 1:
        levels.append(_hash_pairs(levels[-1]))
    return levels


def _prove(levels: Sequence[Sequence[bytes]], index: int) -> tuple[bytes, ...]:
    """The siblings of node ``index`` of the lowest level, up to the highest one that is not the root."""
    proof = []
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        index //= 2
    return tuple(proof)


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
    return _prove(_levels(domain, payloads), index)


@dataclass(frozen=True)
class ColumnTree:
    """See the module; ``height`` 0 is the plain tree.

    Attributes:
        height: a column has 2^height places.
        column_roots: of its columns in order, each as :meth:`compute_column_root` gives it.
        payloads: of the leaves after the columns, one at least.

    Raises:
        CryptoError: on construction, with no such payload or more than ``LEAVES_MAX`` leaves.
    """

    domain: bytes
    height: int
    column_roots: tuple[bytes, ...]
    payloads: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not self.payloads or self.count > LEAVES_MAX:
            raise CryptoError(f"a tree has leaves after its columns, and {LEAVES_MAX} leaves at most")

    @property
    def count(self) -> int:
        """Leaves in all, blanks included."""
        return self.first_index + len(self.payloads)

    @property
    def first_index(self) -> int:
        """Index of the first leaf after the columns."""
        return len(self.column_roots) << self.height

    @cached_property
    def _lower(self) -> list[list[bytes]]:
        """The leaves after the columns and what stands over them, up to the level of the columns' roots.

        No pair of those levels holds a leaf of a column, and the last node is odd in the whole level where it is here.
        """
        levels = [_hash_leaves(self.domain, self.payloads, self.count, self.first_index)]
        for _ in range(self.height):
            levels.append(_hash_pairs(levels[-1]))
        return levels

    @cached_property
    def _upper(self) -> list[list[bytes]]:
        return _fold([*self.column_roots, *self._lower[-1]])

    @property
    def root(self) -> bytes:
        """The 32-byte root of the whole tree."""
        return self._upper[-1][0]

    def _column_levels(self, column: int, payloads: Sequence[bytes]) -> list[list[bytes]]:
        return _stack_column(self.domain, self.count, self.height, column, payloads)

    def holds_column(self, column: int, payloads: Sequence[bytes]) -> bool:
        """Whether these are the leaves of the column."""
        return self._column_levels(column, payloads)[-1][0] == self.column_roots[column]

    def prove_in_column(self, column: int, payloads: Sequence[bytes], place: int) -> tuple[bytes, ...]:
        """The siblings of leaf ``column · 2^height + place``, from the column's payloads."""
        return _prove(self._column_levels(column, payloads), place) + _prove(self._upper, column)

    def prove(self, index: int) -> tuple[bytes, ...]:
        """The siblings of leaf ``first_index + index``."""
        return _prove(self._lower, index) + _prove(self._upper, len(self.column_roots) + (index >> self.height))


def compute_column_roots(
    domain: bytes, count: int, height: int, columns: Sequence[Sequence[bytes]]
) -> tuple[bytes, ...]:
    """The roots of a tree's columns, from their payloads; ``count`` are the leaves of the whole tree, blanks included.

    Raises:
        CryptoError: a column has more payloads than places.
    """
    return tuple(
        _stack_column(domain, count, height, column, payloads)[-1][0] for column, payloads in enumerate(columns)
    )


def _stack_column(domain: bytes, count: int, height: int, column: int, payloads: Sequence[bytes]) -> list[list[bytes]]:
    """The levels of one column, its root last; a blank stands where a level would be odd."""
    if len(payloads) > 1 << height:
        raise CryptoError(f"a column of {1 << height} places holds no {len(payloads)} leaves")
    levels = [_hash_leaves(domain, payloads, count, column << height) or [BLANK]]
    for _ in range(height):
        if len(levels[-1]) % 2:
            levels[-1].append(BLANK)
        levels.append([BLANK] if levels[-1] == [BLANK, BLANK] else _hash_pairs(levels[-1]))
    return levels


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
