"""The fault port between two real nodes: a cut is silent, bites both ways, and heals."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2p_flock.errors import NetError
from p2p_flock.net.adapter import Liveness, Net
from p2p_flock.net.fault_port import FILE_BYTES_MAX, FaultPort
from tests.net.nodes import make_config, open_pair, until

QUICK = Liveness(interval_s=0.3, timeout_s=0.9)


def write_cuts(path: Path, cuts: Mapping[str, Sequence[str]]) -> None:
    """As the testnet does: whoever reads never sees half of it."""
    path.with_suffix(".new").write_text(json.dumps(cuts))
    path.with_suffix(".new").replace(path)


@asynccontextmanager
async def open_cable(path: Path) -> AsyncIterator[tuple[Net, Net]]:
    """Two connected nodes that follow one file."""
    configs = [make_config(liveness=QUICK, fault_port=FaultPort(path)) for _ in range(2)]
    async with open_pair(*configs) as pair:
        yield pair


def both_ways(first: Net, second: Net) -> dict[str, list[str]]:
    return {first.peer_id: [second.peer_id], second.peer_id: [first.peer_id]}


async def receive(net: Net) -> bytes:
    with trio.fail_after(20):
        return (await net.messages.receive()).data


async def test_fault_port__cuts_both_ways_and_heals(tmp_path: Path) -> None:
    """A partition would be none, or it would never end."""
    path = tmp_path / "cut.json"
    async with open_cable(path) as (first, second):
        await first.send(second.peer_id, b"before")
        assert await receive(second) == b"before"
        write_cuts(path, both_ways(first, second))
        await until(lambda: not first.connected() and not second.connected())  # by their liveness only
        await first.send(second.peer_id, b"kept")  # a queued message waits for a connection
        write_cuts(path, {})
        assert await receive(second) == b"kept"


async def test_fault_port__dials_of_a_cut_peer_wait(tmp_path: Path) -> None:
    """Two groups would meet again by dialing anew."""
    path = tmp_path / "cut.json"
    write_cuts(path, {"me": ["you"]})
    port = FaultPort(path)
    port.look("me")
    with trio.move_on_after(0.2) as scope:
        await port.wait_until_heard("you")
    assert scope.cancelled_caught
    path.unlink()
    port.look("me")
    await port.wait_until_heard("you")


@pytest.mark.parametrize("text", ["", "[]", "null", '{"me": 5}', "{" + " " * FILE_BYTES_MAX + "}"])
def test_fault_port__a_file_that_says_nothing_is_an_error(tmp_path: Path, text: str) -> None:
    """A partition that nobody follows would count as survived."""
    path = tmp_path / "cut.json"
    path.write_text(text)
    with pytest.raises(NetError, match="does not say"):
        FaultPort(path).look("me")
