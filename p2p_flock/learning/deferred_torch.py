"""Lets ``import torch`` cost nothing until something of torch is used. Called by processes that may need it late.

Torch takes 2.5 s of CPU time and 200 MB. What a node is asked before its first training round (manifest, data check,
statistics) mostly needs numpy only, and a node without an alliance never trains; yet tasks are written with a plain
``import torch`` at their top, as everybody writes them. The standard library's ``LazyLoader`` does not help: since
Python 3.11 the second ``import torch`` in a process makes it load.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType

NAME = "torch"
_lock = threading.Lock()


class _Deferred(ModuleType):
    """Stands for torch until an attribute of it is asked for, and passes every question on from then on."""

    def __getattr__(self, name: str) -> object:
        real = _load()
        # From now on found here directly; what torch itself makes late still comes through this method.
        self.__dict__.update({key: value for key, value in real.__dict__.items() if key not in self.__dict__})
        return getattr(real, name)


def _load() -> ModuleType:
    with _lock:  # two threads may ask at once; the import itself has a lock of its own
        if isinstance(sys.modules.get(NAME), _Deferred):
            del sys.modules[NAME]
    return importlib.import_module(NAME)


def defer_torch() -> None:
    """Call before the first import of torch; does nothing after it, or where torch is not installed."""
    if NAME not in sys.modules and importlib.util.find_spec(NAME) is not None:
        deferred = _Deferred(NAME)
        deferred.__spec__ = importlib.util.find_spec(NAME)  # what an import statement looks at
        sys.modules[NAME] = deferred
