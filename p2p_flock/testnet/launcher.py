"""The testnet from start to finish: build, watch, judge, clean up.

Called by ``__main__.py``. Its own end is an ordinary event: Ctrl-C, SIGTERM and failures end every process of the run;
SIGKILL ends only this one, the rounds go on, and the nodes leave by themselves when the alliance is closed.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import trio

from p2p_flock.chain.client import RpcClient
from p2p_flock.chain.devnet_deployment import FUND_FLOCK_WEI
from p2p_flock.cli.alliance_terms import round_seconds_max
from p2p_flock.errors import P2PFlockError, UsageError
from p2p_flock.params import AllianceParams
from p2p_flock.testnet import network as building
from p2p_flock.testnet.bring_up import Members
from p2p_flock.testnet.byzantine import Cheat, account_for, honest_line
from p2p_flock.testnet.costs import RunCosts
from p2p_flock.testnet.faults.injector import Injector
from p2p_flock.testnet.faults.recovery import find_back
from p2p_flock.testnet.faults.scene import Scene
from p2p_flock.testnet.faults.wiring import BOOTSTRAP, Wiring
from p2p_flock.testnet.metrics import NodeMetrics
from p2p_flock.testnet.money import Money, money_line, read_money
from p2p_flock.testnet.network import Network, Node
from p2p_flock.testnet.options import Options
from p2p_flock.testnet.place import LOOPBACK, Place
from p2p_flock.testnet.processes import Processes, find_processes, marked_environment
from p2p_flock.testnet.report import References, RunTimes, Trouble, build_report, curve_line, write_report
from p2p_flock.testnet.scores import Scorer, compute_references, open_scorer
from p2p_flock.testnet.summary import RoundSummary, node_names, summarise
from p2p_flock.testnet.table import Display, NodeLine, Snapshot, dashboard_hint, watch_hint
from p2p_flock.testnet.verdict import judge_agreement, judge_rounds, judge_stakes, stakes_lost
from p2p_flock.testnet.watch import Watch

STARTED_VARIABLE = "FLOCK_TESTNET_STARTED_AT"
FRAME_SECONDS = 0.25
EXIT_SECONDS_MAX = 60.0  # for the nodes to fetch the last model and end
JOIN_SECONDS_MAX = 120.0
OPENING_SECONDS_MAX = 10.0  # opening slot, beacon margin, and the transactions' way into a block
VOIDS_PER_FAULT_MAX = 3  # rounds that one fault may cost before the launcher gives up waiting
EXIT_INTERRUPTED = 130
INVITATION = "one more can join: scripts/testnet invite {directory}"
STAGES = {
    "chain and bootstrap node": "local chain with the contracts and bootstrap node run",
    "homes made": "{nodes} nodes made, each with its own keys and its own data",
    "accounts funded": "{nodes} accounts funded",
    "daemons answer": "{nodes} daemons run",
    "alliance created": "the alliance is created",
    "all joined": "all joined; round 0 collects the statistics of the data, then the training begins",
}


class Interrupted(P2PFlockError):
    """A signal asked for the end."""


@dataclass(slots=True)
class Run:
    """What the parts of one run share."""

    options: Options
    params: AllianceParams
    processes: Processes
    display: Display
    launched_at: float
    requested_at: float
    costs: RunCosts
    wiring: Wiring
    network: Network | None = None
    metrics: list[NodeMetrics] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    told_dead: set[str] = field(default_factory=set)
    dashboards: dict[str, str | None] = field(default_factory=dict)
    injector: Injector | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.network.nodes if self.network is not None else ()

    @property
    def gone(self) -> frozenset[str]:
        """Nodes that a fault has killed, and has not started again."""
        return frozenset(self.injector.scene.dead if self.injector is not None else ())

    @property
    def names_by_owner(self) -> dict[bytes, str]:
        return {node.address: node.name for node in self.nodes}


def run(options: Options) -> int:
    """Run a testnet; the exit code: 0 only if ``verdict.py`` has nothing to say."""
    launched_at = time.time()
    options.validate()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="p2p_flock-testnet-"))
    directory.mkdir(parents=True, exist_ok=True)
    directory = directory.resolve()
    display, processes = Display(), Processes(directory)
    state = Run(
        options=options,
        params=options.params,
        processes=processes,
        display=display,
        launched_at=launched_at,
        requested_at=float(os.environ.get(STARTED_VARIABLE, launched_at)),
        costs=RunCosts(directory),
        wiring=Wiring(processes, tuple(map(building.node_name, range(options.nodes))), options.faults, options.seed),
    )
    display.say(f"everything of this run is in {directory}")
    if options.listen_host != LOOPBACK:
        display.say(f"nodes listen on {options.listen_host}: whoever reaches this machine there can talk to them")
    exit_code = 1
    try:
        exit_code = trio.run(_main, state)
    except* Interrupted:
        display.say("stopped" if options.until_stopped else "interrupted")
        exit_code = 0 if options.until_stopped and state.network is not None else EXIT_INTERRUPTED
    except* P2PFlockError as group:
        for error in _leaves(group):
            display.say(str(error))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the cleaning up short
        display.close()
        state.processes.stop()
        state.wiring.close()
    _tidy(state, exit_code)
    return exit_code


async def _main(state: Run) -> int:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_raise_on_signal)
        exit_code = await _build_and_watch(state)
        nursery.cancel_scope.cancel()
    return exit_code


async def _raise_on_signal() -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for _ in signals:
            raise Interrupted("interrupted")


async def _build_and_watch(state: Run) -> int:
    options, directory = state.options, state.processes.directory
    state.costs.reach("launcher imported")
    wiring = state.wiring
    wiring.prepare(options.cut_by)
    if wiring.network_faults_by is not None:
        reason = f" ({wiring.remark})" if wiring.remark else ""
        state.display.say(f"what partitions the network: {wiring.network_faults_by}{reason}")
    foundations = await building.start_foundations(state.processes, options, state.params, _place(state, BOOTSTRAP))
    await wiring.connect(foundations[0])
    _reach(state, "chain and bootstrap node")
    members = Members(
        state.processes, options, state.params, foundations, partial(_reach, state), partial(_place, state)
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(members.run)
        network = await members.network()
        state.display.say(f"alliance {network.alliance} on the local chain at {network.devnet.rpc_url}")
        state.display.say(watch_hint(network.nodes[0].home))
        state.display.say(dashboard_hint(network.nodes[0].home))
        building.write_network(directory, network, options)
        if options.spare_seats:
            state.display.say(INVITATION.format(directory=directory))
        state.network = network
        state.metrics = [NodeMetrics(node.name, node.home) for node in network.nodes]
        client = RpcClient([network.devnet.rpc_url])
        watch = Watch(client, network.contract, from_block=0)
        scene = Scene(network, state.params, state.processes, watch.view, state.display.say, options.seed)
        state.injector = Injector(scene, wiring, options.faults)
        data = [node.data for node in network.nodes]
        try:
            async with open_scorer(
                options.task, options.seed, data, directory / "logs" / "scorer.log", marked_environment(directory)
            ) as scorer:
                await _watch_rounds(state, watch, scorer)
                return await _conclude(state, watch, scorer)
        finally:
            client.close()


def _place(state: Run, name: str) -> Place:
    place = state.wiring.place(name)
    return place if state.options.faults else replace(place, host=state.options.listen_host)


def _reach(state: Run, stage: str) -> None:
    state.costs.reach(stage)
    state.display.say(STAGES[stage].format(nodes=state.options.nodes))


async def _watch_rounds(state: Run, watch: Watch, scorer: Scorer) -> None:
    """Watch until the alliance is closed; members are still joining when this begins.

    Raises:
        UsageError: the rounds did not end in time.
    """
    # Generous: also a round in which everything fails must be voided before the next.
    rounds_max = state.params.round_count + VOIDS_PER_FAULT_MAX * len(state.options.faults)
    seconds_max = rounds_max * (round_seconds_max(state.params) + OPENING_SECONDS_MAX) + JOIN_SECONDS_MAX
    seconds_max += sum(fault.seconds or 0.0 for fault in state.options.faults)
    finished = False
    with trio.move_on_after(seconds_max):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_show_frames, state, watch, scorer)
            if state.injector is not None:
                nursery.start_soon(state.injector.run)
            await watch.run_until_closed()
            nursery.cancel_scope.cancel()
        finished = True
    if not finished:
        raise UsageError(f"The rounds did not end within {seconds_max:.0f} s.")


async def _show_frames(state: Run, watch: Watch, scorer: Scorer) -> None:
    while True:
        await _refresh(state, watch, scorer)
        await trio.sleep(FRAME_SECONDS)


async def _refresh(state: Run, watch: Watch, scorer: Scorer) -> list[RoundSummary]:
    """Read the metrics, score new models, show a frame; the rounds so far."""
    state.costs.note(watch.view)
    for node in state.nodes:
        if state.dashboards.get(node.name) is None:
            state.dashboards[node.name] = building.read_dashboard_url(node.home)
    for metrics in state.metrics:
        metrics.refresh()
        _tell_if_dead(state, metrics.name)
    state.names = node_names(watch.view.owners, state.names_by_owner)
    rounds = [
        summarise(log, state.params, state.metrics, state.names_by_owner)
        for _, log in sorted(watch.view.rounds.items())
    ]
    homes = [node.home for node in state.nodes]
    for summary in rounds:
        if summary.model_digest is not None:
            await scorer.score(summary.model_digest, homes)
    running = rounds[-1].round if rounds else None
    state.display.show(
        Snapshot(
            title=str(state.network.alliance if state.network is not None else ""),
            phase=_phase_text(watch, rounds),
            nodes=[_node_line(state, metrics, running) for metrics in state.metrics],
            rounds=rounds,
            names=state.names,
            scores=scorer.known,
            seconds=time.time() - state.launched_at,
            score_name=scorer.score_name,
        )
    )
    return rounds


def _tell_if_dead(state: Run, name: str) -> None:
    """One line, once, for a daemon that ended by a signal or an error; the rounds go on without it."""
    child = state.processes.children.get(name)  # members are started while the first frames are shown
    is_news = name not in state.told_dead and name not in state.gone
    if child is not None and child.exit_code not in (None, 0) and is_news:
        state.told_dead.add(name)
        last = (child.log_tail().splitlines() or [""])[-1].strip()
        state.display.say(f"{name} ended with exit code {child.exit_code}: {last}")


def _phase_text(watch: Watch, rounds: Sequence[RoundSummary]) -> str:
    if not rounds:
        return "members join"
    log = watch.view.rounds[rounds[-1].round]
    if watch.view.closed:
        return "the alliance is closed"
    step = "waits for the beacon" if log.beacon_seen_at is None else "trains"
    if log.sealed is not None:
        step = "is sealed: unmasks and evaluates"
    if log.commits:
        step = "votes are committed"
    return f"round {rounds[-1].round} {step}; block {watch.view.block}"


def _node_line(state: Run, metrics: NodeMetrics, running: int | None) -> NodeLine:
    child = state.processes.children.get(metrics.name)
    phases = metrics.phases.get(running, {}) if running is not None else {}
    latest = max(phases.values(), key=lambda record: record.ended_at, default=None)
    trouble = ""
    if child is not None and child.exit_code not in (None, 0):
        trouble = f"ended ({child.exit_code})"
    return NodeLine(
        metrics.name, latest.role if latest is not None else "", latest.phase if latest is not None else "", trouble
    )


async def _conclude(state: Run, watch: Watch, scorer: Scorer) -> int:
    """Let the nodes end, judge, and write the report."""
    if state.injector is not None:
        await state.injector.finish()
    rounds = await _refresh(state, watch, scorer)
    with trio.move_on_after(EXIT_SECONDS_MAX):
        while not all(_is_through(state, metrics, watch) for metrics in state.metrics):
            await trio.sleep(FRAME_SECONDS)
            rounds = await _refresh(state, watch, scorer)
    state.display.close()
    lost = stakes_lost(watch.view.slashed, state.names_by_owner)
    complaints = _complaints(state, rounds) + judge_stakes(lost, state.options.crooked)
    money = await _read_money(state, watch)
    complaints += [] if money is None else money.complaints()
    references, failures = await _references(state, rounds)
    complaints += failures
    cheats = account_for(
        state.options.crooked,
        rounds,
        watch.view.slashed,
        [*watch.view.suspended, *watch.view.suspected],
        state.names_by_owner,
        money,
    )
    _finish(state, watch, rounds, scorer, references, money, _trouble(state, lost, complaints, cheats))
    for cheat in cheats:
        state.display.say(cheat.line)
    if cheats:
        state.display.say(honest_line(state.options.crooked, lost))
    for complaint in complaints:
        state.display.say(f"FAILED: {complaint}")
    return 1 if complaints else 0


async def _references(state: Run, rounds: Sequence[RoundSummary]) -> tuple[References, list[str]]:
    """What the same data gives otherwise, unless nobody asked; and the complaint where it cannot be told."""
    if not state.options.references:
        return References(), []
    try:
        return await compute_references(
            state.options.task,
            state.options.seed,
            [node.data for node in state.nodes],
            rounds,
            state.names,
            state.metrics,
            state.processes.directory / "logs" / "baseline.log",
        ), []
    except UsageError as error:
        return References(), [str(error)]


def _complaints(state: Run, rounds: Sequence[RoundSummary]) -> list[str]:
    """Why the run is not a success, stakes and money aside; empty if it is."""
    is_troubled = bool(state.options.faults or state.options.byzantine)
    crooked = state.options.crooked
    honest = [replace(s, model_digest_by_node=_without(s.model_digest_by_node, crooked)) for s in rounds]
    complaints = judge_rounds(honest, state.params.round_count, is_troubled)
    present = [node for node in state.nodes if node.name not in state.gone and node.name not in crooked]
    complaints += judge_agreement(rounds, {node.name: node.home for node in present})
    complaints += state.injector.complaints() if state.injector is not None else []
    for node in present:
        child = state.processes.children[node.name]
        if child.exit_code is None:
            complaints.append(f"{node.name} still ran {EXIT_SECONDS_MAX:.0f} s after the alliance was closed")
        elif child.exit_code > 0:
            complaints.append(f"{node.name} ended with exit code {child.exit_code}; see {child.log}")
        # One that was killed by a signal may have been restarted by whoever killed it: its last model judges it.
    return complaints


def _without(by_node: Mapping[str, str | None], crooked: Collection[str]) -> dict[str, str | None]:
    """Nothing is expected of dishonest nodes."""
    return {name: value for name, value in by_node.items() if name not in crooked}


def _trouble(state: Run, lost: Mapping[str, int], complaints: Sequence[str], cheats: Sequence[Cheat] = ()) -> Trouble:
    records = state.injector.records if state.injector is not None else ()
    return Trouble(
        faults=[
            {**record.describe(), "back": find_back(record.nodes, record.done, state.metrics)} for record in records
        ],
        network_faults_by=state.wiring.network_faults_by,
        nodes_gone=state.gone,
        stake_lost_by_node=lost,
        complaints=complaints,
        byzantine=[cheat.describe() for cheat in cheats],
    )


def _is_through(state: Run, metrics: NodeMetrics, watch: Watch) -> bool:
    """Whether the node has ended and has told how the last round ended, or will do neither."""
    if metrics.name in state.gone:
        return True
    ended = state.processes.children[metrics.name].exit_code is not None
    return ended and max(metrics.closed, default=-1) >= max(watch.view.rounds, default=-1)


async def _read_money(state: Run, watch: Watch) -> Money | None:
    if state.network is None:
        return None
    owners = sorted(watch.view.members)
    records = [log.settled.record for _, log in sorted(watch.view.rounds.items()) if log.settled is not None]
    client = RpcClient([state.network.devnet.rpc_url])
    try:
        contract = state.network.contract
        return await read_money(client, contract, state.params, owners, records, FUND_FLOCK_WEI)
    finally:
        client.close()


def _finish(
    state: Run,
    watch: Watch,
    rounds: Sequence[RoundSummary],
    scorer: Scorer,
    references: References,
    money: Money | None,
    trouble: Trouble,
) -> None:
    ends = [log.ended_seen_at for log in watch.view.rounds.values() if log.settled and log.ended_seen_at]
    now = time.time()
    report = build_report(
        alliance=str(state.network.alliance if state.network is not None else ""),
        task=state.options.task,
        partition=state.options.partition,
        score_name=scorer.score_name,
        seed=state.options.seed,
        rounds=rounds,
        names=state.names,
        scores=scorer.known,
        references=references,
        money=None if money is None else money.describe(state.names_by_owner),
        dashboards=state.dashboards,
        trouble=trouble,
        times=RunTimes(
            set_up_seconds=state.launched_at - state.requested_at,
            first_round_seconds=min(ends) - state.launched_at if ends else None,
            wall_seconds=now - state.requested_at,
            stages={name: at - state.requested_at for name, at in state.costs.stages.items()},
            start_cpu_seconds=state.costs.start_cpu_seconds,
            round_cpu_seconds=state.costs.round_cpu_seconds,
        ),
    )
    directory = state.processes.directory
    path = (state.options.report or directory.with_name(directory.name + ".json")).absolute()
    write_report(report, path)
    overheads = [s.seconds.overhead for s in rounds if s.seconds.overhead is not None]
    state.display.say(curve_line(report["curve"]))
    compared = (
        f" (one member alone {report['local_only_score']}, plain FedAvg {report['plain_fedavg_score']}, "
        f"all data pooled {report['pooled_score']})"
    )
    state.display.say(f"{scorer.score_name} {report['final_score']}{compared if state.options.references else ''}")
    if overheads:
        middle = sorted(overheads)[len(overheads) // 2]
        state.display.say(
            f"{len(rounds)} rounds; overhead per round {middle:.1f} s (median), {max(overheads):.1f} s (most)"
        )
    if money is not None:
        state.display.say(money_line(money))
    state.display.say(f"report: {path}")


def _tidy(state: Run, exit_code: int) -> None:
    """Remove the run's directory after a success, unless it is to be kept; say where things are otherwise."""
    directory = state.processes.directory
    left = find_processes(directory)
    assert not left, f"processes {left} of this run are still there"
    is_kept = state.options.keep or state.options.directory is not None
    if exit_code in (0, EXIT_INTERRUPTED) and not is_kept:
        shutil.rmtree(directory)
    else:
        state.display.say(f"kept: {directory}; logs in {directory / 'logs'} and in each node's folder")


def _leaves(group: BaseExceptionGroup[P2PFlockError]) -> list[P2PFlockError]:
    leaves: list[P2PFlockError] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves
