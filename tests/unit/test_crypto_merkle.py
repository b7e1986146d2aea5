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


def columns_of(sizes: tuple[int, ...]) -> list[list[bytes]]:
    return [[bytes([column, place]) * 9 for place in range(size)] for column, size in enumerate(sizes)]


@pytest.mark.parametrize("others", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize(("height", "sizes"), [(0, (1, 1)), (1, (2,)), (2, (4, 3, 1)), (3, (5, 8, 0, 1, 7)), (2, ())])
def test_columns__stand_in_the_same_tree(height: int, sizes: tuple[int, ...], others: int) -> None:
    """A survivor that has the columns' roots would find another root than a validator that has their leaves."""
    payloads, columns = tuple(bytes([7, n]) for n in range(others)), columns_of(sizes)
    count = (len(sizes) << height) + others
    tree = merkle.ColumnTree(
        b"d" * 32, height, merkle.compute_column_roots(b"d" * 32, count, height, columns), payloads
    )
    assert tree.count == count
    for column, leaves in enumerate(columns):
        assert tree.holds_column(column, leaves) and not tree.holds_column(column, [*leaves[:-1], b"other"])
        for place, payload in enumerate(leaves):
            proof = tree.prove_in_column(column, leaves, place)
            index = (column << height) + place
            assert merkle.verify_proof(tree.root, b"d" * 32, count, index, payload, proof)
            assert not merkle.verify_proof(tree.root, b"d" * 32, count, index, payload + b"x", proof)
    for place, payload in enumerate(payloads):
        proof = tree.prove(place)
        assert merkle.verify_proof(tree.root, b"d" * 32, count, tree.first_index + place, payload, proof)


def test_columns__without_any_are_the_plain_tree() -> None:
    """Two trees would be called one."""
    payloads = [bytes([n]) for n in range(11)]
    assert merkle.ColumnTree(b"d" * 32, 0, (), tuple(payloads)).root == merkle.compute_root(b"d" * 32, payloads)


def test_columns__full_ones_are_the_plain_tree() -> None:
    """Leaves of columns would be hashed otherwise than all others."""
    columns, payloads = columns_of((4, 4)), (b"a", b"b", b"c")
    flat = [leaf for leaves in columns for leaf in leaves] + list(payloads)
    roots = merkle.compute_column_roots(b"d" * 32, 11, 2, columns)
    assert merkle.ColumnTree(b"d" * 32, 2, roots, payloads).root == merkle.compute_root(b"d" * 32, flat)


def test_columns__too_long_or_alone_are_refused() -> None:
    """A column would run into the next one, or a tree have no leaf that says what it is."""
    with pytest.raises(CryptoError):
        merkle.compute_column_roots(b"d" * 32, 9, 1, columns_of((3,)))
    with pytest.raises(CryptoError):
        merkle.ColumnTree(b"d" * 32, 1, (), ())


def hash_slowly(domain: bytes, leaves: list[bytes]) -> bytes:
    """The root by one framed hash per leaf and pair, level by level."""
    numbers = [(len(leaves).to_bytes(4, "big"), n.to_bytes(4, "big")) for n in range(len(leaves))]
    level = [
        suite.hash32("p2p_flock merkle leaf v1", domain, *number, leaf)
        for number, leaf in zip(numbers, leaves, strict=True)
    ]
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [suite.hash32("p2p_flock merkle node v1", *pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0]


@pytest.mark.parametrize("count", [1, 2, 3, 6, 31, 256, 1001])
def test_compute_root__equals_the_definition(count: int) -> None:
    """The fast way would commit to a root that nobody else computes. Leaves of many sizes, domains too."""
    leaves = [suite.sha256(bytes([n % 7, n // 7 % 256])) * (n % 13) + bytes(n % 3) for n in range(count)]
    for domain in (b"", DOMAIN, bytes(300)):
        assert merkle.compute_root(domain, leaves) == hash_slowly(domain, leaves)
