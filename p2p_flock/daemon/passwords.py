"""The keystore's password: from a private file, the environment or a prompt; never an argument, never a log line.

Called by ``cli/init.py`` and ``cli/node.py``.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from p2p_flock.errors import PasswordError, StoreError
from p2p_flock.store.files import write_new

PASSWORD_VARIABLE = "P2P_FLOCK_PASSWORD"
PASSWORD_BYTES_MAX = 1024  # longer is a wrong file; bounds the read
PASSWORD_CHARACTERS_MIN = 8
GENERATED_PASSWORD_BYTES = 32


def create_password_file(path: Path) -> str:
    """Write a random password (256 bits as text) to a new file, 0600, and return it.

    Raises:
        PasswordError: the file exists already or cannot be written.
    """
    password = secrets.token_urlsafe(GENERATED_PASSWORD_BYTES)
    try:
        write_new(path, password.encode() + b"\n")
    except StoreError as error:
        raise PasswordError(str(error)) from error
    return password


def read_password_file(path: Path) -> str:
    """The first and only line of a file that nobody else can read.

    Raises:
        PasswordError: missing, readable by others, empty, more than one line, not UTF-8, or too long.
    """
    try:
        # Opened before it is checked, so that what is checked is what is read.
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(PASSWORD_BYTES_MAX + 1)
    except OSError as error:
        raise PasswordError(
            f"cannot read the password file {path}: {error.strerror}\n"
            "name the right file with --password-file; `init --generate-password-file` makes one"
        ) from error
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        raise PasswordError(
            f"{path} can be read by other users\nrun `chmod 600 {path}`, and change it if others may know"
        )
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise PasswordError(f"{path} is not a text file\nname the right file with --password-file") from error
    if len(data) > PASSWORD_BYTES_MAX or "\n" in text or not text:
        raise PasswordError(f"{path} must hold one line, the password\nname the right file with --password-file")
    return text


def read_password(password_file: Path | None, environment: Mapping[str, str], prompt: Callable[[], str] | None) -> str:
    """The password from the first source there is: file, environment, prompt (``None`` where nobody can answer).

    Raises:
        PasswordError: no source, or the file cannot be used.
    """
    if password_file is not None:
        return read_password_file(password_file)
    if PASSWORD_VARIABLE in environment:
        password = environment[PASSWORD_VARIABLE]
    elif prompt is not None:
        password = prompt()
    else:
        raise PasswordError(
            "no password was given and there is no terminal to ask on\n"
            f"pass --password-file FILE (mode 0600), or set {PASSWORD_VARIABLE}"
        )
    if not password:
        raise PasswordError(f"the password is empty\npass --password-file FILE (mode 0600), or set {PASSWORD_VARIABLE}")
    return password


def validate_new_password(password: str) -> None:
    """Check what a new keystore will be encrypted under.

    Raises:
        PasswordError: shorter than PASSWORD_CHARACTERS_MIN characters, or it would not fit a password file.
    """
    if len(password) < PASSWORD_CHARACTERS_MIN:
        raise PasswordError(
            f"the password has fewer than {PASSWORD_CHARACTERS_MIN} characters\n"
            "choose a longer one, or let `init --generate-password-file FILE` draw one"
        )
    if "\n" in password or len(password.encode()) > PASSWORD_BYTES_MAX:
        raise PasswordError(f"the password has several lines or more than {PASSWORD_BYTES_MAX} bytes\nchoose another")
