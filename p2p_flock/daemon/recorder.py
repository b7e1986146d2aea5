"""Test mode: keeps what masks hide on the node's own disk, and can switch the masks off. Never active outside a test.

``daemon/config.py`` refuses these settings unless the chain is a devnet and the environment says that this is a test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from p2p_flock.alliance.aggregates import open_aggregate
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.crypto.ring import Words
from p2p_flock.crypto.vectors import ByteSource
from p2p_flock.daemon.config import SettingsForTest
from p2p_flock.ports import Event, UpdateComputed
from p2p_flock.secagg import contributor, opening
from p2p_flock.store.files import make_private_folder, write_all


class TestRecorder:
    """Writes encodings, updates and opened sums as .npy files; does nothing where the settings do not ask for it."""

    __test__ = False  # not a pytest class

    def __init__(self, settings: SettingsForTest, home: Path) -> None:
        self._folder = home / "test" if settings.save_encodings else None

    def note_event(self, context: RoundContext, machine: TrainerMachine | ValidatorMachine, event: Event) -> None:
        """Keep a trainer's raw update."""
        if self._folder is not None and isinstance(event, UpdateComputed):
            self._save("updates", f"{context.round}-{machine.seat}", event.values[:].astype(np.float64))

    def copy_encoding(
        self, context: RoundContext, machine: TrainerMachine | ValidatorMachine, blocks: Iterable[Words]
    ) -> Iterator[Words]:
        """``blocks`` as they are, which are masked afterwards; keeps a copy of all of them."""
        if self._folder is None:
            yield from blocks
            return
        copies = []
        for block in blocks:
            copies.append(block.copy())
            yield block
        self._save("encodings", f"{context.round}-{machine.seat}", np.concatenate(copies))

    def note_opened(self, context: RoundContext, cohort: int, aggregate: ByteSource | None) -> None:
        """Keep the ring words of an opened sum."""
        if self._folder is not None and aggregate is not None:
            words = open_aggregate(context.cohorts[cohort], aggregate, sum_bound=0).words  # not lifted
            self._save("opened", f"{context.round}-{cohort}", words[:])

    def _save(self, kind: str, name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
        if self._folder is not None:
            make_private_folder(self._folder / kind)
            with open(self._folder / kind / f"{name}.npy", "wb", opener=_private) as file:
                np.save(file, values)


def open_sent_recorder(settings: SettingsForTest, home: Path) -> Callable[[bytes], None] | None:
    """A function that appends every plaintext byte sent to the configured file, or ``None``."""
    if settings.record_sent_path is None:
        return None
    path = home / settings.record_sent_path
    make_private_folder(path.parent)
    descriptor = _private(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)  # for as long as the process runs

    def record(data: bytes) -> None:
        write_all(descriptor, data)

    return record


def _private(path: str, flags: int) -> int:
    """Raw updates and what is sent are the owner's, in test mode too."""
    return os.open(path, flags, 0o600)


def disable_masks() -> None:
    """Take the masks out of both ends of the protocol in this process: shows that the leak check can fail."""

    def no_mask(*_: object) -> None:
        return None

    for module in (contributor, opening):
        module.masks_into = no_mask  # type: ignore[attr-defined, assignment, unused-ignore]
