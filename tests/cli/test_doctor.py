"""``p2p-flock doctor``: its judgements, its form for scripts, and a home that is not there."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from p2p_flock.chain.client import BlockHead
from p2p_flock.cli.checks.clock import judge_offset
from p2p_flock.cli.checks.every import CHECKS, choose_checks, run_checks
from p2p_flock.cli.checks.findings import Finding, Level, fine
from p2p_flock.cli.checks.money import judge_eth
from p2p_flock.cli.checks.scene import Check, Scene
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.errors import ChainError, UsageError
from tests.cli.conftest import RunCommand


def bare_scene(home: Path) -> Scene:
    return Scene(
        directory=DataDirectory(home),
        config=None,
        config_error=None,
        status=None,
        status_error=None,
        holder=None,
        password=None,
        password_error=None,
        alliance=None,
    )


@pytest.mark.parametrize(
    ("ahead_s", "level"),
    [(0.5, Level.FINE), (29.0, Level.FINE), (-5.0, Level.WARNING), (-60.0, Level.BROKEN), (40.0, Level.WARNING),
     (100.0, Level.BROKEN)],
)  # fmt: skip
def test_judge_offset__levels(ahead_s: float, level: Level) -> None:
    """A clock that is off would go unseen, or a chain between two blocks be blamed on the clock."""
    assert judge_offset(ahead_s, 30.0, "the chain").level is level


@pytest.mark.parametrize(("eth_wei", "level"), [(0, Level.BROKEN), (10**13, Level.WARNING), (10**16, Level.FINE)])
def test_judge_eth__counts_transactions(eth_wei: int, level: Level) -> None:
    """A node would stop in the middle of an alliance for want of gas, unwarned."""
    head = BlockHead(1, bytes(32), bytes(32), 0, 5_000_000)
    assert judge_eth(eth_wei, head).level is level


async def test_run_checks__bounded_and_never_raises(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """One check that hangs, or fails, would take the others' findings with it."""

    def check(name: str, work: Callable[[], Awaitable[list[Finding]]]) -> Check:
        return Check(name, lambda _scene: work())

    async def hang() -> list[Finding]:
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    async def fail() -> list[Finding]:
        raise ChainError("no answer. Try another.")

    async def succeed() -> list[Finding]:
        return [fine("well")]

    found: dict[str, Finding] = {}
    checks = (check("hang", hang), check("fail", fail), check("succeed", succeed))
    await run_checks(bare_scene(tmp_path), lambda one, findings: found.update({one.name: findings[0]}), checks, 5.0)
    assert found["hang"].level is Level.BROKEN and "within 5 s" in found["hang"].found
    assert (found["fail"].found, found["fail"].remedy) == ("no answer", "Try another.")
    assert found["succeed"].level is Level.FINE


def test_choose_checks__by_name_with_what_they_need() -> None:
    """The clock's check would wait for ever for the chain's."""
    assert [check.name for check in choose_checks(("clock",))] == ["chain", "clock"]
    assert [check.name for check in choose_checks(())] == list(CHECKS)
    with pytest.raises(UsageError, match="there is no check 'clok'"):
        choose_checks(("clok",))


def test_doctor__says_what_to_do_where_nothing_is(run: RunCommand) -> None:
    """A newcomer who has made no node yet would see a traceback."""
    ran = run("doctor", "--only", "home", "--only", "settings", "--only", "node", "--json")
    assert ran.code == 1
    report = json.loads(ran.out)
    assert not report["ok"] and report["broken"] == 2
    assert [entry["level"] for entry in report["findings"]] == ["broken", "broken", "skipped"]
    assert "p2p-flock init" in report["findings"][0]["remedy"]
