"""All checks of ``p2p-flock doctor``, in the order of the report, and how they run: at once, within a time limit.

Called by ``cli/doctor.py``. A new check is one function and one line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection

import trio

from p2p_flock.cli.checks.findings import Finding, broken
from p2p_flock.cli.checks.scene import Check, Scene
from p2p_flock.cli.failures import describe
from p2p_flock.errors import P2PFlockError, UsageError

# Name → module and function under cli/checks/, imported when they run: libp2p alone takes a second.
CHECKS = {
    "installation": "installation:check_installation",
    "task": "installation:check_task",
    "home": "home:check_home",
    "settings": "home:check_settings",
    "password": "home:check_password",
    "node": "home:check_node",
    "chain": "endpoints:check_endpoints",
    "clock": "clock:check_clock",
    "beacon": "clock:check_relays",
    "port": "reach:check_port",
    "addresses": "reach:check_addresses",
    "bootstrap": "reach:check_bootstrap",
    "dashboard": "reach:check_dashboard_port",
    "balance": "money:check_balance",
    "data": "work:check_data",
    "disk": "machine:check_disk",
    "machine": "machine:check_machine",
}
# What others wait for.
NEEDED = {"clock": "chain", "balance": "chain"}
# The slowest healthy one starts torch: 3 s on an idle machine, 15 s beside a running training.
TOTAL_S_MAX = 25.0

Report = Callable[[Check, list[Finding]], None]


def choose_checks(names: Collection[str]) -> tuple[Check, ...]:
    """All of them, or those of these names and what they need.

    Raises:
        UsageError: there is none of a name.
    """
    for name in names:
        if name not in CHECKS:
            raise UsageError(f"there is no check {name!r}\nname one of {', '.join(CHECKS)}")
    wanted = {*names, *(NEEDED[name] for name in names if name in NEEDED)} or set(CHECKS)
    return tuple(_load(name, place) for name, place in CHECKS.items() if name in wanted)


def _load(name: str, place: str) -> Check:
    module, _, function = place.partition(":")
    return Check(name, getattr(importlib.import_module(f"p2p_flock.cli.checks.{module}"), function))


async def run_checks(scene: Scene, report: Report, checks: tuple[Check, ...], total_s: float = TOTAL_S_MAX) -> None:
    """Run them all at once; ``report`` is called for each as it ends, at the latest after ``total_s``."""
    ends_at = trio.current_time() + total_s

    async def run(check: Check) -> None:
        findings = [
            broken(
                f"this check did not end within {total_s:.0f} s",
                "what it asks is too slow or the machine overloaded: run `p2p-flock doctor` again when it is idle",
            )
        ]
        with trio.move_on_at(ends_at):
            try:
                findings = await check.run(scene)
            except P2PFlockError as error:
                findings = [broken(*describe(error))]
        report(check, findings)

    async with trio.open_nursery() as nursery:
        for check in checks:
            nursery.start_soon(run, check)
