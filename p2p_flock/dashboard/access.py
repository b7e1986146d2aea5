"""Who may ask the dashboard what: token, session cookie, Host and Origin, and the headers of every answer.

Called by ``server.py``, which puts :class:`Guard` around everything else. The threat is a web page in the operator's
browser, or another user of the machine: both can reach a loopback port. It must never let a token into a log.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from p2p_flock.dashboard.answers import error_response

TOKEN_CHARACTERS_MAX = 128
SESSION_PATH = "/api/v1/session"
_GUARDED = ("/api/", "/metrics")

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Access:
    """The rules for one port and one token.

    Attributes:
        token: what opens the dashboard, base64url text.
        port: the one it listens on.
    """

    token: str = field(repr=False)
    port: int

    @property
    def hosts(self) -> tuple[str, ...]:
        """What ``Host`` may say. Another name means that a foreign page's name was made to point here."""
        return tuple(f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]"))

    @property
    def cookie_name(self) -> str:
        """With the port: browsers share cookies between the ports of one host."""
        return f"p2p_flock_{self.port}"

    @property
    def cookie_value(self) -> str:
        """Derived from the token, since programs on other ports of this host are sent the cookie too; 64 hex digits."""
        return hmac.digest(self.token.encode(), b"p2p_flock dashboard session", hashlib.sha256).hex()

    def is_token(self, candidate: str) -> bool:
        """Compared in constant time."""
        return len(candidate) <= TOKEN_CHARACTERS_MAX and _is_same(candidate, self.token)

    def is_authorised(self, headers: Headers) -> bool:
        """By ``Authorization: Bearer`` or by the cookie."""
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.is_token(credentials.strip())
        cookies = cookie_parser(headers.get("cookie", ""))
        return _is_same(cookies.get(self.cookie_name, "")[:TOKEN_CHARACTERS_MAX], self.cookie_value)


def _is_same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode())


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused: HTTP status, kind and message of the error object."""

    status: int
    kind: str
    message: str


def check_request(access: Access, method: str, path: str, headers: Headers) -> Refusal | None:
    """The refusal that ``API.md`` orders, ``None`` where the request may pass. Pure."""
    hosts = headers.getlist("host")
    if len(hosts) != 1 or hosts[0].lower() not in access.hosts:
        return Refusal(
            403,
            "ForbiddenHost",
            f"the Host header does not name this machine's loopback and port {access.port}\n"
            f"open http://127.0.0.1:{access.port}; through SSH forward the same port: "
            f"ssh -L {access.port}:127.0.0.1:{access.port} HOST",
        )
    origins = headers.getlist("origin")
    own_origin = f"http://{hosts[0].lower()}"
    if any(origin.lower() != own_origin for origin in origins) or (method not in ("GET", "HEAD") and not origins):
        return Refusal(403, "ForbiddenOrigin", "the request comes from another site\nuse the dashboard's own page")
    if not path.startswith(_GUARDED):
        return None
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return Refusal(403, "ForbiddenOrigin", "the request comes from another site\nuse the dashboard's own page")
    if (method, path) != ("POST", SESSION_PATH) and not access.is_authorised(headers):
        return Refusal(
            401, "NotAuthorised", "this needs the node's token\nget the link with `p2p-flock dashboard` and open it"
        )
    return None


class Guard:
    """Asks ``check_request`` before the app sees a request, and puts the headers on each answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # there are none; hypercorn makes a 403 of it
            await send({"type": "websocket.close"})
            return
        assert scope["type"] == "http", scope["type"]
        path = str(scope["path"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = check_request(self._access, str(scope["method"]), path, Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
        else:
            response = error_response(refusal.status, refusal.kind, refusal.message)
            if refusal.status == 401:
                response.headers["www-authenticate"] = "Bearer"
            await response(scope, receive, send_with_headers)
