"""The table of secagg parameters: what the solver must say, by counting subsets and trying every number in turn."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import comb

PRIVACY_BITS, DELIVERY_BITS = 40, 30
COMPLETE_MAX, HOLDERS_MAX = 32, 255

# seats, validators, cohorts, rounds
ALLIANCES = (
    (8, 3, 1, 11), (23, 7, 1, 101), (39, 7, 1, 100), (71, 7, 4, 100), (135, 7, 1, 100), (135, 7, 4, 100),
    (263, 7, 1, 100), (263, 7, 4, 1000), (512, 7, 4, 100), (1000, 7, 4, 100), (1000, 7, 16, 1),
)  # fmt: skip
SHARES = ((50, 50), (100, 100), (200, 100), (330, 100))  # corrupt, dropouts, permille


@cache
def _subsets(population: int, marked: int, drawn: int) -> tuple[int, ...]:
    """How many of the subsets of ``drawn`` owners hold 0, 1, … marked ones."""
    return tuple(comb(marked, k) * comb(population - marked, drawn - k) for k in range(drawn + 1))


def _chance_of_more(population: int, marked: int, drawn: int, more_than: int) -> Fraction:
    counts = _subsets(population, marked, drawn)
    return Fraction(sum(counts[more_than + 1 :]), sum(counts))


def _holders_of(owners: int, threshold: int, bound: int) -> int | None:
    if 2 * threshold > owners + bound and owners <= HOLDERS_MAX:
        return owners
    fitting = [h for h in range(1, min(owners, HOLDERS_MAX + 1), 2) if 2 * threshold >= h + bound + 3]
    return fitting[-1] if fitting and threshold < fitting[-1] else None


def _levels(
    alliance: tuple[int, int, int, int], shares: tuple[int, int], threshold: int, bound: int
) -> dict[str, object] | None:
    seats, validators, cohorts, rounds = alliance
    corrupt, dropouts = (seats * share // 1000 for share in shares)
    trainers = seats - validators
    private, delivered, largest = Fraction(0), Fraction(0), 0
    for size in {trainers // cohorts, -(-trainers // cohorts)}:
        holders = _holders_of(size, threshold, bound)
        least = max(3, threshold, bound + 3)
        if holders is None or least > size:
            return None
        lost = cohorts * _chance_of_more(seats, dropouts, size, size - least)
        if holders == size:
            leak = cohorts * rounds * _chance_of_more(seats, corrupt, size, bound)
        else:
            leak = trainers * rounds * _chance_of_more(seats - 1, corrupt, holders - 1, bound)
            lost = max(lost, trainers * _chance_of_more(seats, dropouts, holders, holders - threshold))
        private, delivered, largest = max(private, leak), max(delivered, lost), max(largest, holders)
    return {"holders": largest, "threshold": threshold, "collusion_bound": bound, "leak": private, "lost": delivered}


def _solve(alliance: tuple[int, int, int, int], shares: tuple[int, int]) -> dict[str, object]:
    """The first numbers that do, from few holders to many and from small bounds to large."""
    size = -(-(alliance[0] - alliance[1]) // alliance[2])
    sparse = [*range(5, min(size, HOLDERS_MAX + 1), 2)] if size > COMPLETE_MAX else []
    for holders in [*sparse, *([size] if size <= HOLDERS_MAX else [])]:
        for bound in range(max(1, holders - 2)):
            needed = holders + bound + (3 if holders < size else 1)
            found = _levels(alliance, shares, max(3, -(-needed // 2)), bound)
            if found is None:
                break
            if found["leak"] <= Fraction(1, 2**PRIVACY_BITS):
                if found["lost"] <= Fraction(1, 2**DELIVERY_BITS):
                    return found
                break  # a larger bound needs a larger threshold: delivery only gets worse
    return {"holders": None}


def make_solver() -> dict[str, object]:
    """One case for each alliance and pair of shares; ``holders`` is null where no numbers do."""
    cases = []
    for alliance in ALLIANCES:
        for shares in SHARES:
            found = _solve(alliance, shares)
            bits = {
                f"{name}_bits_floor": None if not found[key] else _floor_bits(found[key])
                for name, key in (("privacy", "leak"), ("delivery", "lost"))
                if key in found
            }
            numbers = {key: value for key, value in found.items() if key not in ("leak", "lost")}
            cases.append({"alliance": list(alliance), "shares_permille": list(shares), **numbers, **bits})
    about = (
        "alliance = seats, validators, cohorts, rounds; shares = corrupt and dropouts of the population. "
        f"Smallest h, then c, then t that are private to 2^-{PRIVACY_BITS} over all rounds and deliver to "
        f"2^-{DELIVERY_BITS} per round; bits null where it cannot happen"
    )
    return {"about": about, "cases": cases}


def _floor_bits(chance: object) -> int:
    """The whole number of bits b with chance ≤ 2^−b."""
    assert isinstance(chance, Fraction)
    bits = 0
    while chance * 2 ** (bits + 1) <= 1:
        bits += 1
    return bits
