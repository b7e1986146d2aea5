"""Dishonest members of a testnet: who they are, what they run, and what is said about them in the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2p_flock.alliance.evidence import Fault
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.chain_events import SeatSuspected, SeatSuspended, Slashed
from p2p_flock.daemon.config import ChainSettings, LearningSettings, NodeConfig
from p2p_flock.errors import UsageError
from p2p_flock.learning.tasks import digits_data, heart_data
from p2p_flock.learning.tasks.table import read_table
from p2p_flock.testing.alliance import make_setting
from p2p_flock.testing.byzantine import TRAINERS, VALIDATORS
from p2p_flock.testing.byzantine.kinds import KINDS
from p2p_flock.testing.byzantine.updates import DATA_ATTACKS, UPDATE_ATTACKS
from p2p_flock.testnet.__main__ import parse_arguments
from p2p_flock.testnet.byzantine import Band, account_for, choose_crooked, honest_line, parse_band
from p2p_flock.testnet.crooked_node import FileCoalition, prepare
from p2p_flock.testnet.crooked_rows import spoil_rows
from p2p_flock.testnet.options import Options
from p2p_flock.testnet.summary import summarise
from p2p_flock.types import CohortOutcome
from tests.testnet.makers import ASSIGNMENT, NAMES, PARAMS, nodes_of_a_round, position, settled_log

OWNERS = {seat: bytes([seat]) * 20 for seat in NAMES}
HONEST_ONLY_IN_A_SIMULATION = {"ServesOne"}


def config_of(chain_id: int = 84_530, **learning: Any) -> NodeConfig:
    chain = ChainSettings(rpc_urls=("http://127.0.0.1:1",), chain_id=chain_id, factory="0x" + "00" * 20)
    return NodeConfig(chain=chain, learning=LearningSettings(**learning))


# --- who ---------------------------------------------------------------------------------------------------------


def test_kinds__have_every_behaviour_under_one_name() -> None:
    """A way to cheat that no name leads to would never be tried between real nodes."""
    used = {kind.trainer for kind in KINDS.values()} | {kind.validator for kind in KINDS.values()}
    assert (set(TRAINERS) | set(VALIDATORS)) - used == HONEST_ONLY_IN_A_SIMULATION
    assert set(UPDATE_ATTACKS) | set(DATA_ATTACKS) <= set(KINDS)
    for name in (
        "equivocate",
        "bad-share",
        "bad-dealing",
        "framer",
        "colluder",
        "replayer",
        "always-yes",
        "copies-votes",
    ):
        assert name in KINDS


@pytest.mark.parametrize("name", sorted(KINDS))
def test_kind__makes_the_machine_of_either_role(name: str) -> None:
    """A kind that cannot be made would end its node at its first round."""
    setting = make_setting()
    villain = KINDS[name].make_villain()
    history = AllianceHistory(setting.context.domain, setting.context.params)
    for seat in (setting.context.trainers[0], setting.context.assignment.validators[0]):
        machine = villain.make(
            setting.context, seat, setting.signer(seat), setting.mask_secrets[seat], history, setting.model
        )
        assert machine.start((), 0)


def test_band__is_read_or_lists_what_there_is() -> None:
    """A misspelt kind would run a testnet of honest members only."""
    assert (parse_band("signflip:2"), parse_band("bad-share")) == (Band("signflip", 2), Band("bad-share", 1))
    for text in ("signfilp:2", "signflip:0", "signflip:x", "", "signflip:2:3"):
        with pytest.raises(UsageError, match=r"adaptive, .*bad-share, .*wrong-sum"):
            parse_band(text)


def test_options__choose_members_by_the_seed() -> None:
    """A run could not be repeated, or always the same member would be the bad one."""
    words = ["--nodes", "8", "--byzantine", "signflip:2", "--byzantine", "bad-share"]
    options = parse_arguments(words)
    options.validate()
    assert sorted(options.crooked.values()) == ["bad-share", "signflip", "signflip"]
    assert options.crooked == parse_arguments(words).crooked
    chosen = {tuple(choose_crooked(options.byzantine, 8, seed)) for seed in range(20)}
    assert len(chosen) > 5
    assert Options().crooked == {}
    with pytest.raises(UsageError, match="two honest ones"):
        replace(options, byzantine=(Band("signflip", 7),)).validate()


# --- what they run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chain_id", [8453, 84532, 1])
def test_crooked_node__refuses_every_chain_but_a_devnet(chain_id: int) -> None:
    """Somebody would lose real stake."""
    with pytest.raises(UsageError, match="local devnet only"):
        prepare(KINDS["signflip"], None, config_of(chain_id))


def test_crooked_node__runs_the_kinds_machines(tmp_path: Path) -> None:
    """A testnet's dishonest members would be honest."""
    config, make = prepare(KINDS["bad-share"], None, config_of())
    assert config == config_of()
    setting = make_setting()
    seat = setting.context.trainers[0]
    history = AllianceHistory(setting.context.domain, setting.context.params)
    machine = make(setting.context, seat, setting.signer(seat), setting.mask_secrets[seat], history, setting.model)
    assert type(machine) is TRAINERS["BadShareInAnswer"]


def test_coalition__of_several_processes_finds_its_members(tmp_path: Path) -> None:
    """Colluding nodes would not know whom to vote for."""
    path = tmp_path / "coalition"
    first, second = FileCoalition(path), FileCoalition(path)
    for coalition, owner in ((first, b"a" * 20), (second, b"b" * 20), (first, b"a" * 20)):
        coalition.join(owner)
    assert first.owners == second.owners == {b"a" * 20, b"b" * 20}
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("attack", sorted(DATA_ATTACKS))
@pytest.mark.parametrize("task", ["heart", "digits"])
def test_rows__are_spoilt_and_still_a_members_table(tmp_path: Path, task: str, attack: str) -> None:
    """A node whose worker refuses its data cheats nobody; one whose labels stay is honest."""
    source, target = tmp_path / "node0.csv", tmp_path / "spoilt.csv"
    if task == "heart":
        heart_data.write_partition("Cleveland", 0, 2, 1, source)
    else:
        digits_data.write_member(digits_data.deal_iid(8, 1)[0], source)
    schema = heart_data.SCHEMA if task == "heart" else digits_data.SCHEMA
    config, _ = prepare(KINDS[attack], None, config_of(task=task, data_path=source))
    assert config.learning.data_path is not None and config.learning.data_path != source
    count = spoil_rows(attack, task, source, target, 0)
    honest, spoilt = read_table(source, schema), read_table(target, schema)
    assert target.read_bytes() == config.learning.data_path.read_bytes()  # the same at every start of the node
    assert count == len(honest.targets) == len(spoilt.targets)
    assert np.array_equal(honest.categories, spoilt.categories)
    changed = honest.targets != spoilt.targets
    if attack == "labelflip":
        assert np.array_equal(spoilt.targets, max(schema.targets) - honest.targets)
        assert np.array_equal(honest.numbers, spoilt.numbers, equal_nan=True)
    else:
        assert 0.1 < changed.mean() < 0.7 and (spoilt.targets[changed] == 0).all()
        assert not np.array_equal(honest.numbers, spoilt.numbers, equal_nan=True)


# --- what came of them -------------------------------------------------------------------------------------------


def test_account__tells_what_each_was_caught_for(tmp_path: Path) -> None:
    """The report would leave open who cheated, or whether it paid."""
    trainers = ASSIGNMENT.trainers
    logs = [settled_log(outcome=outcome) for outcome in (CohortOutcome.REJECTED, CohortOutcome.ADOPTED)]
    owners = {owner: NAMES[seat] for seat, owner in OWNERS.items()}
    for log in logs:
        log.owners = OWNERS
    rounds = [summarise(log, PARAMS, nodes_of_a_round(tmp_path / str(k)), owners) for k, log in enumerate(logs)]
    at = position(9)
    slashed = [Slashed(at, OWNERS[trainers[1]], trainers[1], 1, Fault.BAD_SHARE, 5 * 10**17, bytes(20))]
    suspended = [
        SeatSuspended(at, trainers[0], OWNERS[trainers[0]], 1, 2),
        SeatSuspected(at, trainers[0], OWNERS[trainers[0]], 1, 9),
    ]
    crooked = {
        NAMES[trainers[0]]: "signflip",
        NAMES[trainers[1]]: "bad-share",
        NAMES[ASSIGNMENT.validators[0]]: "always-yes",
    }
    cheats = account_for(crooked, rounds, slashed, suspended, owners, None)
    first, second, third = cheats
    assert (first.rejected, first.adopted, first.suspended, first.lost) == (1, 1, 1, 0)
    assert (second.slashed_for, second.lost) == (("bad share",), 5 * 10**17)
    assert (third.rejected, third.adopted, third.line.count("not caught")) == (0, 0, 1)
    assert "signflip): suspended once, lost its seat as a suspect, 1 of 2 cohorts with it rejected" in first.line
    assert second.describe()["lost"] == str(5 * 10**17) and "slashed for bad share" in second.line
    assert honest_line(crooked, {second.node: second.lost}) == "no honest node lost any of its stake"
    assert "node9" in honest_line(crooked, {"node9": 1})
