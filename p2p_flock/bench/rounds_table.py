"""The figures of ``rounds.py`` as Markdown tables that also read well on a terminal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MIB = 1 << 20
Figures = Mapping[str, Any]


def render(figures: Figures, before: Figures | None = None) -> str:
    """All tables. With ``before`` every cell reads ``before → after``."""
    parts = [
        f"{figures['nodes']} nodes, {figures['rounds']} rounds of training, {figures['machine']}",
        _times(figures, before),
        _per_node(figures, before),
        _per_round(figures, before),
        _start(figures, before),
    ]
    return "\n\n".join(parts) + "\n"


def _times(figures: Figures, before: Figures | None) -> str:
    lines: list[tuple[str, tuple[str, ...]]] = [("**overhead**", ("overhead",))]
    lines.append(("**wall time − training − evaluation**", ("wall_without_work",)))
    lines += [(phase, ("phases", phase)) for phase in figures["phases"]]
    rows = [
        [title, *(_cell(figures, before, *path, name) for name in ("median", "min", "max"))] for title, path in lines
    ]
    rows.append(["overhead of round 0", _cell(figures, before, "overhead_round_0"), "", ""])
    return table("seconds per round", ("median", "least", "most"), rows)


def _per_node(figures: Figures, before: Figures | None) -> str:
    roles = list(figures["per_node"])
    names = {name for role in roles for known in (figures, before or {}) for name in _pick(known, "per_node", role)}
    rows = [
        [
            name,
            *(_cell(figures, before, "per_node", role, name, missing=0) for role in roles),
            "" if "peak" in name else _cell(figures, before, "all_nodes", name, missing=0),
        ]
        for name in sorted(names)
    ]
    return table("per node and round (median)", (*roles, "all nodes"), rows)


def _per_round(figures: Figures, before: Figures | None) -> str:
    rows = [[f"gas of {call}", _cell(figures, before, "gas", call)] for call, gas in figures["gas"].items() if gas]
    rows.append(["transactions that succeeded", _cell(figures, before, "transactions", "median")])
    rows.append(["transactions refused, in all rounds", _cell(figures, before, "transactions_refused")])
    for kind in figures["cpu_seconds_by_kind"]:
        rows.append([f"CPU seconds of {kind}", _cell(figures, before, "cpu_seconds_by_kind", kind)])
    for name in figures["peaks"]:
        title = name.removesuffix("_bytes").replace("_", " ")
        rows.append([f"{title}, MiB", _cell(figures, before, "peaks", name, divisor=MIB)])
    return table("per round, all together (median)", ("",), rows)


def _start(figures: Figures, before: Figures | None) -> str:
    stages = sorted(figures["start"]["stages"].items(), key=lambda item: float(item[1]))
    rows = [[name, _cell(figures, before, "start", "stages", name)] for name, _ in stages]
    rows.append(["**first round settled**", _cell(figures, before, "first_settled_seconds")])
    for kind in sorted(_pick(figures, "start", "cpu_seconds_by_kind")):
        rows.append([f"CPU seconds of {kind} by then", _cell(figures, before, "start", "cpu_seconds_by_kind", kind)])
    return table("start, seconds since scripts/testnet", ("",), rows)


def _pick(figures: Figures, *path: str) -> Figures:
    """The object at a path; empty where there is none."""
    found: Any = figures
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _cell(
    figures: Figures, before: Figures | None, *path: str, missing: float | None = None, divisor: float = 1
) -> str:
    """One figure, or two with an arrow; a dash for what is unknown."""

    def shown(known: Figures) -> str:
        value = _pick(known, *path[:-1]).get(path[-1], missing)
        return "–" if value is None else _number(value / divisor)

    return shown(figures) if before is None else f"{shown(before)} → {shown(figures)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it is one on a terminal too; figures to the right."""
    lines = [[title, *columns], *rows]
    widths = [max(3, *(len(line[index]) for line in lines)) for index in range(len(columns) + 1)]

    def padded(cells: Sequence[str]) -> str:
        first, *others = cells
        return " | ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:], strict=True))])

    rule = " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {line} |" for line in [padded(lines[0]), rule, *map(padded, rows)])
