"""Our side of ``scripts/bench secagg``: a process that answers requests, one JSON object a line.

Measures what nodes run: a trainer's plan, mask, finish and answer (``secagg/contributor.py``, ``secagg/answer.py``), a
validator's checks, rebuilding and opening (``secagg/aggregator.py``, ``secagg/opening.py``). No network, no disk:
chunks are hashed and copied to where a store would take them from.
"""

from __future__ import annotations

import hashlib
import sys
from typing import cast

import numpy as np

from p2p_flock.bench.secagg_cohort import SEAL, Cohort, contribute_all, make_answers, make_cohort
from p2p_flock.bench.secagg_inputs import (
    CLIENT,
    Answer,
    Meter,
    Task,
    digest_vectors,
    make_vectors,
    measure_peak,
    plain_mean,
    serve,
    settle,
)
from p2p_flock.crypto.fixed_point import decode_mean
from p2p_flock.crypto.masking import Engine, Masks, choose_engine, get_engine_name, masks_into
from p2p_flock.crypto.ring import Ring, Words
from p2p_flock.crypto.vectors import MemorySink
from p2p_flock.errors import P2PFlockError
from p2p_flock.secagg.aggregator import Aggregator, SealConfirmed, UnmaskingReceived
from p2p_flock.secagg.answer import Answered, compute_answer
from p2p_flock.secagg.contributor import PreparedContribution, finish_contribution, mask_blocks
from p2p_flock.secagg.opening import Opened, Opening, open_sum
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import CHUNK_BYTES, Contribution, Unmasking

ENVELOPE_BYTES = 80  # kind, round, seat and signature around the contribution and the answer, rounded up


def run_client(cohort: Cohort, meter: Meter, room: bytearray) -> PreparedContribution:
    """Everything until the contribution is out. ``room`` takes the masked vector, as a store would."""
    with meter.part("plan"):
        masking = cohort.plan(CLIENT)
    filled = 0

    def put(chunk: memoryview) -> bytes:
        nonlocal filled
        room[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
        return hashlib.sha256(chunk).digest()

    with meter.part("mask"):
        digests = mask_blocks(masking, cohort.encoder(CLIENT).encode(CHUNK_BYTES), put)
    with meter.part("finish"):
        return finish_contribution(masking, digests)


def run_answer(cohort: Cohort, made: PreparedContribution, meter: Meter) -> Unmasking:
    """What the client says after the seal; all documents and bundles are at hand, decoded and not yet checked."""
    bundles, documents, manifest = cohort.bundles_for(CLIENT), cohort.documents, cohort.manifest
    with meter.part("answer"):
        answer = compute_answer(cohort.context, made.secrets, SEAL, manifest, documents, bundles)
    if not isinstance(answer, Answered) or answer.faults:
        raise AssertionError(f"the client refuses: {answer}")
    return answer.unmasking


def count_bytes(made: PreparedContribution, answer: Unmasking, vector_bytes: int) -> dict[str, int]:
    """What a client publishes, once."""
    contribution = Contribution(made.root, made.document_digest)
    return {
        "chunks": vector_bytes,
        "document": len(encode(made.document)) + len(made.commitments),
        "bundles": sum(map(len, made.bundles.values())),
        "messages": len(encode(contribution)) + len(encode(answer)) + 2 * ENVELOPE_BYTES,
    }


# --- the validator ---------------------------------------------------------------------------------------------------


class Validator:
    """One validator's view of a cohort: everything has arrived, nothing is examined."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort
        self.answers = make_answers(cohort)

    def collect(self, meter: Meter) -> Aggregator:
        """Check every document; nothing is sealed."""
        machine, made = Aggregator(self.cohort.context), self.cohort.made
        events = [self.cohort.document_event(seat) for seat in made]
        with meter.part("documents"):
            faults = [fault for event in events for fault in machine.handle(event)]
        assert not faults, faults
        (first, *_), chunks = made, self.cohort.context.chunk_count
        known = self.cohort.chunks.get(first, ())
        with meter.part("chunk_digests"):
            for digest in known[:chunks]:
                hashlib.sha256(self.cohort.blobs[digest]).digest()
        part = meter.parts["chunk_digests"]
        part[:] = [value * len(made) for value in part]  # of one member, times all
        return machine

    def prepare(self, machine: Aggregator, meter: Meter) -> Opening:
        """Seal, take and check everybody's answer, rebuild every secret."""
        assert machine.handle(SealConfirmed(SEAL, self.cohort.manifest)) == ()
        with meter.part("answer_checks"):
            for seat, answer in self.answers.items():
                assert machine.handle(UnmaskingReceived(seat, answer)) == ()
        with meter.part("rebuild"):
            opening = machine.prepare_opening(self.cohort.sum_bound)
        if not isinstance(opening, Opening):
            raise AssertionError(f"not recoverable: {opening}")
        return opening

    def open(self, opening: Opening, meter: Meter) -> float:
        """Sum, take masks off, check range and digest, decode; the mean's largest error. The words are compared."""
        cohort = self.cohort
        sink = MemorySink()
        with meter.part("open"):
            result = open_sum(opening, cohort.blobs.__getitem__, sink)
        assert isinstance(result, Opened), result
        words = cohort.context.ring.read(memoryview(sink.data)[-cohort.context.vector_bytes :])
        assert cohort.total is not None and np.array_equal(words, cohort.total), "the opened sum is not the plain sum"
        with meter.part("decode"):
            integers = cohort.context.ring.lift(words, cohort.task.parameters, cohort.sum_bound)
            mean = decode_mean(integers, cohort.clip_norm, cohort.levels, len(cohort.task.survivors))
        return float(np.max(np.abs(mean - plain_mean(cohort.task)))) / (cohort.clip_norm / cohort.levels)


def run_plain_sum(task: Task, meter: Meter) -> None:
    """The floor: the survivors' float32 vectors added up."""
    vectors = make_vectors(task.parameters, task.vector_count)
    total = np.zeros(task.parameters, dtype=np.float32)
    with meter.part("plain_sum"):
        for seat in task.survivors:
            np.add(total, vectors[seat % len(vectors)], out=total)


# --- requests --------------------------------------------------------------------------------------------------------

_cohorts: dict[Task, Cohort] = {}
_validators: dict[Task, Validator] = {}
_openings: dict[Task, Opening] = {}


def _use(engine: str, lane_bits: int) -> None:
    """Choose who computes masks, and let it load and compile what it needs."""
    choose_engine(Engine(engine))
    masks_into(cast(Words, np.zeros(1 << 16, dtype=Ring(lane_bits).dtype)), [(bytes(32), 1)])


def _cohort_of(task: Task) -> Cohort:
    """The task's cohort; the latest one is kept, and what it has in common with the next."""
    if task not in _cohorts:
        known = next(iter(_cohorts.values()), None)
        _cohorts.clear()
        _validators.clear()
        _openings.clear()
        choose_engine(Engine.AUTO)
        cohort = make_cohort(task)
        contribute_all(cohort, known=known)
        _cohorts[task] = cohort
    return _cohorts[task]


def _validator_of(task: Task) -> Validator:
    cohort = _cohort_of(task)
    if task not in _validators:
        _validators[task] = Validator(cohort)
    return _validators[task]


def _opening_of(task: Task) -> Opening:
    if task not in _openings:
        validator = _validator_of(task)
        _openings[task] = validator.prepare(validator.collect(Meter()), Meter())
    return _openings[task]


def answer_hello() -> Answer:
    """``accelerator``: its instructions, or why there is none."""
    _use("accelerated", 16)
    return {"python": sys.version.split()[0], "numpy": np.__version__, "accelerator": get_engine_name()}


def answer_inputs(task: Task) -> Answer:
    """Make the cohort, untimed. ``unserved``: why this version serves no such cohort."""
    try:
        _cohort_of(task)
    except P2PFlockError as error:
        return {"unserved": str(error)}
    return {"digest": digest_vectors(task)}


def answer_client(task: Task, engine: str, memory: bool = False) -> Answer:
    """One repetition until the contribution is out; with ``memory`` its peak over the vector instead of its times."""
    cohort, meter = _cohort_of(task), Meter()
    _use(engine, task.lane_bits)
    room = bytearray(cohort.context.vector_bytes)
    if memory:
        return {"memory_peak_bytes": measure_peak(lambda: run_client(cohort, Meter(), room))}
    settle()
    made = run_client(cohort, meter, room)
    assert made.root == cohort.made[CLIENT].root, "the client did not make its contribution again"
    with meter.part("encode"):  # a part of "mask", again by itself
        for _ in cohort.encoder(CLIENT).encode(CHUNK_BYTES):
            pass
    with meter.part("chunk_digests"):
        hashlib.sha256(room).digest()
    return {"parts": meter.parts}


def answer_answer(task: Task) -> Answer:
    """One repetition of the client's answer to the seal, and what the client has sent by then."""
    cohort, meter = _cohort_of(task), Meter()
    made = cohort.made[CLIENT]
    settle()
    answer = run_answer(cohort, made, meter)
    return {"parts": meter.parts, "bytes_by_kind": count_bytes(made, answer, cohort.context.vector_bytes)}


def answer_validator(task: Task) -> Answer:
    """One repetition of all that a validator does before it sums, the same for every engine."""
    validator, meter = _validator_of(task), Meter()
    settle()
    opening = _openings[task] = validator.prepare(validator.collect(meter), meter)
    return {"parts": meter.parts, "masks": len(opening.signed_keys)}


def answer_server(task: Task, engine: str, memory: bool = False) -> Answer:
    """One repetition of summing, opening and decoding, and of the plain sum beside it."""
    _use(engine, task.lane_bits)
    validator, opening, meter = _validator_of(task), _opening_of(task), Meter()
    if memory:
        return {"memory_peak_bytes": measure_peak(lambda: validator.open(opening, Meter()))}
    settle()
    error_steps = validator.open(opening, meter)
    run_plain_sum(task, meter)
    return {"parts": meter.parts, "error_steps": error_steps}


def answer_masks(parameters: int, neighbors: int, lane_bits: int, engine: str) -> Answer:
    """Masks alone: ``neighbors`` keystreams added to one vector of ``parameters`` lanes, chunk by chunk."""
    _use(engine, lane_bits)
    ring, meter = Ring(lane_bits), Meter()
    words = cast(Words, np.zeros(ring.word_count(parameters), dtype=ring.dtype))
    keys = [hashlib.sha256(index.to_bytes(4, "big")).digest() for index in range(neighbors)]
    masks = Masks([(key, 1 if index % 2 else -1) for index, key in enumerate(keys)])
    chunk = CHUNK_BYTES // ring.word_bytes
    with meter.part("masks"):
        for start in range(0, words.size, chunk):
            masks_into(words[start : start + chunk], masks, start)
    return {"parts": meter.parts, "engine": get_engine_name()}


def answer_growth(task: Task) -> Answer:
    """One trainer of a cohort whose other members are made only as far as its answer needs them; no dropouts."""
    _use("plain", task.lane_bits)
    cohort, meter = make_cohort(task), Meter()
    needed = cohort.context.holders(CLIENT)
    contribute_all(cohort, needed, with_vectors=False)
    room = bytearray(cohort.context.vector_bytes)
    settle()
    made = cohort.made[CLIENT] = run_client(cohort, meter, room)
    answer = run_answer(cohort, made, meter)
    machine, event = Aggregator(cohort.context), cohort.document_event(needed[-1])
    with meter.part("validator_document"):
        assert machine.handle(event) == ()
    sizes = count_bytes(made, answer, cohort.context.vector_bytes)
    received = sum(len(encode(m.document)) + len(m.bundles.get(CLIENT, b"")) for m in cohort.made.values())
    messages = {
        "sent": 2 + 2 + len(made.bundles) + cohort.context.chunk_count,  # contribution, answer, document, commitments
        "received": 2 * (len(needed) - 1),
    }
    return {"parts": meter.parts, "bytes_by_kind": sizes, "bytes_received": received, "messages": messages}


if __name__ == "__main__":
    serve(
        {
            "hello": answer_hello,
            "inputs": answer_inputs,
            "client": answer_client,
            "answer": answer_answer,
            "validator": answer_validator,
            "server": answer_server,
            "masks": answer_masks,
            "growth": answer_growth,
        }
    )
