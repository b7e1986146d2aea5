"""One node's journal and blobs, without a network around it: for tests of a single machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p_flock.crypto.suite import sha256
from p2p_flock.errors import StoreError, UsageError
from p2p_flock.ports import MaskUpdate, Persist, UpdateMasked
from p2p_flock.secagg.contributor import mask_blocks
from p2p_flock.wire.messages import CHUNK_BYTES


@dataclass
class LoneNode:
    """What survives a restart: ``journal`` in the order of writing, ``blobs`` by digest."""

    seat: int
    journal: list[Persist] = field(default_factory=list)
    blobs: dict[bytes, bytes] = field(default_factory=dict)

    def persist(self, promise: Persist) -> None:
        """Keep a promise.

        Raises:
            StoreError: it contradicts an earlier one; a real node stops.
        """
        for known in self.journal:
            if (known.kind, known.key) == (promise.kind, promise.key):
                if known.body != promise.body:
                    raise StoreError(f"seat {self.seat} would contradict its journal: {promise.kind}")
                return
        self.journal.append(promise)

    def mask(self, effect: MaskUpdate) -> UpdateMasked:
        """Mask in memory, chunks to the blobs, as the driver does with files."""

        def put(chunk: memoryview) -> bytes:
            data = bytes(chunk)
            self.blobs[sha256(data)] = data
            return sha256(data)

        try:
            return UpdateMasked(mask_blocks(effect.masking, effect.encoder.encode(CHUNK_BYTES), put))
        except UsageError as error:
            return UpdateMasked((), str(error))
