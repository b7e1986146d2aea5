"""Free TCP ports on 127.0.0.1 for the network's processes. Called by ``launcher.py``."""

from __future__ import annotations

import random
import socket
from contextlib import closing

from p2p_flock.errors import PortTakenError

# Below the range from which Linux takes the ports of outgoing connections (32768 …), so that none of those takes a
# port between our look and the daemon's bind.
PORT_MIN, PORT_MAX = 20_000, 32_000
ATTEMPTS_MAX = 1_000


def choose_ports(count: int) -> tuple[int, ...]:
    """That many different ports on which nothing listens now.

    A daemon that still finds its port taken ends with an error, and the launcher with it.

    Raises:
        PortTakenError: too few are free.
    """
    chosen: list[int] = []
    for candidate in random.SystemRandom().sample(range(PORT_MIN, PORT_MAX), ATTEMPTS_MAX):
        if len(chosen) == count:
            break
        if is_free(candidate):
            chosen.append(candidate)
    if len(chosen) < count:
        raise PortTakenError(f"Fewer than {count} of the ports {PORT_MIN} to {PORT_MAX} are free on 127.0.0.1.")
    return tuple(chosen)


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
