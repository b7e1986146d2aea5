"""Every input that a fuzz target broke on, by what it would have done to a node; see `tests/fuzz/README.md`."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack
import pytest
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11
from multiaddr import Multiaddr

from p2p_flock.chain.abi import encode as encode_abi
from p2p_flock.chain.contracts import ALLIANCE, load_contract
from p2p_flock.chain.deployment_record import read_record
from p2p_flock.chain.events import Log, decode_log
from p2p_flock.cli.creating.sources import read_json, read_toml
from p2p_flock.daemon.config_file import find_line, load_config
from p2p_flock.daemon.node import _read_peer_book
from p2p_flock.errors import ChainError, ConfigError, UsageError
from p2p_flock.net.adapter import open_net
from p2p_flock.net.bootstrap_file import read_bootstrap_file
from p2p_flock.net.discovery import ANSWER_BYTES_MAX, EXCHANGE_PROTOCOL
from p2p_flock.net.framing import FrameReader, encode_frame
from p2p_flock.net.peer_book import parse_address
from tests.fuzz.engine import Watch
from tests.fuzz.targets_chain import example_value
from tests.fuzz.targets_files import record_seeds
from tests.net.hostile import GOSSIP_FRAMES
from tests.net.nodes import ECHO, ask_echo, dial, echo, make_config, open_hardened, until

NO_MULTIADDRS = [
    "/ip6/2001:db8::1%0/tcp/1",
    "/dns/-/tcp/1",
    "/dns4/a..b/tcp/1",
    "/dns4/node.exa²org/tcp/1",
    "/dns/٠/tcp/1",
]
PUNYCODE_THAT_IS_NONE = "/dns/xn--a/tcp/1"


@contextmanager
def interrupting_what_never_ends() -> Iterator[None]:
    """Fails what takes more processor time than any sound reader; the defects here took minutes to days."""
    with Watch().running():
        yield


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


DEEP_TOML = b"bootstrap = " + b"[" * 50_000
LONG_NUMBER_TOML = b"bootstrap = " + b"9" * 5_000


@pytest.mark.parametrize("data", [DEEP_TOML, LONG_NUMBER_TOML], ids=["deep", "long number"])
def test_toml__beyond_what_python_reads_is_named(data: bytes, tmp_path: Path) -> None:
    """A damaged file would show a traceback instead of its name; tomllib raises more than its own error."""
    path = tmp_path / "file.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"file\.toml"):
        read_bootstrap_file(path)
    with pytest.raises(ConfigError, match=r"file\.toml"):
        load_config(path, {})
    with pytest.raises(UsageError, match=r"file\.toml"):
        read_toml(path)


def test_alliance_parameters__deeply_nested_json_is_named(tmp_path: Path) -> None:
    """As above."""
    path = tmp_path / "params.json"
    path.write_bytes(b"[" * 50_000)
    with pytest.raises(UsageError, match=r"params\.json"):
        read_json(path)


def test_config__line_of_blanks_is_read_at_once() -> None:
    """A line of a few thousand blanks took minutes: the expression that finds a setting's line tried all splits."""
    with interrupting_what_never_ends():
        assert find_line("[chain]\n" + " " * 100_000 + "\nfactory = 1\n", "chain", "factory") == 3


def test_deployment_record__infinite_numbers_are_damage(tmp_path: Path) -> None:
    """A damaged record would show a traceback."""
    document = json.loads(record_seeds()[0])
    next(iter(document["steps"].values()))["nonce"] = float("inf")
    path = tmp_path / "record.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="no record"):
        read_record(path)


@pytest.mark.parametrize("length", [65, 100_000])
def test_seat__peer_id_beyond_the_contracts_bound_is_refused(length: int) -> None:
    """A lying endpoint could hold a node for hours: base58 takes time with the square of the length."""
    joined = next(event for event in load_contract(ALLIANCE).events.values() if event.name == "SeatJoined")
    values = {
        name: example_value(kind, random.Random(1)) for name, kind in zip(joined.names, joined.types, strict=True)
    }
    values["peerId"] = bytes(length)
    parts = list(zip(joined.names, joined.types, joined.indexed, strict=True))
    topics = [encode_abi([kind], [values[name]]) for name, kind, indexed in parts if indexed]
    plain = [(kind, values[name]) for name, kind, indexed in parts if not indexed]
    data = encode_abi([kind for kind, _ in plain], [value for _, value in plain])
    with interrupting_what_never_ends(), pytest.raises(ChainError, match="peer ID"):
        decode_log(Log(8, 2, bytes(32), bytes(32), (joined.topic, *topics), data), 1)


async def test_gossip__topic_that_is_no_text_costs_its_sender_only() -> None:
    """A stranger could fill the log with tracebacks: protobuf gives a name that is not UTF-8 as bytes."""
    async with open_net(make_config()) as victim, open_hardened() as attacker:
        host = victim._discovery._host
        await dial(attacker, host)
        stream = await attacker.new_stream(host.get_id(), [PROTOCOL_ID_V11])
        await stream.write(GOSSIP_FRAMES["a topic that is no text"])
        await until(lambda: attacker.get_id() in host.swarm.bans)
