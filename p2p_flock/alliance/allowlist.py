"""Who may join an alliance that is not open to all: a Merkle tree over owners' addresses. Pure; mirrors the factory.

Called by the CLI (the list's root goes into the parameters), by the daemon (a joiner shows its proof) and by tests.

    leaf(owner) = keccak256(keccak256(abi.encode(owner)))        hashed twice: a leaf is never taken for an inner node
    node(a, b)  = keccak256(min(a, b) ‖ max(a, b))

as in OpenZeppelin's ``MerkleProof`` and its JavaScript library's standard leaf. Owners stand in strictly ascending
order; each layer is made of the one below by pairs from the left, an odd last node goes up unchanged. Pairs are sorted
when they are hashed, so a proof is a list of siblings without sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from p2p_flock.crypto.suite import keccak256
from p2p_flock.errors import ParameterError
from p2p_flock.types import ADDRESS_BYTES

ALLOWLIST_OWNERS_MAX = 1024  # the factory logs them all; a proof has ten hashes then
NO_ALLOWLIST = bytes(32)  # the root of an alliance that is open to all


def compute_allowlist_root(owners: Sequence[bytes]) -> bytes:
    """Root over addresses of 20 bytes each, in strictly ascending order; 32 zero bytes for no owner at all.

    Raises:
        ParameterError: not ascending, an address of another length, the zero address, or too many.
    """
    check_allowlist(owners)
    return _layers(owners)[-1][0] if owners else NO_ALLOWLIST


def make_allowlist_proof(owners: Sequence[bytes], owner: bytes) -> tuple[bytes, ...]:
    """The siblings from the owner's leaf up, 32 bytes each.

    Raises:
        ParameterError: the owner is not on the list, or the list breaks a rule.
    """
    check_allowlist(owners)
    if owner not in owners:
        raise ParameterError(f"0x{owner.hex()} is not on the allowlist")
    index, siblings = list(owners).index(owner), []
    for layer in _layers(owners)[:-1]:
        if index ^ 1 < len(layer):
            siblings.append(layer[index ^ 1])
        index //= 2
    return tuple(siblings)


def is_on_allowlist(root: bytes, owner: bytes, proof: Sequence[bytes]) -> bool:
    """What the contract asks of a joiner (OpenZeppelin, ``MerkleProof.verifyCalldata``)."""
    node = _leaf(owner)
    for sibling in proof:
        node = _node(node, sibling)
    return node == root


def check_allowlist(owners: Sequence[bytes]) -> None:
    """The factory's rules of the list itself.

    Raises:
        ParameterError: not strictly ascending, an address of another length, the zero address, or too many.
    """
    if len(owners) > ALLOWLIST_OWNERS_MAX:
        raise ParameterError(f"an allowlist has at most {ALLOWLIST_OWNERS_MAX} owners, not {len(owners)}")
    if any(len(owner) != ADDRESS_BYTES or not any(owner) for owner in owners):
        raise ParameterError(f"an allowlist holds addresses of {ADDRESS_BYTES} bytes, none of them zero")
    if any(before >= after for before, after in pairwise(owners)):
        raise ParameterError("an allowlist's owners stand in strictly ascending order")


def _layers(owners: Sequence[bytes]) -> list[list[bytes]]:
    layers = [[_leaf(owner) for owner in owners]]
    while len(layers[-1]) > 1:
        below = layers[-1]
        pairs = [_node(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)]
        layers.append(pairs + below[len(below) & ~1 :])
    return layers


def _leaf(owner: bytes) -> bytes:
    return keccak256(keccak256(owner.rjust(32, b"\0")))


def _node(first: bytes, second: bytes) -> bytes:
    return keccak256(min(first, second) + max(first, second))
