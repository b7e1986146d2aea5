"""Who may ask what: token, cookie, Host and Origin, by ``API.md``."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.datastructures import Headers

from p2p_flock.dashboard import access as access_module
from p2p_flock.dashboard.access import SECURITY_HEADERS, SESSION_PATH, Access, check_request
from tests.dashboard.client import TOKEN, open_dashboard, write_page

ACCESS = Access(TOKEN, 4180)
BEARER = ("authorization", f"Bearer {TOKEN}")
HOST = ("host", "127.0.0.1:4180")
COOKIE = ("cookie", f"a=b; p2p_flock_4180={ACCESS.cookie_value}")
STATUS = "/api/v1/status"


def refusal(method: str, path: str, *headers: tuple[str, str]) -> tuple[int, str] | None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    found = check_request(ACCESS, method, path, Headers(raw=raw))
    return None if found is None else (found.status, found.kind)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (STATUS, [HOST, BEARER]),
        (STATUS, [HOST, COOKIE]),
        (STATUS, [("host", "LOCALHOST:4180"), BEARER]),
        (STATUS, [("host", "[::1]:4180"), BEARER]),
        (STATUS, [HOST, BEARER, ("sec-fetch-site", "same-origin")]),
        (STATUS, [HOST, BEARER, ("origin", "http://127.0.0.1:4180")]),
        ("/", [HOST, ("sec-fetch-site", "cross-site")]),  # a link in a mail
        ("/static/start.js", [HOST]),
        ("/metrics", [HOST, BEARER]),
    ],
)
def test_request__of_the_operator_passes(path: str, headers: list[tuple[str, str]]) -> None:
    """The operator could not see the page."""
    assert refusal("GET", path, *headers) is None


@pytest.mark.parametrize(
    "hosts",
    [[], [("host", "evil.example:4180")], [("host", "127.0.0.1")], [("host", "127.0.0.1:80")], [("host", "")],
     [("host", "127.0.0.1:4180.evil.example")], [HOST, HOST], [HOST, ("host", "evil.example")],
     [("host", "0.0.0.0:4180")], [("host", "127.0.0.1:4180@evil.example")]],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", STATUS, "/metrics"])
def test_host__of_another_name_is_refused(path: str, hosts: list[tuple[str, str]]) -> None:
    """A page whose name was made to resolve to 127.0.0.1 could read everything (DNS rebinding)."""
    assert refusal("GET", path, *hosts, BEARER) == (403, "ForbiddenHost")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8080", "https://127.0.0.1:4180"])
@pytest.mark.parametrize(("method", "path"), [("GET", STATUS), ("POST", SESSION_PATH), ("GET", "/")])
def test_origin__of_another_site_is_refused(method: str, path: str, origin: str) -> None:
    """Any page in the operator's browser could act with the operator's cookie."""
    assert refusal(method, path, HOST, BEARER, ("origin", origin)) == (403, "ForbiddenOrigin")


def test_origin__must_be_sent_where_something_changes() -> None:
    """A form of a foreign page in an old browser could open a session."""
    assert refusal("POST", SESSION_PATH, HOST) == (403, "ForbiddenOrigin")
    assert refusal("DELETE", SESSION_PATH, HOST, COOKIE) == (403, "ForbiddenOrigin")
    assert refusal("POST", SESSION_PATH, HOST, ("origin", "http://127.0.0.1:4180")) is None


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", [STATUS, "/metrics", "/api/v1/events"])
def test_fetch__from_another_site_or_port_is_refused(path: str, site: str) -> None:
    """Another program's page on this host, which gets the cookie too, could open streams until none is left."""
    assert refusal("GET", path, HOST, COOKIE, ("sec-fetch-site", site)) == (403, "ForbiddenOrigin")


@pytest.mark.parametrize(
    "headers",
    [[], [("authorization", f"Bearer {TOKEN}x")], [("authorization", f"Bearer {TOKEN[:-1]}")],
     [("authorization", TOKEN)], [("authorization", f"Basic {TOKEN}")], [("authorization", "Bearer ")],
     [("authorization", "Bearer \xff\xfe")], [("authorization", "Bearer " + "x" * 9_000)],
     [("cookie", f"p2p_flock_4180={TOKEN}")], [("cookie", f"p2p_flock_4181={ACCESS.cookie_value}")],
     [("cookie", "p2p_flock_4180=")], [("cookie", "\xff;;==;")], [("authorization", "Bearer x"), COOKIE]],
)  # fmt: skip
@pytest.mark.parametrize("path", [STATUS, "/metrics", "/api/v1/events", "/api/v1/openapi.json", "/api/v1/nothing"])
def test_token__without_the_right_one_nothing_is_told(path: str, headers: list[tuple[str, str]]) -> None:
    """Every user of the machine could read the node."""
    assert refusal("GET", path, HOST, *headers) == (401, "NotAuthorised")


def test_token__is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of an answer would tell how many first characters are right."""
    compared: list[tuple[object, object]] = []

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(access_module.hmac, "compare_digest", compare_digest)
    assert ACCESS.is_token(TOKEN) and not ACCESS.is_token("kk")
    assert refusal("GET", STATUS, HOST, BEARER) is None
    assert refusal("GET", STATUS, HOST, COOKIE) is None
    assert len(compared) == 4


def test_cookie__does_not_hold_the_token() -> None:
    """Programs on other ports of the host are sent the cookie: they would have the token for ever."""
    assert TOKEN not in ACCESS.cookie_value and len(ACCESS.cookie_value) == 64
    assert Access("x" * 43, 4180).cookie_value != ACCESS.cookie_value


def test_access__repr_hides_the_token() -> None:
    """A traceback in the log would give the token away."""
    assert TOKEN not in repr(ACCESS)


async def test_session__gives_a_cookie_that_scripts_and_other_sites_cannot_use() -> None:
    """The page could not ask anything, or everybody could with its cookie."""
    async with open_dashboard() as client:
        reply = await client.open_session()
        assert reply.status == 204 and reply.body == b""
        cookie, *attributes = reply.headers["set-cookie"].split("; ")
        assert {attribute.lower() for attribute in attributes} == {"httponly", "path=/", "samesite=strict"}
        assert TOKEN not in reply.headers["set-cookie"]
        assert (await client.get(STATUS, {"Authorization": None, "Cookie": cookie})).status == 200
        own = {"Origin": f"http://{client.host}", "Cookie": cookie, "Authorization": None}
        ended = await client.request("DELETE", SESSION_PATH, own)
        assert ended.status == 204 and "max-age=0" in ended.headers["set-cookie"].lower()


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"token": "wrong"}', "application/json", 401),
        (b'{"token": 1}', "application/json", 401),
        (b"[]", "application/json", 401),
        (b"\xff", "application/json", 401),
        (b"[" * 1_000, "application/json", 401),
        (b"", "application/json", 401),
        (b"x" * 1_025, "application/json", 413),
        (f'{{"token": "{TOKEN}"}}'.encode(), "text/plain", 400),  # what a form of a foreign page can send
    ],
)
async def test_session__wrong_ones_open_nothing(body: bytes, content_type: str, status: int) -> None:
    """A guess, or a foreign page's form, would get a cookie."""
    async with open_dashboard() as client:
        headers = {"Origin": f"http://{client.host}", "Content-Type": content_type, "Authorization": None}
        reply = await client.request("POST", SESSION_PATH, headers, body)
        assert reply.status == status and "set-cookie" not in reply.headers


async def test_answers__all_carry_the_security_headers(tmp_path: Path) -> None:
    """A script of another site could run in the page, or the page in another site's frame."""

    async with open_dashboard(static_folder=write_page(tmp_path / "static")) as client:
        for path in ("/", "/static/start.js", "/static/nothing.js", STATUS, "/api/v1/nothing", "/nothing"):
            reply = await client.get(path)
            for name, value in SECURITY_HEADERS.items():
                assert reply.headers[name] == value, (path, name)
            assert "access-control-allow-origin" not in reply.headers and "server" not in reply.headers
        assert (await client.get(STATUS)).headers["cache-control"] == "no-store"
        assert (await client.get(STATUS, {"Authorization": None})).headers["content-security-policy"]
