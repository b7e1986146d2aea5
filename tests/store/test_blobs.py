"""The blob store: never a wrong blob, bounded, pinned ones stay."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from p2p_flock.errors import StoreError
from p2p_flock.store.blobs import VERIFIED_BYTES_MAX, BlobStore
from p2p_flock.store.files import TEMPORARY_PREFIX

BLOB = b"masked lanes" * 100


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", 1 << 20)


def blob_file(tmp_path: Path, digest: bytes) -> Path:
    return tmp_path / "blobs" / digest.hex()[:2] / digest.hex()[2:]


def test_blobs__bytes_and_path_give_the_same_blob(store: BlobStore, tmp_path: Path) -> None:
    """A contribution would be served under a digest that nobody asks for."""
    source = tmp_path / "source"
    source.write_bytes(BLOB)
    digest = store.put(source)
    assert digest == store.put(BLOB) == hashlib.sha256(BLOB).digest()
    assert store.get(digest) == BLOB
    assert store.bytes_total == len(BLOB)
    path = store.path(digest)
    assert path is not None
    assert path == blob_file(tmp_path, digest)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert digest in store


def test_blobs__absent_is_none(store: BlobStore) -> None:
    """A peer's question for what we lack would end a stream with an error."""
    assert store.get(bytes(32)) is None
    assert store.path(bytes(32)) is None
    assert bytes(32) not in store


@pytest.mark.parametrize("damage", [b"", BLOB[:-1], BLOB[:-1] + b"x"])
def test_blobs__damaged_reads_as_absent_and_can_come_again(store: BlobStore, tmp_path: Path, damage: bytes) -> None:
    """A wrong chunk would be served, and lose us our standing with peers."""
    digest = store.put(BLOB)
    blob_file(tmp_path, digest).write_bytes(damage)
    assert store.get(digest) is None
    assert store.bytes_total == 0
    assert store.put(BLOB) == digest
    assert store.get(digest) == BLOB


def test_blobs__removed_by_hand_reads_as_absent(store: BlobStore, tmp_path: Path) -> None:
    """An administrator who frees disk space would end the node."""
    digest = store.put(BLOB)
    blob_file(tmp_path, digest).unlink()
    assert store.get(digest) is None
    assert store.path(digest) is None


def test_blobs__large_one_is_found_again(tmp_path: Path) -> None:
    """A model's bytes, above the size that is verified on each read, would be lost."""
    store = BlobStore(tmp_path / "blobs", 8 << 20)
    large = os.urandom(VERIFIED_BYTES_MAX + 1)
    assert store.get(store.put(large)) == large


def test_blobs__survive_reopening_without_leftovers(store: BlobStore, tmp_path: Path) -> None:
    """A restarted trainer could not serve its contribution, or half a file would count as one."""
    digest = store.put(BLOB)
    (tmp_path / "blobs" / f"{TEMPORARY_PREFIX}1").write_bytes(BLOB[:7])
    again = BlobStore(tmp_path / "blobs", 1 << 20)
    assert again.get(digest) == BLOB
    assert again.bytes_total == len(BLOB)
    assert not list((tmp_path / "blobs").glob(TEMPORARY_PREFIX + "*"))


def test_blobs__least_recently_used_goes_first(tmp_path: Path) -> None:
    """The disk would fill, or what is in use be thrown away."""
    store = BlobStore(tmp_path / "blobs", 3_000)
    first, second, third = (store.put(bytes([number]) * 1_000) for number in range(3))
    assert store.get(first) is not None
    fourth = store.put(b"4" * 1_000)
    assert second not in store
    assert all(digest in store for digest in (first, third, fourth))
    assert store.bytes_total == 3_000
    assert not blob_file(tmp_path, second).exists()


def test_blobs__order_of_use_survives_reopening(tmp_path: Path) -> None:
    """After a restart the newest blobs might go first."""
    store = BlobStore(tmp_path / "blobs", 3_000)
    digests = [store.put(bytes([number]) * 1_000) for number in range(3)]
    for age, digest in zip((10, 30, 20), digests, strict=True):
        os.utime(blob_file(tmp_path, digest), (1_700_000_000 - age,) * 2)
    again = BlobStore(tmp_path / "blobs", 3_000)
    again.put(b"4" * 1_000)
    assert [digest in again for digest in digests] == [True, False, True]


def test_blobs__pinned_stay_also_after_reopening(tmp_path: Path) -> None:
    """The running round's chunks would be pruned before the validators have them."""
    store = BlobStore(tmp_path / "blobs", 3_000)
    later = b"9" * 1_000
    store.pin(hashlib.sha256(later).digest(), "round-7")
    pinned = store.put(later)
    store.pin(pinned, "round-8")
    again = BlobStore(tmp_path / "blobs", 3_000)
    for number in range(5):
        again.put(bytes([number]) * 1_000)
    assert again.get(pinned) == later
    again.unpin("round-7")
    again.unpin("round-7")
    again.put(b"6" * 2_000)
    assert pinned in again
    again.unpin("round-8")
    again.put(b"7" * 3_000)
    assert pinned not in again


def test_blobs__full_of_pinned_refuses_and_keeps(tmp_path: Path) -> None:
    """A full store would throw away what it promised to serve."""
    store = BlobStore(tmp_path / "blobs", 2_000)
    pinned = store.put(b"1" * 1_500)
    store.pin(pinned, "round-1")
    other = store.put(b"2" * 400)
    with pytest.raises(StoreError, match="blob_bytes_max"):
        store.put(b"3" * 1_000)
    assert pinned in store
    assert other in store, "nothing is pruned for a blob that cannot fit anyway"


@pytest.mark.parametrize("reason", ["", "..", "../x", "a/b", ".hidden", "ü", "x" * 129])
def test_blobs__strange_pin_reason_is_refused(store: BlobStore, reason: str) -> None:
    """A name from outside would create or remove folders beyond the store's."""
    for use in (lambda: store.pin(bytes(32), reason), lambda: store.unpin(reason)):
        with pytest.raises(StoreError):
            use()


def test_blobs__wrong_digest_length_is_refused(store: BlobStore) -> None:
    """A short digest would name a folder instead of a file."""
    with pytest.raises(StoreError):
        store.pin(b"short", "round-1")
    assert store.get(b"short") is None


def test_blobs__threads_do_not_disturb_each_other(store: BlobStore) -> None:
    """Serving and fetching at the same time would miscount or lose blobs."""
    contents = [bytes([number]) * 1_000 for number in range(20)]
    failures: list[object] = []

    def work() -> None:
        for content in contents:
            if store.get(store.put(content)) != content:
                failures.append(content)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.bytes_total == 20_000


WRITER = """
import sys
from pathlib import Path
from p2p_flock.store.blobs import BlobStore
store = BlobStore(Path(sys.argv[1]), 1 << 30)
for number in range(100_000):
    print(store.put(str(number).encode() * 20_000).hex(), flush=True)
"""


def test_blobs__sigkill_leaves_only_whole_blobs(tmp_path: Path) -> None:
    """A crash would leave half a chunk under a whole chunk's name, or lose one that was acknowledged (P8)."""
    folder = tmp_path / "blobs"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    lines = []
    for line in writer.stdout:
        lines.append(line)
        if len(lines) == 10:
            writer.send_signal(signal.SIGKILL)
            break
    lines += writer.stdout.read().splitlines(keepends=True)
    writer.stdout.close()
    writer.wait()
    store = BlobStore(folder, 1 << 30)
    for line in lines:
        assert not line.endswith("\n") or bytes.fromhex(line.strip()) in store
    for path in folder.glob("[0-9a-f][0-9a-f]/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name + path.name
