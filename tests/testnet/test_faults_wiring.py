"""Doors to the chain that close while others stay open, and where processes live."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from p2p_flock.errors import UsageError
from p2p_flock.testnet.faults.forwarder import (
    FOLDER,
    READY_FILE,
    Door,
    Forwarder,
    listen,
    read_doors,
    write_closed,
    write_doors,
)
from p2p_flock.testnet.faults.grammar import CutBy, parse_fault
from p2p_flock.testnet.faults.namespaces import Namespaces, explain_unusable, remove_namespaces, run_prefix
from p2p_flock.testnet.faults.wiring import BOOTSTRAP, CUT_FILE, Wiring
from p2p_flock.testnet.place import HERE
from p2p_flock.testnet.ports import choose_ports
from p2p_flock.testnet.processes import Processes

NAMES = ("node0", "node1", "node2")
PATIENCE_SECONDS = 20.0


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    run = Processes(tmp_path)
    yield run
    run.stop()


def wiring(processes: Processes, *faults: str, cut_by: CutBy = CutBy.FAULT_PORT) -> Wiring:
    made = Wiring(processes, NAMES, [parse_fault(fault) for fault in faults])
    made.prepare(cut_by)
    return made


async def echo(stream: trio.SocketStream) -> None:
    """A server that, like the chain's, outlives a connection a closing door reset under it."""
    with suppress(trio.BrokenResourceError):
        async for piece in stream:
            await stream.send_all(piece)


@asynccontextmanager
async def open_doors(folder: Path) -> AsyncIterator[tuple[int, int]]:
    """Doors of two nodes to an echo; their ports."""
    async with trio.open_nursery() as nursery:
        (echoing,) = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
        target = echoing.socket.getsockname()[1]
        ports = choose_ports(2)
        doors = [Door(name, None, port, target) for name, port in zip(NAMES, ports, strict=False)]
        write_doors(folder, doors)
        assert read_doors(folder) == doors
        nursery.start_soon(Forwarder(folder).serve, doors, listen(doors))
        yield ports[0], ports[1]
        nursery.cancel_scope.cancel()


async def ask(stream: trio.SocketStream) -> bool:
    """Whether the other end still answers on this connection."""
    try:
        await stream.send_all(b"?")
        return bool(await stream.receive_some(1) == b"?")
    except trio.BrokenResourceError:
        return False


async def ask_anew(port: int) -> bool:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        return await ask(stream)


async def test_forwarder__closes_one_door_for_old_and_new_connections(tmp_path: Path) -> None:
    """A node whose endpoint is said to be down would still read the chain, or the others would not."""
    async with open_doors(tmp_path) as (first, second), AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(PATIENCE_SECONDS))
        streams = [
            await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port)) for port in (first, second)
        ]
        assert [await ask(stream) for stream in streams] == [True, True]
        write_closed(tmp_path, ["node0"])
        while await ask(streams[0]):
            await trio.lowlevel.checkpoint()
        assert await ask(streams[1])
        assert not await ask_anew(first)
        write_closed(tmp_path, [])
        while not await ask_anew(first):
            await trio.lowlevel.checkpoint()


def test_forwarder__a_taken_port_is_an_error() -> None:
    """A node would speak with a stranger instead of the chain."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        listen([Door("node0", None, taken.getsockname()[1], 1)])


def test_forwarder__outlives_its_launcher_while_a_node_lives(processes: Processes) -> None:
    """The launcher would be a central part: the nodes reach the chain through this process (P4)."""
    folder = processes.directory / FOLDER
    write_doors(folder, [])
    launcher = (
        "import os, signal, sys; from pathlib import Path; from p2p_flock.testnet.processes import Processes; "
        "run = Processes(Path(sys.argv[1])); wait = 'import signal; signal.pause()'; "
        "run.start('node0', [sys.executable, '-c', wait, '--exit-when-closed']); "
        "run.start('forwarder', [sys.executable, '-m', 'p2p_flock.testnet.faults.forwarder', sys.argv[1]]); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = processes.start("launcher", [sys.executable, "-c", launcher, str(processes.directory)])
    assert child.process.wait(PATIENCE_SECONDS) == -9

    async def see() -> None:
        with trio.fail_after(PATIENCE_SECONDS):
            while not (folder / READY_FILE).exists():
                await trio.lowlevel.checkpoint()

    trio.run(see)


def test_wiring__of_a_run_without_such_faults_is_plain(processes: Processes) -> None:
    """Every run would pay for what few need, or need root."""
    plain = wiring(processes, "kill:leader@SEAL", "chain-down,5s", cut_by=CutBy.AUTO)
    assert plain.network_faults_by is None
    assert [plain.place(name) for name in (*NAMES, BOOTSTRAP)] == [HERE] * 4


def test_wiring__clock_is_wrong_at_the_nodes_named(processes: Processes) -> None:
    """Another node's clock would be wrong, or none."""
    wired = wiring(processes, "clock:+5s,node1", "clock:-250ms,node2")
    assert wired.clocks == {"node1": 5000, "node2": -250}
    assert [wired.place(name).settings for name in NAMES] == [
        (),
        ("test.clock_offset_ms=5000",),
        ("test.clock_offset_ms=-250",),
    ]


def test_wiring__fault_port_names_all_others(processes: Processes) -> None:
    """A group would hear another one."""
    wired = wiring(processes, "partition:1/2@TRAIN,5s")
    path = processes.directory / FOLDER / CUT_FILE
    assert wired.network_faults_by == "fault port" and path.read_text() == "{}"
    assert wired.place("node0").settings == (f"test.fault_port_path={path}",)
    assert wired.place(BOOTSTRAP).settings == ()
    wired.cut([("node1",), ("node0", "node2")], {name: name.upper() for name in NAMES})
    assert path.read_text() == '{"NODE1": ["NODE0", "NODE2"], "NODE0": ["NODE1"], "NODE2": ["NODE1"]}'
    wired.heal()
    assert path.read_text() == "{}"


def test_wiring__one_of_two_faults_ends_and_the_door_stays_closed(processes: Processes) -> None:
    """The first fault's end would open what the second one closed."""
    wired = wiring(processes, "rpc-down:all,5s", "rpc-down:node1,9s")
    closed = processes.directory / FOLDER / "closed.json"
    wired.close_doors(NAMES)
    wired.close_doors(["node1"])
    wired.open_doors(NAMES)
    assert closed.read_text() == '["node1"]'
    wired.open_doors(["node1"])
    assert closed.read_text() == "[]"


def test_namespaces__are_named_after_the_run(tmp_path: Path) -> None:
    """Cleaning up after one run would cut the nodes of another."""
    here, elsewhere = run_prefix(tmp_path / "a"), run_prefix(tmp_path / "b")
    assert here != elsewhere and here == run_prefix(tmp_path / "c" / ".." / "a")
    assert len(here + "node34") < 64
    assert remove_namespaces(tmp_path / "a") == []
    spaces = Namespaces(tmp_path / "a")
    assert spaces.command_prefix("node1") == ("ip", "netns", "exec", here + "node1")


def test_wiring__says_why_there_are_no_namespaces(processes: Processes) -> None:
    """Whoever demands them would get something else without a word."""
    if explain_unusable() is not None:
        with pytest.raises(UsageError, match="--cut-by namespaces"):
            wiring(processes, "partition:1/2@TRAIN,5s", cut_by=CutBy.NAMESPACES)
