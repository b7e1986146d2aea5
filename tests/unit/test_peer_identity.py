"""Peer IDs without libp2p: the same text, nothing else accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import Ed25519PublicKey
from libp2p.peer.id import ID

from p2p_flock.crypto.peer_identity import peer_id_of, public_key_of
from p2p_flock.errors import CryptoError

# libp2p specs, "Peer Ids and Keys", Ed25519 test vector: the last 32 bytes of the private key are the public key.
SPEC_PUBLIC_KEY = bytes.fromhex("1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e")
ZERO_KEY_ID = "12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiw"


def test_peer_id__same_as_libp2p() -> None:
    """The peer ID bound on chain would not be the one that libp2p authenticates."""
    for key in (SPEC_PUBLIC_KEY, bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")):
        assert peer_id_of(key) == ID.from_pubkey(Ed25519PublicKey.from_bytes(key)).to_base58()


@given(st.binary(min_size=32, max_size=32))
def test_peer_id__comes_back(key: bytes) -> None:
    """Some members could not be reached."""
    assert public_key_of(peer_id_of(key)) == key


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_peer_id__wrong_key_length_is_refused(size: int) -> None:
    """A private key could be published as a peer ID."""
    with pytest.raises(CryptoError):
        peer_id_of(bytes(size))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ZERO_KEY_ID[:-1],
        ZERO_KEY_ID + "1",
        " " + ZERO_KEY_ID[1:],
        "0" + ZERO_KEY_ID[1:],
        "l" + ZERO_KEY_ID[1:],
        "ü" + ZERO_KEY_ID[1:],
        "z" * 52,
        "1" * 52,
        "2" + ZERO_KEY_ID[1:],
        "12D3KooX" + ZERO_KEY_ID[8:],
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "bafzaajaiaejca2m5ldkg5h2dkwnr6cxvmuzkqdf5qehoakhzgxx4ix2vzbeh6dq",
    ],
)
def test_peer_id__other_texts_are_refused(text: str) -> None:
    """Two texts would name one peer, or an RSA key pass for ours."""
    with pytest.raises(CryptoError):
        public_key_of(text)
