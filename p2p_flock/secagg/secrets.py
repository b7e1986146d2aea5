"""What a trainer must have on disk, encrypted, before its contribution is published.

Made by the contributor, kept by the store until the round is final, erased then. The spent mask secret is not in it:
pair seeds and bundle keys are all that answering needs, so the mask secret can be erased as soon as this is persisted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from p2p_flock.wire.codec import Length
from p2p_flock.wire.messages import NEIGHBORS_MAX, PARTNERS_MAX, U8, U32, Digest, SeatIndex, Secret

ROUND_SECRETS_BYTES_MAX = 1 << 15  # 254 neighbors and 508 partners take 29 KB: 38 bytes each


@dataclass(frozen=True, slots=True)
class NeighborSecrets:
    """One neighbor: the pair seed k_ij."""

    neighbor: SeatIndex
    pair_seed: Secret = field(repr=False)


@dataclass(frozen=True, slots=True)
class PartnerSecrets:
    """One partner (``CohortContext.partners``): the key of the bundle that it deals to us."""

    partner: SeatIndex
    bundle_key: Secret = field(repr=False)


@dataclass(frozen=True, slots=True)
class RoundSecrets:
    """One trainer's secrets of one round, and the contribution they belong to.

    ``context_digest`` is the cohort's; a seal of another cohort or fork is never answered with them.
    """

    round: U32
    cohort: U8
    seat: SeatIndex
    context_digest: Digest
    root: Digest
    document_digest: Digest
    self_mask: Secret = field(repr=False)
    next_mask_secret: Secret = field(repr=False)
    next_mask_key: Digest
    neighbors: Annotated[tuple[NeighborSecrets, ...], Length(1, NEIGHBORS_MAX)]
    partners: Annotated[tuple[PartnerSecrets, ...], Length(1, PARTNERS_MAX)]
