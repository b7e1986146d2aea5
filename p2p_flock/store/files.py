"""Small disk helpers that every store shares: atomic durable writes, the sweep of what a crash left, file names.

Called by ``store/`` and ``daemon/`` only. A reader sees the old file or the new one, never a mixture, whatever the
moment of a ``kill -9`` or a power cut: the new bytes are synced before the rename, the folder after it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from p2p_flock.errors import StoreError

TEMPORARY_PREFIX = ".writing-"
PRIVATE_FILE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700
_NAME = re.compile(r"[A-Za-z0-9._:]{1,128}")


def sync_folder(folder: Path) -> None:
    """Make renames and unlinks in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def translate_os_errors(action: str) -> Iterator[None]:
    """Raise :class:`StoreError` with the remedy where the operating system refuses.

    Raises:
        StoreError: instead of any OSError (disk full, no permission, read-only file system).
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot {action}: {error.strerror or error}\n"
            f"check free space and permissions of {error.filename or 'the data directory'}"
        ) from error


def make_private_folder(folder: Path) -> None:
    """Create ``folder`` and its missing parents, readable by this user only.

    Raises:
        StoreError: the operating system refuses.
    """
    with translate_os_errors(f"create the folder {folder}"):
        for missing in reversed(
            [one for one in folder.parents if not one.exists()]
        ):  # mkdir's own get the umask's mode
            missing.mkdir(mode=PRIVATE_FOLDER_MODE, exist_ok=True)
        folder.mkdir(mode=PRIVATE_FOLDER_MODE, exist_ok=True)


@contextlib.contextmanager
def open_temporary(folder: Path) -> Iterator[tuple[int, Path]]:
    """A new private file in ``folder`` as (descriptor, path); it is gone afterwards unless it was renamed away."""
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=folder)  # mode 0600
    path = Path(name)
    try:
        yield descriptor, path
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


class FileSource:
    """Bytes of a file, read in pieces with ``pread``: nothing of it stays in this process's memory.

    The file stays readable through this object after it was unlinked or replaced; it is closed with the object. Any
    thread may read. A ``crypto.vectors.ByteSource``.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path``, which must be a regular file and no symbolic link.

        Raises:
            StoreError: it cannot be opened.
        """
        with translate_os_errors(f"open {path}"):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._close = weakref.finalize(self, os.close, descriptor)
            self._size = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self.path = path

    @property
    def size(self) -> int:
        """In bytes, when it was opened."""
        return self._size

    def read(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes from ``offset`` on.

        Raises:
            StoreError: the disk refuses, or the file is shorter by now.
        """
        parts = []
        with translate_os_errors(f"read {self.path}"):
            while size:
                part = os.pread(self._descriptor, size, offset)
                if not part:
                    raise StoreError(f"{self.path} shrank while it was read")
                parts.append(part)
                offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class FileSink:
    """A file written in pieces under a temporary name, hashed on the way. A ``crypto.vectors.BlobSink``."""

    def __init__(self, descriptor: int, temporary: Path, place: Callable[[int, Path, bytes, int], None]) -> None:
        """``place(descriptor, temporary path, sha-256, size in bytes)`` gives the finished file its name."""
        self._descriptor, self._temporary, self._place = descriptor, temporary, place
        self._hasher = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append.

        Raises:
            StoreError: the disk refuses.
        """
        with translate_os_errors(f"write {self._temporary}"):
            write_all(self._descriptor, data)
        self._hasher.update(data)
        self._size += len(data)

    def finish(self) -> bytes:
        """Put the file in its place; its sha-256.

        Raises:
            StoreError: the disk refuses.
        """
        digest = self._hasher.digest()
        with translate_os_errors(f"keep {digest.hex()}"):
            self._place(self._descriptor, self._temporary, digest, self._size)
        return digest


@contextlib.contextmanager
def open_sink(folder: Path, place: Callable[[int, Path, bytes, int], None]) -> Iterator[FileSink]:
    """A :class:`FileSink` in ``folder``; what is not finished when the block ends is gone.

    Raises:
        StoreError: the disk refuses.
    """
    with translate_os_errors(f"write in {folder}"), open_temporary(folder) as (descriptor, temporary):
        yield FileSink(descriptor, temporary, place)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte; ``os.write`` may take fewer."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``, durably, mode 0600.

    Raises:
        StoreError: the operating system refuses; the old file then still stands.
    """
    with translate_os_errors(f"write {path}"), open_temporary(path.parent) as (descriptor, temporary):
        write_all(descriptor, data)
        os.fsync(descriptor)
        temporary.rename(path)
        sync_folder(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Create ``path`` with ``data``, durably, mode 0600; never replaces a file, not even in a race.

    Raises:
        StoreError: the file exists already or the operating system refuses.
    """
    with translate_os_errors(f"create {path}"), open_temporary(path.parent) as (descriptor, temporary):
        write_all(descriptor, data)
        os.fsync(descriptor)
        os.link(temporary, path)  # fails where the name is taken, which a rename does not
        sync_folder(path.parent)


def sweep_temporary_files(folder: Path) -> int:
    """Remove the files that writes cut off by a crash left in ``folder``; says how many."""
    leftovers = sorted(folder.glob(TEMPORARY_PREFIX + "*"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def file_name_of(alliance: str) -> str:
    """File name for an alliance ID: one-to-one, without characters that file systems refuse.

    Raises:
        StoreError: the text is no alliance ID (a path separator, a dash, more than 128 characters).
    """
    if _NAME.fullmatch(alliance) is None or alliance.startswith("."):
        raise StoreError(f"{alliance!r} cannot name a file\npass the alliance ID as `p2p-flock alliance list` shows it")
    return alliance.replace(":", "-")
