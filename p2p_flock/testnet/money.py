"""Whether money was conserved: what the alliance holds and owes at its end, asked of the chain as anyone can (P6).

Called by ``launcher.py`` when the alliance is closed. Every account's claim is asked of the contract and compared with
the records in the log.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from p2p_flock.alliance.sortition import compute_assignment
from p2p_flock.chain.alliance_contract import read_contract
from p2p_flock.chain.client import Call, Json, RpcClient
from p2p_flock.chain.contracts import ALLIANCE, TOKEN, address_bytes, address_text, load_contract
from p2p_flock.chain_events import SettledRecord
from p2p_flock.cli.amounts import format_money
from p2p_flock.errors import RpcError
from p2p_flock.params import AllianceParams

NOBODY = bytes(20)


@dataclass(frozen=True, slots=True)
class Money:
    """FLOCK wei at an alliance's end.

    Attributes:
        funded: what the members' accounts got from the faucet; ``held``: what they hold now.
        balance: what the contract holds; ``stakes``, ``pool`` and ``owed`` are its own accounts of it.
        credited: owed without a record: the creator's residual, tenths of slashes.
        claimable: by account (20 bytes), what ``getReward`` says of all settled rounds.
        trainers, validators, refunds: what the records say was earned.
        escrowed: what the members staked and the creator paid in.
        stuck: accounts whose stake the contract would not give back once unbonding is over, and why.
    """

    funded: int
    held: int
    balance: int
    stakes: int
    pool: int
    owed: int
    credited: int
    claimable: Mapping[bytes, int]
    trainers: int
    validators: int
    refunds: int
    escrowed: int
    stuck: Mapping[bytes, str] = field(default_factory=dict)

    def complaints(self) -> list[str]:
        """What does not add up, in sentences; empty where every wei is accounted for."""
        claimable, debts = sum(self.claimable.values()), self.stakes + self.pool + self.owed
        checks = {
            "accounts and contract do not hold together what was funded": self.held + self.balance == self.funded,
            "stakes, pool and debts are not what the contract holds": debts == self.balance,
            "what the records say was earned is not what can be claimed": self.earned == claimable or self.is_claimed,
            "what can be claimed is not what the contract owes": self.owed == claimable + self.credited,
        }
        return [f"money: {sentence}" for sentence, holds in checks.items() if not holds] + [
            f"money: the stake of 0x{owner.hex()} cannot be withdrawn: {reason}" for owner, reason in self.stuck.items()
        ]

    @property
    def earned(self) -> int:
        return self.trainers + self.validators + self.refunds

    @property
    def is_claimed(self) -> bool:
        """Whether somebody took money out already."""
        return self.balance < self.escrowed

    def describe(self, names: Mapping[bytes, str]) -> dict[str, Any]:
        """For the report; ``names``: node by account. Amounts are wei as text."""
        values = dataclasses.asdict(self)
        claimable = {names.get(owner, "0x" + owner.hex()): str(amount) for owner, amount in self.claimable.items()}
        amounts = {name: str(value) for name, value in values.items() if name not in ("claimable", "stuck")}
        stuck = {names.get(owner, "0x" + owner.hex()): reason for owner, reason in self.stuck.items()}
        return {**amounts, "claimable_by_node": claimable, "stuck_by_node": stuck, "conserved": not self.complaints()}


async def read_money(
    client: RpcClient,
    contract: bytes,
    params: AllianceParams,
    owners: Sequence[bytes],
    records: Sequence[SettledRecord],
    funded_each: int,
) -> Money:
    """Ask the chain.

    Args:
        owners: of all seats there ever were; the creator is among them, and nobody else posted for the alliance.
        records: of all settled rounds.
        funded_each: FLOCK wei that each of them got, once.

    Raises:
        ChainError: the endpoint failed.
    """

    async def ask(function: str, *arguments: object) -> Any:
        return await read_contract(client, ALLIANCE, contract, function, *arguments)

    token = address_bytes(await ask("token"))
    stakes, pool, owed = await ask("getAccounts")
    claimable = {
        owner: sum([await ask("getReward", owner, dataclasses.astuple(record)) for record in records])
        for owner in owners
    }
    return Money(
        funded=funded_each * len(owners),
        held=sum([await read_contract(client, TOKEN, token, "balanceOf", owner) for owner in owners]),
        balance=await read_contract(client, TOKEN, token, "balanceOf", contract),
        stakes=stakes,
        pool=pool,
        owed=owed,
        credited=sum([await ask("getCredit", owner) for owner in owners]),
        claimable=claimable,
        trainers=sum(_trainers_pay(record, params) for record in records),
        validators=sum(sum(record.validator_rewards) for record in records),
        refunds=sum(_refunds(record) for record in records),
        escrowed=params.seat_stake * len(owners) + params.reward_per_round * params.round_count,
        stuck=await _find_stuck(client, contract, params, owners),
    )


async def _find_stuck(
    client: RpcClient, contract: bytes, params: AllianceParams, owners: Sequence[bytes]
) -> dict[bytes, str]:
    """Each owner's withdrawal is tried as it would be after unbonding: a view call at that time, nothing is posted."""
    abi = load_contract(ALLIANCE)
    later = hex(int(time.time()) + 2 * params.unbonding_seconds)
    stuck: dict[bytes, str] = {}
    for owner in owners:
        request: dict[str, Json] = {
            "from": address_text(owner),
            "to": address_text(contract),
            "data": "0x" + abi.functions["withdraw"].selector.hex(),
        }
        try:
            await client.agreed((Call("eth_call", (request, "latest", {}, {"time": later})),))
        except RpcError as error:
            name = abi.errors.get((error.data or b"")[:4], (error.message,))[0]
            if name != "NothingToWithdraw":  # somebody was quicker
                stuck[owner] = name
    return stuck


def money_line(money: Money) -> str:
    """The account of it in one sentence."""
    parts = (("trainers", money.trainers), ("validators", money.validators), ("refunds", money.refunds))
    shares = ", ".join(f"{name} {format_money(amount, 'FLOCK')}" for name, amount in parts)
    verdict = "is accounted for to the wei" if not money.complaints() else "is NOT accounted for"
    return f"all money {verdict}; earned: {shares}"


def _trainers_pay(record: SettledRecord, params: AllianceParams) -> int:
    bits = sum(word << 256 * index for index, word in enumerate(record.survivors))
    assignment = compute_assignment(record.seed, record.seat_count, params)
    survivors = {seat for index, seat in enumerate(assignment.trainers) if bits >> index & 1}
    counts = [len(survivors & set(cohort)) for cohort in assignment.cohorts]
    return sum(count * reward for count, reward in zip(counts, record.trainer_rewards, strict=True))


def _refunds(record: SettledRecord) -> int:
    return record.refund * sum(sender != NOBODY for sender in (record.sealer, record.committer, record.settler))
