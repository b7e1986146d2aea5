"""Every key and commitment of the protocol, one function each, so that no derivation is written down twice.

Called by contributor, aggregator and reference. All secrets have 32 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from p2p_flock.crypto import suite
from p2p_flock.secagg.context import CohortContext
from p2p_flock.wire.messages import SHARE_BYTES

_SHARE = "p2p_flock share commitment v1"


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def derive_self_mask(context: CohortContext, seat: int, entropy: bytes) -> bytes:
    """b_i from the 32 secret random bytes of this contribution."""
    return suite.derive_key(entropy, "p2p_flock self mask v1", context.digest, _u16(seat))


def derive_next_mask_secret(context: CohortContext, seat: int, entropy: bytes) -> bytes:
    """The secret of the X25519 key that a seal of this contribution installs."""
    return suite.derive_key(entropy, "p2p_flock next mask key v1", context.digest, _u16(seat))


def derive_pair_seed(context: CohortContext, agreed: bytes, seat: int, neighbor: int) -> bytes:
    """k_ij from the X25519 result; the same from both ends."""
    return suite.derive_key(agreed, "p2p_flock pair seed v1", context.pair_context(seat, neighbor))


def derive_bundle_key(context: CohortContext, agreed: bytes, dealer: int, holder: int) -> bytes:
    """Key of the bundle dealer → holder. From the X25519 result, never from k_ij: opening k_ij must open no bundle."""
    pair_context = context.pair_context(dealer, holder)
    return suite.derive_key(agreed, "p2p_flock bundle key v1", pair_context, _u16(dealer), _u16(holder))


def derive_stream_key(secret: bytes) -> bytes:
    """The AES key whose keystream is the mask of a self mask or pair seed."""
    return suite.derive_key(secret, "p2p_flock mask stream v1")


def compute_pair_sign(seat: int, neighbor: int) -> int:
    """The sign with which ``seat`` adds its pair mask: the lower seat adds, the higher subtracts."""
    return 1 if seat < neighbor else -1


def commit_self_mask(context: CohortContext, seat: int, self_mask: bytes) -> bytes:
    """H(ctx ‖ b_i)."""
    return commit_self_mask_under(context.sharing_context(seat, seat), self_mask)


def commit_pair_seed(context: CohortContext, seat: int, neighbor: int, pair_seed: bytes) -> bytes:
    """H(ctx ‖ k_ij); both ends must commit to the same value."""
    return commit_pair_seed_under(context.pair_context(seat, neighbor), pair_seed)


def commit_share(context: CohortContext, dealer: int, secret_of: int, holder: int, share: bytes) -> bytes:
    """Hash of one share; hides it, because a share is as hard to guess as the secret."""
    return commit_share_under(context.sharing_context(dealer, secret_of), holder, share)


# --- the same for whoever has digests only: evidence, and the contract -------------------------------------------


def commit_self_mask_under(sharing_context: bytes, self_mask: bytes) -> bytes:
    """H(ctx_i,i ‖ b_i)."""
    return suite.hash32("p2p_flock self mask commitment v1", sharing_context, self_mask)


def commit_pair_seed_under(pair_context: bytes, pair_seed: bytes) -> bytes:
    """H(ctx_ij ‖ k_ij)."""
    return suite.hash32("p2p_flock pair seed commitment v1", pair_context, pair_seed)


def commit_share_under(sharing_context: bytes, holder: int, share: bytes) -> bytes:
    """H(ctx_i,s ‖ holder ‖ share)."""
    return suite.hash32(_SHARE, sharing_context, _u16(holder), share)


def commit_shares_under(sharing_context: bytes, holders: Sequence[int], shares: bytes) -> bytes:
    """:func:`commit_share_under` for all shares of one secret: 32 bytes for each holder, one after the other.

    The same bytes without a call for every part of every frame: a document of a complete cohort of 128 has 16,384.
    """
    head, between = frame_share(sharing_context)
    hashed = [
        hashlib.sha256(head + holder.to_bytes(2, "big") + between + shares[start : start + SHARE_BYTES]).digest()
        for holder, start in zip(holders, range(0, len(shares), SHARE_BYTES), strict=True)
    ]
    return b"".join(hashed)


def commit_held_shares(sharing_contexts: Sequence[bytes], holder: int, shares: bytes) -> list[bytes]:
    """:func:`commit_share_under` for one holder's shares of several secrets of one dealer, in the same quick way."""
    between = suite.frame(_SHARE, bytes(32), _u16(holder), bytes(SHARE_BYTES))
    head, between = between[: -32 - 8 - 2 - 8 - SHARE_BYTES], between[-8 - 2 - 8 - SHARE_BYTES : -SHARE_BYTES]
    starts = range(0, len(shares), SHARE_BYTES)
    return [
        hashlib.sha256(head + sharing_context + between + shares[start : start + SHARE_BYTES]).digest()
        for sharing_context, start in zip(sharing_contexts, starts, strict=True)
    ]


def frame_share(sharing_context: bytes) -> tuple[bytes, bytes]:
    """What :func:`commit_share_under` hashes before the holder (2 bytes, big-endian), and between it and the share."""
    blank = suite.frame(_SHARE, sharing_context, bytes(2), bytes(SHARE_BYTES))
    return blank[: -2 - 8 - SHARE_BYTES], blank[-8 - SHARE_BYTES : -SHARE_BYTES]
