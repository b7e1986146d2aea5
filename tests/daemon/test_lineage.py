"""The model a node holds, when the chain is reorganised."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.model import Model, encode_model
from p2p_flock.daemon.lineage import Lineage
from p2p_flock.daemon.world import World
from p2p_flock.store.models import ModelStore
from p2p_flock.testing.alliance import make_model, make_task

ALLIANCE = "flock:84530:0x" + "ab" * 20 + ":1"


def log_of(*adopted: tuple[tuple[int, bytes], ...]) -> AllianceHistory:
    """A log of ended rounds that adopted these aggregates."""
    rounds = [SimpleNamespace(ended=True, adopted=entry) for entry in adopted]
    return cast(AllianceHistory, SimpleNamespace(rounds=rounds))


def lineage_after(models: ModelStore, adopted: list[tuple[tuple[int, bytes], ...]]) -> tuple[Lineage, list[Model]]:
    """A lineage that applied these rounds, and the model before each and after the last."""
    lineage = Lineage(cast(World, SimpleNamespace(models=models)), ALLIANCE, make_task(), make_model())
    held = [lineage.model]
    for number, entry in enumerate(adopted):
        held.append(Model(lineage.model.statistics, np.full_like(lineage.model.parameters, float(number))))
        for model in held[-2:]:
            models.put(encode_model(model))
        lineage._applied[number] = entry
        lineage.digests[number] = (f"0x{held[-2].digest.hex()}", f"0x{held[-1].digest.hex()}")
    lineage.model, lineage.next_round = held[-1], len(adopted)
    return lineage, held


FIRST, SECOND, OTHER = ((0, b"1" * 32),), ((0, b"2" * 32),), ((0, b"3" * 32),)


def test_lineage__the_same_log_changes_nothing(tmp_path: Path) -> None:
    """Every reorganisation of empty blocks would cost the model."""
    lineage, held = lineage_after(ModelStore(tmp_path), [FIRST, SECOND])
    lineage.rewind(log_of(FIRST, SECOND))
    assert (lineage.next_round, lineage.model.digest) == (2, held[2].digest)


def test_lineage__steps_back_before_the_round_that_is_gone(tmp_path: Path) -> None:
    """A node would go on with a model that the chain never adopted, alone (P2)."""
    models = ModelStore(tmp_path)
    for log in (log_of(FIRST), log_of(FIRST, OTHER)):  # not settled any more; settled otherwise
        lineage, held = lineage_after(models, [FIRST, SECOND])
        lineage.rewind(log)
        assert (lineage.next_round, lineage.model.digest) == (1, held[1].digest)
        current = models.current(ALLIANCE)
        assert current is not None
        assert (current.round, current.digest) == (0, held[1].digest)


def test_lineage__starts_over_where_the_earlier_model_is_unknown(tmp_path: Path) -> None:
    """A node restarted before the reorganisation would keep the wrong model for want of the right one."""
    lineage, held = lineage_after(ModelStore(tmp_path), [FIRST, SECOND])
    lineage.digests.clear()
    lineage.rewind(log_of(FIRST, OTHER))
    assert (lineage.next_round, lineage.model.digest) == (0, held[0].digest)
