"""Opens the chain for one account: the factory's alliances, balances, creation.

Called by the daemon and the CLI (and by nothing else of the package). Addresses of token and beacon are read from the
factory, so that an operator configures one address only.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from p2p_flock.chain.account import Account
from p2p_flock.chain.alliance_contract import AllianceHandle, approve_token, eth_call, read_contract
from p2p_flock.chain.beacon import BeaconNetwork, g2_from_contract
from p2p_flock.chain.bidding import FEE_GWEI_MAX_DEFAULT, GWEI
from p2p_flock.chain.client import Call, Json, RpcClient, as_bytes, as_quantity, block_head
from p2p_flock.chain.contracts import (
    ALLIANCE,
    BEACON,
    FACTORY,
    TOKEN,
    address_bytes,
    address_text,
    load_contract,
    params_from_abi,
    params_to_abi,
)
from p2p_flock.chain.events import parse_log
from p2p_flock.chain.records import AllianceTerms, TransactionReceipt
from p2p_flock.chain.transactions import Sender
from p2p_flock.errors import ChainError, ConfigError, RpcError, UsageError
from p2p_flock.params import AllianceParams, validate_params
from p2p_flock.types import Domain

BLOCKS_PER_SEARCH = 10_000  # most providers' cap for eth_getLogs
TASK_NAME_BYTES_MAX = 64  # the factory's rule
ALLIANCES_LISTED_MAX = 1_000  # newest first; a factory with more needs an index, not a node


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """Where the chain is.

    Attributes:
        rpc_urls: one or two JSON-RPC endpoints; with two, what privacy hangs on must agree.
        chain_id: checked against every endpoint.
        factory: the alliance factory's address, 20 bytes.
        poll_interval_s: between polls of a follower and of a receipt.
        from_block: no alliance of the factory is older than this block (its deployment, where known).
        timeout_s: of one HTTP exchange.
        fee_wei_max: what a unit of gas may cost at most, tip included.
    """

    rpc_urls: tuple[str, ...]
    chain_id: int
    factory: bytes
    poll_interval_s: float = 0.2
    from_block: int = 0
    timeout_s: float = 5.0
    fee_wei_max: int = FEE_GWEI_MAX_DEFAULT * GWEI


class Chain:
    """The chain as one account sees it."""

    def __init__(self, config: ChainConfig, client: RpcClient, sender: Sender, token: bytes, beacon: bytes) -> None:
        self.config, self.client = config, client
        self.token, self.beacon = token, beacon
        self.address = sender.address
        self._sender = sender

    async def beacon_network(self) -> BeaconNetwork:
        """Key and schedule of the drand network that the contracts verify.

        Raises:
            ChainError: the endpoints failed or disagree, or the key is none.
        """
        key = await read_contract(self.client, BEACON, self.beacon, "publicKey")
        genesis_s = await read_contract(self.client, BEACON, self.beacon, "genesis")
        period_s = await read_contract(self.client, BEACON, self.beacon, "period")
        return BeaconNetwork(g2_from_contract(bytes(key)), int(genesis_s), int(period_s))

    async def alliance(self, number: int) -> AllianceHandle:
        """Resolve an alliance by its number.

        Raises:
            UsageError: the factory has no such alliance.
            ChainError: the endpoints failed or disagree.
        """
        contract = address_bytes(await read_contract(self.client, FACTORY, self.config.factory, "alliances", number))
        if not any(contract):
            raise UsageError(
                f"There is no alliance {number} at this factory. Check the ID and that you are on the right chain; "
                "`p2p-flock alliance list` shows those that exist."
            )
        params = params_from_abi(await read_contract(self.client, ALLIANCE, contract, "params"))
        (terms,) = await self._terms(number)
        if terms.contract != contract:
            raise ChainError("the factory's log and its table name different contracts; use another RPC endpoint")
        domain = Domain(self.config.chain_id, contract, number)
        return AllianceHandle(
            self.client,
            self._sender,
            domain,
            params,
            terms,
            self.token,
            self.config.poll_interval_s,
        )

    async def list_alliances(self) -> tuple[AllianceTerms, ...]:
        """Terms of the factory's alliances, oldest first, at most :data:`ALLIANCES_LISTED_MAX` of the newest.

        Raises:
            ChainError: the endpoints failed or disagree.
        """
        count = await read_contract(self.client, FACTORY, self.config.factory, "allianceCount")
        if count == 0:
            return ()
        return tuple(sorted(await self._terms(None), key=lambda terms: terms.number))[-ALLIANCES_LISTED_MAX:]

    async def create_alliance(
        self, params: AllianceParams, reward_pool: int, task_name: str, allowlist: Sequence[bytes] = ()
    ) -> int:
        """Escrow ``reward_pool`` FLOCK wei and create an alliance; its number.

        Args:
            allowlist: owners that may join, 20 bytes each, strictly ascending, whose root is in the parameters; none
                where everybody may.

        Raises:
            ParameterError: the parameters break a rule (nothing was sent).
            UsageError: pool or name break a rule.
            TransactionFailedError: the contract refuses (``reason`` is its error's name).
            ChainError: the endpoint failed.
        """
        validate_params(params)
        if reward_pool < params.reward_per_round * params.round_count:
            raise UsageError("The reward pool must hold reward_per_round for every round; raise it or lower those.")
        if not 1 <= len(task_name.encode()) <= TASK_NAME_BYTES_MAX:
            raise UsageError(f"A task name has 1 to {TASK_NAME_BYTES_MAX} bytes.")
        await approve_token(self.client, self._sender, self.token, self.config.factory, reward_pool)
        create = load_contract(FACTORY).functions["create"]
        data = create.encode(params_to_abi(params), reward_pool, task_name, list(allowlist))
        receipt = await self._sender.send("creating the alliance", self.config.factory, data)
        mine = await self._search(None, receipt.block, receipt.block, receipt.hash)
        if len(mine) != 1:
            raise ChainError("the factory's log of the new alliance is missing; list the alliances to find its number")
        return mine[0].number

    async def balances(self) -> tuple[int, int]:
        """The account's ETH wei and FLOCK wei; one batch.

        Raises:
            ChainError: the endpoint failed.
        """
        view = load_contract(TOKEN).functions["balanceOf"]
        eth, flock = await self.client.agreed(
            (
                Call("eth_getBalance", (address_text(self.address), "latest")),
                eth_call(self.token, view.encode(self.address)),
            )
        )
        return as_quantity(eth), int(view.decode(as_bytes(flock))[0])

    async def finalized_block(self) -> int:
        """Number of the newest block that the chain calls final (on Base: final on L1).

        Raises:
            ChainError: the endpoint failed.
        """
        return block_head(await self.client.call("eth_getBlockByNumber", "finalized", False)).number

    async def transfer_flock(self, to: bytes, amount: int) -> TransactionReceipt:
        """Send FLOCK wei to an account.

        Raises:
            TransactionFailedError: e.g. ERC20InsufficientBalance.
            ChainError: the endpoint failed.
        """
        data = load_contract(TOKEN).functions["transfer"].encode(to, amount)
        return await self._sender.send(f"sending {amount} FLOCK wei", self.token, data)

    async def transfer_eth(self, to: bytes, amount: int) -> TransactionReceipt:
        """Send ETH wei to an account.

        Raises:
            ChainError: the endpoint failed or the account lacks ETH.
        """
        return await self._sender.send(f"sending {amount} wei of ETH", to, b"", value_wei=amount)

    async def _terms(self, number: int | None) -> list[AllianceTerms]:
        """AllianceCreated logs, of one alliance or of all; at once where the provider allows it, else piecewise."""
        head = (await self.client.head()).number
        try:
            found = await self._search(number, self.config.from_block, head)
        except RpcError:
            found = []
            for end in itertools.takewhile(lambda b: b >= self.config.from_block, range(head, -1, -BLOCKS_PER_SEARCH)):
                found += await self._search(number, max(self.config.from_block, end - BLOCKS_PER_SEARCH + 1), end)
                if number is not None and found:
                    break
        if number is not None and len(found) != 1:
            raise ChainError(
                f"the log of alliance {number}'s creation was not found. Set chain.from_block to a block before it, "
                "or use an endpoint that keeps all logs."
            )
        return found

    async def _search(
        self, number: int | None, from_block: int, to_block: int, transaction: bytes | None = None
    ) -> list[AllianceTerms]:
        created = next(e for e in load_contract(FACTORY).events.values() if e.name == "AllianceCreated")
        topics: list[Json] = ["0x" + created.topic.hex()]
        if number is not None:
            topics.append(f"0x{number:064x}")
        answers = await self.client.agreed(
            (
                Call(
                    "eth_getLogs",
                    (
                        {
                            "address": address_text(self.config.factory),
                            "topics": topics,
                            "fromBlock": hex(from_block),
                            "toBlock": hex(to_block),
                        },
                    ),
                ),
            ),
            lambda answers: [parse_log(item, self.config.factory)[0] for item in _as_list(answers[0])],
        )
        terms = []
        for item in _as_list(answers[0]):
            log, _ = parse_log(item, self.config.factory)
            if transaction in (None, log.transaction):
                a = created.decode(log.topics, log.data)
                terms.append(
                    AllianceTerms(
                        a["number"],
                        address_bytes(a["alliance"]),
                        address_bytes(a["creator"]),
                        a["manifestDigest"],
                        a["taskName"],
                        log.block,
                        tuple(address_bytes(owner) for owner in a["allowlist"]),
                    )
                )
        return terms


def _as_list(value: Json) -> list[Json]:
    if isinstance(value, list):
        return value
    raise ChainError("the endpoint answered eth_getLogs with no list")


@asynccontextmanager
async def open_chain(
    config: ChainConfig,
    account: Account,
    record_sent: Callable[[bytes], None] | None = None,
    note_mined: Callable[[TransactionReceipt], None] | None = None,
) -> AsyncIterator[Chain]:
    """Connect, check that every endpoint is on the configured chain and that the factory is there.

    Args:
        record_sent: test mode; gets the body of every JSON-RPC request before it leaves.
        note_mined: gets the receipt of every transaction that this account paid for, also of those that failed.

    Raises:
        ConfigError: an endpoint is on another chain, or no factory stands at the address.
        ChainError: an endpoint failed.
    """
    client = RpcClient(config.rpc_urls, timeout_s=config.timeout_s, record_sent=record_sent)
    try:
        for index in range(len(config.rpc_urls)):
            (answer,) = await client.batch((Call("eth_chainId"),), index)
            chain_id = as_quantity(answer) if not isinstance(answer, RpcError) else None
            if chain_id != config.chain_id:
                raise ConfigError(
                    f"RPC endpoint {index + 1} is on chain {chain_id}, the settings say {config.chain_id}\n"
                    "correct chain.rpc_urls or chain.chain_id in config.toml"
                )
        code = await client.call("eth_getCode", address_text(config.factory), "latest")
        if not as_bytes(code):
            raise ConfigError(
                f"there is no contract at the factory address {address_text(config.factory)} on chain "
                f"{config.chain_id}\ncorrect chain.factory in config.toml: it is the second part of an alliance ID"
            )
        try:
            token = address_bytes(await read_contract(client, FACTORY, config.factory, "token"))
            beacon = address_bytes(await read_contract(client, FACTORY, config.factory, "beacon"))
        except RpcError as error:
            if error.data is None:  # no revert: the endpoint's trouble
                raise
            raise ConfigError(
                f"the contract at {address_text(config.factory)} is no alliance factory\n"
                "correct chain.factory in config.toml: it is the second part of an alliance ID"
            ) from error
        terms = (client, account, config.chain_id, config.poll_interval_s)
        sender = Sender(*terms, fee_wei_max=config.fee_wei_max, note_mined=note_mined)
        yield Chain(config, client, sender, token, beacon)
    finally:
        with trio.CancelScope(shield=True):
            client.close()
