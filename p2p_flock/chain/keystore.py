"""The node's EVM account on disk: the standard encrypted keystore JSON (Web3 Secret Storage, version 3).

Called by the CLI and the daemon. The key never leaves this module but inside a ``LocalAccount``; neither passwords nor
keys stand in any message, repr or file name.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, cast

from eth_account import Account
from eth_account.signers.local import LocalAccount

from p2p_flock.errors import PasswordError, StoreError

SCRYPT_N = 1 << 18  # 0.8 s each way; the standard's recommendation
SCRYPT_N_LIGHT = 1 << 14  # 0.05 s; for tests and throw-away testnets only
SCRYPT_N_MAX = 1 << 20  # 1 GiB of memory at r = 8; a file that asks for more is damaged or hostile
KEYSTORE_BYTES_MAX = 64 << 10
PASSWORD_CHARACTERS_MIN = 8


def create_account() -> LocalAccount:
    """A fresh account from the operating system's randomness."""
    return cast(LocalAccount, Account.from_key(secrets.token_bytes(32)))


def write_keystore(path: Path, account: LocalAccount, password: str, *, light: bool = False) -> None:
    """Encrypt and write, readable by the owner only; never overwrites.

    Raises:
        PasswordError: the password is shorter than :data:`PASSWORD_CHARACTERS_MIN` characters.
        StoreError: the file exists or cannot be written.
    """
    if len(password) < PASSWORD_CHARACTERS_MIN:
        raise PasswordError(f"The keystore's password needs at least {PASSWORD_CHARACTERS_MIN} characters.")
    n = SCRYPT_N_LIGHT if light else SCRYPT_N
    text = json.dumps(Account.encrypt(account.key, password, kdf="scrypt", iterations=n))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)  # fails where the path exists: a key is never overwritten
        finally:
            os.unlink(temporary)
    except FileExistsError as error:
        raise StoreError(f"{path} exists already. Move it away first if you want a new account.") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}. Check the directory's permissions.") from error


def read_keystore(path: Path, password: str) -> LocalAccount:
    """Decrypt.

    Raises:
        PasswordError: the password is wrong.
        StoreError: the file is missing, unreadable or no keystore.
    """
    document = _document(path)
    try:
        key = Account.decrypt(document, password)
    except ValueError as error:
        if "mac mismatch" in str(error).lower():
            raise PasswordError(
                f"The password does not open {path}. Try again; a lost password cannot be recovered."
            ) from None  # the library's frames hold the derived key
        raise StoreError(f"{path} is damaged; restore it from a backup.") from None
    except (KeyError, TypeError, NotImplementedError):
        raise StoreError(f"{path} is damaged; restore it from a backup.") from None
    return cast(LocalAccount, Account.from_key(key))


def read_address(path: Path) -> bytes:
    """The account's address, 20 bytes, without the password.

    Raises:
        StoreError: the file is missing, unreadable or no keystore.
    """
    try:
        address = bytes.fromhex(str(_document(path).get("address", "")).removeprefix("0x"))
    except ValueError:
        address = b""
    if len(address) != 20:
        raise StoreError(f"{path} names no address; restore it from a backup.")
    return address


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(KEYSTORE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise StoreError(f"There is no keystore at {path}. Run `p2p-flock init` first.") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    try:
        if len(data) > KEYSTORE_BYTES_MAX:
            raise ValueError("too long")
        document = json.loads(data)
        parameters = document["crypto"]["kdfparams"]
        if int(parameters.get("n", 0)) * int(parameters.get("r", 0)) * int(parameters.get("p", 1)) > SCRYPT_N_MAX * 8:
            raise ValueError("too expensive")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path} is no keystore; restore it from a backup.") from error
    return cast(dict[str, Any], document)
