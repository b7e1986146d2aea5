"""The daemon: opens network, chain, disk and control socket, and runs the session of the alliance it is in.

The composition root: the only place (with ``world.py``, which holds what is made here) that knows every adapter.
Everything lives in one nursery and ends with it, in the reverse order of opening.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio
from nacl.signing import SigningKey

from p2p_flock.alliance.gossip import validate_hint
from p2p_flock.alliance.manifest import decode_manifest
from p2p_flock.chain.adapter import Chain, ChainConfig, open_chain
from p2p_flock.chain.beacon import QUICKNET, QUICKNET_CHAIN_HASH, BeaconClient, BeaconNetwork
from p2p_flock.chain.bidding import GWEI
from p2p_flock.chain.devnet_beacon import devnet_chain_hash
from p2p_flock.chain.keystore import read_keystore
from p2p_flock.crypto.masking import Engine, choose_engine
from p2p_flock.crypto.signing import recover_address, sign
from p2p_flock.daemon.clock import ChainClock, read_clock_ms
from p2p_flock.daemon.config import ChainSettings, NetSettings, NodeConfig
from p2p_flock.daemon.control import serve_control
from p2p_flock.daemon.control_protocol import prepare_control_socket
from p2p_flock.daemon.dashboard import DashboardDoor
from p2p_flock.daemon.data_directory import DataDirectory, load_identity
from p2p_flock.daemon.gas_book import GAS_NAME, GasBook
from p2p_flock.daemon.handlers import Handlers
from p2p_flock.daemon.judging import make_judge
from p2p_flock.daemon.member import Membership
from p2p_flock.daemon.observability import current_round_id
from p2p_flock.daemon.prometheus import render_metrics
from p2p_flock.daemon.recorder import disable_masks, open_sent_recorder
from p2p_flock.daemon.round_metrics import MetricsFile
from p2p_flock.daemon.session import AllianceSession, topic_of
from p2p_flock.daemon.taking_part import MakeMachine, make_honest_machine
from p2p_flock.daemon.tally import Tally
from p2p_flock.daemon.vitals import Vitals
from p2p_flock.daemon.watch_messages import WatchResult
from p2p_flock.daemon.world import World
from p2p_flock.errors import ConfigError, UsageError
from p2p_flock.learning.worker_client import Worker, WorkerConfig, open_worker
from p2p_flock.net.adapter import Net, NetConfig, open_net
from p2p_flock.net.blob_server import BlobSource
from p2p_flock.net.bootstrap_file import read_bootstrap_file
from p2p_flock.net.discovery import PeerUp
from p2p_flock.net.fault_port import FaultPort
from p2p_flock.net.peer_book import is_loopback
from p2p_flock.store.blobs import BlobStore
from p2p_flock.store.files import make_private_folder, write_atomic
from p2p_flock.store.journal import Journal
from p2p_flock.store.models import ModelStore
from p2p_flock.store.secrets import RoundSecrets
from p2p_flock.types import AllianceId

logger = logging.getLogger(__name__)

METRICS_NAME = "rounds.jsonl"
PEER_BOOK_NAME = "peers.json"
PEER_BOOK_INTERVAL_S = 30.0


def run_node(config: NodeConfig, home: Path, password: str, make_machine: MakeMachine = make_honest_machine) -> int:
    """Run the daemon until it is stopped; the process's exit code.

    Args:
        make_machine: what takes part in its rounds; another one only in a testnet's dishonest members.

    Raises:
        P2PFlockError: what the operator must mend; anything else is a defect.
    """
    return trio.run(_main, config, home, password, make_machine)


async def _main(config: NodeConfig, home: Path, password: str, make_machine: MakeMachine) -> int:
    directory = DataDirectory(home)
    choose_engine(Engine(config.node.mask_engine))
    if config.test.disable_masks:
        disable_masks()
    async with AsyncExitStack() as stack:
        world = await _open_world(stack, config, directory, password, make_machine)
        worker = await _open_worker(stack, config, directory)
        if worker is not None:
            world.tally.worker_pid = lambda: worker.pid
        node = Node(world, worker)
        try:
            return await node.run()
        except BaseExceptionGroup as group:
            raise _only(group) from None


async def _open_world(
    stack: AsyncExitStack, config: NodeConfig, directory: DataDirectory, password: str, make_machine: MakeMachine
) -> World:
    account = await trio.to_thread.run_sync(read_keystore, directory.keystore, password)
    identity = load_identity(directory.identity_key)
    record_sent = open_sent_recorder(config.test, directory.home)
    tally = Tally()
    blobs = BlobStore(directory.blobs, config.store.blob_bytes_max)
    models = ModelStore(directory.models)
    shutil.rmtree(directory.scratch, ignore_errors=True)
    make_private_folder(directory.scratch)
    journal = Journal(directory.journal)
    stack.callback(journal.close)
    metrics = MetricsFile(directory.home / METRICS_NAME)
    stack.callback(metrics.close)

    def find_blob(digest: bytes) -> Path | None:
        path = blobs.path(digest)
        if path is None and models.path(digest).exists():
            path = models.path(digest)
        if path is not None:
            with suppress(OSError):  # given away or evicted this moment; the server finds out by itself
                tally.counts["blob_bytes_served"] += path.stat().st_size
        return path

    gas = GasBook(directory.home / GAS_NAME, config.chain.chain_id)
    chain = await stack.enter_async_context(open_chain(_chain_config(config.chain), account, record_sent, gas.note))
    network, chain_hash = _beacon_network(config.chain)
    if await chain.beacon_network() != network:
        raise ConfigError(
            "The beacon in the configuration is not the one that the contracts verify.\n"
            "Correct chain.beacon_scheme and the values below it."
        )
    now_ms = partial(read_clock_ms, config.test.clock_offset_ms)
    beacon = BeaconClient(network, config.chain.beacon_urls, chain_hash, lambda: now_ms() / 1000)
    stack.callback(beacon.close)
    net_config = _net_config(config, identity, find_blob, _read_peer_book(directory.home / PEER_BOOK_NAME))
    net = await stack.enter_async_context(open_net(replace(net_config, record_sent=record_sent)))
    tally.groups["rpc_calls"] = chain.client.call_counts
    tally.read_totals = partial(_read_totals, net, chain)
    return World(
        config=config,
        directory=directory,
        home=directory.home,
        net=net,
        chain=chain,
        beacon=beacon,
        journal=journal,
        secrets=RoundSecrets(directory.round_secrets, directory.secrets_key),
        blobs=blobs,
        models=models,
        metrics=metrics,
        clock=ChainClock(now_ms),
        sign=tally.signing(partial(sign, bytes(account.key))),
        recover=tally.verifying(recover_address),
        tally=tally,
        gas=gas,
        sign_as_peer=lambda digest: bytes(SigningKey(identity).sign(digest).signature),
        make_machine=make_machine,
    )


def _read_totals(net: Net, chain: Chain) -> dict[str, int]:
    """What network and chain count by themselves, under the names of METRICS.md."""
    return {
        "bytes_sent": net.bytes_sent,
        "bytes_received": net.bytes_received,
        "rpc_exchanges": chain.client.exchange_count,
        "rpc_bytes_sent": chain.client.bytes_sent,
        "rpc_bytes_received": chain.client.bytes_received,
    }


def _chain_config(settings: ChainSettings) -> ChainConfig:
    return ChainConfig(
        rpc_urls=settings.rpc_urls,
        chain_id=settings.chain_id,
        factory=bytes.fromhex(settings.factory.removeprefix("0x")),
        poll_interval_s=settings.poll_interval_ms / 1000,
        from_block=settings.from_block,
        timeout_s=settings.rpc_timeout_ms / 1000,
        fee_wei_max=settings.fee_gwei_max * GWEI,
    )


def _net_config(
    config: NodeConfig, identity: bytes, find_blob: BlobSource, peer_book: dict[str, list[str]]
) -> NetConfig:
    settings, fault_port_path = config.net, config.test.fault_port_path
    return NetConfig(
        private_key=identity,
        listen_host=settings.listen_host,
        listen_port=settings.listen_port,
        bootstrap=_bootstrap(settings),
        blob_source=find_blob,
        peer_book=peer_book,
        announce=settings.announce,
        mdns=settings.mdns and not is_loopback(settings.listen_host),
        fault_port=None if fault_port_path is None else FaultPort(fault_port_path),
    )


def _beacon_network(settings: ChainSettings) -> tuple[BeaconNetwork, str]:
    if settings.beacon_scheme == "quicknet":
        return QUICKNET, QUICKNET_CHAIN_HASH
    key, genesis_s, period_s = settings.beacon_public_key, settings.beacon_genesis, settings.beacon_period_seconds
    if key is None or genesis_s is None or period_s is None:
        raise ConfigError("The devnet beacon needs chain.beacon_public_key, beacon_genesis and beacon_period_seconds.")
    network = BeaconNetwork(bytes.fromhex(key.removeprefix("0x")), genesis_s, period_s)
    return network, devnet_chain_hash(network)


async def _open_worker(stack: AsyncExitStack, config: NodeConfig, directory: DataDirectory) -> Worker | None:
    """The training process starts with the node: it imports its libraries while the node looks for peers."""
    learning = config.learning
    if learning.task is None or learning.data_path is None:
        return None
    directory.logs.mkdir(mode=0o700, exist_ok=True)
    worker = await stack.enter_async_context(
        open_worker(
            WorkerConfig(
                task_name=learning.task,
                data_path=learning.data_path,
                log_path=directory.logs / "worker.log",
                data_seed=learning.data_seed,
                memory_bytes_max=learning.memory_bytes_max,
            )
        )
    )
    worker.read_label = current_round_id
    return worker


def _bootstrap(settings: NetSettings) -> tuple[str, ...]:
    more = () if settings.bootstrap_file is None else read_bootstrap_file(settings.bootstrap_file)
    return tuple(dict.fromkeys((*settings.bootstrap, *more)))


def _read_peer_book(path: Path) -> dict[str, list[str]]:
    """Addresses from the last run; a damaged file costs only the time to find peers again."""
    try:
        book = json.loads(path.read_bytes())
        return {str(peer): [str(address) for address in addresses] for peer, addresses in book.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The single error inside nested groups, else the group itself."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class Node:
    """A running daemon.

    Attributes:
        session: of the alliance the node is in; ``None`` before a join.
        worker: the training process; ``None`` where no task or data is configured.
    """

    def __init__(self, world: World, worker: Worker | None) -> None:
        self.world = world
        self.worker = worker
        self.session: AllianceSession | None = None
        self.started_at = time.time()
        self.membership = Membership(world)
        self.dashboard = DashboardDoor()
        self.vitals = Vitals(world.home)
        self._handlers = Handlers(self)
        self.stopping = trio.Event()
        self._nursery: trio.Nursery | None = None
        self.exit_code = 0

    async def run(self) -> int:
        """Serve until a signal, ``stop``, or (if so configured) the end of the alliance; returns the exit code."""
        handlers = self._handlers
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_signals)
            nursery.start_soon(self._pump_messages)
            nursery.start_soon(self._pump_peers)
            nursery.start_soon(self._pump_gossip)
            nursery.start_soon(self._save_peer_book)
            nursery.start_soon(self.vitals.run)
            self._nursery = nursery
            await nursery.start(serve_control, prepare_control_socket(self.world.home), handlers.table())
            if self.world.config.dashboard.enabled:
                port, metrics = self.world.config.dashboard.port, partial(render_metrics, self)
                await nursery.start(self.dashboard.run, port, self.world.directory, handlers.table(), metrics)
            joined = self.membership.joined()
            if joined is not None:
                await self.open_session(joined)
            logger.info("node %s listens on %s", self.world.net.peer_id, ", ".join(self.world.net.addresses))
            await self.stopping.wait()
            nursery.cancel_scope.cancel()
        self._write_peer_book()
        return self.exit_code

    def watch(self) -> WatchResult:
        """The answer to ``alliance.watch``, from memory."""
        return self._handlers.watch()

    # --- session -----------------------------------------------------------------------------------------------

    def require_worker(self) -> Worker:
        """The training process.

        Raises:
            UsageError: no task or data is configured.
        """
        if self.worker is None:
            raise UsageError(
                "This node has no task and data.\n"
                "Set learning.task and learning.data_path in config.toml and restart it."
            )
        return self.worker

    async def open_session(self, alliance_id: AllianceId) -> None:
        """Start taking part in an alliance; the node is in one at a time.

        Raises:
            UsageError: the installed task is not the alliance's, or the ID belongs to another chain or factory.
            ChainError: the endpoint failed.
        """
        self.membership.check_id(alliance_id)
        worker = self.require_worker()
        handle = await self.world.chain.alliance(alliance_id.number)
        manifest = decode_manifest((await worker.manifest()).to_bytes())
        self.membership.check_terms(handle, manifest)
        judge = await make_judge(worker, self.world.models, self.world.directory.scratch)
        session = AllianceSession(self.world, alliance_id, handle, manifest, judge)
        if self.membership.stays_away():
            session.upkeep.standing.stay_away()
        await self.world.net.subscribe(
            topic_of(alliance_id), lambda _peer, data: validate_hint(alliance_id.number, data)
        )
        self.world.net.seek(topic_of(alliance_id))
        self.session = session
        assert self._nursery is not None
        self._nursery.start_soon(self._run_session, session)

    async def _run_session(self, session: AllianceSession) -> None:
        await session.run()
        logger.info("the alliance is closed; this node holds its last model")
        if self.world.config.node.exit_when_closed:
            await session.linger()
            self.stopping.set()

    # --- pumps -------------------------------------------------------------------------------------------------

    async def _pump_messages(self) -> None:
        async for message in self.world.net.messages:
            if self.session is not None:
                self.session.take_message(message.peer_id, message.data)

    async def _pump_peers(self) -> None:
        async for event in self.world.net.peer_events:
            if self.session is not None:
                self.session.note_reachable(event.peer_id, isinstance(event, PeerUp))

    async def _pump_gossip(self) -> None:
        async for hint in self.world.net.gossip:
            if self.session is not None and hint.topic == topic_of(self.session.id):
                self.session.take_hint(hint.peer_id, hint.data)

    async def _watch_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _number in signals:
                self.stopping.set()

    # --- peer book ---------------------------------------------------------------------------------------------

    async def _save_peer_book(self) -> None:
        while True:
            await trio.sleep(PEER_BOOK_INTERVAL_S)
            await trio.to_thread.run_sync(self._write_peer_book)

    def _write_peer_book(self) -> None:
        book = self.world.net.peer_book_snapshot()
        write_atomic(self.world.home / PEER_BOOK_NAME, json.dumps(book, sort_keys=True).encode())
