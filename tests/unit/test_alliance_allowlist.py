"""The allowlist's tree against OpenZeppelin's rule, written down a second time, and against itself."""

from __future__ import annotations

import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from p2p_flock.alliance.allowlist import (
    ALLOWLIST_OWNERS_MAX,
    NO_ALLOWLIST,
    check_allowlist,
    compute_allowlist_root,
    is_on_allowlist,
    make_allowlist_proof,
)
from p2p_flock.errors import ParameterError

OWNERS = st.sets(st.binary(min_size=20, max_size=20).filter(any), min_size=1, max_size=40).map(sorted)


def leaf(owner: bytes) -> bytes:
    return keccak(keccak(bytes(12) + owner))


def pair(first: bytes, second: bytes) -> bytes:
    """OpenZeppelin, Hashes.commutativeKeccak256."""
    return keccak(first + second) if first < second else keccak(second + first)


def member(number: int) -> bytes:
    return number.to_bytes(20, "big")


def test_root__is_openzeppelins_for_small_lists() -> None:
    """The factory would refuse every allowlist, or take it and refuse every proof."""
    a, b, c, d, e = (leaf(member(number)) for number in range(1, 6))
    owners = [member(number) for number in range(1, 6)]
    assert compute_allowlist_root(owners[:1]) == a
    assert compute_allowlist_root(owners[:2]) == pair(a, b)
    assert compute_allowlist_root(owners[:3]) == pair(pair(a, b), c)
    assert compute_allowlist_root(owners[:4]) == pair(pair(a, b), pair(c, d))
    assert compute_allowlist_root(owners) == pair(pair(pair(a, b), pair(c, d)), e)
    assert make_allowlist_proof(owners, member(3)) == (d, pair(a, b), e)
    assert make_allowlist_proof(owners, member(5)) == (pair(pair(a, b), pair(c, d)),)
    assert compute_allowlist_root([]) == NO_ALLOWLIST


@given(owners=OWNERS, stranger=st.binary(min_size=20, max_size=20).filter(any))
def test_proof__admits_those_on_the_list_and_nobody_else(owners: list[bytes], stranger: bytes) -> None:
    """A member could not join, or somebody else could with a member's proof."""
    root = compute_allowlist_root(owners)
    for owner in owners:
        proof = make_allowlist_proof(owners, owner)
        assert is_on_allowlist(root, owner, proof)
        assert len(proof) <= 10
        assert stranger in owners or not is_on_allowlist(root, stranger, proof)
        assert not is_on_allowlist(root, owner, [*proof, bytes(32)])


def test_largest_list__is_taken() -> None:
    """The bound would be another one than the contract's."""
    owners = [member(number) for number in range(1, ALLOWLIST_OWNERS_MAX + 1)]
    assert is_on_allowlist(
        compute_allowlist_root(owners), owners[700], proof := make_allowlist_proof(owners, owners[700])
    )
    assert len(proof) == 10


@pytest.mark.parametrize(
    "owners",
    [
        pytest.param([member(2), member(1)], id="bad_order"),
        pytest.param([member(1), member(1)], id="bad_twice"),
        pytest.param([bytes(20)], id="bad_zero"),
        pytest.param([b"short"], id="bad_length"),
        pytest.param([member(n) for n in range(1, ALLOWLIST_OWNERS_MAX + 2)], id="bad_many"),
    ],
)
def test_list__that_the_factory_refuses_is_refused_before(owners: list[bytes]) -> None:
    """Gas would be paid for an alliance that the factory does not create."""
    with pytest.raises(ParameterError):
        check_allowlist(owners)


def test_proof__of_somebody_else_is_not_made() -> None:
    """A joiner that is not on the list would pay for a transaction that fails."""
    with pytest.raises(ParameterError, match="not on the allowlist"):
        make_allowlist_proof([member(1)], member(2))
