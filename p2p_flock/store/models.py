"""Global models by digest, and which one is current in each alliance.

Called by the driver. A model's file is named by the sha-256 of its bytes (canonical safetensors, written by
``alliance/model.py``), which is also its digest on chain. Models are adopted provisionally: old ones are kept until the
caller prunes at finality. Reads nothing of a file's content but its hash.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass
from pathlib import Path

from p2p_flock.errors import StoreError
from p2p_flock.store.files import (
    file_name_of,
    make_private_folder,
    sweep_temporary_files,
    translate_os_errors,
    write_atomic,
)
from p2p_flock.types import DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class CurrentModel:
    """The model an alliance holds after ``round`` ended (``None``: the initial one)."""

    round: int | None
    digest: bytes


class ModelStore:
    """A folder of models. Methods block, sync, and may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        """Open or create ``folder``.

        Raises:
            StoreError: the disk refuses.
        """
        self._folder = folder
        self._lock = threading.Lock()
        make_private_folder(folder)
        with translate_os_errors(f"clean {folder}"):
            sweep_temporary_files(folder)

    def put(self, data: bytes) -> bytes:
        """Keep a model; returns its digest, the sha-256 of ``data``.

        Raises:
            StoreError: the disk refuses.
        """
        digest = hashlib.sha256(data).digest()
        with self._lock:
            if self._read(digest) is None:
                write_atomic(self.path(digest), data)
        return digest

    def get(self, digest: bytes) -> bytes | None:
        """The model's bytes, verified; ``None`` where it is not held or its file is damaged.

        Raises:
            StoreError: the disk refuses.
        """
        with self._lock:
            return self._read(digest)

    def path(self, digest: bytes) -> Path:
        """Where the model lies or would lie: ``<digest in hex>.safetensors``."""
        if len(digest) != DIGEST_BYTES:
            raise StoreError(f"a model digest has {DIGEST_BYTES} bytes, not {len(digest)}")
        return self._folder / f"{digest.hex()}.safetensors"

    def set_current(self, alliance: str, round_number: int | None, digest: bytes) -> None:
        """Name the alliance's current model, atomically. The model must be held.

        Raises:
            StoreError: the model is not held, or the disk refuses.
        """
        with self._lock:
            if self._read(digest) is None:
                raise StoreError(f"the model {digest.hex()} is not held: put() it first")
            pointer = {"digest": digest.hex(), "round": round_number}
            write_atomic(self._pointer(alliance), json.dumps(pointer, sort_keys=True).encode() + b"\n")

    def current(self, alliance: str) -> CurrentModel | None:
        """The alliance's current model, ``None`` where none was named yet.

        Raises:
            StoreError: the pointer is damaged or the disk refuses.
        """
        path = self._pointer(alliance)
        with translate_os_errors(f"read {path}"):
            try:
                text = path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            pointer = json.loads(text)
            current = CurrentModel(pointer["round"], bytes.fromhex(pointer["digest"]))
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} is damaged: {error}\nremove it; the node then asks its peers again") from error
        if len(current.digest) != DIGEST_BYTES or not isinstance(current.round, int | None):
            raise StoreError(f"{path} is damaged\nremove it; the node then asks its peers again")
        return current

    def prune(self, keep: frozenset[bytes]) -> int:
        """Remove every model that is neither in ``keep`` nor current in an alliance; says how many went.

        Raises:
            StoreError: a pointer is damaged or the disk refuses.
        """
        with self._lock, translate_os_errors(f"prune {self._folder}"):
            kept = {digest.hex() for digest in keep}
            for pointer in self._folder.glob("*.current.json"):
                current = self.current(pointer.name.removesuffix(".current.json").replace("-", ":"))
                if current is not None:
                    kept.add(current.digest.hex())
            removed = [path for path in self._folder.glob("*.safetensors") if path.stem not in kept]
            for path in removed:
                path.unlink()
        return len(removed)

    def _pointer(self, alliance: str) -> Path:
        return self._folder / f"{file_name_of(alliance)}.current.json"

    def _read(self, digest: bytes) -> bytes | None:
        with translate_os_errors(f"read the model {digest.hex()}"):
            try:
                data = self.path(digest).read_bytes()
            except FileNotFoundError:
                return None
        return data if hashlib.sha256(data).digest() == digest else None
