"""Sends transactions of one key: simulated first, nonce-safe, priced for Base, waited for, replaced when stuck.

Called by ``alliance_contract.py``, ``adapter.py`` and ``devnet.py``. A transaction that the contract would refuse
(somebody else sealed first) never leaves: its simulation names the contract's error and costs nothing. Every endpoint
gets it, and one that takes it is enough. Must never sign two different transactions with one nonce but to replace a
stuck one, never send a call again under another nonce, and never show the key.

What was mined is remembered for :data:`KEEP_BLOCKS`: a reorganisation may take it back, and then it is sent again, the
same bytes, by :meth:`Sender.look_after`. Nothing of this is kept on disk. A node that restarts with a transaction under
way finds it mined, and what it would send again is refused by the simulation; or finds it stuck in front of its next
one, and frees that nonce with a transfer of nothing to itself (:meth:`Sender._revive`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from p2p_flock.chain.account import Account, Transaction
from p2p_flock.chain.bidding import FEE_GWEI_MAX_DEFAULT, GWEI, Bid, choose_base_fee, first_bid, next_bid
from p2p_flock.chain.client import Call, Json, RpcClient, as_quantity, block_head, raised_or_value
from p2p_flock.chain.contracts import address_text
from p2p_flock.chain.records import ChainUpdate, TransactionReceipt
from p2p_flock.chain.sent import (
    Prepared,
    Sent,
    explain_refusal,
    find_receipt,
    get_answering,
    is_about_nonce,
    is_known,
    is_underpriced,
    sort_simulations,
)
from p2p_flock.errors import ChainError, EndpointsDisagreeError, RpcError, TransactionFailedError

logger = logging.getLogger(__name__)

GAS_PER_TRANSACTION_MAX = 1 << 24  # EIP-7825, the Osaka rules that Base follows
GAS_PER_TRANSFER = 21_000
REPLACE_AFTER_S = 15.0  # several blocks of any chain in question
REPLACEMENTS_MAX = 3  # then the caller hears of it, after a minute
NONCE_ATTEMPTS_MAX = 4
BLOCKERS_MAX = 16  # nonces of unknown transactions in front of ours that are freed at once
KEEP_BLOCKS = 64  # as deep as the archive thinks a block is safe
KEPT_MAX = 64  # transactions remembered; a member sends a few a round
RESENDS_MAX = 8  # of a transaction that reorganisations took back; then its sender has to see to it


class Sender:
    """One per key and process. Transactions of one key from several tasks queue for their nonce only."""

    def __init__(
        self,
        client: RpcClient,
        account: Account,
        chain_id: int,
        poll_interval_s: float,
        replace_after_s: float = REPLACE_AFTER_S,
        fee_wei_max: int = FEE_GWEI_MAX_DEFAULT * GWEI,
        note_mined: Callable[[TransactionReceipt], None] | None = None,
    ) -> None:
        """``fee_wei_max``: what a unit of gas may cost at most, tip included; the operator's bound. ``note_mined`` gets
        each transaction's receipt once, whether or not it failed."""
        self._client, self._account, self._chain_id = client, account, chain_id
        self._poll_interval_s, self._replace_after_s = poll_interval_s, replace_after_s
        self._fee_wei_max, self._on_mined = fee_wei_max, note_mined
        self._lock = trio.Lock()
        self._nonce_next: int | None = None
        self._in_flight = 0  # transactions sent and not yet mined
        self._sent: dict[int, Sent] = {}  # by nonce
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
            EndpointsDisagreeError: about the account's nonce or the receipt.
            ChainError: the endpoint failed, the account lacks ETH, the base fee is above the operator's bound, another
                program used the nonce, or no block took it within the bounds.
        """
        prepared = await self._prepare(action, to, data, value_wei, gas_headroom)
        sent = await self._submit(prepared)
        try:
            receipt = await self._wait(sent)
        except BaseException:  # a cancelled wait too: what nobody waits for is not looked after
            self._sent.pop(sent.nonce, None)
            raise
        finally:
            self._in_flight -= 1
        if self._on_mined is not None:
            self._on_mined(receipt)
        if receipt.status != 1:
            raise await self._explain(prepared, receipt)
        logger.info("%s: transaction 0x%s in block %d", action, receipt.hash.hex(), receipt.block)
        return receipt

    # --- before it leaves ----------------------------------------------------------------------------------------

    async def _prepare(
        self, action: str, to: bytes | None, data: bytes, value_wei: int, gas_headroom: int, block: str = "latest"
    ) -> Prepared:
        """Simulate at every endpoint. What one would take and the other refuses is asked again while one may lag; then
        it is sent, for a liar could otherwise keep a node silent, and a refusal costs little."""
        call: dict[str, Json] = {"from": address_text(self.address), "data": "0x" + data.hex(), "value": hex(value_wei)}
        if to is not None:
            call["to"] = address_text(to)
        calls = (Call("eth_estimateGas", (call, block)), Call("eth_getBlockByNumber", ("latest", False)))
        gives_up_at = trio.current_time() + self._client.lag_s_max
        while True:
            estimates, fees_wei, refusals, failures = sort_simulations(await self._client.batch_each(calls))
            if not (estimates and refusals) or trio.current_time() > gives_up_at:
                break
            await trio.sleep(2 * self._poll_interval_s)
        if not estimates:
            raise explain_refusal(action, refusals[0]) if refusals else failures[0]
        if refusals:
            logger.error("one RPC endpoint refuses %s (%s), the other takes it: sent all the same", action, refusals[0])
        base_fee_wei = choose_base_fee(fees_wei, self._fee_wei_max)
        if max(fees_wei) > self._fee_wei_max:
            logger.error(
                "an RPC endpoint reports a base fee of %d wei; the other's, %d, is used", max(fees_wei), base_fee_wei
            )
        gas = min(max(estimates) * 5 // 4 + gas_headroom, GAS_PER_TRANSACTION_MAX)
        return Prepared(action, to, data, value_wei, gas, gas_headroom, base_fee_wei)

    async def _submit(self, prepared: Prepared) -> Sent:
        """Take the next nonce and broadcast.

        The counter goes on only while transactions are under way; else, and after any doubt, it starts anew from the
        chain: a reorg may have taken transactions back, another program may have sent some.
        """
        bid = first_bid(prepared.base_fee_wei, self._fee_wei_max)
        async with self._lock:
            for attempt in range(NONCE_ATTEMPTS_MAX):
                await trio.sleep(attempt * self._poll_interval_s)
                if self._nonce_next is None or self._in_flight == 0:
                    self._nonce_next, was_lost = await self._free_nonce()
                    if was_lost:  # what is sent again may have done already what is asked for now
                        prepared = await self._prepare_again(prepared)
                nonce, self._nonce_next = self._nonce_next, None  # forgotten unless the send succeeds
                sent = Sent(prepared, nonce, bid)
                try:
                    await self._broadcast(sent, bid)
                except RpcError as error:
                    if is_underpriced(error):
                        bid = next_bid(bid, prepared.base_fee_wei, self._fee_wei_max) or bid
                    elif not is_about_nonce(error):
                        raise explain_refusal(prepared.action, error) from error
                else:
                    self._nonce_next = nonce + 1
                    self._in_flight += 1
                    self._remember(sent)
                    return sent
        raise ChainError(
            f"{prepared.action}: the account's nonce is contended, or the fee too low. Is another program sending with "
            "this key? Stop it."
        )

    async def _prepare_again(self, prepared: Prepared) -> Prepared:
        call = (prepared.action, prepared.to, prepared.data, prepared.value_wei)
        return await self._prepare(*call, prepared.gas_headroom, "pending")

    async def _free_nonce(self) -> tuple[int, bool]:
        """The account's next nonce. Where it belongs to a transaction that a reorganisation took back, that one is
        sent again first: another in its place would lose it. Whether that was so."""
        gives_up_at = trio.current_time() + self._client.lag_s_max
        while True:
            each = await self._client.batch_each((Call("eth_getTransactionCount", (self._name, "pending")),))
            counts = {as_quantity(raised_or_value(answers[0])) for answers in get_answering(each)}
            if len(counts) == 1:
                break
            if trio.current_time() > gives_up_at:
                raise EndpointsDisagreeError(
                    f"the RPC endpoints give different nonces for {self._name}: {sorted(counts)}. One of them is wrong "
                    "or on a fork: replace it in the configuration (chain.rpc_urls)."
                )
            await trio.sleep(2 * self._poll_interval_s)
        nonce = counts.pop()
        was_lost = False
        while (lost := self._sent.get(nonce)) is not None:
            if not any(await self._receipts(lost)):  # else the endpoint's count lags behind
                if not await self._resend(lost):
                    del self._sent[nonce]
                    break
                was_lost = True
            nonce += 1
        return nonce, was_lost

    async def _broadcast(self, sent: Sent, bid: Bid) -> None:
        """Sign with this bid and send to every endpoint; :class:`RpcError` where none takes it."""
        prepared = sent.prepared
        transaction = Transaction(
            chain_id=self._chain_id,
            nonce=sent.nonce,
            tip_wei=bid.tip_wei,
            fee_wei_max=bid.fee_wei_max,
            gas=prepared.gas,
            to=prepared.to,
            value_wei=prepared.value_wei,
            data=prepared.data,
        )
        version = self._account.sign_transaction(transaction)
        if version not in sent.versions:
            sent.versions.append(version)
        sent.bid = bid
        await self._spread(version[0])

    async def _spread(self, raw: bytes) -> None:
        """Send signed bytes to every endpoint. One that takes them, or has them already, is enough."""
        each = await self._client.batch_each((Call("eth_sendRawTransaction", ("0x" + raw.hex(),)),))
        problems = [a if isinstance(a, ChainError) else a[0] for a in each]
        errors = [e for e in problems if isinstance(e, ChainError) and not (isinstance(e, RpcError) and is_known(e))]
        if len(errors) < len(each):
            for error in errors:
                logger.warning("an RPC endpoint did not take a transaction that the other took: %s", error)
            return
        raise next((error for error in errors if isinstance(error, RpcError)), errors[0])

    # --- until it is mined ---------------------------------------------------------------------------------------

    async def _wait(self, sent: Sent) -> TransactionReceipt:
        trouble = ""
        for attempt in range(1, REPLACEMENTS_MAX + 2):
            with trio.move_on_after(self._replace_after_s):
                return await self._mined(sent)
            if attempt > REPLACEMENTS_MAX:
                break
            try:
                is_superseded = await self._revive(sent, attempt)
            except ChainError as error:
                trouble = f" Meanwhile: {error}"  # it is waited for all the same: what was sent may be mined
                continue
            if is_superseded:
                self._nonce_next = None
                raise ChainError(
                    f"{sent.prepared.action}: another transaction of this account took the place of ours (nonce "
                    f"{sent.nonce}). Is another program sending with this key? Stop it, and try again."
                )
        self._nonce_next = None
        raise ChainError(
            f"{sent.prepared.action}: no block took the transaction 0x{sent.versions[-1][1].hex()} within "
            f"{self._replace_after_s * (REPLACEMENTS_MAX + 1):.0f} s.{trouble} "
            "Check the chain's state, the account's ETH and chain.fee_gwei_max."
        )

    async def _mined(self, sent: Sent) -> TransactionReceipt:
        """Poll until every endpoint that answers shows the same receipt."""
        doubtful_since: float | None = None
        while True:
            receipts = await self._receipts(sent)
            if receipts and len(set(receipts)) == 1 and receipts[0] is not None:
                self._note_mined(sent, receipts[0].block)
                return receipts[0]
            if not any(receipts):
                doubtful_since = None
            elif doubtful_since is None:
                doubtful_since = trio.current_time()
            elif trio.current_time() - doubtful_since > self._client.lag_s_max:
                raise EndpointsDisagreeError(
                    f"the RPC endpoints show different receipts for {sent.prepared.action}, transaction "
                    f"0x{sent.versions[-1][1].hex()}. One of them is wrong or on a fork: replace it (chain.rpc_urls)."
                )
            await trio.sleep(self._poll_interval_s)

    async def _receipts(self, sent: Sent) -> list[TransactionReceipt | None]:
        """The receipt of whichever version was mined, as each endpoint that answers in form shows it."""
        calls = [Call("eth_getTransactionReceipt", ("0x" + digest.hex(),)) for _, digest in sent.versions]
        receipts: list[TransactionReceipt | None] = []
        for answers in await self._client.batch_each(calls):
            if isinstance(answers, ChainError):
                continue
            try:
                receipts.append(find_receipt(sent, answers))
            except ChainError as error:
                logger.warning("%s", error)
        return receipts

    async def _revive(self, sent: Sent, attempt: int) -> bool:
        """Do something about a transaction that no block took: what depends on why.

        Lost by the endpoints: the same bytes again. Behind others of this key: see :meth:`_unblock`. Too cheap: a
        higher bid. True where another program's transaction took its nonce: then nothing is sent again.
        """
        _, digest = sent.versions[-1]
        calls = (
            Call("eth_getTransactionCount", (self._name, "latest")),
            Call("eth_getTransactionCount", (self._name, "pending")),
            Call("eth_getBlockByNumber", ("latest", False)),
            Call("eth_getTransactionByHash", ("0x" + digest.hex(),)),
        )
        each = [
            [raised_or_value(a) for a in answers] for answers in get_answering(await self._client.batch_each(calls))
        ]
        mined_count = min(as_quantity(answers[0]) for answers in each)
        if mined_count > sent.nonce:
            await trio.sleep(self._poll_interval_s)
            return not any(await self._receipts(sent))  # else mined just now; the next look finds it
        base_fee_wei = choose_base_fee([block_head(answers[2]).base_fee_wei for answers in each], self._fee_wei_max)
        if mined_count < sent.nonce:
            is_gap = max(as_quantity(answers[1]) for answers in each) <= mined_count
            if is_gap or attempt > 1:
                await self._unblock(range(mined_count, sent.nonce), base_fee_wei)
            await self._spread(sent.versions[-1][0])
            return False
        is_lost = attempt == 1 and any(answers[3] is None for answers in each)
        bid = None if is_lost else next_bid(sent.bid, base_fee_wei, self._fee_wei_max)
        if bid is None:
            await self._spread(sent.versions[-1][0])
        else:
            await self._broadcast(sent, bid)
        return False

    async def _unblock(self, nonces: range, base_fee_wei: int) -> None:
        """Free the nonces in front of ours: our own ones are sent again. An unknown one, left by this node before it
        was restarted, is replaced with a transfer of nothing to ourselves; what it did is done again where needed."""
        for nonce in nonces[:BLOCKERS_MAX]:
            known = self._sent.get(nonce)
            if known is not None:
                await self._resend(known)
                continue
            prepared = Prepared("freeing a nonce", self.address, b"", 0, GAS_PER_TRANSFER, 0, base_fee_wei)
            bid = first_bid(base_fee_wei, self._fee_wei_max)
            while (higher := next_bid(bid, base_fee_wei, self._fee_wei_max)) is not None:
                bid = higher
                try:
                    await self._broadcast(Sent(prepared, nonce, bid), bid)
                except RpcError as error:
                    if not is_about_nonce(error) and not is_underpriced(error):
                        raise
                    if "too low" in error.message.lower():
                        break  # mined meanwhile
                else:
                    logger.warning("freed the nonce %d of a transaction that was stuck in front of ours", nonce)
                    break

    async def _explain(self, prepared: Prepared, receipt: TransactionReceipt) -> TransactionFailedError:
        """Why a mined transaction reverted: it is simulated again, now that the winner of the race is in the state."""
        if receipt.gas_used >= prepared.gas:
            return TransactionFailedError(prepared.action, "OutOfGas")
        try:
            await self._prepare(prepared.action, prepared.to, prepared.data, prepared.value_wei, 0)
        except TransactionFailedError as error:
            return error
        return TransactionFailedError(prepared.action, "Reverted")

    # --- after it was mined --------------------------------------------------------------------------------------

    async def look_after(self, update: ChainUpdate) -> None:
        """See whether what was mined still is, and send again what a reorganisation took back.

        Called with each new block that somebody follows. Each receipt is looked at with the 1st, 2nd, 4th … block on
        top of it up to the 64th, and all of them after a rewind; sent again at most :data:`RESENDS_MAX` times.
        """
        rewound = update.rewound_to is not None
        due = [s for s in self._sent.values() if s.mined_block is not None and (rewound or update.block >= s.check_at)]
        for sent in due:
            receipts = await self._receipts(sent)
            found = next((receipt for receipt in receipts if receipt is not None), None)
            if found is not None and found.status != 1 and sent.resends:
                # In its new place it was too early or too late. The machines see the chain's state and act on that.
                sent.context.run(
                    logger.warning, "%s: sent again after a reorganisation, it was refused", sent.prepared.action
                )
                self._sent.pop(sent.nonce, None)
            elif found is not None:
                self._note_mined(sent, found.block, update.block)
            elif receipts:
                await self._look_after_lost(sent, update.block)

    async def _look_after_lost(self, sent: Sent, newest_block: int) -> None:
        sent.resends += 1
        sent.check_at = newest_block + 1
        if sent.resends > RESENDS_MAX:
            sent.context.run(
                logger.error,
                "%s: a reorganisation took the transaction back, and no block takes it",
                sent.prepared.action,
            )
            self._sent.pop(sent.nonce, None)
            return
        sent.context.run(
            logger.warning, "%s: a reorganisation took the transaction back; it is sent again", sent.prepared.action
        )
        async with self._lock:
            await self._resend(sent)

    async def _resend(self, sent: Sent) -> bool:
        """The same bytes once more; whether the nonce is taken now. Given up where another transaction took it."""
        try:
            await self._spread(sent.versions[-1][0])
        except ChainError as error:
            if not isinstance(error, RpcError) or "nonce too low" not in error.message.lower():
                sent.context.run(logger.warning, "%s: not sent again: %s", sent.prepared.action, error)
                return False
            if not any(await self._receipts(sent)):
                self._sent.pop(sent.nonce, None)
        return True

    def _note_mined(self, sent: Sent, block: int, newest_block: int | None = None) -> None:
        """Look again when twice as many blocks lie on top; forget what is deep."""
        depth = max(0, (newest_block or block) - block)
        sent.mined_block, sent.check_at = block, block + max(1, 2 * depth)
        if depth >= KEEP_BLOCKS:
            self._sent.pop(sent.nonce, None)

    def _remember(self, sent: Sent) -> None:
        self._sent[sent.nonce] = sent
        mined = [nonce for nonce, other in self._sent.items() if other.mined_block is not None]
        for nonce in mined[: max(0, len(self._sent) - KEPT_MAX)]:
            del self._sent[nonce]

    @property
    def _name(self) -> str:
        return address_text(self.address)
