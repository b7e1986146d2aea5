"""The table of ``bench/gas.py``, and whether its figures keep what was promised. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

GAS_TARGETS = {7: 600_000, 64: 1_600_000}  # validators -> most gas of a whole round, beacon included
SPREAD_PERCENT_MAX = 2.0  # between the trainer counts measured


@dataclass(frozen=True, slots=True)
class Figures:
    """One cell: gas used, and USD at the low and the high price."""

    validators: int
    trainers: int
    cohorts: int
    seal_gas: int
    commit_gas: int
    settle_gas: int
    flock_gas: int
    flock_join_gas: int
    flock_transactions: int
    usd: tuple[float, float]
    flock_usd: tuple[float, float]

    @property
    def gas(self) -> int:
        """Of the whole round."""
        return self.seal_gas + self.commit_gas + self.settle_gas


def compute_spreads(figures: Sequence[Figures]) -> dict[int, float]:
    """By validators: by how many percent of the cheapest the dearest trainer count costs more."""
    by_validators: dict[int, list[int]] = defaultdict(list)
    for cell in figures:
        by_validators[cell.validators].append(cell.gas)
    return {count: 100 * (max(gas) - min(gas)) / min(gas) for count, gas in by_validators.items() if len(gas) > 1}


def _check(figures: Sequence[Figures]) -> list[tuple[str, bool]]:
    """Each target that the figures speak of, as a sentence, and whether it is met."""
    found = []
    for count, target in GAS_TARGETS.items():
        gas = [cell.gas for cell in figures if cell.validators == count]
        if gas:
            found.append((f"V = {count}: at most {max(gas):,} gas a round, target {target:,}", max(gas) <= target))
    spreads = compute_spreads(figures)
    if spreads:
        count, spread = max(spreads.items(), key=lambda item: item[1])
        text = f"flat in T: at most {spread:.2f} % apart (V = {count}), target {SPREAD_PERCENT_MAX:g} %"
        found.append((text, spread < SPREAD_PERCENT_MAX))
    return found


def find_missed(figures: Sequence[Figures]) -> list[str]:
    """The targets that these figures miss."""
    return [text for text, is_met in _check(figures) if not is_met]


def render(figures: Sequence[Figures], prices: str) -> str:
    """Markdown: a row a cell, then the assumptions and the targets."""
    heads = ("V", "T", "seal", "commit", "settle", "round", "FLock's way", "ratio", "USD", "FLock's way, USD")
    rows = [
        (
            *(str(cell.validators), str(cell.trainers)),
            *(f"{gas:,}" for gas in (cell.seal_gas, cell.commit_gas, cell.settle_gas, cell.gas)),
            f"{cell.flock_gas:,} in {cell.flock_transactions}",
            f"{cell.flock_gas / cell.gas:.1f}",
            *(f"{low:.4f} to {high:.4f}" for low, high in (cell.usd, cell.flock_usd)),
        )
        for cell in figures
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (heads, ("---:",) * len(heads), *rows)]
    cohorts = sorted({cell.cohorts for cell in figures})
    notes = [
        f"Third round, everybody takes part, {'/'.join(map(str, cohorts))} cohort"
        f"{'s' if cohorts != [1] else ''}; gas of the receipts, beacon proof and calldata included. FLock's way: a "
        "transaction for each contribution, each vote and the end (`bench/FlockStyle.sol`), joining not counted.",
        prices,
        *(f"{'Met' if is_met else 'MISSED'}: {text}." for text, is_met in _check(figures)),
    ]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"
