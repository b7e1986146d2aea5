"""All checks of ``p2p-flock doctor``, in the order of the report, and how they run: at once, within a time limit.

Called by ``cli/doctor.py``. A new check is one function and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import trio

from p2p_flock.cli.checks.clock import check_clock, check_relays
from p2p_flock.cli.checks.endpoints import check_endpoints
from p2p_flock.cli.checks.findings import Finding, broken
from p2p_flock.cli.checks.home import check_home, check_node, check_password, check_settings
from p2p_flock.cli.checks.installation import check_installation, check_task
from p2p_flock.cli.checks.machine import check_disk, check_machine
from p2p_flock.cli.checks.money import check_balance
from p2p_flock.cli.checks.reach import check_addresses, check_bootstrap, check_dashboard_port, check_port
from p2p_flock.cli.checks.scene import Check, Scene
from p2p_flock.cli.checks.work import check_data
from p2p_flock.cli.failures import describe
from p2p_flock.errors import P2PFlockError, UsageError

CHECKS: tuple[Check, ...] = (
    Check("installation", check_installation),
    Check("task", check_task),
    Check("home", check_home),
    Check("settings", check_settings),
    Check("password", check_password),
    Check("node", check_node),
    Check("chain", check_endpoints),
    Check("clock", check_clock),
    Check("beacon", check_relays),
    Check("port", check_port),
    Check("addresses", check_addresses),
    Check("bootstrap", check_bootstrap),
    Check("dashboard", check_dashboard_port),
    Check("balance", check_balance),
    Check("data", check_data),
    Check("disk", check_disk),
    Check("machine", check_machine),
)
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
    known = [check.name for check in CHECKS]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no check {name!r}\nname one of {', '.join(known)}")
    wanted = {*names, *(NEEDED[name] for name in names if name in NEEDED)} or set(known)
    return tuple(check for check in CHECKS if check.name in wanted)


async def run_checks(
    scene: Scene, report: Report, checks: tuple[Check, ...] = CHECKS, total_s: float = TOTAL_S_MAX
) -> None:
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
