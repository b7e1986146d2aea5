"""Dealing: the shares of a trainer's self mask and pair seeds, for every holder.

Called by the contributor: to deal, and to find its own shares again after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p_flock.crypto.secret_sharing import split_secret
from p2p_flock.secagg import keys
from p2p_flock.secagg.context import CohortContext
from p2p_flock.wire.messages import ShareCommitments

# secret_of → the shares of that secret, in holder order
Dealing = Mapping[int, tuple[bytes, ...]]


def split_for_holders(context: CohortContext, dealer: int, secret_of: int, secret: bytes) -> tuple[bytes, ...]:
    """All shares of one secret in holder order, as an honest dealer makes them: see ``crypto/secret_sharing``."""
    holder_count = len(context.holders(dealer))
    return split_secret(secret, context.sharing_context(dealer, secret_of), context.threshold, holder_count)


def compute_dealing(context: CohortContext, dealer: int, self_mask: bytes, pair_seeds: Mapping[int, bytes]) -> Dealing:
    """The shares of b_dealer and of every k_(dealer, neighbor)."""
    secrets = {**pair_seeds, dealer: self_mask}
    return {
        secret_of: split_for_holders(context, dealer, secret_of, secrets[secret_of])
        for secret_of in context.holders(dealer)
    }


def commit_shares(context: CohortContext, dealer: int, secret_of: int, shares: tuple[bytes, ...]) -> ShareCommitments:
    """The document's row for one secret."""
    commitments = tuple(
        keys.commit_share(context, dealer, secret_of, holder, share)
        for holder, share in zip(context.holders(dealer), shares, strict=True)
    )
    return ShareCommitments(secret_of, commitments)
