"""What goes wrong in a simulation: numbers, drawn from the seed or given on the command line."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

KINDS = ("crashes", "network", "reorgs", "rpc", "byzantine")


@dataclass(frozen=True, slots=True)
class Faults:
    """Chances are per message, per effect or per block; times in virtual ms.

    Attributes:
        heal_ms: from this moment on nothing new goes wrong, counted from the first block.
        loss, duplication: of a message; loss also of each blob asked of each source.
        delay_min_ms, delay_max_ms: of a message, one way.
        partitions, partition_ms: how often the network splits into two halves, and for how long.
        crash, crashes_max, downtime_ms: chance before each effect of a node, how many in all, longest downtime.
        torn: chance that a blob which a crashed node stored last is gone.
        deaths: nodes that crash once and never come back.
        restores: nodes that come back from an old backup of their journal, without their secrets.
        reorgs, reorg_depth: how many, and how deep at most.
        reorgs_after_seal: reorganisations that strike a block or two after a round was sealed.
        late_block: chance that a block comes three seconds late.
        transaction_loss, transaction_delay_blocks: chance that a transaction vanishes (and is sent again 15 s later);
            blocks that it waits at most.
        laggards, silents, liars: members whose endpoint is behind, does not answer, or shows invented seals.
        disagreement: chance that a validator finds a good aggregate bad.
        slow_training: chance that a trainer needs longer than the train phase.
        byzantine: members with a hostile machine, as many of them as every property allows for.
        coalition: members that collude, whether or not so many are allowed for.
    """

    heal_ms: int = 60_000
    loss: float = 0.0
    duplication: float = 0.0
    delay_min_ms: int = 5
    delay_max_ms: int = 60
    partitions: int = 0
    partition_ms: int = 4000
    crash: float = 0.0
    crashes_max: int = 0
    downtime_ms: int = 4000
    torn: float = 0.0
    deaths: int = 0
    restores: int = 0
    reorgs: int = 0
    reorg_depth: int = 1
    reorgs_after_seal: int = 0
    late_block: float = 0.0
    transaction_loss: float = 0.0
    transaction_delay_blocks: int = 0
    laggards: int = 0
    silents: int = 0
    liars: int = 0
    disagreement: float = 0.0
    slow_training: float = 0.0
    byzantine: int = 0
    coalition: int = 0


NONE = Faults(heal_ms=0)


def draw_faults(seed: int, nodes: int, rounds: int, kinds: Iterable[str]) -> Faults:
    """A mix of the named kinds of faults for this seed; about a third of each kind's numbers are zero.

    What is drawn is what an alliance must survive: fewer dead and hostile members than every cohort and every
    committee can spare, once the rest is healed.
    """
    chance = random.Random(f"faults {seed}")
    chosen = set(kinds)
    if unknown := chosen - set(KINDS):
        raise ValueError(f"there are no faults {', '.join(sorted(unknown))}; there are: {', '.join(KINDS)}")
    few = max(1, nodes // 10)
    faults = Faults(heal_ms=rounds * chance.choice([6_000, 12_000, 24_000]))
    if "crashes" in chosen:
        faults = replace(
            faults,
            crash=chance.choice([0.002, 0.01, 0.05]),
            crashes_max=chance.choice([0, few, 3 * few]),
            downtime_ms=chance.choice([500, 4000, 15_000]),
            torn=chance.choice([0.0, 0.0, 0.3]),
            deaths=chance.choice([0, 0, 1]),
            restores=chance.choice([0, 0, 1]),
        )
    if "network" in chosen:
        faults = replace(
            faults,
            loss=chance.choice([0.0, 0.02, 0.1]),
            duplication=chance.choice([0.0, 0.1]),
            delay_max_ms=chance.choice([60, 60, 1500]),
            partitions=chance.choice([0, 0, 1, 2]),
            partition_ms=chance.choice([2000, 10_000]),
            slow_training=chance.choice([0.0, 0.0, 0.05]),
        )
    if "reorgs" in chosen:
        faults = replace(
            faults,
            reorgs=chance.choice([0, 1, 4]),
            reorg_depth=chance.choice([1, 1, 3, 8]),
            reorgs_after_seal=chance.choice([0, 1, 3]),
            late_block=chance.choice([0.0, 0.05]),
            transaction_loss=chance.choice([0.0, 0.05]),
            transaction_delay_blocks=chance.choice([0, 0, 2]),
        )
    if "rpc" in chosen:
        faults = replace(
            faults,
            laggards=chance.choice([0, few]),
            silents=chance.choice([0, few]),
            liars=chance.choice([0, few]),
        )
    if "byzantine" in chosen:
        faults = replace(faults, byzantine=chance.choice([0, 1, few]), disagreement=chance.choice([0.0, 0.1, 0.4]))
        faults = replace(faults, coalition=chance.choice([0, 0, 0, 0, 1, nodes // 3]))
    return faults


def parse_faults(text: str, seed: int, nodes: int, rounds: int) -> Faults:
    """``none``, ``all``, kinds, and ``field=value`` to set single numbers; joined by commas.

    Raises:
        ValueError: a word is neither.
    """
    words = [word for word in text.split(",") if word]
    kinds = [word for word in words if "=" not in word and word not in ("none", "all")]
    if "all" in words:
        kinds = list(KINDS)
    faults = draw_faults(seed, nodes, rounds, kinds) if kinds else NONE
    types = {field.name: field.type for field in fields(Faults)}
    for word in words:
        name, separator, value = word.partition("=")
        if separator:
            if name not in types:
                raise ValueError(f"there is no number {name!r} of faults; there are: {', '.join(types)}")
            values: dict[str, Any] = {name: float(value) if types[name] == "float" else int(value)}
            faults = replace(faults, **values)
    return faults


def format_faults(faults: Faults) -> str:
    """The words that :func:`parse_faults` reads as exactly these numbers."""
    changed = [
        f"{field.name}={getattr(faults, field.name)}"
        for field in fields(Faults)
        if getattr(faults, field.name) != getattr(NONE, field.name)
    ]
    return ",".join(["none", *changed])
