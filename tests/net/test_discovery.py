"""Finding each other: from one bootstrap node to a full mesh, over stale addresses, restarts and lies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
import trio
from libp2p.abc import INetStream

from p2p_flock.net import bootstrap
from p2p_flock.net.adapter import open_net
from p2p_flock.net.discovery import ANSWER_BYTES_MAX, EXCHANGE_PROTOCOL, RECORDS_MAX, _decode_answer
from p2p_flock.net.framing import FrameError, FrameReader, encode_frame
from tests.net.nodes import dial, make_config, open_hardened, until
from tests.net.test_net import STRANGER, open_child

REPOSITORY = Path(__file__).parents[2]


async def test_discovery__five_nodes_meet_through_one() -> None:
    """Nodes that know only the bootstrap node would stay strangers."""
    async with open_child() as (first, address), AsyncExitStack() as stack:
        nets = [await stack.enter_async_context(open_net(make_config(bootstrap=(address,)))) for _ in range(5)]
        members = {net.peer_id for net in nets}
        await until(lambda: all(members <= net.connected() | {net.peer_id} for net in nets), timeout_s=20.0)
        os.kill(first, signal.SIGKILL)
        await until(lambda: all(net.connected() == members - {net.peer_id} for net in nets))


async def test_discovery__member_at_a_stale_and_a_good_address_is_reached() -> None:
    """A member that moved could not be reached while its old address is known."""
    async with open_net(make_config()) as one, open_net(make_config()) as two:
        two.add_peer(one.peer_id, ["/ip4/127.0.0.1/tcp/1", "nonsense", one.addresses[0].partition("/p2p/")[0]])
        await until(lambda: one.peer_id in two.connected(), timeout_s=2.0)


async def test_discovery__restarted_member_is_met_again_without_the_bootstrap_node() -> None:
    """After the bootstrap node is gone, each restart would lose a member."""
    config = make_config()
    async with open_net(make_config()) as stays:
        async with open_net(replace(config, bootstrap=stays.addresses)) as goes:
            await until(lambda: goes.peer_id in stays.peer_book_snapshot())
            book = goes.peer_book_snapshot()
            port = int(goes.addresses[0].split("/")[4])
        await until(lambda: not stays.connected())
        async with open_net(replace(config, peer_book=book)) as back:
            await until(lambda: back.peer_id in stays.connected(), timeout_s=3.0)
        stays.add_peer(goes.peer_id, [])
        await until(lambda: not stays.connected())
        async with open_net(replace(config, listen_port=port)) as back:  # knows nobody: it is redialed
            await until(lambda: back.peer_id in stays.connected(), timeout_s=5.0)


async def test_discovery__wrong_key_at_a_known_address_is_refused() -> None:
    """Whoever takes over an address would be taken for the member."""
    async with open_net(make_config()) as impostor, open_net(make_config()) as net:
        net.add_peer(STRANGER, [impostor.addresses[0].partition("/p2p/")[0]])
        await until(lambda: net._discovery.book._entries[STRANGER].failure_count > 0)
        assert net.connected() == frozenset()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff" * 100,
        msgpack.packb({"a": 1}),
        msgpack.packb([[STRANGER, []]] * (RECORDS_MAX + 1)),
        msgpack.packb([[STRANGER, ["/ip4/1.2.3.4/tcp/1"] * 17]]),
        msgpack.packb([["not a peer ID", []]]),
        msgpack.packb([["1" * 60, []]]),
        msgpack.packb([[STRANGER, [1]]]),
        msgpack.packb([[STRANGER]]),
        msgpack.packb([STRANGER]),
        msgpack.packb([[STRANGER, ["x" * 300]]]),
        b"\x91" * 5000 + b"\x00",
    ],
)
def test_answer__bad_ones_are_refused(answer: bytes) -> None:
    """A stranger's answer would reach the peer book, or our memory, unchecked."""
    with pytest.raises(FrameError):
        _decode_answer(answer)


async def test_exchange__hostile_answers_and_questions_are_harmless() -> None:
    """One bad peer could end the node, or fill its book."""
    answers = [b"\xff\xff\xff\xff", encode_frame(b"garbage"), encode_frame(bytes(ANSWER_BYTES_MAX))]

    async def answer(stream: INetStream) -> None:
        await FrameReader(stream).read_frame(1 << 16)
        await stream.write(answers.pop())

    async with open_net(make_config()) as victim, open_hardened() as liar:
        liar.set_stream_handler(EXCHANGE_PROTOCOL, answer)
        host = victim._discovery._host
        while answers:
            left = len(answers)
            await dial(liar, host)
            await until(lambda left=left: len(answers) < left)
            await liar.swarm.close_peer(host.get_id())
            await until(lambda: not victim.connected())
        await dial(liar, host)
        for question in (b"\x00\xff\xff\xff", encode_frame(b"garbage"), encode_frame(msgpack.packb([1]))):
            stream = await liar.new_stream(host.get_id(), [EXCHANGE_PROTOCOL])
            await stream.write(question)
        stream = await liar.new_stream(host.get_id(), [EXCHANGE_PROTOCOL])
        await stream.write(encode_frame(msgpack.packb(["/ip4/127.0.0.1/tcp/9", "nonsense"])))
        with trio.fail_after(3.0):
            records = _decode_answer(await FrameReader(stream).read_frame(ANSWER_BYTES_MAX))
        assert [peer_id for peer_id, _ in records] == [victim.peer_id]


# The bootstrap node.


def test_bootstrap_key__is_private_and_kept(tmp_path: Path) -> None:
    """The address in everybody's list would change, or the key leak."""
    path = tmp_path / "libp2p.key"
    seed = bootstrap.load_or_create_seed(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert bootstrap.load_or_create_seed(path) == seed
    path.chmod(0o644)
    assert bootstrap.main(["--data", str(tmp_path), "--listen-port", "0"]) == 1
    path.chmod(0o600)
    path.write_bytes(b"short")
    assert bootstrap.main(["--data", str(tmp_path), "--listen-port", "0"]) == 1


def test_bootstrap_node__serves_and_stops_cleanly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first contact would not come up, or hang on its end."""
    address_file = tmp_path / "address"
    script = REPOSITORY / "bootstrap" / "bootstrap_node.py"
    command = [sys.executable, str(script), "--data", str(tmp_path / "data"), "--listen-host", "127.0.0.1"]
    command += ["--listen-port", "0", "--address-file", str(address_file)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)

    async def meet() -> None:
        await until(lambda: address_file.exists(), timeout_s=20.0)
        async with open_net(make_config(bootstrap=(address_file.read_text().strip(),))) as net:
            await until(lambda: bool(net.connected()))

    try:
        trio.run(meet)
        port = address_file.read_text().split("/")[4]
        arguments = ["--data", str(tmp_path / "other"), "--listen-host", "127.0.0.1", "--listen-port", port]
        assert bootstrap.main(arguments) == 1
        assert "choose another" in capsys.readouterr().err
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=5.0)
        assert process.returncode == 0
        assert output.decode() == address_file.read_text()
        assert errors == b""
    finally:
        process.kill()
        process.wait()
