"""Writes tests/vectors/sortition.json, beacon.json and governance.json, which Python and Solidity both run.

    .venv/bin/python contracts/script/make_vectors.py [--check]

Written from the specification alone, on purpose without p2p_flock: a mistake shared by the vectors and one of the two
implementations would otherwise pass. Half of the vectors are bad ones, each with the mistake it stands for.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Callable
from fractions import Fraction
from math import floor
from pathlib import Path

from Crypto.Hash import keccak
from py_arkworks_bls12381 import G1Point, G2Point, Scalar

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "vectors"

# ---------------------------------------------------------------- sortition


def keccak256(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


def seed_of(chain_id: int, contract: bytes, alliance: int, round_number: int, randomness: bytes) -> bytes:
    packed = chain_id.to_bytes(32, "big") + contract + alliance.to_bytes(32, "big") + round_number.to_bytes(4, "big")
    return keccak256(b"p2p_flock seed v1" + packed + randomness)


def halves_of(count: int) -> tuple[int, int]:
    """Sizes of the halves: the least a with a² >= count, then the least b with ab >= count."""
    a = 1
    while a * a < count:
        a += 1
    b = 1
    while a * b < count:
        b += 1
    return a, b


def feistel(seed: bytes, count: int, rounds: int, value: int) -> int:
    a, b = halves_of(count)
    halves, sizes = [value // b, value % b], (a, b)
    for j in range(rounds):
        changed, other = j % 2, 1 - j % 2
        message = b"p2p_flock feistel v2" + seed + bytes([changed]) + halves[other].to_bytes(4, "big")
        quarter = 24 - 8 * (j // 2)  # the digest's last eight bytes first
        mixed = int.from_bytes(keccak256(message)[quarter : quarter + 8], "big")
        halves[changed] = (halves[changed] + mixed) % sizes[changed]
    return halves[0] * b + halves[1]


def order_of(seed: bytes, count: int, rounds: int = 8) -> list[int]:
    """The cycle-walked order, from the whole table of the network instead of one walk for each position."""
    a, b = halves_of(count)
    table = [feistel(seed, count, rounds, value) for value in range(a * b)]
    order = []
    for position in range(count):
        seat = table[position]
        while seat >= count:
            seat = table[seat]
        order.append(seat)
    return order


def seat_at(seed: bytes, count: int, position: int) -> int:
    seat = position
    while True:
        seat = feistel(seed, count, 8, seat)
        if seat < count:
            return seat


def cohorts_of(order: list[int], validators: int, cohorts: int) -> list[list[int]]:
    trainers = order[validators:]
    bounds = [c * len(trainers) // cohorts for c in range(cohorts + 1)]
    return [trainers[a:b] for a, b in itertools.pairwise(bounds)]


def word(text: str) -> bytes:
    return keccak256(b"p2p_flock test vector " + text.encode())


def hex_of(data: bytes) -> str:
    return "0x" + data.hex()


def seed_vectors() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    base = (84530, word("contract")[:20], 1, 0, word("randomness"))
    contexts = {
        "round 0 of a development alliance": base,
        "a later round": (*base[:3], 4_000_000_000, base[4]),
        "Base mainnet, a large alliance number": (8453, word("base")[:20], 2**200 + 7, 12, word("drand")),
        "all zero but the chain": (1, bytes(20), 0, 0, bytes(32)),
    }

    def entry(name: str, context: tuple[int, bytes, int, int, bytes], seed: bytes) -> dict[str, object]:
        chain_id, contract, alliance, round_number, randomness = context
        return {
            "name": name,
            "chain_id": chain_id,
            "contract": hex_of(contract),
            "alliance": str(alliance),
            "round": round_number,
            "randomness": hex_of(randomness),
            "seed": hex_of(seed),
        }

    good = [entry(name, context, seed_of(*context)) for name, context in contexts.items()]
    bad = [
        entry("the seed of the next round", base, seed_of(*base[:3], 1, base[4])),
        entry("the seed of another chain", base, seed_of(1, *base[1:])),
        entry("the seed of another alliance of the factory", base, seed_of(*base[:2], 2, *base[3:])),
        entry("the randomness itself", base, base[4]),
    ]
    return good, bad


def order_entry(
    name: str, seed: bytes, validators: int, cohorts: int, order: list[int], groups: list[list[int]] | None = None
) -> dict[str, object]:
    return {
        "name": name,
        "seed": hex_of(seed),
        "seat_count": len(order),
        "validator_count": validators,
        "cohort_count": cohorts,
        "order": order,
        "cohorts": cohorts_of(order, validators, cohorts) if groups is None else groups,
    }


def order_vectors() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    sizes = [
        (1, 0, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1), (5, 2, 1), (8, 3, 1), (9, 3, 2), (16, 4, 3), (17, 4, 3), (64, 7, 4),
        (65, 7, 16), (100, 21, 5), (257, 64, 16),
    ]  # fmt: skip
    good = []
    for count, validators, cohorts in sizes:
        seed = word(f"order of {count}")
        good.append(order_entry(f"{count} seats", seed, validators, cohorts, order_of(seed, count)))

    def wrong(name: str, count: int, change: Callable[[bytes, list[int]], list[int]]) -> dict[str, object]:
        seed = word(f"order of {count}")
        return order_entry(name, seed, 3, 1, change(seed, order_of(seed, count)))

    def swap(order: list[int], a: int, b: int) -> list[int]:
        order[a], order[b] = order[b], order[a]
        return order

    def unwalked(seed: bytes, order: list[int]) -> list[int]:
        count = len(order)
        return [feistel(seed, count, 8, position) % count for position in range(count)]

    def inverse(_: bytes, order: list[int]) -> list[int]:
        return [order.index(position) for position in range(len(order))]

    seed8, seed100 = word("order of 8"), word("order of 100")
    right8, right100 = order_of(seed8, 8), order_of(seed100, 100)
    groups = cohorts_of(right100, 21, 5)
    bad = [
        wrong("first and last seat swapped", 8, lambda _, order: swap(order, 0, 7)),
        wrong("two trainers swapped", 100, lambda _, order: swap(order, 50, 51)),
        wrong("a seat that stands twice", 8, lambda _, order: [order[1], *order[1:]]),
        wrong("the identity", 9, lambda _, order: list(range(len(order)))),
        wrong("four Feistel rounds", 16, lambda seed, order: order_of(seed, len(order), 4)),
        wrong("seven Feistel rounds", 64, lambda seed, order: order_of(seed, len(order), 7)),
        wrong("reduced by a remainder instead of cycle walking", 17, unwalked),
        wrong("the order of another seed", 65, lambda _, order: order_of(word("another"), len(order))),
        wrong("the inverse permutation", 257, inverse),
        wrong("reversed", 5, lambda _, order: order[::-1]),
        order_entry("the first trainer put into the last cohort", seed100, 21, 5, right100,
                    [groups[0][1:], *groups[1:4], [groups[0][0], *groups[4]]]),
        order_entry("a validator counted as trainer", seed8, 3, 1, right8, [right8[2:]]),
        order_entry("cohorts rounded up", seed100, 21, 5, right100,
                    [right100[21 + 16 * c : 21 + 16 * (c + 1)] for c in range(5)]),
    ]  # fmt: skip
    return good, bad


def position_vectors() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    good: list[dict[str, object]] = []
    for count in (1000, 4096, 65535):
        for position in (0, 63, count - 1):
            seed = word(f"position {position} of {count}")
            good.append({
                "name": f"position {position} of {count}",
                "seed": hex_of(seed),
                "seat_count": count,
                "position": position,
                "seat": seat_at(seed, count, position),
            })  # fmt: skip
    outside = [(8, 8), (8, 15), (8, 16), (1, 1), (17, 63), (1000, 1023), (4096, 4096), (65535, 65535), (3, 2**32)]
    bad: list[dict[str, object]] = [
        {
            "name": f"position {position} is outside 0..{count - 1}",
            "seed": hex_of(word("outside")),
            "seat_count": count,
            "position": position,
        }
        for count, position in outside
    ]
    return good, bad


def sortition() -> dict[str, object]:
    seeds, bad_seeds = seed_vectors()
    orders, bad_orders = order_vectors()
    positions, bad_positions = position_vectors()
    return {
        "about": (
            "order[p] is the seat at position p; validators come first, cohorts list the trainers' seats. A bad seed "
            "or order differs from what must be computed; a bad position must be refused, by seat_at and its inverse."
        ),
        "made_by": "contracts/script/make_vectors.py",
        "seeds": seeds,
        "bad_seeds": bad_seeds,
        "orders": orders,
        "bad_orders": bad_orders,
        "positions": positions,
        "bad_positions": bad_positions,
    }


# ---------------------------------------------------------------- beacon

P = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB
DST = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"

# PUBLIC AND WORTHLESS: the key of p2p_flock.chain.devnet_beacon, for chains that hold nothing.
DEVNET_SECRET = hashlib.sha256(b"p2p_flock devnet beacon").digest()

# drand quicknet, chain 52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971. Round 1000 is quoted by many
# drand clients' tests, round 657413 by the README of mcdcam/python-drand-verify.
QUICKNET_KEY = bytes.fromhex(
    "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
    "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
)
QUICKNET_ROUNDS = {
    1000: (
        "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39",
        "fe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd",
    ),
    657413: (
        "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be41076862b98fad56e91a6b85b89cd97b",
        "fc1873a13f3545aeade8401532ef5519920652eee6b0d2b19ca12643b87b3587",
    ),
}


def decompress(point: bytes) -> bytes:
    """x ‖ y of a compressed point of G1: y = sqrt(x³ + 4), the larger root if the third bit is set."""
    assert len(point) == 48 and point[0] & 0x80 and not point[0] & 0x40
    x = int.from_bytes(point, "big") % 2**381
    y = pow(x**3 + 4, (P + 1) // 4, P)
    assert y * y % P == (x**3 + 4) % P
    if (y > (P - 1) // 2) != bool(point[0] & 0x20):
        y = P - y
    return x.to_bytes(48, "big") + y.to_bytes(48, "big")


def contract_key(compressed: bytes) -> bytes:
    """x.c0, x.c1, y.c0, y.c1 in 64 bytes each, as EIP-2537 wants a point of G2."""
    raw = bytes(G2Point.from_compressed_bytes(compressed).to_xy_bytes_be())
    return b"".join(bytes(16) + raw[i : i + 48] for i in range(0, 192, 48))


def round_entry(number: int, compressed: bytes) -> dict[str, object]:
    return {
        "round": number,
        "signature_compressed": hex_of(compressed),
        "signature": hex_of(decompress(compressed)),
        "randomness": hex_of(hashlib.sha256(compressed).digest()),
    }


def devnet_signature(number: int) -> bytes:
    message = hashlib.sha256(number.to_bytes(8, "big")).digest()
    secret = Scalar.from_be_bytes_mod_order(DEVNET_SECRET)
    return bytes((G1Point.hash_to_curve(message, DST) * secret).to_compressed_bytes())


def point_off_subgroup() -> bytes:
    """A point of the curve outside G1: a random x is on the curve half the time and in the subgroup hardly ever."""
    x = 5
    while pow(x**3 + 4, (P - 1) // 2, P) != 1:
        x += 1
    y = pow(x**3 + 4, (P + 1) // 4, P)
    return x.to_bytes(48, "big") + y.to_bytes(48, "big")


def bad_signatures() -> list[dict[str, object]]:
    real = decompress(bytes.fromhex(QUICKNET_ROUNDS[1000][0]))
    devnet = decompress(devnet_signature(7))
    x, y = int.from_bytes(real[:48], "big"), int.from_bytes(real[48:], "big")
    entries = [
        ("quicknet", 1001, real, "WrongSignature", "the signature of another round"),
        ("quicknet", 1000, devnet, "WrongSignature", "the signature of another network"),
        ("devnet", 7, real, "WrongSignature", "quicknet's signature under the devnet key"),
        ("quicknet", 1000, real[:48] + (P - y).to_bytes(48, "big"), "WrongSignature", "the negated point"),
        (
            "quicknet",
            1000,
            real[:95] + bytes([real[95] ^ 1]),
            "WrongSignature",
            "y with one bit flipped: off the curve",
        ),
        ("quicknet", 1000, bytes([real[0] ^ 1]) + real[1:], "WrongSignature", "x with one bit flipped: off the curve"),
        ("quicknet", 1000, (x + P).to_bytes(48, "big") + real[48:], "WrongSignature", "x not reduced"),
        ("quicknet", 1000, bytes(96), "WrongSignature", "the point at infinity"),
        ("quicknet", 1000, point_off_subgroup(), "WrongSignature", "on the curve, outside the subgroup"),
        ("quicknet", 1000, bytes.fromhex(QUICKNET_ROUNDS[1000][0]), "WrongLength", "the compressed form"),
        ("quicknet", 1000, real + b"\0", "WrongLength", "one byte too many"),
        ("quicknet", 1000, b"", "WrongLength", "no bytes"),
        ("quicknet", 0, real, "NoSuchRound", "round 0"),
    ]
    return [
        {"name": name, "network": network, "round": number, "signature": hex_of(signature), "error": error}
        for network, number, signature, error, name in entries
    ]


def bad_keys(good: bytes) -> list[dict[str, object]]:
    swapped = good[64:128] + good[:64] + good[192:] + good[128:192]
    entries = [
        (bytes(256), "WrongPublicKey", "the point at infinity"),
        (good[:255] + bytes([good[255] ^ 1]), "WrongPublicKey", "one bit flipped: off the curve"),
        (swapped, "WrongPublicKey", "c1 before c0"),
        (good[:-1], "WrongLength", "one byte too few"),
    ]
    return [{"name": name, "public_key": hex_of(key), "error": error} for key, error, name in entries]


def beacon() -> dict[str, object]:
    rounds = []
    for number, (signature, randomness) in QUICKNET_ROUNDS.items():
        entry = round_entry(number, bytes.fromhex(signature))
        assert entry["randomness"] == "0x" + randomness, "drand published another randomness"
        rounds.append(entry)
    devnet_key = bytes((G2Point() * Scalar.from_be_bytes_mod_order(DEVNET_SECRET)).to_compressed_bytes())
    return {
        "about": (
            "Signatures of drand rounds, uncompressed x ‖ y as the contract takes them. The devnet secret key is "
            "PUBLIC AND WORTHLESS: whoever uses it on a chain that holds anything gives it away."
        ),
        "made_by": "contracts/script/make_vectors.py",
        "quicknet": {
            "chain_hash": "0x52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971",
            "genesis": 1692803367,
            "period": 3,
            "public_key_compressed": hex_of(QUICKNET_KEY),
            "public_key": hex_of(contract_key(QUICKNET_KEY)),
            "rounds": rounds,
        },
        "devnet": {
            "public_and_worthless_secret_key": hex_of(DEVNET_SECRET),
            "public_key_compressed": hex_of(devnet_key),
            "public_key": hex_of(contract_key(devnet_key)),
            "rounds": [round_entry(number, devnet_signature(number)) for number in (1, 2, 7, 109, 2**40, 2**53 - 1)],
        },
        "bad_signatures": bad_signatures(),
        "bad_keys": bad_keys(contract_key(QUICKNET_KEY)),
    }


def emission() -> list[dict[str, object]]:
    """FLOCK released after some seconds, from the daily figure by exact integers."""
    month, budgets = 30 * 86400, [30 * 30915768 * 10**16]
    for _ in range(59):
        budgets.append(budgets[-1] * 99 // 100)
    moments = {0, 1, 2, 86399, 86400, 86401, 10**9, 2**64 - 1}
    moments |= {m * month + offset for m in range(1, 61) for offset in (-1, 0, 1, 1234567)}
    entries: list[dict[str, object]] = []
    for elapsed in sorted(moments):
        full = min(elapsed // month, 60)
        part = budgets[full] * (elapsed % month) // month if full < 60 else 0
        entries.append({"elapsed": elapsed, "released": str(sum(budgets[:full]) + part)})
    return entries


def lock_entries() -> list[dict[str, object]]:
    """gm of a lock, by FLock's formula in exact fractions of days."""
    day = 86400
    amounts = (1, 2, 99, 10**18, 10**18 + 1, 123456789 * 10**15 + 7, 10**27 - 1, 10**27)
    times = (1, 29, 30, 31, 60, 90, 180, 270, 364, 365, 366, 3650)
    entries: list[dict[str, object]] = []
    for amount in amounts:
        for seconds in sorted({t * day + offset for t in times for offset in (0, 1, 43217)}):
            days = min(Fraction(seconds, day), Fraction(365))
            above = max(days - 30, Fraction(0))
            gm = floor(amount * (1 + Fraction(219, 100) * above / 365))
            entries.append({"amount": str(amount), "seconds": seconds, "gm": str(gm)})
    return entries


def governance() -> dict[str, object]:
    return {
        "about": "FLOCK released by the emission's schedule, and gmFLOCK of locks; wei and seconds.",
        "made_by": "contracts/script/make_vectors.py",
        "emission": emission(),
        "locks": lock_entries(),
    }


def main() -> int:
    stale = []
    for name, make in (("sortition.json", sortition), ("beacon.json", beacon), ("governance.json", governance)):
        text = json.dumps(make(), indent=1, ensure_ascii=False) + "\n"
        path = FOLDER / name
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(name)
    if stale:
        sys.stderr.write(f"stale vectors: {', '.join(stale)}; run contracts/script/make_vectors.py\n")
    return len(stale)


if __name__ == "__main__":
    sys.exit(main())
