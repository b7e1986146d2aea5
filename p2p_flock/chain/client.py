"""JSON-RPC over one or two endpoints: bounded retries, comparison, everything blocking in named threads.

The only door between trio and the chain; ``transactions.py``, ``events.py`` and ``alliance_contract.py`` call it.
It speaks JSON-RPC directly rather than through web3.py, whose middlewares cost 1.8 ms of CPU per call, which eight
nodes polling five times a second on two cores cannot afford; the tests compare every encoding with web3.py's. It must
never hand out an answer that it has not checked the form of.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from p2p_flock.chain.http import CONNECTIONS_MAX, HttpEndpoint
from p2p_flock.errors import AnswerTooLongError, ChainError, ConfigError, EndpointsDisagreeError, RpcError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

Answers = list[Json | RpcError]  # of one endpoint, to several calls

ENDPOINTS_MAX = 2
TIMEOUT_S = 5.0  # one HTTP exchange; a healthy endpoint answers within 0.3 s
ATTEMPTS_MAX = 4  # then the caller hears of it: 0.1 + 0.2 + 0.4 s of pauses
PAUSE_FIRST_S = 0.1
BODY_BYTES_MAX = 32 << 20  # 10,000 logs of a settled 64-validator round fit
LAG_S_MAX = 10.0  # how long one endpoint may be behind the other before they count as disagreeing
BODY_PARTS_MAX = 1_000_000  # JSON values in it: 10,000 logs have 200,000; a body of empty lists takes 50 times its size
BATCH_CALLS_MAX = 10  # in one exchange: what the public endpoint of Base allows
# "over rate limit" and kin, as public providers answer. -32005 also says that a range of logs is too long.
RATE_LIMIT_CODES = (-32005, -32016, -32097)
RANGE_WORDS = ("range", "results", "more than", "limited to", "too large", "too many logs", "response size")
_QUANTITY = re.compile("0x[0-9a-fA-F]+")  # int() takes signs, underscores and blanks too


@dataclass(frozen=True, slots=True)
class Call:
    """One JSON-RPC request without its envelope."""

    method: str
    params: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockHead:
    """What the client keeps of a block header: number, hash, parent's hash, Unix seconds, base fee in wei."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp_s: int
    base_fee_wei: int


class RpcClient:
    """Calls the first endpoint; the second, where there is one, is asked to agree (:meth:`agreed`).

    Attributes:
        call_counts: calls made so far by method, those of retries and of the second endpoint included.
        exchange_count: HTTP exchanges that carried them; ``error_count``: those of them that failed.
        bytes_sent, bytes_received: bodies of those exchanges.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout_s: float = TIMEOUT_S,
        lag_s_max: float = LAG_S_MAX,
        record_sent: Callable[[bytes], None] | None = None,
    ) -> None:
        """Prepare the endpoints; connects on first use.

        Args:
            timeout_s: of one HTTP exchange.
            lag_s_max: how long the endpoints may differ before they count as disagreeing.
            record_sent: called with the body of every request before it leaves (test mode: what did this node say?).

        Raises:
            ConfigError: no URL, more than two, or not a URL.
        """
        if not 1 <= len(urls) <= ENDPOINTS_MAX:
            raise ConfigError(f"Give one or two RPC URLs, not {len(urls)}.")
        self._endpoints = [HttpEndpoint(url, timeout_s=timeout_s, body_bytes_max=BODY_BYTES_MAX) for url in urls]
        self._limiter = trio.CapacityLimiter(CONNECTIONS_MAX * len(urls))
        self._lag_s_max, self._record_sent = lag_s_max, record_sent
        self._numbers = itertools.count(1)
        self.call_counts: Counter[str] = Counter()
        self._count_lock = threading.Lock()  # several exchanges run at once, each in its thread
        self.exchange_count = self.error_count = self.bytes_sent = self.bytes_received = 0

    @property
    def endpoint_count(self) -> int:
        return len(self._endpoints)

    @property
    def lag_s_max(self) -> float:
        """How long the endpoints may differ before they count as disagreeing."""
        return self._lag_s_max

    def close(self) -> None:
        """Drop the kept connections."""
        for endpoint in self._endpoints:
            endpoint.close()

    async def call(self, method: str, *params: Json) -> Json:
        """One call to the first endpoint.

        Raises:
            RpcError: the endpoint answered with an error.
            ChainError: it did not answer in form within the attempts.
        """
        (answer,) = await self.batch((Call(method, params),))
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def batch(self, calls: Sequence[Call], endpoint: int = 0) -> list[Json | RpcError]:
        """Several calls, :data:`BATCH_CALLS_MAX` in one HTTP exchange, answers in the same order; each may be an error
        value.

        Raises:
            AnswerTooLongError: the answer exceeds its bounds.
            ChainError: the endpoint did not answer in form within the attempts.
        """
        answers: list[Json | RpcError] = []
        for start in range(0, len(calls), BATCH_CALLS_MAX):
            answers += await self._batch(calls[start : start + BATCH_CALLS_MAX], endpoint)
        return answers

    async def batch_each(self, calls: Sequence[Call]) -> list[Answers | ChainError]:
        """The same calls to every endpoint at once; per endpoint its answers, or why there are none.

        For sending: what one endpoint refuses or hides, the other may take and show. What is signed on must be
        :meth:`agreed`.
        """
        each: list[Answers | ChainError] = [ChainError("not asked")] * len(self._endpoints)

        async def ask(index: int) -> None:
            try:
                each[index] = await self.batch(calls, index)
            except ChainError as error:
                each[index] = error

        async with trio.open_nursery() as nursery:
            for index in range(len(self._endpoints)):
                nursery.start_soon(ask, index)
        return each

    async def _batch(self, calls: Sequence[Call], endpoint: int) -> list[Json | RpcError]:
        pause_s = PAUSE_FIRST_S
        for attempt in itertools.count(1):
            self.exchange_count += 1
            self.call_counts.update(call.method for call in calls)
            try:
                answers = await trio.to_thread.run_sync(
                    self._exchange,
                    calls,
                    endpoint,
                    limiter=self._limiter,
                    abandon_on_cancel=True,  # type: ignore[call-arg]  # trio-typing (libp2p's) is older than trio
                )
            except ChainError as error:
                self.error_count += 1
                if attempt == ATTEMPTS_MAX or isinstance(error, AnswerTooLongError):
                    raise
            else:
                limited = any(isinstance(a, RpcError) and is_rate_limit(a) for a in answers)
                if not limited or attempt == ATTEMPTS_MAX:
                    return answers
            await trio.sleep(pause_s * random.uniform(0.5, 1.0))  # spread the retries of many nodes
            pause_s *= 2
        raise AssertionError("unreachable: the loop ends by return or raise")

    async def agreed(self, calls: Sequence[Call], comparable: Callable[[Sequence[Json]], object] = tuple) -> list[Json]:
        """The answers on which all endpoints agree; one that lags behind is given ``lag_s_max`` to catch up.

        Args:
            comparable: what must be equal of the answers, as clients differ in fields that do not matter here. Where
                it raises ``ChainError`` (a block that is not there yet), the endpoint counts as lagging.

        Raises:
            EndpointsDisagreeError: they still differ after that.
            RpcError, ChainError: as :meth:`call`.
        """
        if len(self._endpoints) == 1:
            return [raised_or_value(answer) for answer in await self.batch(calls)]
        with trio.move_on_after(self._lag_s_max):
            while True:
                each = [
                    [raised_or_value(answer) for answer in await self.batch(calls, index)]
                    for index in range(len(self._endpoints))
                ]
                if _agree(each, comparable):
                    return each[0]
                await trio.sleep(2 * PAUSE_FIRST_S)
        names = " and ".join(endpoint.name for endpoint in self._endpoints)
        raise EndpointsDisagreeError(
            f"{names} give different answers to {calls[0].method}. One of them is wrong or on a fork: "
            "do not go on before you know which; replace it in the configuration (chain.rpc_urls)."
        )

    async def head(self) -> BlockHead:
        """The newest block of the first endpoint.

        Raises:
            ChainError: as :meth:`call`.
        """
        return block_head(await self.call("eth_getBlockByNumber", "latest", False))

    def _exchange(self, calls: Sequence[Call], endpoint: int) -> list[Json | RpcError]:
        """Runs in a thread: one HTTP POST with all calls."""
        first = next(self._numbers)
        numbers = [first, *(next(self._numbers) for _ in calls[1:])]
        requests = [
            {"jsonrpc": "2.0", "id": number, "method": call.method, "params": call.params}
            for number, call in zip(numbers, calls, strict=True)
        ]
        body = json.dumps(requests[0] if len(requests) == 1 else requests, separators=(",", ":")).encode()
        if self._record_sent is not None:
            self._record_sent(body)
        target = self._endpoints[endpoint]
        status, data = target.request("POST", "", body, {"Content-Type": "application/json"})
        with self._count_lock:
            self.bytes_sent += len(body)
            self.bytes_received += len(data)
        if data.count(b",") + data.count(b"[") + data.count(b"{") > BODY_PARTS_MAX:
            raise AnswerTooLongError(f"{target.name} answered with too many JSON values; use another endpoint.")
        try:
            answer: Json = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ChainError(
                f"{target.name} answered HTTP {status} and no JSON. "
                "Set chain.rpc_urls in config.toml to the URL of a JSON-RPC endpoint, with its path and key."
            ) from error
        if len(requests) == 1 and isinstance(answer, dict):
            answer = [answer]
        if not isinstance(answer, list) or len(answer) != len(calls):
            raise ChainError(f"{target.name} answered HTTP {status} and not one answer per call.")
        by_number = {item["id"]: item for item in answer if isinstance(item, dict) and isinstance(item.get("id"), int)}
        return [
            _answer(call.method, by_number.get(number), target.name)
            for call, number in zip(calls, numbers, strict=True)
        ]


def is_rate_limit(error: RpcError) -> bool:
    """Whether the endpoint wants to be asked later, rather than for less."""
    text = error.message.lower()
    if error.code == -32005 and any(word in text for word in RANGE_WORDS):
        return False
    return error.code in RATE_LIMIT_CODES or "rate limit" in text or "too many requests" in text


def raised_or_value(answer: Json | RpcError) -> Json:
    """The value of a batch's answer.

    Raises:
        RpcError: where the answer is one.
    """
    if isinstance(answer, RpcError):
        raise answer
    return answer


def _agree(each: Sequence[Sequence[Json]], comparable: Callable[[Sequence[Json]], object]) -> bool:
    try:
        first, *others = [comparable(answers) for answers in each]
    except ChainError:
        return False
    return all(other == first for other in others)


def _answer(method: str, item: dict[str, Json] | None, name: str) -> Json | RpcError:
    if item is None:
        raise ChainError(f"{name} left {method} unanswered.")
    error = item.get("error")
    if error is None:
        return item.get("result")
    if not isinstance(error, dict):
        raise ChainError(f"{name} answered {method} with a malformed error.")
    code, message, data = error.get("code"), error.get("message"), error.get("data")
    if isinstance(data, dict):  # some clients nest the revert data
        data = data.get("data")
    return RpcError(
        method,
        code if isinstance(code, int) else 0,
        str(message)[:500],
        as_bytes(data) if isinstance(data, str) and data.startswith("0x") else None,
    )


def as_quantity(value: Json) -> int:
    """A JSON-RPC quantity (hex text) as an integer below 2^256.

    Raises:
        ChainError: anything else.
    """
    if isinstance(value, str) and 3 <= len(value) <= 66 and _QUANTITY.fullmatch(value):
        return int(value, 16)
    raise ChainError(f"the endpoint answered {str(value)[:80]!r} where a number belongs")


def as_bytes(value: Json, length: int | None = None) -> bytes:
    """JSON-RPC data (hex text) as bytes, of ``length`` bytes where given.

    Raises:
        ChainError: anything else.
    """
    if isinstance(value, str) and value.startswith("0x"):
        try:
            data = bytes.fromhex(value[2:])
        except ValueError:
            data = None
        if data is not None and 2 + 2 * len(data) == len(value) and length in (None, len(data)):  # else blanks in it
            return data
    raise ChainError(f"the endpoint answered {str(value)[:80]!r} where {length or 'hex'} bytes belong")


def as_object(value: Json) -> dict[str, Json]:
    """A JSON object.

    Raises:
        ChainError: anything else.
    """
    if isinstance(value, dict):
        return value
    raise ChainError(f"the endpoint answered {str(value)[:80]!r} where an object belongs")


def block_head(value: Json) -> BlockHead:
    """The fields of a header that this package uses.

    Raises:
        ChainError: the header is missing or malformed.
    """
    header = as_object(value)
    return BlockHead(
        as_quantity(header.get("number")),
        as_bytes(header.get("hash"), 32),
        as_bytes(header.get("parentHash"), 32),
        as_quantity(header.get("timestamp")),
        as_quantity(header.get("baseFeePerGas", "0x0")),
    )
