"""Arguments and results of ``node.mesh`` and ``node.log`` as types; ``CONTROL.md`` says what the fields mean.

Called by the handlers and the dashboard. Standard library only.
"""

from __future__ import annotations

from typing import TypedDict


class OwnNodeResult(TypedDict):
    peer_id: str
    owner: str
    seat: int | None
    role: str | None
    addresses: list[str]


class PeerResult(TypedDict):
    peer_id: str
    seat: int | None
    owner: str | None
    role: str | None
    is_connected: bool
    in_mesh: bool
    direction: str | None  # outbound, inbound
    address: str | None
    round_trip_ms: float | None
    connected_seconds: int | None
    seen_seconds_ago: int | None


class MeshResult(TypedDict):
    own: OwnNodeResult
    peers: list[PeerResult]
    peer_count: int


class LogArguments(TypedDict):
    after: int
    level: str
    limit: int


class LogLine(TypedDict):
    sequence: int
    time: float
    level: str
    logger: str
    message: str
    alliance: str | None
    round: int | None
    round_id: str | None
    fields: dict[str, str | int | float | bool | None]


class LogResult(TypedDict):
    lines: list[LogLine]
    next: int
