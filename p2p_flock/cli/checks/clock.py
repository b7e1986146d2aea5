"""Does this machine's clock agree with the chain, and do the beacon's relays answer, with values that are valid?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from p2p_flock.chain.beacon import (
    ANSWER_BYTES_MAX,
    QUICKNET,
    QUICKNET_CHAIN_HASH,
    BeaconNetwork,
    verify_beacon,
)
from p2p_flock.chain.devnet_beacon import devnet_chain_hash
from p2p_flock.chain.http import HttpEndpoint
from p2p_flock.cli.checks.findings import Finding, broken, fine, skipped, warning
from p2p_flock.cli.checks.scene import Scene, in_thread
from p2p_flock.cli.failures import describe
from p2p_flock.daemon.clock import read_clock_ms
from p2p_flock.daemon.config import DEVNET_CHAIN_IDS, ChainSettings, NodeConfig
from p2p_flock.errors import BeaconError, ChainError

RELAY_TIMEOUT_S = 4.0
CLOCK_WARN_S = 3.0  # as the node warns in `status`
# Beyond it relays are asked for values that are not out, or too late for a phase of some seconds.
CLOCK_BROKEN_S = 15.0
BLOCK_AGE_S_MAX = 30.0  # an older block says that the chain stands still or the endpoint lags, not that a clock is off
_SET = "set it right and keep it so: `timedatectl set-ntp true`, or install chrony"


async def check_clock(scene: Scene) -> list[Finding]:
    """Against the newest block; a block's time is whole seconds, and the block is some seconds old when we see it."""
    chain = await scene.chain()
    if chain.head is None:
        return [skipped("no RPC endpoint can be believed")]
    ahead_s = chain.seen_at_ms / 1000 - chain.head.timestamp_s
    return [judge_offset(ahead_s, BLOCK_AGE_S_MAX, "the chain's newest block")]


def judge_offset(ahead_s: float, age_s_max: float, what: str) -> Finding:
    """A reading of our clock less the time of something published up to ``age_s_max`` seconds before."""
    if ahead_s < -CLOCK_WARN_S:
        text = f"this machine's clock is {-ahead_s:.0f} s behind {what}"
        return broken(text, _SET) if ahead_s < -CLOCK_BROKEN_S else warning(text, _SET)
    if ahead_s > age_s_max + CLOCK_BROKEN_S:
        return broken(f"this machine's clock is {ahead_s:.0f} s ahead of {what}", _SET + "; or that has stopped")
    if ahead_s > age_s_max + CLOCK_WARN_S:
        return warning(f"this machine's clock is {ahead_s:.0f} s ahead of {what}", _SET + "; or that lags")
    return fine(f"it agrees with {what} ({ahead_s:+.1f} s)")


@dataclass(frozen=True, slots=True)
class RelayAnswer:
    """The newest round of a relay, verified, and our clock then (ms since 1970)."""

    beacon_round: int
    seen_at_ms: int


async def check_relays(scene: Scene) -> list[Finding]:
    """All relays at once; the clock against the newest round of any."""
    if scene.config is None:
        return [skipped("the settings cannot be read")]
    settings = scene.config.chain
    if not settings.beacon_urls:
        return [
            broken(
                "no drand relay is set",
                'set chain.beacon_urls, for example ["https://api.drand.sh", "https://drand.cloudflare.com"]',
            )
        ]
    found = beacon_network(settings)
    if found is None:
        return [
            broken(
                "the devnet's beacon is not described",
                "set chain.beacon_public_key, beacon_genesis and beacon_period_seconds",
            )
        ]
    network, chain_hash = found
    offset_ms = scene.config.test.clock_offset_ms
    results: list[RelayAnswer | str] = [""] * len(settings.beacon_urls)

    async def ask(index: int) -> None:
        url = settings.beacon_urls[index]
        try:
            results[index] = await in_thread(lambda: ask_relay(url, network, chain_hash, offset_ms))
        except ChainError as error:
            results[index] = describe(error)[0]

    async with trio.open_nursery() as nursery:
        for index in range(len(results)):
            nursery.start_soon(ask, index)
    return _judge_relays(results, network, scene.config)


def beacon_network(settings: ChainSettings) -> tuple[BeaconNetwork, str] | None:
    """Key, schedule and name of the beacon in the settings; ``None`` where a devnet's is incomplete."""
    if settings.beacon_scheme == "quicknet":
        return QUICKNET, QUICKNET_CHAIN_HASH
    key, genesis_s, period_s = settings.beacon_public_key, settings.beacon_genesis, settings.beacon_period_seconds
    if key is None or genesis_s is None or period_s is None:
        return None
    network = BeaconNetwork(bytes.fromhex(key.removeprefix("0x")), genesis_s, period_s)
    return network, devnet_chain_hash(network)


def ask_relay(url: str, network: BeaconNetwork, chain_hash: str, offset_ms: int) -> RelayAnswer:
    """Runs in a thread: the newest round.

    Raises:
        BeaconError: the answer is none, or its signature is not the network's.
        ChainError: no answer.
    """
    relay = HttpEndpoint(url, timeout_s=RELAY_TIMEOUT_S, body_bytes_max=ANSWER_BYTES_MAX)
    try:
        status, body = relay.request("GET", f"/{chain_hash}/public/latest", None, {})
        seen_at_ms = read_clock_ms(offset_ms)
    finally:
        relay.close()
    try:
        answer = json.loads(body)
        beacon_round, signature = answer["round"], bytes.fromhex(answer["signature"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BeaconError(f"{relay.name} answered HTTP {status} and no beacon of this network") from error
    if not isinstance(beacon_round, int) or not 0 < beacon_round < 1 << 63:
        raise BeaconError(f"{relay.name} answered no beacon")
    if not verify_beacon(network.public_key, beacon_round, signature):
        raise BeaconError(f"{relay.name} gave an invalid signature")
    return RelayAnswer(beacon_round, seen_at_ms)


def _judge_relays(results: Sequence[RelayAnswer | str], network: BeaconNetwork, config: NodeConfig) -> list[Finding]:
    answers = [result for result in results if isinstance(result, RelayAnswer)]
    problems = [result for result in results if isinstance(result, str)]
    remedy = "check this machine's network, or set other relays in chain.beacon_urls"
    if not answers:
        return [broken("no drand relay answers: " + "; ".join(problems), remedy)]
    newest = max(answers, key=lambda answer: answer.beacon_round)
    findings = [fine(f"{len(answers)} of {len(results)} relays answer, round {newest.beacon_round} is valid")]
    if problems:
        findings = [warning(f"{len(problems)} of {len(results)} relays do not answer: {'; '.join(problems)}", remedy)]
    elif len(answers) == 1 and config.chain.chain_id not in DEVNET_CHAIN_IDS:
        findings.append(warning("there is one relay only", "add another to chain.beacon_urls"))
    ahead_s = newest.seen_at_ms / 1000 - network.time_of(newest.beacon_round)
    clock = judge_offset(ahead_s, network.period_s + CLOCK_WARN_S, "the beacon's newest round")
    return [*findings, clock]
