"""``init`` and what works without a daemon."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from p2p_flock.chain.keystore import read_keystore
from p2p_flock.crypto.peer_identity import public_key_of
from p2p_flock.daemon.config_file import load_config
from p2p_flock.daemon.data_directory import DataDirectory, lock_data_directory
from p2p_flock.store.secrets import RoundSecrets
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import ALLIANCE

FACTORY = "0x" + "ab" * 20
CHAIN = ("--rpc-url", "http://127.0.0.1:8545", "--chain-id", "84530", "--factory", FACTORY)
LIGHT = "--light-keystore"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_init__makes_a_node_that_opens(run: RunCommand, home: Path) -> None:
    """A newcomer's first command would leave a folder that the daemon refuses."""
    ran = run("init", *CHAIN, "--generate-password-file", home / "password", LIGHT, "--json",
              "--rpc-url", "https://second.example", "--task", "heart", "--data-path", "data.csv", "--data-seed", "5",
              "--listen-host", "127.0.0.1", "--listen-port", "0", "--set", "chain.poll_interval_ms=100",
              "--set", "node.log_format=json", "--beacon-scheme", "devnet")  # fmt: skip
    assert ran.code == 0, ran.err
    made = json.loads(ran.out)
    directory = DataDirectory(home)
    config = load_config(directory.config, {})
    assert config.chain.rpc_urls == ("http://127.0.0.1:8545", "https://second.example")
    assert (config.chain.poll_interval_ms, config.node.log_format) == (100, "json")
    assert config.learning.data_path == Path.cwd() / "data.csv"
    assert config.learning.data_seed == 5
    account = read_keystore(directory.keystore, (home / "password").read_text().strip())
    assert account.address.lower() == made["address"]
    assert len(public_key_of(made["peer_id"])) == 32
    RoundSecrets(directory.round_secrets, directory.secrets_key)
    for path in home.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_init__prints_nothing_secret(run: RunCommand, home: Path) -> None:
    """A launcher's log would hold the members' keys."""
    ran = run("init", *CHAIN, "--generate-password-file", home / "password", LIGHT)
    assert ran.code == 0, ran.err
    printed = ran.out + ran.err
    assert (home / "password").read_text().strip() not in printed
    assert DataDirectory(home).identity_key.read_bytes().hex() not in printed
    assert "p2p-flock node --home" in ran.out


def test_init__never_overwrites(run: RunCommand, home: Path) -> None:
    """A second init would destroy the account and the peer ID bound on chain."""
    assert run("init", *CHAIN, "--generate-password-file", home / "password", LIGHT).code == 0
    before = {path: path.read_bytes() for path in home.iterdir()}
    for leave in (None, "config.toml", "keystore.json"):
        if leave is not None:
            (home / leave).unlink()
            del before[home / leave]
        ran = run("init", *CHAIN, "--generate-password-file", home / "password2", LIGHT)
        assert ran.code == 2
        assert "never overwrites" in ran.err
        assert {path: path.read_bytes() for path in home.iterdir()} == before


def test_init__takes_chain_and_factory_from_an_alliance_id(run: RunCommand, home: Path) -> None:
    """A newcomer would have to copy three values where one is enough."""
    ran = run("init", "--alliance", ALLIANCE, "--rpc-url", "http://127.0.0.1:1", "--generate-password-file",
              home / "password", LIGHT)  # fmt: skip
    assert ran.code == 0, ran.err
    config = load_config(DataDirectory(home).config, {})
    assert (config.chain.chain_id, config.chain.factory) == (84_530, FACTORY)


def test_init__password_from_file_and_environment(
    run: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator could not choose the password."""
    file = tmp_path / "given"
    file.write_text("from the file\n")
    file.chmod(0o600)
    monkeypatch.setenv("P2P_FLOCK_PASSWORD", "from the environment")
    for name, arguments, password in (
        ("a", ("--password-file", file), "from the file"),
        ("b", (), "from the environment"),
    ):
        ran = run("init", "--home", tmp_path / name, *CHAIN, LIGHT, *arguments)
        assert ran.code == 0, ran.err
        read_keystore(DataDirectory(tmp_path / name).keystore, password)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rpc-url", "http://127.0.0.1:1"), "--alliance ID, or --chain-id and --factory"),
        ((*CHAIN, "--alliance", ALLIANCE), "stands for"),
        (("--rpc-url", "http://127.0.0.1:1", "--alliance", "flock:1:2:3"), "not an alliance ID"),
        (CHAIN, "no password was given"),
        ((*CHAIN, "--password-file", "/missing"), "cannot read the password file"),
        ((*CHAIN, "--password-file", "a", "--generate-password-file", "b"), "exclude each other"),
        ((*CHAIN, "--generate-password-file", "/missing/folder/password"), "cannot create"),
        ((*CHAIN, "--bootstrap", "/ip4/1.2.3.4/tcp/1"), "with a peer ID"),
        ((*CHAIN, "--set", "net.listen_prot=1"), "names no setting"),
        ((*CHAIN, "--set", "net.listen_port=abc"), "must be a whole number"),
        ((*CHAIN, "--set", "test.disable_masks=true"), "P2P_FLOCK_TEST_MODE"),
        ((*CHAIN[:3], "84530", "--factory", "0x12"), "40 hex digits"),
    ],
)
def test_init__user_errors_are_two_lines_and_leave_nothing(
    run: RunCommand, home: Path, arguments: tuple[str, ...], says: str
) -> None:
    """A newcomer would see a traceback, or a half-made node that the next init refuses."""
    ran = run("init", *arguments, LIGHT)
    assert ran.code == 2
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert ran.err.count("\n") == 2, ran.err
    assert not home.exists() or not any(home.iterdir())


def test_init__too_short_password_leaves_nothing(run: RunCommand, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account would be guessed."""
    monkeypatch.setenv("P2P_FLOCK_PASSWORD", "short")
    ran = run("init", *CHAIN, LIGHT)
    assert (ran.code, "fewer than 8 characters" in ran.err) == (2, True)
    assert not any(home.iterdir())


def test_wallet__without_a_daemon_shows_what_the_files_hold(run: RunCommand, home: Path) -> None:
    """A launcher could not fund a node before it runs, and a newcomer could not find the address."""
    made = json.loads(run("init", *CHAIN, "--generate-password-file", home / "password", LIGHT, "--json").out)
    ran = run("wallet", "--json")
    assert ran.code == 0
    assert json.loads(ran.out) == {"address": made["address"], "peer_id": made["peer_id"]}
    assert made["address"] in run("wallet").out


def test_node__refuses_before_it_loads_anything(run: RunCommand, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong use of the first commands would end in tracebacks, or two daemons share a journal."""
    assert "p2p-flock init --home" in run("node").err
    assert run("init", *CHAIN, "--generate-password-file", home / "password", LIGHT).code == 0
    ran = run("node")
    assert (ran.code, "no password was given" in ran.err) == (2, True)
    with lock_data_directory(DataDirectory(home)):
        ran = run("node", "--password-file", home / "password")
    assert (ran.code, f"process {os.getpid()}" in ran.err) == (2, True)
    monkeypatch.setenv("P2P_FLOCK_NET_LISTEN_PROT", "1")
    assert "did you mean P2P_FLOCK_NET_LISTEN_PORT?" in run("node", "--password-file", home / "password").err


def test_config__template_and_check(run: RunCommand, home: Path) -> None:
    """An operator could not look settings up, or try them without starting the node."""
    assert "[learning]" in run("config", "template").out
    assert "p2p-flock init" in run("config", "check").err
    assert run("init", *CHAIN, "--generate-password-file", home / "password", LIGHT).code == 0
    assert "in order" in run("config", "check").out
    with DataDirectory(home).config.open("a") as file:
        file.write("[extra]\n")
    ran = run("config", "check")
    line = len(DataDirectory(home).config.read_text().splitlines())
    assert ran.code == 2
    assert f"config.toml:{line}: unknown section [extra]" in ran.err
