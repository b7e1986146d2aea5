"""What a round costs on Base: three transactions of an alliance beside FLock's way, by validators and trainers.

Run as ``scripts/bench gas``. A cell is played on an embedded anvil with Base's rules, with real transactions and their
receipts: the third round of an alliance, in which everybody takes part, beacon proof included, and the third round of
``contracts/bench/FlockStyle.sol``, in which each participant sends its own. ``--readme`` writes the table into
contracts/README.md. USD by the formula of Base (``chain/fees.py``) at the prices that the table names; gas is exact,
prices are assumptions.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from p2p_flock.bench.gas_chain import open_gas_chain
from p2p_flock.bench.gas_rounds import Cell, Spent, measure_alliance, measure_flock_style
from p2p_flock.bench.gas_table import Figures, find_missed, render
from p2p_flock.chain.fees import WEI_PER_ETH, WEI_PER_GWEI, BaseFees

VALIDATORS, TRAINERS = (3, 7, 21, 64), (6, 50, 500)
README = Path(__file__).resolve().parents[2] / "contracts" / "README.md"
BEGIN, END = "<!-- scripts/bench gas --readme writes from here -->", "<!-- to here -->"
FLOCK_STEPS = ("contribute", "vote", "finish")  # without joining, which an alliance's members do once and not a round


@dataclass(frozen=True, slots=True)
class Prices:
    """Two moments of Base's market, and ETH in USD."""

    low: BaseFees
    high: BaseFees
    eth_usd: float

    def usd(self, spent: Spent, *names: str) -> tuple[float, float]:
        """What these transactions cost at either moment; all where none is named."""
        gas, raws = spent.gas(*names), spent.raws(*names)
        wei = [
            gas * (fees.base_fee_wei + fees.tip_wei) + sum(fees.l1_fee_wei(raw) for raw in raws)
            for fees in (self.low, self.high)
        ]
        return wei[0] / WEI_PER_ETH * self.eth_usd, wei[1] / WEI_PER_ETH * self.eth_usd


def measure(cell: Cell, prices: Prices) -> Figures:
    """One cell, on a chain of its own."""
    with open_gas_chain() as chain:
        ours = measure_alliance(chain, cell)
        theirs = measure_flock_style(chain, cell)
    return Figures(
        validators=cell.validators,
        trainers=cell.trainers,
        cohorts=cell.cohorts,
        seal_gas=ours.gas("seal"),
        commit_gas=ours.gas("commit"),
        settle_gas=ours.gas("settle"),
        flock_gas=theirs.gas(*FLOCK_STEPS),
        flock_join_gas=theirs.gas("join"),
        flock_transactions=len(theirs.raws(*FLOCK_STEPS)),
        usd=prices.usd(ours),
        flock_usd=prices.usd(theirs, *FLOCK_STEPS),
    )


def _prices(options: argparse.Namespace) -> Prices:
    def fees(l1_base_fee_gwei: float, blob_base_fee_wei: int) -> BaseFees:
        return BaseFees(
            base_fee_wei=round(options.base_fee_gwei * WEI_PER_GWEI),
            tip_wei=round(options.tip_gwei * WEI_PER_GWEI),
            l1_base_fee_wei=round(l1_base_fee_gwei * WEI_PER_GWEI),
            blob_base_fee_wei=blob_base_fee_wei,
        )

    low_gwei, high_gwei = options.l1_base_fee_gwei
    low_wei, high_wei = options.blob_base_fee_wei
    return Prices(fees(low_gwei, low_wei), fees(high_gwei, high_wei), options.eth_usd)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench gas", description="What a round costs on Base.")
    parser.add_argument("--validators", type=int, nargs="+", default=VALIDATORS)
    parser.add_argument("--trainers", type=int, nargs="+", default=TRAINERS)
    parser.add_argument("--cohorts", type=int, default=1, help="at least 4 trainers each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures of every cell")
    parser.add_argument("--readme", action="store_true", help="write the table into contracts/README.md")
    parser.add_argument("--eth-usd", type=float, default=3_000.0)
    parser.add_argument("--base-fee-gwei", type=float, default=0.005, help="of L2")
    parser.add_argument("--tip-gwei", type=float, default=0.001, help="of L2")
    parser.add_argument("--l1-base-fee-gwei", type=float, nargs=2, default=(1.0, 20.0), metavar=("LOW", "HIGH"))
    parser.add_argument("--blob-base-fee-wei", type=int, nargs=2, default=(1, 10**9), metavar=("LOW", "HIGH"))
    return parser


def describe_prices(prices: Prices) -> str:
    """The assumptions, as a sentence."""
    low, high = prices.low, prices.high
    return (
        f"USD at {low.base_fee_wei / WEI_PER_GWEI:g} gwei base fee and {low.tip_wei / WEI_PER_GWEI:g} gwei tip on L2, "
        f"ETH at {prices.eth_usd:,.0f} USD; from {low.l1_base_fee_wei / WEI_PER_GWEI:g} gwei base fee and "
        f"{low.blob_base_fee_wei / WEI_PER_GWEI:g} gwei blob base fee on L1 to "
        f"{high.l1_base_fee_wei / WEI_PER_GWEI:g} and {high.blob_base_fee_wei / WEI_PER_GWEI:g}."
    )


def write_readme(path: Path, table: str) -> None:
    """Replace what stands between the two marks. RuntimeError where they are missing."""
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RuntimeError(f"{path} lacks the marks {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{table}{END}{after}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all cells; 0 where every target that the cells speak of is met."""
    options = _parser().parse_args(arguments)
    prices = _prices(options)
    figures = []
    for validators in options.validators:
        for trainers in options.trainers:
            began = time.monotonic()
            figures.append(measure(Cell(validators, trainers, options.cohorts), prices))
            took_s = time.monotonic() - began
            sys.stderr.write(f"V = {validators}, T = {trainers}: {figures[-1].gas:,} gas ({took_s:.0f} s)\n")
    table = render(figures, describe_prices(prices))
    sys.stdout.write(table)
    if options.json is not None:
        document = {"prices": describe_prices(prices), "cells": [{**asdict(cell), "gas": cell.gas} for cell in figures]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.readme:
        write_readme(README, table)
    return 1 if find_missed(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
