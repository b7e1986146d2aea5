"""The development chain as a process: starts, refuses, funds, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import trio

from p2p_flock.chain.adapter import open_chain
from p2p_flock.chain.anvil import find_anvil, take_port
from p2p_flock.chain.devnet import DevnetOptions, main, run_devnet, start_devnet
from p2p_flock.chain.devnet_deployment import FUND_ETH_WEI, FUND_FLOCK_WEI, Devnet, fund, read_devnet
from p2p_flock.chain.keystore import create_account
from p2p_flock.errors import ChainError, PortTakenError, UsageError


def children_of(pid: int) -> list[int]:
    """Process ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_gone(pid: int) -> None:
    """Return when no such process runs, within ten seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(descriptor):
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        assert poller.poll(10_000), f"process {pid} is still there"


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def assert_free(url: str) -> None:
    take_port(port_of(url), "a test")


def test_devnet__leaves_nothing_behind(tmp_path: Path) -> None:
    """A chain left running holds ports and memory until somebody finds it."""
    options = DevnetOptions(tmp_path, lifetime_s=120.0)
    process = start_devnet(options)
    devnet = read_devnet(tmp_path)
    assert devnet.pid == process.pid
    assert os.getsid(process.pid) == process.pid  # its own session: the launcher may die
    (anvil,) = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    wait_gone(anvil)
    for url in (devnet.rpc_url, *devnet.beacon_urls):
        assert_free(url)
    with pytest.raises(UsageError, match="No development chain runs"):
        read_devnet(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("anvil-state.json", "anvil.log"),
        *("deployment.json", "devnet.log"),
    }


def test_devnet__killed_takes_anvil_with_it(tmp_path: Path) -> None:
    """SIGKILL of the supervisor must not leave an orphaned chain on the port."""
    process = start_devnet(DevnetOptions(tmp_path, lifetime_s=120.0))
    (anvil,) = children_of(process.pid)
    process.kill()
    process.wait(20)
    wait_gone(anvil)


def test_devnet__ends_with_its_lifetime(tmp_path: Path) -> None:
    """A forgotten chain must go by itself."""
    process = start_devnet(DevnetOptions(tmp_path, lifetime_s=1.0))
    assert process.wait(20) == 0


def test_devnet__ends_when_anvil_does(tmp_path: Path) -> None:
    """A supervisor without its chain would look alive to everybody who waits for it."""
    process = start_devnet(DevnetOptions(tmp_path, lifetime_s=120.0))
    (anvil,) = children_of(process.pid)
    os.kill(anvil, signal.SIGKILL)
    assert process.wait(20) == 1
    assert "anvil ended by itself" in (tmp_path / "devnet.log").read_text()


def test_devnet__outlives_a_chain_that_stands_still(tmp_path: Path) -> None:
    """A stopped anvil would be taken for an ended one, or take the beacon with it; drand does not know our chain."""
    with run_devnet(DevnetOptions(tmp_path, lifetime_s=120.0)) as devnet:
        (anvil,) = children_of(devnet.pid)
        os.kill(anvil, signal.SIGSTOP)
        with urllib.request.urlopen(f"{devnet.beacon_urls[0]}/{devnet.beacon_chain_hash}/public/1", timeout=20) as said:
            assert said.status == 200
        os.kill(anvil, signal.SIGCONT)
        assert Path(f"/proc/{devnet.pid}").exists() and children_of(devnet.pid) == [anvil]


async def test_devnet__keeps_its_chain_over_a_restart(tmp_path: Path) -> None:
    """Alliances, stakes and the beacon's schedule must survive a reboot of the testnet's machine."""
    account = create_account()
    address = bytes.fromhex(account.address[2:])
    with run_devnet(DevnetOptions(tmp_path, lifetime_s=120.0)) as first:
        await fund(first, [address])
    with run_devnet(DevnetOptions(tmp_path, lifetime_s=120.0)) as second:
        changed = {field for field in dataclasses.asdict(first) if getattr(first, field) != getattr(second, field)}
        assert changed <= {"rpc_url", "beacon_urls", "pid"}
        async with open_chain(second.chain_config(), account) as chain:
            assert await chain.balances() == (FUND_ETH_WEI, FUND_FLOCK_WEI)


def test_devnet__says_that_a_port_is_taken(tmp_path: Path) -> None:
    """Two testnets on one port would mix their chains."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match="choose another port"):
            take_port(port, "the chain")
        with pytest.raises(ChainError, match=f"Port {port} for the beacon is taken"):
            start_devnet(DevnetOptions(tmp_path, beacon_port=port))


def test_devnet__refuses_a_directory_in_use(devnet: Devnet) -> None:
    """Two chains over one state file would destroy it."""
    command = Path(f"/proc/{devnet.pid}/cmdline").read_bytes().split(b"\0")
    directory = Path(command[command.index(b"--directory") + 1].decode())
    assert read_devnet(directory) == devnet
    second = subprocess.run(
        [*(sys.executable, "-m", "p2p_flock.chain.devnet"), "--directory", str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert f"runs in {directory} already" in second.stderr
    assert read_devnet(directory) == devnet


async def test_fund__gives_every_address_both_tokens(devnet: Devnet) -> None:
    """A node without ETH cannot send, one without FLOCK cannot stake."""
    accounts = [create_account() for _ in range(3)]
    await fund(devnet, [bytes.fromhex(account.address[2:]) for account in accounts], 5, 7)
    for account in accounts:
        async with open_chain(devnet.chain_config(), account) as chain:
            assert await chain.balances() == (5, 7)


async def test_chain_time__is_wall_time(devnet: Devnet) -> None:
    """Phases are measured in chain time and drawn by the beacon in wall time: they must be one."""
    async with open_chain(devnet.chain_config(), create_account()) as chain:
        blocks = set()
        with trio.fail_after(10):
            while len(blocks) < 6:
                head = await chain.client.head()
                blocks.add(head.number)
                assert abs(head.timestamp_s - time.time()) < 3


def test_devnet__refuses_the_chain_of_another_version(tmp_path: Path) -> None:
    """Contracts with other functions would be called, or their absence shown as a traceback."""
    (tmp_path / "deployment.json").write_text('{"factory": "0x00"}')
    with pytest.raises(ChainError, match="was written by another version"):
        start_devnet(DevnetOptions(tmp_path, lifetime_s=120.0))


def test_command__says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every mistake of a user ends in a sentence with a remedy."""
    assert main(["fund", "--directory", str(tmp_path), "0x" + "11" * 20]) == 1
    assert "Start one: python -m p2p_flock.chain.devnet" in capsys.readouterr().err
    (tmp_path / "devnet.json").write_text("{}")
    assert main(["fund", "--directory", str(tmp_path), "0x" + "11" * 20]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_find_anvil__names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing anvil is the likeliest thing to go wrong on a fresh machine."""
    assert os.access(find_anvil(), os.X_OK)
    fake = tmp_path / "anvil"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    monkeypatch.setenv("P2P_FLOCK_ANVIL", str(fake))
    assert find_anvil() == fake
