"""A node without alliance, chain or network: the real dashboard server over answers that a test sets.

Runs in a thread of its own, since the browser is driven synchronously. The page cannot tell it from a node: routes,
session, headers and events are those of ``p2p_flock/dashboard``.
"""

from __future__ import annotations

import copy
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

import trio

from p2p_flock.daemon.control_messages import COMMANDS
from p2p_flock.dashboard.server import Dashboard, serve_dashboard
from p2p_flock.dashboard.settings import DashboardSettings
from p2p_flock.errors import NoDaemonError

Frame = dict[str, Any]
START_SECONDS_MAX = 20


class FakeNode:
    """Answers of one node; :meth:`show` replaces what it says.

    Attributes:
        token: opens the page.
        url: without token.
    """

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self.port = 0
        self._watch: Frame = {}
        self._shown_at = time.monotonic()
        self._mesh: Frame = {"own": {}, "peers": []}
        self._lines: list[Frame] = []
        self._rounds: list[Frame] = []
        self._thread: threading.Thread | None = None
        self._trio: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def link(self) -> str:
        return f"{self.url}#token={self.token}"

    def show(self, watch: Frame, *, mesh: Frame | None = None, lines: list[Frame] | None = None,
             rounds: list[Frame] | None = None) -> None:  # fmt: skip
        """Say this from now on; its clock begins at the frame's."""
        self._watch, self._shown_at = copy.deepcopy(watch), time.monotonic()
        self._mesh = self._mesh if mesh is None else copy.deepcopy(mesh)
        self._lines = self._lines if lines is None else copy.deepcopy(lines)
        self._rounds = self._rounds if rounds is None else copy.deepcopy(rounds)

    def start(self) -> None:
        """Listen; again on the same port after :meth:`stop`."""
        ready = threading.Event()

        async def main() -> None:
            with trio.CancelScope() as self._scope:
                self._trio = trio.lowlevel.current_trio_token()
                settings = DashboardSettings(
                    port=self.port,
                    token=self.token,
                    ask=self._ask,
                    commands=COMMANDS,
                )
                async with trio.open_nursery() as nursery:
                    dashboard: Dashboard = await nursery.start(serve_dashboard, settings)
                    self.port = dashboard.port
                    ready.set()

        self._thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
        self._thread.start()
        assert ready.wait(START_SECONDS_MAX), "the dashboard did not start"

    def stop(self) -> None:
        """End as a killed node does: connections close, nothing listens."""
        assert self._trio is not None and self._scope is not None and self._thread is not None
        self._trio.run_sync_soon(self._scope.cancel)
        self._thread.join(START_SECONDS_MAX)
        assert not self._thread.is_alive()

    def stop_if_running(self) -> None:
        """At the end of a test, whatever it did."""
        if self._thread is not None and self._thread.is_alive():
            self.stop()

    async def _ask(self, command: str, arguments: dict[str, Any]) -> Mapping[str, object]:
        await trio.lowlevel.checkpoint()
        passed_ms = int((time.monotonic() - self._shown_at) * 1000)
        if command == "alliance.watch":
            cost = {**self._watch["cost"]}
            cost["cpu_seconds"] += passed_ms / 1000 * 0.04
            cost["bytes_sent"] += passed_ms * 12
            cost["bytes_received"] += passed_ms * 20
            return {
                **self._watch,
                "now_ms": self._watch["now_ms"] + passed_ms,
                "uptime_s": self._watch["uptime_s"] + passed_ms // 1000,
                "cost": cost,
            }
        if command == "node.mesh":
            return self._mesh
        if command == "node.log":
            lines = [line for line in self._lines if line["sequence"] > arguments["after"]]
            last = self._lines[-1]["sequence"] if self._lines else 0
            return {"lines": lines[-arguments["limit"] :], "next": last}
        if command == "alliance.history":
            return {"rounds": self._rounds[: arguments["limit"]], "earliest": 0}
        if command == "status":
            return {"peer_id": self._watch["peer_id"]}
        raise NoDaemonError(f"this fake node has no {command}\nuse a real one")
