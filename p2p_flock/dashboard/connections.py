"""One connection of the dashboard: hypercorn's HTTP/1.1 on a trio stream, bounded in time and in what it may become.

Called by ``server.py``. As hypercorn 0.18 comes, a client that stops reading holds up a send that is shielded from
cancellation, so that the node would never end; one that sends a body nobody takes keeps its connection for ever; and
any client may switch to HTTP/2, which has limits of its own. Here a send has a deadline, cancellation closes the
socket, a connection carries one request within a deadline, and HTTP/2 is not spoken; ``test_connections.py`` and
``test_hostile.py`` in ``tests/dashboard/`` fail on the stock class.
"""

from __future__ import annotations

import logging
import math

import trio
from hypercorn.config import Config
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr
from starlette.types import Scope

REQUEST_SECONDS_MAX = 20.0
COMMAND_CONNECTION_SECONDS_MAX = 45.0  # a command has 30 s, and its answer must be taken
AFTER_ANSWER_SECONDS_MAX = 2.0  # for hypercorn to close; it waits for ever where a body was never taken
SEND_SECONDS_MAX = 10.0
HEAD_BYTES_MAX = 16 << 10
RECEIVE_BYTES_MAX = 4 << 10  # small: h11 takes a head of any size that is complete when it comes
_LIFETIME = "p2p_flock_lifetime"

logger = logging.getLogger(__name__)


def hypercorn_config() -> Config:
    """Settings of the protocol: our logging, no access log, one request a connection, no banner."""
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("p2p_flock.dashboard.http")
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.keep_alive_max_requests = 0  # "Connection: close" on the first answer
    config.include_server_header = False
    return config


def set_lifetime(scope: Scope, seconds: float) -> None:
    """How long the connection of this request may live from now on; ``math.inf`` for a stream of events."""
    lifetime: trio.CancelScope | None = scope.get("state", {}).get(_LIFETIME)
    if lifetime is not None:  # tests call the app without a connection
        lifetime.deadline = math.inf if math.isinf(seconds) else trio.current_time() + seconds


class BoundedStream:
    """What hypercorn uses of a trio stream, with a deadline on each send and little read at a time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket = stream.socket

    async def send_all(self, data: bytes) -> None:
        """Raises trio.BrokenResourceError where the client has gone or takes nothing for SEND_SECONDS_MAX."""
        with trio.move_on_after(SEND_SECONDS_MAX) as waiting:
            try:
                await self._stream.send_all(data)
            except trio.BusyResourceError as error:  # the reader has met the client's end and is closing the stream
                raise trio.BrokenResourceError("the client has gone") from error
        if waiting.cancelled_caught:
            raise trio.BrokenResourceError("the client does not read")

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        return await self._stream.receive_some(min(max_bytes, RECEIVE_BYTES_MAX))

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class Connection(TCPServer):
    """See the module. Awaits no ``run`` of its base: ``serve`` is the whole life."""

    def __init__(self, app: AppWrapper, config: Config, stream: trio.SocketStream) -> None:
        self._lifetime = trio.CancelScope(deadline=trio.current_time() + REQUEST_SECONDS_MAX)
        state = ConnectionState({_LIFETIME: self._lifetime})
        bounded = BoundedStream(stream)
        super().__init__(app, config, WorkerContext(None), state, bounded)  # type: ignore[arg-type] # same methods

    async def serve(self) -> None:
        """Until the request is answered, the client goes or the time is over. Raises nothing but cancellation."""
        try:
            with self._lifetime:
                await self._serve()
        except* (H2CProtocolRequiredError, H2ProtocolAssumedError):
            logger.debug("a client wanted HTTP/2")
        except* Exception as group:  # noqa: BLE001 - hypercorn, h11 and wsproto let many errors out on hostile bytes
            logger.debug("a connection of the dashboard ended by %r", group.exceptions)
        finally:
            self.stream.socket.close()  # type: ignore[attr-defined]

    async def _serve(self) -> None:
        socket = self.stream.socket  # type: ignore[attr-defined]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._break_off)
            try:
                peer, own = socket.getpeername(), socket.getsockname()
                async with TaskGroup() as task_group:
                    self._task_group = task_group
                    self.protocol = H11Protocol(  # type: ignore[assignment] # without the wrapper that starts HTTP/2
                        self.app,
                        self.config,
                        self.context,
                        task_group,
                        ConnectionState(self.state),
                        False,
                        parse_socket_addr(socket.family, peer),
                        parse_socket_addr(socket.family, own),
                        self.protocol_send,
                    )
                    await self._read_data()
            except OSError:
                pass  # the client has gone
            finally:
                nursery.cancel_scope.cancel()

    async def _break_off(self) -> None:
        """Closes the socket at the end: hypercorn shields its sends, and only that wakes one that waits."""
        try:
            await trio.sleep_forever()
        finally:
            self.stream.socket.close()  # type: ignore[attr-defined]
