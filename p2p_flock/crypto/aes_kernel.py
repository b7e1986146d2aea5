"""LLVM code of ``words += Σ ±AES-256-CTR(key)``, one fused loop: the keystream never leaves the registers.

Called by ``crypto/accelerator.py`` only, which compiles, tests and runs it. Text in, text out: knows no library.

Three facts shape it. AES on x86 takes one instruction per round and vector, with two pipes and a latency of four, so
eight vectors are under way at once. Words stay in the first-level cache while all keys pass over them: a stripe of 16
groups of 8 vectors, 4 KiB where vectors have 32 bytes. And acc − s = acc + ¬s + 1: a key to be subtracted has its last
round key complemented, which complements its keystream for nothing, and the ones are added to the stripe beforehand.
"""

from __future__ import annotations

ROUNDS = 14  # of AES-256 (FIPS 197 §5)
SCHEDULE_BYTES = 16 * (ROUNDS + 1)
WORD_BITS = (16, 32, 64)

_VECTORS = 8  # in one group
_GROUPS = 16  # in one stripe


def group_bytes(vector_bits: int) -> int:
    """What the kernel works in whole numbers of."""
    return _VECTORS * vector_bits // 8


def write_module(vector_bits: int, word_bits: int) -> str:
    """A module with two functions; all pointers but ``words`` are aligned to 16 bytes.

    ``expand(keys, complements, count, schedules)``: round keys of ``count`` keys of 32 bytes; where the byte in
    ``complements`` is 255 and not 0, the last one is complemented.

    ``mask(words, groups, schedules, count, first_block, negatives)``: adds ``count`` ≥ 1 keystreams, from AES block
    ``first_block`` < 2⁶⁴ on, to ``groups`` ≥ 1 whole groups of words; ``negatives`` of the keys are complemented.

    Args:
        vector_bits: 128 (AES-NI), 256 or 512 (VAES).
        word_bits: 16, 32 or 64: where carries end.
    """
    halves = vector_bits // 64
    vector, suffix = f"<{halves} x i64>", "" if vector_bits == 128 else f".{vector_bits}"
    return f"""
declare {vector} @llvm.x86.aesni.aesenc{suffix}({vector}, {vector})
declare {vector} @llvm.x86.aesni.aesenclast{suffix}({vector}, {vector})
declare {vector} @llvm.bswap.v{halves}i64({vector})
declare <2 x i64> @llvm.x86.aesni.aeskeygenassist(<2 x i64>, i8 immarg)
{_write_mask(vector_bits, word_bits)}
{_write_expand()}
attributes #0 = {{ nounwind "min-legal-vector-width"="{vector_bits}" "prefer-vector-width"="{vector_bits}" }}
"""


def _repeat(values: list[int], type_name: str = "i64") -> str:
    return "<" + ", ".join(f"{type_name} {value}" for value in values) + ">"


def _write_mask(vector_bits: int, word_bits: int) -> str:
    halves, words, size = vector_bits // 64, vector_bits // word_bits, vector_bits // 8
    vector, lanes, group = f"<{halves} x i64>", f"<{words} x i{word_bits}>", group_bytes(vector_bits)
    narrow = "add i64 %negatives, 0" if word_bits == 64 else f"trunc i64 %negatives to i{word_bits}"
    blocks = _repeat([half // 2 if half % 2 else 0 for half in range(halves)])
    low_halves = _repeat([-1 if half % 2 else 0 for half in range(halves)])  # counter blocks are big-endian
    return f"""
define void @mask(ptr %words, i64 %groups, ptr %schedules, i64 %count, i64 %first_block, i64 %negatives) #0 {{
entry:
  %counters = alloca [{_GROUPS * group} x i8], align 64
  %ones_0 = {narrow}
  %ones_1 = insertelement {lanes} poison, i{word_bits} %ones_0, i32 0
  %ones = shufflevector {lanes} %ones_1, {lanes} poison, <{words} x i32> zeroinitializer
  br label %stripe
stripe:
  %done_groups = phi i64 [ 0, %entry ], [ %done_groups_next, %stripe_end ]
  %left = sub i64 %groups, %done_groups
  %is_whole = icmp ugt i64 %left, {_GROUPS}
  %stripe_groups = select i1 %is_whole, i64 {_GROUPS}, i64 %left
  %stripe_bytes = mul i64 %stripe_groups, {group}
  %done_bytes = mul i64 %done_groups, {group}
  %done_blocks = mul i64 %done_groups, {group // 16}
  %stripe_words = getelementptr i8, ptr %words, i64 %done_bytes
  %stripe_block = add i64 %first_block, %done_blocks
  br label %prepare
prepare:
  %at = phi i64 [ 0, %stripe ], [ %at_next, %prepare ]
  %at_next = add i64 %at, {size}
  %at_block = lshr i64 %at, 4
  %block = add i64 %stripe_block, %at_block
  %blocks_0 = insertelement {vector} poison, i64 %block, i32 0
  %blocks_1 = shufflevector {vector} %blocks_0, {vector} poison, <{halves} x i32> zeroinitializer
  %blocks_2 = add {vector} %blocks_1, {blocks}
  %blocks_3 = call {vector} @llvm.bswap.v{halves}i64({vector} %blocks_2)
  %blocks = and {vector} %blocks_3, {low_halves}
  %counter = getelementptr i8, ptr %counters, i64 %at
  store {vector} %blocks, ptr %counter, align {size}
  %word = getelementptr i8, ptr %stripe_words, i64 %at
  %before = load {lanes}, ptr %word, align 1
  %after = add {lanes} %before, %ones
  store {lanes} %after, ptr %word, align 1
  %is_unprepared = icmp ult i64 %at_next, %stripe_bytes
  br i1 %is_unprepared, label %prepare, label %key
key:
  %key_index = phi i64 [ 0, %prepare ], [ %key_next, %key_end ]
  %key_bytes = mul i64 %key_index, {SCHEDULE_BYTES}
  %schedule = getelementptr i8, ptr %schedules, i64 %key_bytes
  br label %group
group:
  %start = phi i64 [ 0, %key ], [ %start_next, %group ]
  %start_next = add i64 %start, {group}
{_write_group(vector, lanes, halves, suffix="" if vector_bits == 128 else f".{vector_bits}", size=size)}
  %is_unmasked = icmp ult i64 %start_next, %stripe_bytes
  br i1 %is_unmasked, label %group, label %key_end
key_end:
  %key_next = add i64 %key_index, 1
  %has_keys = icmp ult i64 %key_next, %count
  br i1 %has_keys, label %key, label %stripe_end
stripe_end:
  %done_groups_next = add i64 %done_groups, %stripe_groups
  %has_groups = icmp ult i64 %done_groups_next, %groups
  br i1 %has_groups, label %stripe, label %end
end:
  ret void
}}"""


def _write_group(vector: str, lanes: str, halves: int, suffix: str, size: int) -> str:
    """Eight vectors through all rounds, then onto the words."""
    lines: list[str] = []

    def load_round_key(number: int) -> None:
        lines.append(f"  %rp{number} = getelementptr i8, ptr %schedule, i64 {16 * number}")
        lines.append(f"  %rl{number} = load <2 x i64>, ptr %rp{number}, align 16")
        order = _repeat([half % 2 for half in range(halves)], "i32")
        lines.append(f"  %rk{number} = shufflevector <2 x i64> %rl{number}, <2 x i64> poison, <{halves} x i32> {order}")

    load_round_key(0)
    for n in range(_VECTORS):
        lines.append(f"  %offset{n} = add i64 %start, {size * n}")
        lines.append(f"  %cp{n} = getelementptr i8, ptr %counters, i64 %offset{n}")
        lines.append(f"  %c{n} = load {vector}, ptr %cp{n}, align {size}")
        lines.append(f"  %s{n}_0 = xor {vector} %c{n}, %rk0")
    for number in range(1, ROUNDS + 1):
        load_round_key(number)
        name = f"@llvm.x86.aesni.{'aesenc' if number < ROUNDS else 'aesenclast'}{suffix}"
        for n in range(_VECTORS):
            state, key = f"{vector} %s{n}_{number - 1}", f"{vector} %rk{number}"
            lines.append(f"  %s{n}_{number} = call {vector} {name}({state}, {key})")
    for n in range(_VECTORS):
        lines.append(f"  %wp{n} = getelementptr i8, ptr %stripe_words, i64 %offset{n}")
        lines.append(f"  %w{n} = load {lanes}, ptr %wp{n}, align 1")
        lines.append(f"  %m{n} = bitcast {vector} %s{n}_{ROUNDS} to {lanes}")
        lines.append(f"  %x{n} = add {lanes} %w{n}, %m{n}")
        lines.append(f"  store {lanes} %x{n}, ptr %wp{n}, align 1")
    return "\n".join(lines)


def _write_expand() -> str:
    """Key expansion of AES-256 (FIPS 197 §5.2) by AESKEYGENASSIST: no table that a key indexes, constant in time."""
    steps: list[str] = []
    quads = "<4 x i32>"
    for number in range(2, ROUNDS + 1):  # round key `number` from the two before it
        constant, word = (1 << (number // 2 - 1), 3) if number % 2 == 0 else (0, 2)
        n, before = str(number), f"%k{number - 2}"
        steps += [
            f"%a{n} = bitcast {quads} %k{number - 1} to <2 x i64>",
            f"%b{n} = call <2 x i64> @llvm.x86.aesni.aeskeygenassist(<2 x i64> %a{n}, i8 {constant})",
            f"%c{n} = bitcast <2 x i64> %b{n} to {quads}",
            f"%d{n} = shufflevector {quads} %c{n}, {quads} poison, {quads} {_repeat([word] * 4, 'i32')}",
            f"%e{n} = shufflevector {quads} {before}, {quads} zeroinitializer, {quads} {_repeat([4, 0, 1, 2], 'i32')}",
            f"%f{n} = xor {quads} {before}, %e{n}",
            f"%g{n} = shufflevector {quads} %f{n}, {quads} zeroinitializer, {quads} {_repeat([4, 5, 0, 1], 'i32')}",
            f"%h{n} = xor {quads} %f{n}, %g{n}",
            f"%k{n} = xor {quads} %h{n}, %d{n}",
        ]
    for number in range(ROUNDS + 1):
        value = f"%k{number}" if number < ROUNDS else "%last"
        steps += [
            f"%p{number} = getelementptr i8, ptr %schedule, i64 {16 * number}",
            f"store {quads} {value}, ptr %p{number}, align 16",
        ]
        if number == ROUNDS - 1:
            steps.append(f"%last = xor {quads} %k{ROUNDS}, %complement")
    body = "\n".join(f"  {step}" for step in steps)
    return f"""
define void @expand(ptr %keys, ptr %complements, i64 %count, ptr %schedules) #0 {{
entry:
  br label %key
key:
  %index = phi i64 [ 0, %entry ], [ %next, %key ]
  %key_bytes = mul i64 %index, 32
  %low = getelementptr i8, ptr %keys, i64 %key_bytes
  %high = getelementptr i8, ptr %low, i64 16
  %k0 = load {quads}, ptr %low, align 1
  %k1 = load {quads}, ptr %high, align 1
  %schedule_bytes = mul i64 %index, {SCHEDULE_BYTES}
  %schedule = getelementptr i8, ptr %schedules, i64 %schedule_bytes
  %complement_at = getelementptr i8, ptr %complements, i64 %index
  %complement_byte = load i8, ptr %complement_at, align 1
  %complement_word = sext i8 %complement_byte to i32
  %complement_0 = insertelement {quads} poison, i32 %complement_word, i32 0
  %complement = shufflevector {quads} %complement_0, {quads} poison, {quads} zeroinitializer
{body}
  %next = add i64 %index, 1
  %has_keys = icmp ult i64 %next, %count
  br i1 %has_keys, label %key, label %end
end:
  ret void
}}"""
