"""Carries out a machine's effects in a simulated node, as ``daemon/driver.py`` does; crashes strike between any two."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, assert_never

from p2p_flock import ports
from p2p_flock.alliance.history import RoundRecord
from p2p_flock.alliance.settling import Settlement, get_seal_statement, make_settlement
from p2p_flock.crypto.vectors import MemorySink
from p2p_flock.errors import UsageError
from p2p_flock.secagg.contributor import mask_blocks
from p2p_flock.secagg.opening import Opened, Unopened, open_sum
from p2p_flock.testing.contract_state import Commitments, RoundCall
from p2p_flock.testing.facts import Accused, Failed, Persisted, Said
from p2p_flock.wire.messages import CHUNK_BYTES

if TYPE_CHECKING:
    from p2p_flock.testing.node import Node

# The contract's words for "somebody else was first"; as in ``daemon/driver.py``.
LOST_RACES = frozenset(
    {"AlreadySealed", "NothingNew", "WrongRound", "WrongPhase", "AlreadySettled", "AlreadyCommitted"}
)
WHAT = {ports.SealRound: "seal", ports.CommitRound: "commit", ports.SettleRound: "settle"}


def execute(node: Node, effects: Sequence[ports.Effect]) -> None:
    """Persist first, then everything else in order, until the node is struck."""
    for persisting in (True, False):
        for effect in effects:
            if isinstance(effect, ports.Persist) is not persisting:
                continue
            if node.sim.strikes(node, effect):
                return
            _carry_out(node, effect)
            if not node.is_up:
                return


def _carry_out(node: Node, effect: ports.Effect) -> None:
    sim = node.sim
    match effect:
        case ports.Persist():
            _persist(node, effect)
        case ports.StoreBlobs():
            for blob in effect.blobs:
                node.blobs[sim.world.put(blob)] = None
        case ports.Send():
            _send(node, effect)
        case ports.Fetch():
            _fetch(node, effect)
        case ports.Train():
            _train(node, effect)
        case ports.MaskUpdate():
            node.tell_later(_mask_update(node, effect), sim.network.latency_ms())
        case ports.OpenCohort():
            result = _open_cohort(node, effect)
            node.tell_later(ports.CohortOpened(effect.cohort, result), sim.network.latency_ms())
        case ports.Evaluate():
            assert node.context is not None
            node.tell_later(sim.judge(node, node.context, effect), sim.evaluate_ms())
        case ports.Transact():
            _transact(node, effect.call)
        case ports.Accuse():
            assert node.context is not None
            sim.emit(Accused(sim.now_ms, node.number, node.context.round, effect.evidence))
            node.upkeep.accuse(effect.evidence)
        case ports.Report():
            pass
        case _:
            assert_never(effect)


def _persist(node: Node, record: ports.Persist) -> None:
    assert node.context is not None
    number = node.context.round
    records = (node.secrets if record.secret else node.journal).setdefault(number, {})
    known = records.setdefault((record.kind, record.key), record)
    if known.body == record.body:
        node.sim.emit(Persisted(node.sim.now_ms, node.number, number, record))
        return
    text = f"StoreError: would contradict its journal: {record.kind} {record.key}"
    if node.is_honest:
        node.sim.emit(Failed(node.sim.now_ms, node.number, number, text))
    node.stop(text, is_final=True)


def _send(node: Node, effect: ports.Send) -> None:
    assert node.context is not None
    sim, context = node.sim, node.context
    members = sim.members_of(context)
    to = tuple(members[seat] for seat in effect.seats if 0 <= seat < len(members))
    message = sim.world.check_envelope(context, effect.envelope).message
    sim.emit(Said(sim.now_ms, node.number, context.round, to, effect.envelope, message))
    for number in to:
        sim.deliver(node.number, number, effect.envelope)


def _fetch(node: Node, effect: ports.Fetch) -> None:
    assert node.context is not None
    machine, members = node.machine, node.sim.members_of(node.context)

    def finish(found: Sequence[bytes]) -> None:
        if node.machine is not machine:
            return
        blobs = node.sim.world.blobs
        if effect.is_read:
            content = {digest: blobs[digest] for digest in found}
            node.tell(ports.BlobsFetched(effect.tag, content))
        else:
            node.tell(ports.BlobsFetched(effect.tag, {}, {digest: len(blobs[digest]) for digest in found}))

    sources = [members[seat] for seat in effect.seats if members[seat] != node.number]
    node.sim.pull(node, effect.digests, sources, finish, effect.bytes_max_each)


def _train(node: Node, effect: ports.Train) -> None:
    assert node.context is not None
    sim, context = node.sim, node.context
    values = sim.learning.compute_update(node.number, context, node.model)
    entropy = node.draw_secret("entropy")
    node.tell_later(ports.UpdateComputed(values, entropy), sim.train_ms())


def _mask_update(node: Node, effect: ports.MaskUpdate) -> ports.UpdateMasked:
    """Mask in memory, chunks to the node's blobs, as the driver does with files."""

    def put(chunk: memoryview) -> bytes:
        digest = node.sim.world.put(bytes(chunk))
        node.blobs[digest] = None
        return digest

    try:
        return ports.UpdateMasked(mask_blocks(effect.masking, effect.encoder.encode(CHUNK_BYTES), put))
    except UsageError as error:
        return ports.UpdateMasked((), str(error))


def _open_cohort(node: Node, effect: ports.OpenCohort) -> Opened | Unopened:
    """Open in memory, the aggregate to the node's blobs. What one node opened another with the same keys need not."""
    world, opening = node.sim.world, effect.opening
    name = hashlib.sha256(repr((opening.context.digest, opening.chunk_digests, opening.signed_keys)).encode()).digest()
    result = world.openings.get(name)
    if result is None:
        sink = MemorySink()
        result = world.openings[name] = open_sum(opening, world.blobs.__getitem__, sink)
        if isinstance(result, Opened):
            world.put(bytes(sink.data))
    if isinstance(result, Opened):
        node.blobs[result.aggregate_digest] = None
    return result


def _transact(node: Node, call: ports.SealRound | ports.CommitRound | ports.SettleRound) -> None:
    assert node.context is not None
    machine, what = node.machine, WHAT[type(call)]

    def finish(reason: str) -> None:
        answer = ports.TransactionEnded(what, "" if reason in LOST_RACES else reason)
        if node.machine is machine:
            node.tell(answer)

    rounds, number = node.history.rounds, node.context.round
    posted = _complete(rounds[number], call) if number < len(rounds) else None
    if posted is None:
        node.tell_later(ports.TransactionEnded(what, "NotSealed"), node.sim.network.latency_ms())
    else:
        node.sim.transact(node, RoundCall(number, posted), finish)


def _complete(
    record: RoundRecord, call: ports.SealRound | ports.CommitRound | ports.SettleRound
) -> ports.SealRound | Commitments | Settlement | None:
    """With what the contract must be shown besides; ``None`` where the log holds no seal (any more)."""
    if isinstance(call, ports.SealRound):
        return call
    if record.sealed is None:
        return None
    if isinstance(call, ports.CommitRound):
        return Commitments(get_seal_statement(record), call)
    return make_settlement(record, dict(zip(call.positions, call.ballots, strict=True)))
