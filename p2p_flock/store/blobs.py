"""Content-addressed blobs: masked chunks, bundles, documents, manifests, kept to be served to peers.

Called by the driver and by ``net`` (to serve). A blob's name is its sha-256, so a blob cannot be wrong, only missing:
what was damaged on disk is dropped and reads as absent, and is pulled again. The folder has a size limit; least
recently used blobs go first, pinned ones never.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from p2p_flock.errors import StoreError
from p2p_flock.store.files import (
    FileSink,
    FileSource,
    make_private_folder,
    open_sink,
    open_temporary,
    sweep_temporary_files,
    sync_folder,
    translate_os_errors,
    write_all,
)
from p2p_flock.types import DIGEST_BYTES

# Blobs up to here are hashed on every read (0.5 ms a MiB); our protocol's chunks all are. Longer ones are the caller's.
VERIFIED_BYTES_MAX = 1 << 20
PARTS_KEPT = 4  # half pulled blobs; a node pulls one or two at a time
_COPY_BYTES = 1 << 20
_PINS = "pins"
_PARTS = "parts"
_REASON = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


class BlobStore:
    """A folder of blobs. Methods block and may be called from any thread."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        """Open or create ``folder`` (fan-out ``ab/cdef…``); ``bytes_max`` bounds the sum of the blobs' sizes.

        Raises:
            StoreError: the disk refuses.
        """
        self._folder = folder
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._sizes: OrderedDict[bytes, int] = OrderedDict()  # least recently used first
        self._pins: dict[bytes, set[str]] = {}
        make_private_folder(folder / _PINS)
        make_private_folder(folder / _PARTS)
        with translate_os_errors(f"read the blobs in {folder}"):
            self._sweep_parts()
            sweep_temporary_files(folder)
            self._scan()
        self._bytes_total = sum(self._sizes.values())

    @property
    def bytes_total(self) -> int:
        """Sum of the sizes of all blobs."""
        return self._bytes_total

    def put(self, content: bytes | memoryview | Path, durable: bool = True, pin: str | None = None) -> bytes:
        """Keep a blob; a path is copied. Returns its sha-256, 32 bytes.

        Args:
            durable: survive a power failure. Without it only a crash of the process is survived, at a hundredth of the
                time: for blobs that peers have too, or that the node may do without. A torn one is noticed when read.
            pin: a reason to pin it for, as :meth:`pin`; before it is there, so that it cannot be pruned in between.

        Raises:
            StoreError: it does not fit beside what is pinned, or the disk refuses.
        """
        with translate_os_errors(f"store a blob in {self._folder}"), open_temporary(self._folder) as (file, temporary):
            if isinstance(content, Path):
                digest, size = _copy_hashing(content, file)
            else:
                digest, size = hashlib.sha256(content).digest(), len(content)
            if pin is not None:
                self.pin(digest, pin)
            if self._touch(digest):
                return digest
            if not isinstance(content, Path):
                write_all(file, content)
            self._place(durable, file, temporary, digest, size)
        return digest

    def part_path(self, digest: bytes) -> Path:
        """Where a blob may be pulled to in pieces before :meth:`adopt`. The newest few survive a restart."""
        _check_digest(digest)
        return self._folder / _PARTS / digest.hex()

    def _sweep_parts(self) -> None:
        parts = sorted((self._folder / _PARTS).iterdir(), key=lambda part: part.stat().st_mtime_ns)
        for part in parts[:-PARTS_KEPT]:
            part.unlink()

    def adopt(self, path: Path, digest: bytes, durable: bool = True) -> None:
        """Keep the file at ``path``, on the same disk, which was checked to have this sha-256; it moves here.

        Raises:
            StoreError: it does not fit beside what is pinned, or the disk refuses.
        """
        with translate_os_errors(f"keep the blob {digest.hex()}"):
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                self._place(durable, file, path, digest, os.fstat(file).st_size)
            finally:
                os.close(file)
                path.unlink(missing_ok=True)

    def open_sink(self, durable: bool = True) -> AbstractContextManager[FileSink]:
        """A blob written in pieces; it stands under its digest once the sink is finished.

        Raises:
            StoreError: as :meth:`put`.
        """
        return open_sink(self._folder, partial(self._place, durable))

    def _place(self, durable: bool, file: int, temporary: Path, digest: bytes, size: int) -> None:
        if durable:
            os.fsync(file)
        with self._lock:
            if digest in self._sizes:
                return
            self._make_room(size)
            path = self._path(digest)
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                if durable:
                    sync_folder(self._folder)
            temporary.rename(path)
            if durable:
                sync_folder(path.parent)
            self._sizes[digest] = size
            self._bytes_total += size

    def size(self, digest: bytes) -> int | None:
        """How many bytes the blob has, ``None`` where it is not held. Reads nothing."""
        with self._lock:
            return self._sizes.get(digest)

    def verify(self, digest: bytes) -> bool:
        """Whether the blob is held and still has this sha-256; a damaged one is dropped. Reads all of it, in pieces.

        Raises:
            StoreError: the disk refuses.
        """
        source = self.open_source(digest)
        if source is None:
            return False
        hasher = hashlib.sha256()
        for start in range(0, source.size, _COPY_BYTES):
            hasher.update(source.read(start, min(_COPY_BYTES, source.size - start)))
        if hasher.digest() != digest:
            self._drop(digest)
            return False
        return True

    def open_source(self, digest: bytes) -> FileSource | None:
        """The blob, to be read in pieces, also after it was pruned; ``None`` where it is not held. Not hashed again.

        Raises:
            StoreError: the disk refuses.
        """
        if not self._touch(digest):
            return None
        try:
            return FileSource(self._path(digest))
        except StoreError:
            if digest in self:
                raise
            return None  # pruned in between

    def get(self, digest: bytes) -> bytes | None:
        """The blob's bytes, or ``None`` where it is not held (or was damaged, which drops it).

        Blobs above VERIFIED_BYTES_MAX are not hashed again.

        Raises:
            StoreError: the disk refuses.
        """
        if not self._touch(digest):
            return None
        with translate_os_errors(f"read the blob {digest.hex()}"):
            try:
                data = self._path(digest).read_bytes()
            except FileNotFoundError:  # pruned since, or removed by hand
                self._drop(digest)
                return None
        if len(data) <= VERIFIED_BYTES_MAX and hashlib.sha256(data).digest() != digest:
            self._drop(digest)
            return None
        return data

    def path(self, digest: bytes) -> Path | None:
        """Where the blob lies, to be read in pieces; ``None`` where it is not held. Pin it while reading."""
        return self._path(digest) if self._touch(digest) else None

    def __contains__(self, digest: bytes) -> bool:
        with self._lock:
            return digest in self._sizes

    def pin(self, digest: bytes, reason: str) -> None:
        """Never prune ``digest`` until ``unpin(reason)``; survives restarts. May come before the blob itself.

        ``reason`` is a file name: letters, digits, ``. _ -``; for example ``round-7``.

        Raises:
            StoreError: the disk refuses.
        """
        _check_digest(digest)
        folder = self._pin_folder(reason)
        with self._lock, translate_os_errors(f"pin a blob in {folder}"):
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / digest.hex()).touch(mode=0o600)
            self._pins.setdefault(digest, set()).add(reason)

    def unpin(self, reason: str, drop: bool = False) -> None:
        """Let go of all that was pinned for ``reason``; what is pinned for another reason stays.

        Args:
            drop: remove it at once, instead of when space is short.

        Raises:
            StoreError: the disk refuses.
        """
        folder = self._pin_folder(reason)
        with self._lock, translate_os_errors(f"unpin blobs in {folder}"):
            shutil.rmtree(folder, ignore_errors=not folder.exists())
            for digest in [digest for digest, reasons in self._pins.items() if reason in reasons]:
                self._pins[digest].discard(reason)
                if not self._pins[digest]:
                    del self._pins[digest]
                    if drop:
                        self._path(digest).unlink(missing_ok=True)
                        self._bytes_total -= self._sizes.pop(digest, 0)

    def _path(self, digest: bytes) -> Path:
        _check_digest(digest)
        name = digest.hex()
        return self._folder / name[:2] / name[2:]

    def _pin_folder(self, reason: str) -> Path:
        if _REASON.fullmatch(reason) is None:
            raise StoreError(f"{reason!r} cannot name a pin: use letters, digits, dot, underscore and dash")
        return self._folder / _PINS / reason

    def _touch(self, digest: bytes) -> bool:
        """Mark as used just now; says whether the blob is held."""
        with self._lock:
            if digest not in self._sizes:
                return False
            self._sizes.move_to_end(digest)
        try:
            os.utime(self._path(digest))  # the order of use survives a restart, roughly: it is not synced
        except FileNotFoundError:
            self._drop(digest)
            return False
        return True

    def _drop(self, digest: bytes) -> None:
        with self._lock:
            self._bytes_total -= self._sizes.pop(digest, 0)
            self._path(digest).unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Prune until ``size`` fits. Call with the lock held."""
        excess = self._bytes_total + size - self._bytes_max
        victims: list[bytes] = []
        for digest, held in self._sizes.items():
            if excess <= 0:
                break
            if digest not in self._pins:
                victims.append(digest)
                excess -= held
        if excess > 0:
            raise StoreError(
                f"a blob of {size} bytes does not fit: {self._bytes_max} are allowed and the rest is in use\n"
                "raise store.blob_bytes_max in config.toml"
            )
        for digest in victims:
            self._path(digest).unlink(missing_ok=True)
            self._bytes_total -= self._sizes.pop(digest)

    def _scan(self) -> None:
        found: list[tuple[int, bytes, int]] = []
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            try:
                digest = bytes.fromhex(path.parent.name + path.name)
            except ValueError:
                continue  # not ours
            if len(digest) == DIGEST_BYTES:
                status = path.stat()
                found.append((status.st_mtime_ns, digest, status.st_size))
        self._sizes.update((digest, size) for _, digest, size in sorted(found))
        for pin in (self._folder / _PINS).glob("*/*"):
            if len(pin.name) == 2 * DIGEST_BYTES:
                self._pins.setdefault(bytes.fromhex(pin.name), set()).add(pin.parent.name)


def _check_digest(digest: bytes) -> None:
    if len(digest) != DIGEST_BYTES:
        raise StoreError(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}")


def _copy_hashing(source: Path, file: int) -> tuple[bytes, int]:
    hasher, size = hashlib.sha256(), 0
    with source.open("rb") as reader:
        while piece := reader.read(_COPY_BYTES):
            hasher.update(piece)
            write_all(file, piece)
            size += len(piece)
    return hasher.digest(), size
