"""Parameters over the control socket: exact and strict."""

from __future__ import annotations

import json
from typing import get_type_hints

import pytest

from p2p_flock.cli.alliance_create import PRESETS
from p2p_flock.daemon.control_messages import COMMANDS, params_from_json, params_to_json
from p2p_flock.errors import UsageError

DIGEST = b"\x07" * 32
VALUES = PRESETS["testnet"]


def test_params__come_back_exactly() -> None:
    """An alliance would be created with other numbers than the user wrote."""
    params = params_from_json(VALUES, DIGEST)
    assert params_from_json(json.loads(json.dumps(params_to_json(params))), DIGEST) == params
    assert params_to_json(params)["seat_stake"] == str(params.seat_stake)
    assert params.manifest_digest == DIGEST


@pytest.mark.parametrize(
    "change",
    [{"threshold": None}, {"threshold": 3.0}, {"threshold": True}, {"threshold": -1}, {"threshold": "3x"},
     {"threshold": ""}, {"threshold": "9" * 41}, {"threshold": "٣"}, {"other": 1}],
)  # fmt: skip
def test_params__wrong_ones_are_refused(change: dict[str, object]) -> None:
    """A mistyped number would be fixed on chain for ever."""
    with pytest.raises(UsageError):
        params_from_json({**VALUES, **change}, DIGEST)


def test_params__missing_one_is_named() -> None:
    """The user would have to guess which one."""
    with pytest.raises(UsageError, match="lack threshold"):
        params_from_json({name: value for name, value in VALUES.items() if name != "threshold"}, DIGEST)


def test_commands__types_can_be_resolved() -> None:
    """The server would fail at the first request instead of in a test."""
    for arguments, result in COMMANDS.values():
        get_type_hints(arguments)
        assert get_type_hints(result)
