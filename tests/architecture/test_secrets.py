"""Secrets stay out of reprs, tracebacks, logs and files that others can read; what is planted is found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2p_flock.chain.account import Account
from p2p_flock.chain.keystore import write_keystore
from p2p_flock.daemon.dashboard_files import create_token, write_url
from p2p_flock.daemon.data_directory import DataDirectory, create_identity
from p2p_flock.dashboard.access import Access
from p2p_flock.dashboard.settings import DashboardSettings
from p2p_flock.net.adapter import NetConfig
from p2p_flock.ports import Persist, UpdateComputed
from p2p_flock.secagg.secrets import NeighborSecrets, PartnerSecrets, RoundSecrets
from p2p_flock.store import secrets as stored
from p2p_flock.store.blobs import BlobStore
from p2p_flock.store.journal import Journal, Record
from p2p_flock.store.models import ModelStore
from p2p_flock.testnet.secretcheck import Place, Secret, find_open_files, find_secrets, notations

SECRET = bytes(range(7, 39))  # no repetition, so that no part of it occurs by chance
PASSWORD = "correct horse 8 battery"


def is_in(text: str | bytes) -> bool:
    """Whether the secret stands in there, in any notation."""
    data = text.encode() if isinstance(text, str) else text
    return any(one in data for one in notations(SECRET).values())


@pytest.mark.parametrize("notation", sorted(notations(SECRET)))
def test_notations__are_seen(notation: str) -> None:
    """A leak in this notation would go unseen."""
    assert is_in(b"before " + notations(SECRET)[notation] + b" after")
    assert not is_in(b"before after")


@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"xyz"])
def test_notations__base64_is_seen_inside_of_something_longer(before: bytes) -> None:
    """A key inside of an encoded file would go unseen."""
    import base64  # noqa: PLC0415 - beside its only use

    assert is_in(base64.b64encode(before + SECRET + b"tail"))
    assert is_in(base64.urlsafe_b64encode(before + SECRET + b"tail"))


async def no_answer(_command: str, _arguments: dict[str, Any]) -> dict[str, object]:
    """Never asked."""
    return {}


HOLDERS: dict[str, Callable[[], Any]] = {
    "Access": lambda: Access(SECRET.hex(), 4180),
    "DashboardSettings": lambda: DashboardSettings(port=0, token=SECRET.hex(), ask=no_answer, commands={}),
    "Account": lambda: Account.from_key(SECRET),
    "NetConfig": lambda: NetConfig(SECRET, "127.0.0.1", 0, (), lambda _digest: None),
    "NeighborSecrets": lambda: NeighborSecrets(1, SECRET),
    "PartnerSecrets": lambda: PartnerSecrets(1, SECRET),
    "RoundSecrets": lambda: RoundSecrets(
        1, 0, 0, bytes(32), bytes(32), bytes(32), SECRET, SECRET, bytes(32),
        (NeighborSecrets(1, SECRET),), (PartnerSecrets(1, SECRET),),
    ),
    "Persist": lambda: Persist("secrets", "k", SECRET, secret=True),
    "UpdateComputed": lambda: UpdateComputed(np.frombuffer(SECRET, dtype=np.float32), SECRET),
    "Record": lambda: Record("alliance", 1, "secrets", "k", SECRET),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOLDERS))
def test_repr__hides_secrets(name: str) -> None:
    """One log line or error message that names the object would give the key away."""
    holder = HOLDERS[name]()
    assert not is_in(repr(holder)) and not is_in(str(holder)) and not is_in(f"{[holder]!r}")


CRASH = """
import logging, sys
from pathlib import Path
from p2p_flock.chain import account as planted
from p2p_flock.chain.keystore import read_keystore
from p2p_flock.daemon.observability import configure_logging, process_secrets

def broken(digest_of: object) -> bytes:
    raise ValueError(f"planted: {account!r} {sys._getframe(1).f_locals}")

home = Path(sys.argv[1])
configure_logging(sys.argv[2], "debug", process_secrets, home / "logs")
account = read_keystore(home / "keystore.json", sys.argv[3])
planted.encode_rlp = broken
transaction = planted.Transaction(1, 0, 1, 1, 21000, bytes(20), 0, b"")
try:
    account.sign_transaction(transaction)
except ValueError:
    logging.getLogger("p2p_flock").exception("signing with %s failed", account)
account.sign_transaction(transaction)
"""


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_crash__traceback_shows_no_key(tmp_path: Path, log_format: str) -> None:
    """A node that dies in the function that signs would print its key to a log that its operator sends around."""
    write_keystore(tmp_path / "keystore.json", Account.from_key(SECRET), PASSWORD, light=True)
    command = [sys.executable, "-c", CRASH, str(tmp_path), log_format, PASSWORD]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    log = (tmp_path / "logs" / "node.log").read_text()
    assert result.returncode == 1
    assert result.stderr.count("planted") >= 2 and "planted" in log, "the planted error did not happen"
    assert "Account(" in log
    assert not is_in(result.stderr) and not is_in(result.stdout) and not is_in(log)


# Files.


def test_files__stores_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """Another user of the machine could read keys, promises or masked data."""
    home = tmp_path / "made" / "home"
    former = os.umask(0)
    try:
        directory = DataDirectory(home)
        BlobStore(directory.blobs, 1 << 20).put(b"content", pin="pin")
        ModelStore(directory.models)
        create_identity(directory.identity_key)
        create_token(directory.dashboard_token)
        write_url(directory.dashboard_url, "http://127.0.0.1:4180")
        write_keystore(directory.keystore, Account.from_key(SECRET), PASSWORD, light=True)
        stored.create_secrets_key(directory.secrets_key)
        held = stored.RoundSecrets(directory.round_secrets, directory.secrets_key)
        held.save([Record("alliance", 1, "secrets", "k", SECRET)])
        journal = Journal(directory.journal)
        journal.append([Record("alliance", 1, "kind", "k", b"promise")])
        journal.close()
    finally:
        os.umask(former)
    assert list(find_open_files([tmp_path / "made"])) == []
    places = [Place(str(path), path.read_bytes(), path) for path in home.rglob("*") if path.is_file()]
    assert len(places) >= 7
    assert list(find_secrets([Secret("key", SECRET, None)], places)) == []


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
def test_files__one_that_others_may_use_is_found(tmp_path: Path, mode: int) -> None:
    """The check of a run's files would be blind."""
    path = tmp_path / "file"
    path.touch(mode=0o600)
    tmp_path.chmod(0o700)
    assert list(find_open_files([tmp_path])) == []
    path.chmod(mode)
    assert len(list(find_open_files([tmp_path]))) == 1


def test_secrets__are_allowed_where_they_live_only(tmp_path: Path) -> None:
    """The key's own file would be reported, or a copy of it would not."""
    home = Place("identity.key", SECRET, tmp_path / "identity.key")
    secret = Secret("seed", SECRET, tmp_path / "identity.key")
    assert list(find_secrets([secret], [home])) == []
    assert len(list(find_secrets([secret], [replace(home, path=tmp_path / "copy")]))) == 1
    assert len(list(find_secrets([replace(secret, home=None)], [home]))) == 1
