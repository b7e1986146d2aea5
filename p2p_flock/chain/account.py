"""An EVM account: a secp256k1 key, its address, and EIP-1559 transactions signed with it.

Called by the rest of ``chain/``, the CLI and the daemon. Written here, on ``crypto/signing.py``, because eth-account
imports a second of other things (py_ecc among them, which raises the process's recursion limit); the tests compare
every form of transaction with eth-account. Must never show the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from p2p_flock.crypto.signing import address_of, sign
from p2p_flock.crypto.suite import keccak256

DYNAMIC_FEE_TYPE = b"\x02"  # EIP-2718 type of EIP-1559 transactions
RlpItem = bytes | Sequence["RlpItem"]


@dataclass(frozen=True, slots=True)
class Account:
    """A key and its address.

    Attributes:
        key: 32 bytes, secret.
        address: ``0x`` and 40 lower-case hex digits.
    """

    key: bytes = field(repr=False)
    address: str

    @classmethod
    def from_key(cls, key: bytes) -> Account:
        """The account of a 32-byte secret key.

        Raises:
            CryptoError: the bytes are no secp256k1 secret.
        """
        return cls(key, "0x" + address_of(key).hex())

    def sign_transaction(self, transaction: Transaction) -> tuple[bytes, bytes]:
        """The signed transaction as ``eth_sendRawTransaction`` takes it, and its hash."""
        fields = transaction.fields()
        signature = sign(self.key, keccak256(DYNAMIC_FEE_TYPE + encode_rlp(fields)))
        # EIP-1559: y parity, then r and s as numbers.
        numbers = (signature[64] - 27, int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"))
        raw = DYNAMIC_FEE_TYPE + encode_rlp([*fields, *map(_number, numbers)])
        return raw, keccak256(raw)


@dataclass(frozen=True, slots=True)
class Transaction:
    """An EIP-1559 transaction without an access list; money in wei, ``to`` 20 bytes or ``None`` for a creation."""

    chain_id: int
    nonce: int
    tip_wei: int
    fee_wei_max: int
    gas: int
    to: bytes | None
    value_wei: int
    data: bytes

    def fields(self) -> list[RlpItem]:
        """What is signed, in EIP-1559's order."""
        numbers = (self.chain_id, self.nonce, self.tip_wei, self.fee_wei_max, self.gas)
        return [*map(_number, numbers), self.to or b"", _number(self.value_wei), self.data, []]


def _number(value: int) -> bytes:
    """RLP's form of a number: big-endian without leading zeros, zero as no bytes."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def encode_rlp(item: RlpItem) -> bytes:
    """Recursive length prefix (Ethereum yellow paper, appendix B)."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return _rlp_prefix(0x80, len(item)) + item
    body = b"".join(encode_rlp(part) for part in item)
    return _rlp_prefix(0xC0, len(body)) + body


def _rlp_prefix(base: int, length: int) -> bytes:
    if length < 56:
        return bytes([base + length])
    size = _number(length)
    return bytes([base + 55 + len(size)]) + size
