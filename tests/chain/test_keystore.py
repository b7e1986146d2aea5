"""The encrypted key on disk."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest
from eth_account import Account

from p2p_flock.chain.keystore import create_account, read_address, read_keystore, write_keystore
from p2p_flock.errors import PasswordError, StoreError

PASSWORD = "correct horse battery staple"


def test_keystore__round_trip(tmp_path: Path) -> None:
    """A key that does not come back is a stake that does not come back."""
    account, path = create_account(), tmp_path / "keystore.json"
    write_keystore(path, account, PASSWORD, light=True)
    assert read_keystore(path, PASSWORD).key == account.key
    assert read_address(path).hex() == account.address[2:].lower()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    # The standard form: other wallets open it, and nothing of the key stands in it.
    assert Account.decrypt(json.loads(path.read_text()), PASSWORD) == account.key
    assert account.key.hex() not in path.read_text()


def test_keystore__is_strong_unless_asked(tmp_path: Path) -> None:
    """A file that is copied must cost its thief 2^18 scrypt rounds per guess."""
    write_keystore(tmp_path / "k.json", create_account(), PASSWORD)
    parameters = json.loads((tmp_path / "k.json").read_text())["crypto"]["kdfparams"]
    assert parameters["n"] == 1 << 18


def test_keystore__refuses_the_wrong_password_and_shows_nothing(tmp_path: Path) -> None:
    """The message must help; the traceback must not hold password or key."""
    account, path = create_account(), tmp_path / "keystore.json"
    write_keystore(path, account, PASSWORD, light=True)
    with pytest.raises(PasswordError, match="does not open") as refused:
        read_keystore(path, PASSWORD[::-1])
    text = "".join(traceback.format_exception(refused.value)) + repr(account)
    assert PASSWORD[::-1] not in text
    assert account.key.hex() not in text


def test_keystore__never_overwrites(tmp_path: Path) -> None:
    """Running init twice must not destroy the account that holds the stake."""
    path = tmp_path / "keystore.json"
    write_keystore(path, create_account(), PASSWORD, light=True)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="exists already"):
        write_keystore(path, create_account(), PASSWORD, light=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_keystore__says_what_to_do(tmp_path: Path) -> None:
    """Every mistake of a user ends in a sentence with a remedy."""
    with pytest.raises(PasswordError, match="at least 8"):
        write_keystore(tmp_path / "k.json", create_account(), "short", light=True)
    with pytest.raises(StoreError, match="p2p-flock init"):
        read_keystore(tmp_path / "missing.json", PASSWORD)
    with pytest.raises(StoreError, match="permissions"):
        write_keystore(tmp_path / "no" / "k.json", create_account(), PASSWORD, light=True)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda _: b"[]", id="no_object"),
        pytest.param(lambda _: b"x" * 70_000, id="too_long"),
        pytest.param(lambda d: d.replace(b'"n": 16384', b'"n": 1073741824'), id="asks_for_a_terabyte"),
        pytest.param(lambda d: d.replace(b'"n": 16384', b'"n": 3'), id="n_no_power_of_two"),
        pytest.param(lambda d: d.replace(b'"scrypt"', b'"rot13"'), id="unknown_kdf"),
        pytest.param(lambda d: d.replace(b'"mac": "', b'"mac": "zz'), id="mac_no_hex"),
        pytest.param(lambda d: d.replace(b'"ciphertext"', b'"cyphertext"'), id="field_missing"),
        pytest.param(lambda d: d.replace(b'"version": 3', b'"version": 1'), id="unknown_version"),
    ],
)
def test_keystore__damaged_files_are_refused(tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    """A damaged file must end in a sentence, not in a crash or in hours of scrypt."""
    path = tmp_path / "keystore.json"
    write_keystore(path, create_account(), PASSWORD, light=True)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(StoreError):
        read_keystore(path, PASSWORD)
