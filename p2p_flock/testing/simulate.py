"""``scripts/simulate``: runs simulations with every checker watching; on failure names seed and replay command.

A simulation is fully described by its command line. With ``--seeds N`` it runs N seeds from ``--seed`` on, in
``--jobs`` processes, and prints what failed. A failing run is made smaller and ends as one command that repeats it.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from p2p_flock.errors import ParameterError
from p2p_flock.params import AllianceParams
from p2p_flock.testing.byzantine import compute_byzantine_max, draw_villains, make_coalition
from p2p_flock.testing.checkers import CHECKERS, Panel, Roster, Violation
from p2p_flock.testing.facts import Make
from p2p_flock.testing.faults import parse_faults
from p2p_flock.testing.shrink import Case, shrink
from p2p_flock.testing.simulator import Config, Result, Simulation, make_default_params

SHRINK_NODES_MAX = 200  # a larger run takes a minute; it is for its finder to make it smaller by hand


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one case went. ``problem`` is ``None`` where every property held."""

    case: Case
    problem: str | None
    result: Result | None
    seconds: float


def make_simulation(case: Case, planted: Make | None = None) -> Simulation:
    """The simulation of a case, with every checker.

    Args:
        planted: everybody's machine, with a bug that counts as an honest member's.

    Raises:
        ParameterError: no alliance of this size is possible.
    """
    params = make_default_params(case.nodes, case.rounds, case.parameter_count)
    makes = draw_hostile(case, params) if planted is None else dict.fromkeys(range(case.nodes), planted)
    config = Config(
        case.seed, case.nodes, case.rounds, case.faults, case.suite, params, makes, planted is not None,
        parameter_count=case.parameter_count,
    )  # fmt: skip
    simulation = Simulation(config)
    roster = Roster(params, simulation.world.initial_model, simulation.byzantine, simulation.world.blobs.get)
    kept = [make for name, make in CHECKERS.items() if is_tolerable(simulation) or name not in ("P3", "P4")]
    simulation.watch(Panel(roster, tuple(make(roster) for make in kept)))
    return simulation


def draw_hostile(case: Case, params: AllianceParams) -> Mapping[int, Make]:
    """The hostile members of a case: a coalition, and beside it so many others that all can be borne, if it can."""
    faults, makes = case.faults, dict[int, Make]()
    if faults.byzantine:
        chance = Simulation.make_chance(case.seed, "byzantine")
        room = max(0, compute_byzantine_max(params, case.nodes) - faults.coalition)
        makes.update(draw_villains(chance, params, case.nodes, min(faults.byzantine, room)))
    if faults.coalition:
        makes.update(make_coalition(Simulation.make_chance(case.seed, "coalition"), case.nodes, faults.coalition))
    return makes


def is_tolerable(simulation: Simulation) -> bool:
    """Whether no more members are hostile than every property allows for."""
    return len(simulation.byzantine) <= compute_byzantine_max(simulation.params, len(simulation.nodes))


def run_case(case: Case, planted: Make | None = None) -> Outcome:
    """Run one case to its end or to its first violation."""
    started = time.perf_counter()
    simulation = make_simulation(case, planted)
    result, problem = None, None
    gc.collect()  # of the run before
    gc.disable()  # a tenth of a large run goes into looking for cycles, and there are next to none
    try:
        result = simulation.run()
    except Violation as error:
        problem = f"{error} (at {simulation.now_ms - simulation.start_ms} ms)"
    except Exception as error:  # noqa: BLE001 - a run that breaks the simulator itself is a finding like any other
        problem = f"{type(error).__name__}: {error} (at {simulation.now_ms - simulation.start_ms} ms)"
    finally:
        gc.enable()
    if result is not None and not result.is_complete and is_tolerable(simulation):
        problem = f"P3: it did not come to an end within {result.virtual_ms} ms"
    return Outcome(case, problem, result, time.perf_counter() - started)


def find_problem(case: Case, planted: Make | None = None) -> str | None:
    """What is wrong with a case; sizes for which no alliance is possible are not."""
    try:
        return run_case(case, planted).problem
    except ParameterError:
        return None


def run_cases(cases: Sequence[Case], jobs: int) -> Iterator[Outcome]:
    """Outcomes in order."""
    if jobs == 1:
        yield from map(run_case, cases)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run_case, cases, chunksize=1)


def describe(outcome: Outcome) -> dict[str, object]:
    """For the JSON file."""
    return {
        "command": outcome.case.command,
        "problem": outcome.problem,
        "seconds": round(outcome.seconds, 3),
        "result": None if outcome.result is None else asdict(outcome.result),
    }


def peak_memory_mib() -> int:
    """Of this process or its largest child, MiB."""
    kib = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kib // 1024


def processor_s() -> float:
    """What this process and its ended children took of the processors, s: it says more than the clock beside others."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _tell_one(outcome: Outcome) -> None:
    result = outcome.result
    if result is None:
        return
    _tell(f"digest      {result.digest}")
    _tell(f"rounds      {result.rounds_settled} settled, {result.rounds_voided} void")
    _tell(f"events      {result.events}, {result.facts} facts, {result.events / outcome.seconds:,.0f} events/s")
    _tell(f"time        {outcome.seconds:.1f} s for {result.virtual_ms / 1000:.1f} s of virtual time")


def _tell_failure(outcome: Outcome, is_shrunk: bool) -> None:
    _tell(f"\nFAILED seed {outcome.case.seed}: {outcome.problem}")
    _tell(f"  replay:  {outcome.case.command}")
    if is_shrunk and outcome.case.nodes <= SHRINK_NODES_MAX:
        small, problem = shrink(outcome.case, find_problem)
        _tell(f"  smaller: {small.command}\n           {problem}")


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds from there on")
    parser.add_argument("--nodes", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=2, help="rounds to settle; void ones come on top")
    parser.add_argument(
        "--faults", default="all", help="none, all, or of crashes,network,reorgs,rpc,byzantine; name=value sets numbers"
    )
    parser.add_argument("--large", type=int, default=0, help="before them one round without faults of so many nodes")
    parser.add_argument("--suite", choices=("fast", "real"), default="fast")
    parser.add_argument("--parameters", type=int, default=6, help="parameters of the model")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="write every outcome to this file")
    parser.add_argument("--no-shrink", action="store_true", help="leave failing runs as they are")
    arguments = parser.parse_args(words)
    if arguments.nodes < 6 or arguments.rounds < 1 or arguments.seeds < 1 or arguments.jobs < 1:
        parser.error("at least 6 nodes, 1 round, 1 seed, 1 job")
    return arguments


def make_cases(arguments: argparse.Namespace) -> list[Case]:
    """One for each seed.

    Raises:
        ValueError: an unknown fault.
    """
    nodes, rounds = arguments.nodes, arguments.rounds
    large = arguments.large
    first = [Case(arguments.seed, large, 1, parse_faults("none", 0, large, 1), arguments.suite)] if large else []
    return first + [
        Case(
            seed,
            nodes,
            rounds,
            parse_faults(arguments.faults, seed, nodes, rounds),
            arguments.suite,
            arguments.parameters,
        )
        for seed in range(arguments.seed, arguments.seed + arguments.seeds)
    ]


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 0 only if every property held in every run."""
    arguments = parse_arguments(sys.argv[1:] if words is None else words)
    try:
        cases = make_cases(arguments)
    except ValueError as error:
        sys.stderr.write(f"scripts/simulate: {error}\n")
        return 2
    started = time.perf_counter()
    outcomes: list[Outcome] = []
    for outcome in run_cases(cases, min(arguments.jobs, len(cases))):
        outcomes.append(outcome)
        if len(cases) == 1:
            _tell_one(outcome)
        if outcome.problem is not None:
            _tell_failure(outcome, not arguments.no_shrink)
    seconds = time.perf_counter() - started
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    failed = sum(outcome.problem is not None for outcome in outcomes)
    events = sum(result.events for result in results)
    _tell(f"processor   {processor_s():.1f} s in all")
    _tell(f"memory      {peak_memory_mib()} MiB at most")
    if len(cases) > 1:
        settled, voided = (sum(getattr(r, name) for r in results) for name in ("rounds_settled", "rounds_voided"))
        _tell(f"rounds      {settled} settled, {voided} void")
        _tell(f"events      {events} in {seconds:.1f} s")
    if arguments.json is not None:
        document = {
            "seconds": seconds,
            "processor_s": processor_s(),
            "peak_mib": peak_memory_mib(),
            "runs": [describe(o) for o in outcomes],
        }
        arguments.json.write_text(json.dumps(document, indent=1, default=str) + "\n")
    _tell(f"{len(cases) - failed} passed, {failed} failed in {seconds:.2f}s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
