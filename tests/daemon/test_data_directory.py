"""The data directory: one daemon at a time, private keys, readable without the password."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from p2p_flock.daemon.data_directory import (
    DataDirectory,
    create_identity,
    default_home,
    load_identity,
    lock_data_directory,
    read_address,
    require_initialised,
)
from p2p_flock.errors import DataDirectoryLockedError, StoreError, UsageError

HOLDER = """
import sys, time
from pathlib import Path
from p2p_flock.daemon.data_directory import DataDirectory, lock_data_directory
with lock_data_directory(DataDirectory(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock__second_daemon_is_refused_and_killed_one_lets_go(tmp_path: Path) -> None:
    """Two daemons with one journal would contradict each other; a crash would lock the node out for ever."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(DataDirectoryLockedError, match=f"process {holder.pid}"),
        lock_data_directory(DataDirectory(tmp_path)),
    ):
        pytest.fail("two daemons at once")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with lock_data_directory(DataDirectory(tmp_path)):
        assert stat.S_IMODE(DataDirectory(tmp_path).lock.stat().st_mode) == 0o600
    with lock_data_directory(DataDirectory(tmp_path)):
        pass


def test_identity__is_private_and_never_overwritten(tmp_path: Path) -> None:
    """The peer ID that is bound on chain would be lost."""
    seed = create_identity(tmp_path / "identity.key")
    assert load_identity(tmp_path / "identity.key") == seed
    assert stat.S_IMODE((tmp_path / "identity.key").stat().st_mode) == 0o600
    with pytest.raises(StoreError):
        create_identity(tmp_path / "identity.key")
    assert load_identity(tmp_path / "identity.key") == seed


def test_identity__missing_short_or_open_is_refused(tmp_path: Path) -> None:
    """A node would run under a key that others know, or under a wrong one."""
    path = tmp_path / "identity.key"
    with pytest.raises(StoreError, match="restore"):
        load_identity(path)
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(StoreError, match="5 bytes"):
        load_identity(path)
    path.write_bytes(bytes(32))
    path.chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600"):
        load_identity(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"address": 7}', '{"address": "ab"}', '{"address": "zz"}'])
def test_address__strange_keystore_is_named(tmp_path: Path, text: str) -> None:
    """`wallet` would show a traceback or a wrong address to send money to."""
    DataDirectory(tmp_path).keystore.write_text(text)
    with pytest.raises(StoreError, match="keystore"):
        read_address(DataDirectory(tmp_path))


def test_address__with_and_without_prefix(tmp_path: Path) -> None:
    """Keystores of other programs would not be read."""
    for address in ("AB" * 20, "0x" + "ab" * 20):
        DataDirectory(tmp_path).keystore.write_text(json.dumps({"address": address}))
        assert read_address(DataDirectory(tmp_path)) == "0x" + "ab" * 20


def test_home__follows_the_environment() -> None:
    """Commands and daemon would look in different folders."""
    assert default_home({"P2P_FLOCK_HOME": "/srv/node", "XDG_DATA_HOME": "/x"}) == Path("/srv/node")
    assert default_home({"XDG_DATA_HOME": "/x"}) == Path("/x/p2p-flock")
    assert default_home({}) == Path("~/.local/share/p2p-flock").expanduser()


def test_home__without_a_node_says_how_to_make_one(tmp_path: Path) -> None:
    """A newcomer would see a missing file instead of the command to run."""
    with pytest.raises(UsageError, match="p2p-flock init --home"):
        require_initialised(DataDirectory(tmp_path))
