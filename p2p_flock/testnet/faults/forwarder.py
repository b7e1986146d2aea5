"""Small doors between nodes and the local chain: TCP forwarders of which single ones can be closed while they run.

Run by ``wiring.py`` as ``python -m p2p_flock.testnet.faults.forwarder DIRECTORY`` where a fault needs it: each node
then reaches the chain through a door of its own, inside its network namespace where it has one. A process of its own,
because the rounds must go on when the launcher dies (P4); it then also removes the namespaces, once no node is left.
Reads ``doors.json`` once and ``closed.json`` all the time. Listens on 127.0.0.1 only.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import trio

from p2p_flock.store.files import write_atomic
from p2p_flock.testnet.faults.namespaces import namespace_path, remove_namespaces
from p2p_flock.testnet.processes import find_processes

FOLDER = "faults"
DOORS_FILE, CLOSED_FILE, READY_FILE = "doors.json", "closed.json", "doors-open"
CLONE_NEWNET = 0x40000000  # linux/sched.h
BACKLOG = 128
PIECE_BYTES_MAX = 64 << 10
LOOK_SECONDS = 0.02
JANITOR_SECONDS = 1.0
RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() answers the other side with a reset
DAEMON_WORD = b"--exit-when-closed"  # in every member's command line


@dataclass(frozen=True, slots=True)
class Door:
    """``namespace``: of the node that uses it, ``None`` for the machine's own. ``is_rpc``: it can be closed."""

    name: str
    namespace: str | None
    port: int
    target_port: int
    is_rpc: bool = True


def write_doors(folder: Path, doors: Sequence[Door]) -> None:
    """Say which doors there are, before the process starts."""
    folder.mkdir(parents=True, exist_ok=True)
    write_closed(folder, ())
    write_atomic(folder / DOORS_FILE, json.dumps([asdict(door) for door in doors]).encode())


def write_closed(folder: Path, names: Sequence[str]) -> None:
    """Say whose doors are closed from now on."""
    write_atomic(folder / CLOSED_FILE, json.dumps(sorted(names)).encode())


def listen(doors: Sequence[Door]) -> list[socket.socket]:
    """A listening socket for each door, made inside its namespace, where it stays.

    Raises:
        OSError: a port is taken, or a namespace may not be entered.
    """
    sockets: dict[int, socket.socket] = {}
    errors: list[OSError] = []

    def open_one(index: int, door: Door) -> None:
        try:
            if door.namespace is not None:
                _enter(door.namespace)  # this thread only, which ends with this function
            sockets[index] = socket.create_server(("127.0.0.1", door.port), backlog=BACKLOG)
        except OSError as error:
            errors.append(error)

    for index, door in enumerate(doors):
        thread = threading.Thread(target=open_one, args=(index, door))
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
    return [sockets[index] for index in range(len(doors))]


def _enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(namespace_path(namespace), os.O_RDONLY)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter the network namespace {namespace}: {os.strerror(number)}")
    finally:
        os.close(descriptor)


class Forwarder:
    """Serves the doors. ``closed``: names whose doors reset every connection."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.closed: frozenset[str] = frozenset()
        self._open: dict[trio.CancelScope, str] = {}  # connections that go through now, and whose they are

    async def serve(self, doors: Sequence[Door], sockets: Sequence[socket.socket]) -> None:
        """Forward for ever."""
        async with trio.open_nursery() as nursery:
            for door, one in zip(doors, sockets, strict=True):
                listener = trio.SocketListener(trio.socket.from_stdlib_socket(one))
                nursery.start_soon(trio.serve_listeners, self._handler(door), [listener])
            nursery.start_soon(self._watch_closed)

    def _handler(self, door: Door):  # type: ignore[no-untyped-def]  # trio's own type of handlers has no name
        async def handle(stream: trio.SocketStream) -> None:
            await self._forward(door, stream)

        return handle

    async def _forward(self, door: Door, stream: trio.SocketStream) -> None:
        try:
            if door.is_rpc and door.name in self.closed:
                return
            with trio.CancelScope() as scope:
                if door.is_rpc:
                    self._open[scope] = door.name
                target = await trio.open_tcp_stream("127.0.0.1", door.target_port)
                async with target, trio.open_nursery() as nursery:
                    nursery.start_soon(_pump, stream, target)
                    nursery.start_soon(_pump, target, stream)
            self._open.pop(scope, None)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # either side ended; the other learns it now
        finally:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            await trio.aclose_forcefully(stream)

    async def _watch_closed(self) -> None:
        seen = -1
        while True:
            changed = (self._folder / CLOSED_FILE).stat().st_mtime_ns
            if changed != seen:
                seen = changed
                self.closed = frozenset(json.loads((self._folder / CLOSED_FILE).read_text()))
                for scope in [scope for scope, name in self._open.items() if name in self.closed]:
                    scope.cancel()
            await trio.sleep(LOOK_SECONDS)


async def _pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    async for piece in source:
        await sink.send_all(piece)
    await sink.send_eof()


async def wait_for_orphans(directory: Path, launcher: int) -> None:
    """Return once the launcher has died and no member's daemon is left."""
    while os.getppid() == launcher or any(_is_daemon(process) for process in find_processes(directory)):
        await trio.sleep(JANITOR_SECONDS)


def _is_daemon(process: int) -> bool:
    try:
        return DAEMON_WORD in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it ended this moment
        return False


async def _main(directory: Path, doors: Sequence[Door], sockets: Sequence[socket.socket], launcher: int) -> None:
    folder = directory / FOLDER
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Forwarder(folder).serve, doors, sockets)
        (folder / READY_FILE).touch()
        await wait_for_orphans(directory, launcher)
        nursery.cancel_scope.cancel()
    remove_namespaces(directory)


def read_doors(folder: Path) -> list[Door]:
    """What :func:`write_doors` wrote."""
    listed: list[Mapping[str, object]] = json.loads((folder / DOORS_FILE).read_text())
    return [Door(**each) for each in listed]  # type: ignore[arg-type]  # our own file


def main(arguments: Sequence[str]) -> int:
    """Entry point: the run's directory."""
    launcher = os.getppid()
    directory = Path(arguments[0])
    doors = read_doors(directory / FOLDER)
    trio.run(_main, directory, doors, listen(doors), launcher)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
