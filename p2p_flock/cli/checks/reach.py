"""Is the port free, can others reach this node where it says, and do the bootstrap nodes answer?"""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing

import trio

from p2p_flock.cli.checks.findings import Finding, broken, fine, skipped, warning
from p2p_flock.cli.checks.scene import Scene
from p2p_flock.cli.failures import describe
from p2p_flock.daemon.config import DEVNET_CHAIN_IDS, NetSettings, NodeConfig
from p2p_flock.daemon.data_directory import load_identity, read_peer_id
from p2p_flock.errors import ConfigError, NetError, P2PFlockError, PortTakenError
from p2p_flock.net.bootstrap_file import read_bootstrap_file
from p2p_flock.net.peer_book import is_loopback
from p2p_flock.net.probe import Outcome, Probed, answer_probes, open_prober

PROBE_TIMEOUT_S = 5.0
PROBES_AT_ONCE = 16
NAMED_MAX = 3  # of nodes that do not answer
DASHBOARD_HOST = "127.0.0.1"
PEER_BOOK_NAME = "peers.json"


async def check_port(scene: Scene) -> list[Finding]:
    """Could the node listen where it is told to?"""
    if scene.config is None:
        return [skipped("the settings cannot be read")]
    net = scene.config.net
    where = f"{net.listen_host} port {net.listen_port}"
    if scene.status is not None:
        return [fine(f"the running node listens on {', '.join(_short(scene.status['listen_addresses']))}")]
    if net.listen_port == 0:
        return [
            warning("port 0: another one at every start", "set net.listen_port, so that others find this node again")
        ]
    try:
        code = find_bind_problem(net.listen_host, net.listen_port)
    except OSError as error:
        return [broken(f"net.listen_host {net.listen_host!r} is no address: {error.strerror}", "use 0.0.0.0 for all")]
    if code is None:
        return [fine(f"{where} is free")]
    return [_judge_bind(where, code)]


def find_bind_problem(host: str, port: int) -> int | None:
    """The error number of the system's refusal to listen there, ``None`` where it would not.

    Raises:
        OSError: the host's name cannot be resolved.
    """
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with closing(socket.socket(family, kind, protocol)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the node does: lingering ones are free
            try:
                listener.bind(address)
                listener.listen(1)
            except OSError as error:
                return error.errno
    return None


def _judge_bind(where: str, code: int) -> Finding:
    if code == errno.EADDRINUSE:
        port = where.rpartition(" ")[2]
        return broken(
            f"{where} is taken by another program",
            f"find it with `ss -ltnp 'sport = :{port}'` and end it, or set another net.listen_port",
        )
    if code == errno.EADDRNOTAVAIL:
        return broken(f"{where} is no address of this machine", "set net.listen_host to 0.0.0.0 or to one that it has")
    if code in (errno.EACCES, errno.EPERM):
        return broken(f"{where} is not allowed to this user", "set a net.listen_port above 1023")
    return broken(f"{where} cannot be used: {errno.errorcode.get(code, code)}", "set another net.listen_host or port")


async def check_dashboard_port(scene: Scene) -> list[Finding]:
    """Could the node serve its page?"""
    if scene.config is None:
        return [skipped("the settings cannot be read")]
    settings = scene.config.dashboard
    if not settings.enabled:
        return [skipped("it is switched off")]
    if scene.status is not None:
        if scene.directory.dashboard_url.exists():
            return [fine("the running node serves its page: `p2p-flock dashboard` shows the link")]
        return [warning("the running node serves no page", "see the warning above, or logs/node.log")]
    if settings.port == 0 or find_bind_problem(DASHBOARD_HOST, settings.port) is None:
        return [fine(f"{DASHBOARD_HOST} port {settings.port} is free" if settings.port else "it takes a free port")]
    return [
        warning(
            f"{DASHBOARD_HOST} port {settings.port} is taken by another program: there will be no page",
            f"find it with `ss -ltnp 'sport = :{settings.port}'` and end it, or set another port under [dashboard]",
        )
    ]


def _short(multiaddrs: Sequence[str]) -> list[str]:
    return [text.partition("/p2p/")[0] for text in multiaddrs]


async def check_addresses(scene: Scene) -> list[Finding]:
    """Who could dial this node, and does it answer at the addresses that it announces?"""
    if scene.config is None:
        return [skipped("the settings cannot be read")]
    if not scene.directory.identity_key.exists():
        return [skipped("there is no identity.key")]
    net = scene.config.net
    if not net.announce:
        return [_judge_listening(scene.config)]
    try:
        peer_id = read_peer_id(scene.directory)
        identity = load_identity(scene.directory.identity_key)
    except P2PFlockError as error:
        return [broken(*describe(error))]
    addresses = [address if "/p2p/" in address else f"{address}/p2p/{peer_id}" for address in net.announce]
    try:
        async with AsyncExitStack() as stack:
            if scene.status is None:
                await stack.enter_async_context(answer_probes(identity, net.listen_host, net.listen_port))
            results = await _probe_all(addresses)
    except PortTakenError:
        return [skipped("the announced addresses cannot be tried: the port is taken")]
    return [_judge_announced(address, probed) for address, probed in zip(addresses, results, strict=True)]


def _judge_listening(config: NodeConfig) -> Finding:
    """From the addresses alone: nothing is announced."""
    net = config.net
    if is_loopback(net.listen_host):
        text = f"it listens on {net.listen_host}: only programs on this machine can reach it"
        if config.chain.chain_id in DEVNET_CHAIN_IDS:
            return fine(text + ", as in a testnet")
        return broken(text, "set net.listen_host to 0.0.0.0")
    own = _own_address() if net.listen_host in ("0.0.0.0", "::") else net.listen_host
    if own is None:
        return warning("this machine has no network but itself", "connect it, or check its routes")
    try:
        is_public = ipaddress.ip_address(own).is_global
    except ValueError:
        is_public = True
    if is_public:
        return fine(f"others reach it at {own} port {net.listen_port}, if no firewall keeps them out")
    return warning(
        f"{own} is an address of a private network: only machines in there can dial this node",
        "if others must, forward a TCP port to it and set net.announce; dialling out works without",
    )


def _own_address() -> str | None:
    """The address from which this machine would talk to the Internet; nothing is sent."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _judge_announced(address: str, probed: Probed) -> Finding:
    name = address.partition("/p2p/")[0]
    match probed.outcome:
        case Outcome.REACHED:
            return fine(f"it answers at its announced address {name} ({probed.milliseconds} ms, tried from here)")
        case Outcome.NO_NAME:
            return broken(f"the name in {name} is unknown: {probed.detail}", "correct net.announce or the DNS entry")
        case Outcome.NO_CONNECTION:
            return warning(
                f"nobody answers at the announced address {name}: {probed.detail}",
                "check port forwarding and firewall; some routers refuse this from inside: try from another network",
            )
        case Outcome.NOT_THE_PEER:
            return broken(f"another program answers at {name}, not this node", "correct net.announce or the forwarding")


async def check_bootstrap(scene: Scene) -> list[Finding]:
    """Connect with every bootstrap node and let it prove who it is."""
    if scene.config is None:
        return [skipped("the settings cannot be read")]
    net = scene.config.net
    try:
        addresses = _bootstrap_addresses(net)
    except ConfigError as error:
        return [broken(*describe(error))]
    if not addresses:
        return [_judge_none(scene)]
    results = await _probe_all(addresses)
    findings = [
        _judge_bootstrap(address, probed)
        for address, probed in zip(addresses, results, strict=True)
        if probed.outcome is not Outcome.REACHED
    ]
    reached = [probed for probed in results if probed.outcome is Outcome.REACHED]
    if not findings:
        slowest = max(probed.milliseconds for probed in reached)
        return [fine(f"{len(reached)} of {len(results)} answer and prove who they are, within {slowest} ms")]
    shown = findings[:NAMED_MAX]
    is_enough = bool(reached) or (scene.status is not None and scene.status["connected_peers"] > 0)
    rest = f"; {len(reached)} of {len(results)} answer" if len(results) > 1 else ""
    make = warning if is_enough else broken
    return [make(finding.found + rest, finding.remedy) for finding in shown]


def _bootstrap_addresses(net: NetSettings) -> tuple[str, ...]:
    more = () if net.bootstrap_file is None else read_bootstrap_file(net.bootstrap_file)
    return tuple(dict.fromkeys((*net.bootstrap, *more)))


def _judge_none(scene: Scene) -> Finding:
    assert scene.config is not None
    known = _count_known_peers(scene)
    if scene.status is not None and scene.status["connected_peers"]:
        return fine(f"none is set, and {scene.status['connected_peers']} peers are connected")
    if known:
        return fine(f"none is set; {known} peers are known from the last run")
    net = scene.config.net
    finds = net.mdns and not is_loopback(net.listen_host)
    text = "none is set: this node finds others in the local network only" if finds else "none is set: others must dial"
    return warning(
        text,
        "set net.bootstrap to the address of one other node; whoever invited you knows one",
    )


def _count_known_peers(scene: Scene) -> int:
    try:
        book = json.loads((scene.directory.home / PEER_BOOK_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return 0
    return len(book) if isinstance(book, dict) else 0


def _judge_bootstrap(address: str, probed: Probed) -> Finding:
    name, _, peer_id = address.partition("/p2p/")
    match probed.outcome:
        case Outcome.NO_NAME:
            return broken(f"the name in {name} is unknown: {probed.detail}", "correct net.bootstrap, or check DNS")
        case Outcome.NOT_THE_PEER:
            return broken(
                f"what answers at {name} is not the node {peer_id}",
                "correct the peer ID in net.bootstrap: ask whoever runs that node for its address anew",
            )
        case _:
            return broken(
                f"nobody answers at {name}: {probed.detail}",
                "check the address, that the node runs, and that your firewall lets TCP out to its port",
            )


async def _probe_all(addresses: Sequence[str]) -> list[Probed]:
    results = [Probed(Outcome.NO_CONNECTION, "not tried", 0)] * len(addresses)
    limiter = trio.CapacityLimiter(PROBES_AT_ONCE)
    async with open_prober() as prober:

        async def probe(index: int) -> None:
            async with limiter:
                try:
                    results[index] = await prober.probe(addresses[index], PROBE_TIMEOUT_S)
                except NetError as error:
                    results[index] = Probed(Outcome.NO_CONNECTION, str(error), 0)

        async with trio.open_nursery() as nursery:
            for index in range(len(addresses)):
                nursery.start_soon(probe, index)
    return results
