"""Sections of ``make_vectors.py`` for the primitives, computed bit by bit from their definitions."""

from __future__ import annotations

import hashlib
from math import isqrt, sqrt

from Crypto.Cipher import AES

Case = dict[str, object]


def _bytes(label: str, size: int = 32) -> bytes:
    return b"".join(hashlib.sha256(f"{label} {n}".encode()).digest() for n in range(-(-size // 32)))[:size]


def _frame(domain: str, *parts: bytes) -> bytes:
    name = domain.encode()
    head = len(name).to_bytes(4, "big") + name + len(parts).to_bytes(4, "big")
    return head + b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _stream(key: bytes, size: int) -> bytes:
    cipher = AES.new(key, AES.MODE_ECB)
    return b"".join(cipher.encrypt(n.to_bytes(16, "big")) for n in range(-(-size // 16)))[:size]


# --- shamir ----------------------------------------------------------------------------------------------------


def _multiply(one: int, two: int) -> int:
    product = 0
    for bit in range(8):
        if two >> bit & 1:
            product ^= one << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11B << (bit - 8)
    return product


def _split(secret: bytes, context: bytes, threshold: int, holders: int) -> list[bytes]:
    framed = _frame("p2p_flock sharing polynomial v1", context, bytes([threshold]), bytes([holders]))
    key = hashlib.blake2b(framed, key=secret, digest_size=32).digest()
    coefficients = [secret] + [_stream(key, 32 * threshold)[32 * k : 32 * k + 32] for k in range(threshold - 1)]
    shares = []
    for x in range(1, holders + 1):
        share = bytearray(32)
        for position in range(32):
            power = 1
            for coefficient in coefficients:
                share[position] ^= _multiply(power, coefficient[position])
                power = _multiply(power, x)
        shares.append(bytes(share))
    return shares


def make_shamir() -> dict[str, object]:
    """Splitting, combining, finding shares of another polynomial."""
    secret, context = _bytes("secret"), b"vector context"
    base: Case = {"secret": secret.hex(), "context": context.hex()}
    cases: list[Case] = []
    for threshold, holders in [(1, 1), (2, 2), (3, 5), (17, 32), (20, 40)]:
        shares = _split(secret, context, threshold, holders)
        cases.append(
            {
                "name": f"split_{threshold}_of_{holders}",
                "operation": "split",
                **base,
                "threshold": threshold,
                "holders": holders,
                "shares": [share.hex() for share in shares],
            }
        )
    for threshold, holders in [(0, 3), (4, 3), (3, 256)]:
        numbers = {"threshold": threshold, "holders": holders, "error": "CryptoError"}
        cases.append({"name": f"bad_split_{threshold}_of_{holders}", "operation": "split", **base, **numbers})
    short: Case = {"secret": secret[:31].hex(), "context": context.hex(), "threshold": 2, "holders": 3}
    cases.append({"name": "bad_split_short_secret", "operation": "split", **short, "error": "CryptoError"})

    shares = _split(secret, context, 3, 5)
    good = {str(n): shares[n].hex() for n in (4, 0, 2)}
    numbers = {"threshold": 3, "holders": 5}
    cases.append({"name": "combine_any_three", "operation": "combine", **base, **numbers, "shares": good, "wrong": []})
    cases.append(
        {
            "name": "combine_more_than_needed",
            "operation": "combine",
            **base,
            **numbers,
            "shares": {str(n): shares[n].hex() for n in range(5)},
            "wrong": [],
        }
    )
    refused = {
        "bad_combine_two_of_three": {"0": shares[0].hex(), "1": shares[1].hex()},
        "bad_combine_short_share": {**good, "4": shares[4][:31].hex()},
        "bad_combine_holder_out_of_range": {"0": shares[0].hex(), "1": shares[1].hex(), "255": shares[2].hex()},
    }
    for name, given in refused.items():
        cases.append({"name": name, "operation": "combine", **base, **numbers, "shares": given, "error": "CryptoError"})
    liars = {str(n): (bytes(32) if n in (1, 3) else shares[n]).hex() for n in range(5)}
    cases.append(
        {"name": "bad_shares_are_named", "operation": "find", **base, **numbers, "shares": liars, "wrong": [1, 3]}
    )
    cases[-1] |= {"wrong": [3, 4]}  # seen from the polynomial through holders 0, 1 and 2, of which 1 lies
    swapped = {str(n): shares[n if n < 3 else 7 - n].hex() for n in range(5)}
    cases.append(
        {
            "name": "bad_swapped_shares_are_named",
            "operation": "find",
            **base,
            **numbers,
            "shares": swapped,
            "wrong": [3, 4],
        }
    )
    return {
        "about": "Shamir over GF(2^8), polynomial derived from secret and context; all bytes in hex",
        "cases": cases,
    }


# --- masking ---------------------------------------------------------------------------------------------------


def _mask(lanes: list[int], lane_bits: int, signed_keys: list[tuple[bytes, int]], offset: int) -> list[int]:
    width, masked = lane_bits // 8, list(lanes)
    for key, sign in signed_keys:
        stream = _stream(key, (offset + len(lanes)) * width)
        for n in range(len(lanes)):
            start = (offset + n) * width
            masked[n] = (masked[n] + sign * int.from_bytes(stream[start : start + width], "little")) % 2**lane_bits
    return masked


def make_masking() -> dict[str, object]:
    """accumulator ± AES-256-CTR, little-endian lanes, counter from zero."""
    one, two = _bytes("mask key one"), _bytes("mask key two")
    cases: list[Case] = []
    for lane_bits in (16, 32, 64):  # 64: words that hold several lanes
        for name, keys, offset in [
            ("plus", [(one, 1)], 0),
            ("minus", [(one, -1)], 0),
            ("several", [(one, 1), (two, -1), (two, -1)], 0),
            ("offset_within_a_block", [(one, 1)], 3),
            ("offset_far", [(one, 1), (two, 1)], 1001),
        ]:
            lanes = [(n * 2654435761) % 2**lane_bits for n in range(19)]
            cases.append(
                {
                    "name": f"{name}_u{lane_bits}",
                    "lane_bits": lane_bits,
                    "lanes": lanes,
                    "keys": [[key.hex(), sign] for key, sign in keys],
                    "offset": offset,
                    "masked": _mask(lanes, lane_bits, keys, offset),
                }
            )
    good: Case = {"lane_bits": 32, "lanes": [1, 2, 3], "keys": [[one.hex(), 1]], "offset": 0, "error": "CryptoError"}
    bad: dict[str, Case] = {
        "bad_key_of_16_bytes": {"keys": [[one[:16].hex(), 1]]},
        "bad_key_of_33_bytes": {"keys": [[one.hex() + "00", 1]]},
        "bad_sign_0": {"keys": [[one.hex(), 0]]},
        "bad_sign_2": {"keys": [[one.hex(), 2]]},
        "bad_second_key": {"keys": [[one.hex(), 1], ["", 1]]},
        "bad_offset": {"offset": -1},
        "bad_width_8": {"lane_bits": 8},
        "bad_width_24": {"lane_bits": 24},
        "bad_width_128": {"lane_bits": 128},
    }
    cases += [{"name": name, **good, **change} for name, change in bad.items()]
    return {"about": "accumulator plus or minus AES-256-CTR keystreams modulo 2^lane_bits", "cases": cases}


# --- fixed point -----------------------------------------------------------------------------------------------


def _encode(
    values: list[float], bounds: list[float], levels: int, weight: int, dither: bytes, lane_bits: int
) -> list[int]:
    """Σ over a word's fields of (⌊(round(value · levels · 2^k / bound) + u) / 2^k⌋ · weight + bias) · 2^(w·field)."""
    dither_bits = min(16, 31 - levels.bit_length())
    limit = levels << dither_bits
    fields = 1 if lane_bits in (16, 32) else 60 // lane_bits
    bias = 0 if fields == 1 else levels * weight
    words = [0] * -(-len(values) // fields)
    for n, value in enumerate(values):
        scaled = round(min(max(value * (levels * 2.0**dither_bits / bounds[n]), -limit), limit))
        uniform = int.from_bytes(dither[2 * n : 2 * n + 2], "little") >> (16 - dither_bits)
        lane = ((scaled + uniform) >> dither_bits) * weight + bias
        words[n // fields] += lane % 2**lane_bits << (lane_bits * (n % fields))
    return words


def _encoding(name: str, values: list[float], levels: int, weight: int, lane_bits: int, **bounds: object) -> Case:
    dither = _bytes(f"dither {name}", 2 * len(values))
    case: Case = {
        "name": name,
        "operation": "encode",
        "values": [value.hex() for value in values],
        "levels": levels,
        "weight": weight,
        "dither": dither.hex(),
        "lane_bits": lane_bits,
    }
    clip = bounds.get("clip_norm")
    if isinstance(clip, float):
        case["clip_norm"] = clip.hex()
        limits = [max(sqrt(sum(value * value for value in values)), clip)] * len(values)
    else:
        limits = [float(bound) for bound in bounds["bounds"]]  # type: ignore[attr-defined]  # a list of floats
        case["bounds"] = [bound.hex() for bound in limits]
    case["lanes"] = _encode(values, limits, levels, weight, dither, lane_bits)
    return case


_PACKED = [0.3, -0.2, 0.0, 0.1, -0.4, 0.25, -0.05]  # seven: the last word of every packed ring has empty fields


def _sums() -> list[Case]:
    """Sums of three members' words in every ring, their integers, and words that no honest sum can be."""
    cases: list[Case] = []
    members = [[7, -30, 0, 30, -1, 12, 5], [-30, -30, 1, 30, 2, -12, 4], [1, -30, -1, 30, -1, 0, -9]]
    bias, count = 30, len(members[0])
    totals = [sum(values) for values in zip(*members, strict=True)]
    for lane_bits in (10, 12, 15, 16, 20, 30, 32):
        fields = 1 if lane_bits in (16, 32) else 60 // lane_bits
        offset = 0 if fields == 1 else 3 * bias
        words = [0] * -(-count // fields)
        for n, total in enumerate(totals):
            words[n // fields] += (total + offset) % 2**lane_bits << (lane_bits * (n % fields))
        good: Case = {
            "operation": "lift",
            "lane_bits": lane_bits,
            "words": words,
            "lane_count": count,
            "sum_bound": 3 * bias,
        }
        cases.append({"name": f"sum_{lane_bits}", **good, "integers": totals})
        bad = {"bad_beyond": {"sum_bound": 89}}  # two of the sums are as large as they can be
        if fields > 1:
            top = [words[0] | 1 << 60, *words[1:]]
            bad |= {"bad_top_bit": {"words": top}, "bad_padding": {"words": [*words[:-1], words[-1] | 1 << 59]}}
        cases += [{"name": f"{name}_{lane_bits}", **good, **change, "integers": None} for name, change in bad.items()]
    return cases


def make_fixed_point() -> dict[str, object]:
    """Encoding with given dither, and decoding of sums. Floats as C99 hex, so that every bit is in the file."""
    cases: list[Case] = [
        _encoding("within_the_clip", [0.1, -0.2, 0.0, 0.3], 1000, 1, 32, clip_norm=1.0),
        _encoding("clipped_to_the_norm", [3.0, -4.0], 1000, 1, 32, clip_norm=1.0),
        _encoding("weighted", [0.5, -0.5, 0.25], 127, 7, 16, clip_norm=1.0),
        _encoding("at_the_clip", [1.0], 127, 1, 16, clip_norm=1.0),
        _encoding("tiny", [1e-300, -1e-300, 5e-324], 1 << 20, 1, 32, clip_norm=1.0),
        _encoding("many_levels", [0.3, -0.7, 1e-9], 1 << 26, 3, 32, clip_norm=1.0),
        _encoding("one_level", [0.3, -0.7, 0.2], 1, 1, 16, clip_norm=1.0),
        *(_encoding(f"packed_{bits}", _PACKED, 15, 3, bits, clip_norm=1.0) for bits in (10, 12, 15, 20, 30)),
        _encoding("packed_statistics", [9.0, 0.2, -7.0, 1e9], 500, 1, 12, bounds=[10.0, 1.0, 3.0, 10.0]),
        _encoding("statistics", [50.0, 0.25, -7.0, 1e9], 4096, 1, 32, bounds=[100.0, 1.0, 3.0, 10.0]),
    ]
    good = _encoding("bad", [0.5, -0.5], 100, 1, 16, clip_norm=1.0)
    del good["lanes"], good["name"]
    bad: dict[str, Case] = {
        "bad_nan": {"values": ["nan", "0x0p+0"], "error": "UsageError"},
        "bad_infinity": {"values": ["inf", "0x0p+0"], "error": "UsageError"},
        "bad_clip_zero": {"clip_norm": "0x0p+0", "error": "ParameterError"},
        "bad_clip_negative": {"clip_norm": "-0x1p+0", "error": "ParameterError"},
        "bad_levels_zero": {"levels": 0, "error": "ParameterError"},
        "bad_weight_zero": {"weight": 0, "error": "ParameterError"},
        "bad_lane_overflow": {"weight": 328, "error": "ParameterError"},
        "bad_field_overflow": {"lane_bits": 12, "weight": 21, "error": "ParameterError"},
        "bad_lane_bits": {"lane_bits": 24, "error": "ParameterError"},
        "bad_dither_short": {"dither": "00112233"[:6], "error": "ParameterError"},
    }
    cases += [{"name": name, **good, **change} for name, change in bad.items()]
    totals = [7, -300, 0, 12345, -(2**27)]
    for name, levels, weight_total in [("mean_plain", 2**30, 3), ("mean_limited", 100, 3)]:
        root = isqrt(sum(total * total for total in totals) - 1) + 1
        factor = 2.5 / max(levels * weight_total, root)
        cases.append(
            {
                "name": name,
                "operation": "decode",
                "total": totals,
                "clip_norm": (2.5).hex(),
                "levels": levels,
                "weight_total": weight_total,
                "squared_norm": str(sum(total * total for total in totals)),
                "mean": [(float(total) * factor).hex() for total in totals],
            }
        )
    decode: Case = {"operation": "decode", "total": [1], "clip_norm": "0x1p+0", "levels": 1, "weight_total": 1}
    wrong: dict[str, Case] = {"bad_mean_of_nobody": {"weight_total": 0}, "bad_mean_levels": {"levels": 0}}
    cases += [{"name": name, **decode, **change, "error": "ParameterError"} for name, change in wrong.items()]
    cases += _sums()
    return {
        "about": "clip, stochastic rounding with given dither, integer weight; exact decoding of sums of words",
        "cases": cases,
    }


# --- merkle ----------------------------------------------------------------------------------------------------


def _leaf(domain: bytes, count: int, index: int, payload: bytes) -> bytes:
    numbers = (count.to_bytes(4, "big"), index.to_bytes(4, "big"))
    return hashlib.sha256(_frame("p2p_flock merkle leaf v1", domain, *numbers, payload)).digest()


def _root_and_proof(nodes: list[bytes], index: int) -> tuple[bytes, list[bytes]]:
    """By recursion from the top: the left part holds the largest power of two of leaves that is smaller than all."""
    if len(nodes) == 1:
        return nodes[0], []
    middle = 1
    while middle * 2 < len(nodes):
        middle *= 2
    left, left_proof = _root_and_proof(nodes[:middle], index)
    right, right_proof = _root_and_proof(nodes[middle:], index - middle)
    root = hashlib.sha256(_frame("p2p_flock merkle node v1", left, right)).digest()
    return root, [*left_proof, right] if index < middle else [*right_proof, left]


def make_merkle() -> dict[str, object]:
    """Roots and proofs; the shape is RFC 6962's."""
    domain, cases = _bytes("domain"), list[Case]()
    for count, index in [(1, 0), (2, 1), (3, 2), (5, 4), (6, 3), (13, 12), (16, 7)]:
        payloads = [_bytes(f"payload {n}", n % 5 * 9) for n in range(count)]
        leaves = [_leaf(domain, count, n, payload) for n, payload in enumerate(payloads)]
        root, proof = _root_and_proof(leaves, index)
        case: Case = {
            "domain": domain.hex(),
            "count": count,
            "index": index,
            "payload": payloads[index].hex(),
            "proof": [node.hex() for node in proof],
            "root": root.hex(),
        }
        whole = {"payloads": [payload.hex() for payload in payloads]}
        cases.append({"name": f"leaf_{index}_of_{count}", **case, **whole, "accepted": True})
        if count != 6:
            continue
        other = bytes(32).hex()
        bad: dict[str, Case] = {
            "bad_domain": {"domain": other},
            "bad_count_less": {"count": 5},
            "bad_count_more": {"count": 7},
            "bad_index": {"index": 2},
            "bad_index_beyond": {"index": 6},
            "bad_payload": {"payload": "00"},
            "bad_root": {"root": other},
            "bad_proof_short": {"proof": [node.hex() for node in proof[:-1]]},
            "bad_proof_long": {"proof": [*(node.hex() for node in proof), other]},
            "bad_proof_order": {"proof": [node.hex() for node in reversed(proof)]},
            "bad_node_as_leaf": {"payload": leaves[2].hex() + leaves[3].hex(), "proof": [proof[-1].hex()]},
        }
        cases += [{"name": name, **case, **change, "accepted": False} for name, change in bad.items()]
    return {"about": "Merkle roots over (domain, count, index)-separated leaves, and proofs", "cases": cases}
