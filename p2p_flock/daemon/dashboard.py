"""Joins the node and its dashboard: gives it the commands, the token and the port, and writes down where it listens.

Called by ``daemon/node.py``. The node runs on whatever happens here: a taken port, a full disk or a defect leaves it
without a page, which it says in its log and in ``status.warnings``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from p2p_flock.daemon.control import Handler
from p2p_flock.daemon.control_messages import COMMANDS, validate_arguments
from p2p_flock.daemon.dashboard_files import load_or_create_token, write_url
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.daemon.observability import process_secrets
from p2p_flock.dashboard.access import Access
from p2p_flock.dashboard.api import describe_commands
from p2p_flock.dashboard.defects import Defects
from p2p_flock.dashboard.server import Dashboard, serve_dashboard
from p2p_flock.dashboard.settings import DashboardSettings
from p2p_flock.errors import PortTakenError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_typing import TaskStatus

CONTROL_DOCUMENT = Path(__file__).parent / "CONTROL.md"

logger = logging.getLogger(__name__)


def describe_interface() -> dict[str, object]:
    """The OpenAPI document that a node serves, as JSON values; ``docs/reference/openapi.json`` is a copy."""
    return describe_commands(COMMANDS, CONTROL_DOCUMENT.read_text(encoding="utf-8"))


class DashboardDoor:
    """The node's dashboard, or why there is none.

    Attributes:
        dashboard: the one that listens; ``None`` while none does.
    """

    def __init__(self) -> None:
        self.dashboard: Dashboard | None = None
        self._trouble: str | None = None
        self._defects = Defects()

    @property
    def url(self) -> str | None:
        """Where the page is, without the token."""
        return None if self.dashboard is None else self.dashboard.url

    @property
    def warnings(self) -> list[str]:
        """Sentences for ``status.warnings``."""
        found = [] if self._trouble is None else [self._trouble]
        count = self._defects.count + (0 if self.dashboard is None else self.dashboard.defects.count)
        if count:
            defects = "one defect" if count == 1 else f"{count} defects"
            them = "it" if count == 1 else "them"
            found.append(f"the dashboard met {defects} of this software: see logs/node.log and report {them}")
        return found

    async def run(
        self,
        port: int,
        directory: DataDirectory,
        handlers: Mapping[str, Handler],
        render_metrics: Callable[[], bytes] | None,
        task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; reports once it listens or cannot. Raises nothing."""
        with self._defects.contained("the dashboard"):
            try:
                await self._run(port, directory, handlers, render_metrics, task_status)
            except* (PortTakenError, StoreError) as group:  # the first comes out of the nursery, in a group
                error: BaseException = group
                while isinstance(error, BaseExceptionGroup):
                    error = error.exceptions[0]
                self._trouble = "; ".join(str(error).split("\n"))
                logger.warning("there is no dashboard: %s", self._trouble)
            finally:
                self.dashboard = None
                for path in (directory.dashboard_url, directory.dashboard_link):
                    path.unlink(missing_ok=True)
        task_status.started()
        await trio.sleep_forever()  # a task that ends is not what the nursery of a node expects

    async def _run(
        self,
        port: int,
        directory: DataDirectory,
        handlers: Mapping[str, Handler],
        render_metrics: Callable[[], bytes] | None,
        task_status: TaskStatus[None],
    ) -> None:
        token = load_or_create_token(directory.dashboard_token)
        process_secrets.register(token)

        async def ask(command: str, arguments: dict[str, Any]) -> Mapping[str, object]:
            validate_arguments(command, arguments)
            return await handlers[command](arguments)

        settings = DashboardSettings(
            port=port,
            token=token,
            ask=ask,
            commands=COMMANDS,
            documentation=CONTROL_DOCUMENT.read_text(encoding="utf-8"),
            render_metrics=render_metrics,
        )
        async with trio.open_nursery() as nursery:
            dashboard: Dashboard = await nursery.start(serve_dashboard, settings)
            process_secrets.register(Access(token, dashboard.port).cookie_value)
            self.dashboard = dashboard
            write_url(directory.dashboard_url, dashboard.url)
            logger.info("the node's page: %s; `p2p-flock dashboard` prints the link that opens it", dashboard.url)
            task_status.started()
