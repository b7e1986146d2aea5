"""Looks for the nodes' secrets wherever they must not be: the run's files, its processes, its report.

``python -m p2p_flock.testnet.secretcheck DIRECTORY [FILE…]`` during a run or after one. Each node's account key, libp2p
seed, key of the round secrets, mask keys, password and dashboard token are taken from its home, and searched for, as
they are and in the usual notations, in every file of the run but the one that holds them, in each FILE (such as the
report), and in the arguments and the environment of the run's processes. It also checks that nobody else can read the
nodes' homes.

Exit code 0: nothing was found; 1: something was; 2: there was nothing to search.
"""

from __future__ import annotations

import base64
import json
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import base58

from p2p_flock.chain.keystore import read_keystore
from p2p_flock.daemon.dashboard_files import read_token
from p2p_flock.daemon.data_directory import DataDirectory, load_identity
from p2p_flock.daemon.passwords import read_password_file
from p2p_flock.errors import PasswordError, StoreError, UsageError
from p2p_flock.store.secrets import RoundSecrets
from p2p_flock.testnet.processes import find_descendants, find_processes

FILE_BYTES_MAX = 1 << 30


@dataclass(frozen=True, slots=True)
class Secret:
    """One value that must stay where it is.

    Attributes:
        home: the only file in which it may stand in the clear; ``None`` where it may stand nowhere.
    """

    what: str
    data: bytes
    home: Path | None


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes that were searched, and where they came from."""

    what: str
    data: bytes
    path: Path | None = None


def notations(data: bytes) -> dict[str, bytes]:
    """How a secret might be written down, by notation."""
    found = {
        "raw": data,
        "hex": data.hex().encode(),
        "HEX": data.hex().upper().encode(),
        "escaped": repr(data)[2:-1].encode(),
        "base58": base58.b58encode(data),
        "decimal": str(int.from_bytes(data, "big")).encode(),
        "list": ", ".join(map(str, data)).encode(),
    }
    for shift in range(3):  # base64 of something longer that contains it, at each alignment
        whole = base64.b64encode(bytes(shift) + data)
        inner = whole[-(-shift * 8 // 6) : len(whole) - 4]
        found[f"base64+{shift}"] = inner
        found[f"base64url+{shift}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def read_nodes(directory: Path) -> tuple[str, list[tuple[str, Path, Path]]]:
    """From ``network.json``: the alliance's contract in hex, and each node's name, home and password file.

    Raises:
        UsageError: no such file, or it is not ours.
    """
    try:
        document = json.loads((directory / "network.json").read_bytes())
        nodes = []
        for entry in document["nodes"]:
            command = entry["command"]
            nodes.append((entry["name"], Path(entry["home"]), Path(command[command.index("--password-file") + 1])))
        return document["contract"].removeprefix("0x"), nodes
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{directory} holds no run: {error}; name the --directory of a testnet's run") from error


def secrets_of(name: str, home: Path, password_path: Path, contract: str) -> Iterator[Secret]:
    """Everything secret of one node.

    Raises:
        StoreError: a file is missing or damaged.
        PasswordError: the password does not open the keystore.
    """
    directory = DataDirectory(home)
    password = read_password_file(password_path)
    yield Secret(f"password of {name}", password.encode(), password_path)
    yield Secret(f"account key of {name}", read_keystore(directory.keystore, password).key, None)
    yield Secret(f"libp2p seed of {name}", load_identity(directory.identity_key), directory.identity_key)
    yield Secret(f"secrets key of {name}", directory.secrets_key.read_bytes(), directory.secrets_key)
    if directory.dashboard_token.exists():  # a node may have no dashboard
        path, token = directory.dashboard_token, read_token(directory.dashboard_token)
        yield Secret(f"dashboard token of {name}", token.encode(), path)
        yield Secret(f"dashboard token of {name}, decoded", base64.urlsafe_b64decode(token + "="), path)
    with tempfile.TemporaryDirectory() as copy:  # opening the daemon's own folder would sweep what it is writing
        folder = Path(copy) / "round_secrets"
        shutil.copytree(directory.round_secrets, folder)
        held, alliance = RoundSecrets(folder, directory.secrets_key), f"{contract}:keys"
        for number in held.rounds(alliance):
            for record in held.load(alliance, number):
                yield Secret(f"mask key {number} of {name}", record.body, None)


def places_of(directory: Path, files: Sequence[Path]) -> Iterator[Place]:
    """All that a run wrote, and what its living processes show to everybody who may look.

    Raises:
        StoreError: a file is too large to search.
    """
    for path in (*sorted(directory.rglob("*")), *files):
        if path.is_file() and not path.is_symlink():
            if path.stat().st_size > FILE_BYTES_MAX:
                raise StoreError(f"{path} has more than {FILE_BYTES_MAX} bytes")
            yield Place(str(path), path.read_bytes(), path)
    for pid in {one for marked in find_processes(directory) for one in (marked, *find_descendants(marked))}:
        for kind in ("cmdline", "environ"):
            try:
                yield Place(f"{kind} of process {pid}", Path(f"/proc/{pid}/{kind}").read_bytes())
            except OSError:
                continue  # it has ended


def find_secrets(secrets: Iterable[Secret], places: Iterable[Place]) -> Iterator[str]:
    """A line for each secret that stands where it must not."""
    needles = [(secret, how, data) for secret in secrets for how, data in notations(secret.data).items()]
    for place in places:
        for secret, how, data in needles:
            if data in place.data and (secret.home is None or place.path != secret.home):
                yield f"the {secret.what} stands in {place.what} ({how})"


def find_open_files(homes: Iterable[Path]) -> Iterator[str]:
    """A line for each file or folder of a node that others may read or change."""
    for home in homes:
        for path in (home, *sorted(home.rglob("*"))):
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode) and stat.S_IMODE(mode) & 0o077:
                yield f"{path} has mode {stat.S_IMODE(mode):o}: others may use it"


def main() -> int:
    """Print what was found; the exit code."""
    if len(sys.argv) < 2:
        sys.stderr.write(f"usage: {Path(sys.argv[0]).name} DIRECTORY [FILE…]\n")
        return 2
    directory = Path(sys.argv[1]).resolve()
    try:
        contract, nodes = read_nodes(directory)
        secrets = [secret for name, home, password in nodes for secret in secrets_of(name, home, password, contract)]
        places = list(places_of(directory, [Path(name) for name in sys.argv[2:]]))
        found = [*find_secrets(secrets, places), *find_open_files([*(home for _, home, _ in nodes)])]
    except (StoreError, PasswordError, UsageError, OSError) as error:
        sys.stderr.write(f"secretcheck: {error}\n")
        return 2
    sys.stdout.write("".join(line + "\n" for line in found))
    sys.stdout.write(f"{len(found)} findings; searched for {len(secrets)} secrets in {len(places)} places\n")
    return 1 if found else 0 if secrets else 2


if __name__ == "__main__":
    sys.exit(main())
