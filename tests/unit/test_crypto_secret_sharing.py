"""Shamir's sharing over GF(2⁸)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from p2p_flock.crypto import suite
from p2p_flock.crypto.masking import keystream
from p2p_flock.crypto.secret_sharing import (
    combine_many,
    combine_shares,
    extend_many,
    extend_shares,
    find_wrong_shares,
    split_secret,
    split_secrets,
)
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


def multiply_slowly(a: int, b: int) -> int:
    """The product modulo x⁸+x⁴+x³+x+1, bit by bit."""
    product = 0
    while b:
        product ^= a * (b & 1)
        a, b = (a << 1) ^ (0x11B * (a >> 7)), b >> 1
    return product


HOLDERS_OF = {1: 1, 3: 5, 5: 12, 38: 51, 77: 128, 130: 255}  # threshold to holders


def split_slowly(secret: bytes, context: bytes, threshold: int, holder: int) -> bytes:
    """One holder's share by Horner's rule on single bytes."""
    numbers = (bytes([threshold]), bytes([HOLDERS_OF[threshold]]))
    key = suite.derive_key(secret, "p2p_flock sharing polynomial v1", context, *numbers)
    polynomial = secret + keystream(key, 32 * (threshold - 1))
    share = bytearray(32)
    for k in reversed(range(threshold)):
        for byte in range(32):
            share[byte] = multiply_slowly(share[byte], holder + 1) ^ polynomial[32 * k + byte]
    return bytes(share)


@pytest.mark.parametrize("threshold", HOLDERS_OF)
def test_split_secrets__equals_the_definition(threshold: int) -> None:
    """A dealer's batch would give shares that no other implementation rebuilds."""
    holder_count, randomness = HOLDERS_OF[threshold], np.random.default_rng(threshold)
    secrets = [randomness.bytes(32) for _ in range(int(randomness.integers(1, 140)))]
    contexts = [randomness.bytes(int(randomness.integers(0, 40))) for _ in secrets]
    shares = split_secrets(secrets, contexts, threshold, holder_count)
    assert shares.shape == (len(secrets), holder_count, 32) and shares.dtype == np.uint8
    for holder in {0, holder_count // 2, holder_count - 1}:
        assert shares[-1, holder].tobytes() == split_slowly(secrets[-1], contexts[-1], threshold, holder)
    for secret, context, rows in zip(secrets, contexts, shares, strict=True):
        assert b"".join(split_secret(secret, context, threshold, holder_count)) == rows.tobytes()


@pytest.mark.parametrize("threshold", HOLDERS_OF)
def test_combine_many__any_holders_in_any_order_give_all(threshold: int) -> None:
    """Secrets rebuilt at once would differ from those rebuilt one by one."""
    holder_count, randomness = HOLDERS_OF[threshold], np.random.default_rng(threshold)
    secrets = [randomness.bytes(32) for _ in range(int(randomness.integers(1, 140)))]
    shares = split_secrets(secrets, [CONTEXT] * len(secrets), threshold, holder_count)
    holders = [int(holder) for holder in randomness.permutation(holder_count)[:threshold]]
    given = shares[:, holders]
    assert combine_many(holders, given).tobytes() == b"".join(secrets)
    assert extend_many(holders, given, holder_count).tobytes() == shares.tobytes()
    one = {holder: shares[0, holder].tobytes() for holder in holders}
    assert combine_shares(one, threshold) == secrets[0]
    assert b"".join(extend_shares(one, threshold, holder_count)) == shares[0].tobytes()


def test_split_secrets__of_nothing_is_nothing() -> None:
    """A member without neighbors in a sparse graph would end the node."""
    shares = split_secrets([], [], 2, 3)
    assert shares.shape == (0, 3, 32)
    assert combine_many((0, 1), shares[:, :2]).shape == (0, 32)
    assert extend_many((0, 1), shares[:, :2], 9).shape == (0, 9, 32)


def test_many_secrets__bad_arguments_are_refused() -> None:
    """Shares of the wrong holders, or as many as are not there, would rebuild another secret in silence."""
    shares = split_secrets([SECRET, SECRET], [CONTEXT, b""], 2, 3)
    with pytest.raises(CryptoError):
        split_secrets([SECRET, SECRET], [CONTEXT], 2, 3)
    with pytest.raises(CryptoError):
        split_secrets([SECRET, SECRET[:31]], [CONTEXT, CONTEXT], 2, 3)
    for holders in [(0,), (0, 0), (0, 255), (-1, 1), ()]:
        with pytest.raises(CryptoError):
            combine_many(holders, shares[:, :2])
    for wrong in [shares[0, :2], shares[:, :2, :31], shares[:, :2].astype(np.uint16)]:
        with pytest.raises(CryptoError):
            combine_many((0, 1), wrong)
    with pytest.raises(CryptoError):
        extend_many((0, 1), shares[:, :2], 256)
