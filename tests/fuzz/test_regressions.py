"""Every input that a fuzz target broke on, by what it would have done to a node; see `tests/fuzz/README.md`."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest
from multiaddr import Multiaddr

from p2p_flock.daemon.node import _read_peer_book
from p2p_flock.net.adapter import open_net
from p2p_flock.net.discovery import ANSWER_BYTES_MAX, EXCHANGE_PROTOCOL
from p2p_flock.net.framing import FrameReader, encode_frame
from p2p_flock.net.peer_book import parse_address
from tests.net.nodes import ECHO, ask_echo, dial, echo, make_config, open_hardened, until

NO_MULTIADDRS = [
    "/ip6/2001:db8::1%0/tcp/1",
    "/dns/-/tcp/1",
    "/dns4/a..b/tcp/1",
    "/dns4/node.exa²org/tcp/1",
    "/dns/٠/tcp/1",
]
PUNYCODE_THAT_IS_NONE = "/dns/xn--a/tcp/1"


@pytest.mark.parametrize("text", NO_MULTIADDRS)
def test_address__that_the_library_refuses_is_refused_here(text: str) -> None:
    """What we keep and pass on, others could neither read nor dial."""
    with pytest.raises(ValueError, match="not a"):
        parse_address(text)


async def test_exchange__address_that_cannot_be_dialed_costs_a_dial() -> None:
    """A stranger could end every node of the network with one message: the dial raised out of discovery."""
    with pytest.raises(ValueError, match="Invalid MultiAddr"):
        Multiaddr(PUNYCODE_THAT_IS_NONE)  # the library refuses what we read
    async with open_net(make_config()) as victim, open_hardened() as attacker:
        host = victim._discovery._host
        await dial(attacker, host)
        stream = await attacker.new_stream(host.get_id(), [EXCHANGE_PROTOCOL])
        await stream.write(encode_frame(msgpack.packb([PUNYCODE_THAT_IS_NONE, *NO_MULTIADDRS])))
        await FrameReader(stream).read_frame(ANSWER_BYTES_MAX)
        await attacker.swarm.close_peer(host.get_id())
        own = attacker.get_id().to_base58()
        await until(lambda: not victim.connected())
        await until(lambda: victim._discovery.book._entries[own].failure_count > 0)  # it was dialed, in vain
        async with open_hardened() as newcomer:
            await dial(newcomer, host)
            host.set_stream_handler(ECHO, echo)
            assert await ask_echo(newcomer, host.get_id())


def test_peer_book__deeply_nested_file_costs_the_book_only(tmp_path: Path) -> None:
    """A damaged peer book would keep the node from starting."""
    path = tmp_path / "peers.json"
    path.write_bytes(b"[" * 100_000)
    assert _read_peer_book(path) == {}
