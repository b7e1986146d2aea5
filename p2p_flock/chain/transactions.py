"""Sends transactions of one key: simulated first, nonce-safe, priced for Base, waited for, replaced when stuck.

Called by ``alliance_contract.py``, ``adapter.py`` and ``devnet.py``. A transaction that the contract would refuse
(somebody else sealed first) never leaves: its simulation names the contract's error and costs nothing. Must never sign
two different transactions with one nonce but to replace a stuck one, and never show the key.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from p2p_flock.chain.account import Account, Transaction
from p2p_flock.chain.client import (
    BlockHead,
    Call,
    Json,
    RpcClient,
    as_bytes,
    as_object,
    as_quantity,
    block_head,
    raised_or_value,
)
from p2p_flock.chain.contracts import address_text, decode_revert
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.errors import ChainError, RpcError, TransactionFailedError

TIP_WEI = 1_000_000  # Base's sequencer takes what exceeds the base fee; web3.py's floor of 1 gwei is 200 base fees
BASE_FEE_FACTOR = 4  # the base fee grows at most 12.5 % a block: enough for twelve full blocks in a row
GAS_PER_TRANSACTION_MAX = 1 << 24  # EIP-7825, the Osaka rules that Base follows
REPLACE_AFTER_S = 15.0  # several blocks of any chain in question
REPLACEMENTS_MAX = 3  # then the caller hears of it, after a minute
NONCE_ATTEMPTS_MAX = 4

REMEDIES = {
    "ERC20InsufficientBalance": "The account holds too little FLOCK; fund it and try again.",
    "ERC20InsufficientAllowance": "The approval of FLOCK is missing; run the command again.",
    "WrongParameters": "The alliance's parameters are not those shown; look at them again before you join.",
    "StakeAboveMaximumLoss": "The stake exceeds the maximum loss you accept; raise it or stay out.",
    "AlreadySeated": "This account has a seat already; use another account for another seat.",
    "NoSeatFree": "All seats are taken; wait for one to be freed or choose another alliance.",
    "Unbonding": "The stake is still unbonding; try again later.",
    "StillSeated": "Leave the alliance first, and wait for the round to end.",
    "NothingToClaim": "There is no reward to claim.",
}


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A simulated transaction, ready for a nonce."""

    action: str
    to: bytes | None
    data: bytes
    value_wei: int
    gas: int
    head: BlockHead


class Sender:
    """One per key and process. Transactions of one key from several tasks queue for their nonce only."""

    def __init__(
        self,
        client: RpcClient,
        account: Account,
        chain_id: int,
        poll_interval_s: float,
        replace_after_s: float = REPLACE_AFTER_S,
    ) -> None:
        self._client, self._account, self._chain_id = client, account, chain_id
        self._poll_interval_s, self._replace_after_s = poll_interval_s, replace_after_s
        self._lock = trio.Lock()
        self._nonce_next: int | None = None
        self._in_flight = 0  # transactions sent and not yet mined
        self.address = bytes.fromhex(account.address.removeprefix("0x"))

    def __repr__(self) -> str:
        return f"Sender(0x{self.address.hex()})"

    async def send(
        self, action: str, to: bytes | None, data: bytes, *, value_wei: int = 0, gas_headroom: int = 100_000
    ) -> TransactionReceipt:
        """Simulate, sign, send and wait until mined.

        Args:
            action: what an error message calls it ("sealing round 3").
            to: contract or account, 20 bytes; ``None`` creates a contract.
            gas_headroom: added to the estimate, for calls whose path depends on the block they land in.

        Raises:
            TransactionFailedError: the contract refuses it (nothing was spent), or did when it was mined.
            ChainError: the endpoint failed, the account lacks ETH, or no block took it within the bounds.
        """
        prepared = await self._prepare(action, to, data, value_wei, gas_headroom)
        nonce, transaction = await self._submit(prepared)
        try:
            return await self._wait(prepared, nonce, transaction)
        finally:
            self._in_flight -= 1

    async def _prepare(
        self, action: str, to: bytes | None, data: bytes, value_wei: int, gas_headroom: int
    ) -> _Prepared:
        call: dict[str, Json] = {"from": address_text(self.address), "data": "0x" + data.hex(), "value": hex(value_wei)}
        if to is not None:
            call["to"] = address_text(to)
        estimate, head = await self._client.batch(
            (Call("eth_estimateGas", (call,)), Call("eth_getBlockByNumber", ("latest", False)))
        )
        if isinstance(estimate, RpcError):
            raise _refusal(action, estimate) from estimate
        gas = min(as_quantity(estimate) * 5 // 4 + gas_headroom, GAS_PER_TRANSACTION_MAX)
        return _Prepared(action, to, data, value_wei, gas, block_head(raised_or_value(head)))

    async def _submit(self, prepared: _Prepared) -> tuple[int, bytes]:
        """Take the next nonce and broadcast.

        The counter goes on only while transactions are under way; else, and after any doubt, it starts anew from the
        chain: a reorg may have taken transactions back, another program may have sent some.
        """
        async with self._lock:
            for attempt in range(NONCE_ATTEMPTS_MAX):
                await trio.sleep(attempt * self._poll_interval_s)
                if self._nonce_next is None or self._in_flight == 0:
                    self._nonce_next = await self._nonce("pending")
                nonce, self._nonce_next = self._nonce_next, None  # forgotten unless the send succeeds
                try:
                    transaction = await self._broadcast(prepared, nonce, 0)
                except RpcError as error:
                    if not _is_about_nonce(error):
                        raise _refusal(prepared.action, error) from error
                else:
                    self._nonce_next = nonce + 1
                    self._in_flight += 1
                    return nonce, transaction
        raise ChainError(
            f"{prepared.action}: the account's nonce is contended. Is another program sending with this key? Stop it."
        )

    async def _broadcast(self, prepared: _Prepared, nonce: int, replacement: int) -> bytes:
        """Sign and send; ``replacement`` counts the bumps of a stuck transaction (nodes ask for 10 % at least)."""
        base_fee_wei, tip_wei = prepared.head.base_fee_wei, TIP_WEI << replacement
        transaction = Transaction(
            chain_id=self._chain_id,
            nonce=nonce,
            tip_wei=tip_wei,
            fee_wei_max=(BASE_FEE_FACTOR * base_fee_wei << replacement) + tip_wei,
            gas=prepared.gas,
            to=prepared.to,
            value_wei=prepared.value_wei,
            data=prepared.data,
        )
        raw, digest = self._account.sign_transaction(transaction)
        try:
            await self._client.call("eth_sendRawTransaction", "0x" + raw.hex())
        except RpcError as error:
            # A retry after a lost answer finds our own transaction there: that is success.
            if not _is_known(error):
                raise
        return digest

    async def _wait(self, prepared: _Prepared, nonce: int, transaction: bytes) -> TransactionReceipt:
        transactions = [transaction]
        for replacement in range(1, REPLACEMENTS_MAX + 2):
            with trio.move_on_after(self._replace_after_s):
                while (receipt := await self._receipt(transactions)) is None:
                    await trio.sleep(self._poll_interval_s)
            if receipt is not None:
                if receipt.status != 1:
                    raise await self._explain(prepared, receipt)
                return receipt
            if replacement <= REPLACEMENTS_MAX:
                try:
                    transactions.append(await self._broadcast(prepared, nonce, replacement))
                except RpcError as error:
                    if not _is_about_nonce(error):  # "nonce too low": mined just now, the receipt follows
                        raise
        self._nonce_next = None
        raise ChainError(
            f"{prepared.action}: no block took the transaction 0x{transaction.hex()} within "
            f"{self._replace_after_s * (REPLACEMENTS_MAX + 1):.0f} s. Check the chain's state and the account's ETH."
        )

    async def _receipt(self, transactions: list[bytes]) -> TransactionReceipt | None:
        answers = await self._client.batch([Call("eth_getTransactionReceipt", ("0x" + t.hex(),)) for t in transactions])
        for transaction, answer in zip(transactions, answers, strict=True):
            if answer is not None and not isinstance(answer, RpcError):
                return parse_receipt(transaction, answer)
        return None

    async def _explain(self, prepared: _Prepared, receipt: TransactionReceipt) -> TransactionFailedError:
        """Why a mined transaction reverted: it is simulated again, now that the winner of the race is in the state."""
        if receipt.gas_used >= prepared.gas:
            return TransactionFailedError(prepared.action, "OutOfGas")
        try:
            await self._prepare(prepared.action, prepared.to, prepared.data, prepared.value_wei, 0)
        except TransactionFailedError as error:
            return error
        return TransactionFailedError(prepared.action, "Reverted")

    async def _nonce(self, block: str) -> int:
        return as_quantity(await self._client.call("eth_getTransactionCount", address_text(self.address), block))


def parse_receipt(transaction: bytes, answer: Json) -> TransactionReceipt:
    """The fields of a JSON-RPC receipt that this package uses.

    Raises:
        ChainError: malformed.
    """
    receipt = as_object(answer)
    contract = receipt.get("contractAddress")
    return TransactionReceipt(
        hash=transaction,
        gas_used=as_quantity(receipt.get("gasUsed")),
        block=as_quantity(receipt.get("blockNumber")),
        status=as_quantity(receipt.get("status")),
        gas_price_wei=as_quantity(receipt.get("effectiveGasPrice", "0x0")),
        contract=as_bytes(contract, 20) if contract is not None else None,
    )


def _is_known(error: RpcError) -> bool:
    text = error.message.lower()
    return "already imported" in text or "already known" in text


def _is_about_nonce(error: RpcError) -> bool:
    text = error.message.lower()
    return "nonce" in text or "underpriced" in text


def _refusal(action: str, error: RpcError) -> ChainError:
    """What an endpoint's refusal of a transaction means to the user."""
    if error.data is not None or error.code == 3:  # 3: "execution reverted" in every client
        reason, _ = decode_revert(error.data or b"")
        return TransactionFailedError(action, reason, REMEDIES.get(reason, ""))
    if "insufficient funds" in error.message.lower():
        return ChainError(f"{action}: the account holds too little ETH for the gas; send it some and try again.")
    return ChainError(f"{action}: {error}")
