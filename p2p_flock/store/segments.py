"""An append-only file of checked pieces: what was read once from far away and need not be read again.

Called by ``daemon/session.py``, which hands it to the chain's follower. It knows nothing of a piece's content. A piece
torn by a crash, or damaged, ends the file there: it and all behind it are dropped and read anew. Not synced: losing it
costs time and no promise.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from p2p_flock.errors import StoreError
from p2p_flock.store.files import PRIVATE_FILE_MODE, make_private_folder, translate_os_errors, write_all
from p2p_flock.types import DIGEST_BYTES

PIECE_BYTES_MAX = 64 << 20
_LENGTH_BYTES = 4


class SegmentFile:
    """Each piece: its length (4 bytes, big-endian), its sha-256, its bytes. Methods block; call from one thread."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        """Name the file; it is made by the first :meth:`append`. ``bytes_max`` bounds it.

        Raises:
            StoreError: the disk refuses the folder.
        """
        make_private_folder(path.parent)
        self._path, self._bytes_max = path, bytes_max
        self._ends: list[int] = []  # where each piece ends

    def read(self) -> list[bytes]:
        """All sound pieces from the beginning; the file is cut behind the last of them.

        Raises:
            StoreError: the disk refuses.
        """
        pieces: list[bytes] = []
        self._ends = []
        with translate_os_errors(f"read {self._path}"):
            if not self._path.exists():
                return []
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                while (piece := _read_piece(file.read, size - file.tell())) is not None:
                    pieces.append(piece)
                    self._ends.append(file.tell())
        self.truncate(len(pieces))
        return pieces

    def append(self, piece: bytes) -> bool:
        """Add a piece at the end; False where the file would exceed its bound.

        Raises:
            StoreError: the piece is too long, or the disk refuses.
        """
        if len(piece) > PIECE_BYTES_MAX:
            raise StoreError(f"a piece of {len(piece)} bytes exceeds {PIECE_BYTES_MAX}")
        framed = len(piece).to_bytes(_LENGTH_BYTES, "big") + hashlib.sha256(piece).digest() + piece
        end = (self._ends[-1] if self._ends else 0) + len(framed)
        if end > self._bytes_max:
            return False
        with translate_os_errors(f"write {self._path}"):
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE_MODE)
            try:
                write_all(file, framed)
            finally:
                os.close(file)
        self._ends.append(end)
        return True

    def truncate(self, count: int) -> None:
        """Keep the first ``count`` pieces only.

        Raises:
            StoreError: the disk refuses.
        """
        del self._ends[count:]
        with translate_os_errors(f"cut {self._path}"):
            if self._path.exists():
                os.truncate(self._path, self._ends[-1] if self._ends else 0)


def read_segments(path: Path) -> list[bytes]:
    """All sound pieces of a file that another process may be appending to; it is left as it is.

    Raises:
        StoreError: the disk refuses.
    """
    pieces: list[bytes] = []
    with translate_os_errors(f"read {path}"):
        if not path.exists():
            return []
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            while (piece := _read_piece(file.read, size - file.tell())) is not None:
                pieces.append(piece)
    return pieces


def _read_piece(read: Callable[[int], bytes], left: int) -> bytes | None:
    head = read(_LENGTH_BYTES + DIGEST_BYTES) if left >= _LENGTH_BYTES + DIGEST_BYTES else b""
    length = int.from_bytes(head[:_LENGTH_BYTES], "big")
    if not head or length > min(PIECE_BYTES_MAX, left - len(head)):
        return None
    piece = read(length)
    return piece if hashlib.sha256(piece).digest() == head[_LENGTH_BYTES:] else None
