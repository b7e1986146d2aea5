"""What is written is read as what was written, for the encodings that have no such property elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_flock.chain.archive import ArchivedLog, ArchiveHead, Segment
from p2p_flock.daemon.control_protocol import decode_line, encode_line
from p2p_flock.learning.frames import HEADER_BYTES, decode_body, decode_length, encode_frame
from p2p_flock.net.framing import FrameReader
from p2p_flock.net.framing import encode_frame as encode_stream_frame
from p2p_flock.net.yamux_frames import HEADER_BYTES as YAMUX_HEADER_BYTES
from p2p_flock.net.yamux_frames import Flag, FrameKind, Header
from p2p_flock.store.secrets import _SecretsFile
from p2p_flock.wire.codec import decode, encode
from tests.fuzz.targets_net import Readable, drive
from tests.unit.wire_strategies import values_of

U32 = st.integers(0, 2**32 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("kind", [ArchiveHead, ArchivedLog, Segment, _SecretsFile], ids=lambda kind: kind.__name__)
@settings(max_examples=20, deadline=None, print_blob=True)
@given(data=st.data())
def test_kept_files__round_trip(kind: type, data: st.DataObject) -> None:
    """A node would come back from a restart with other logs or other secrets."""
    message = data.draw(values_of(kind))
    assert decode(kind, encode(message), 1 << 24) == message


@settings(deadline=None)
@given(st.sampled_from(FrameKind), st.integers(0, 15), U32, U32)
def test_yamux_header__round_trip(kind: FrameKind, flags: int, stream_id: int, length: int) -> None:
    """A stream's bytes would go to another stream."""
    header = Header(kind, Flag(flags), stream_id, length)
    assert len(header.encode()) == YAMUX_HEADER_BYTES
    assert Header.decode(header.encode()) == header


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(1, 64))
def test_stream_frames__arrive_in_whatever_pieces(bodies: list[bytes], piece_bytes: int) -> None:
    """A message would be cut where the network cuts it."""
    reader = FrameReader(Readable(b"".join(map(encode_stream_frame, bodies)), piece_bytes))
    assert [drive(reader.read_frame(300)) for _ in bodies] == bodies


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(TEXT, JSON, max_size=5))
def test_control_line__round_trip(message: dict[str, Any]) -> None:
    """A command would arrive as another one."""
    line = encode_line(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode_line(line) == message


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(TEXT, st.integers(-(2**63), 2**64 - 1) | TEXT | st.booleans() | st.none(), max_size=5), st.data()
)
def test_worker_frame__round_trip(body: dict[str, Any], data: st.DataObject) -> None:
    """Daemon and worker would train on different numbers."""
    values = data.draw(st.lists(st.floats(allow_nan=False), max_size=20))
    frame = encode_frame({**body, "values": np.array(values, dtype=np.float64)})
    assert decode_length(frame[:HEADER_BYTES]) == len(frame) - HEADER_BYTES
    found = decode_body(frame[HEADER_BYTES:])
    array = found.pop("values")
    assert isinstance(array, np.ndarray) and array.tolist() == values
    assert found == {name: value for name, value in body.items() if name != "values"}
