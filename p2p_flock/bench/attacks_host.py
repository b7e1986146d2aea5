"""The node under attack: network, contents and the daemon's checks of messages, in a process of its own.

Run by ``p2p_flock.bench.attacks`` as ``python -m p2p_flock.bench.attacks_host DIRECTORY``. It is the daemon's network
side without a chain: the real `Net`, the real `Intake` over a real round's context, contents from files. Each message
that passes all checks is answered with ``ok``, where the daemon would hand it to the round's machine. It prints one
line of JSON when it listens, and one for each line that it reads; it ends with its standard input.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import trio
from nacl.signing import SigningKey

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.gossip import validate_hint
from p2p_flock.alliance.sortition import compute_seed
from p2p_flock.crypto.peer_identity import peer_id_of
from p2p_flock.daemon.intake import Intake
from p2p_flock.daemon.observability import configure_logging, process_secrets
from p2p_flock.daemon.tally import Tally
from p2p_flock.net.adapter import Net, NetConfig, open_net
from p2p_flock.testing.alliance import Setting, make_setting

if TYPE_CHECKING:
    from p2p_flock.daemon.driver import RoundDriver
    from p2p_flock.ports import Event

ALLIANCE = 3  # of `testing.alliance.DOMAIN`
TOPIC = f"/p2p-flock/1/attacks/{ALLIANCE}"
CONTENT_BYTES = 1 << 20
CONTENTS = 16
ACK = b"ok"


def seed_of(name: str) -> bytes:
    """The libp2p identity of a role in this measurement: 32 bytes."""
    return hashlib.sha256(b"p2p_flock attacks " + name.encode()).digest()


def peer_of(name: str) -> str:
    """Its peer ID."""
    return peer_id_of(bytes(SigningKey(seed_of(name)).verify_key))


def make_round() -> tuple[Setting, RoundContext, dict[str, int]]:
    """A round whose validators are the host, an honest member and a member that attacks; their seats by name."""
    setting = make_setting()
    seats = dict(zip(("host", "honest", "member"), setting.context.assignment.validators, strict=True))
    names = {seat: name for name, seat in seats.items()}
    context = setting.context
    snapshot = replace(
        context.snapshot,
        seats=tuple(
            replace(seat, peer_id=peer_of(names.get(seat.index, f"seat {seat.index}")))
            for seat in context.snapshot.seats
        ),
    )
    seed = compute_seed(context.domain, context.round, setting.randomness)
    model = setting.model
    context = RoundContext.make(snapshot, context.params, context.manifest, model.stage, model.digest, seed)
    return setting, context, seats


def make_contents() -> dict[bytes, bytes]:
    """What the host serves, by digest."""
    contents = [hashlib.shake_256(bytes([number])).digest(CONTENT_BYTES) for number in range(CONTENTS)]
    return {hashlib.sha256(content).digest(): content for content in contents}


class Machine:
    """In the driver's place: counts what got through all checks."""

    def __init__(self, context: RoundContext) -> None:
        self.context = context
        self.taken = 0

    def post(self, _event: Event) -> None:
        """A checked message."""
        self.taken += 1


async def serve(directory: Path) -> None:
    """Run until standard input ends."""
    _, context, _ = make_round()
    paths = {}
    for digest, content in make_contents().items():
        paths[digest] = directory / digest.hex()
        paths[digest].write_bytes(content)
    config = NetConfig(
        private_key=seed_of("host"), listen_host="127.0.0.1", listen_port=0, bootstrap=(), blob_source=paths.get
    )
    async with open_net(config) as net, trio.open_nursery() as nursery:
        members = {seat.peer_id for seat in context.snapshot.seats}
        for peer_id in members - {net.peer_id}:
            net.add_peer(peer_id, [])
        await net.subscribe(TOPIC, lambda _author, data: validate_hint(ALLIANCE, data))
        machine = Machine(context)
        nursery.start_soon(_take_messages, net, machine, members)
        nursery.start_soon(_drain, net.gossip)
        nursery.start_soon(_drain, net.peer_events)
        _say({"address": net.addresses[0]})
        while await trio.to_thread.run_sync(sys.stdin.readline):
            _say({**read_usage(), "connections": len(net.connected()), "taken": machine.taken, **_log_size(directory)})
        nursery.cancel_scope.cancel()


async def _take_messages(net: Net, machine: Machine, members: set[str]) -> None:
    intake = Intake(net, Tally())
    async for message in net.messages:
        before = machine.taken
        intake.take(message.peer_id, message.data, message.peer_id in members, cast("RoundDriver", machine))
        if machine.taken > before:
            await net.send(message.peer_id, ACK)


async def _drain(channel: trio.MemoryReceiveChannel[object]) -> None:
    async for _ in channel:
        pass


def read_usage() -> dict[str, float]:
    """This process's CPU seconds (user and system), and its resident memory in bytes."""
    times = os.times()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"cpu_seconds": times.user + times.system, "rss_bytes": pages * os.sysconf("SC_PAGE_SIZE")}


def _log_size(directory: Path) -> dict[str, int]:
    return {"log_bytes": sum(path.stat().st_size for path in (directory / "logs").glob("*"))}


def _say(values: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Entry point."""
    directory = Path(sys.argv[1])
    configure_logging("human", "info", process_secrets, directory / "logs")
    logging.getLogger().removeHandler(logging.getLogger().handlers[0])  # the file is enough
    trio.run(serve, directory)


if __name__ == "__main__":
    main()
