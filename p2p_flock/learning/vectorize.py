"""A model as one flat vector, and back.

Used by the tasks; the rest of the package knows models as vectors only. The order is that of ``state_dict``, each
tensor in C order. Never reads or writes files.
"""

from __future__ import annotations

import numpy as np
import torch

from p2p_flock.errors import LocalProtocolError, TaskError
from p2p_flock.learning.results import Float32, Float64


def count_parameters(model: torch.nn.Module) -> int:
    """D: the length of the model's flat vector."""
    return sum(tensor.numel() for tensor in _tensors(model))


def to_vector(model: torch.nn.Module) -> Float32:
    """The model's state as float32 of shape (D,), a copy.

    Raises:
        TaskError: the state holds a tensor that cannot be averaged.
    """
    parts = [tensor.detach().cpu().reshape(-1).numpy() for tensor in _tensors(model)]
    return np.concatenate(parts).astype(np.float32, copy=True)


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
    # An entry beyond float32 becomes infinite, which the evaluation then punishes; it is no reason to warn.
    with np.errstate(over="ignore", invalid="ignore"):
        flat = torch.from_numpy(vector.astype(np.float32, copy=True))
    offset = 0
    with torch.no_grad():
        for tensor in tensors:
            tensor.copy_(flat[offset : offset + tensor.numel()].reshape(tensor.shape))
            offset += tensor.numel()


def _tensors(model: torch.nn.Module) -> list[torch.Tensor]:
    tensors = []
    for name, tensor in model.state_dict().items():
        # An integer buffer (BatchNorm's num_batches_tracked) has no meaningful mean over hospitals.
        if tensor.dtype is not torch.float32:
            raise TaskError(f"tensor {name} is {tensor.dtype}, not float32: use GroupNorm in place of BatchNorm")
        tensors.append(tensor)
    return tensors
