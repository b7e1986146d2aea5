"""Where a process of the network lives; see ``faults/wiring.py``, which says so for each."""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Place:
    """An address, and how to get there.

    Attributes:
        host: its address. prefix: words before its command.
        rpc_url: of its way to the chain, ``None`` for the chain's own.
        settings: of its configuration, ``section.key=value``.
    """

    host: str = LOOPBACK
    prefix: tuple[str, ...] = ()
    rpc_url: str | None = None
    settings: tuple[str, ...] = ()


HERE = Place()
