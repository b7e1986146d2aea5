"""Do the RPC endpoints answer, on the right chain, with our factory, and do they agree?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from p2p_flock.chain.client import BlockHead, Call, RpcClient, as_bytes, as_quantity, block_head, raised_or_value
from p2p_flock.chain.deployment_plan import CONTRACTS
from p2p_flock.chain.http import HttpEndpoint
from p2p_flock.chain.runtime_code import is_runtime_code
from p2p_flock.cli.checks.findings import Finding, Level, broken, fine, skipped, warning
from p2p_flock.cli.checks.scene import ChainSeen, Scene
from p2p_flock.cli.failures import describe
from p2p_flock.daemon.clock import read_clock_ms
from p2p_flock.daemon.config import DEVNET_CHAIN_IDS, ChainSettings
from p2p_flock.errors import ChainError

ANSWER_S_MAX = 9.0  # for one endpoint, retries included
SLOW_MS = 1_500  # a node asks several times in a phase of some seconds
STALE_S = 30  # Base makes a block every 2 s
APART_BLOCKS_MAX = 5
DEEP_BLOCKS = 8  # at which two endpoints must show the same block: no reorganisation on Base goes that deep


@dataclass(frozen=True, slots=True)
class Answered:
    """What one endpoint said: newest block, hash of an older one by number, and the finding about it."""

    url: str
    head: BlockHead
    milliseconds: int


async def check_endpoints(scene: Scene) -> list[Finding]:
    """Ask all endpoints at once."""
    seen = ChainSeen(None, 0, None)
    try:
        if scene.config is None:
            return [skipped("the settings cannot be read")]
        settings = scene.config.chain
        offset_ms = scene.config.test.clock_offset_ms
        results: list[Answered | Finding] = [skipped("not asked")] * len(settings.rpc_urls)

        async def ask(index: int) -> None:
            results[index] = await _ask(settings.rpc_urls[index], settings)

        async with trio.open_nursery() as nursery:
            for index in range(len(settings.rpc_urls)):
                nursery.start_soon(ask, index)
        answered = [result for result in results if isinstance(result, Answered)]
        if answered:
            seen = ChainSeen(answered[0].head, read_clock_ms(offset_ms), answered[0].url)
        findings = [_judge(result, settings) if isinstance(result, Answered) else result for result in results]
        if len(answered) == len(settings.rpc_urls) == 2:
            findings.append(await _compare(answered))
        elif len(settings.rpc_urls) == 1 and settings.chain_id not in DEVNET_CHAIN_IDS:
            findings.append(
                warning(
                    "there is one endpoint only: what it says cannot be compared",
                    "add a second, of another provider, to chain.rpc_urls",
                )
            )
        return findings
    finally:
        scene.show_chain(seen)


async def _ask(url: str, settings: ChainSettings) -> Answered | Finding:
    client = RpcClient((url,), timeout_s=min(settings.rpc_timeout_ms / 1000, ANSWER_S_MAX / 2))
    name = _name(url)
    started = time.monotonic()
    calls = (
        Call("eth_chainId"),
        Call("eth_getBlockByNumber", ("latest", False)),
        Call("eth_getCode", (settings.factory.lower(), "latest")),
    )
    try:
        with trio.move_on_after(ANSWER_S_MAX):
            answers = [raised_or_value(answer) for answer in await client.batch(calls)]
            milliseconds = int((time.monotonic() - started) * 1000)
            chain_id, head, code = as_quantity(answers[0]), block_head(answers[1]), as_bytes(answers[2])
            if chain_id != settings.chain_id:
                return broken(
                    f"{name} is on chain {chain_id}, the settings say {settings.chain_id}",
                    "correct chain.rpc_urls or chain.chain_id in config.toml",
                )
            return _wrong_factory(name, code, settings) or Answered(url, head, milliseconds)
    except ChainError as error:
        return broken(*describe(error))
    finally:
        client.close()
    return broken(f"{name} did not answer within {ANSWER_S_MAX:.0f} s", "check the URL and this machine's network")


def _name(url: str) -> str:
    """The endpoint without what may be a key."""
    return HttpEndpoint(url, timeout_s=1.0, body_bytes_max=1).name


def _wrong_factory(name: str, code: bytes, settings: ChainSettings) -> Finding | None:
    if not code:
        return broken(
            f"no contract stands at the factory address {settings.factory} as {name} says",
            "correct chain.factory in config.toml: it is the second part of an alliance ID",
        )
    if not is_runtime_code(*CONTRACTS["factory"], code):
        return broken(
            f"the contract at {settings.factory} is not the alliance factory of this version",
            "correct chain.factory in config.toml, or install the version that the alliance's members use",
        )
    return None


def _judge(answered: Answered, settings: ChainSettings) -> Finding:
    name, head = _name(answered.url), answered.head
    age_s = int(time.time()) - head.timestamp_s
    text = f"{name}: chain {settings.chain_id}, our factory, block {head.number}, {answered.milliseconds} ms"
    if age_s > STALE_S and settings.chain_id not in DEVNET_CHAIN_IDS:
        return warning(
            f"{text}; its newest block is {age_s} s old",
            "it lags, or this machine's clock is wrong (see below): use another endpoint",
        )
    if answered.milliseconds > SLOW_MS:
        return warning(f"{text}: slow", "use an endpoint that is nearer or less busy")
    return fine(text)


async def _compare(answered: Sequence[Answered]) -> Finding:
    """Both endpoints must show the same block some blocks back."""
    apart = abs(answered[0].head.number - answered[1].head.number)
    number = min(one.head.number for one in answered) - DEEP_BLOCKS
    if number < 0:
        return Finding(Level.FINE, "the chain is too young to compare the endpoints")
    client = RpcClient(tuple(one.url for one in answered))
    try:
        with trio.move_on_after(ANSWER_S_MAX):
            each = await client.batch_each((Call("eth_getBlockByNumber", (hex(number), False)),))
            hashes = set()
            for answers in each:
                if isinstance(answers, ChainError):
                    raise answers
                hashes.add(block_head(raised_or_value(answers[0])).hash)
            if len(hashes) > 1:
                return broken(
                    f"the two endpoints show different blocks {number}: one lies or is on a fork",
                    "find out which with a block explorer, and replace it in chain.rpc_urls",
                )
            if apart > APART_BLOCKS_MAX:
                return warning(f"the endpoints are {apart} blocks apart", "replace the one that lags")
            return fine(f"the two endpoints agree on block {number}")
    except ChainError as error:
        return warning(*describe(error))
    finally:
        client.close()
    return warning("the two endpoints could not be compared in time", "try again")
