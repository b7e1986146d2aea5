"""Logs of the governance contracts, from their beginning to now, newest first.

Called by ``proposals.py``, ``emission.py`` and ``locks.py``. Where a provider serves blocks in pieces only, it is asked
for many pieces at a time, and for no more of them than the caller wants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from p2p_flock.chain.client import Call, Json, block_head
from p2p_flock.chain.contracts import EMISSION, address_text, load_contract
from p2p_flock.chain.events import Log, parse_log
from p2p_flock.chain.governance import Governance
from p2p_flock.errors import ChainError, RpcError

BLOCKS_PER_SEARCH = 10_000  # most providers' cap for eth_getLogs
SEARCHES_PER_BATCH = 10  # in one HTTP exchange
FIRST_BLOCK_SLACK = 10_000  # of the search for where to begin: 12 to 15 calls


async def read_logs(
    governance: Governance, contract: str, address: bytes, event: str, take: Callable[[Sequence[Log]], bool]
) -> None:
    """Hand every log of one event to ``take``, newest first, in one or more lots, until it says that it has enough.

    Raises:
        ChainError: the endpoints failed or disagree, or a log is malformed.
    """
    topic = next(e.topic for e in load_contract(contract).events.values() if e.name == event)
    head = (await governance.client.head()).number
    first = await _first_block(governance, head)
    try:
        take(await _search(governance, address, topic, [(first, head)]))
    except RpcError:
        step = BLOCKS_PER_SEARCH * SEARCHES_PER_BATCH
        for end in range(head, first - 1, -step):
            ends = range(end, max(first - 1, end - step), -BLOCKS_PER_SEARCH)
            ranges = [(max(first, last - BLOCKS_PER_SEARCH + 1), last) for last in ends]
            if take(await _search(governance, address, topic, ranges)):
                return


async def read_events(governance: Governance, contract: str, address: bytes, event: str) -> list[dict[str, Any]]:
    """The arguments of all logs of one event, newest first.

    Raises:
        ChainError: as :func:`read_logs`.
    """
    logged = next(e for e in load_contract(contract).events.values() if e.name == event)
    found: list[dict[str, Any]] = []

    def take(logs: Sequence[Log]) -> bool:
        found.extend(logged.decode(log.topics, log.data) for log in logs)
        return False

    await read_logs(governance, contract, address, event, take)
    return found


async def _first_block(governance: Governance, head: int) -> int:
    """A block not long before the contracts': the emission's schedule began when all of them were made."""
    began_s = await governance.read(EMISSION, governance.contracts.emission, "startsAt")
    low, high = 0, head
    while high - low > FIRST_BLOCK_SLACK:
        middle = (low + high) // 2
        block = block_head(await governance.client.call("eth_getBlockByNumber", hex(middle), False))
        low, high = (middle, high) if block.timestamp_s < began_s else (low, middle)
    return low


async def _search(governance: Governance, address: bytes, topic: bytes, ranges: Sequence[tuple[int, int]]) -> list[Log]:
    """Logs of some ranges of blocks, both ends included, in one batch; newest first."""
    where: dict[str, Json] = {"address": address_text(address), "topics": ["0x" + topic.hex()]}
    calls = [Call("eth_getLogs", ({**where, "fromBlock": hex(first), "toBlock": hex(last)},)) for first, last in ranges]

    def logs_of(answers: Sequence[Json]) -> list[Log]:
        if not all(isinstance(answer, list) for answer in answers):
            raise ChainError("the endpoint answered eth_getLogs with no list")
        logs = [parse_log(item, address)[0] for answer in answers for item in cast("list[Json]", answer)]
        return sorted(logs, key=lambda log: (log.block, log.index), reverse=True)

    logs = logs_of(await governance.client.agreed(calls, logs_of))
    return [log for log in logs if log.topics[:1] == (topic,)]
