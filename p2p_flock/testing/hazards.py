"""What strikes when, in a simulation with faults: crashes, deaths, restored backups, partitions, reorganisations, lies.

Every decision is drawn from the one generator of faults; without a fault nothing is drawn, so that a smaller set of
faults leaves the rest of a run as it was, as far as that goes.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.sealing import make_manifest, make_seal
from p2p_flock.chain_events import LogPosition, RoundSealed
from p2p_flock.crypto.signing import seal_struct_hash
from p2p_flock.ports import Effect
from p2p_flock.testing.byzantine.voters import ColludingValidator
from p2p_flock.testing.endpoints import Endpoint
from p2p_flock.testing.ledger import BLOCK_MS, OPEN, SEALED, RoundView
from p2p_flock.wire.codec import encode

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
        cut = sim.network.split(len(sim.nodes), sim.now_ms + chance.randrange(faults.heal_ms))
        sim.at(cut.end_ms - sim.now_ms, partial(sim.tell_mended, cut))
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
    for member in chance.sample(members, min(faults.liars, len(sim.nodes))):
        if chance.random() < 0.5:  # an operator who was told to ask two
            sim.nodes[member].endpoints += (Endpoint(),)
        sim.at(chance.randrange(faults.heal_ms), partial(_lie, sim, sim.nodes[member], chance))


def heal(sim: Simulation) -> None:
    """Whoever is to come back comes back; endpoints show the truth."""
    mended = list(sim.network.partitions)
    sim.network.partitions.clear()
    for cut in mended:
        sim.tell_mended(cut)
    for node in sim.nodes:
        for endpoint in node.endpoints:
            endpoint.heal()
        if not node.is_up and not node.is_dead:
            sim.at(sim.network.latency_ms(), node.start)
        sim.at(sim.network.latency_ms(), node.look)


def _restore(sim: Simulation, node: Node) -> None:
    if not node.is_dead:
        node.stop("moved to another machine")
        sim.at(500, partial(node.start, True))


def _reorganise(sim: Simulation, chance: random.Random) -> None:
    if not sim.is_healed:
        sim.reorganise(chance.randint(1, sim.faults.reorg_depth))


def _lie(sim: Simulation, node: Node, chance: random.Random) -> None:
    """The node's first endpoint shows a seal of the running round that nobody signed, with blocks on top of it.

    Where a quorum of the round's validators collude, they sign one that leaves out one or two of the trainers.
    """
    if sim.is_healed:
        return
    context, tip = node.context, sim.ledger.tip
    event = None
    if context is not None and tip.view.phase == OPEN and tip.view.round == context.round:
        signers = find_colluders(sim, context)
        is_signed = len(signers) >= context.params.seal_quorum
        event = (sign_falsely if is_signed else invent_seal)(sim, context, chance)
    if event is None:
        sim.at(BLOCK_MS, partial(_lie, sim, node, chance))
        return
    show_seal(sim, node, event, chance.randint(1, 15))


def find_colluders(sim: Simulation, context: RoundContext) -> dict[int, Node]:
    """By position those of the round's validators that work together."""
    members = sim.members_of(context)
    nodes = {place: sim.nodes[members[seat]] for place, seat in enumerate(context.assignment.validators)}
    return {place: node for place, node in nodes.items() if isinstance(node.machine, ColludingValidator)}


def sign_falsely(sim: Simulation, context: RoundContext, chance: random.Random) -> RoundSealed | None:
    """A seal that a colluding quorum signed and the chain has not; ``None`` while they hold too little."""
    signers = dict(list(find_colluders(sim, context).items())[: context.params.seal_quorum])
    for node in signers.values():
        assert isinstance(node.machine, ColludingValidator)
        collection = node.machine.collection
        roots = collection.held_roots()
        documents = {seat: held for seat in roots if (held := collection.held_document(seat)) is not None}
        if len(documents) < len(context.eligible_trainers) - 1:
            continue
        left_out = chance.sample(sorted(documents), chance.randint(1, 2))
        manifest = make_manifest(context, {s: roots[s] for s in documents if s not in left_out}, documents)
        seal = make_seal(context, 0, manifest)
        node.blobs[sim.world.put(encode(manifest))] = None
        at = LogPosition(sim.ledger.tip.number + 1, 0, sim.ledger.tip.timestamp_s + 1, seal.digest)
        signatures = tuple(signer.sign(seal.signing_digest) for signer in signers.values())
        return RoundSealed(
            at, context.round, 0, seal.digest, context.seed, seal.manifest_digest, seal.survivors, tuple(signers),
            signatures,
        )  # fmt: skip
    return None


def invent_seal(sim: Simulation, context: RoundContext, chance: random.Random) -> RoundSealed:
    """A seal with signatures that are none."""
    tip = sim.ledger.tip
    timestamp_s = tip.timestamp_s + 1
    sizes = [min(256, len(context.trainers) - start) for start in range(0, len(context.trainers), 256)]
    survivors = tuple(map(chance.getrandbits, sizes))
    view, digest, beacon_round = 0, chance.randbytes(32), context.snapshot.beacon_round
    seal = seal_struct_hash(context.domain, context.round, view, beacon_round, context.seed, digest, survivors)
    positions = tuple(range(context.params.seal_quorum))
    signatures = tuple(chance.randbytes(65) for _ in positions)
    at = LogPosition(tip.number + 1, 0, timestamp_s, chance.randbytes(32))
    return RoundSealed(at, context.round, view, seal, context.seed, digest, survivors, positions, signatures)


def show_seal(sim: Simulation, node: Node, event: RoundSealed, blocks: int) -> None:
    """The node's first endpoint shows this seal in a block of its own on the truth, and so many empty ones after it."""
    tip, timestamp_s = sim.ledger.tip, event.at.timestamp_s
    deadline_s = timestamp_s + 1000
    seen = RoundView(SEALED, event.round, tip.view.seal_deadline_s, deadline_s, deadline_s)
    node.endpoints[0].show_falsely(sim.ledger, (event,), seen, timestamp_s)
    _go_on_lying(sim, node, blocks)


def _go_on_lying(sim: Simulation, node: Node, blocks: int) -> None:
    if blocks == 0:
        node.endpoints[0].heal()
    else:
        node.endpoints[0].extend(sim.ledger, sim.now_ms // 1000)
        sim.at(BLOCK_MS, partial(_go_on_lying, sim, node, blocks - 1))
    sim.at(sim.network.poll_ms(), node.look)


def note_sealed(sim: Simulation, chance: random.Random) -> None:
    """A round was sealed: strike while nodes wait for its confirmations, or just after."""
    if not sim.is_healed and sim.reorgs_after_seal_left > 0:
        sim.reorgs_after_seal_left -= 1
        sim.at(chance.randint(200, 4 * BLOCK_MS), partial(sim.reorganise, chance.randint(1, 5)))


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
