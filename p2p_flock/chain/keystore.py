"""The node's EVM account on disk: the standard encrypted keystore JSON (Web3 Secret Storage, version 3).

Called by the CLI and the daemon. The key never leaves this module but inside an ``Account``; neither passwords nor
keys stand in any message, repr or file name.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import uuid
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from p2p_flock.chain.account import Account
from p2p_flock.crypto.suite import keccak256
from p2p_flock.errors import CryptoError, PasswordError, StoreError

SCRYPT_N = 1 << 18  # 0.8 s each way; the standard's recommendation
SCRYPT_N_LIGHT = 1 << 14  # 0.05 s; for tests and throw-away testnets only
SCRYPT_N_MAX = 1 << 20  # 1 GiB of memory at r = 8; a file that asks for more is damaged or hostile
SCRYPT_R, SCRYPT_P = 8, 1  # the standard's; memory is 128·r·n bytes
PBKDF2_COUNT_MAX = 1 << 24  # some seconds; other wallets write 2^18
DERIVED_BYTES = 32
SALT_BYTES = IV_BYTES = AES_KEY_BYTES = 16
VERSION = 3
KEYSTORE_BYTES_MAX = 64 << 10
PASSWORD_CHARACTERS_MIN = 8


def create_account() -> Account:
    """A fresh account from the operating system's randomness."""
    while True:
        try:
            return Account.from_key(secrets.token_bytes(32))
        except CryptoError:  # not below the group's order: chance 2⁻¹²⁸
            continue


def write_keystore(path: Path, account: Account, password: str, *, light: bool = False) -> None:
    """Encrypt and write, readable by the owner only; never overwrites.

    Raises:
        PasswordError: the password is shorter than :data:`PASSWORD_CHARACTERS_MIN` characters.
        StoreError: the file exists or cannot be written.
    """
    if len(password) < PASSWORD_CHARACTERS_MIN:
        raise PasswordError(f"The keystore's password needs at least {PASSWORD_CHARACTERS_MIN} characters.")
    text = json.dumps(_encrypt(account, password, SCRYPT_N_LIGHT if light else SCRYPT_N))
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


def read_keystore(path: Path, password: str) -> Account:
    """Decrypt.

    Raises:
        PasswordError: the password is wrong.
        StoreError: the file is missing, unreadable or no keystore.
    """
    document = _document(path)
    try:
        key = _decrypt(document, password)
        if key is not None:
            return Account.from_key(key)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, CryptoError):
        raise StoreError(f"{path} is damaged; restore it from a backup.") from None  # its frames hold the derived key
    raise PasswordError(f"The password does not open {path}. Try again; a lost password cannot be recovered.")


def _encrypt(account: Account, password: str, n: int) -> dict[str, object]:
    salt, iv = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(IV_BYTES)
    parameters = {"dklen": DERIVED_BYTES, "n": n, "r": SCRYPT_R, "p": SCRYPT_P, "salt": salt.hex()}
    derived = _derive("scrypt", parameters, password)
    ciphertext = _apply_cipher(derived, iv, account.key)
    return {
        "address": account.address.removeprefix("0x"),
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": iv.hex()},
            "ciphertext": ciphertext.hex(),
            "kdf": "scrypt",
            "kdfparams": parameters,
            "mac": _compute_mac(derived, ciphertext).hex(),
        },
        "id": str(uuid.uuid4()),
        "version": VERSION,
    }


def _decrypt(document: dict[str, Any], password: str) -> bytes | None:
    """The key, or ``None`` where the password is wrong. Raises ValueError and its like for a damaged document."""
    crypto = document["crypto"]
    if document["version"] != VERSION or crypto["cipher"] != "aes-128-ctr":
        raise ValueError("not of this version")
    ciphertext, mac = bytes.fromhex(crypto["ciphertext"]), bytes.fromhex(crypto["mac"])
    iv = bytes.fromhex(crypto["cipherparams"]["iv"])
    derived = _derive(crypto["kdf"], crypto["kdfparams"], password)
    if not hmac.compare_digest(_compute_mac(derived, ciphertext), mac):
        return None
    return _apply_cipher(derived, iv, ciphertext)


def _derive(kdf: str, parameters: dict[str, Any], password: str) -> bytes:
    """The key derived from the password; half of it encrypts, half of it authenticates."""
    salt, secret = bytes.fromhex(parameters["salt"]), password.encode()
    if parameters["dklen"] != DERIVED_BYTES:
        raise ValueError("another length of key")
    if kdf == "scrypt":
        n, r, p = int(parameters["n"]), int(parameters["r"]), int(parameters["p"])
        memory_bytes = 128 * r * (n + p + 2)  # what OpenSSL counts
        return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=memory_bytes, dklen=DERIVED_BYTES)
    count = int(parameters["c"])
    if kdf != "pbkdf2" or parameters["prf"] != "hmac-sha256" or count > PBKDF2_COUNT_MAX:
        raise ValueError("another derivation")
    return hashlib.pbkdf2_hmac("sha256", secret, salt, count, DERIVED_BYTES)


def _apply_cipher(derived: bytes, iv: bytes, data: bytes) -> bytes:
    """AES-128 in counter mode: the same both ways."""
    encryptor = Cipher(algorithms.AES(derived[:AES_KEY_BYTES]), modes.CTR(iv)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _compute_mac(derived: bytes, ciphertext: bytes) -> bytes:
    return keccak256(derived[AES_KEY_BYTES:] + ciphertext)


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
