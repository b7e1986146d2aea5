"""A model as one flat vector, and back.

Used by the tasks; the rest of the package knows models as vectors only. The order is that of ``state_dict``, each
tensor in C order. Also the random start of a model, which must have the same bits everywhere. Never reads or writes
files.
"""

from __future__ import annotations

import math
import mmap
from typing import Final

import numpy as np
import torch

from p2p_flock.errors import LocalProtocolError, TaskError
from p2p_flock.learning.results import Float32, Float64

LOADED_AT_ONCE: Final = 1 << 20  # values; bounds the copy
INITIALISED_AT_ONCE: Final = 1 << 20  # even, so that no word is split; bounds the memory beside the model


def count_parameters(model: torch.nn.Module) -> int:
    """D: the length of the model's flat vector."""
    return sum(tensor.numel() for tensor in _tensors(model))


def layout_of(model: torch.nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """(name, shape) of each tensor in the order in which the flat vector holds them.

    Raises:
        TaskError: the state holds a tensor that cannot be averaged.
    """
    _tensors(model)
    return [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]


def to_vector(model: torch.nn.Module) -> Float32:
    """The model's state as float32 of shape (D,), a copy.

    Raises:
        TaskError: the state holds a tensor that cannot be averaged.
    """
    return np.concatenate([tensor.detach().cpu().reshape(-1).numpy() for tensor in _tensors(model)])


def load_vector(model: torch.nn.Module, vector: Float32 | Float64) -> None:
    """Overwrite the model's state in place with a vector of shape (D,); float64 is rounded to float32 once.

    Raises:
        LocalProtocolError: the vector has another length.
        TaskError: the state holds a tensor that cannot be averaged.
    """
    tensors = _tensors(model)
    expected = sum(tensor.numel() for tensor in tensors)
    if vector.shape != (expected,):
        raise LocalProtocolError(f"the model has {expected} parameters, the vector has shape {vector.shape}")
    offset = 0
    # An entry beyond float32 becomes infinite, which the evaluation then punishes; it is no reason to warn.
    with torch.no_grad(), np.errstate(over="ignore", invalid="ignore"):
        for tensor in tensors:
            flat = tensor.view(-1) if tensor.is_contiguous() else tensor.new_empty(tensor.numel())
            for start in range(0, flat.numel(), LOADED_AT_ONCE):
                part = flat[start : start + LOADED_AT_ONCE]
                values = vector[offset + start : offset + start + part.numel()]
                part.copy_(torch.from_numpy(values.astype(np.float32, copy=True)))
                _let_go_of_pages(vector)
            if not tensor.is_contiguous():
                tensor.copy_(flat.reshape(tensor.shape))
            offset += tensor.numel()


def subtract_vector(values: Float32, parameters: Float32 | Float64) -> None:
    """``values -= parameters`` in place, where both have shape (D,); parameters are rounded to float32 as
    :func:`load_vector` does, so the difference to what was loaded is exact to the bit.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, values.size, LOADED_AT_ONCE):
            part = slice(start, start + LOADED_AT_ONCE)
            values[part] -= parameters[part].astype(np.float32)
            _let_go_of_pages(parameters)


def _let_go_of_pages(vector: Float32 | Float64) -> None:
    """A file's pages that were read would count as this process's memory, twice as much as the model, while it trains.

    Nothing is lost: the mapping is read-only, and what is looked at again is read again.
    """
    mapping = getattr(vector, "_mmap", None)  # of a numpy.memmap, which has no public name for it
    if isinstance(mapping, mmap.mmap) and not vector.flags.writeable and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def initialise(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Overwrite the model's weights with U(±1/√fan_in) and its biases with 0, and return it.

    The same bits on every machine, which torch's own generators do not promise: raw words of PCG64 (a stream that numpy
    keeps stable), 24 bits of each as an exact float32 in [-1, 1), then one correctly rounded product. Tensors of one
    dimension other than biases stay as they are (a normalisation's ones).

    Source: fan-in and bound as in torch.nn.Linear, after LeCun et al. 1998, "Efficient BackProp".
    """
    bits = np.random.PCG64(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.ndim >= 2:
                bound = np.float32(1 / math.sqrt(tensor[0].numel()))
                flat = tensor.view(-1)
                for start in range(0, flat.numel(), INITIALISED_AT_ONCE):
                    part = flat[start : start + INITIALISED_AT_ONCE]
                    part.copy_(torch.from_numpy(_draw_units(bits, part.numel()) * bound))
            elif name.endswith("bias"):
                tensor.zero_()
    return model


def _draw_units(bits: np.random.PCG64, count: int) -> Float32:
    words = bits.random_raw((count + 1) // 2).astype("<u8").view("<u4")[:count]
    return ((words >> 8).astype(np.float32) - np.float32(1 << 23)) * np.float32(2.0**-23)


def _tensors(model: torch.nn.Module) -> list[torch.Tensor]:
    tensors = []
    for name, tensor in model.state_dict().items():
        # An integer buffer (BatchNorm's num_batches_tracked) has no meaningful mean over hospitals.
        if tensor.dtype is not torch.float32:
            raise TaskError(f"tensor {name} is {tensor.dtype}, not float32: use GroupNorm in place of BatchNorm")
        tensors.append(tensor)
    return tensors
