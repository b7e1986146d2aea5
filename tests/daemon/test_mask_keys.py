"""Which mask secrets a node holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.daemon.mask_keys import MaskKeys
from p2p_flock.store.secrets import RoundSecrets, create_secrets_key

ALLIANCE = "ab" * 20


@pytest.fixture
def secrets(tmp_path: Path) -> RoundSecrets:
    create_secrets_key(tmp_path / "secrets.key")
    return RoundSecrets(tmp_path / "round_secrets", tmp_path / "secrets.key")


def test_mask_keys__survive_a_restart(secrets: RoundSecrets) -> None:
    """A node that registered a key and lost its secret could not contribute with it."""
    public = MaskKeys(secrets, ALLIANCE).create()
    found = MaskKeys(secrets, ALLIANCE).find(public)
    assert found is not None
    assert mask_public_key(found) == public


def test_mask_keys__two_are_kept_apart(secrets: RoundSecrets) -> None:
    """The next round's key would overwrite the one that is still in use."""
    keys = MaskKeys(secrets, ALLIANCE)
    first, second = keys.create(), keys.create()
    assert first != second
    assert keys.find(first) != keys.find(second)


def test_mask_keys__keeping_twice_changes_nothing(secrets: RoundSecrets) -> None:
    """The keeper runs after every event; it must not fill the file."""
    keys = MaskKeys(secrets, ALLIANCE)
    assert keys.keep(b"s" * 32) == keys.keep(b"s" * 32)
    assert len(secrets.rounds(f"{ALLIANCE}:keys")) == 1


def test_mask_keys__foreign_key_is_not_found(secrets: RoundSecrets) -> None:
    """A node restored from an old backup must notice that the key on chain is not its own (P8)."""
    keys = MaskKeys(secrets, ALLIANCE)
    keys.create()
    assert keys.find(mask_public_key(b"x" * 32)) is None


class CountingSecrets(RoundSecrets):
    """Counts how often a file is read, decrypted and decoded."""

    readings = 0

    def _read(self, alliance: str) -> Any:
        self.readings += 1
        return super()._read(alliance)


def test_mask_keys__are_found_by_one_reading(secrets: RoundSecrets, tmp_path: Path) -> None:
    """A file is decrypted and decoded whole: with a reading per key, a hundred keys cost every round two seconds."""
    keys = MaskKeys(secrets, ALLIANCE)
    for _ in range(12):
        newest = keys.create()
    counting = CountingSecrets(tmp_path / "round_secrets", tmp_path / "secrets.key")
    keys = MaskKeys(counting, ALLIANCE)
    assert keys.find(newest) is not None and counting.readings == 1
    keys.erase_except(frozenset({newest}))
    assert counting.readings == 3 and len(secrets.rounds(f"{ALLIANCE}:keys")) == 1


def test_mask_keys__erased_except_the_named(secrets: RoundSecrets) -> None:
    """Spent secrets would stay on disk: masked vectors are public for ever, so forward secrecy hangs on this."""
    keys = MaskKeys(secrets, ALLIANCE)
    spent, current = keys.create(), keys.create()
    keys.erase_except(frozenset({current}))
    assert keys.find(spent) is None
    assert keys.find(current) is not None
