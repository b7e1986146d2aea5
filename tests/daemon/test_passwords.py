"""Passwords: private files, the environment, a prompt; nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from p2p_flock.daemon.passwords import (
    create_password_file,
    read_password,
    read_password_file,
    validate_new_password,
)
from p2p_flock.errors import PasswordError


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_password_file__generated_is_private_and_reads_back(tmp_path: Path) -> None:
    """A launcher's members would share a password, or others could read it."""
    password = create_password_file(tmp_path / "password")
    assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600
    assert read_password_file(tmp_path / "password") == password
    assert len(password) >= 40
    assert create_password_file(tmp_path / "other") != password
    with pytest.raises(PasswordError):
        create_password_file(tmp_path / "password")
    assert read_password_file(tmp_path / "password") == password


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_password_file__readable_by_others_is_refused(tmp_path: Path, mode: int) -> None:
    """Every user of the machine could unlock the stake."""
    with pytest.raises(PasswordError, match="chmod 600"):
        read_password_file(write(tmp_path / "password", b"long enough\n", mode))


@pytest.mark.parametrize("data", [b"", b"\n", b"two\nlines\n", b"\xff\xfe", b"x" * 1_025])
def test_password_file__strange_content_is_refused(tmp_path: Path, data: bytes) -> None:
    """A wrong file would be taken for the password and lock the operator out."""
    with pytest.raises(PasswordError):
        read_password_file(write(tmp_path / "password", data))


@pytest.mark.parametrize("data", [b"with space", b"with space\n", b"with space\r\n"])
def test_password_file__line_ends_do_not_count(tmp_path: Path, data: bytes) -> None:
    """The password typed at the prompt would not match the one in an editor's file."""
    assert read_password_file(write(tmp_path / "password", data)) == "with space"


def test_password__sources_in_order(tmp_path: Path) -> None:
    """An operator's --password-file would lose against a forgotten variable."""
    file = write(tmp_path / "password", b"from the file\n")
    environment = {"P2P_FLOCK_PASSWORD": "from the environment"}
    assert read_password(file, environment, lambda: "typed") == "from the file"
    assert read_password(None, environment, lambda: "typed") == "from the environment"
    assert read_password(None, {}, lambda: "typed") == "typed"


def test_password__no_source_says_what_to_do(tmp_path: Path) -> None:
    """A service would hang on a prompt that nobody sees."""
    with pytest.raises(PasswordError, match="--password-file"):
        read_password(None, {}, None)
    with pytest.raises(PasswordError, match="empty"):
        read_password(None, {"P2P_FLOCK_PASSWORD": ""}, None)
    with pytest.raises(PasswordError, match="cannot read"):
        read_password(tmp_path / "missing", {}, None)


@pytest.mark.parametrize("password", ["short", "two\nlines of it", "x" * 1_025])
def test_password__new_one_must_be_usable(password: str) -> None:
    """A keystore would be encrypted under a password that no file can hold, or that is guessed."""
    with pytest.raises(PasswordError):
        validate_new_password(password)
    validate_new_password("long enough")
