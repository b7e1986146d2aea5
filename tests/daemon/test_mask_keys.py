"""Which mask secrets a node holds."""

from __future__ import annotations

from pathlib import Path

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


def test_mask_keys__erased_except_the_named(secrets: RoundSecrets) -> None:
    """Spent secrets would stay on disk: masked vectors are public for ever, so forward secrecy hangs on this."""
    keys = MaskKeys(secrets, ALLIANCE)
    spent, current = keys.create(), keys.create()
    keys.erase_except(frozenset({current}))
    assert keys.find(spent) is None
    assert keys.find(current) is not None
