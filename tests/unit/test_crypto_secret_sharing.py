"""Shamir's sharing over GF(2⁸)."""

from __future__ import annotations

import itertools

import pytest

from p2p_flock.crypto.secret_sharing import combine_shares, extend_shares, find_wrong_shares, split_secret
from p2p_flock.errors import CryptoError

SECRET = bytes(range(32))
CONTEXT = b"context"


def test_combine_shares__any_threshold_of_them_gives_the_secret() -> None:
    """A cohort whose dropouts are the wrong ones could not be opened."""
    shares = split_secret(SECRET, CONTEXT, 3, 6)
    for chosen in itertools.combinations(range(6), 3):
        assert combine_shares({holder: shares[holder] for holder in chosen}, 3) == SECRET


def test_combine_shares__fewer_are_refused() -> None:
    """One share too few must not lead to something that looks like a secret."""
    shares = split_secret(SECRET, CONTEXT, 3, 6)
    with pytest.raises(CryptoError):
        combine_shares({0: shares[0], 4: shares[4]}, 3)


def test_split_secret__fewer_shares_fit_every_secret() -> None:
    """Two shares of a threshold of three would exclude some secrets, and so tell of the right one."""
    shares = split_secret(SECRET, CONTEXT, 3, 6)
    seen = set()
    for guess in range(256):
        third = bytes([guess]) * 32
        seen.add(combine_shares({0: shares[0], 1: shares[1], 2: third}, 3)[0])
    assert seen == set(range(256))


def test_split_secret__depends_on_context() -> None:
    """Two dealings of one pair seed on one polynomial would add up under different seals."""
    one, two = split_secret(SECRET, b"dealer i", 3, 5), split_secret(SECRET, b"dealer j", 3, 5)
    assert all(mine != theirs for mine, theirs in zip(one, two, strict=True))
    assert one == split_secret(SECRET, b"dealer i", 3, 5)


def test_split_secret__no_share_is_the_secret() -> None:
    """A holder would know the secret alone."""
    assert SECRET not in split_secret(SECRET, CONTEXT, 2, 32)


def test_find_wrong_shares__names_those_of_another_polynomial() -> None:
    """A dealer could give a holder a share that spoils the sum, and nothing would show it."""
    shares = dict(enumerate(split_secret(SECRET, CONTEXT, 3, 6)))
    assert find_wrong_shares(shares, 3) == ()
    assert find_wrong_shares({h: shares[h] for h in (1, 3, 5)}, 3) == ()
    shares[4] = shares[1]
    assert find_wrong_shares(shares, 3) == (4,)
    shares[0] = bytes(32)
    assert find_wrong_shares(shares, 3) == (3, 4, 5)  # seen from the lowest three, of which one lies


def test_extend_shares__any_threshold_of_them_gives_all() -> None:
    """Validators that heard different holders would disagree about a dealer."""
    shares = split_secret(SECRET, CONTEXT, 3, 6)
    for chosen in itertools.combinations(range(6), 3):
        assert extend_shares({holder: shares[holder] for holder in chosen}, 3, 6) == shares
    with pytest.raises(CryptoError):
        extend_shares(dict(enumerate(shares)), 3, 256)


@pytest.mark.parametrize(("threshold", "holders"), [(0, 3), (4, 3), (1, 256)])
def test_split_secret__bad_numbers_are_refused(threshold: int, holders: int) -> None:
    """A threshold above the holders loses the secret, one of zero publishes it."""
    with pytest.raises(CryptoError):
        split_secret(SECRET, CONTEXT, threshold, holders)


def test_shares__bad_lengths_and_holders_are_refused() -> None:
    """A short share would be read as another one."""
    shares = split_secret(SECRET, CONTEXT, 2, 3)
    with pytest.raises(CryptoError):
        split_secret(SECRET[:31], CONTEXT, 2, 3)
    with pytest.raises(CryptoError):
        combine_shares({0: shares[0], 1: shares[1][:31]}, 2)
    with pytest.raises(CryptoError):
        combine_shares({0: shares[0], 255: shares[1]}, 2)
