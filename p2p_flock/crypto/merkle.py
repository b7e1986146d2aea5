"""Merkle root over a list of payloads, with proofs.

Called by ``secagg/`` for the root of a contribution. Every leaf is hashed with the tree's domain, the number of leaves
and its own index, and leaves and nodes have different domains: no node can pass for a leaf (RFC 6962 §2.1), no leaf for
another, no tree for a shorter or longer one. An odd last node moves up unchanged.

A :class:`ColumnTree` is such a tree whose first leaves stand in :class:`Columns`: aligned subtrees, filled up with
blanks that nobody hashes, under one node. Whoever has all leaves of one column and the siblings of its root checks them
together; paths up to the node over all columns do not depend on the leaves after them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

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


# The frame around the two halves of a node: what is the same in all of them.
_BLANK_NODE = suite.frame(_NODE, bytes(suite.DIGEST_BYTES), bytes(suite.DIGEST_BYTES))
_NODE_HEAD = _BLANK_NODE[: -2 * suite.DIGEST_BYTES - 8]
_NODE_BETWEEN = _BLANK_NODE[-suite.DIGEST_BYTES - 8 : -suite.DIGEST_BYTES]


def _hash_pairs(level: Sequence[bytes]) -> list[bytes]:
    """:func:`_node` of every two; an odd last one as it is."""
    head, between, sha256 = _NODE_HEAD, _NODE_BETWEEN, hashlib.sha256
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


class Columns:
    """The columns of a tree: aligned subtrees of 2^height leaves, as many as the next power of two, blank ones last.

    Attributes:
        count: leaves of the whole tree, blanks and those after the columns included.
        height: of one column; height_all: of the subtree that all of them make, whose root is ``root``.
    """

    def __init__(self, domain: bytes, others: int, height: int, columns: Sequence[Sequence[bytes]]) -> None:
        """Hash everything.

        Args:
            others: how many leaves follow the columns.
            columns: payloads of each column's leaves, one column at least.

        Raises:
            CryptoError: no column, no leaf after them, more than ``LEAVES_MAX`` leaves, or a column has more payloads
                than places.
        """
        if not columns or others < 1:
            raise CryptoError("a tree has columns, and leaves after them")
        self.domain, self.height = domain, height
        self.height_all = height + (len(columns) - 1).bit_length()
        self.count = (1 << self.height_all) + others
        if self.count > LEAVES_MAX:
            raise CryptoError(f"a Merkle tree has at most {LEAVES_MAX} leaves")
        self._columns = [_stack(domain, self.count, height, at, leaves) for at, leaves in enumerate(columns)]
        self._upper = _raise([levels[-1][0] for levels in self._columns], self.height_all - height)

    @property
    def root(self) -> bytes:
        """The node over all columns."""
        return self._upper[-1][0]

    def prove(self, column: int, place: int) -> tuple[bytes, ...]:
        """The siblings of leaf ``column · 2^height + place`` up to :attr:`root`."""
        return _prove(self._columns[column], place) + _prove(self._upper, column)


class ColumnTree:
    """The whole tree. Attributes: ``columns``; ``first_index``, of the first leaf after them."""

    def __init__(self, columns: Columns, payloads: Sequence[bytes]) -> None:
        """Hash the leaves after the columns, as many as were announced.

        Raises:
            CryptoError: it is another number of leaves.
        """
        self.columns, self.first_index = columns, 1 << columns.height_all
        if self.first_index + len(payloads) != columns.count:
            raise CryptoError("the tree was begun for another number of leaves")
        # No pair below the level of the columns' root holds a leaf of theirs and another one, and the last node of such
        # a level is odd in the whole tree where it is odd here.
        self._rest = [_hash_leaves(columns.domain, payloads, columns.count, self.first_index)]
        for _ in range(columns.height_all):
            self._rest.append(_hash_pairs(self._rest[-1]))
        self._upper = _fold([columns.root, *self._rest[-1]])

    @property
    def root(self) -> bytes:
        """The 32-byte root."""
        return self._upper[-1][0]

    @property
    def columns_path(self) -> tuple[bytes, ...]:
        """The siblings of the columns' root: with them a path up to it goes on to the root."""
        return _prove(self._upper, 0)

    def prove(self, place: int) -> tuple[bytes, ...]:
        """The siblings of leaf ``first_index + place``."""
        return _prove(self._rest, place) + _prove(self._upper, 1 + (place >> self.columns.height_all))


def _stack(domain: bytes, count: int, height: int, column: int, payloads: Sequence[bytes]) -> list[list[bytes]]:
    """The levels of one column, its root last."""
    if len(payloads) > 1 << height:
        raise CryptoError(f"a column of {1 << height} places holds no {len(payloads)} leaves")
    return _raise(_hash_leaves(domain, payloads, count, column << height), height)


def _raise(level: list[bytes], height: int) -> list[list[bytes]]:
    """This level and ``height`` more; a blank stands where one would be odd, or empty."""
    levels = [level or [BLANK]]
    for _ in range(height):
        if len(levels[-1]) % 2:
            levels[-1].append(BLANK)
        levels.append([BLANK] if levels[-1] == [BLANK, BLANK] else _hash_pairs(levels[-1]))
    return levels


def verify_column(
    root: bytes,
    domain: bytes,
    count: int,
    height: int,
    column: int,
    payloads: Sequence[bytes],
    proof: Sequence[bytes],
) -> bool:
    """Whether exactly ``payloads`` are the leaves of a column under ``root``; false for anything malformed.

    Args:
        proof: the siblings of the column's root up to the tree's: those of any of its leaves but the first ``height``.
    """
    if not 1 <= count <= LEAVES_MAX or not 0 <= column << height < count or len(payloads) > 1 << height:
        return False
    column_root = _stack(domain, count, height, column, payloads)[-1][0]
    return _climb(column_root, column, (count + (1 << height) - 1) >> height, proof) == root


def count_siblings(count: int, index: int) -> int:
    """How long the proof of leaf ``index`` of ``count`` leaves is."""
    length = 0
    while count > 1:
        length += index ^ 1 < count
        index, count = index // 2, (count + 1) // 2
    return length


def _climb(digest: bytes, index: int, count: int, proof: Sequence[bytes]) -> bytes | None:
    """The root over node ``index`` of a level with ``count`` nodes; ``None`` with too many or too few siblings."""
    siblings = list(proof)
    while count > 1:
        if index ^ 1 < count:
            if not siblings:
                return None
            sibling = siblings.pop(0)
            digest = _node(digest, sibling) if index % 2 == 0 else _node(sibling, digest)
        index, count = index // 2, (count + 1) // 2
    return None if siblings else digest


def verify_proof(root: bytes, domain: bytes, count: int, index: int, payload: bytes, proof: Sequence[bytes]) -> bool:
    """Whether ``payload`` is leaf ``index`` of the ``count`` leaves under ``root``; false for anything malformed."""
    if not 1 <= count <= LEAVES_MAX or not 0 <= index < count:
        return False
    return _climb(_leaf(domain, count, index, payload), index, count, proof) == root
