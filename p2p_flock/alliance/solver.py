"""Which collusion bound c and threshold t a cohort needs, with how many holders h, and how secure given ones are.

Run by whoever creates an alliance and by whoever is about to join one. Pure integers: everybody gets the same answer.
The corrupt owners are a share γ of the *population*; sortition draws cohorts and rings from it uniformly, after keys
are fixed (nobody knows the seed before), so the corrupt among the holders of one secret are hypergeometric. An alliance
is private as long as no set of holders, of no trainer, in no round of its life, has more than c corrupt owners: the
union bound over all of them is at most 2^−σ. It delivers if no set of holders of one round loses so many to dropouts, a
share δ of the population, that fewer than t (of a cohort: fewer than survivors_min) are left: at most 2^−η.

After Bell et al. 2020 (CCS, §3 and appendix) and the parameter finder in Google's Federated Compute Platform
(``graph_parameter_finder.cc``, "semi-malicious"), with two differences. There the corrupt are a fixed share of every
cohort; here a cohort can be unlucky. There connectivity of the graph is one more event; here it is none: an honest
survivor answers only where every member that it speaks of keeps t sealed holders (secagg/SPEC.md §6), so each opened
sum covers at least t − c honest owners, whoever picks the dropouts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb, inf, log2

from p2p_flock.errors import ParameterError
from p2p_flock.params import COMPLETE_GRAPH_OWNERS_MAX, SHARING_HOLDERS_MAX, AllianceParams, compute_holder_count

PRIVACY_BITS = 40
DELIVERY_BITS = 30
HOLDERS_MIN = 5  # of a sparse graph
SHARE_DENOMINATOR = 1000  # shares of the population are whole permille, so that no float decides


class InfeasibleError(ParameterError):
    """No c and t reach the levels asked for; ``best`` are the numbers that come closest, if there are any."""

    def __init__(self, best: Security | None, text: str) -> None:
        super().__init__(text)
        self.best = best


@dataclass(frozen=True, slots=True)
class Population:
    """Who is drawn from, and how often.

    Attributes:
        seat_count: owners frozen when a round opens, one seat each.
        validator_count, cohort_count, round_count: as in ``AllianceParams``.
        corrupt_permille: γ, owners that collude; dropout_permille: δ, owners that fail in the same round.

    Raises:
        ParameterError: on construction, where no cohort could be drawn or a share is none.
    """

    seat_count: int
    validator_count: int
    cohort_count: int
    round_count: int
    corrupt_permille: int = 200
    dropout_permille: int = 100

    def __post_init__(self) -> None:
        if self.cohort_count < 1 or self.round_count < 1 or self.cohort_owners_min < 1:
            raise ParameterError("the seats must outnumber validators and cohorts; there is at least one round")
        if not all(0 <= share < SHARE_DENOMINATOR for share in (self.corrupt_permille, self.dropout_permille)):
            raise ParameterError("shares of the population lie between 0 and 1")

    @property
    def corrupt_count(self) -> int:
        """⌊γN⌋."""
        return self.seat_count * self.corrupt_permille // SHARE_DENOMINATOR

    @property
    def dropout_count(self) -> int:
        """⌊δN⌋."""
        return self.seat_count * self.dropout_permille // SHARE_DENOMINATOR

    @property
    def trainer_count(self) -> int:
        return self.seat_count - self.validator_count

    @property
    def cohort_owners_max(self) -> int:
        return -(-self.trainer_count // self.cohort_count)

    @property
    def cohort_owners_min(self) -> int:
        return self.trainer_count // self.cohort_count


@dataclass(frozen=True, slots=True)
class Security:
    """What the numbers are worth in a population.

    Attributes:
        holders: h, owners that hold the shares of one secret in the largest cohort.
        threshold, collusion_bound: t and c.
        privacy_bits: −log₂ of the chance that some set of holders ever has more than c corrupt owners; ``inf`` where
            there are not enough corrupt owners for that.
        delivery_bits: −log₂ of the chance that some cohort of a round cannot be opened for dropouts.
    """

    holders: int
    threshold: int
    collusion_bound: int
    privacy_bits: float
    delivery_bits: float

    @property
    def honest_min(self) -> int:
        return self.threshold - self.collusion_bound


def compute_tail(population: int, marked: int, drawn: int, more_than: int) -> tuple[int, int]:
    """P[more than ``more_than`` of ``drawn`` owners are marked], drawn without replacement, as an exact ratio.

    Hypergeometric: Σ_{k > m} C(M, k)·C(N−M, n−k) / C(N, n). Returns (numerator, denominator), not reduced.
    """
    first = max(more_than + 1, drawn - (population - marked), 0)
    last = min(marked, drawn)
    if first > last:
        return 0, 1
    term = comb(marked, first) * comb(population - marked, drawn - first)
    total = 0
    for found in range(first, last + 1):
        total += term
        # C(M,k+1)·C(N−M,n−k−1) from C(M,k)·C(N−M,n−k); the division is exact
        above = (marked - found) * (drawn - found)
        term = term * above // ((found + 1) * (population - marked - drawn + found + 1)) if above else 0
    return total, comb(population, drawn)


def _bits_of(chance: tuple[int, int], times: int) -> float:
    """−log₂(times · chance), at least 0; ``inf`` where it cannot happen."""
    numerator, denominator = chance
    if numerator == 0:
        return inf
    return max(0.0, _log2(denominator) - _log2(numerator * times))


def _log2(value: int) -> float:
    shift = max(0, value.bit_length() - 64)
    return log2(value >> shift) + shift


def compute_security(population: Population, threshold: int, collusion_bound: int) -> Security:
    """How secure t and c are. ``compute_holder_count`` says with which graph.

    Raises:
        ParameterError: t and c serve no graph for these cohorts.
    """
    p, c = population, collusion_bound
    sizes = range(p.cohort_owners_min, p.cohort_owners_max + 1)
    holders = [compute_holder_count(size, threshold, c) for size in sizes]
    return Security(
        holders[-1],
        threshold,
        c,
        min(_privacy_bits(p, size, count, c) for size, count in zip(sizes, holders, strict=True)),
        min(_delivery_bits(p, size, count, threshold, c) for size, count in zip(sizes, holders, strict=True)),
    )


def _privacy_bits(p: Population, size: int, holders: int, collusion_bound: int) -> float:
    if holders == size:  # one set of holders per cohort
        draws = p.cohort_count * p.round_count
        return _bits_of(compute_tail(p.seat_count, p.corrupt_count, size, collusion_bound), draws)
    # one per honest trainer, which holds its own shares: the other h − 1 are drawn from all others
    draws = p.trainer_count * p.round_count
    return _bits_of(compute_tail(p.seat_count - 1, p.corrupt_count, holders - 1, collusion_bound), draws)


def _delivery_bits(p: Population, size: int, holders: int, threshold: int, collusion_bound: int) -> float:
    survivors_min = max(3, threshold, collusion_bound + 3)
    lost = compute_tail(p.seat_count, p.dropout_count, size, size - survivors_min)
    bits = _bits_of(lost, p.cohort_count)
    if holders == size:
        return bits
    # a member that dropped out needs t answering holders too: all h are drawn
    short = compute_tail(p.seat_count, p.dropout_count, holders, holders - threshold)
    return min(bits, _bits_of(short, p.trainer_count))


def solve(population: Population, privacy_bits: int = PRIVACY_BITS, delivery_bits: int = DELIVERY_BITS) -> Security:
    """The cheapest c and t that reach both levels: fewest holders, then the smallest c, then the smallest t.

    Raises:
        InfeasibleError: nothing does; it carries the best numbers and says what they are worth.
    """
    best: Security | None = None
    for holders in _iterate_holders(population.cohort_owners_max):
        found = _search(population, holders, privacy_bits)
        if found is None:
            continue
        if _reach(found, privacy_bits, delivery_bits) == (1.0, 1.0):
            return found
        if best is None or _reach(found, privacy_bits, delivery_bits) > _reach(best, privacy_bits, delivery_bits):
            best = found
    raise InfeasibleError(best, _describe_infeasible(population, best, privacy_bits, delivery_bits))


def _iterate_holders(size: int) -> Iterator[int]:
    """Numbers of holders to try for cohorts of up to ``size`` owners, ascending; a whole cohort last."""
    if size > COMPLETE_GRAPH_OWNERS_MAX:
        yield from range(HOLDERS_MIN, min(size, SHARING_HOLDERS_MAX + 1), 2)
    if size <= SHARING_HOLDERS_MAX:
        yield size


def _search(population: Population, holders: int, privacy_bits: int) -> Security | None:
    """The smallest c that is private enough with so many holders, else the largest that a graph serves."""
    low, high = 0, max(0, holders - 3)
    while low < high:
        middle = (low + high) // 2
        found = _evaluate(population, holders, middle)
        if found is not None and found.privacy_bits >= privacy_bits:
            high = middle
        elif found is None:
            high = middle  # no graph serves so large a c, nor any larger
        else:
            low = middle + 1
    return _evaluate(population, holders, low) or (_evaluate(population, holders, low - 1) if low else None)


def _evaluate(population: Population, holders: int, collusion_bound: int) -> Security | None:
    """With the smallest threshold for these numbers; ``None`` where no graph serves them or no cohort is viable."""
    if holders == population.cohort_owners_max:
        threshold = max(3, (holders + collusion_bound) // 2 + 1)
    else:
        threshold = -(-(holders + collusion_bound + 3) // 2)
    if max(threshold, collusion_bound + 3) > population.cohort_owners_min:
        return None
    try:
        return compute_security(population, threshold, collusion_bound)
    except ParameterError:
        return None


def _reach(security: Security, privacy_bits: int, delivery_bits: int) -> tuple[float, float]:
    """How far both levels are reached, privacy first; 1 is all that was asked for."""
    return min(1.0, security.privacy_bits / privacy_bits), min(1.0, security.delivery_bits / delivery_bits)


def _describe_infeasible(population: Population, best: Security | None, privacy_bits: int, delivery_bits: int) -> str:
    p = population
    asked = (
        f"cohorts of {p.cohort_owners_min} to {p.cohort_owners_max} owners cannot be private to 2^-{privacy_bits} and "
        f"deliver to 2^-{delivery_bits} with {p.corrupt_count} of {p.seat_count} owners colluding and "
        f"{p.dropout_count} failing"
    )
    if best is None:
        return f"{asked}: they are too small for any threshold; use fewer cohorts or more seats"
    return (
        f"{asked}. The best is collusion bound {best.collusion_bound} and threshold {best.threshold}: "
        f"{describe_security(best)}. Use fewer cohorts, more seats, fewer rounds, or assume fewer colluders or dropouts"
    )


def describe_bits(bits: float) -> str:
    """A chance for people: "never", "2^-41", or "in 3 of 10 cases" where it is no small one."""
    if bits == inf:
        return "never"
    if bits >= 10:
        return f"2^-{int(bits)}"
    return f"{2**-bits:.0%}"


def describe_security(security: Security) -> str:
    """One clause with both levels."""
    return (
        f"the chance that colluders ever outnumber the bound is {describe_bits(security.privacy_bits)}, that dropouts "
        f"void a cohort of a round {describe_bits(security.delivery_bits)}"
    )


def population_of(params: AllianceParams, seat_count: int, corrupt_permille: int, dropout_permille: int) -> Population:
    """The population that an alliance's rounds draw from when ``seat_count`` seats are taken."""
    return Population(
        seat_count,
        params.validator_count,
        params.cohort_count,
        params.round_count,
        corrupt_permille,
        dropout_permille,
    )
