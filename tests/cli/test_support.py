"""``p2p-flock support bundle``: what helps is in it, and no secret, however it was written down."""

from __future__ import annotations

import json
import stat
import tarfile
from pathlib import Path

import pytest

from p2p_flock.chain.account import Account
from p2p_flock.chain.keystore import write_keystore
from p2p_flock.cli.supporting.gather import NEVER, read_tail
from p2p_flock.cli.supporting.scrub import Scrubber, shorten_url
from p2p_flock.cli.supporting.scrub import notations as known_notations
from p2p_flock.daemon.config_template import render_config
from p2p_flock.testnet.secretcheck import notations
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import FakeDaemon

IDENTITY, SECRETS_KEY, ACCOUNT = bytes(range(7, 39)), bytes(range(140, 172)), bytes(range(60, 92))
TOKEN = "dQw4w9WgXcQ-dQw4w9WgXcQ_dQw4w9WgXcQ-dQw4w9W"
PASSWORD = "correct horse 8 battery"
RPC_KEY = "0123456789abcdef0123456789abcdef"
PLANTED = {
    "identity": IDENTITY,
    "secrets key": SECRETS_KEY,
    "account": ACCOUNT,
    "token": TOKEN.encode(),
    "password": PASSWORD.encode(),
    "RPC key": RPC_KEY.encode(),
}


def plant(home: Path) -> None:
    """A home with every secret a node has, and a log in which each of them stands in every notation."""
    (home / "logs").mkdir(parents=True, exist_ok=True)
    settings = {
        ("chain", "rpc_urls"): (f"https://user:hunter22@rpc.example:8443/v2/{RPC_KEY}",),
        ("chain", "chain_id"): 84_532,
        ("chain", "factory"): "0x" + "12" * 20,
        ("learning", "data_seed"): 271_828_182,
    }
    (home / "config.toml").write_text(f"# {PASSWORD}\n" + render_config(settings))
    (home / "identity.key").write_bytes(IDENTITY)
    (home / "secrets.key").write_bytes(SECRETS_KEY)
    (home / "dashboard.token").write_text(TOKEN + "\n")
    write_keystore(home / "keystore.json", Account.from_key(ACCOUNT), PASSWORD, light=True)
    (home / "data.csv").write_text("name,age\nPatient Zero,41\n")
    lines = [b'{"message": "a line that helps", "round_id": "a0-r3"}\n']
    for secret in PLANTED.values():
        for form in notations(secret).values():
            lines.append(b'{"message": "before ' + form + b' after"}\n')
            text = form.decode("latin-1")
            lines += [json.dumps({"message": text}).encode() + b"\n"]
            lines += [json.dumps({"message": text}, ensure_ascii=False).encode() + b"\n"]
    lines.append(b'{"message": "asking https://user:hunter22@rpc.example/v2/' + RPC_KEY.encode() + b'?k=v failed"}\n')
    lines.append(b'{"message": "login", "password": "hunter22"}\n')
    (home / "logs" / "node.log").write_bytes(b"".join(lines))
    (home / "logs" / "worker.log").write_text("Patient Zero is 41\n")
    (home / "rounds.jsonl").write_bytes(b'{"event":"phase","round":3}\n' + IDENTITY.hex().encode() + b"\n")


def contents(file: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(file, "r:gz") as archive:
        for entry in archive:
            read = archive.extractfile(entry)
            assert read is not None and entry.isfile() and entry.mode == 0o600
            found[entry.name.removeprefix("p2p-flock-support/")] = read.read()
    return found


def bundle(run: RunCommand, tmp_path: Path, *words: str | Path) -> tuple[dict[str, bytes], str]:
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD + "\n")
    password_file.chmod(0o600)
    file = tmp_path / "bundle.tar.gz"
    ran = run("support", "bundle", file, "--no-doctor", "--password-file", password_file, *words)
    assert ran.code == 0, ran.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return contents(file), ran.out


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_bundle__holds_no_secret_in_any_notation(run: RunCommand, tmp_path: Path, name: str) -> None:
    """An operator would send its keys to whoever offers help."""
    plant(tmp_path / "home")
    parts, out = bundle(run, tmp_path)
    for notation, form in notations(PLANTED[name]).items():
        for part, data in parts.items():
            assert form not in data, f"{name} as {notation} in {part}"
        assert form not in out.encode()
    everything = b"".join(parts.values())
    for word in (b"hunter22", b"271828182", b"Patient Zero"):
        assert word not in everything
    assert PASSWORD.encode() not in everything


def test_bundle__holds_what_helps(run: RunCommand, daemon: FakeDaemon, tmp_path: Path) -> None:
    """Whoever helps would have to ask for everything again."""
    plant(daemon.home)
    parts, out = bundle(run, tmp_path)
    assert {"README.txt", "versions.json", "machine.json", "config.json", "node.log", "rounds.jsonl"} <= set(parts)
    assert b"a line that helps" in parts["node.log"] and b"a0-r3" in parts["node.log"]
    assert json.loads(parts["config.json"])["chain"]["rpc_urls"] == ["https://rpc.example:8443/…"]
    assert json.loads(parts["status.json"])["chain_id"] == 84_530
    assert json.loads(parts["alliance.watch.json"])["format"] == 1
    assert json.loads(parts["versions.json"])["p2p_flock"]
    index = parts["README.txt"].decode()
    assert index in out and out.index("It holds") < out.index("Left out") < out.index("Wrote")
    for part in parts:
        assert part == "README.txt" or part in index
    for text in (*NEVER, "doctor.json", "worker.log"):
        assert text in index


def test_bundle__without_a_daemon_says_what_is_missing(run: RunCommand, tmp_path: Path) -> None:
    """The node that does not start is the one that needs help."""
    plant(tmp_path / "home")
    (tmp_path / "home" / "config.toml").write_text(f"[chain\nrpc_urls = ['https://rpc.example/v2/{RPC_KEY}']\n")
    (tmp_path / "home" / "rounds.jsonl").unlink()
    parts, _ = bundle(run, tmp_path)
    index = parts["README.txt"].decode()
    for text in ("status.json: no daemon runs", "config.json: the settings cannot be read", "rounds.jsonl:"):
        assert text in index
    assert RPC_KEY.encode() not in b"".join(parts.values())


def test_bundle__worker_log_only_when_asked_for(run: RunCommand, tmp_path: Path) -> None:
    """A task prints a record, and it leaves the hospital."""
    plant(tmp_path / "home")
    parts, _ = bundle(run, tmp_path, "--with-worker-log")
    assert b"Patient Zero is 41" in parts["worker.log"]


def test_bundle__overwrites_nothing(run: RunCommand, tmp_path: Path) -> None:
    """A slip of the hand would cost a file."""
    plant(tmp_path / "home")
    file = tmp_path / "precious"
    file.write_text("mine")
    ran = run("support", "bundle", file, "--no-doctor")
    assert ran.code == 2 and "exists already" in ran.err and file.read_text() == "mine"
    assert run("support", "bundle", tmp_path / "new", "--home", tmp_path / "nowhere").code == 2


def test_scrubber__knows_all_notations_of_the_search() -> None:
    """The search that the testnet does would find what the bundle lets through."""
    for secret in PLANTED.values():
        assert set(notations(secret).values()) - set(known_notations(secret)) == set()
    assert Scrubber([b"abc"]).clean(b"abc abcdef") == b"abc abcdef"  # too short to hide
    assert Scrubber([b"secret", b"a secret word"]).clean(b"x a secret word x") == b"x [hidden] x"


@pytest.mark.parametrize(
    ("url", "short"),
    [
        ("https://rpc.example", "https://rpc.example"),
        ("https://rpc.example/", "https://rpc.example"),
        ("https://rpc.example/v2/key", "https://rpc.example/…"),
        ("https://a:b@rpc.example:8443", "https://rpc.example:8443/…"),
        ("wss://rpc.example?key=1", "wss://rpc.example/…"),
        ("http://[::1]:8545", "http://[::1]:8545"),
        ("http://[broken", "[hidden]"),
        ("http://host:port/x", "[hidden]"),
    ],
)
def test_url__keeps_the_host_only(url: str, short: str) -> None:
    """A key in an endpoint's URL is what its owner is billed for."""
    assert shorten_url(url.encode()).decode() == short


def test_tail__is_whole_lines(tmp_path: Path) -> None:
    """The first line would be half a JSON object, or half of a secret that no search knows."""
    file = tmp_path / "log"
    file.write_bytes(b"one\ntwo\nthree\n")
    assert read_tail(file, 100) == b"one\ntwo\nthree\n"
    assert read_tail(file, 8) == b"three\n"
