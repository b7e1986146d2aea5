"""The fee formula of Base against other implementations: op-geth's published answers, and anvil's OP mode (op-revm)."""

from __future__ import annotations

import random
from contextlib import closing

import pytest

from p2p_flock.chain.account import Account, Transaction
from p2p_flock.chain.anvil import FAUCET_KEY, ask, open_anvil
from p2p_flock.chain.client import as_quantity
from p2p_flock.chain.fees import BaseFees, compute_fastlz_length, compute_l1_fee_wei
from p2p_flock.chain.http import HttpEndpoint

L1_BLOCK = "0x4200000000000000000000000000000000000015"
EMPTY_TRANSACTION = bytes.fromhex("dd80808094095e7baea6a6c7c4c2dfeb977efac326af552d878080808080")
# A contract call on Base, as op-geth's tests have it.
CONTRACT_CALL = bytes.fromhex(
    "02f901550a758302df1483be21b88304743f94f80e51afb613d764fa61751affd3313c190a86bb870151bd62fd12adb8"
    "e41ef24f3f000000000000000000000000000000000000000000000000000000000000006e00000000000000000000000"
    "0af88d065e77c8cc2239327c5edb3a432268e583100000000000000000000000000000000000000000000000000000000"
    "0003c1e500000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000a0000000000000000000000000000000000"
    "00000000000000000000000000000148c89ed219d02f1a5be012c689b4f5b731827bebe000000000000000000000000c0"
    "01a033fd89cb37c31b2cba46b6466e040c61fc9b2a3675a7f5f493ebd5ad77c497f8a07cdf65680e238392693019b409"
    "2f610222e71b7cec06449cb922b93b6a12744e"
)


@pytest.mark.parametrize(
    ("raw", "length"),
    [
        (b"", 0),
        (bytes.fromhex("facade"), 4),
        (bytes(1000), 21),
        (b"\x01" * 1000, 21),
        (EMPTY_TRANSACTION, 31),
        (CONTRACT_CALL, 202),
    ],
)
def test_fastlz_length__known_answers(raw: bytes, length: int) -> None:
    """Another count of bytes is another fee; these are op-geth's (core/types, TestFlzCompressLen)."""
    assert compute_fastlz_length(raw) == length


@pytest.mark.parametrize(
    ("raw", "prices", "fee_wei"),
    [
        (bytes.fromhex("facade"), (1_000, 1_000, 1_000, 1_000), 1_700),  # op-revm's
        (CONTRACT_CALL, (1_000, 1_000, 1_000, 1_000), 2_148),
        (EMPTY_TRANSACTION, (10**9, 10**7, 2, 3), 3_203_000),  # op-geth's
    ],
)
def test_l1_fee__known_answers(raw: bytes, prices: tuple[int, int, int, int], fee_wei: int) -> None:
    """A scalar on the wrong price would be off by a factor of five hundred."""
    assert compute_l1_fee_wei(raw, *prices) == fee_wei
    l1_base_fee, blob_base_fee, base_scalar, blob_scalar = prices
    fees = BaseFees(5_000_000, 1_000_000, l1_base_fee, blob_base_fee, base_scalar, blob_scalar)
    assert fees.l1_fee_wei(raw) == fee_wei
    assert fees.cost_wei(21_000, raw) == 21_000 * 6_000_000 + fee_wei


def sample_data(case: int) -> bytes:
    """Bytes that compress differently: random, few values, repeated far apart, zeros with a few bytes between."""
    draw = random.Random(case)
    length = draw.choice([0, 1, 33, 300, 2_000, 6_400])
    match case % 4:
        case 0:
            return draw.randbytes(length)
        case 1:
            return bytes(draw.choices((0, 0, 0, 7, 9), k=length))
        case 2:
            return draw.randbytes(length // 2) * 2
        case _:
            return b"".join(bytes(28) + draw.randbytes(4) for _ in range(length // 32))


def test_cost__is_what_the_op_stack_takes() -> None:
    """The dry run would promise another price than the account is charged."""
    fees = BaseFees(l1_base_fee_wei=7 * 10**9, blob_base_fee_wei=3 * 10**9)
    account, receiver = Account.from_key(FAUCET_KEY), bytes(19) + b"\x99"
    arguments = ("--network", "optimism", "--chain-id", "8453", "--base-fee", "5000000", "--accounts", "1")
    with open_anvil(*arguments) as url, closing(HttpEndpoint(url, timeout_s=5.0, body_bytes_max=1 << 20)) as endpoint:

        def call(method: str, *params: object) -> object:
            answer = ask(endpoint, method, list(params))
            assert "result" in answer, answer
            return answer["result"]

        scalars = fees.base_fee_scalar << 96 | fees.blob_base_fee_scalar << 64
        slots = {1: fees.l1_base_fee_wei, 7: fees.blob_base_fee_wei, 3: scalars}
        for slot, value in slots.items():
            call("anvil_setStorageAt", L1_BLOCK, hex(slot), f"0x{value:064x}")
        for nonce in range(16):
            before = as_quantity(str(call("eth_getBalance", account.address, "latest")))
            transaction = Transaction(8453, nonce, fees.tip_wei, 10**9, 1_000_000, receiver, 0, sample_data(nonce))
            raw, digest = account.sign_transaction(transaction)
            call("eth_sendRawTransaction", "0x" + raw.hex())
            call("evm_mine")  # its block may not be there yet when the send returns
            receipt = call("eth_getTransactionReceipt", "0x" + digest.hex())
            assert isinstance(receipt, dict)
            paid = before - as_quantity(str(call("eth_getBalance", account.address, "latest")))
            gas_price = as_quantity(receipt["effectiveGasPrice"])
            priced = BaseFees(gas_price - fees.tip_wei, fees.tip_wei, fees.l1_base_fee_wei, fees.blob_base_fee_wei)
            assert paid == priced.cost_wei(as_quantity(receipt["gasUsed"]), raw)
