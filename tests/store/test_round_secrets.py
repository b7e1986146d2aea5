"""Round secrets: encrypted, drawn once, gone when erased."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from p2p_flock.errors import StoreError
from p2p_flock.store.files import TEMPORARY_PREFIX
from p2p_flock.store.journal import Record
from p2p_flock.store.secrets import RoundSecrets, create_secrets_key

ALLIANCE = "flock:84530:0x" + "ab" * 20 + ":0"
SECRET = b"the self mask of round three, 32"


def record(round_number: int, key: str = "self_mask", body: bytes = SECRET, alliance: str = ALLIANCE) -> Record:
    return Record(alliance, round_number, "secret", key, body)


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.key"
    create_secrets_key(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "round_secrets"


@pytest.fixture
def secrets(folder: Path, key_path: Path) -> RoundSecrets:
    return RoundSecrets(folder, key_path)


def secrets_file(folder: Path) -> Path:
    (path,) = folder.glob("*.secrets")
    return path


def test_secrets__survive_reopening(secrets: RoundSecrets, folder: Path, key_path: Path) -> None:
    """A restarted survivor could not unmask."""
    secrets.save([record(3), record(3, "pair_seed", b"k")])
    secrets.save([record(4)])
    again = RoundSecrets(folder, key_path)
    assert again.load(ALLIANCE, 3) == (record(3), record(3, "pair_seed", b"k"))
    assert again.load(ALLIANCE, 5) == ()
    assert again.rounds(ALLIANCE) == (3, 4)
    assert again.load("another", 3) == ()


def test_secrets__identical_counts_as_saved_and_another_is_refused(secrets: RoundSecrets) -> None:
    """A second draw for the same round number would give a second contribution."""
    secrets.save([record(3)])
    secrets.save([record(3)])
    assert secrets.load(ALLIANCE, 3) == (record(3),)
    with pytest.raises(StoreError, match="drawn once"):
        secrets.save([record(4), record(3, body=b"another")])
    with pytest.raises(StoreError, match="drawn once"):
        secrets.save([record(5), record(5, body=b"another")])
    assert secrets.rounds(ALLIANCE) == (3,)


def test_secrets__never_in_the_clear(secrets: RoundSecrets, folder: Path) -> None:
    """A copied disk would open a member's masks."""
    secrets.save([record(3)])
    for path in folder.iterdir():
        assert SECRET not in path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secrets__erase_forgets_one_round(secrets: RoundSecrets, folder: Path, key_path: Path) -> None:
    """Forward secrecy would fail, or a running round lose its secrets."""
    secrets.save([record(3), record(4)])
    secrets.erase(ALLIANCE, 3)
    secrets.erase(ALLIANCE, 3)
    assert RoundSecrets(folder, key_path).load(ALLIANCE, 3) == ()
    assert RoundSecrets(folder, key_path).load(ALLIANCE, 4) == (record(4),)


@pytest.mark.parametrize("rewrite", ["erase", "save"])
def test_secrets__rewrite_overwrites_the_old_bytes(secrets: RoundSecrets, folder: Path, rewrite: str) -> None:
    """The old ciphertext would lie in free blocks, waiting for the key."""
    secrets.save([record(3)])
    old_bytes = secrets_file(folder).read_bytes()
    with secrets_file(folder).open("rb") as old:
        if rewrite == "erase":
            secrets.erase(ALLIANCE, 3)
        else:
            secrets.save([record(4)])
        left = old.read()
    assert len(left) == len(old_bytes)
    assert left != old_bytes
    assert old_bytes[20:60] not in left


def test_secrets__half_written_file_of_a_crash_is_ignored(secrets: RoundSecrets, folder: Path, key_path: Path) -> None:
    """kill -9 in the middle of a write would lose or garble what was saved before."""
    secrets.save([record(3)])
    whole = secrets_file(folder).read_bytes()
    (folder / f"{TEMPORARY_PREFIX}xyz").write_bytes(whole[: len(whole) // 2])
    again = RoundSecrets(folder, key_path)
    assert again.load(ALLIANCE, 3) == (record(3),)
    assert list(folder.iterdir()) == [secrets_file(folder)]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "no_magic"])
def test_secrets__damage_is_an_error(secrets: RoundSecrets, folder: Path, key_path: Path, damage: str) -> None:
    """A damaged file would read as "no secrets" and the node draw new ones for a running round."""
    secrets.save([record(3)])
    path = secrets_file(folder)
    data = path.read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    path.write_bytes({"truncated": data[:-5], "flipped": flipped, "empty": b"", "no_magic": b"x" + data[1:]}[damage])
    for use in (lambda: secrets.load(ALLIANCE, 3), lambda: secrets.save([record(4)])):
        with pytest.raises(StoreError, match="cannot be read"):
            use()


def test_secrets__file_of_another_alliance_is_refused(secrets: RoundSecrets, folder: Path) -> None:
    """A swapped file would let one alliance's masks be used in another."""
    secrets.save([record(3)])
    path = secrets_file(folder)
    path.rename(path.with_name(path.name.replace("-0.", "-1.")))
    with pytest.raises(StoreError, match="belongs to"):
        secrets.load(ALLIANCE[:-1] + "1", 3)


def test_secrets__other_key_is_refused(secrets: RoundSecrets, folder: Path, tmp_path: Path) -> None:
    """A restored database without its key would look empty."""
    secrets.save([record(3)])
    create_secrets_key(tmp_path / "other.key")
    with pytest.raises(StoreError, match=r"restore secrets\.key"):
        RoundSecrets(folder, tmp_path / "other.key").load(ALLIANCE, 3)


def test_secrets_key__is_private_random_and_never_overwritten(tmp_path: Path) -> None:
    """Everyone could open the secrets, or init destroy them."""
    path = tmp_path / "secrets.key"
    create_secrets_key(path)
    first = path.read_bytes()
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(StoreError):
        create_secrets_key(path)
    assert path.read_bytes() == first
    assert sorted(os.listdir(tmp_path)) == ["secrets.key"]


@pytest.mark.parametrize("content", [None, b"", b"short", bytes(33)])
def test_secrets_key__missing_or_malformed_is_named(tmp_path: Path, content: bytes | None) -> None:
    """The operator would see a library's traceback."""
    path = tmp_path / "secrets.key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"secrets\.key"):
        RoundSecrets(tmp_path / "round_secrets", path)


@pytest.mark.parametrize("name", ["../escape", "", ".hidden", "a/b", "a-b", "x" * 129])
def test_secrets__strange_alliance_names_no_file(secrets: RoundSecrets, name: str) -> None:
    """A name from outside would reach files beyond the folder."""
    with pytest.raises(StoreError):
        secrets.save([record(3, alliance=name)])
