"""Accounts and their transactions against eth-account, which is not used outside the tests."""

from __future__ import annotations

from eth_account import Account as EthAccount
from hypothesis import given
from hypothesis import strategies as st

from p2p_flock.chain.account import Account, Transaction, encode_rlp

KEY = bytes(range(1, 33))
WEI = st.integers(0, 2**96)


@given(
    nonce=st.integers(0, 2**40),
    tip_wei=WEI,
    fee_wei_max=WEI,
    gas=st.integers(21_000, 1 << 24),
    to=st.none() | st.binary(min_size=20, max_size=20),
    value_wei=WEI,
    data=st.binary(max_size=70) | st.binary(min_size=250, max_size=300),
)
def test_transaction__is_what_eth_account_signs(
    nonce: int, tip_wei: int, fee_wei_max: int, gas: int, to: bytes | None, value_wei: int, data: bytes
) -> None:
    """A transaction that is encoded otherwise moves another amount, or is refused by every node of the chain."""
    transaction = Transaction(84530, nonce, tip_wei, fee_wei_max, gas, to, value_wei, data)
    fields = {
        **{"type": 2, "chainId": 84530, "nonce": nonce, "gas": gas, "value": value_wei, "data": data},
        **{"maxPriorityFeePerGas": tip_wei, "maxFeePerGas": fee_wei_max},
    }
    theirs = EthAccount.from_key(KEY).sign_transaction(fields if to is None else {**fields, "to": to})  # type: ignore[arg-type]
    raw, digest = Account.from_key(KEY).sign_transaction(transaction)
    assert raw == bytes(theirs.raw_transaction)
    assert digest == bytes(theirs.hash)


@given(key=st.binary(min_size=32, max_size=32).filter(lambda key: 0 < int.from_bytes(key, "big") < 2**255))
def test_address__is_that_of_eth_account(key: bytes) -> None:
    """Stakes would go to an account whose key nobody has."""
    assert Account.from_key(key).address == EthAccount.from_key(key).address.lower()


def test_account__shows_no_key() -> None:
    """A log line with an account in it would give the stake away."""
    assert KEY.hex() not in repr(Account.from_key(KEY))
    assert repr(KEY)[2:-1] not in repr(Account.from_key(KEY))


def test_rlp__of_the_yellow_papers_examples() -> None:
    """The prefix changes its form at 56 bytes and for single small bytes."""
    assert encode_rlp(b"dog") == b"\x83dog"
    assert encode_rlp([b"cat", b"dog"]) == b"\xc8\x83cat\x83dog"
    assert (encode_rlp(b""), encode_rlp([]), encode_rlp(b"\x0f")) == (b"\x80", b"\xc0", b"\x0f")
    assert encode_rlp(b"\x80") == b"\x81\x80"
    assert encode_rlp([[], [[]], [[], [[]]]]) == bytes.fromhex("c7c0c1c0c3c0c1c0")
    assert encode_rlp(bytes(56))[:2] == b"\xb8\x38"
