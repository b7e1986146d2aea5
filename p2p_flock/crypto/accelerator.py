"""The optional masking kernel: compiled in memory by llvmlite for this machine's processor, two to four times as fast.

Called by ``crypto/masking.py`` only, which compares it with the plain path before it uses it. Gives the same bytes as
AES-256-CTR of any other library. Without the package llvmlite, or on a processor without AES instructions, there is
none, and nothing else changes. Importing this module is free; :func:`build_accelerator` costs a tenth of a second and
some 50 MiB, because it loads LLVM.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from p2p_flock.crypto.aes_kernel import SCHEDULE_BYTES, WORD_BITS, group_bytes, write_module
from p2p_flock.crypto.ring import Words
from p2p_flock.errors import P2PFlockError

_AES_BLOCK_BYTES = 16
# Widest first: name, bits of a vector, what LLVM must find. AVX-512's additions of 16-bit words are in avx512bw.
_VARIANTS = (
    ("VAES-512", 512, ("vaes", "avx512f", "avx512bw")),
    ("VAES-256", 256, ("vaes", "avx2")),
    ("AES-NI", 128, ("aes", "sse4.1")),
)


class AcceleratorUnavailableError(P2PFlockError):
    """There is no kernel on this machine; the message says why, in words for its operator."""


def find_variants(features: Mapping[str, bool]) -> tuple[tuple[str, int], ...]:
    """(name, bits of a vector) of the kernels that a processor with these features (LLVM's names) can run."""
    return tuple((name, bits) for name, bits, needed in _VARIANTS if all(features.get(need) for need in needed))


def build_accelerator(bits_max: int = 512) -> Accelerator:
    """The fastest kernel that this machine can run with vectors of at most ``bits_max``.

    Raises:
        AcceleratorUnavailableError: llvmlite is not installed, does not load or does not know this machine, or the
            processor has no AES instructions.
    """
    try:
        llvm = importlib.import_module("llvmlite.binding")
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features()
    except ImportError as error:
        raise AcceleratorUnavailableError("the package llvmlite is not installed") from error
    except (OSError, RuntimeError, AttributeError) as error:
        raise AcceleratorUnavailableError(f"llvmlite does not work here: {error}") from error
    for name, bits in find_variants(features):
        if bits <= bits_max:
            return Accelerator(llvm, name, bits)
    raise AcceleratorUnavailableError("this processor has no AES instructions")


class _Engine(Protocol):
    def get_function_address(self, name: str) -> int: ...


class Accelerator:
    """Compiled code for one kind of processor; safe to use from several threads, each with words of its own.

    Attributes:
        name: the instructions used: ``VAES-512``, ``VAES-256`` or ``AES-NI``.
    """

    def __init__(self, llvm: ModuleType, name: str, vector_bits: int) -> None:
        self.name = name
        self._llvm = llvm
        self._vector_bits = vector_bits
        self._engines: list[_Engine] = []  # own the machine code that the functions below point to
        self._functions: dict[int, tuple[Callable[..., None], Callable[..., None]]] = {}

    def add_masks(self, words: Words, signed_keys: Sequence[tuple[bytes, int]], offset_bytes: int) -> None:
        """``words += Σ sign · PRG(key)`` in place; the first word is byte ``offset_bytes`` of the streams.

        Args:
            words: contiguous, one-dimensional, writeable; ``offset_bytes`` is a multiple of a word.
            signed_keys: (32-byte key, +1 or −1).

        Raises:
            AcceleratorUnavailableError: LLVM compiles no code for these words.
        """
        if not signed_keys or not words.size:
            return
        expand, mask = self._get_functions(8 * words.itemsize)
        count = len(signed_keys)
        complements = bytes(0 if sign == 1 else 255 for _, sign in signed_keys)
        keys = bytearray().join(key for key, _ in signed_keys)
        space = np.empty(SCHEDULE_BYTES * count + _AES_BLOCK_BYTES, dtype=np.uint8)
        schedules = space.ctypes.data + -space.ctypes.data % _AES_BLOCK_BYTES
        try:
            expand(np.frombuffer(keys, dtype=np.uint8).ctypes.data, complements, count, schedules)

            def run(target: npt.NDArray[np.uint8], start_bytes: int) -> None:
                groups, block = target.size // self._group_bytes, start_bytes // _AES_BLOCK_BYTES
                mask(target.ctypes.data, groups, schedules, count, block, complements.count(255))

            self._run_in_groups(words.view(np.uint8), offset_bytes, run)
        finally:  # as OpenSSL does with its contexts: key material does not wait in freed memory
            space.fill(0)
            keys[:] = bytes(len(keys))

    @property
    def _group_bytes(self) -> int:
        return group_bytes(self._vector_bits)

    def _run_in_groups(
        self, target: npt.NDArray[np.uint8], offset: int, run: Callable[[npt.NDArray[np.uint8], int], None]
    ) -> None:
        """The kernel takes whole groups from an AES block's border on; a head and a tail pass through a copy."""
        group = self._group_bytes

        def run_in_copy(part: npt.NDArray[np.uint8], start_bytes: int) -> None:
            lead = start_bytes % _AES_BLOCK_BYTES
            copy = np.zeros(group, dtype=np.uint8)
            copy[lead : lead + part.size] = part
            run(copy, start_bytes - lead)
            part[:] = copy[lead : lead + part.size]

        head = min(group - offset % _AES_BLOCK_BYTES, target.size) if offset % _AES_BLOCK_BYTES else 0
        if head:
            run_in_copy(target[:head], offset)
        whole = (target.size - head) // group * group
        if whole:
            run(target[head : head + whole], offset + head)
        if head + whole < target.size:
            run_in_copy(target[head + whole :], offset + head + whole)

    def _get_functions(self, word_bits: int) -> tuple[Callable[..., None], Callable[..., None]]:
        """(expand, mask) of :func:`aes_kernel.write_module`, compiled when first asked for; ctypes frees the GIL."""
        assert word_bits in WORD_BITS
        if word_bits not in self._functions:
            engine = self._start_engine(write_module(self._vector_bits, word_bits))
            pointer, number = ctypes.c_void_p, ctypes.c_int64
            expand = ctypes.CFUNCTYPE(None, pointer, ctypes.c_char_p, number, pointer)
            mask = ctypes.CFUNCTYPE(None, pointer, number, pointer, number, number, number)
            self._engines.append(engine)
            self._functions[word_bits] = (
                expand(engine.get_function_address("expand")),
                mask(engine.get_function_address("mask")),
            )
        return self._functions[word_bits]

    def _start_engine(self, code: str) -> _Engine:
        llvm = self._llvm
        try:
            module = llvm.parse_assembly(code)
            module.verify()
            machine = llvm.Target.from_default_triple().create_target_machine(
                cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
            )
            engine = llvm.create_mcjit_compiler(module, machine)
            engine.finalize_object()
        except RuntimeError as error:
            raise AcceleratorUnavailableError(f"LLVM does not compile the kernel: {error}") from error
        return cast(_Engine, engine)
