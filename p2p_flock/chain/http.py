"""One HTTP(S) server, spoken to over kept-alive connections from worker threads.

Used by ``client.py`` (JSON-RPC) and ``beacon.py`` (drand relays). Built on ``http.client`` because a node polls its
chain five times a second: one request costs 0.3 ms of CPU here, 1.1 ms through requests or httpx (measured on the
development chain, three-call batch). Every exchange has a timeout as a whole, so that a server that drips one byte a
second holds nobody, and every body a bound; nothing follows redirects. Never call it from the trio thread.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from p2p_flock.errors import AnswerTooLongError, ChainError, ConfigError

CONNECTIONS_MAX = 4  # idle connections kept; as many as the client's thread limiter lets run at once
EXCHANGE_FACTOR = 3  # a whole exchange may take so many timeouts: a long page of logs on a slow line takes its time


class _DeadlineReader(io.RawIOBase):
    """A socket's bytes until a moment: a socket's own timeout starts anew with every byte that arrives."""

    def __init__(self, sock: socket.socket, deadline_s: float) -> None:
        self._sock, self._deadline_s = sock, deadline_s
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open while an answer is read from it

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining_s = self._deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("the answer took too long as a whole")
        self._sock.settimeout(min(remaining_s, self._sock.gettimeout() or remaining_s))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer that is given until a moment to arrive, header and body together."""

    def __init__(self, sock: socket.socket, *arguments: Any, deadline_s: float, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp.close()
        self.fp = io.BufferedReader(_DeadlineReader(sock, deadline_s))


def _in_words(error: OSError | http.client.HTTPException) -> str:
    """``Connection refused``; where the system has no words, with the class, for the text alone may be a number."""
    told = error.strerror if isinstance(error, OSError) else None
    return told or f"{type(error).__name__}: {error}"


class HttpEndpoint:
    """A base URL and its idle connections; usable from several threads at once."""

    def __init__(self, url: str, *, timeout_s: float, body_bytes_max: int) -> None:
        """Remember where to connect; connects on first use.

        Raises:
            ConfigError: the URL is not an http or https URL with a host.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{url!r} is not a URL of the form https://host[:port][/path]; correct it in the config.")
        self.name = _without_secrets(url)
        self._host, self._port, self._secure = parts.hostname, parts.port, parts.scheme == "https"
        self._path, self._query = parts.path, f"?{parts.query}" if parts.query else ""
        self._timeout_s, self._body_bytes_max = timeout_s, body_bytes_max
        self._idle: list[http.client.HTTPConnection] = []
        self._closed = False
        self._lock = threading.Lock()
        self._tls = ssl.create_default_context() if self._secure else None

    def __repr__(self) -> str:
        return f"HttpEndpoint({self.name})"

    def request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """One exchange: status and body, at most ``body_bytes_max`` bytes of it.

        A kept connection that the server has closed meanwhile is replaced once; the caller's request must therefore
        be safe to send twice (JSON-RPC reads are, and a signed transaction is known by its hash).

        Raises:
            AnswerTooLongError: a longer answer than allowed.
            ChainError: no connection, or no answer in time.
        """
        connection = self._take()
        if connection is not None:
            try:
                return self._exchange(connection, method, path, body, headers)
            except (OSError, http.client.HTTPException):
                connection.close()
        connection = self._connect()
        try:
            return self._exchange(connection, method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ChainError(
                f"{self.name} did not answer ({_in_words(error)}). "
                "Check that it runs and that this machine can reach it, and its URL in config.toml."
            ) from error

    def close(self) -> None:
        """Close the idle connections; one in use is closed when its exchange ends, at its timeout at the latest."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    def _take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> tuple[int, bytes]:
        target = (self._path.rstrip("/") + path if path else self._path or "/") + self._query
        deadline_s = time.monotonic() + EXCHANGE_FACTOR * self._timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(self._timeout_s)
        connection.response_class = partial(_Response, deadline_s=deadline_s)  # type: ignore[assignment]
        connection.request(method, target, body=body, headers=dict(headers))
        response = connection.getresponse()
        data = response.read(self._body_bytes_max + 1)
        if len(data) > self._body_bytes_max:
            connection.close()
            raise AnswerTooLongError(
                f"{self.name} answered with more than {self._body_bytes_max} bytes; use another endpoint."
            )
        with self._lock:
            if not self._closed and not response.will_close and len(self._idle) < CONNECTIONS_MAX:
                self._idle.append(connection)
                return response.status, data
        connection.close()
        return response.status, data


def _without_secrets(url: str) -> str:
    """The URL as it may stand in logs: providers put API keys into the user part, the path and the query."""
    parts = urlsplit(url)
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    return urlunsplit((parts.scheme, host, "/…" if parts.path.strip("/") or parts.query else "", "", ""))
