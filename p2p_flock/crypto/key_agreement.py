"""X25519 (RFC 7748): the shared secret of two mask keys.

Called by ``secagg/`` only. The result is never used as a key itself; see ``suite.derive_key``.
"""

from __future__ import annotations

from nacl import bindings
from nacl.exceptions import CryptoError as NaclCryptoError

from p2p_flock.errors import CryptoError

MASK_KEY_BYTES = 32
# Any scalar shows whether a point has low order: X25519 clears the cofactor, so every low-order point gives zero, and
# no clamped scalar is a multiple of the order of any other point.
_PROBE_SECRET = bytes([1]) * MASK_KEY_BYTES


def mask_public_key(mask_secret_key: bytes) -> bytes:
    """The 32-byte public mask key of a 32-byte secret.

    Raises:
        CryptoError: the secret has another length.
    """
    if len(mask_secret_key) != MASK_KEY_BYTES:
        raise CryptoError(f"an X25519 secret has {MASK_KEY_BYTES} bytes, not {len(mask_secret_key)}")
    return bytes(bindings.crypto_scalarmult_base(mask_secret_key))


def agree(mask_secret_key: bytes, mask_key: bytes) -> bytes:
    """X25519 of one's own secret and the other's public mask key, 32 bytes.

    Raises:
        CryptoError: a length is wrong, or the result is all zero (RFC 7748 §6.1: the other key has low order, and its
            owner would force a secret that everybody knows).
    """
    if len(mask_secret_key) != MASK_KEY_BYTES or len(mask_key) != MASK_KEY_BYTES:
        raise CryptoError("X25519 keys have 32 bytes")
    try:
        shared = bytes(bindings.crypto_scalarmult(mask_secret_key, mask_key))
    except (NaclCryptoError, RuntimeError) as error:
        raise CryptoError("the other mask key has low order") from error
    if not any(shared):
        raise CryptoError("the other mask key has low order")
    return shared


def is_usable_mask_key(mask_key: bytes) -> bool:
    """Whether ``mask_key`` may be put into a cohort: 32 bytes, not of low order.

    Everybody computes the same answer from the chain alone, so a member with such a key is left out before the round
    instead of making every neighbor's key agreement fail in it.
    """
    try:
        agree(_PROBE_SECRET, mask_key)
    except CryptoError:
        return False
    return True
