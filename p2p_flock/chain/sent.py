"""What a sender knows of a transaction, and what endpoints' answers about it mean. Pure.

Called by ``transactions.py``. Endpoints say in prose why they do not take a transaction; the words that geth, op-geth,
reth and anvil use are told apart here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from p2p_flock.chain.bidding import Bid
from p2p_flock.chain.client import Answers, Json, as_bytes, as_object, as_quantity, block_head, raised_or_value
from p2p_flock.chain.contracts import decode_revert
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.errors import ChainError, RpcError, TransactionFailedError

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
class Prepared:
    """A simulated transaction, ready for a nonce."""

    action: str
    to: bytes | None
    data: bytes
    value_wei: int
    gas: int
    gas_headroom: int
    base_fee_wei: int


@dataclass(slots=True)
class Sent:
    """A transaction under way, or mined and not yet deep.

    Attributes:
        versions: (raw bytes, hash) of each version sent under this nonce; the last one bids most.
        mined_block: ``None`` while under way.
        check_at: block with which the receipt is looked at again; the distances double.
    """

    prepared: Prepared
    nonce: int
    bid: Bid
    versions: list[tuple[bytes, bytes]] = field(default_factory=list)
    mined_block: int | None = None
    check_at: int = 0
    resends: int = 0
    context: Context = field(default_factory=copy_context)  # of whoever sent it: what is logged of it names its round


def sort_simulations(
    each: Sequence[Answers | ChainError],
) -> tuple[list[int], list[int], list[RpcError], list[ChainError]]:
    """Estimates, base fees in wei, refusals by the contract or for want of ETH, and failures, of all endpoints."""
    estimates: list[int] = []
    fees_wei: list[int] = []
    refusals: list[RpcError] = []
    failures: list[ChainError] = []
    for answers in each:
        try:
            if isinstance(answers, ChainError):
                raise answers
            estimate, head = answers
            if isinstance(estimate, RpcError) and _is_refusal(estimate):
                refusals.append(estimate)
                continue
            gas, fee_wei = as_quantity(raised_or_value(estimate)), block_head(raised_or_value(head)).base_fee_wei
        except ChainError as error:
            failures.append(error)
        else:
            estimates.append(gas)
            fees_wei.append(fee_wei)
    return estimates, fees_wei, refusals, failures


def get_answering(each: Sequence[Answers | ChainError]) -> list[list[Json | RpcError]]:
    """The answers of those endpoints that gave any.

    Raises:
        ChainError: none did.
    """
    answering = [answers for answers in each if not isinstance(answers, ChainError)]
    if not answering:
        raise next(answers for answers in each if isinstance(answers, ChainError))
    return answering


def find_receipt(sent: Sent, answers: Sequence[Json | RpcError]) -> TransactionReceipt | None:
    for (_, digest), answer in zip(sent.versions, answers, strict=True):
        if answer is not None and not isinstance(answer, RpcError):
            return parse_receipt(digest, answer)
    return None


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
        l1_fee_wei=as_quantity(receipt.get("l1Fee") or "0x0"),
    )


def is_known(error: RpcError) -> bool:
    text = error.message.lower()
    return "already imported" in text or "already known" in text


def is_about_nonce(error: RpcError) -> bool:
    """The nonce is used already, or another transaction waits under it and pays as much."""
    text = error.message.lower()
    return "nonce" in text or "replacement" in text


def is_underpriced(error: RpcError) -> bool:
    """The bid is below what the endpoint's pool or the next block asks for."""
    text = error.message.lower()
    return ("underpriced" in text and "replacement" not in text) or "less than block base fee" in text


def _is_refusal(error: RpcError) -> bool:
    # 3: "execution reverted" in every client
    return error.data is not None or error.code == 3 or "insufficient funds" in error.message.lower()


def explain_refusal(action: str, error: RpcError) -> ChainError:
    """What an endpoint's refusal of a transaction means to the user."""
    if error.data is not None or error.code == 3:
        reason, _ = decode_revert(error.data or b"")
        return TransactionFailedError(action, reason, REMEDIES.get(reason, ""))
    if "insufficient funds" in error.message.lower():
        return ChainError(f"{action}: the account holds too little ETH for the gas; send it some and try again.")
    return ChainError(f"{action}: {error}")
