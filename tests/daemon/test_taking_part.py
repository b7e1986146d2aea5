"""In which rounds a node takes part: those for whose mask key it holds the secret, whatever its role (P8)."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.daemon.mask_keys import MaskKeys
from p2p_flock.daemon.taking_part import find_mask_secret, make_honest_machine
from p2p_flock.store.secrets import RoundSecrets, create_secrets_key
from p2p_flock.testing.alliance import make_setting
from p2p_flock.types import Seat

ALLIANCE = "ab" * 20
SETTING = make_setting()
CONTEXT = SETTING.context
VALIDATOR, TRAINER = CONTEXT.assignment.validators[0], CONTEXT.trainers[0]
BOTH = pytest.mark.parametrize(("number", "kind"), [(VALIDATOR, ValidatorMachine), (TRAINER, TrainerMachine)])


def open_home(folder: Path) -> MaskKeys:
    """The secrets of a node; a folder without any is a home restored from a backup, which leaves them out."""
    folder.mkdir(exist_ok=True)
    if not (folder / "secrets.key").exists():
        create_secrets_key(folder / "secrets.key")
    return MaskKeys(RoundSecrets(folder / "round_secrets", folder / "secrets.key"), ALLIANCE)


def make(number: int, keys: MaskKeys, is_spent: bool = False) -> object:
    seat = CONTEXT.seat(number)
    return make_for(replace(seat, mask_key=None) if is_spent else seat, keys)


def make_for(seat: Seat, keys: MaskKeys) -> object:
    """What the session makes of a seat."""
    secret = find_mask_secret(CONTEXT, seat, keys)
    if secret is None:
        return None
    history = AllianceHistory(CONTEXT.domain, CONTEXT.params)
    return make_honest_machine(CONTEXT, seat.index, SETTING.signer(seat.index), secret, history, SETTING.model)


@BOTH
def test_node__with_its_secret_takes_part(
    tmp_path: Path, number: int, kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    """A node would sit out for ever, in one role or in both."""
    open_home(tmp_path).keep(SETTING.mask_secrets[number])
    assert type(make(number, open_home(tmp_path))) is kind
    assert caplog.records == []


@BOTH
def test_node__restored_from_a_backup_sits_out(
    tmp_path: Path, number: int, kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that forgot what it signed in this round would sign the contrary, and be slashed."""
    open_home(tmp_path / "old").keep(SETTING.mask_secrets[number])
    assert make(number, open_home(tmp_path / "restored")) is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "old backup" in caplog.text


@BOTH
def test_node__restored_with_older_secrets_sits_out(tmp_path: Path, number: int, kind: type) -> None:
    """A copy of the whole disk, made before the key on chain was, would pass for the node."""
    keys = open_home(tmp_path)
    keys.create()
    assert make(number, keys) is None


@BOTH
def test_node__with_a_fresh_key_that_does_not_count_yet_sits_out(tmp_path: Path, number: int, kind: type) -> None:
    """A restored node would come back in the round in which it registers its fresh key."""
    keys = open_home(tmp_path)
    fresh = keys.create()
    assert make(number, keys) is None
    seat = replace(CONTEXT.seat(number), mask_key=fresh)  # from the next round on
    assert type(make_for(seat, keys)) is kind


@BOTH
def test_node__whose_key_is_spent_sits_out(
    tmp_path: Path, number: int, kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    """A seat without a key has nothing that tells a restored node from another one."""
    keys = open_home(tmp_path)
    assert keys.keep(SETTING.mask_secrets[number]) == mask_public_key(SETTING.mask_secrets[number])
    assert make(number, keys, is_spent=True) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]  # it happens to the honest, too
