"""Signatures, EIP-712 digests, the envelope and the join binding. eth_account and eth_abi say what is right."""

from __future__ import annotations

import hashlib

import pytest
from eth_abi.abi import encode as abi_encode
from eth_abi.packed import encode_packed
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from p2p_flock.crypto import signing
from p2p_flock.crypto.suite import keccak256
from p2p_flock.errors import CryptoError
from p2p_flock.types import Domain

DOMAIN = Domain(84532, bytes(range(20)), 7)
KEY = keccak256(b"validator")
SEED, MANIFEST, SEAL, SALT = (keccak256(name) for name in (b"seed", b"manifest", b"seal", b"salt"))
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

Fields = list[tuple[str, str, object]]


def typed_data_digest(primary: str, fields: Fields) -> bytes:
    signable = encode_typed_data(
        domain_data={
            "name": "p2p_flock",
            "version": "1",
            "chainId": DOMAIN.chain_id,
            "verifyingContract": DOMAIN.contract,
        },
        message_types={primary: [{"name": name, "type": kind} for kind, name, _ in fields]},
        message_data={name: value for _, name, value in fields},
    )
    return keccak256(b"\x19" + signable.version + signable.header + signable.body)


def test_sign__is_what_eth_account_signs() -> None:
    """The contract would refuse every signature of ours."""
    digest = keccak256(b"message")
    theirs = Account.unsafe_sign_hash(digest, KEY).signature
    assert signing.sign(KEY, digest) == bytes(theirs)
    assert signing.address_of(KEY) == bytes.fromhex(Account.from_key(KEY).address[2:])


def test_recover_address__finds_the_signer() -> None:
    """A seat's owner would not be recognised."""
    for number in range(20):
        key, digest = (
            keccak256(bytes([number])),
            keccak256(
                b"d",
            ),
        )
        assert signing.recover_address(digest, signing.sign(key, digest)) == signing.address_of(key)


def flip_s(signature: bytes) -> bytes:
    """The other signature that plain ECDSA accepts for the same key and digest."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


GOOD = signing.sign(KEY, SEED)
BAD_SIGNATURES = {
    "empty": b"",
    "short": GOOD[:64],
    "long": GOOD + b"\0",
    "high_s": flip_s(GOOD),
    "v_0": GOOD[:64] + b"\x00",
    "v_29": GOOD[:64] + b"\x1d",
    "r_zero": bytes(32) + GOOD[32:],
    "s_zero": GOOD[:32] + bytes(32) + GOOD[64:],
    "r_order": ORDER.to_bytes(32, "big") + GOOD[32:],
    "r_no_point": (5).to_bytes(32, "big") + GOOD[32:],
}


@pytest.mark.parametrize("name", BAD_SIGNATURES)
def test_recover_address__bad_signature_is_refused(name: str) -> None:
    """A second accepted form lets a signature be counted twice, or accepted here and refused by the contract."""
    with pytest.raises(CryptoError):
        signing.recover_address(SEED, BAD_SIGNATURES[name])


def test_recover_address__another_digest_gives_another_address() -> None:
    """A signature that fits everything binds nobody to anything."""
    assert signing.recover_address(MANIFEST, GOOD) != signing.address_of(KEY)


@pytest.mark.parametrize("key", [b"", bytes(32), b"\xff" * 32, bytes(31)])
def test_sign__bad_key_is_refused(key: bytes) -> None:
    """A key outside the group would sign something that nobody can check."""
    with pytest.raises(CryptoError):
        signing.sign(key, SEED)


def test_seal_digest__matches_eip_712() -> None:
    """Validators would sign other seals than the contract checks."""
    survivors = (0b1011, 1 << 255)
    struct_hash = signing.seal_struct_hash(DOMAIN, 3, 1, 99, SEED, MANIFEST, survivors)
    fields: Fields = [
        ("uint256", "alliance", 7),
        ("uint32", "round", 3),
        ("uint32", "view", 1),
        ("uint64", "beaconRound", 99),
        ("bytes32", "seed", SEED),
        ("bytes32", "manifestDigest", MANIFEST),
        ("bytes32", "survivorsDigest", keccak256(encode_packed(["uint256[]"], [list(survivors)]))),
    ]
    assert signing.seal_digest(DOMAIN, struct_hash) == typed_data_digest("Seal", fields)


def test_commit_digest__matches_eip_712() -> None:
    """Ballot commitments could not be posted in one batch."""
    fields: Fields = [
        ("uint256", "alliance", 7),
        ("uint32", "round", 3),
        ("bytes32", "seal", SEAL),
        ("uint32", "position", 2),
        ("bytes32", "commitment", SALT),
    ]
    assert signing.commit_digest(DOMAIN, 3, SEAL, 2, SALT) == typed_data_digest("Commit", fields)


def test_ballot_commitment__matches_the_abi() -> None:
    """A revealed ballot would never match its commitment on chain."""
    digests = [keccak256(b"a"), keccak256(b"b")]
    marks = signing.pack_marks(2, 812_500, b"\x01\x02", b"\x0f\x00")
    packed = abi_encode(
        [*("bytes32", "uint256", "address", "uint256", "uint32", "bytes32", "uint256"), *["bytes32"] * 3],
        [
            keccak256(b"p2p_flock ballot v2"),
            DOMAIN.chain_id,
            DOMAIN.contract,
            DOMAIN.alliance,
            3,
            SEAL,
            marks,
            MANIFEST,
            keccak256(encode_packed(["bytes32[]"], [digests])),
            SALT,
        ],
    )
    assert signing.ballot_commitment(DOMAIN, 3, SEAL, marks, MANIFEST, digests, SALT) == keccak256(packed)


@given(
    st.integers(0, 63),
    st.integers(0, 1_000_000),
    st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, 15)), min_size=1, max_size=16),
)
def test_marks__are_read_as_they_were_packed(position: int, score: int, votes: list[tuple[int, int]]) -> None:
    """The contract would count another vote than the validator's."""
    verdicts = bytes(verdict for verdict, _ in votes)
    grades = bytes(grade if verdict == 1 else 0 for verdict, grade in votes)
    marks = signing.pack_marks(position, score, verdicts, grades)
    assert signing.unpack_marks(marks, len(votes)) == signing.Marks(position, score, verdicts, grades)
    beyond = [48 + 2 * len(votes), 80 + 4 * len(votes)] if len(votes) < 16 else []
    for bit in (*beyond, 144, 255):
        with pytest.raises(CryptoError):
            signing.unpack_marks(marks | 1 << bit, len(votes))


@pytest.mark.parametrize(
    ("position", "score", "verdicts", "grades"),
    [
        (-1, 0, b"\x01", b"\x00"),
        (1 << 16, 0, b"\x01", b"\x00"),
        (0, -1, b"\x01", b"\x00"),
        (0, 1_000_001, b"\x01", b"\x00"),
        (0, 0, b"\x03", b"\x00"),
        (0, 0, b"\x01", b"\x10"),
        (0, 0, b"\x02", b"\x01"),
        (0, 0, b"\x00", b"\x01"),
        (0, 0, b"\x01\x01", b"\x00"),
        (0, 0, b"", b""),
        (0, 0, b"\x01" * 17, bytes(17)),
    ],
)
def test_marks__that_the_contract_refuses_are_refused(
    position: int, score: int, verdicts: bytes, grades: bytes
) -> None:
    """One such ballot in the batch makes the whole settlement fail."""
    with pytest.raises(CryptoError):
        signing.pack_marks(position, score, verdicts, grades)


def test_envelope_digest__binds_every_field() -> None:
    """An envelope could be replayed to another chain, alliance, round or seat, or as another kind."""
    base = signing.envelope_digest(DOMAIN, 1, 2, 3, b"body")
    packed = encode_packed(
        ["string", "uint256", "address", "uint256", "uint32", "uint8", "uint16", "bytes32"],
        ["p2p_flock envelope v1", 84532, DOMAIN.contract, 7, 2, 1, 3, hashlib.sha256(b"body").digest()],
    )
    assert base == keccak256(packed)
    others = [
        signing.envelope_digest(Domain(1, DOMAIN.contract, 7), 1, 2, 3, b"body"),
        signing.envelope_digest(Domain(84532, bytes(20), 7), 1, 2, 3, b"body"),
        signing.envelope_digest(Domain(84532, DOMAIN.contract, 8), 1, 2, 3, b"body"),
        signing.envelope_digest(DOMAIN, 2, 2, 3, b"body"),
        signing.envelope_digest(DOMAIN, 1, 3, 3, b"body"),
        signing.envelope_digest(DOMAIN, 1, 2, 4, b"body"),
        signing.envelope_digest(DOMAIN, 1, 2, 3, b"bodY"),
    ]
    assert base not in others


@pytest.mark.parametrize("fields", [(256, 0, 0), (0, 2**32, 0), (0, 0, 2**16), (-1, 0, 0)])
def test_envelope_digest__bad_width_is_refused(fields: tuple[int, int, int]) -> None:
    """A field that overflows would run into the next one."""
    kind, round_number, seat = fields
    with pytest.raises(CryptoError):
        signing.envelope_digest(DOMAIN, kind, round_number, seat, b"")


def test_join_binding__by_the_peer_id_is_accepted() -> None:
    """No newcomer could join."""
    peer = SigningKey(bytes([9]) * 32)
    owner, mask_key = signing.address_of(KEY), bytes([1]) * 32
    digest = keccak256(
        b"p2p_flock join v1"
        + abi_encode(
            ["uint256", "address", "uint256", "address", "bytes32"],
            [DOMAIN.chain_id, DOMAIN.contract, DOMAIN.alliance, owner, mask_key],
        )
    )
    signature = peer.sign(digest).signature
    assert signing.join_digest(DOMAIN, owner, mask_key) == digest
    assert signing.is_join_binding(DOMAIN, owner, mask_key, bytes(peer.verify_key), signature)


def test_join_binding__bad_ones_are_refused() -> None:
    """Somebody could bind a peer ID that is not theirs to their stake."""
    peer = SigningKey(bytes([9]) * 32)
    owner, mask_key = signing.address_of(KEY), bytes([1]) * 32
    signature = peer.sign(signing.join_digest(DOMAIN, owner, mask_key)).signature
    peer_key = bytes(peer.verify_key)
    assert not signing.is_join_binding(DOMAIN, bytes(20), mask_key, peer_key, signature)
    assert not signing.is_join_binding(DOMAIN, owner, bytes(32), peer_key, signature)
    assert not signing.is_join_binding(Domain(1, DOMAIN.contract, 7), owner, mask_key, peer_key, signature)
    assert not signing.is_join_binding(DOMAIN, owner, mask_key, bytes(32), signature)
    assert not signing.is_join_binding(DOMAIN, owner, mask_key, peer_key, signature[:63])
    assert not signing.is_join_binding(DOMAIN, owner, mask_key, peer_key, bytes(64))
