"""Carries out the plan of ``deployment_plan.py``: one creation after the other, never one twice, whatever breaks off.

Called by ``scripts/deploy`` and, for all steps at once, by the development chain. Before a creation is sent its nonce
is written down, and with the nonce the only address at which it can ever stand: two transactions of one nonce cannot
both be mined. So a run that goes on asks the chain what stands there, and sends again with the same nonce where nothing
does. It signs by itself rather than through ``transactions.Sender``, which chooses nonces as late as it can.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from p2p_flock.chain.account import Account, Transaction
from p2p_flock.chain.bidding import FEE_GWEI_MAX_DEFAULT, GWEI, Bid, choose_base_fee, first_bid, next_bid
from p2p_flock.chain.client import (
    Call,
    Json,
    RpcClient,
    as_bytes,
    as_quantity,
    block_head,
    raised_or_value,
)
from p2p_flock.chain.contracts import address_bytes, address_text
from p2p_flock.chain.deployment_plan import (
    CONTRACTS,
    NETWORKS,
    STEPS,
    Parameters,
    Step,
    compute_creation,
    compute_gas_max,
)
from p2p_flock.chain.deployment_record import DeploymentRecord, StepRecord
from p2p_flock.chain.fees import WEI_PER_ETH, BaseFees
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.chain.runtime_code import is_runtime_code
from p2p_flock.chain.sent import explain_refusal, is_about_nonce, is_known, parse_receipt
from p2p_flock.chain.transactions import GAS_PER_TRANSACTION_MAX
from p2p_flock.errors import ChainError, RpcError, TransactionFailedError, UsageError

REPLACE_AFTER_S = 20.0  # ten blocks of Base: then the same creation is offered at twice the fee
TRANSACTIONS_MAX = 10  # of one nonce: as many fit one exchange when their receipts are asked for
USED_NONCE_S_MAX = 10.0  # how long an endpoint may show a nonce as used before it shows what used it
NONCES_MAX = 3  # tried for one step: each needs another program, or a failed creation, that used the one before
GAS_HEADROOM = 100_000
L1_FEE_FACTOR = 2  # L1's prices may rise between two steps
FEE_WEI_MAX = FEE_GWEI_MAX_DEFAULT * GWEI  # of a unit of gas, tip included: a thousand times the usual price


@dataclass(frozen=True, slots=True)
class Door:
    """Where a deployment is carried out, and who does it."""

    client: RpcClient
    account: Account
    poll_interval_s: float = 1.0
    replace_after_s: float = REPLACE_AFTER_S

    @property
    def address(self) -> bytes:
        """The deployer's, 20 bytes."""
        return address_bytes(self.account.address)


async def require_chain(client: RpcClient, network: str) -> None:
    """Refuse every endpoint that is not on the network's chain.

    Raises:
        UsageError: an endpoint is on another chain.
        ChainError: one does not answer.
    """
    expected = NETWORKS[network].chain_id
    for index in range(client.endpoint_count):
        (answer,) = await client.batch((Call("eth_chainId"),), index)
        chain_id = as_quantity(raised_or_value(answer))
        if chain_id != expected:
            raise UsageError(
                f"RPC endpoint {index + 1} is on chain {chain_id}, and {network} is chain {expected}. "
                "Nothing was sent; correct --rpc-url or --network."
            )


def compute_funds_wei(record: DeploymentRecord, nonce: int, base_fee_wei: int, fees: BaseFees) -> int:
    """ETH (in wei) that the steps without a receipt may take at most, all at the highest fee that they will offer.

    Args:
        nonce: the deployer's next.
        fees: whose L1 prices count, doubled.
    """
    fee_wei_max = first_bid(base_fee_wei, FEE_WEI_MAX).fee_wei_max
    total = 0
    for step in STEPS:
        known = record.steps.get(step.name)
        if known is None:
            record = record.with_step(step.name, StepRecord(nonce, ""))
            nonce += 1
        if known is None or known.block is None:
            creation = compute_creation(step, record.parameters, record.addresses)
            # What surrounds the data in a signed transaction does not compress, nor does it count beside the data.
            l1_fee_wei = fees.l1_fee_wei(creation + hashlib.sha512(creation).digest() * 2)
            total += compute_gas_max(step, creation) * fee_wei_max + L1_FEE_FACTOR * l1_fee_wei
    return total


async def require_funds(door: Door, record: DeploymentRecord, fees: BaseFees) -> None:
    """Refuse an account that could run out of ETH on the way.

    Raises:
        UsageError: it holds too little; the text says how much is missing.
        ChainError: the endpoint failed.
    """
    address = address_text(door.address)
    answers = await door.client.batch(
        (
            Call("eth_getBalance", (address, "latest")),
            Call("eth_getTransactionCount", (address, "pending")),
            Call("eth_getBlockByNumber", ("latest", False)),
        )
    )
    balance, nonce = (as_quantity(raised_or_value(answer)) for answer in answers[:2])
    base_fee_wei = choose_base_fee([block_head(raised_or_value(answers[2])).base_fee_wei], FEE_WEI_MAX)
    needed = compute_funds_wei(record, nonce, base_fee_wei, fees)
    if balance < needed:
        raise UsageError(
            f"{address} holds {balance / WEI_PER_ETH:.6f} ETH, and the rest of the deployment may take up to "
            f"{needed / WEI_PER_ETH:.6f} ETH. Send it {(needed - balance) / WEI_PER_ETH:.6f} ETH; nothing was sent."
        )


async def deploy(
    door: Door,
    record: DeploymentRecord,
    save: Callable[[DeploymentRecord], None],
    report: Callable[[str], None],
) -> DeploymentRecord:
    """Every step that does not stand yet, one after the other; what stands is looked at.

    Args:
        record: as read, or a new one without steps.
        save: called before a creation is sent, and when it was mined; what it does must be on disk when it returns.
        report: told a line about every step.

    Returns:
        the record, complete.

    Raises:
        UsageError: the record is of another deployer, or of other artifacts or parameters than these.
        TransactionFailedError: a constructor refuses.
        ChainError: another contract stands at a recorded address, the endpoint failed, or no block took a creation.
    """
    if record.deployer != door.address:
        raise UsageError(
            f"This deployment was begun by {address_text(record.deployer)}, not by {address_text(door.address)}. "
            "Go on with that key, or move the record away to begin anew."
        )
    for step in STEPS:
        creation = compute_creation(step, record.parameters, record.addresses)
        _require_same(step, record, creation)
        record = await _with_receipt(door, await _ensure(door, record, step, creation, save, report), step.name)
        save(record)
        report(_sentence(record, step))
    return record


async def _ensure(
    door: Door,
    record: DeploymentRecord,
    step: Step,
    creation: bytes,
    save: Callable[[DeploymentRecord], None],
    report: Callable[[str], None],
) -> DeploymentRecord:
    """The record with this step, whose contract stands."""
    for _ in range(NONCES_MAX):
        known = record.steps.get(step.name)
        if known is None:
            record = record.with_step(step.name, StepRecord(await _count(door, "pending"), _digest(creation)))
        elif await stands(door.client, record, step.name):
            return record
        elif await _count(door, "latest") > known.nonce:
            await _require_used_otherwise(door, record, step)
            record = _without(record, step.name)  # and on with a new nonce
            continue
        report(
            f"{step.name}: sending with nonce {record.steps[step.name].nonce}, "
            f"to stand at {address_text(record.addresses[step.name])}"
        )
        record = await _create(door, record, step, creation, save)
    raise ChainError(f"{step.name}: the endpoint does not show the contract yet. Run this again: it goes on from here.")


def _require_same(step: Step, record: DeploymentRecord, creation: bytes) -> None:
    known = record.steps.get(step.name)
    if known is not None and known.creation_sha256 != _digest(creation):
        raise UsageError(
            f"The record says that another {step.contract} was deployed as {step.name!r}: the artifact or the "
            "parameters have changed since. Go on with the version that began, or move the record away."
        )


def _digest(creation: bytes) -> str:
    return hashlib.sha256(creation).hexdigest()


def _without(record: DeploymentRecord, name: str) -> DeploymentRecord:
    return dataclasses.replace(record, steps={key: step for key, step in record.steps.items() if key != name})


def _sentence(record: DeploymentRecord, step: Step) -> str:
    known = record.steps[step.name]
    gas = "" if known.gas_used is None else f", {known.gas_used:,} gas in block {known.block}"
    return f"{step.name}: {step.contract} stands at {address_text(record.addresses[step.name])}{gas}"


async def stands(client: RpcClient, record: DeploymentRecord, name: str) -> bool:
    """Whether the contract of a step that has begun is on the chain.

    Raises:
        ChainError: something else is at its address.
    """
    address = record.addresses[name]
    (code,) = await client.agreed((Call("eth_getCode", (address_text(address), "latest")),))
    if not as_bytes(code):
        return False
    if not is_runtime_code(*CONTRACTS[name], as_bytes(code)):
        raise ChainError(
            f"The code at {address_text(address)} is not that of {CONTRACTS[name][0]}. Are chain and record the right "
            "ones, and is this the version that began? Nothing more was sent."
        )
    return True


async def _count(door: Door, block: str) -> int:
    return as_quantity(await door.client.call("eth_getTransactionCount", address_text(door.address), block))


async def _require_used_otherwise(door: Door, record: DeploymentRecord, step: Step) -> None:
    """Return when it is certain that the recorded nonce was used, and not by the step's creation.

    An endpoint is often several machines: one that knows the nonce as used may stand beside one that does not know the
    block yet. So absence is believed only after a while.

    Raises:
        ChainError: the creation is mined after all; run again.
    """
    with trio.move_on_after(USED_NONCE_S_MAX):
        while True:
            receipt = await find_receipt(door.client, record.steps[step.name].transactions)
            if receipt is not None and receipt.status != 1:
                return
            if receipt is not None or await stands(door.client, record, step.name):
                raise ChainError(f"{step.name}: the endpoint did not show the creation at first; run this again.")
            await trio.sleep(door.poll_interval_s)


async def _create(
    door: Door,
    record: DeploymentRecord,
    step: Step,
    creation: bytes,
    save: Callable[[DeploymentRecord], None],
) -> DeploymentRecord:
    """Simulate, then offer the creation until it is mined, at twice the fee each time; every offer is saved first."""
    action = f"creating {step.contract}"
    gas = await _simulate(door, action, creation)
    bid: Bid | None = first_bid(await _base_fee_wei(door), FEE_WEI_MAX)
    while bid is not None and len(record.steps[step.name].transactions) < TRANSACTIONS_MAX:
        raw, digest = _sign(door, record, step, creation, gas, bid)
        known = record.steps[step.name]
        if digest not in known.transactions:
            known = dataclasses.replace(known, transactions=(*known.transactions, digest))
            record = record.with_step(step.name, known)
        save(record)
        await _broadcast(door, action, raw)
        with trio.move_on_after(door.replace_after_s):
            while (receipt := await find_receipt(door.client, known.transactions)) is None:
                await trio.sleep(door.poll_interval_s)
        if receipt is not None:
            if receipt.status != 1:
                raise TransactionFailedError(action, "Reverted")
            return record
        bid = next_bid(bid, await _base_fee_wei(door), FEE_WEI_MAX)
    raise ChainError(
        f"{action}: no block took it. It is written down: run this again when the chain takes transactions."
    )


async def _base_fee_wei(door: Door) -> int:
    return choose_base_fee([(await door.client.head()).base_fee_wei], FEE_WEI_MAX)


async def _simulate(door: Door, action: str, creation: bytes) -> int:
    """The gas to offer.

    Raises:
        TransactionFailedError: the constructor refuses; nothing was spent.
    """
    call: Json = {"from": address_text(door.address), "data": "0x" + creation.hex()}
    try:
        estimate = as_quantity(await door.client.call("eth_estimateGas", call))
    except RpcError as error:
        raise explain_refusal(action, error) from error
    return min(estimate * 5 // 4 + GAS_HEADROOM, GAS_PER_TRANSACTION_MAX)


def _sign(door: Door, record: DeploymentRecord, step: Step, creation: bytes, gas: int, bid: Bid) -> tuple[bytes, str]:
    raw, digest = door.account.sign_transaction(
        Transaction(
            chain_id=record.chain_id,
            nonce=record.steps[step.name].nonce,
            tip_wei=bid.tip_wei,
            fee_wei_max=bid.fee_wei_max,
            gas=gas,
            to=None,
            value_wei=0,
            data=creation,
        )
    )
    return raw, "0x" + digest.hex()


async def _broadcast(door: Door, action: str, raw: bytes) -> None:
    try:
        await door.client.call("eth_sendRawTransaction", "0x" + raw.hex())
    except RpcError as error:
        # Ours is there already, at this fee or a higher one, or was mined meanwhile: its receipt will tell.
        if not is_known(error) and not is_about_nonce(error):
            raise explain_refusal(action, error) from error


async def find_receipt(client: RpcClient, transactions: Sequence[str]) -> TransactionReceipt | None:
    """The receipt of whichever of these (hex hashes, all of one nonce) was mined.

    Raises:
        ChainError: the endpoint failed.
    """
    if not transactions:
        return None
    answers = await client.batch([Call("eth_getTransactionReceipt", (digest,)) for digest in transactions])
    for digest, answer in zip(transactions, answers, strict=True):
        if answer is not None and not isinstance(answer, RpcError):
            return parse_receipt(bytes.fromhex(digest[2:]), answer)
    return None


async def _with_receipt(door: Door, record: DeploymentRecord, name: str) -> DeploymentRecord:
    """The record with block and gas of the step, where the endpoint has the receipt (old ones may be gone)."""
    known = record.steps[name]
    receipt = await find_receipt(door.client, known.transactions)
    if receipt is None:
        return record
    return record.with_step(name, dataclasses.replace(known, block=receipt.block, gas_used=receipt.gas_used))


async def deploy_at_once(door: Door, network: str, parameters: Parameters) -> DeploymentRecord:
    """All steps in one exchange, unrecorded: for a development chain, whose deployment is cheap to repeat.

    Raises:
        ChainError: the chain refused one, or one left no contract.
    """
    nonce, head = await door.client.batch(
        (
            Call("eth_getTransactionCount", (address_text(door.address), "pending")),
            Call("eth_getBlockByNumber", ("latest", False)),
        )
    )
    first, base_fee_wei = as_quantity(raised_or_value(nonce)), block_head(raised_or_value(head)).base_fee_wei
    record = DeploymentRecord(network, door.address, parameters)
    calls = []
    bid = first_bid(base_fee_wei, FEE_WEI_MAX)
    for number, step in enumerate(STEPS, first):
        record = record.with_step(step.name, StepRecord(number, ""))
        creation = compute_creation(step, parameters, record.addresses)
        raw, digest = _sign(door, record, step, creation, compute_gas_max(step, creation), bid)
        record = record.with_step(step.name, StepRecord(number, _digest(creation), (digest,)))
        calls.append(Call("eth_sendRawTransaction", ("0x" + raw.hex(),)))
    for answer in await door.client.batch(calls):
        raised_or_value(answer)
    for step in STEPS:
        receipt = None
        with trio.move_on_after(door.replace_after_s):
            while (receipt := await find_receipt(door.client, record.steps[step.name].transactions)) is None:
                await trio.sleep(door.poll_interval_s)
        if receipt is None or receipt.status != 1:
            reason = "no block took it" if receipt is None else f"it used {receipt.gas_used} gas"
            raise ChainError(f"creating {step.contract} failed: {reason}")
        known = dataclasses.replace(record.steps[step.name], block=receipt.block, gas_used=receipt.gas_used)
        record = record.with_step(step.name, known)
    return record
