"""Sealing the shares that one trainer deals to one partner, and opening and checking them.

Called by the contributor. The sealed form is public: anybody may store and pass it on, dealer and holder can open it.
"""

from __future__ import annotations

from nacl import bindings
from nacl.exceptions import CryptoError as NaclCryptoError

from p2p_flock.crypto import merkle, suite
from p2p_flock.errors import CryptoError, WireError
from p2p_flock.secagg import keys
from p2p_flock.secagg.context import CohortContext
from p2p_flock.secagg.dealing import Dealing, join_shares
from p2p_flock.secagg.document import compute_column_height, compute_columns_height, count_leaves, share_leaf
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import SHARE_BYTES, Bundle

NONCE_BYTES = 24
TAG_BYTES = 16
BUNDLE_PLAIN_BYTES_MAX = (1 << 13) + (1 << 10)  # 255 shares and a path take 8,820 bytes
SEALED_BUNDLE_BYTES_MAX = NONCE_BYTES + BUNDLE_PLAIN_BYTES_MAX + TAG_BYTES


def compute_sealed_bytes(context: CohortContext, dealer: int, holder: int) -> int:
    """How long the sealed bundle of this pair is, exactly: as many shares and siblings as the graph says."""
    shares, siblings = len(context.secrets_held(dealer, holder)), compute_columns_height(context, dealer)
    plain = Bundle(dealer, holder, bytes(SHARE_BYTES * shares), bytes(suite.DIGEST_BYTES * siblings))
    return NONCE_BYTES + len(encode(plain)) + TAG_BYTES


def _proven_place(context: CohortContext, dealer: int, holder: int) -> int:
    """Which leaf of its column a bundle proves: that of the self mask, which every survivor says; else the first."""
    secrets = context.secrets_held(dealer, holder)
    return secrets.index(dealer) if dealer in secrets else 0


def make_bundle(context: CohortContext, dealing: Dealing, columns: merkle.Columns, dealer: int, holder: int) -> Bundle:
    """The plaintext for one partner."""
    column = context.columns(dealer).index(holder)
    proof = columns.prove(column, _proven_place(context, dealer, holder))
    return Bundle(dealer, holder, join_shares(context, dealing, dealer, holder), b"".join(proof))


def holds_self_mask_share(context: CohortContext, bundle: Bundle, root: bytes, columns_path: bytes) -> bool:
    """Whether the bundle's share of the dealer's self mask is the one committed to under ``root``."""
    dealer, holder = bundle.dealer, bundle.holder
    place, height = _proven_place(context, dealer, holder), compute_column_height(context)
    index = (context.columns(dealer).index(holder) << height) + place
    payload, count = _share_payload(context, bundle, dealer, place), count_leaves(context, dealer)
    return merkle.verify_proof(root, context.digest, count, index, payload, _split(bundle.proof + columns_path))


def holds_all_shares(context: CohortContext, bundle: Bundle, root: bytes, columns_path: bytes) -> bool:
    """Whether all shares in the bundle are those committed to under ``root``: the whole column is rebuilt."""
    dealer, holder = bundle.dealer, bundle.holder
    column, height = context.columns(dealer).index(holder), compute_column_height(context)
    secrets = context.secrets_held(dealer, holder)
    commitments = keys.commit_held_shares(context.sharing_contexts(dealer, secrets), holder, bundle.shares)
    payloads = [
        share_leaf(secret_of, context.place(secret_of, holder), holder, commitment)
        for secret_of, commitment in zip(secrets, commitments, strict=True)
    ]
    count, upper = count_leaves(context, dealer), _split(bundle.proof + columns_path)[height:]
    return merkle.verify_column(root, context.digest, count, height, column, payloads, upper)


def _share_payload(context: CohortContext, bundle: Bundle, secret_of: int, place: int) -> bytes:
    share = bundle.shares[SHARE_BYTES * place : SHARE_BYTES * (place + 1)]
    commitment = keys.commit_share(context, bundle.dealer, secret_of, bundle.holder, share)
    return share_leaf(secret_of, context.place(secret_of, bundle.holder), bundle.holder, commitment)


def _split(proof: bytes) -> list[bytes]:
    return [proof[start : start + suite.DIGEST_BYTES] for start in range(0, len(proof), suite.DIGEST_BYTES)]


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
        CryptoError: wrong size or tag, not a canonical bundle, one for another pair, or of another number of shares or
            siblings.
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
    if len(bundle.proof) != suite.DIGEST_BYTES * compute_columns_height(context, dealer):
        raise CryptoError("the bundle holds a path of another length")
    return bundle
