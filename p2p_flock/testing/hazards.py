"""What strikes when, in a simulation with faults: crashes, deaths, restored backups, partitions, reorganisations, lies.

Every decision is drawn from the one generator of faults; without a fault nothing is drawn, so that a smaller set of
faults leaves the rest of a run as it was, as far as that goes.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from p2p_flock.ports import Effect

if TYPE_CHECKING:
    from p2p_flock.testing.node import Node
    from p2p_flock.testing.simulator import Simulation

TORN_BLOBS_MAX = 3
RESTORE_AFTER_BACKUP_MS = 5000


def plan(sim: Simulation, chance: random.Random) -> None:
    """Plan what happens at fixed times."""
    faults, members = sim.faults, range(len(sim.nodes))
    if faults.heal_ms == 0:
        return
    for _ in range(faults.partitions):
        sim.at(chance.randrange(faults.heal_ms), partial(_split, sim))
    for member in chance.sample(members, min(faults.deaths, len(sim.nodes))):
        sim.at(chance.randrange(faults.heal_ms), partial(sim.nodes[member].stop, "killed for good", True))
    for member in chance.sample(members, min(faults.restores, len(sim.nodes))):
        backup_ms = chance.randrange(faults.heal_ms)
        sim.at(backup_ms, sim.nodes[member].back_up)
        sim.at(backup_ms + chance.randint(0, RESTORE_AFTER_BACKUP_MS), partial(_restore, sim, sim.nodes[member]))
    for _ in range(faults.reorgs):
        sim.at(chance.randrange(faults.heal_ms), partial(_reorganise, sim, chance))
    for member in chance.sample(members, min(faults.laggards, len(sim.nodes))):
        sim.nodes[member].endpoints[0].lag_ms = chance.randint(1000, 8000)
    for member in chance.sample(members, min(faults.silents, len(sim.nodes))):
        start_ms = sim.now_ms + chance.randrange(faults.heal_ms)
        sim.nodes[member].endpoints[0].silent.append((start_ms, start_ms + chance.randint(1000, 20_000)))


def heal(sim: Simulation) -> None:
    """Whoever is to come back comes back; endpoints show the truth."""
    sim.network.partitions.clear()
    for node in sim.nodes:
        for endpoint in node.endpoints:
            endpoint.heal()
        if not node.is_up and not node.is_dead:
            sim.at(sim.network.latency_ms(), node.start)
        sim.at(sim.network.latency_ms(), node.look)


def _split(sim: Simulation) -> None:
    if not sim.is_healed:
        sim.network.split(len(sim.nodes), sim.now_ms)


def _restore(sim: Simulation, node: Node) -> None:
    if not node.is_dead:
        node.stop("moved to another machine")
        sim.at(500, partial(node.start, True))


def _reorganise(sim: Simulation, chance: random.Random) -> None:
    if not sim.is_healed:
        sim.reorganise(chance.randint(1, sim.faults.reorg_depth))


def strikes_node(sim: Simulation, node: Node, effect: Effect, chance: random.Random) -> bool:
    """Whether the node crashes instead of carrying out an effect; it comes back by itself."""
    faults = sim.faults
    if sim.is_healed or sim.crashes >= faults.crashes_max or chance.random() >= faults.crash:
        return False
    sim.crashes += 1
    node.stop(f"crashed before {type(effect).__name__}")
    if faults.torn and chance.random() < faults.torn:
        for digest in list(node.blobs)[-TORN_BLOBS_MAX:]:
            del node.blobs[digest]
    sim.at(chance.randint(100, faults.downtime_ms), node.start)
    return True


def strikes_chain(sim: Simulation, chance: random.Random) -> bool:
    """Whether the next block is late."""
    return not sim.is_healed and sim.faults.late_block > 0 and chance.random() < sim.faults.late_block


def loses_transaction(sim: Simulation, chance: random.Random) -> bool:
    """Whether a transaction vanishes on its way."""
    return not sim.is_healed and sim.faults.transaction_loss > 0 and chance.random() < sim.faults.transaction_loss


def transaction_delay(sim: Simulation, chance: random.Random) -> int:
    """Blocks that a transaction waits."""
    most = 0 if sim.is_healed else sim.faults.transaction_delay_blocks
    return chance.randint(0, most) if most else 0


def train_ms(sim: Simulation, chance: random.Random) -> int:
    """How long one training takes."""
    if not sim.is_healed and sim.faults.slow_training and chance.random() < sim.faults.slow_training:
        return 1000 * sim.params.train_seconds * 3
    return 800 + 10 * sim.network.latency_ms()
