"""Vectors on disk: sources, sinks, and blobs that are pulled or written in pieces."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from p2p_flock.errors import StoreError
from p2p_flock.store.blobs import PARTS_KEPT, BlobStore
from p2p_flock.store.files import TEMPORARY_PREFIX, FileSource
from p2p_flock.store.models import DERIVED_MAX, ModelStore

LONG = bytes(range(256)) * 8192  # 2 MiB
DIGEST = hashlib.sha256(LONG).digest()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", 1 << 24)


def test_source__reads_pieces_also_after_the_file_is_gone(tmp_path: Path) -> None:
    """A model pruned while it is read would end the node."""
    path = tmp_path / "vector"
    path.write_bytes(LONG)
    source = FileSource(path)
    path.unlink()
    assert source.size == len(LONG)
    assert source.read(5, 3) == LONG[5:8]
    assert source.read(0, source.size) == LONG
    assert source.read(7, 0) == b""


def test_source__short_or_linked_file_is_refused(tmp_path: Path) -> None:
    """A worker could make the daemon read another file, or less than it counts with."""
    path, link = tmp_path / "vector", tmp_path / "link"
    path.write_bytes(b"abc")
    link.symlink_to(path)
    with pytest.raises(StoreError):
        FileSource(link)
    with pytest.raises(StoreError, match="shrank"):
        FileSource(path).read(1, 3)
    with pytest.raises(StoreError):
        FileSource(tmp_path / "none")


def test_sink__blob_stands_once_it_is_finished(store: BlobStore, tmp_path: Path) -> None:
    """Half a sum would be served under a digest that is not its own."""
    with store.open_sink(durable=False) as sink:
        for start in range(0, len(LONG), 300_000):
            sink.write(memoryview(LONG)[start : start + 300_000])
        assert DIGEST not in store
        assert sink.finish() == DIGEST
    assert store.size(DIGEST) == len(LONG) and store.get(DIGEST) == LONG and store.bytes_total == len(LONG)
    with store.open_sink() as sink:
        sink.write(b"given up")
    assert not list((tmp_path / "blobs").glob(TEMPORARY_PREFIX + "*"))
    assert store.bytes_total == len(LONG)


def test_sink__blob_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    """A long sum would fill the disk."""
    store = BlobStore(tmp_path / "blobs", 1 << 20)
    with store.open_sink() as sink:
        sink.write(LONG)
        with pytest.raises(StoreError, match="blob_bytes_max"):
            sink.finish()
    assert store.bytes_total == 0 and store.open_source(DIGEST) is None


def test_verify__damaged_blob_is_dropped(store: BlobStore) -> None:
    """A sum torn by a power failure would be applied, and the node go on with another model than the rest (P2)."""
    store.put(LONG)
    assert store.verify(DIGEST)
    path = store.path(DIGEST)
    assert path is not None
    path.write_bytes(LONG[:-1] + b"?")
    assert not store.verify(DIGEST)
    assert DIGEST not in store and not store.verify(DIGEST)


def test_adopt__a_pulled_file_becomes_the_blob(store: BlobStore) -> None:
    """A long sum would have to pass through memory."""
    path = store.part_path(DIGEST)
    path.write_bytes(LONG)
    store.adopt(path, DIGEST, durable=False)
    assert store.get(DIGEST) == LONG and not path.exists()
    path.write_bytes(LONG)
    store.adopt(path, DIGEST)
    assert store.bytes_total == len(LONG) and not path.exists()


def test_parts__of_broken_pulls_are_few(tmp_path: Path) -> None:
    """Sums that nobody finished pulling would fill the disk, outside the limit."""
    store = BlobStore(tmp_path / "blobs", 1 << 20)
    for index in range(PARTS_KEPT + 3):
        store.part_path(bytes([index]) * 32).write_bytes(b"half")
    BlobStore(tmp_path / "blobs", 1 << 20)
    assert len(list((tmp_path / "blobs" / "parts").iterdir())) == PARTS_KEPT


def test_pins__dropped_with_the_round_go_at_once(store: BlobStore) -> None:
    """Masked vectors of ended rounds would fill the disk up to its limit, for nobody."""
    chunk, kept = store.put(b"chunk", pin="round-1-vectors"), store.put(b"kept", pin="round-1-vectors")
    store.pin(kept, "round-2-vectors")
    document = store.put(b"document", pin="round-1")
    store.unpin("round-1-vectors", drop=True)
    store.unpin("round-1")
    assert chunk not in store and kept in store and document in store
    assert store.bytes_total == len(b"kept") + len(b"document")


def test_derived__is_known_while_the_model_is_held(tmp_path: Path) -> None:
    """A candidate that was pruned would be taken for the next model."""
    models = ModelStore(tmp_path)
    digest = models.put(b"model")
    models.note_derived(b"recipe", digest)
    assert models.find_derived(b"recipe") == digest
    assert models.find_derived(b"other") is None
    models.prune(frozenset())
    assert models.find_derived(b"recipe") is None
    models.put(b"model")
    for index in range(DERIVED_MAX):
        models.note_derived(bytes([index]), digest)
    assert models.find_derived(b"recipe") is None and models.find_derived(bytes([5])) == digest
