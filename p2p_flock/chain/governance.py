"""The contracts that own what can be changed, found from one address, and one account's door to them.

Called by the commands ``p2p-flock gov`` and ``p2p-flock lock``, which need no daemon: a chain, a keystore and, where
something is sent, its password. Must never trust the configured address: FLOCK is the factory's, and what mints it, and
gmFLOCK, must obey the governor's timelock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from p2p_flock.chain.account import Account
from p2p_flock.chain.adapter import ChainConfig
from p2p_flock.chain.alliance_contract import eth_call, read_contract
from p2p_flock.chain.client import Call, RpcClient, as_bytes, as_quantity, block_head, raised_or_value
from p2p_flock.chain.contracts import (
    EMISSION,
    FACTORY,
    GM_FLOCK,
    GOVERNOR,
    TIMELOCK,
    TOKEN,
    address_bytes,
    address_text,
    load_contract,
)
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.chain.sent import get_answering
from p2p_flock.chain.transactions import Sender
from p2p_flock.crypto.suite import keccak256
from p2p_flock.errors import ConfigError, RpcError, UsageError

PROPOSER_ROLE = keccak256(b"PROPOSER_ROLE")  # OpenZeppelin's TimelockController
PENDING_S_MAX = 75.0  # another transaction of the account may take that long; its own sender gives up after 60 s
GAS_HEADROOM = 150_000  # a vote's path depends on the block that it lands in; unused gas costs nothing


@dataclass(frozen=True, slots=True)
class GovernanceContracts:
    """Addresses, 20 bytes each; ``timelock`` is the treasury, too."""

    token: bytes
    gm_flock: bytes
    governor: bytes
    timelock: bytes
    emission: bytes


@dataclass(frozen=True, slots=True)
class View:
    """One call that changes nothing: an artifact's name, where such a contract stands, its function's name."""

    contract: str
    address: bytes
    function: str
    arguments: tuple[object, ...] = ()


async def read_views(client: RpcClient, views: Sequence[View]) -> list[Any]:
    """The answers on which all endpoints agree, in order, in one batch; bare where a function returns one value.

    Raises:
        ChainError: the endpoints failed or disagree, a call was reverted, or another contract stands there.
    """
    functions = [load_contract(view.contract).functions[view.function] for view in views]
    calls = [eth_call(v.address, f.encode(*v.arguments)) for v, f in zip(views, functions, strict=True)]
    answers = await client.agreed(calls) if calls else []
    decoded = [f.decode(as_bytes(answer)) for f, answer in zip(functions, answers, strict=True)]
    return [values[0] if len(values) == 1 else values for values in decoded]


class Governance:
    """The contracts as one account sees them; without a key it only reads.

    Attributes:
        account: with its key; ``None`` where only its address is known.
        address: the account's, 20 bytes.
    """

    def __init__(
        self,
        client: RpcClient,
        contracts: GovernanceContracts,
        account: Account | bytes,
        config: ChainConfig,
    ) -> None:
        self.client, self.contracts = client, contracts
        self.chain_id, self._poll_interval_s = config.chain_id, config.poll_interval_s
        self.account = account if isinstance(account, Account) else None
        self.address = account if isinstance(account, bytes) else address_bytes(account.address)
        self._sender: Sender | None = None
        if self.account is not None:
            self._sender = Sender(
                client, self.account, config.chain_id, config.poll_interval_s, fee_wei_max=config.fee_wei_max
            )

    async def read(self, contract: str, address: bytes, function: str, *arguments: object) -> Any:
        """One view call, as :func:`read_views`.

        Raises:
            ChainError: as there.
        """
        (value,) = await read_views(self.client, (View(contract, address, function, arguments),))
        return value

    async def now_s(self) -> int:
        """The newest block's time, Unix seconds: the clock that all deadlines of governance go by.

        Of two endpoints, that of the one behind: votes of a moment that it does not know yet, it could not tell.

        Raises:
            ChainError: no endpoint answered.
        """
        each = get_answering(await self.client.batch_each((Call("eth_getBlockByNumber", ("latest", False)),)))
        return min(block_head(raised_or_value(answer)).timestamp_s for (answer,) in each)

    async def send(
        self, action: str, contract: str, address: bytes, function: str, *arguments: object
    ) -> TransactionReceipt:
        """Send one transaction once no other of this account is on its way, and wait until it is mined.

        The daemon may be sending with the same key from its own process. Nobody hands out nonces between the two: we
        start when the account has nothing pending, and a nonce that the daemon was quicker to take is refused by the
        chain and taken anew (``transactions.Sender``). What is pending for longer than a live sender waits for it is
        nobody's any more: then the sender frees its nonce.

        Raises:
            TransactionFailedError: the contract refused; nothing was spent.
            ChainError: the endpoint failed.
        """
        if self._sender is None:
            raise UsageError("This needs the account's key. Open the chain with it.")
        await self._wait_for_others()
        data = load_contract(contract).functions[function].encode(*arguments)
        return await self._sender.send(action, address, data, gas_headroom=GAS_HEADROOM)

    async def _wait_for_others(self) -> None:
        counts = [
            Call("eth_getTransactionCount", (address_text(self.address), block)) for block in ("latest", "pending")
        ]
        with trio.move_on_after(PENDING_S_MAX):
            while True:
                mined, known = [as_quantity(raised_or_value(a)) for a in await self.client.batch(counts)]
                if known <= mined:
                    return
                await trio.sleep(self._poll_interval_s)


@asynccontextmanager
async def open_governance(config: ChainConfig, governor: bytes, account: Account | bytes) -> AsyncIterator[Governance]:
    """Connect, check the chain and that ``governor`` rules the factory's FLOCK.

    Args:
        governor: its address, 20 bytes; all others are asked of it and of the token.
        account: with its key, to send; or its address only, to read.

    Raises:
        ConfigError: an endpoint is on another chain, or the contracts do not belong together.
        ChainError: an endpoint failed.
    """
    client = RpcClient(config.rpc_urls, timeout_s=config.timeout_s)
    try:
        for index in range(len(config.rpc_urls)):
            (answer,) = await client.batch((Call("eth_chainId"),), index)
            if isinstance(answer, RpcError) or as_quantity(answer) != config.chain_id:
                raise ConfigError(
                    f"RPC endpoint {index + 1} is not on chain {config.chain_id}\ncorrect chain.rpc_urls or chain_id"
                )
        contracts = await _find(client, config.factory, governor)
        yield Governance(client, contracts, account, config)
    finally:
        with trio.CancelScope(shield=True):
            client.close()


async def _find(client: RpcClient, factory: bytes, governor: bytes) -> GovernanceContracts:
    """The five addresses: votes and timelock from the governor, emission from FLOCK; each must name the others back."""
    for address, what in ((factory, "factory"), (governor, "governor")):
        if not as_bytes(await client.call("eth_getCode", address_text(address), "latest")):
            raise ConfigError(
                f"there is no contract at {address_text(address)}\ncorrect chain.{what}, or check the chain"
            )
    token = address_bytes(await read_contract(client, FACTORY, factory, "token"))
    try:
        minter, votes, executor = await read_views(
            client,
            (View(TOKEN, token, "minter"), View(GOVERNOR, governor, "token"), View(GOVERNOR, governor, "timelock")),
        )
        emission, gm_flock, timelock = map(address_bytes, (minter, votes, executor))
        mints, allowed, locks, obeyed, proposes = await read_views(
            client,
            (
                View(EMISSION, emission, "token"),
                View(EMISSION, emission, "timelock"),
                View(GM_FLOCK, gm_flock, "token"),
                View(GM_FLOCK, gm_flock, "timelock"),
                View(TIMELOCK, timelock, "hasRole", (PROPOSER_ROLE, governor)),
            ),
        )
    except RpcError as error:
        raise ConfigError(
            f"{address_text(governor)} is no governor, or this factory's FLOCK has no emission: {error.message}\n"
            "correct chain.governor, or pass --governor"
        ) from error
    belongs = {
        "what mints FLOCK mints another token": address_bytes(mints) == token,
        "the emission of FLOCK obeys another timelock": address_bytes(allowed) == timelock,
        "its votes come from locks of another token": address_bytes(locks) == token,
        "gmFLOCK obeys another timelock": address_bytes(obeyed) == timelock,
        "its timelock takes no proposals from it": proposes,
    }
    wrong = [sentence for sentence, holds in belongs.items() if not holds]
    if wrong:
        raise ConfigError(
            f"{address_text(governor)} does not govern this factory's FLOCK: {wrong[0]}\n"
            "correct chain.governor, or pass --governor"
        )
    return GovernanceContracts(token, gm_flock, governor, timelock, emission)
