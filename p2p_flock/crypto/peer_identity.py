"""libp2p peer IDs of Ed25519 keys, without libp2p: the contract, the commands and the core all need them.

Pure. Source: libp2p specs, "Peer Ids and Keys": the ID of a key whose protobuf has at most 42 bytes is the identity
multihash of that protobuf, as base58btc text. For Ed25519: ``00 24 | 08 01 12 20 | public key (32)``.
"""

from __future__ import annotations

from p2p_flock.errors import CryptoError

ED25519_PUBLIC_KEY_BYTES = 32
PEER_ID_CHARACTERS = 52  # 38 bytes that begin 00 24 08 01 12 20 always take as many, "12D3KooW…"
_PREFIX = bytes.fromhex("002408011220")
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS = {character: value for value, character in enumerate(_ALPHABET)}


def peer_id_of(ed25519_public_key: bytes) -> str:
    """The peer ID, 52 characters of base58, of a 32-byte Ed25519 public key.

    Raises:
        CryptoError: the key does not have 32 bytes.
    """
    if len(ed25519_public_key) != ED25519_PUBLIC_KEY_BYTES:
        raise CryptoError(f"an Ed25519 public key has 32 bytes, not {len(ed25519_public_key)}")
    return _base58(_PREFIX + ed25519_public_key)


def public_key_of(peer_id: str) -> bytes:
    """The 32-byte Ed25519 public key inside a peer ID; only the one text that :func:`peer_id_of` writes is taken.

    Raises:
        CryptoError: not the peer ID of an Ed25519 key in base58 (CIDv1 text and RSA keys are refused).
    """
    if len(peer_id) != PEER_ID_CHARACTERS:
        raise CryptoError(f"an Ed25519 peer ID has {PEER_ID_CHARACTERS} characters, not {len(peer_id)}")
    number = 0
    for character in peer_id:
        value = _DIGITS.get(character)
        if value is None:
            raise CryptoError(f"{character!r} does not occur in a peer ID")
        number = number * 58 + value
    size = len(_PREFIX) + ED25519_PUBLIC_KEY_BYTES
    if number.bit_length() > 8 * size:
        raise CryptoError("the peer ID is too large for an Ed25519 key")
    data = number.to_bytes(size, "big")
    if not data.startswith(_PREFIX) or _base58(data) != peer_id:
        raise CryptoError("the peer ID is not that of an Ed25519 key")
    return data[len(_PREFIX) :]


def _base58(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    digits: list[str] = []
    while number:
        number, remainder = divmod(number, 58)
        digits.append(_ALPHABET[remainder])
    zeros = len(data) - len(data.lstrip(b"\0"))  # each leading zero byte is one leading "1"
    return "1" * zeros + "".join(reversed(digits))
