"""The whole of secure aggregation for one cohort in one function: read this first.

Called by tests and by whoever makes vectors, never by a node: it holds everybody's secrets. Contributor and aggregator
must agree with it, and it with the plain sum of the inputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from p2p_flock.crypto.key_agreement import agree
from p2p_flock.crypto.masking import Lanes, mask_into
from p2p_flock.crypto.secret_sharing import combine_shares, split_secret
from p2p_flock.secagg import keys
from p2p_flock.secagg.context import CohortContext


def run_cohort(
    context: CohortContext,
    mask_secret_keys: Mapping[int, bytes],
    lanes: Mapping[int, Lanes],
    entropy: Mapping[int, bytes],
    dropped_before: frozenset[int],
    dropped_after: frozenset[int],
) -> Lanes | None:
    """The opened sum over the cohort's survivors, or ``None`` where it cannot or must not be opened.

    Args:
        mask_secret_keys, lanes, entropy: per member; lanes are encoded and weighted.
        dropped_before: members that contribute nothing.
        dropped_after: members that contribute, are sealed, and then do not answer.
    """
    members = context.seats
    sealed = [seat for seat in members if seat not in dropped_before]
    if len(sealed) < context.survivors_min:
        return None  # the sum would tell too much about too few
    for m in members:  # N[m], the closed neighborhood of m, holds all shares of the secrets for m: b_m and every k_lm
        if 0 < sum(holder in sealed for holder in context.holders(m)) < context.threshold:
            return None  # some of them need a secret that they cannot rebuild; nobody answers

    # TRAIN. Neighbors agree on a pair seed, every trainer draws a self mask. Both ends derive the same k_ij. Whoever
    # drops out before contributing has a pair seed with every neighbor all the same, because keys are on chain.
    pair_seeds = {
        (i, j): keys.derive_pair_seed(context, agree(mask_secret_keys[i], context.member(j).mask_key), i, j)
        for i in members
        for j in context.neighbors(i)
    }
    self_masks = {i: keys.derive_self_mask(context, i, entropy[i]) for i in members}

    # y_i = x_i + PRG(b_i) ± PRG(k_ij) …; the signs are opposite at the two ends, so pair masks cancel in the sum.
    masked = {}
    for i in sealed:
        masked[i] = lanes[i].copy()
        mask_into(masked[i], keys.derive_stream_key(self_masks[i]), 1)
        for j in context.neighbors(i):
            mask_into(masked[i], keys.derive_stream_key(pair_seeds[i, j]), keys.compute_pair_sign(i, j))

    # Every trainer i shares b_i among its closed neighborhood, itself included, and each k_ij, for the case that j
    # drops out, among j's: then N[m] alone decides about m, and says of it either "sealed" or "dropped out" (SPEC §7).
    dealings = {}
    for i in sealed:
        for j in context.holders(i):
            secret = self_masks[i] if i == j else pair_seeds[i, j]
            shares = split_secret(secret, context.sharing_context(i, j), context.threshold, context.holder_count)
            dealings[i, j] = dict(enumerate(shares))

    # SEAL. From here on "sealed" is the same for everybody: nobody answers under two seals.
    # UNMASK. Whoever is still there says its shares of b_l for sealed l, and its shares of k_li for sealed l and
    # unsealed i: for each trainer either what takes off its self mask, or what takes off its pair masks; never both.
    answering = [seat for seat in sealed if seat not in dropped_after]

    def open_secret(dealer: int, secret_of: int) -> bytes | None:
        holders = context.holders(secret_of)
        said = {holders.index(j): dealings[dealer, secret_of][holders.index(j)] for j in answering if j in holders}
        return combine_shares(said, context.threshold) if len(said) >= context.threshold else None

    # EVALUATE. Sum, take off the self masks of the sealed, and the pair masks towards the unsealed.
    total = np.zeros_like(lanes[members[0]])
    for i in sealed:
        total += masked[i]
    for i in sealed:
        for j in [i, *sorted(set(context.neighbors(i)) - set(sealed))]:
            opened = open_secret(i, j)
            if opened is None:
                return None
            mask_into(total, keys.derive_stream_key(opened), -1 if i == j else -keys.compute_pair_sign(i, j))
    return total
