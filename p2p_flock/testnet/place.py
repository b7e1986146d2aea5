"""Where a process of the network lives; see ``faults/wiring.py``, which says so for each."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from p2p_flock.errors import UsageError

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


def validate_listen_host(host: str) -> None:
    """Check an address that nodes are to listen on: others must be able to dial it, so no wildcard.

    Raises:
        UsageError: it is no IPv4 address, or none of this machine's.
    """
    try:
        address = IPv4Address(host)
    except AddressValueError as error:
        raise UsageError(f"--listen-host {host}: give an IPv4 address, such as 192.0.2.10.") from error
    if address.is_unspecified or address.is_multicast:
        raise UsageError(f"--listen-host {host}: give the one address at which others reach this machine.")
    with closing(socket.socket()) as listener:
        try:
            listener.bind((host, 0))
        except OSError as error:
            raise UsageError(
                f"--listen-host {host}: this machine does not have it; `hostname -I` lists all."
            ) from error
