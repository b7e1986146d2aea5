"""Faults of processes: kill, restart, freeze, the bootstrap node's end. Called by ``injector.py``.

Real signals to real processes: SIGKILL leaves a daemon no time for anything, SIGSTOP stops it between two instructions
with all its connections open.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress

import trio

from p2p_flock.testnet.faults.scene import Scene
from p2p_flock.testnet.processes import find_descendants

WORKER_SECONDS_MAX = 10.0  # for a training process to notice that its daemon is gone; 0.1 s where the machine is idle
BOOTSTRAP = "bootstrap"


class Kill:
    """SIGKILL of daemons. Their workers must end by themselves: the kernel closes their input."""

    def __init__(self, scene: Scene, names: Sequence[str]) -> None:
        self._scene, self.names = scene, tuple(names)

    async def strike(self) -> None:
        """Kill all at once; returns when they are reaped and their workers have ended."""
        children = [self._scene.processes.children[name] for name in self.names]
        workers = {name: _open_handles(child.process.pid) for name, child in zip(self.names, children, strict=True)}
        self._scene.dead.update(self.names)
        for child in children:
            child.process.kill()
        for child in children:
            await trio.to_thread.run_sync(child.process.wait)
        for name, handles in workers.items():
            if not await _all_ended(handles):
                self._scene.complaints.append(f"the worker of {name} outlived its killed daemon")
            for handle in handles:
                os.close(handle)

    async def mend(self) -> None:
        """A killed node stays away."""


class Restart(Kill):
    """SIGKILL, and later the same command in the same home."""

    async def mend(self) -> None:
        """Start them again; returns when the processes are there, not when they answer."""
        for name in self.names:
            self._scene.processes.restart(name)
            self._scene.dead.discard(name)


class Freeze:
    """SIGSTOP of daemons and their workers; SIGCONT later. Nobody's connection is closed."""

    def __init__(self, scene: Scene, names: Sequence[str]) -> None:
        self._scene, self.names = scene, tuple(names)
        self._stopped: list[int] = []

    async def strike(self) -> None:
        """Stop all at once."""
        self._scene.frozen.update(self.names)
        daemons = [self._scene.processes.children[name].process.pid for name in self.names]
        self._stopped = daemons + [pid for daemon in daemons for pid in find_descendants(daemon)]
        _signal(self._stopped, signal.SIGSTOP)

    async def mend(self) -> None:
        """Let them go on."""
        _signal(self._stopped[::-1], signal.SIGCONT)  # workers first: they are asked as soon as a daemon runs
        self._scene.frozen.difference_update(self.names)


class BootstrapDown:
    """SIGKILL of the bootstrap node, the first contact; perhaps started again."""

    names = (BOOTSTRAP,)

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def strike(self) -> None:
        """Kill it."""
        child = self._scene.processes.children[BOOTSTRAP]
        child.process.kill()
        await trio.to_thread.run_sync(child.process.wait)

    async def mend(self) -> None:
        """Start it again with the same key, port and addresses."""
        self._scene.processes.restart(BOOTSTRAP)


def _signal(processes: Sequence[int], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):  # killed meanwhile by another fault
            os.kill(process, number)


def _open_handles(daemon: int) -> list[int]:
    """Handles of a daemon's worker processes, which no reused process ID can mislead; readable when they end."""
    handles = []
    for process in find_descendants(daemon):
        with suppress(ProcessLookupError):
            handles.append(os.pidfd_open(process))
    return handles


async def _all_ended(handles: Sequence[int]) -> bool:
    with trio.move_on_after(WORKER_SECONDS_MAX):
        for handle in handles:
            await trio.lowlevel.wait_readable(handle)
        return True
    return False
