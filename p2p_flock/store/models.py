"""Global models by digest, and which one is current in each alliance.

Called by the driver. A model's file is named by the sha-256 of its bytes (canonical safetensors, written by
``alliance/model.py``), which is also its digest on chain. Models are adopted provisionally: old ones are kept until the
caller prunes at finality. Reads nothing of a file's content but its hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from p2p_flock.errors import StoreError
from p2p_flock.store.files import (
    FileSink,
    FileSource,
    file_name_of,
    make_private_folder,
    open_sink,
    sweep_temporary_files,
    sync_folder,
    translate_os_errors,
    write_atomic,
)
from p2p_flock.types import DIGEST_BYTES

DERIVED_MAX = 64  # recipes remembered; candidates of a few rounds


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
        self._derived: OrderedDict[bytes, bytes] = OrderedDict()
        make_private_folder(folder)
        with translate_os_errors(f"clean {folder}"):
            sweep_temporary_files(folder)

    def put(self, data: bytes) -> bytes:
        """Keep a model; returns its digest, the sha-256 of ``data``.

        Raises:
            StoreError: the disk refuses.
        """
        with self.open_sink() as sink:
            sink.write(data)
            return sink.finish()

    def open_sink(self) -> AbstractContextManager[FileSink]:
        """A model written in pieces; durable once the sink is finished.

        Raises:
            StoreError: the disk refuses.
        """
        return open_sink(self._folder, self._place)

    def _place(self, file: int, temporary: Path, digest: bytes, _size: int) -> None:
        os.fsync(file)
        with self._lock:  # also over one that is there: it may be damaged
            temporary.rename(self.path(digest))
            sync_folder(self._folder)

    def get(self, digest: bytes) -> bytes | None:
        """The model's bytes, verified; ``None`` where it is not held or its file is damaged. For short ones.

        Raises:
            StoreError: the disk refuses.
        """
        source = self.open_source(digest)
        data = source.read(0, source.size) if source is not None else b""
        return data if source is not None and hashlib.sha256(data).digest() == digest else None

    def open_source(self, digest: bytes) -> FileSource | None:
        """The model's file, to be read in pieces, also after it was pruned. Not verified; ``None`` where not held.

        Raises:
            StoreError: the disk refuses.
        """
        path = self.path(digest)
        return FileSource(path) if path.is_file() else None

    def note_derived(self, recipe: bytes, digest: bytes) -> None:
        """Remember, while the process runs, that ``recipe`` (any hash of how it is made) gives the model ``digest``.

        A validator computes each candidate to judge it; when it is adopted, it need not be computed again.
        """
        with self._lock:
            self._derived[recipe] = digest
            while len(self._derived) > DERIVED_MAX:
                self._derived.popitem(last=False)

    def find_derived(self, recipe: bytes) -> bytes | None:
        """The digest of the model that ``recipe`` gives, if it was noted and the model is still held."""
        with self._lock:
            digest = self._derived.get(recipe)
        return digest if digest is not None and digest in self else None

    def __contains__(self, digest: bytes) -> bool:
        return self.path(digest).is_file()

    def path(self, digest: bytes) -> Path:
        """Where the model lies or would lie: ``<digest in hex>.safetensors``."""
        if len(digest) != DIGEST_BYTES:
            raise StoreError(f"a model digest has {DIGEST_BYTES} bytes, not {len(digest)}")
        return self._folder / f"{digest.hex()}.safetensors"

    def set_current(self, alliance: str, round_number: int | None, digest: bytes) -> None:
        """Name the alliance's current model, atomically. The model must be held; it is not read again.

        Raises:
            StoreError: the model is not held, or the disk refuses.
        """
        with self._lock:
            if digest not in self:
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
