"""A network namespace for every node: its own interfaces, cabled to a switch whose cables can be moved.

Used by ``wiring.py`` for partitions where this user is root and `ip netns` is there. The switch is a namespace too,
with one bridge for each group of a partition; a node's cable is moved from one bridge to another. So a cut is silent,
as when a cable breaks: nothing is refused, packets vanish. (Blackhole routes would tell the sender at once.) The
machine's own interfaces and routes are never touched.

Names begin with a digest of the run's directory, so that whoever cleans up (the launcher, `scripts/testnet stop`, the
forwarder after the launcher's death) finds exactly this run's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from p2p_flock.errors import UsageError
from p2p_flock.testnet.faults.grammar import GROUPS_MAX

SWITCH = "switch"
SUBNET = "10.83.0"  # inside the namespaces only: every run has the same
COMMAND_SECONDS_MAX = 20.0
RUN_FOLDER = Path("/run/netns")


def namespace_path(name: str) -> Path:
    """Where `ip netns` keeps a namespace."""
    return RUN_FOLDER / name


def run_prefix(directory: Path) -> str:
    """What the names of a run's namespaces begin with."""
    return f"flock-{hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:8]}-"


def explain_unusable() -> str | None:
    """Why namespaces cannot be used here; ``None`` where they can."""
    if os.geteuid() != 0:
        return "that needs root"
    if shutil.which("ip") is None:
        return "there is no `ip` command"
    return None


def remove_namespaces(directory: Path) -> list[str]:
    """Remove all namespaces of a run, with everything in them; their names."""
    prefix = run_prefix(directory)
    if os.geteuid() != 0 or not RUN_FOLDER.is_dir():
        return []
    found = sorted(path.name for path in RUN_FOLDER.iterdir() if path.name.startswith(prefix))
    for name in found:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=COMMAND_SECONDS_MAX)
    return found


class Namespaces:
    """The namespaces of one run."""

    def __init__(self, directory: Path) -> None:
        self._prefix = run_prefix(directory)
        self._directory = directory
        self._names: tuple[str, ...] = ()

    def name(self, member: str) -> str:
        """The namespace of a member."""
        return self._prefix + member

    def host(self, member: str) -> str:
        """The member's address."""
        return f"{SUBNET}.{self._names.index(member) + 1}"

    def command_prefix(self, member: str) -> tuple[str, ...]:
        """Before a command that is to run there; the process keeps its ID."""
        return ("ip", "netns", "exec", self.name(member))

    def build(self, members: Sequence[str]) -> None:
        """Make one for each, all on one bridge.

        Raises:
            UsageError: the kernel or this machine's rules do not allow it; nothing is left behind.
        """
        self._names = tuple(members)
        try:
            self._build()
        except UsageError:
            remove_namespaces(self._directory)
            raise

    def _build(self) -> None:
        switch = self.name(SWITCH)
        _ip("netns", "add", switch)
        for bridge in range(GROUPS_MAX):
            _ip("-n", switch, "link", "add", f"br{bridge}", "type", "bridge")
            _ip("-n", switch, "link", "set", f"br{bridge}", "up")
        for index, member in enumerate(self._names):
            own, cable = self.name(member), f"v{index}"
            _ip("netns", "add", own)
            _ip("-n", switch, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", own)
            _ip("-n", switch, "link", "set", cable, "master", "br0", "up")
            _ip("-n", own, "addr", "add", f"{self.host(member)}/24", "dev", "eth0")
            for interface in ("lo", "eth0"):
                _ip("-n", own, "link", "set", interface, "up")

    def cut(self, groups: Sequence[Sequence[str]]) -> None:
        """Give each group a bridge of its own; whoever is in none stays where it is.

        Raises:
            UsageError: a command failed.
        """
        for bridge, group in enumerate(groups):
            for member in group:
                cable = f"v{self._names.index(member)}"
                _ip("-n", self.name(SWITCH), "link", "set", cable, "master", f"br{bridge}")


def _ip(*arguments: str) -> None:
    command = ["ip", *arguments]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX)
    if result.returncode != 0:
        raise UsageError(f"`{' '.join(command)}` failed: {(result.stderr or result.stdout).strip()}")
