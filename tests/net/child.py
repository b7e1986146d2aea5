"""A node in a process of its own, for tests that kill, stop or measure it.

It prints its multiaddr, serves one content of a given size made from a given byte, answers every message with the same
text and prints what its peers do.
"""

from __future__ import annotations

import hashlib
import os
import sys

import trio

from p2p_flock.net.adapter import Net, NetConfig, open_net
from p2p_flock.net.muxer import Liveness


async def main(bootstrap: str, content_bytes: int, byte: int) -> None:
    """Serve until killed."""
    content = bytes([byte]) * content_bytes
    contents = {hashlib.sha256(content).digest(): content}
    config = NetConfig(
        private_key=os.urandom(32),
        listen_host="127.0.0.1",
        listen_port=0,
        bootstrap=(bootstrap,) if bootstrap else (),
        blob_source=contents.get,
        liveness=Liveness(interval_s=0.3, timeout_s=0.9),
    )
    async with open_net(config) as net, trio.open_nursery() as nursery:
        print(net.addresses[0], flush=True)
        nursery.start_soon(answer, net)
        async for event in net.peer_events:
            print(type(event).__name__, event.peer_id, flush=True)


async def answer(net: Net) -> None:
    """Echo messages."""
    async for message in net.messages:
        await net.send(message.peer_id, message.data)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
