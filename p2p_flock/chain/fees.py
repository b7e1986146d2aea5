"""What a transaction costs on Base: its gas on L2, and its share of the blobs in which Base publishes it on L1.

Called by ``deploy_cost.py`` and ``scripts/bench gas``; the only home of the formula. The tests compare it with answers
of op-geth and with what anvil's OP mode charges. Must never be used to decide what to sign: prices here are estimates.
"""

from __future__ import annotations

from dataclasses import dataclass

# Fjord's linear estimate of a transaction's compressed size, in millionths of a byte (OP stack specification, "Fjord
# L1-Cost fees changes"): never below 100 bytes, else -42.5856 + 0.8365 for each byte of its FastLZ form.
SIZE_MIN = 100_000_000
SIZE_INTERCEPT = -42_585_600
SIZE_PER_FASTLZ_BYTE = 836_500
SCALE = 10**12  # a size in millionths of a byte times a scalar in millionths
CALLDATA_GAS_PER_BYTE = 16  # of L1, in whose terms the first scalar is stated

# FastLZ, level 1: what a match may look back on, how long one instruction may be.
WINDOW_BYTES = 1 << 13
MATCH_BYTES_MAX = 262
LITERALS_MAX = 32
MATCH_START_FROM_END_BYTES = 14  # a match begins before the last 14 bytes
MATCH_END_FROM_END_BYTES = 4  # and ends before the last four
HASH_FACTOR = 2_654_435_769
HASH_SHIFT = 19

WEI_PER_GWEI = 10**9
WEI_PER_ETH = 10**18

# Of Base, read from its L1Block contract on a live chain (slots 3, 1 and 7) where there is one to ask; else these.
BASE_FEE_WEI = 5_000_000  # the minimum, which Base mostly charges (its configuration changelog, February 2026)
TIP_WEI = 1_000_000  # what our sender offers
L1_BASE_FEE_WEI = WEI_PER_GWEI  # an assumption
BLOB_BASE_FEE_WEI = WEI_PER_GWEI // 16  # the least that EIP-7918 allows beside a base fee of 1 gwei
BASE_FEE_SCALAR = 2_269
BLOB_BASE_FEE_SCALAR = 1_055_762
ETH_USD = 3_000.0  # an assumption


@dataclass(frozen=True, slots=True)
class BaseFees:
    """Prices of one moment; wei per gas or per blob gas, scalars in millionths."""

    base_fee_wei: int = BASE_FEE_WEI
    tip_wei: int = TIP_WEI
    l1_base_fee_wei: int = L1_BASE_FEE_WEI
    blob_base_fee_wei: int = BLOB_BASE_FEE_WEI
    base_fee_scalar: int = BASE_FEE_SCALAR
    blob_base_fee_scalar: int = BLOB_BASE_FEE_SCALAR

    def l1_fee_wei(self, raw: bytes) -> int:
        """The L1 part alone; ``raw`` is the signed transaction."""
        return compute_l1_fee_wei(
            raw, self.l1_base_fee_wei, self.blob_base_fee_wei, self.base_fee_scalar, self.blob_base_fee_scalar
        )

    def cost_wei(self, gas: int, raw: bytes) -> int:
        """What the sender pays: ``gas`` used at base fee and tip, and the L1 fee of the signed transaction ``raw``.

        Base charges no operator fee, as far as it documents.
        """
        return gas * (self.base_fee_wei + self.tip_wei) + self.l1_fee_wei(raw)


def compute_l1_fee_wei(
    raw: bytes, l1_base_fee_wei: int, blob_base_fee_wei: int, base_fee_scalar: int, blob_base_fee_scalar: int
) -> int:
    """The L1 fee of a signed transaction since Fjord (OP stack specification, "Fjord L1-Cost fees changes").

    Args:
        raw: the signed transaction as it is sent.
        l1_base_fee_wei, blob_base_fee_wei: of L1, per gas and per blob gas.
        base_fee_scalar, blob_base_fee_scalar: of the chain, in millionths.
    """
    size = max(SIZE_MIN, SIZE_INTERCEPT + SIZE_PER_FASTLZ_BYTE * compute_fastlz_length(raw))
    price = base_fee_scalar * l1_base_fee_wei * CALLDATA_GAS_PER_BYTE + blob_base_fee_scalar * blob_base_fee_wei
    return size * price // SCALE


def compute_fastlz_length(raw: bytes) -> int:
    """Length of the FastLZ (level 1) form of ``raw``, as op-geth and the GasPriceOracle contract count it.

    The compressor is greedy: a hash of three bytes finds where they stood last, the match is followed to its end, what
    lies between two matches is copied literally. Every consensus client must find the same matches, so this mirrors
    its quirks: two positions are remembered behind each match and none inside it.
    """
    seen = [0] * WINDOW_BYTES  # hash of three bytes -> where they stood last
    length, anchor, at = 0, 0, 2
    while at < len(raw) - MATCH_START_FROM_END_BYTES:
        key = _hash(raw, at)
        earlier, seen[key] = seen[key], at
        if at - earlier >= WINDOW_BYTES or raw[at : at + 3] != raw[earlier : earlier + 3]:
            at += 1
            continue
        length += _literals_length(at - anchor)
        matched = _match_length(raw, earlier + 3, at + 3, len(raw) - MATCH_END_FROM_END_BYTES)
        length += _match_instructions_length(matched)
        at += matched
        for _ in range(2):
            seen[_hash(raw, at)] = at
            at += 1
        anchor = at
    return length + _literals_length(len(raw) - anchor)


def _hash(raw: bytes, at: int) -> int:
    value = int.from_bytes(raw[at : at + 3], "little")
    return (HASH_FACTOR * value >> HASH_SHIFT) & (WINDOW_BYTES - 1)


def _literals_length(count: int) -> int:
    """Bytes that ``count`` literal bytes take: one more for each run of at most 32."""
    return count + -(-count // LITERALS_MAX)


def _match_length(raw: bytes, earlier: int, at: int, end: int) -> int:
    """How far the two positions go on alike, the first difference counted, as the reference does."""
    count = 0
    while at + count < end:
        count += 1
        if raw[earlier + count - 1] != raw[at + count - 1]:
            break
    return count


def _match_instructions_length(matched: int) -> int:
    """Bytes of the instructions for a match: three for each full 262 bytes, two or three for the rest."""
    rest = matched - 1
    return 3 * (rest // MATCH_BYTES_MAX) + (3 if rest % MATCH_BYTES_MAX >= 6 else 2)
