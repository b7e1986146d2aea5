"""Sealing the shares that one trainer deals to one partner, and opening them.

Called by the contributor. The sealed form is public: anybody may store and pass it on, dealer and holder can open it.
"""

from __future__ import annotations

from nacl import bindings
from nacl.exceptions import CryptoError as NaclCryptoError

from p2p_flock.crypto import suite
from p2p_flock.errors import CryptoError, WireError
from p2p_flock.secagg.context import CohortContext
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import SHARE_BYTES, Bundle

NONCE_BYTES = 24
TAG_BYTES = 16
BUNDLE_PLAIN_BYTES_MAX = 1 << 13  # 255 shares take 8,170 bytes
SEALED_BUNDLE_BYTES_MAX = NONCE_BYTES + BUNDLE_PLAIN_BYTES_MAX + TAG_BYTES


def compute_sealed_bytes(context: CohortContext, dealer: int, holder: int) -> int:
    """How long the sealed bundle of this pair is, exactly: its shares are as many as the graph says."""
    plain = Bundle(dealer, holder, bytes(SHARE_BYTES * len(context.secrets_held(dealer, holder))))
    return NONCE_BYTES + len(encode(plain)) + TAG_BYTES


def _associated(context: CohortContext, dealer: int, holder: int) -> bytes:
    pair_context = context.pair_context(dealer, holder)
    return suite.frame("p2p_flock bundle v1", pair_context, dealer.to_bytes(2, "big"), holder.to_bytes(2, "big"))


def seal_bundle(context: CohortContext, key: bytes, bundle: Bundle) -> bytes:
    """Nonce (24 bytes) ‖ XChaCha20-Poly1305 ciphertext of the canonical bundle.

    The nonce is derived from key and plaintext: should a restored node ever deal twice under one key, the two
    keystreams still differ.
    """
    plain = encode(bundle)
    nonce = suite.derive_key(key, "p2p_flock bundle nonce v1", plain)[:NONCE_BYTES]
    associated = _associated(context, bundle.dealer, bundle.holder)
    return nonce + bytes(bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, associated, nonce, key))


def open_bundle(context: CohortContext, key: bytes, dealer: int, holder: int, sealed: bytes) -> Bundle:
    """The bundle that ``dealer`` sealed for ``holder``; its shares are not yet checked.

    Raises:
        CryptoError: wrong size or tag, not a canonical bundle, one for another pair, or of another number of shares.
    """
    if not NONCE_BYTES + TAG_BYTES < len(sealed) <= SEALED_BUNDLE_BYTES_MAX:
        raise CryptoError("a sealed bundle of impossible size")
    associated = _associated(context, dealer, holder)
    nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        plain = bytes(bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, associated, nonce, key))
        bundle = decode(Bundle, plain, BUNDLE_PLAIN_BYTES_MAX)
    except (NaclCryptoError, WireError) as error:
        raise CryptoError(f"the bundle does not open: {error}") from error
    if (bundle.dealer, bundle.holder) != (dealer, holder):
        raise CryptoError("the bundle belongs to another pair")
    if len(bundle.shares) != SHARE_BYTES * len(context.secrets_held(dealer, holder)):
        raise CryptoError("the bundle holds shares of other secrets")
    return bundle
