"""Yamux frame headers (https://github.com/hashicorp/yamux/blob/master/spec.md, "Framing"): pure, no I/O.

Called by `net/muxer.py` only.
"""

from __future__ import annotations

import struct
from enum import Enum, IntFlag
from typing import NamedTuple

HEADER_BYTES = 12
INITIAL_WINDOW_BYTES = 256 * 1024  # fixed by the specification
# go-yamux and py-libp2p never grant more than this, so no larger frame can be within its window.
FRAME_BYTES_MAX = 16 * 1024 * 1024
_LAYOUT = struct.Struct("!BBHII")  # version, kind, flags, stream, length


class MuxerProtocolError(ValueError):
    """The peer broke the yamux specification; the connection ends."""


class FrameKind(Enum):
    """What a frame carries."""

    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3


class Flag(IntFlag):
    """Stream life cycle, on data and window-update frames; SYN and ACK also tell a ping from its answer."""

    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


class Header(NamedTuple):
    """One frame's header; ``length`` is the body's length only for DATA."""

    kind: FrameKind
    flags: Flag
    stream_id: int
    length: int

    def encode(self) -> bytes:
        """The 12 bytes on the wire."""
        return _LAYOUT.pack(0, self.kind.value, self.flags.value, self.stream_id, self.length)

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """Read 12 bytes. Raises MuxerProtocolError on another version or an unknown kind or flag."""
        version, kind, flags, stream_id, length = _LAYOUT.unpack(data)
        if version != 0 or kind > FrameKind.GO_AWAY.value or flags > 0xF:
            raise MuxerProtocolError("not a yamux frame")
        return cls(FrameKind(kind), Flag(flags), stream_id, length)
