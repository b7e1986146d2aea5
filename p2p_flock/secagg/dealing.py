"""Dealing: the shares of a trainer's self mask and pair seeds, for every holder.

Called by the contributor: to deal, and to find its own shares again after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p_flock.crypto.secret_sharing import split_secrets
from p2p_flock.secagg import keys
from p2p_flock.secagg.context import CohortContext
from p2p_flock.wire.messages import SHARE_BYTES

# secret_of → the shares of that secret, 32 bytes each, one after the other in the order of context.holders(secret_of)
Dealing = Mapping[int, bytes]


def compute_dealing(context: CohortContext, dealer: int, self_mask: bytes, pair_seeds: Mapping[int, bytes]) -> Dealing:
    """The shares of b_dealer among N[dealer], and of every k_(dealer, s) among N[s], as an honest dealer makes them.

    N[s] and not the dealer's own neighborhood: see SPEC §7, "Who holds what".
    """
    secrets = {**pair_seeds, dealer: self_mask}
    order = context.holders(dealer)
    shares = split_secrets(
        [secrets[secret_of] for secret_of in order],
        [context.sharing_context(dealer, secret_of) for secret_of in order],
        context.threshold,
        context.holder_count,
    )
    return {secret_of: row.tobytes() for secret_of, row in zip(order, shares, strict=True)}


def get_share(context: CohortContext, shares: bytes, secret_of: int, holder: int) -> bytes:
    """The 32 bytes of one holder in a row of shares, or of commitments, of one secret."""
    start = SHARE_BYTES * context.place(secret_of, holder)
    return shares[start : start + SHARE_BYTES]


def join_shares(context: CohortContext, dealing: Dealing, dealer: int, holder: int) -> bytes:
    """What ``holder`` gets of a dealing: its shares, in the order of ``context.secrets_held(dealer, holder)``."""
    order = context.secrets_held(dealer, holder)
    starts = [SHARE_BYTES * context.place(secret_of, holder) for secret_of in order]
    return b"".join(
        [dealing[secret_of][start : start + SHARE_BYTES] for secret_of, start in zip(order, starts, strict=True)]
    )


def commit_dealing(context: CohortContext, dealing: Dealing, dealer: int) -> bytes:
    """The blob of all commitments: row by row in the order of ``context.holders(dealer)``."""
    return b"".join(
        [
            keys.commit_shares_under(context.sharing_context(dealer, of), context.holders(of), dealing[of])
            for of in context.holders(dealer)
        ]
    )
