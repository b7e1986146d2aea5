"""How much noise a trainer adds for differential privacy: SPEC, "What each party learns", in `secagg/`. Pure.

Called by the trainer's machine, which adds it before masking, and by whoever must know how large an honest sum can be
(validators, ``reference.py``), so every number here is exact: whole numbers and fractions, the same on every machine.

The target. The noise in an opened sum is at least z · Δ in deviation, z the manifest's noise multiplier and Δ the L2
sensitivity: by how much the sum moves when one owner's whole update is replaced by zeros. Masks hide everything but the
sum, so each trainer need only add a share of it; the shares of the fewest honest trainers that any opened sum can hold
must do. Colluders may add none, and know their own; dropouts' shares are not in the sum. Where c is 0 one trainer is
counted as curious all the same: it sees the public sums as everybody does, and can take its own share off. More honest
trainers only add to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Final

from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.crypto.fixed_point import compute_norm_max
from p2p_flock.crypto.noise import compute_noise_bound
from p2p_flock.errors import ParameterError
from p2p_flock.params import AllianceParams, compute_holder_count, compute_sum_bound_max
from p2p_flock.types import Stage

SPARSE_SHARERS: Final = 3  # honest trainers in any sum that two contradicting seals can open in a sparse graph
# Deviation 4 for each trainer: sums of discrete Gaussians are then as private as a discrete Gaussian of the summed
# variance up to 10⁻⁶⁰ (Kairouz, Liu and Steinke 2021, theorem 1: τ = 10·Σ exp(-2π²σ²k/(k+1)) with σ = 4).
SHARE_VARIANCE_MIN: Final = 16


@dataclass(frozen=True, slots=True)
class NoiseShare:
    """What each trainer of a cohort adds to every coordinate: N_Z(0, ``variance``), never beyond ±``bound``."""

    variance: int
    bound: int


def compute_sensitivity(levels: int, weight: int, lane_count: int) -> int:
    """Δ: the L2 norm of a clipped, rounded, weighted update at most, in ring units.

    The worst case of rounding is counted (conditional rounding as in Kairouz et al. 2021 would count about half of it).
    """
    return weight * compute_norm_max(levels, lane_count)


def compute_noise_sharers(params: AllianceParams, owners: int) -> int:
    """The fewest honest trainers whose shares are in an opened sum of a cohort with so many owners.

    In a complete graph max(3, t, c + 3) are sealed at least, of which c collude, or one is curious. In a sparse one c
    bounds the colluders among the holders of one secret, not those in the cohort, so only the three that every sum has
    are counted, less a curious one where c is 0.

    Raises:
        ParameterError: no graph serves so many owners.
    """
    curious = 0 if params.collusion_bound else 1
    if compute_holder_count(owners, params.threshold, params.collusion_bound) < owners:
        return SPARSE_SHARERS - curious
    return params.survivors_min - params.collusion_bound - curious


def compute_noise_share(
    params: AllianceParams, manifest: TaskManifest, stage: Stage, weights: Iterable[int]
) -> NoiseShare | None:
    """The noise of each trainer of a cohort whose members have these public weights; ``None`` without any.

    Statistics get none: in a private alliance they are public constants (``learning/task.py``, ``public_statistics``),
    which depend on nobody's data.

    Raises:
        ParameterError: more noise than ``crypto/noise.py`` draws, or no graph for so many owners.
    """
    members = tuple(weights)
    if manifest.noise_multiplier == 0 or stage is Stage.STATISTICS or not members:
        return None
    sensitivity = compute_sensitivity(params.levels, max(members), manifest.width(stage))
    target = Fraction(manifest.noise_multiplier) ** 2 * sensitivity**2
    variance = max(SHARE_VARIANCE_MIN, ceil(target / compute_noise_sharers(params, len(members))))
    return NoiseShare(variance, compute_noise_bound(variance))


def compute_largest_noise_bound(params: AllianceParams, manifest: TaskManifest) -> int:
    """The largest bound that any cohort of the alliance can have, for the ring's headroom; 0 without noise.

    Raises:
        ParameterError: as :func:`compute_noise_share`.
    """
    sizes = {params.cohort_owners_min(params.seat_count_min), params.cohort_owners_max(params.seat_count_max)}
    shares = (compute_noise_share(params, manifest, Stage.TRAINING, [params.weight_max] * size) for size in sizes)
    return max((share.bound for share in shares if share is not None), default=0)


def validate_privacy(params: AllianceParams, manifest: TaskManifest) -> None:
    """The ring has room for the noise: n·(levels·weight_max + noise bound) within the headroom of ``validate_params``.

    The contract knows no manifest and cannot check it; who creates or joins an alliance does.

    Raises:
        ParameterError: it has not; names the levels that it has room for.
    """
    if _has_room(params, manifest):
        return
    levels = params.levels
    while levels and not _has_room(replace(params, levels=levels), manifest):
        levels //= 2
    remedy = f"set levels to {levels} at most" if levels else "lower weight_max, or choose 32-bit lanes"
    raise ParameterError(
        f"lanes of {params.lane_bits} bits have no room for noise of {manifest.noise_multiplier:g} sensitivities; "
        f"{remedy}"
    )


def _has_room(params: AllianceParams, manifest: TaskManifest) -> bool:
    try:
        bound = compute_largest_noise_bound(params, manifest)
    except ParameterError:
        return False
    largest = params.cohort_owners_max(params.seat_count_max)
    most = compute_sum_bound_max(params.lane_bits)
    return not bound or largest * (params.levels * params.weight_max + bound) <= most
