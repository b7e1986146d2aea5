"""Sections of ``make_vectors.py`` for messages, seals, votes and the model.

Encodings, hashes and sums are computed here by their own plain means (msgpack of lists, keccak of words, fractions),
not with the code under test; only signatures come from ``crypto/signing.py``, which has vectors of its own.
"""

from __future__ import annotations

import hashlib
import json
import struct
from fractions import Fraction
from math import isqrt

import msgpack
from Crypto.Hash import keccak

from p2p_flock.crypto.signing import address_of, sign

Case = dict[str, object]
CHAIN_ID, CONTRACT, ALLIANCE, ROUND = 84530, bytes(range(1, 21)), 3, 7
OWNERS = [hashlib.sha256(b"owner %d" % seat).digest() for seat in range(8)]
D = [hashlib.sha256(b"digest %d" % index).digest() for index in range(12)]
SIGNATURE = bytes(64) + b"\x1b"


def keccak256(data: bytes) -> bytes:
    return bytes(keccak.new(digest_bits=256, data=data).digest())


def word(value: int | bytes) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\x00")


def typed(struct_type: str, *words: bytes) -> bytes:
    """hashStruct of EIP-712, its fields already encoded."""
    return keccak256(keccak256(struct_type.encode()) + b"".join(words))


def signing_digest(struct_hash: bytes) -> bytes:
    separator = typed(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
        keccak256(b"p2p_flock"), keccak256(b"1"), word(CHAIN_ID), word(CONTRACT),
    )  # fmt: skip
    return keccak256(b"\x19\x01" + separator + struct_hash)


DOMAIN: Case = {"chain_id": CHAIN_ID, "contract": CONTRACT.hex(), "alliance": ALLIANCE, "round": ROUND}

# --- messages ----------------------------------------------------------------------------------------------------

PLAIN: dict[str, list[object]] = {
    "Contribution": [D[0], D[1]],
    "Unmasking": [D[0], [[0, [1, D[1]]], [1, [1, 2, D[2]]]]],
    "Have": [b"\x05", [D[0], D[1]]],
    "SealProposal": [2, b"manifest", [[3, ROUND, 4, b"body", SIGNATURE]]],
    "SealSignature": [1, D[0], SIGNATURE],
    "BallotCommitment": [D[0], D[1], SIGNATURE],
    "Ballot": [D[0], D[1], b"\x01\x02", b"\x0f\x00", 812_500, [D[2], D[3]], D[4]],
    "Envelope": [1, 2**32 - 1, 4095, b"", SIGNATURE],
    "Manifest": [ROUND, [[4, D[0], D[1], D[2]], [1, D[3], D[4], D[5]]]],
    "Hint": [2**64 - 1, 0, "sealed"],
    "Bundle": [1, 2, D[0] + D[1], D[2]],
}
BAD_PLAIN: dict[str, tuple[str, object]] = {
    "bad_short_digest": ("Contribution", [D[0], D[1][:31]]),
    "bad_missing_field": ("Contribution", [D[0]]),
    "bad_extra_field": ("Contribution", [D[0], D[1], 0]),
    "bad_map": ("Contribution", {"root": D[0], "document_digest": D[1]}),
    "bad_text_for_bytes": ("Contribution", ["a" * 32, D[1]]),
    "bad_no_items": ("Unmasking", [D[0], []]),
    "bad_unknown_tag": ("Unmasking", [D[0], [[2, [1, D[1]]]]]),
    "bad_whole_pair_seed": ("Unmasking", [D[0], [[1, [1, D[1]]]]]),
    "bad_empty_bitmap": ("Have", [b"", []]),
    "bad_no_haves": ("SealProposal", [0, b"manifest", []]),
    "bad_negative_view": ("SealSignature", [-1, D[0], SIGNATURE]),
    "bad_long_signature": ("BallotCommitment", [D[0], D[1], SIGNATURE + b"\x00"]),
    "bad_seventeen_cohorts": ("Ballot", [D[0], D[1], b"\x01" * 17, bytes(17), 0, [D[2]] * 17, D[4]]),
    "bad_signed_ballot": ("Ballot", [D[0], D[1], b"\x01\x02", bytes(2), 0, [D[2], D[3]], D[4], SIGNATURE]),
    "bad_long_score": ("Ballot", [D[0], D[1], b"\x01\x02", bytes(2), 2**32, [D[2], D[3]], D[4]]),
    "bad_seat": ("Envelope", [1, 0, 4096, b"", SIGNATURE]),
    "bad_float_round": ("Envelope", [1, 1.0, 0, b"", SIGNATURE]),
    "bad_boolean_kind": ("Envelope", [True, 0, 0, b"", SIGNATURE]),
    "bad_empty_manifest": ("Manifest", [ROUND, []]),
    "bad_long_hint": ("Hint", [0, 0, "x" * 17]),
}
BAD_BYTES: dict[str, tuple[str, bytes]] = {
    "bad_trailing_byte": ("Contribution", msgpack.packb(PLAIN["Contribution"]) + b"\xc0"),
    "bad_truncated": ("Contribution", msgpack.packb(PLAIN["Contribution"])[:-1]),
    "bad_long_array_head": ("Contribution", b"\xdc\x00\x02" + msgpack.packb(PLAIN["Contribution"])[1:]),
    "bad_long_integer": ("SealSignature", b"\x93\xcd\x00\x01" + msgpack.packb(PLAIN["SealSignature"])[2:]),
    "bad_empty": ("Hint", b""),
    "bad_utf8": ("Hint", b"\x93\x00\x00\xa2\xff\xfe"),
}


def make_messages() -> dict[str, object]:
    """One case for each message, and bytes that are none."""
    good = [{"name": kind.lower(), "kind": kind, "bytes": msgpack.packb(plain).hex()} for kind, plain in PLAIN.items()]
    bad = [
        {"name": name, "kind": kind, "bytes": msgpack.packb(plain).hex()} for name, (kind, plain) in BAD_PLAIN.items()
    ]
    bad += [{"name": name, "kind": kind, "bytes": data.hex()} for name, (kind, data) in BAD_BYTES.items()]
    body = msgpack.packb(PLAIN["Contribution"])
    digest = keccak256(
        b"p2p_flock envelope v1" + word(CHAIN_ID) + CONTRACT + word(ALLIANCE)
        + ROUND.to_bytes(4, "big") + b"\x01" + (5).to_bytes(2, "big") + hashlib.sha256(body).digest()
    )  # fmt: skip
    envelope: Case = {
        **DOMAIN, "kind": 1, "seat": 5, "body": body.hex(), "digest": digest.hex(),
        "signature": sign(OWNERS[5], digest).hex(), "owner": address_of(OWNERS[5]).hex(),
    }  # fmt: skip
    return {"about": "canonical msgpack; a bad case must be refused", "cases": [*good, *bad], "envelope": envelope}


# --- seals -------------------------------------------------------------------------------------------------------

SEAL_TYPE = (
    "Seal(uint256 alliance,uint32 round,uint32 view,uint64 beaconRound,bytes32 seed,bytes32 manifestDigest,"
    "bytes32 survivorsDigest)"
)
TRAINERS = [4, 2, 6, 1, 3]  # in position order; seats 0, 5, 7 are the validators


def _bitmap(held: list[int]) -> int:
    return sum(1 << TRAINERS.index(seat) for seat in held)


def _seal(name: str, view: int, survivors: list[int]) -> Case:
    entries = [[seat, D[seat], D[seat + 1], D[seat + 2]] for seat in TRAINERS if seat in survivors]
    manifest = msgpack.packb([ROUND, entries])
    digest = hashlib.sha256(manifest).digest()
    bits = _bitmap(survivors)
    terms = [word(ALLIANCE), word(ROUND), word(view), word(77), D[11], digest, keccak256(word(bits))]
    seal = typed(SEAL_TYPE, *terms)
    return {
        "name": name, "view": view, "beacon_round": 77, "seed": D[11].hex(), "manifest": manifest.hex(),
        "survivors": [hex(bits)], "manifest_digest": digest.hex(), "seal": seal.hex(),
        "signing_digest": signing_digest(seal).hex(),
    }  # fmt: skip


def make_sealing() -> dict[str, object]:
    """Which trainers survive which Have messages (three validators, Q = 2, t = 3), and the digests of seals."""
    all_five, roots = sorted(TRAINERS), {str(seat): D[seat].hex() for seat in TRAINERS}
    forged = {**roots, "4": D[0].hex()}

    def only(*seats: int) -> dict[str, str]:
        return {str(seat): roots[str(seat)] for seat in seats}

    liar = [[2, 4], [1, 4], [3, 4], [4, 6]]
    survivors: list[Case] = [
        {"name": "all_hold_all", "haves": [roots, roots, roots], "quarrels": [], "survivors": all_five},
        {"name": "two_of_three", "haves": [roots, only(1, 2, 3), roots], "quarrels": [], "survivors": all_five},
        {"name": "one_silent", "haves": [roots, only(1, 2, 3)], "quarrels": [], "survivors": [1, 2, 3]},
        {"name": "one_liar_goes_alone", "haves": [roots] * 3, "quarrels": liar, "survivors": [1, 2, 3, 6]},
        {"name": "bad_held_by_one_only", "haves": [roots, only(1, 2, 3), only(1, 2, 3)], "quarrels": [],
         "survivors": [1, 2, 3]},
        {"name": "bad_two_roots", "haves": [roots, forged], "quarrels": [], "survivors": [1, 2, 3, 6]},
        {"name": "bad_forged_by_a_quorum", "haves": [roots, forged, forged], "quarrels": [], "survivors": all_five,
         "root_of_4": D[0].hex()},
        {"name": "bad_quarrel_of_two", "haves": [roots] * 3, "quarrels": [[2, 4]], "survivors": [1, 3, 6]},
        {"name": "bad_below_the_threshold", "haves": [only(1, 2), only(1, 2)], "quarrels": [], "survivors": []},
    ]  # fmt: skip
    seals = [_seal("everybody", 0, TRAINERS), _seal("a later view", 2, TRAINERS), _seal("three", 0, [4, 6, 3])]
    good = msgpack.unpackb(bytes.fromhex(str(seals[0]["manifest"])))
    entries = good[1]
    manifests = {
        "bad_round": [ROUND + 1, entries],
        "bad_order": [ROUND, entries[::-1]],
        "bad_twice": [ROUND, [entries[0], *entries]],
        "bad_validator": [ROUND, [[0, *entries[0][1:]], *entries[1:]]],
        "bad_survivor_missing": [ROUND, entries[1:]],
    }
    bad = [{"name": name, "manifest": msgpack.packb(plain).hex()} for name, plain in manifests.items()]
    haves = [
        {"name": "bad_bit_beyond_the_last_trainer", "held": "20", "roots": 1},
        {"name": "bad_bitmap_too_long", "held": "0100", "roots": 1},
        {"name": "bad_root_missing", "held": "03", "roots": 1},
        {"name": "bad_root_too_many", "held": "01", "roots": 2},
    ]
    return {
        "about": "trainers in position order; a bad manifest or Have must be refused against them",
        **DOMAIN, "trainers": TRAINERS, "survivors_cases": survivors, "seals": seals, "refused_manifests": bad,
        "refused_haves": haves,
    }  # fmt: skip


# --- votes -------------------------------------------------------------------------------------------------------

COMMIT_TYPE = "Commit(uint256 alliance,uint32 round,bytes32 seal,uint32 position,bytes32 commitment)"


def _ballot(
    name: str, position: int, verdicts: bytes, digests: list[bytes], grades: bytes = b"", score_micro: int = 0
) -> Case:
    seal, model, salt = D[0], D[1], D[2]
    grades = grades or bytes(len(verdicts))
    marks = position + (score_micro << 16)
    for cohort, (verdict, grade) in enumerate(zip(verdicts, grades, strict=True)):
        marks += (verdict << (48 + 2 * cohort)) + (grade << (80 + 4 * cohort))
    words = [word(CHAIN_ID), word(CONTRACT), word(ALLIANCE), word(ROUND), seal, word(marks), model]
    commitment = keccak256(keccak256(b"p2p_flock ballot v2") + b"".join(words) + keccak256(b"".join(digests)) + salt)
    terms = [word(ALLIANCE), word(ROUND), seal, word(position), commitment]
    commit_digest = signing_digest(typed(COMMIT_TYPE, *terms))
    return {
        "name": name, "position": position, "seal": seal.hex(), "base_model_digest": model.hex(),
        "verdicts": verdicts.hex(), "grades": grades.hex(), "score_micro": score_micro, "marks": f"0x{marks:064x}",
        "aggregate_digests": [digest.hex() for digest in digests], "salt": salt.hex(),
        "commitment": commitment.hex(), "commit_digest": commit_digest.hex(),
        "commit_signature": sign(OWNERS[position], commit_digest).hex(),
    }  # fmt: skip


def _rolling(order: list[int]) -> Case:
    """The contract's hash over commitments in the order of arrival."""
    chain = bytes(32)
    for position in order:
        chain = keccak256(chain + word(position) + D[position])
    return {"order": order, "commitments": [D[position].hex() for position in order], "hash": chain.hex()}


def _tally(name: str, validators: int, votes: list[tuple[int, int]], outcome: str, for_: int, against: int) -> Case:
    """Votes: (verdict byte, index of the digest voted on)."""
    return {
        "name": name, "validators": validators, "votes": [[vote, D[index].hex()] for vote, index in votes],
        "outcome": outcome, "votes_for": for_, "votes_against": against,
    }  # fmt: skip


def make_voting() -> dict[str, object]:
    """Ballots of owners 0, 1, 2 with two cohorts, byte by byte; tallies for V = 1, 2, 3, 4, 7."""
    good = [
        _ballot("yes_and_no", 0, b"\x01\x02", [D[3], D[4]]),
        _ballot("unavailable", 1, b"\x00\x00", [bytes(32), bytes(32)]),
        _ballot("last_position", 2, b"\x02\x01", [D[4], D[3]]),
        _ballot("graded", 0, b"\x01\x01", [D[3], D[4]], b"\x0f\x01", 1_000_000),
        _ballot("one_graded", 1, b"\x02\x01", [D[3], D[4]], b"\x00\x07", 1),
    ]
    bad = [
        _ballot("bad_verdict", 0, b"\x03\x01", [D[3], D[4]]),
        _ballot("bad_yes_to_nothing", 0, b"\x01\x02", [bytes(32), D[4]]),
        _ballot("bad_one_cohort", 0, b"\x01", [D[3]]),
        _ballot("bad_three_cohorts", 0, b"\x01\x01\x01", [D[3], D[4], D[5]]),
        _ballot("bad_grade_of_a_no", 0, b"\x02\x01", [D[3], D[4]], b"\x01\x01"),
        _ballot("bad_grade_of_nothing", 0, b"\x00\x01", [bytes(32), D[4]], b"\x01\x01"),
        _ballot("bad_score", 0, b"\x01\x02", [D[3], D[4]], score_micro=1_000_001),
        {**good[3], "name": "bad_other_grade", "grades": "0e01"},
        {**good[3], "name": "bad_grade_of_sixteen", "grades": "1001"},
        {**good[3], "name": "bad_other_score", "score_micro": 999_999},
        {**good[0], "name": "bad_copied_to_another_position", "position": 1},
        {**good[0], "name": "bad_other_salt", "salt": D[5].hex()},
    ]
    yes, no, none, other = (1, 0), (2, 0), (0, 0), (1, 1)
    tallies = [
        _tally("one_of_one", 1, [yes], "ADOPTED", 1, 0),
        _tally("two_of_two", 2, [yes, yes], "ADOPTED", 2, 0),
        _tally("bad_one_of_two", 2, [yes], "UNDECIDED", 1, 0),
        _tally("two_of_three", 3, [yes, no, yes], "ADOPTED", 2, 1),
        _tally("two_against_of_three", 3, [no, yes, no], "REJECTED", 1, 2),
        _tally("bad_two_sums_of_three", 3, [yes, other, none], "UNDECIDED", 1, 0),
        _tally("bad_tie_of_four", 4, [yes, yes, no, no], "UNDECIDED", 2, 2),
        _tally("three_of_four", 4, [yes, yes, no, yes], "ADOPTED", 3, 1),
        _tally("five_of_seven", 7, [yes] * 5 + [no] * 2, "ADOPTED", 5, 2),
        _tally("bad_four_of_seven", 7, [yes] * 4 + [no] * 3, "UNDECIDED", 4, 3),
        _tally("five_against_of_seven", 7, [no] * 5, "REJECTED", 0, 5),
        _tally("bad_nobody_of_seven", 7, [], "UNDECIDED", 0, 0),
    ]
    owners = [address_of(owner).hex() for owner in OWNERS[:3]]
    about = (
        "a bad ballot must be refused though its commitment may be signed; a bad tally decides nothing; bad marks are "
        "the word of no ballot of two cohorts"
    )
    bad_marks = [1 << 63, 3 << 48, 1 << 80, 1 << 52, 1 << 88, 1 << 144, 1 << 255, 1_000_001 << 16]
    return {
        "about": about, **DOMAIN, "cohort_count": 2, "owners": owners, "ballots": [*good, *bad], "tallies": tallies,
        "bad_marks": [f"0x{marks:064x}" for marks in bad_marks],
        "rolling": [_rolling([]), _rolling([1]), _rolling([2, 0, 1]), _rolling([0, 1, 2])],
    }  # fmt: skip


# --- the model ---------------------------------------------------------------------------------------------------


def _file(statistics: list[float], parameters: list[float]) -> bytes:
    split, end = 8 * len(parameters), 8 * (len(parameters) + len(statistics))
    header = json.dumps(
        {
            "parameters": {"data_offsets": [0, split], "dtype": "F64", "shape": [len(parameters)]},
            "statistics": {"data_offsets": [split, end], "dtype": "F64", "shape": [len(statistics)]},
        },
        separators=(",", ":"),
    ).encode()
    header += b" " * (-len(header) % 8)
    values = [*parameters, *statistics]
    return struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(values)}d", *values)


def _rounded(value: Fraction) -> float:
    return value.numerator / value.denominator  # correctly rounded, as one IEEE 754 operation is


def _apply(clip: float, levels: int, parameters: list[float], cohorts: list[tuple[list[int], int]]) -> list[float]:
    """Each operation exactly, then rounded once: what float64 does element by element."""
    total = sum(weight for _, weight in cohorts)
    for lanes, weight in cohorts:
        squared = sum(lane * lane for lane in lanes)
        root = isqrt(squared)
        root += root * root < squared
        factor = _rounded(Fraction(clip) / max(levels * weight, root))
        share = _rounded(Fraction(weight, total))
        means = [_rounded(Fraction(lane) * Fraction(factor)) for lane in lanes]
        moved = [_rounded(Fraction(mean) * Fraction(share)) for mean in means]
        parameters = [_rounded(Fraction(p) + Fraction(m)) for p, m in zip(parameters, moved, strict=True)]
    return parameters


def _training(name: str, clip: float, levels: int, cohorts: list[tuple[list[int], int]]) -> Case:
    statistics, parameters = [0.1, -3.5], [0.5, -0.25, 1e-9]
    after = _apply(clip, levels, parameters, cohorts)
    return {
        "name": name, "stage": "training", "clip": clip, "levels": levels,
        "cohorts": [{"sum": lanes, "weight_total": weight} for lanes, weight in cohorts],
        "before": _file(statistics, parameters).hex(), "after": _file(statistics, after).hex(),
        "digest": hashlib.sha256(_file(statistics, after)).hexdigest(),
    }  # fmt: skip


def _statistics(name: str, clip: float, levels: int, cohorts: list[list[int]]) -> Case:
    totals = [sum(lanes) for lanes in zip(*cohorts, strict=True)]
    after = [_rounded(Fraction(_rounded(Fraction(total) * Fraction(clip))) / levels) for total in totals]
    return {
        "name": name, "stage": "statistics", "clip": clip, "levels": levels,
        "cohorts": [{"sum": lanes, "weight_total": 1} for lanes in cohorts],
        "before": _file([], [0.5]).hex(), "after": _file(after, [0.5]).hex(),
        "digest": hashlib.sha256(_file(after, [0.5])).hexdigest(),
    }  # fmt: skip


def make_model() -> dict[str, object]:
    """Model files before and after a round, and files that are no model."""
    cases = [
        _training("one_cohort", 1.5, 1000, [([300, -400, 7], 2)]),
        _training("one_cohort_at_its_norm", 0.3, 7, [([1000, 2000, -3000], 5)]),
        _training("two_cohorts", 1.5, 1000, [([300, -400, 7], 3), ([9999, 9999, -1], 11)]),
        _training("three_cohorts_of_odd_weights", 0.1, 3, [([1, 1, 1], 7), ([2, -2, 2], 13), ([0, 0, 0], 1)]),
        _statistics("statistics", 100.0, 1000, [[10, -20, 2**27]]),
        _statistics("statistics_of_two_cohorts", 0.7, 999, [[1, 2, 3], [-1, 5, 7]]),
    ]
    good = _file([0.1], [0.5, -0.25])
    header_bytes = struct.unpack("<Q", good[:8])[0]
    bad = {
        "bad_empty": b"",
        "bad_byte_missing": good[:-1],
        "bad_lane_more": good + bytes(8),
        "bad_header_length": struct.pack("<Q", 2**40) + good[8:],
        "bad_header_spaces": good[:8] + good[8:].replace(b",", b" ", 1),
        "bad_type": good.replace(b"F64", b"F32"),
        "bad_nan": good[:-8] + struct.pack("<d", float("nan")),
        "bad_infinity": good[:-8] + struct.pack("<d", float("inf")),
        "bad_header_nested": struct.pack("<Q", 1000) + b"[" * 1000 + good[8 + header_bytes :],
        "bad_offset_infinite": struct.pack("<Q", 48) + b'{"parameters":{"data_offsets":[0,Infinity]}}    ',
    }
    refused = [{"name": name, "bytes": data.hex()} for name, data in bad.items()]
    return {"about": "canonical safetensors files; a refused one is no model", "cases": cases, "refused": refused}
