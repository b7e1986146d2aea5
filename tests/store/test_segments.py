"""Pieces come back as they were written, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2p_flock.store.segments import SegmentFile

PIECES = [b"", b"one", b"two" * 1000]


def filled(path: Path) -> SegmentFile:
    file = SegmentFile(path, 1 << 20)
    assert file.read() == []
    assert all(file.append(piece) for piece in PIECES)
    return file


def test_segments__survive_a_restart_and_grow(tmp_path: Path) -> None:
    """A restart would lose what was read, or write over it."""
    filled(tmp_path / "chain" / "log")
    again = SegmentFile(tmp_path / "chain" / "log", 1 << 20)
    assert again.read() == PIECES
    assert again.append(b"three")
    assert SegmentFile(tmp_path / "chain" / "log", 1 << 20).read() == [*PIECES, b"three"]


@pytest.mark.parametrize("cut", [1, 20, 36, 37, 100])
def test_segments__torn_end_is_dropped(tmp_path: Path, cut: int) -> None:
    """A crash in the middle of a write would make the file unreadable for ever."""
    path = tmp_path / "log"
    filled(path)
    path.write_bytes(path.read_bytes()[:-cut])
    again = SegmentFile(path, 1 << 20)
    assert again.read() == PIECES[:2]
    assert again.append(b"three")
    assert SegmentFile(path, 1 << 20).read() == [*PIECES[:2], b"three"]


@pytest.mark.parametrize("place", [0, 3, 40, 73])
def test_segments__damage_ends_the_file(tmp_path: Path, place: int) -> None:
    """A flipped bit would be taken for the chain's word; a flipped length would be read as one."""
    path = tmp_path / "log"
    filled(path)
    data = bytearray(path.read_bytes())
    data[place] ^= 0x80
    path.write_bytes(bytes(data))
    found = SegmentFile(path, 1 << 20).read()
    assert found == PIECES[: len(found)]
    assert len(found) < len(PIECES)


def test_segments__cut_and_bound(tmp_path: Path) -> None:
    """What a reorganisation took back would come again; or the disk would fill."""
    path = tmp_path / "log"
    file = filled(path)
    file.truncate(1)
    assert file.append(b"other")
    assert SegmentFile(path, 1 << 20).read() == [b"", b"other"]
    small = SegmentFile(tmp_path / "small", 100)
    assert small.append(b"x" * 64)
    assert not small.append(b"")
    assert SegmentFile(tmp_path / "small", 100).read() == [b"x" * 64]
