"""The dashboard: a page and a read-only interface for the operator's browser, on loopback only.

Called by ``daemon/dashboard.py``. See ``API.md``. Knows no daemon: commands are run by ``settings.ask``. Nothing that a
client sends may end it, and nothing in it may end the node.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio
from h11 import ProtocolError
from hypercorn.app_wrappers import ASGIWrapper
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from p2p_flock.dashboard.access import Access, Guard
from p2p_flock.dashboard.answers import error_response
from p2p_flock.dashboard.api import API_ROOT, Api
from p2p_flock.dashboard.connections import AFTER_ANSWER_SECONDS_MAX, Connection, hypercorn_config, set_lifetime
from p2p_flock.dashboard.defects import Defects
from p2p_flock.dashboard.events import Events
from p2p_flock.dashboard.feeds import make_feeds
from p2p_flock.dashboard.pages import Pages
from p2p_flock.dashboard.settings import DashboardSettings
from p2p_flock.errors import PortTakenError

if TYPE_CHECKING:
    from trio_typing import TaskStatus

HOST = "127.0.0.1"
CONNECTIONS_MAX = 64
BACKLOG = 64

logger = logging.getLogger(__name__)


class Dashboard:
    """A dashboard that listens. Made and reported by :func:`serve_dashboard`.

    Attributes:
        port: the one it listens on.
        url: its address, without token.
        defects: what went wrong in it by our own fault.
        events: the open streams.
    """

    def __init__(self, settings: DashboardSettings, port: int) -> None:
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.defects = Defects()
        self.events = Events(make_feeds(settings.ask, settings.commands), self.defects)
        access = Access(settings.token, port)
        routes = [
            *Pages(settings.static_folder).routes(),
            *Api(settings, access).routes(),
            Route(f"{API_ROOT}/events", self.events, methods=["GET"]),
        ]
        inner = Starlette(routes=routes, exception_handlers={HTTPException: _refuse, Exception: _show_defect})
        inner.router.redirect_slashes = False  # a redirect would be built from the Host header
        self.app: ASGIApp = Shell(Guard(inner, access), self.defects)


async def serve_dashboard(
    settings: DashboardSettings, task_status: TaskStatus[Dashboard] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; reports the dashboard once it can be reached.

    Raises:
        PortTakenError: the port cannot be listened on.
    """
    try:
        listeners = await trio.open_tcp_listeners(settings.port, host=HOST, backlog=BACKLOG)
    except OSError as error:
        raise PortTakenError(
            f"the dashboard cannot listen on {HOST} port {settings.port}: {error.strerror}\n"
            "set another port under [dashboard] in config.toml (0 takes a free one) and restart the node"
        ) from error
    dashboard = Dashboard(settings, listeners[0].socket.getsockname()[1])
    config, app = hypercorn_config(), ASGIWrapper(dashboard.app)  # type: ignore[arg-type] # the same ASGI, typed apart
    open_count = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal open_count
        if open_count >= CONNECTIONS_MAX:
            await trio.aclose_forcefully(stream)
            return
        open_count += 1
        try:
            await Connection(app, config, stream).serve()
        finally:
            open_count -= 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dashboard.events.run)
        await nursery.start(trio.serve_listeners, serve, listeners)
        task_status.started(dashboard)


class Shell:
    """The outermost layer: what is a defect of ours, what is only a client that has gone."""

    def __init__(self, app: ASGIApp, defects: Defects) -> None:
        self._app = app
        self._defects = defects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def send_if_there(message: Message) -> None:
            nonlocal has_started
            has_started = True
            try:
                await send(message)
            except (ProtocolError, OSError, trio.ClosedResourceError):
                logger.debug("a client of the dashboard went before its answer")

        with self._defects.contained(f"the dashboard's answer to {scope['type']} {scope['path']}") as outcome:
            await self._app(scope, receive, send_if_there)
        if outcome.is_defect and not has_started:
            await (await _show_defect())(scope, receive, send_if_there)
        set_lifetime(scope, AFTER_ANSWER_SECONDS_MAX)


async def _refuse(_request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, wrong method."""
    assert isinstance(error, HTTPException)
    kind = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "UsageError")
    response = error_response(error.status_code, kind, f"{error.detail}\nsee the dashboard's API.md")
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _show_defect(*_what: object) -> Response:
    return error_response(500, "Defect", "a defect in this node\nsee its log, and report it")
