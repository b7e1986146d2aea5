"""Does the account hold what it takes: ETH for transactions, FLOCK for the stake of the alliance that is meant?"""

from __future__ import annotations

import trio

from p2p_flock.chain.alliance_contract import eth_call, read_contract
from p2p_flock.chain.bidding import TIP_WEI
from p2p_flock.chain.client import BlockHead, Call, RpcClient, as_bytes, as_quantity, raised_or_value
from p2p_flock.chain.contracts import (
    ALLIANCE,
    FACTORY,
    TOKEN,
    address_bytes,
    load_contract,
    params_from_abi,
)
from p2p_flock.cli.amounts import format_money
from p2p_flock.cli.checks.findings import Finding, broken, fine, skipped, warning
from p2p_flock.cli.checks.scene import Scene
from p2p_flock.cli.failures import describe
from p2p_flock.daemon.config import ChainSettings
from p2p_flock.daemon.data_directory import read_address
from p2p_flock.errors import ChainError, P2PFlockError
from p2p_flock.params import AllianceParams
from p2p_flock.types import AllianceId

READ_S_MAX = 9.0
GAS_PER_TRANSACTION = 300_000  # a seal of seven validators takes 226,774 (docs/COST.md, contracts/README)
TRANSACTIONS_MIN, TRANSACTIONS_WISHED = 2, 100  # a join is two; a round is three, shared by its validators


async def check_balance(scene: Scene) -> list[Finding]:
    """ETH in transactions at today's price; FLOCK against the stake where the alliance is named."""
    chain = await scene.chain()
    if scene.config is None or chain.head is None or chain.url is None:
        return [skipped("no RPC endpoint can be believed")]
    try:
        address = read_address(scene.directory)
    except P2PFlockError:
        return [skipped("the account's address is not known")]
    client = RpcClient((chain.url,))
    try:
        with trio.move_on_after(READ_S_MAX):
            eth, flock = await _read_balances(client, scene.config.chain, address_bytes(address))
            findings = [judge_eth(eth, chain.head)]
            if scene.alliance is None:
                return [*findings, _judge_flock(flock, scene)]
            params, problems = await _read_alliance(client, scene, scene.alliance)
            if params is not None:
                is_member = scene.status is not None and scene.status["alliance"] == str(scene.alliance)
                findings.append(fine("this node is a member already") if is_member else judge_stake(flock, params))
            return [*findings, *problems]
    except ChainError as error:
        return [broken(*describe(error))]
    finally:
        client.close()
    return [warning("the endpoint did not tell the balances in time", "try again")]


async def _read_balances(client: RpcClient, settings: ChainSettings, address: bytes) -> tuple[int, int]:
    factory = address_bytes(settings.factory)
    token = address_bytes(await read_contract(client, FACTORY, factory, "token"))
    view = load_contract(TOKEN).functions["balanceOf"]
    answers = await client.batch(
        (Call("eth_getBalance", ("0x" + address.hex(), "latest")), eth_call(token, view.encode(address)))
    )
    eth, flock = (raised_or_value(answer) for answer in answers)
    return as_quantity(eth), int(view.decode(as_bytes(flock))[0])


def judge_eth(eth_wei: int, head: BlockHead) -> Finding:
    """For how many transactions it lasts."""
    count = eth_wei // (GAS_PER_TRANSACTION * max(head.base_fee_wei + TIP_WEI, 1))
    text = f"{format_money(eth_wei, 'ETH')}: enough for about {count:,} transactions at today's price"
    remedy = "send ETH to the address under `p2p-flock wallet`, on this chain"
    if count < TRANSACTIONS_MIN:
        return broken(f"{format_money(eth_wei, 'ETH')} is too little to pay gas with", remedy)
    if count < TRANSACTIONS_WISHED:
        return warning(text, remedy)
    return fine(text)


def _judge_flock(flock_wei: int, scene: Scene) -> Finding:
    text = format_money(flock_wei, "FLOCK")
    if scene.status is not None and scene.status["alliance"] is not None:
        return fine(f"{text} besides the stake in the alliance of the running node")
    if flock_wei:
        return fine(text + "; name an alliance with --alliance ID to compare its stake")
    return warning(
        "no FLOCK: a seat takes a stake", "send FLOCK to the address under `p2p-flock wallet`, on this chain"
    )


def judge_stake(flock_wei: int, params: AllianceParams) -> Finding:
    """Does it cover the seat?"""
    have, need = format_money(flock_wei, "FLOCK"), format_money(params.seat_stake, "FLOCK")
    if flock_wei < params.seat_stake:
        return broken(
            f"{have}, and a seat stakes {need}", "send FLOCK to the address under `p2p-flock wallet`, on this chain"
        )
    return fine(f"{have} cover the stake of {need}")


async def _read_alliance(
    client: RpcClient, scene: Scene, alliance: AllianceId
) -> tuple[AllianceParams | None, list[Finding]]:
    assert scene.config is not None
    settings = scene.config.chain
    if alliance.chain_id != settings.chain_id:
        what = f"the alliance is on chain {alliance.chain_id}, this node on chain {settings.chain_id}"
        return None, [broken(what, "use a node of that chain: `p2p-flock init --alliance ID` with another --home")]
    if f"0x{alliance.factory.hex()}" != settings.factory.lower():
        what = f"the alliance belongs to the factory 0x{alliance.factory.hex()}, this node to {settings.factory}"
        return None, [broken(what, "use a node of that factory: `p2p-flock init --alliance ID` with another --home")]
    contract = address_bytes(await read_contract(client, FACTORY, alliance.factory, "alliances", alliance.number))
    if not any(contract):
        what = f"the factory has no alliance {alliance.number}"
        return None, [broken(what, "check the ID; `p2p-flock alliance list` shows those that exist")]
    return params_from_abi(await read_contract(client, ALLIANCE, contract, "params")), []
