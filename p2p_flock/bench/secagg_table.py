"""The cells of ``scripts/bench secagg`` as Markdown tables that also read well on a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from p2p_flock.bench import secagg_figures as figures
from p2p_flock.bench.rounds_table import table
from p2p_flock.bench.secagg_figures import ACCELERATED, Cell, Cells, cpu, has

MIB = 1 << 20
Report = Mapping[str, Any]


def render(report: Report) -> str:
    """All tables of which something was measured, after a line that says where and when."""
    cells: Cells = report["cells"]
    makers = (_figures, _client, _server, _sizes, _masks, _memory, _growth, _full)
    parts = [_head(report), *(made for maker in makers if (made := maker(cells))), _unserved(cells)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(report: Report) -> str:
    cells = report["cells"].values()
    loads = [cell["load_average"] for cell in cells if "load_average" in cell]
    load = f"; load average {min(loads):.1f} to {max(loads):.1f} on {report['cores']} cores" if loads else ""
    flower = report["flower"] or "without Flower"
    effort = "quick run" if report["quick"] else "full run"
    return (
        f"Commit {report['commit']}, {report['date']}, {effort}; {report['machine']}{load}.\n"
        f"Masks: plain, {report['accelerator']}. Against {flower}. CPU time of all threads, medians of turn by turn."
    )


# --- figures ---------------------------------------------------------------------------------------------------------


def _figures(cells: Cells) -> str:
    rows = []
    for figure in figures.list_figures(cells):
        for label, measured in figure.measured.items():
            rows.append(
                [
                    f"{figure.name}; {label}",
                    f"{_target(figure.at_least)}{figure.must:g} {figure.unit}",
                    "–" if figure.aim is None else f"{_target(figure.at_least)}{figure.aim:g} {figure.unit}",
                    f"{measured:.3g} {figure.unit}",
                    figure.judge(figure.must, measured),
                    "–" if figure.aim is None else figure.judge(figure.aim, measured),
                ]
            )
    return table("figure", ("must", "aim", "measured", "must is", "aim is"), rows) if rows else ""


def _target(at_least: bool) -> str:
    return "≥ " if at_least else "≤ "


# --- one line per row ------------------------------------------------------------------------------------------------


def _rows(cells: Cells) -> Iterator[tuple[str, Cell]]:
    for name, cell in cells.items():
        if name.startswith("server/") and has(cell, "answer"):
            yield name.removeprefix("server/"), cell


def _client(cells: Cells) -> str:
    rows = []
    for name, server in _rows(cells):
        client = figures.find_client(cells, name)
        if client is None or not has(client, "plain"):
            continue
        accelerated = has(client, ACCELERATED)
        row = [
            name,
            str(server["task"]["holders"] - 1),
            _ms(cpu(client, "plain", *figures.KEY_PARTS)),
            _ms(cpu(client, "plain", "mask")),
            _ms(cpu(client, ACCELERATED, "mask")) if accelerated else "–",
            _ms(cpu(server, "answer", "answer")),
        ]
        if has(client, "flower"):
            row += [_ms(cpu(client, "flower", "setup", "share")), _ms(cpu(client, "flower", "mask"))]
        else:
            row += ["–", "–"]
        row += [_times(figures.client_ratio(cells, name, engine)) for engine in ("plain", ACCELERATED)]
        row.append(_times(figures.client_ratio(cells, name, ACCELERATED if accelerated else "plain", False)))
        rows.append(row)
    columns = ["k", "keys, shares", "encode, mask", "accelerated", "answer", "Flower keys, shares", "Flower mask"]
    columns += ["Flower/ours", "accelerated", "without answer"]
    return table("client, CPU ms (d/N/graph/dropouts)", columns, rows) if rows else ""


def _server(cells: Cells) -> str:
    rows = []
    for name, cell in _rows(cells):
        if not has(cell, "plain", "validator"):
            continue
        accelerated = has(cell, ACCELERATED)
        row = [name, str(cell["validator"]["masks"])]
        early = (figures.COLLECTING_PARTS, ("answer_checks",), ("rebuild",))
        row += [*(_ms(cpu(cell, "validator", *parts)) for parts in early), _ms(cpu(cell, "plain", "open"))]
        row += [_ms(cpu(cell, ACCELERATED, "open")) if accelerated else "–", _ms(cpu(cell, "plain", "decode"))]
        row += _flower_server(cell)
        row += [_times(figures.unmasking_ratio(cell, engine)) for engine in ("plain", ACCELERATED)]
        best = ACCELERATED if accelerated else "plain"
        row.append(_times(figures.unmasking_ratio(cell, best, with_collecting=True)))
        row += [_ms(cpu(cell, "plain", "plain_sum")), _times(figures.plain_sum_ratio(cell, best, figures.SUM_PARTS))]
        row.append(_times(figures.plain_sum_ratio(cell, best, figures.UNMASKING_PARTS)))
        rows.append(row)
    columns = ["masks", "before the seal", "answers checked", "rebuilt", "opened", "accelerated", "decoded"]
    columns += ["Flower sum", "Flower secrets", "Flower masks", "Flower decode", "Flower/ours", "accelerated"]
    columns += ["with what is before the seal", "plain sum", "rebuilt + opened / plain sum", "all / plain sum"]
    return table("unmasking, CPU ms", columns, rows) if rows else ""


def _flower_server(cell: Cell) -> list[str]:
    if not has(cell, "flower"):
        return ["–"] * 4
    steps = cell["flower"]["steps"]
    groups = (("sum", "sum_modulo"), ("secrets_self", "secrets_keys"), ("masks_self", "masks_pair"), ("decode",))
    shown = []
    for parts in groups:
        partial = any(steps[part][0] < steps[part][1] for part in parts if part in steps)
        shown.append(("~" if partial else "") + _ms(cpu(cell, "flower", *parts)))
    return shown


def _sizes(cells: Cells) -> str:
    rows = []
    for name, cell in _rows(cells):
        sizes, client = cell["answer"]["bytes_by_kind"], figures.find_client(cells, name)
        theirs = client["flower"]["bytes"] if client is not None and has(client, "flower") else None
        total = sum(sizes.values())
        row = [name, *(f"{sizes[kind]:,}" for kind in ("chunks", "document", "bundles", "messages"))]
        row.append(f"{total / cell['task']['parameters']:.3f}")
        row += ["–", "–"] if theirs is None else [f"{theirs / cell['task']['parameters']:.3f}", _times(theirs / total)]
        for known in (client or {}, cell):
            row += [_mib(known.get("memory")), _mib(known.get("flower_memory"))]
        rows.append(row)
    columns = ["chunks", "document", "bundles", "messages", "B per parameter", "Flower", "Flower/ours"]
    columns += ["client MiB", "Flower", "unmasking MiB", "Flower"]
    return table("bytes per client, and peak memory over the inputs", columns, rows) if rows else ""


# --- the others ------------------------------------------------------------------------------------------------------


def _masks(cells: Cells) -> str:
    rows = []
    for name, cell in cells.items():
        if name.startswith("masks/") and has(cell, "plain"):
            plain, fast = (figures.mask_nanoseconds(cell, engine) for engine in ("plain", ACCELERATED))
            title = name.removeprefix("masks/")
            rows.append([title, *("–" if found is None else f"{found:.3f}" for found in (plain, fast))])
    return (
        table("masks alone, ns per parameter and neighbor (d/k/lane)", ("plain", "accelerated"), rows) if rows else ""
    )


def _memory(cells: Cells) -> str:
    rows = [
        [
            f"{cell['parameters']:,} parameters, {cell['neighbors']} neighbors, {cell['engine']}",
            f"{cell['vector_bytes'] / MIB:.0f}",
            f"{cell['growth_bytes'] / MIB:.1f}",
            f"{cell['cpu_seconds']:.2f}",
        ]
        for name, cell in cells.items()
        if name.startswith("memory/") and has(cell, "growth_bytes")
    ]
    columns = ["vector MiB", "beside it MiB (must ≤ 64)", "CPU s"]
    return table("masking in a process of its own", columns, rows) if rows else ""


def _growth(cells: Cells) -> str:
    found = [cell for name, cell in cells.items() if name.startswith("growth/") and has(cell, "parts")]
    if not found:
        return ""
    parameters = found[0]["task"]["parameters"]
    lines = [_growth_values(cell) for cell in found]
    rows = [
        [str(cell["task"]["members"]), *(_number(value) for value in line)]
        for cell, line in zip(found, lines, strict=True)
    ]
    for title, sizes in (
        ("exponent against N", [cell["task"]["members"] for cell in found]),
        ("exponent against k", [cell["task"]["holders"] - 1 for cell in found]),
    ):
        fitted = [figures.fit_exponent(sizes, column) for column in zip(*lines, strict=True)]
        rows.append([title, *("–" if value is None else f"{value:.2f}" for value in fitted)])
    columns = ["k", "CPU ms until sent", "CPU ms answer", f"CPU ms all, d = {figures.shorten(parameters)}"]
    columns += ["kB sent", "kB sent with chunks", "kB received", "messages", "validator ms per trainer"]
    return table("one trainer in a cohort of N, solver's graph", columns, rows)


def _growth_values(cell: Cell) -> list[float]:
    parts = {name: value[0] * 1e3 for name, value in cell["parts"].items()}
    sizes = cell["bytes_by_kind"]
    sent = sum(size for kind, size in sizes.items() if kind != "chunks")
    fixed = parts["plan"] + parts["finish"]
    return [
        cell["task"]["holders"] - 1,
        fixed,
        parts["answer"],
        fixed + parts["answer"] + parts["mask"],
        sent / 1e3,
        (sent + sizes["chunks"]) / 1e3,
        cell["bytes_received"] / 1e3,
        sum(cell["messages"].values()),
        parts["validator_document"],
    ]


def _full(cells: Cells) -> str:
    rows = []
    for name, cell in cells.items():
        if not name.startswith("full/") or not has(cell, "full"):
            continue
        for title, side, parts in (
            ("client keys and shares", "client", ("share",)),
            ("client mask", "client", ("mask",)),
            ("server secrets", "server", ("secrets_self", "secrets_keys")),
            ("server sum and masks", "server", ("sum", "sum_modulo", "masks_self", "masks_pair")),
        ):
            said, real = cpu(cell, side, *parts), cpu(cell, "full", *parts)
            rows.append([f"N = {cell['task']['members']}: {title}", _ms(said), _ms(real), f"{said / real:.2f}"])
    columns = ["as measured above", "in a full run", "ratio"]
    return (
        table("Flower: one client and broken-off loops against all of it, CPU ms, d = 1e5, 10 %", columns, rows)
        if rows
        else ""
    )


def _unserved(cells: Cells) -> str:
    lines = [f"- {name}: {cell['unserved']}" for name, cell in cells.items() if "unserved" in cell]
    return "Not measured:\n" + "\n".join(lines) if lines else ""


def _ms(seconds: float) -> str:
    return _number(seconds * 1e3)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:,.0f}×" if ratio >= 100 else f"{ratio:.3g}×"


def _mib(size: float | None) -> str:
    return "–" if size is None else f"{size / MIB:.1f}"
