"""What a deployment would cost: a rehearsal on a chain of its own, or the estimates of an endpoint.

Called by ``scripts/deploy --dry-run``. Needs no key and no funds; sends nothing to any chain but the one that it starts
itself and ends again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from p2p_flock.chain.account import Account, Transaction
from p2p_flock.chain.anvil import BASE_RULES, FAUCET_KEY, open_anvil
from p2p_flock.chain.bidding import first_bid
from p2p_flock.chain.client import Call, Json, RpcClient, as_bytes, as_quantity, raised_or_value
from p2p_flock.chain.contracts import address_bytes
from p2p_flock.chain.deploy import FEE_WEI_MAX, Door, deploy
from p2p_flock.chain.deploy_check import check_deployment
from p2p_flock.chain.deployment_plan import (
    NETWORKS,
    STEPS,
    Parameters,
    Step,
    choose_parameters,
    compute_addresses,
    compute_creation,
    compute_gas_max,
)
from p2p_flock.chain.deployment_record import DeploymentRecord
from p2p_flock.chain.fees import BASE_FEE_WEI, WEI_PER_ETH, WEI_PER_GWEI, BaseFees, compute_fastlz_length
from p2p_flock.errors import RpcError

REHEARSAL_DEPLOYER = Account.from_key(FAUCET_KEY)
POLL_INTERVAL_S = 0.02
L1_BLOCK = "0x4200000000000000000000000000000000000015"  # predeployed on every OP-stack chain
SLOT_L1_BASE_FEE, SLOT_SCALARS, SLOT_BLOB_BASE_FEE = "0x1", "0x3", "0x7"  # since the Ecotone upgrade
SCALAR_MAX = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class StepCost:
    """One transaction of the plan.

    Attributes:
        raw: signed, as it would be sent, by another key.
        is_bound: the gas is a bound and not measured: the step cannot be simulated before those before it stand.
    """

    name: str
    contract: str
    gas: int
    raw: bytes
    is_bound: bool = False


async def rehearse(network: str, initial_holder: bytes | None) -> list[StepCost]:
    """Carry out the whole plan, with its check, on a fresh chain with the network's number and Base's rules.

    Raises:
        UsageError: anvil is missing.
        ChainError: a step failed, or the check.
    """
    chain_id = NETWORKS[network].chain_id
    arguments = (*BASE_RULES, "--chain-id", str(chain_id), "--accounts", "1")
    with open_anvil(*arguments) as url:
        client = RpcClient([url])
        try:
            door = Door(client, REHEARSAL_DEPLOYER, POLL_INTERVAL_S)
            parameters = _choose(network, initial_holder)
            record = DeploymentRecord(network, door.address, parameters)
            record = await deploy(door, record, lambda _: None, lambda _: None)
            await check_deployment(client, record)
        finally:
            client.close()
    gas = {name: step.gas_used or 0 for name, step in record.steps.items()}
    return [
        StepCost(step.name, step.contract, gas[step.name], raw) for step, _, raw in _transactions(network, parameters)
    ]


async def estimate(client: RpcClient, network: str, initial_holder: bytes | None) -> list[StepCost]:
    """What the endpoint says that each step takes; a bound where it cannot say.

    Raises:
        ChainError: the endpoint failed.
    """
    costs = []
    for step, creation, raw in _transactions(network, _choose(network, initial_holder)):
        call: Json = {"from": REHEARSAL_DEPLOYER.address, "data": "0x" + creation.hex()}
        try:
            gas, is_bound = as_quantity(await client.call("eth_estimateGas", call)), False
        except RpcError:  # the factory asks its parts, which do not stand yet
            gas, is_bound = compute_gas_max(step, creation), True
        costs.append(StepCost(step.name, step.contract, gas, raw, is_bound))
    return costs


async def read_fees(client: RpcClient) -> BaseFees:
    """The prices of now, as far as the endpoint's chain keeps them; else those that ``fees.py`` states.

    Raises:
        ChainError: the endpoint failed.
    """
    slots = (SLOT_L1_BASE_FEE, SLOT_SCALARS, SLOT_BLOB_BASE_FEE)
    head = await client.head()
    answers = await client.batch([Call("eth_getStorageAt", (L1_BLOCK, slot, "latest")) for slot in slots])
    l1_base_fee, scalars, blob_base_fee = (
        int.from_bytes(as_bytes(raised_or_value(answer), 32), "big") for answer in answers
    )
    if not l1_base_fee:
        return BaseFees(base_fee_wei=head.base_fee_wei)
    return BaseFees(
        base_fee_wei=head.base_fee_wei,
        l1_base_fee_wei=l1_base_fee,
        blob_base_fee_wei=blob_base_fee,
        base_fee_scalar=scalars >> 96 & SCALAR_MAX,
        blob_base_fee_scalar=scalars >> 64 & SCALAR_MAX,
    )


def _choose(network: str, initial_holder: bytes | None) -> Parameters:
    deployer = address_bytes(REHEARSAL_DEPLOYER.address)
    return choose_parameters(network, deployer, initial_holder or deployer, int(time.time()))


def _transactions(network: str, parameters: Parameters) -> list[tuple[Step, bytes, bytes]]:
    """Step, creation data and signed transaction of each, as the rehearsal's deployer sends them first of all."""
    addresses = compute_addresses(
        address_bytes(REHEARSAL_DEPLOYER.address), {step.name: nonce for nonce, step in enumerate(STEPS)}
    )
    found = []
    for nonce, step in enumerate(STEPS):
        creation = compute_creation(step, parameters, addresses)
        bid = first_bid(BASE_FEE_WEI, FEE_WEI_MAX)
        transaction = Transaction(
            chain_id=NETWORKS[network].chain_id,
            nonce=nonce,
            tip_wei=bid.tip_wei,
            fee_wei_max=bid.fee_wei_max,
            gas=compute_gas_max(step, creation),
            to=None,
            value_wei=0,
            data=creation,
        )
        found.append((step, creation, REHEARSAL_DEPLOYER.sign_transaction(transaction)[0]))
    return found


def format_costs(costs: Sequence[StepCost], fees: BaseFees, eth_usd: float) -> str:
    """The table, and the prices it rests on."""
    lines = [f"{'step':<12}{'gas':>12}{'bytes':>9}{'FastLZ':>9}{'L2, ETH':>14}{'L1, ETH':>14}{'USD':>9}"]
    totals = [0, 0, 0, 0, 0]
    for cost in costs:
        l1_wei = fees.l1_fee_wei(cost.raw)
        l2_wei = fees.cost_wei(cost.gas, cost.raw) - l1_wei
        row = [cost.gas, len(cost.raw), compute_fastlz_length(cost.raw), l2_wei, l1_wei]
        totals = [total + value for total, value in zip(totals, row, strict=True)]
        lines.append(_format_row(cost.name, row, eth_usd, "at most" if cost.is_bound else ""))
    lines.append(_format_row("in all", totals, eth_usd, ""))
    gwei = WEI_PER_GWEI
    lines.append(
        f"at {fees.base_fee_wei / gwei:g} gwei base fee and {fees.tip_wei / gwei:g} gwei tip; on L1 "
        f"{fees.l1_base_fee_wei / gwei:g} gwei base fee and {fees.blob_base_fee_wei / gwei:g} gwei blob base fee"
    )
    scalars = f"{fees.base_fee_scalar} and {fees.blob_base_fee_scalar}"
    lines.append(f"with scalars {scalars}; {eth_usd:g} USD for an ETH")
    return "\n".join(lines)


def _format_row(name: str, row: Sequence[int], eth_usd: float, note: str) -> str:
    gas, raw_bytes, fastlz_bytes, l2_wei, l1_wei = row
    usd = (l2_wei + l1_wei) / WEI_PER_ETH * eth_usd
    line = f"{name:<12}{gas:>12,}{raw_bytes:>9,}{fastlz_bytes:>9,}"
    return f"{line}{l2_wei / WEI_PER_ETH:>14.9f}{l1_wei / WEI_PER_ETH:>14.9f}{usd:>9.2f}  {note}".rstrip()
