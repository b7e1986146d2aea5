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


@pytest.mark.parametrize("others", [1, 2, 3, 5, 8, 13, 70])
@pytest.mark.parametrize(("height", "sizes"), [(0, (1, 1)), (1, (2,)), (2, (4, 3, 1)), (3, (5, 8, 0, 1, 7)), (1, (0,))])
def test_columns__prove_every_leaf_and_themselves(height: int, sizes: tuple[int, ...], others: int) -> None:
    """A survivor could not tell that its shares are those under the sealed root, or a contract that one is not."""
    leaves_after, stacks = [bytes([7, n]) for n in range(others)], columns_of(sizes)
    columns = merkle.Columns(DOMAIN, others, height, stacks)
    tree, count = merkle.ColumnTree(columns, leaves_after), columns.count
    for column, leaves in enumerate(stacks):
        for place, payload in enumerate(leaves):
            proof, index = (*columns.prove(column, place), *tree.columns_path), (column << height) + place
            assert merkle.count_siblings(count, index) == len(proof)
            assert merkle.verify_proof(tree.root, DOMAIN, count, index, payload, proof)
            assert not merkle.verify_proof(tree.root, DOMAIN, count, index, payload + b"x", proof)
            upper = proof[height:]
            assert merkle.verify_column(tree.root, DOMAIN, count, height, column, leaves, upper)
            for bad in ([*leaves[:-1], b"other"], leaves[:-1], [*leaves, b"more"], leaves[::-1] if place else []):
                assert not merkle.verify_column(tree.root, DOMAIN, count, height, column, bad, upper)
            assert not merkle.verify_column(tree.root, DOMAIN, count, height, column, leaves, [*upper, bytes(32)])
    for place, payload in enumerate(leaves_after):
        assert merkle.verify_proof(tree.root, DOMAIN, count, tree.first_index + place, payload, tree.prove(place))


def test_columns__that_are_full_make_the_plain_tree() -> None:
    """Leaves of columns would be hashed otherwise than all others."""
    leaves = payloads(11)
    columns = merkle.Columns(DOMAIN, 3, 2, (leaves[:4], leaves[4:8]))
    assert merkle.ColumnTree(columns, leaves[8:]).root == merkle.compute_root(DOMAIN, leaves)


def test_columns__bad_shapes_are_refused() -> None:
    """A column would run into the next one, or a tree have no leaf that says what it is."""
    for others, height, stacks in ((1, 1, columns_of((3,))), (0, 1, columns_of((1,))), (1, 1, [])):
        with pytest.raises(CryptoError):
            merkle.Columns(DOMAIN, others, height, stacks)
    with pytest.raises(CryptoError):
        merkle.Columns(DOMAIN, 1, 20, columns_of((1,)))
    with pytest.raises(CryptoError):
        merkle.ColumnTree(merkle.Columns(DOMAIN, 2, 1, columns_of((1,))), [b"a"])
