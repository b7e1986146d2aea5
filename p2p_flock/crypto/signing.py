"""secp256k1 signatures, EIP-712 structs of the contract, ballot commitments, the envelope's digest, the join binding.

Called by ``alliance/`` and ``chain/``. Signatures are recoverable, 65 bytes r‖s‖v with v in {27, 28} and low s, as the
contract's ECDSA library demands: of the two signatures that would verify, exactly one is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coincurve import PrivateKey, PublicKey
from nacl import bindings
from nacl.exceptions import BadSignatureError

from p2p_flock.crypto.suite import keccak256, sha256
from p2p_flock.errors import CryptoError
from p2p_flock.params import COHORTS_MAX, SCORE_MICRO_MAX
from p2p_flock.types import ADDRESS_BYTES, Domain, Vote

SIGNATURE_BYTES = 65
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

_DOMAIN_TYPE = keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_SEAL_TYPE = keccak256(
    b"Seal(uint256 alliance,uint32 round,uint32 view,uint64 beaconRound,bytes32 seed,bytes32 manifestDigest,"
    b"bytes32 survivorsDigest)"
)
_COMMIT_TYPE = keccak256(b"Commit(uint256 alliance,uint32 round,bytes32 seal,uint32 position,bytes32 commitment)")
_SCORE_AT, _VERDICTS_AT, _GRADES_AT = 16, 48, 80  # first bits in a ballot's marks
GRADE_MAX = 15
_BALLOT_COMMITMENT = keccak256(b"p2p_flock ballot v2")


# --- keys and signatures ---------------------------------------------------------------------------------------


def address_of(secret_key: bytes) -> bytes:
    """The 20-byte EVM address of a 32-byte secret key.

    Raises:
        CryptoError: the bytes are no secp256k1 secret.
    """
    return _address_of_public(_private_key(secret_key).public_key)


def sign(secret_key: bytes, digest: bytes) -> bytes:
    """The deterministic (RFC 6979) signature over a 32-byte digest, 65 bytes.

    Raises:
        CryptoError: the key or the digest has the wrong form.
    """
    if len(digest) != 32:
        raise CryptoError("a digest has 32 bytes")
    signature = bytes(_private_key(secret_key).sign_recoverable(digest, hasher=None))
    if signature[64] > 1:
        raise CryptoError("the signature has no EVM form")  # r ≥ the group order: chance 2⁻¹²⁷
    return signature[:64] + bytes([27 + signature[64]])


def recover_address(digest: bytes, signature: bytes) -> bytes:
    """The 20-byte address that signed ``digest``; the caller compares it with the seat's owner.

    Raises:
        CryptoError: wrong length, v not in {27, 28}, r or s out of range, s high, or no key recovers.
    """
    if len(digest) != 32 or len(signature) != SIGNATURE_BYTES:
        raise CryptoError("a digest has 32 bytes, a signature 65")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if signature[64] not in (27, 28):
        raise CryptoError("v is 27 or 28")
    if not 0 < r < _ORDER or not 0 < s <= _ORDER // 2:
        raise CryptoError("r or s is out of range, or s is not the low one")
    compact = signature[:64] + bytes([signature[64] - 27])
    try:
        return _address_of_public(PublicKey.from_signature_and_message(compact, digest, hasher=None))
    except (ValueError, TypeError) as error:  # coincurve's two ways to refuse a signature
        raise CryptoError("no public key recovers from the signature") from error


def _private_key(secret_key: bytes) -> PrivateKey:
    if len(secret_key) != 32:
        raise CryptoError("a secp256k1 secret has 32 bytes")
    try:
        return PrivateKey(secret_key)
    except ValueError as error:
        raise CryptoError("the secret is not a secp256k1 scalar") from error


def _address_of_public(public_key: PublicKey) -> bytes:
    return keccak256(public_key.format(compressed=False)[1:])[12:]


# --- ABI words -------------------------------------------------------------------------------------------------


def _word(value: int) -> bytes:
    if value < 0 or value.bit_length() > 256:
        raise CryptoError("an ABI word holds an unsigned integer of 256 bits")
    return value.to_bytes(32, "big")


def _bytes32(value: bytes) -> bytes:
    if len(value) != 32:
        raise CryptoError("bytes32 has 32 bytes")
    return value


def _address(value: bytes) -> bytes:
    if len(value) != ADDRESS_BYTES:
        raise CryptoError("an address has 20 bytes")
    return bytes(12) + value


# --- EIP-712 ---------------------------------------------------------------------------------------------------


def eip712_domain_separator(domain: Domain) -> bytes:
    """Domain separator of an alliance: name "p2p_flock", version "1", chain ID, the alliance's own contract."""
    return keccak256(
        _DOMAIN_TYPE + keccak256(b"p2p_flock") + keccak256(b"1") + _word(domain.chain_id) + _address(domain.contract)
    )


def eip712_digest(domain: Domain, struct_hash: bytes) -> bytes:
    """What is signed for a struct: keccak256(0x1901 ‖ domain separator ‖ struct hash) (EIP-712)."""
    return keccak256(b"\x19\x01" + eip712_domain_separator(domain) + _bytes32(struct_hash))


def survivors_digest(survivors: Sequence[int]) -> bytes:
    """keccak256(abi.encodePacked(uint256[])) of the survivors bitmap's words."""
    return keccak256(b"".join(_word(word) for word in survivors))


def seal_struct_hash(
    domain: Domain,
    round_number: int,
    view: int,
    beacon_round: int,
    seed: bytes,
    manifest_digest: bytes,
    survivors: Sequence[int],
) -> bytes:
    """hashStruct(Seal): the digest that names a seal everywhere. ``survivors``: bitmap words over trainer indexes."""
    return keccak256(
        _SEAL_TYPE
        + _word(domain.alliance)
        + _word(round_number)
        + _word(view)
        + _word(beacon_round)
        + _bytes32(seed)
        + _bytes32(manifest_digest)
        + survivors_digest(survivors)
    )


def seal_digest(domain: Domain, seal: bytes) -> bytes:
    """What a validator signs for the seal with struct hash ``seal``."""
    return eip712_digest(domain, seal)


def commit_digest(domain: Domain, round_number: int, seal: bytes, position: int, commitment: bytes) -> bytes:
    """What a validator signs for its ballot commitment."""
    struct_hash = keccak256(
        _COMMIT_TYPE
        + _word(domain.alliance)
        + _word(round_number)
        + _bytes32(seal)
        + _word(position)
        + _bytes32(commitment)
    )
    return eip712_digest(domain, struct_hash)


def ballot_commitment(
    domain: Domain,
    round_number: int,
    seal: bytes,
    marks: int,
    base_model_digest: bytes,
    aggregate_digests: Sequence[bytes],
    salt: bytes,
) -> bytes:
    """The hiding commitment to a ballot, keccak256 over the words of its ABI encoding.

    ``marks`` is :func:`pack_marks` of position, score, verdicts and grades; ``salt`` is 32 secret random
    bytes. Whoever opens a commitment that a validator signed shows that validator's ballot: the ballot itself carries
    no signature.
    """
    return keccak256(
        _BALLOT_COMMITMENT
        + _word(domain.chain_id)
        + _address(domain.contract)
        + _word(domain.alliance)
        + _word(round_number)
        + _bytes32(seal)
        + _word(marks)
        + _bytes32(base_model_digest)
        + keccak256(b"".join(_bytes32(digest) for digest in aggregate_digests))
        + _bytes32(salt)
    )


@dataclass(frozen=True, slots=True)
class Marks:
    """One ballot's short fields. ``verdicts`` (of ``types.Vote``) and ``grades`` (0..15): one byte a cohort."""

    position: int
    score_micro: int
    verdicts: bytes
    grades: bytes


def pack_marks(position: int, score_micro: int, verdicts: bytes, grades: bytes) -> int:
    """A ballot's short fields as the contract's one word.

    Bits 0..15 position, 16..47 score in millionths, from 48 two bits a cohort for its verdict, from 80 four bits a
    cohort for its grade; all others are zero.

    Raises:
        CryptoError: a field does not fit, a verdict is none, or a grade stands where the verdict is not yes.
    """
    if not 0 <= position < 2**16 or not 0 <= score_micro <= SCORE_MICRO_MAX:
        raise CryptoError("a position has 16 bits, a score lies in 0..1,000,000 millionths")
    if not 1 <= len(verdicts) == len(grades) <= COHORTS_MAX:
        raise CryptoError(f"a ballot has a verdict and a grade for each of 1 to {COHORTS_MAX} cohorts")
    marks = position | score_micro << _SCORE_AT
    for cohort, (verdict, grade) in enumerate(zip(verdicts, grades, strict=True)):
        if verdict not in tuple(Vote):
            raise CryptoError("a verdict is 0, 1 or 2")
        if grade > GRADE_MAX or (grade and verdict != Vote.YES):
            raise CryptoError(f"a grade is at most {GRADE_MAX}, and 0 unless the verdict is yes")
        marks |= verdict << _VERDICTS_AT + 2 * cohort | grade << _GRADES_AT + 4 * cohort
    return marks


def unpack_marks(marks: int, cohort_count: int) -> Marks:
    """Read :func:`pack_marks`' word.

    Raises:
        CryptoError: it is not what :func:`pack_marks` makes for so many cohorts.
    """
    verdicts = bytes(marks >> _VERDICTS_AT + 2 * cohort & 3 for cohort in range(cohort_count))
    grades = bytes(marks >> _GRADES_AT + 4 * cohort & 15 for cohort in range(cohort_count))
    found = Marks(marks & 0xFFFF, marks >> _SCORE_AT & 0xFFFFFFFF, verdicts, grades)
    if marks < 0 or pack_marks(found.position, found.score_micro, verdicts, grades) != marks:
        raise CryptoError("a ballot's marks have bits that mean nothing")
    return found


# --- point to point, and joining -------------------------------------------------------------------------------


def envelope_digest(domain: Domain, kind: int, round_number: int, seat: int, body: bytes) -> bytes:
    """What the seat's owner signs for an envelope. All fields but the body's digest have fixed width.

    Raises:
        CryptoError: a field does not fit its width.
    """
    if not 0 <= kind < 2**8 or not 0 <= round_number < 2**32 or not 0 <= seat < 2**16:
        raise CryptoError("kind is u8, round is u32, seat is u16")
    if len(domain.contract) != ADDRESS_BYTES:
        raise CryptoError("an address has 20 bytes")
    return keccak256(
        b"p2p_flock envelope v1"
        + _word(domain.chain_id)
        + domain.contract
        + _word(domain.alliance)
        + round_number.to_bytes(4, "big")
        + kind.to_bytes(1, "big")
        + seat.to_bytes(2, "big")
        + sha256(body)
    )


def join_digest(domain: Domain, owner: bytes, mask_key: bytes) -> bytes:
    """What a peer ID's Ed25519 key signs to bind itself to ``owner`` and the first mask key."""
    return keccak256(
        b"p2p_flock join v1"
        + _word(domain.chain_id)
        + _address(domain.contract)
        + _word(domain.alliance)
        + _address(owner)
        + _bytes32(mask_key)
    )


def is_join_binding(domain: Domain, owner: bytes, mask_key: bytes, peer_key: bytes, peer_signature: bytes) -> bool:
    """Whether ``peer_key`` (32-byte Ed25519 public key of the peer ID) signed the binding; 64-byte signature."""
    if len(peer_key) != 32 or len(peer_signature) != 64:
        return False
    digest = join_digest(domain, owner, mask_key)
    try:
        return bytes(bindings.crypto_sign_open(peer_signature + digest, peer_key)) == digest
    except BadSignatureError:
        return False
