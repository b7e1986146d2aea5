"""X25519."""

from __future__ import annotations

import pytest

from p2p_flock.crypto.key_agreement import agree, is_usable_mask_key, mask_public_key
from p2p_flock.errors import CryptoError

# All low-order points and their non-canonical forms (RFC 7748 §7; Bernstein's list at cr.yp.to/ecdh.html).
LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def test_agree__matches_rfc_7748() -> None:
    """Another curve or byte order would shut every other implementation out (§6.1 of the RFC)."""
    ours = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    theirs = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    shared = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    assert agree(ours, theirs) == shared


def test_agree__is_the_same_from_both_ends() -> None:
    """Different secrets at the two ends would leave both masks in the sum."""
    one, two = bytes([1]) * 32, bytes([2]) * 32
    assert agree(one, mask_public_key(two)) == agree(two, mask_public_key(one))


@pytest.mark.parametrize("point", LOW_ORDER)
def test_agree__bad_low_order_point_is_refused(point: str) -> None:
    """With it, everybody would know the pair seed."""
    with pytest.raises(CryptoError):
        agree(bytes([3]) * 32, bytes.fromhex(point))
    assert not is_usable_mask_key(bytes.fromhex(point))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys__bad_length_is_refused(size: int) -> None:
    """A library that pads or truncates would agree on a weak secret."""
    with pytest.raises(CryptoError):
        mask_public_key(bytes(size))
    with pytest.raises(CryptoError):
        agree(bytes([3]) * 32, bytes(size))
    assert not is_usable_mask_key(bytes(size))


def test_is_usable_mask_key__takes_ordinary_keys() -> None:
    """An honest member must not be left out of its cohort."""
    assert all(is_usable_mask_key(mask_public_key(bytes([n]) * 32)) for n in range(1, 20))
