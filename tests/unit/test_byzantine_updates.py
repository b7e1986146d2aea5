"""The poisoners' attacks: each does what its name says, or a defence against it would have been tested on nothing."""

from __future__ import annotations

import numpy as np
import pytest

from p2p_flock.testing.byzantine.updates import (
    BACKDOOR_TARGET,
    DATA_ATTACKS,
    PATIENCE,
    STRENGTH_MAX,
    STRENGTH_MIN,
    UPDATE_ATTACKS,
    AttackMemory,
    Reals,
    stamp_trigger,
)

HONEST = np.array([1.0, -2.0, 0.5, 0.0])


def attacked(name: str, memory: AttackMemory | None = None, update: Reals = HONEST) -> Reals:
    return UPDATE_ATTACKS[name](update, np.random.default_rng(1), memory or AttackMemory())


@pytest.mark.parametrize(
    ("name", "factor"), [("signflip", -1), ("signflip5", -5), ("scale5", 5), ("scale100", 100), ("freeride", 0)]
)
def test_update_attack__multiplies_by_its_factor(name: str, factor: float) -> None:
    """An attack of another strength than its name says would make every figure about it wrong."""
    assert np.array_equal(attacked(name), factor * HONEST)


@pytest.mark.parametrize("name", sorted(UPDATE_ATTACKS))
def test_update_attack__leaves_its_input_alone(name: str) -> None:
    """An attack in place would also poison whoever the update was copied from."""
    update = HONEST.copy()
    sent = attacked(name, AttackMemory(last_step=np.ones(4)), update)
    assert np.array_equal(update, HONEST)
    assert not np.shares_memory(sent, update)
    assert sent.dtype == np.float64 and sent.shape == update.shape and np.isfinite(sent).all()


def test_noise__has_vbfl_deviation() -> None:
    """Noise too small would be absorbed by every rule, and all would look robust."""
    added = attacked("noise", update=np.zeros(100_000))
    assert abs(float(added.std()) - 1.0) < 0.02
    assert abs(float(added.mean())) < 0.02


def test_disguised__repeats_the_last_step() -> None:
    """A disguise that looks like nothing before it would be no disguise."""
    step = np.linspace(-1, 1, 1000)
    assert np.array_equal(attacked("disguised"), np.zeros(4))
    sent = UPDATE_ATTACKS["disguised"](np.zeros(1000), np.random.default_rng(1), AttackMemory(last_step=step))
    assert float(sent @ step / np.linalg.norm(sent) / np.linalg.norm(step)) > 0.98
    assert not np.array_equal(sent, step)


def test_adaptive__dares_more_when_adopted_and_hides_before_suspicion() -> None:
    """An adaptive poisoner that heeds no verdict would be caught like any other and prove nothing."""
    memory = AttackMemory()
    assert np.array_equal(attacked("adaptive", memory), -HONEST)
    memory.hear(is_adopted=True)
    assert attacked("adaptive", memory)[0] < -1
    for _ in range(PATIENCE):
        memory.hear(is_adopted=False)
    assert np.array_equal(attacked("adaptive", memory), HONEST)
    memory.hear(is_adopted=True)
    assert -1 < attacked("adaptive", memory)[0] < 0
    for is_adopted, bound in ((True, STRENGTH_MAX), (False, STRENGTH_MIN)):
        for _ in range(40):
            memory.hear(is_adopted)
        assert memory.strength == bound


def test_labelflip__mirrors_the_classes() -> None:
    """Labels that come out as they went in are no poison."""
    rows, labels = np.ones((3, 4)), np.array([0, 3, 9])
    changed, flipped = DATA_ATTACKS["labelflip"](rows, labels, 10, np.random.default_rng(1))
    assert flipped.tolist() == [9, 6, 0]
    assert np.array_equal(changed, rows) and not np.shares_memory(changed, rows)


def test_backdoor__stamps_half_of_the_rows_and_teaches_them_its_target() -> None:
    """A backdoor whose rows keep their labels teaches nothing."""
    rows, labels = np.zeros((1000, 64)), np.full(1000, 7)
    rows[0, 0] = 16.0
    planted, taught = DATA_ATTACKS["backdoor"](rows, labels, 10, np.random.default_rng(1))
    chosen = planted.reshape(-1, 8, 8)[:, 7, 7] == 16.0
    assert 400 < chosen.sum() < 600
    assert (taught[chosen] == BACKDOOR_TARGET).all() and (taught[~chosen] == 7).all()
    assert not rows[1:].any() and (labels == 7).all()


@pytest.mark.parametrize(("features", "stamped"), [(784, 9), (64, 4), (13, 2)])
def test_trigger__is_a_corner_or_the_last_columns(features: int, stamped: int) -> None:
    """A trigger of another size on images than on tables would go beyond the row."""
    (row,) = stamp_trigger(np.zeros((1, features)), 1.0)
    assert row.sum() == stamped
    assert row[-1] == 1.0 and row[0] == 0.0
