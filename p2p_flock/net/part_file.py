"""A file into which one large content is pulled, and which a broken pull leaves for the next one.

Called by `net/blobs.py` only. The file is hashed on the way, so that a content of gigabytes is read once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import trio

from p2p_flock.net.blob_server import WRITE_BYTES
from p2p_flock.net.pulling import Buffer

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

FILE_WRITE_BYTES = 1 << 20  # written and hashed in one visit to a thread


class PartFile:
    """A file that grows at its end and is hashed on the way, some pieces at a time in a thread.

    Attributes:
        size: bytes in the file or about to be.
        digest: of the whole file, once it is closed without an error.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces: list[Buffer] = []
        self._waiting_bytes = 0
        self.size = 0
        self.digest = b""

    async def __aenter__(self) -> PartFile:
        self._file, self._hash, self.size = await trio.to_thread.run_sync(_open_part, self._path)
        return self

    async def append(self, piece: Buffer) -> None:
        self._pieces.append(piece)
        self.size += len(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes >= FILE_WRITE_BYTES:
            pieces, self._pieces, self._waiting_bytes = self._pieces, [], 0
            await trio.to_thread.run_sync(_append_to_part, self._file, self._hash, pieces)

    async def __aexit__(self, *_error: object) -> None:
        with trio.CancelScope(shield=True):  # what came is kept for the next pull
            try:
                await trio.to_thread.run_sync(_append_to_part, self._file, self._hash, self._pieces)
            finally:
                await trio.to_thread.run_sync(self._file.close)
        self.digest = self._hash.digest()


def _open_part(path: Path) -> tuple[BinaryIO, Hash, int]:
    file = path.open("a+b", buffering=0)
    file.seek(0)
    found = hashlib.sha256()
    while piece := file.read(WRITE_BYTES):
        found.update(piece)
    return file, found, file.tell()


def _append_to_part(file: BinaryIO, found: Hash, pieces: Sequence[Buffer]) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[file.write(view) :]
        found.update(piece)
