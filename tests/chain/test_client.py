"""The RPC client against endpoints that fail, lag, lie and flood."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest
import trio

from p2p_flock.chain.client import (
    ATTEMPTS_MAX,
    BODY_BYTES_MAX,
    Call,
    RpcClient,
    as_bytes,
    as_object,
    as_quantity,
    block_head,
)
from p2p_flock.chain.http import HttpEndpoint
from p2p_flock.errors import ChainError, ConfigError, EndpointsDisagreeError, RpcError
from tests.chain.fake_rpc import results, serve_fake

LAG_S_MAX = 1.0


async def test_batch__keeps_order_and_reports_each_error() -> None:
    """Answers in another order than the calls would hand one alliance's state to another."""

    def reversed_answers(body: object) -> tuple[int, bytes]:
        status, data = results(lambda m: {"code": 3, "message": "no", "data": "0x0102"} if m == "b" else m)(body)
        return status, json.dumps(list(reversed(json.loads(data)))).encode()

    with serve_fake(reversed_answers) as endpoint:
        client = RpcClient([endpoint.url])
        first, second, third = await client.batch([Call("a"), Call("b"), Call("c")])
        assert (first, third) == ("a", "c")
        assert isinstance(second, RpcError)
        assert (second.code, second.data) == (3, b"\x01\x02")
        assert len(endpoint.bodies) == 1
        client.close()


async def test_call__retries_within_bounds() -> None:
    """One dropped answer must not fail a transaction; a dead endpoint must not hang a node."""
    attempts: list[object] = []

    def flaky(body: object) -> tuple[int, bytes]:
        attempts.append(body)
        return results(lambda _: "0x1")(body) if len(attempts) == ATTEMPTS_MAX else (502, b"bad gateway")

    with serve_fake(flaky) as endpoint:
        client = RpcClient([endpoint.url])
        assert await client.call("eth_chainId") == "0x1"
        attempts.extend([None] * 100)
        with pytest.raises(ChainError, match="no JSON"):
            await client.call("eth_chainId")
        assert len(endpoint.bodies) == 2 * ATTEMPTS_MAX
        client.close()


async def test_call__waits_out_a_rate_limit() -> None:
    """Public endpoints limit bursts; a node that gives up at once would miss its phase."""
    answers: list[object] = ["0x7", {"code": -32016, "message": "over rate limit"}]
    with serve_fake(results(lambda _: answers.pop())) as endpoint:
        client = RpcClient([endpoint.url])
        assert await client.call("eth_chainId") == "0x7"
        client.close()


async def test_call__says_who_does_not_answer() -> None:
    """An operator must learn which endpoint is down, without its API key in the log."""
    with socket.socket() as taken:  # bound, not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        client = RpcClient([f"http://user:password@127.0.0.1:{port}/v2/secret-api-key?key=hidden"], timeout_s=0.5)
        with pytest.raises(ChainError) as failure:
            await client.call("eth_chainId")
    text = str(failure.value)
    assert f"http://127.0.0.1:{port}" in text
    assert not any(secret in text for secret in ("password", "secret", "hidden"))


async def test_call__times_out_on_silence() -> None:
    """An endpoint that accepts and never answers must cost the timeout and no more."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        client = RpcClient([f"http://127.0.0.1:{silent.getsockname()[1]}"], timeout_s=0.1)
        with trio.fail_after(5), pytest.raises(ChainError, match="did not answer"):
            await client.call("eth_chainId")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"[]", id="no_answers"),
        pytest.param(b"{", id="torn_json"),
        pytest.param(b'{"id": 99, "result": 1}', id="another_call"),
        pytest.param(b'{"id": 1, "error": "text"}', id="error_without_form"),
        pytest.param(b"[" * 20_000, id="nested_too_deep"),
        pytest.param(b"\xff\xfe", id="no_text"),
    ],
)
async def test_answer__out_of_form_is_refused(answer: bytes) -> None:
    """Whatever an endpoint sends, the node must end up with a ChainError and nothing else."""
    with serve_fake(lambda _: (200, answer)) as endpoint:
        client = RpcClient([endpoint.url])
        with pytest.raises(ChainError):
            await client.call("eth_chainId")
        client.close()


def test_answer__longer_than_the_bound_is_not_read() -> None:
    """An endpoint that sends without end would fill the node's memory."""
    with serve_fake(lambda _: (200, b"x" * 2_000)) as endpoint:
        http = HttpEndpoint(endpoint.url, timeout_s=2.0, body_bytes_max=1_000)
        with pytest.raises(ChainError, match="more than 1000 bytes"):
            http.request("GET", "/x", None, {})
        http.close()
    assert BODY_BYTES_MAX <= 1 << 26


def test_endpoint__replaces_a_connection_that_the_server_closed() -> None:
    """Servers close idle connections; the next request must not fail for it."""
    with serve_fake(lambda _: (200, b"one")) as endpoint:
        http = HttpEndpoint(endpoint.url, timeout_s=2.0, body_bytes_max=1_000)
        assert http.request("GET", "/x", None, {}) == (200, b"one")
        kept = http._idle[0].sock
        assert kept is not None
        kept.shutdown(socket.SHUT_RDWR)
        assert http.request("GET", "/x", None, {}) == (200, b"one")
        http.close()


@pytest.mark.parametrize("urls", [[], ["http://a", "http://b", "http://c"], ["ftp://a"], ["nonsense"], ["http://"]])
def test_client__refuses_bad_configuration(urls: list[str]) -> None:
    """A mistake in the configuration must show when the node starts, not in the first round."""
    with pytest.raises(ConfigError):
        RpcClient(urls)


async def agreed_answer(first: Callable[[str], object], second: Callable[[str], object]) -> object:
    """What a client makes of two endpoints."""
    with serve_fake(results(first)) as one, serve_fake(results(second)) as two:
        client = RpcClient([one.url, two.url], lag_s_max=LAG_S_MAX)
        try:
            return await client.agreed([Call("eth_call")])
        finally:
            client.close()


async def test_agreed__stops_when_endpoints_differ() -> None:
    """One lying endpoint must not be able to show a node other seats, keys or seals than the chain holds."""
    with pytest.raises(EndpointsDisagreeError, match="different answers"):
        await agreed_answer(lambda _: "0x01", lambda _: "0x02")


async def test_agreed__gives_a_lagging_endpoint_time() -> None:
    """Two honest endpoints are never at the same block all the time."""
    lagging = iter(["0x01", "0x01"])
    assert await agreed_answer(lambda _: "0x02", lambda _: next(lagging, "0x02")) == ["0x02"]


async def test_recorder__sees_every_byte_of_every_request() -> None:
    """The test that looks for leaked parameters is worth what the recorder sees."""
    sent: list[bytes] = []
    with serve_fake(results(lambda _: "0x1")) as endpoint:
        client = RpcClient([endpoint.url], record_sent=sent.append)
        await client.call("eth_chainId")
        await client.batch([Call("a", ("secret",)), Call("b")])
        client.close()
    assert [json.loads(body) for body in sent] == endpoint.bodies
    assert b"secret" in sent[1]


def test_quantities__are_read_strictly() -> None:
    """A number or hash that is read leniently is one that two nodes read differently."""
    assert as_quantity("0x10") == 16
    assert as_bytes("0x0102", 2) == b"\x01\x02"
    for bad in (None, 16, "16", "0x", "0x" + "f" * 65, "0xzz", ["0x1"]):
        with pytest.raises(ChainError):
            as_quantity(bad)  # type: ignore[arg-type]
    for bad_bytes in (None, 16, "0102", "0x1", "0xzz"):
        with pytest.raises(ChainError):
            as_bytes(bad_bytes)
    with pytest.raises(ChainError):
        as_bytes("0x0102", 3)
    with pytest.raises(ChainError):
        as_object([])
    with pytest.raises(ChainError):
        block_head({"number": "0x1"})
