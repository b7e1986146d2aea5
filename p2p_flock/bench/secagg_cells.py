"""What ``scripts/bench secagg`` measures: a list of cells, each measured on both sides, turn by turn.

A cell is one line of a table. *client* cells hold what a trainer does until its contribution is out, *server* cells
what happens after the seal: the client's answer, and all that whoever sums does. Nothing depends on another cell, so a
run can be broken off and taken up again.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from p2p_flock.alliance.solver import InfeasibleError, Population, Security, solve
from p2p_flock.bench.masking_memory import measure_masking_memory
from p2p_flock.bench.secagg_figures import shorten
from p2p_flock.bench.secagg_inputs import Task
from p2p_flock.crypto.masking import Engine
from p2p_flock.errors import P2PFlockError

ENGINES = ("plain", "accelerated")
PARAMETERS = (100_000, 1_000_000, 10_000_000)
MEMBERS = (10, 32, 128)
DROPOUT_PERCENTS = (0, 10, 30)
CORRUPT_PERMILLE = (
    200  # γ; the dropouts that the graph must bear, δ, are 10 %, or what the cell drops where that is more
)
DROPOUT_PERMILLE_MIN = 100
GROWTH_MEMBERS = (10, 30, 100, 300, 1000)
GROWTH_PARAMETERS = 10_000
GROWTH_ROUNDS = 1000
MEMORY_PARAMETERS = 100_000_000
MASK_NEIGHBORS = (31, 127)
FULL_PARAMETERS, FULL_MEMBERS = 100_000, (10, 32)  # where Flower also runs in full, against what is multiplied up

Measured = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        repeats_max: of everything; repeats_min: of what takes longer than ``cell_seconds``.
        loop_seconds: of one of Flower's loops, before its rest is multiplied up.
    """

    repeats_max: int
    repeats_min: int
    cell_seconds: float
    loop_seconds: float


FIGURES = Effort(7, 3, 20.0, 3.0)  # of the rows that decide a figure
FULL = Effort(5, 2, 8.0, 1.5)
QUICK = Effort(3, 2, 2.0, 0.5)


@dataclass(frozen=True)
class Row:
    """One cohort to measure.

    Attributes:
        graph: ``complete``, or ``solver``: neighbors, t and c from ``alliance/solver.py``.
        dropout_percent: members that drop out.
    """

    parameters: int
    members: int
    graph: str
    dropout_percent: int = 0
    lane_bits: int = 16

    @property
    def name(self) -> str:
        """Such as ``1e6/128/solver/10%``; ``--rows`` picks by it."""
        ring = "" if self.lane_bits == 16 else f"/{self.lane_bits}bit"
        return f"{shorten(self.parameters)}/{self.members}/{self.graph}/{self.dropout_percent}%{ring}"

    @property
    def dropout_permille(self) -> int:
        """δ that the solver's graph must bear."""
        return max(DROPOUT_PERMILLE_MIN, 10 * self.dropout_percent)


def make_task(row: Row) -> Task:
    """The cohort of a row, with its dropouts.

    Raises:
        InfeasibleError: the solver finds no graph.
    """
    if row.graph == "solver":
        numbers = solve(Population(row.members, 0, 1, 1, CORRUPT_PERMILLE, row.dropout_permille))
    else:
        corrupt = row.members * CORRUPT_PERMILLE // 1000
        numbers = Security(row.members, max(3, (row.members + corrupt) // 2 + 1), corrupt, 0.0, 0.0)
    count = round(row.members * row.dropout_percent / 100)
    chosen = random.Random(row.members).sample(range(1, row.members), count)
    return Task(
        row.parameters,
        row.members,
        numbers.holders,
        numbers.threshold,
        numbers.collusion_bound,
        tuple(sorted(chosen)),
        row.lane_bits,
    )


QUICK_ROWS = (
    Row(100_000, 10, "complete"),
    Row(100_000, 10, "complete", 10),
    Row(1_000_000, 32, "complete"),
    Row(1_000_000, 32, "complete", 10),
    Row(1_000_000, 32, "complete", 0, 10),
    Row(1_000_000, 128, "solver", 10),
    Row(10_000_000, 32, "complete"),
)


def list_rows() -> list[Row]:
    """Every row of a full run. Up to 32 owners the solver's graph is the complete one, and stands once."""
    rows = [
        Row(parameters, members, graph, percent)
        for parameters in PARAMETERS
        for members in MEMBERS
        for graph in ("complete", "solver")
        for percent in DROPOUT_PERCENTS
        if graph == "complete" or members > 32
    ]
    rows += [Row(1_000_000, members, "complete", 0, bits) for bits in (32, 10) for members in (32,)]
    rows += [Row(1_000_000, 128, "solver", 0, bits) for bits in (32, 12)]
    return rows


# --- the two sides ---------------------------------------------------------------------------------------------------


class Worker:
    """A process that measures and answers in JSON. Use as a context; it ends when its input does."""

    def __init__(self, python: Path, module: str, root: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root), "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [str(python), "-m", module], cwd=root, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def ask(self, operation: str, **arguments: Any) -> Measured:
        """One request, one answer.

        Raises:
            P2PFlockError: the process ended instead; what it said is on the terminal.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        if isinstance(arguments.get("task"), Task):
            arguments["task"] = arguments["task"].to_json()
        try:
            self._process.stdin.write(json.dumps({"operation": operation, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            raise P2PFlockError(f"the measuring process ended while asked for {operation}; its words are above")
        answer: Measured = json.loads(line)
        return answer


@dataclass(frozen=True)
class Sides:
    """Both processes; ``flower`` is ``None`` where only ours is measured."""

    ours: Worker
    flower: Worker | None
    effort: Effort
    engines: Sequence[str]

    def for_row(self, row: Row) -> Sides:
        """More effort where a figure hangs on it."""
        decides = (row.parameters, row.members) in ((1_000_000, 128), (10_000_000, 32)) and row.dropout_percent < 30
        return replace(self, effort=FIGURES) if decides and self.effort == FULL else self


Turn = Callable[[], Measured]


def alternate(turns: Mapping[str, Turn], effort: Effort) -> dict[str, list[Measured]]:
    """Ask every side in turn, again and again: whatever else runs on the machine disturbs all alike.

    A side that has had its share of the cell's seconds is asked ``repeats_min`` times, or once where that takes three
    shares.
    """
    found: dict[str, list[Measured]] = {name: [] for name in turns}
    spent = dict.fromkeys(turns, 0.0)
    share = effort.cell_seconds / len(turns)
    for repeat in range(effort.repeats_max):
        for name, turn in turns.items():
            if spent[name] > (share if repeat >= effort.repeats_min else 3 * share):
                continue
            started = time.perf_counter()
            found[name].append(turn())
            spent[name] += time.perf_counter() - started
    return found


def summarise(answers: Sequence[Measured]) -> Measured:
    """Medians of CPU and wall seconds per part over the repetitions that measured it; what else the last one said."""
    names = {name for answer in answers for name in answer["parts"]}
    samples = {name: [answer["parts"][name] for answer in answers if name in answer["parts"]] for name in sorted(names)}
    parts = {name: [statistics.median(kind) for kind in zip(*found, strict=True)] for name, found in samples.items()}
    rest = {name: value for name, value in answers[-1].items() if name != "parts"}
    return {"parts": parts, "repeats": len(answers), "samples": samples, **rest}


def measure_client(sides: Sides, row: Row) -> Measured:
    """A trainer until its contribution is out."""
    task, sides = make_task(row), sides.for_row(row)
    cell = _open_cell(sides, task)
    if "unserved" in cell:
        return cell
    turns: dict[str, Turn] = {
        engine: partial(sides.ours.ask, "client", task=task, engine=engine) for engine in sides.engines
    }
    flower = sides.flower
    if flower is not None:
        turns["flower"] = partial(flower.ask, "client", task=task)
        cell["flower_memory"] = flower.ask("client", task=task, memory=True)["memory_peak_bytes"]
    cell["memory"] = sides.ours.ask("client", task=task, engine="plain", memory=True)["memory_peak_bytes"]
    return {**cell, **{name: summarise(found) for name, found in alternate(turns, sides.effort).items()}}


def measure_server(sides: Sides, row: Row) -> Measured:
    """After the seal: the client's answer, and whoever sums."""
    task, sides = make_task(row), sides.for_row(row)
    cell = _open_cell(sides, task)
    if "unserved" in cell:
        return cell
    ours, effort = sides.ours, sides.effort
    turns: dict[str, Turn] = {name: partial(ours.ask, name, task=task) for name in ("answer", "validator")}
    for engine in sides.engines:
        turns[engine] = partial(ours.ask, "server", task=task, engine=engine)
    flower = sides.flower
    if flower is not None:
        turns["flower"] = partial(flower.ask, "server", task=task, seconds_max=effort.loop_seconds)
    found = alternate(turns, effort)
    cell["memory"] = ours.ask("server", task=task, engine="plain", memory=True)["memory_peak_bytes"]
    if flower is not None:
        answer = flower.ask("server", task=task, seconds_max=0.0, memory=True)
        cell["flower_memory"] = answer["memory_peak_bytes"]
    return {**cell, **{name: summarise(answers) for name, answers in found.items()}}


def _open_cell(sides: Sides, task: Task) -> Measured:
    """Both sides make the cohort and show that their inputs are the same.

    Raises:
        P2PFlockError: they are not.
    """
    cell: Measured = {"task": task.to_json(), "load_average": os.getloadavg()[0]}
    ours = sides.ours.ask("inputs", task=task)
    if "unserved" in ours:
        return {**cell, **ours}
    if sides.flower is not None and sides.flower.ask("inputs", task=task)["digest"] != ours["digest"]:
        raise P2PFlockError("the two sides did not make the same vectors; other versions of numpy?")
    return {**cell, "inputs_sha256": ours["digest"]}


def measure_masks(sides: Sides, parameters: int, neighbors: int, lane_bits: int) -> Measured:
    """Masks alone."""
    cell: Measured = {"parameters": parameters, "neighbors": neighbors, "lane_bits": lane_bits}
    turns: dict[str, Turn] = {
        engine: partial(sides.ours.ask, "masks", **cell, engine=engine) for engine in sides.engines
    }
    found = alternate(turns, replace(sides.effort, repeats_min=3))
    return {**cell, **{name: summarise(answers) for name, answers in found.items()}}


def measure_full(sides: Sides, members: int) -> Measured:
    """Flower with every client and every loop real, beside what the client and the loops multiplied up say."""
    task = make_task(Row(FULL_PARAMETERS, members, "complete", 10))
    if sides.flower is None:
        return {"unserved": "without Flower"}
    cell: Measured = {"task": task.to_json()}
    cell["full"] = summarise([sides.flower.ask("full", task=task)])
    cell["client"] = summarise([sides.flower.ask("client", task=task)])
    cell["server"] = summarise([sides.flower.ask("server", task=task, seconds_max=sides.effort.loop_seconds)])
    return cell


def measure_growth(sides: Sides, members: int) -> Measured:
    """What one trainer costs in a cohort of ``members``, with the solver's graph."""
    try:
        numbers = solve(Population(members, 0, 1, GROWTH_ROUNDS, CORRUPT_PERMILLE, DROPOUT_PERMILLE_MIN))
    except InfeasibleError as error:
        return {"unserved": str(error)}
    task = Task(
        GROWTH_PARAMETERS, members, numbers.holders, numbers.threshold, numbers.collusion_bound, (), lane_bits=16
    )
    repeats = 1 if members >= 300 else min(3, sides.effort.repeats_max)
    found = [sides.ours.ask("growth", task=task) for _ in range(repeats)]
    return {"task": task.to_json(), "load_average": os.getloadavg()[0], **summarise(found)}


def measure_memory(_: Sides, engine: Engine) -> Measured:
    """What masking 100 M parameters takes beside them, in a process of its own."""
    try:
        return asdict(measure_masking_memory(MEMORY_PARAMETERS, engine=engine))
    except subprocess.CalledProcessError as error:
        return {"unserved": f"the process ended with {error.returncode}"}


Measurement = Callable[[Sides], Measured]


def list_cells(quick: bool) -> Iterator[tuple[str, Measurement]]:
    """(name, how to measure it), in an order in which cohorts can be shared."""
    for lane_bits in (16,) if quick else (16, 32, 10):
        for parameters in PARAMETERS[1:2] if quick else PARAMETERS[1:]:
            for neighbors in MASK_NEIGHBORS:
                name = f"masks/{shorten(parameters)}/{neighbors}/{lane_bits}bit"
                yield name, partial(measure_masks, parameters=parameters, neighbors=neighbors, lane_bits=lane_bits)
    for members in FULL_MEMBERS[:1] if quick else FULL_MEMBERS:
        yield f"full/{members}", partial(measure_full, members=members)
    named = set()
    for row in QUICK_ROWS if quick else list_rows():
        # A client's work before the seal knows of no dropouts: once per graph.
        graph = (row.parameters, make_task(row).holders, row.members, row.lane_bits)
        if graph not in named:
            named.add(graph)
            yield f"client/{row.name}", partial(measure_client, row=row)
        yield f"server/{row.name}", partial(measure_server, row=row)
    for members in GROWTH_MEMBERS[:3] if quick else GROWTH_MEMBERS:
        yield f"growth/{members}", partial(measure_growth, members=members)
    for engine in (Engine.PLAIN, Engine.ACCELERATED):
        yield f"memory/{engine.value}", partial(measure_memory, engine=engine)
