"""The data directory of a node: where each file lies, the identity key, and the lock that keeps a second daemon out.

Called by ``cli/`` and ``daemon/node.py``. Imports nothing heavy, so that commands start fast.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from p2p_flock.errors import DataDirectoryLockedError, StoreError, UsageError
from p2p_flock.store.files import make_private_folder, write_new

HOME_VARIABLE = "P2P_FLOCK_HOME"
IDENTITY_SEED_BYTES = 32
KEYSTORE_BYTES_MAX = 64 << 10


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Paths under one ``home``; nothing is read or created by asking for a path."""

    home: Path

    @property
    def config(self) -> Path:
        """Settings, see ``daemon/config.py``."""
        return self.home / "config.toml"

    @property
    def identity_key(self) -> Path:
        """libp2p Ed25519 seed, 32 raw bytes, 0600."""
        return self.home / "identity.key"

    @property
    def keystore(self) -> Path:
        """The EVM account, standard encrypted keystore JSON, 0600."""
        return self.home / "keystore.json"

    @property
    def secrets_key(self) -> Path:
        """Key of the round secrets, 32 raw bytes, 0600. Not to be backed up with the rest."""
        return self.home / "secrets.key"

    @property
    def round_secrets(self) -> Path:
        return self.home / "round_secrets"

    @property
    def journal(self) -> Path:
        return self.home / "journal.sqlite"

    @property
    def blobs(self) -> Path:
        return self.home / "blobs"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def scratch(self) -> Path:
        """Vectors on their way between daemon and worker; emptied when the daemon starts."""
        return self.home / "scratch"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def dashboard_token(self) -> Path:
        """The secret that opens the dashboard, text, 0600; see ``daemon/dashboard_files.py``."""
        return self.home / "dashboard.token"

    @property
    def dashboard_url(self) -> Path:
        """Where the running daemon's dashboard listens; not there while it has none."""
        return self.home / "dashboard.url"

    @property
    def dashboard_link(self) -> Path:
        """Leads a browser to the dashboard, token included, 0600; written by ``p2p-flock dashboard --open``."""
        return self.home / "dashboard.html"

    @property
    def lock(self) -> Path:
        """Locked by the running daemon; holds its process ID."""
        return self.home / "node.lock"


def default_home(environment: Mapping[str, str]) -> Path:
    """``$P2P_FLOCK_HOME``, else ``$XDG_DATA_HOME/p2p-flock``, else ``~/.local/share/p2p-flock``."""
    if explicit := environment.get(HOME_VARIABLE):
        return Path(explicit).expanduser().absolute()
    data_home = environment.get("XDG_DATA_HOME")
    base = Path(data_home) if data_home else Path("~/.local/share").expanduser()
    return base.absolute() / "p2p-flock"


def require_initialised(directory: DataDirectory) -> None:
    """Check that ``init`` has made this directory.

    Raises:
        UsageError: a file that ``init`` writes is missing.
    """
    for path in (directory.config, directory.identity_key, directory.keystore, directory.secrets_key):
        if not path.exists():
            raise UsageError(
                f"{directory.home} holds no node: {path.name} is missing\n"
                f"make one with `p2p-flock init --home {directory.home}`, or name another folder with --home"
            )


def create_identity(path: Path) -> bytes:
    """Write a fresh Ed25519 seed (32 bytes, 0600) and return it.

    Raises:
        StoreError: the file exists or the disk refuses.
    """
    seed = secrets.token_bytes(IDENTITY_SEED_BYTES)
    write_new(path, seed)
    return seed


def load_identity(path: Path) -> bytes:
    """The Ed25519 seed, 32 bytes.

    Raises:
        StoreError: missing, malformed, or readable by other users.
    """
    try:
        mode = path.stat().st_mode
        seed = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}\nrestore it from a backup, or run init anew") from error
    if mode & 0o077:
        raise StoreError(f"{path} can be read by other users\nrun `chmod 600 {path}` and find out who read it")
    if len(seed) != IDENTITY_SEED_BYTES:
        raise StoreError(f"{path} has {len(seed)} bytes instead of 32\nrestore it from a backup, or run init anew")
    return seed


def read_peer_id(directory: DataDirectory) -> str:
    """The node's peer ID, from its identity key.

    Raises:
        StoreError: as in :func:`load_identity`.
    """
    # Here, so that commands which only talk to the daemon do not load libsodium.
    from nacl.signing import SigningKey  # noqa: PLC0415

    from p2p_flock.crypto.peer_identity import peer_id_of  # noqa: PLC0415

    return peer_id_of(bytes(SigningKey(load_identity(directory.identity_key)).verify_key))


def read_address(directory: DataDirectory) -> str:
    """The account's address, ``0x`` and 40 lower-case hex digits, from the keystore's public part: needs no password.

    Raises:
        StoreError: the keystore is missing or is not the standard JSON.
    """
    path = directory.keystore
    try:
        if path.stat().st_size > KEYSTORE_BYTES_MAX:
            raise ValueError("it is too long")
        address = bytes.fromhex(json.loads(path.read_bytes())["address"].removeprefix("0x"))
        if len(address) != 20:
            raise ValueError("its address does not have 20 bytes")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"cannot read the keystore {path}: {error}\nrestore it from a backup") from error
    return "0x" + address.hex()


@contextlib.contextmanager
def lock_data_directory(directory: DataDirectory) -> Iterator[None]:
    """Hold the directory for this process; the operating system lets go when the process ends, however it ends.

    Raises:
        DataDirectoryLockedError: another daemon holds it.
        StoreError: the lock file cannot be made.
    """
    make_private_folder(directory.home)
    try:
        descriptor = os.open(directory.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot open {directory.lock}: {error.strerror}\ncheck the folder's permissions") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise DataDirectoryLockedError(
                f"another daemon (process {holder}) uses {directory.home}\n"
                "use that one, end it with `p2p-flock stop`, or give this one another folder with --home"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)  # also unlocks; the file stays, removing it would open a race
