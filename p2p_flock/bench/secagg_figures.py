"""From the cells of ``scripts/bench secagg`` to comparisons and to the figures that are to be met. Pure.

CPU seconds are those of all threads. A comparison is the median over the repetitions of Flower's seconds over ours of
the same turn, where both sides were repeated; what one side has fewer of counts with its median.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

Cell = Mapping[str, Any]
Cells = Mapping[str, Cell]

CLIENT_PARTS = ("plan", "mask", "finish")
KEY_PARTS = ("plan", "finish")
COLLECTING_PARTS = ("documents", "chunk_digests")
UNMASKING_PARTS = ("answer_checks", "rebuild", "open", "decode")
SUM_PARTS = ("rebuild", "open")
FLOWER_CLIENT_PARTS = ("setup", "share", "mask", "answer")
FLOWER_SERVER_PARTS = ("sum", "sum_modulo", "secrets_self", "secrets_keys", "masks_self", "masks_pair", "decode")
ACCELERATED = "accelerated"


def shorten(number: int) -> str:
    """1000000 as 1e6."""
    return f"{number:.0e}".replace("e+0", "e")


def cpu(cell: Cell, side: str, *parts: str) -> float:
    """Median CPU seconds of these parts together; parts that were not measured count nothing."""
    known = cell[side]["parts"]
    return float(sum(known[part][0] for part in parts if part in known))


def has(cell: Cell | None, *sides: str) -> bool:
    """Whether the cell was measured, by these sides too."""
    return cell is not None and "unserved" not in cell and all(side in cell for side in sides)


def find_client(cells: Cells, name: str) -> Cell | None:
    """The client cell of a row: its own, or that of the same graph with other dropouts."""
    own = cells.get(f"client/{name}")
    if own is not None:
        return own
    server = cells.get(f"server/{name}")
    if server is None or "task" not in server:
        return None
    graph = ("parameters", "members", "holders", "lane_bits")
    for other, cell in cells.items():
        alike = "task" in cell and all(cell["task"][key] == server["task"][key] for key in graph)
        if other.startswith("client/") and alike:
            return cell
    return None


def _per_repetition(cell: Cell, side: str, parts: Sequence[str]) -> list[float]:
    """CPU seconds of these parts together, by repetition; a part that has fewer counts with its median."""
    samples = cell[side]["samples"]
    known = [[sample[0] for sample in samples[part]] for part in parts if part in samples]
    count = max((len(found) for found in known), default=0)
    filled = [found if len(found) == count else [statistics.median(found)] * count for found in known]
    return [sum(values) for values in zip(*filled, strict=True)]


def compute_ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """Median of theirs over ours, turn by turn as far as both go."""
    return statistics.median(their / our for their, our in zip(theirs, ours, strict=False))


def client_seconds(cells: Cells, name: str, engine: str, with_answer: bool = True) -> float | None:
    """All CPU seconds of one of our clients."""
    client, server = find_client(cells, name), cells.get(f"server/{name}")
    if client is None or not has(client, engine) or server is None or not has(server, "answer"):
        return None
    return cpu(client, engine, *CLIENT_PARTS) + (cpu(server, "answer", "answer") if with_answer else 0.0)


def client_ratio(cells: Cells, name: str, engine: str, with_answer: bool = True) -> float | None:
    """By how much Flower's client takes longer."""
    client, server = find_client(cells, name), cells.get(f"server/{name}")
    if client is None or server is None or not has(client, engine, "flower") or not has(server, "answer"):
        return None
    answer = cpu(server, "answer", "answer") if with_answer else 0.0
    ours = [seconds + answer for seconds in _per_repetition(client, engine, CLIENT_PARTS)]
    return compute_ratio(_per_repetition(client, "flower", FLOWER_CLIENT_PARTS), ours)


def _unmasking_by_turn(cell: Cell, engine: str, parts: Sequence[str]) -> list[float]:
    """CPU seconds of our validator; what it does before it sums counts with its median."""
    early = cpu(cell, "validator", *parts)
    return [early + seconds for seconds in _per_repetition(cell, engine, parts)]


def unmasking_ratio(cell: Cell, engine: str, with_collecting: bool = False) -> float | None:
    """By how much Flower's server takes longer from the shares to the mean; also with our checks before the seal."""
    if not has(cell, "validator", engine, "flower"):
        return None
    ours = _unmasking_by_turn(cell, engine, (*(COLLECTING_PARTS if with_collecting else ()), *UNMASKING_PARTS))
    return compute_ratio(_per_repetition(cell, "flower", FLOWER_SERVER_PARTS), ours)


def plain_sum_ratio(cell: Cell, engine: str, parts: Sequence[str]) -> float | None:
    """Our validator's seconds over those of adding up the same vectors as float32."""
    if not has(cell, "validator", engine):
        return None
    return compute_ratio(_unmasking_by_turn(cell, engine, parts), _per_repetition(cell, engine, ("plain_sum",)))


def bytes_per_parameter(cell: Cell) -> float | None:
    """What one of our clients publishes, over its parameters."""
    if not has(cell, "answer"):
        return None
    sizes: Mapping[str, int] = cell["answer"]["bytes_by_kind"]
    return float(sum(sizes.values()) / cell["task"]["parameters"])


def mask_nanoseconds(cell: Cell, engine: str) -> float | None:
    """CPU nanoseconds per parameter and neighbor."""
    if not has(cell, engine):
        return None
    return cpu(cell, engine, "masks") / float(cell["parameters"] * cell["neighbors"]) * 1e9


def fit_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """The e of cost ≈ a · size^e, by least squares over the logarithms; ``None`` of fewer than two sizes."""
    points = [(log(size), log(cost)) for size, cost in zip(sizes, costs, strict=True) if size > 0 and cost > 0]
    if len({x for x, _ in points}) < 2:
        return None
    middle_x, middle_y = (statistics.fmean(values) for values in zip(*points, strict=True))
    slope = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return slope / sum((x - middle_x) ** 2 for x, _ in points)


# --- what is to be met -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One figure of the issue's table.

    Attributes:
        name: what and where; unit: of the numbers; at_least: else at most.
        must, aim: the targets; measured, with the engine named.
    """

    name: str
    unit: str
    at_least: bool
    must: float
    aim: float | None
    measured: Mapping[str, float]

    def judge(self, target: float, measured: float) -> str:
        """``met`` or ``missed``, with the factor between."""
        factor = measured / target if self.at_least else target / measured
        return f"met ({factor:.2g}× better)" if factor >= 1 else f"missed ({1 / factor:.2g}× off)"


def _known(found: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in found.items() if value is not None}


def list_figures(cells: Cells) -> list[Figure]:
    """The figures that the measured cells decide, worst cell first chosen."""
    engines = [engine for engine in ("plain", ACCELERATED) if any(engine in cell for cell in cells.values())]
    figures = []
    masks = [cell for name, cell in cells.items() if name.startswith("masks/") and name.endswith("/16bit")]
    worst = {
        engine: max((found for cell in masks if (found := mask_nanoseconds(cell, engine))), default=None)
        for engine in engines
    }
    figures.append(Figure("masking, u16, d ≥ 1e6, per parameter and neighbor", "ns", False, 0.40, 0.12, _known(worst)))
    for graph in ("complete", "solver"):
        name = f"1e6/128/{graph}/10%"
        ratios = {engine: client_ratio(cells, name, engine) for engine in engines}
        title = f"client CPU against Flower, d = 1e6, N = 128, {graph}"
        figures.append(Figure(title, "×", True, 15, 50, _known(ratios)))
        cell = cells.get(f"server/{name}", {})
        ratios = {engine: unmasking_ratio(cell, engine) for engine in engines}
        title = f"unmasking against Flower, d = 1e6, N = 128, 10 % dropouts, {graph}"
        figures.append(Figure(title, "×", True, 40, 200, _known(ratios)))
    figures += _byte_figures(cells)
    cell = cells.get("server/1e7/32/complete/0%", {})
    ratios = {engine: plain_sum_ratio(cell, engine, SUM_PARTS) for engine in engines}
    figures.append(
        Figure("unmasking against the plain fp32 sum, N = 32, d = 1e7", "×", False, 2.5, 1.2, _known(ratios))
    )
    return [figure for figure in figures if figure.measured]


def _byte_figures(cells: Cells) -> list[Figure]:
    figures = []
    for title, bits, must, aim in (("u16", (16,), 2.1, None), ("packed", (10, 12, 15), 2.1, 1.4)):
        for graph in ("complete", "solver"):
            found = {
                name.removeprefix("server/"): size
                for name, cell in cells.items()
                if name.startswith("server/") and f"/{graph}/" in name and "task" in cell
                if cell["task"]["parameters"] >= 1_000_000 and cell["task"]["lane_bits"] in bits
                if (size := bytes_per_parameter(cell)) is not None
            }
            if found:
                worst = max(found, key=lambda name: found[name])
                name = f"bytes per client and parameter, {title}, d ≥ 1e6, worst of {graph}"
                figures.append(Figure(name, "B", False, must, aim, {worst: found[worst]}))
    return figures
