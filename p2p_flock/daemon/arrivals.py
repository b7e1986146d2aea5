"""Blobs on their way from peers into the own store: never more than a batch of them in memory.

Used by the driver, one for each pull. Writes are batched, because a round of a small model pulls dozens of blobs of a
few hundred bytes, and a step into a thread and back costs more than writing one.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from p2p_flock.store.blobs import BlobStore

BATCH_BYTES = 1 << 20  # stored at once; what a pull holds in memory, with the pieces that the network still assembles
LONG_BYTES = 1 << 16  # from here on a blob is pinned under the name that is dropped with the round


class Arrivals:
    """See the module.

    Attributes:
        blobs: content by digest of what is stored, where it is to be read.
        sizes: bytes by digest of what is stored, where it is not.
    """

    def __init__(self, store: BlobStore, short_pin: str, long_pin: str, is_read: bool) -> None:
        self.blobs: dict[bytes, bytes] = {}
        self.sizes: dict[bytes, int] = {}
        self._store, self._short_pin, self._long_pin, self._is_read = store, short_pin, long_pin, is_read
        self._waiting: list[tuple[bytes, bytes]] = []
        self._waiting_bytes = 0

    def take_own(self, digests: Sequence[bytes]) -> list[bytes]:
        """Note what the own store holds; the others. Blocks."""
        missing = []
        for digest in digests:
            data = self._store.get(digest) if self._is_read else None
            size = self._store.size(digest)
            if data is not None:
                self.blobs[digest] = data
            elif not self._is_read and size is not None:
                self._store.pin(digest, self._pin_of(size))
                self.sizes[digest] = size
            else:
                missing.append(digest)
        return missing

    async def take(self, digest: bytes, content: bytes) -> None:
        """Take a verified blob; it may stay in memory until :meth:`flush`."""
        self._waiting.append((digest, content))
        self._waiting_bytes += len(content)
        if self._waiting_bytes >= BATCH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Store what waits. Only then is it in :attr:`blobs` or :attr:`sizes`."""
        batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if batch:
            await trio.to_thread.run_sync(self._store_batch, batch)

    def _store_batch(self, batch: Sequence[tuple[bytes, bytes]]) -> None:
        for digest, content in batch:
            self._store.put(content, durable=False, pin=self._pin_of(len(content)))
            if self._is_read:
                self.blobs[digest] = content
            else:
                self.sizes[digest] = len(content)

    def _pin_of(self, size: int) -> str:
        return self._long_pin if size >= LONG_BYTES else self._short_pin
