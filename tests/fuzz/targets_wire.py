"""Targets of the core's own readers: the codec of every message, gossip checks, manifests, models, aggregates."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from p2p_flock.alliance.aggregates import decode_aggregate, encode_aggregate
from p2p_flock.alliance.gossip import SENDER_ROLE, decode_envelope, validate_envelope, validate_hint
from p2p_flock.alliance.manifest import decode_manifest, encode_manifest
from p2p_flock.alliance.model import decode_model, encode_model
from p2p_flock.chain.archive import ArchivedLog, ArchiveHead, Segment
from p2p_flock.crypto.signing import envelope_digest
from p2p_flock.errors import TaskError, WireError
from p2p_flock.learning import frames
from p2p_flock.learning.results import VectorFile
from p2p_flock.learning.task_manifest import Column, TaskManifest, read_manifest
from p2p_flock.store.secrets import _SecretsFile
from p2p_flock.testing.alliance import DOMAIN, make_model, make_task
from p2p_flock.types import Role, Verdict
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import KIND_OF_MESSAGE, MESSAGE_KINDS, Envelope, Hint, Message
from tests.fuzz.target import Form, Target
from tests.unit.alliance_round import ContributedRound, make_round
from tests.unit.wire_strategies import KINDS

ALL_KINDS = (*KINDS, ArchiveHead, ArchivedLog, Segment, _SecretsFile)
CODEC_BYTES_MAX = 1 << 21
SIGNED_KINDS = tuple(sorted(MESSAGE_KINDS))


@cache
def contributed_round() -> ContributedRound:
    """A round of eight seats in which all trainers have contributed."""
    return make_round()


@cache
def real_messages() -> tuple[Message, ...]:
    """One honest message of each kind that the round's members say, and of the rest the simplest."""
    made = contributed_round()
    trainer, validator = made.trainers[0], made.validators[0]
    said = [
        made.contribution(trainer),
        made.proposal(),
        *(decode(MESSAGE_KINDS[e.kind], e.body, CODEC_BYTES_MAX) for e in (made.have(validator),)),
    ]
    kinds = {type(message) for message in said}
    return (*said, *(simplest(kind) for kind in MESSAGE_KINDS.values() if kind not in kinds))


def simplest(kind: type) -> object:
    """The shortest value of a message that its bounds allow."""
    hints = get_type_hints(kind, include_extras=True)
    return kind(*(_shortest(hints[field.name]) for field in dataclasses.fields(kind)))


def _shortest(hint: Any) -> object:
    bounds: Any = None
    if get_origin(hint) is Annotated:
        hint, bounds = get_args(hint)
    if dataclasses.is_dataclass(hint):
        return simplest(hint)  # type: ignore[arg-type]  # a class, as all annotations are
    if get_origin(hint) in (Union, types.UnionType):
        return simplest(get_args(hint)[0])
    if hint is int:
        return bounds.low
    if get_origin(hint) is tuple:
        return (_shortest(get_args(hint)[0]),) * max(1, bounds.low)
    return bytes(bounds.low) if hint is bytes else "x" * max(1, bounds.low)


# --- the codec -------------------------------------------------------------------------------------------------


def run_codec(data: bytes) -> bool:
    """First byte: which message. One value has one encoding."""
    kind, body = ALL_KINDS[data[0] % len(ALL_KINDS)] if data else ALL_KINDS[0], data[1:]
    try:
        message = decode(kind, body, CODEC_BYTES_MAX)
    except WireError:
        return False
    assert encode(message) == body, "two encodings of one value"
    assert dataclasses.is_dataclass(message)
    return True


def codec_seeds() -> Sequence[bytes]:
    made = contributed_round()
    trainer = made.trainers[0]
    real = [*real_messages(), made.made[trainer].document, made.manifest(), made.have(made.validators[0])]
    real += [simplest(kind) for kind in ALL_KINDS]
    return [bytes([ALL_KINDS.index(type(message))]) + encode(message) for message in real]


# --- gossip checks ---------------------------------------------------------------------------------------------


def run_envelope(data: bytes) -> bool:
    """First byte: raw bytes (even), or a body of some kind that the right owner signs (odd), which gets deeper."""
    context = contributed_round().context
    if not data or data[0] % 2 == 0:
        try:
            envelope = decode_envelope(data[1:])
        except WireError:
            return False
    else:
        kind = SIGNED_KINDS[(data[0] // 2) % len(SIGNED_KINDS)]
        seats = context.trainers if SENDER_ROLE[MESSAGE_KINDS[kind]] is Role.TRAINER else context.assignment.validators
        digest = envelope_digest(context.domain, kind, context.round, seats[0], data[1:])
        signature = contributed_round().setting.signer(seats[0])(digest)
        envelope = Envelope(kind, context.round, seats[0], data[1:], signature)
    checked = validate_envelope(context, envelope)
    assert (checked.message is not None) == (checked.verdict is Verdict.ACCEPT) == (checked.reason is None)
    return checked.verdict is Verdict.ACCEPT


def envelope_seeds() -> Sequence[bytes]:
    made = contributed_round()
    seeds = [b"\0" + encode(made.have(made.validators[0]))]
    for message in real_messages():
        kind = KIND_OF_MESSAGE[type(message)]
        seat = made.trainers[0] if SENDER_ROLE[type(message)] is Role.TRAINER else made.validators[0]
        seeds.append(b"\0" + encode(made.context.seal_envelope(seat, message, made.setting.signer(seat))))
        seeds.append(bytes([2 * SIGNED_KINDS.index(kind) + 1]) + encode(message))
    return seeds


def run_hint(data: bytes) -> bool:
    return validate_hint(DOMAIN.alliance, data) is Verdict.ACCEPT


def hint_seeds() -> Sequence[bytes]:
    return [encode(Hint(3, 9, what)) for what in ("sealed", "finished", "nonsense")]


# --- documents that are pulled -----------------------------------------------------------------------------------


def run_manifest(data: bytes) -> bool:
    """Both readers of a task manifest: the core's fields, and the task's own."""
    try:
        manifest = decode_manifest(data)
        assert encode_manifest(json.loads(data)) == data, "two encodings of one manifest"
        assert manifest.parameter_count > 0
        taken = True
    except WireError:
        taken = False
    try:
        assert read_manifest(data).to_bytes() == data, "two encodings of one manifest"
        taken = True
    except TaskError:
        pass
    return taken


def manifest_seeds() -> Sequence[bytes]:
    tiny = json.loads(make_task().document)
    columns = (Column("age", "number", "years", 0.0, 120.0), Column("sex", "category", values=("f", "m")))
    full = TaskManifest(
        "heart", "1", "logistic", "log loss", "sgd", "standardise", 9, 5, 100.0, 1.5, 2, 32, 0.1, 0.2, "0" * 64, columns
    )
    private = dataclasses.replace(full, noise_multiplier=1.5, privacy_delta=1e-5, holdout_sha256="f" * 64)
    return [make_task().document, encode_manifest({**tiny, "noise_multiplier": 1.5, "privacy_delta": 1e-5})] + [
        manifest.to_bytes() for manifest in (full, private)
    ]


def run_model(data: bytes) -> bool:
    try:
        model = decode_model(data)
    except WireError:
        return False
    assert encode_model(model) == data, "two files of one model"
    assert np.isfinite(model.parameters[:]).all() and np.isfinite(model.statistics).all()
    return True


def model_seeds() -> Sequence[bytes]:
    return [encode_model(make_model(is_training=stage)) for stage in (True, False)]


def run_aggregate(data: bytes) -> bool:
    context = contributed_round().context
    cohort = context.cohorts[0]
    bound = context.sum_bound(0, cohort.seats)
    try:
        integers = decode_aggregate(cohort, data, bound)
    except WireError:
        return False
    assert integers.size == cohort.lane_count
    return True


def aggregate_seeds() -> Sequence[bytes]:
    cohort = contributed_round().context.cohorts[0]
    words = np.arange(cohort.ring.word_count(cohort.lane_count)).astype(cohort.ring.dtype)
    return [encode_aggregate(cohort, words)]


def run_worker_frame(data: bytes) -> bool:
    """Header and body of a frame between daemon and worker, and every reader of its fields."""
    with suppress(WireError):
        frames.decode_length(data[: frames.HEADER_BYTES])
    try:
        body = frames.decode_body(data[frames.HEADER_BYTES :])
    except WireError:
        return False
    for name in list(body)[:8]:
        for read in (frames.get_text, frames.get_int, frames.get_float, frames.get_bool, frames.get_list):
            try:
                read(body, name)
            except WireError:
                continue
        for convert in (frames.as_file, frames.as_float64):
            try:
                convert(body[name], name)
            except WireError:
                continue
    return True


def worker_frame_seeds() -> Sequence[bytes]:
    file = frames.pack_file(VectorFile(Path("scratch/update"), 0, 6))
    return [
        frames.encode_frame({"kind": "train", "file": file, "seed": 7, "ratio": 0.5, "last": False}),
        frames.encode_frame({"scores": [0.5, -1.0], "sums": np.linspace(0, 1, 4), "text": "done", "none": None}),
    ]


TARGETS = (
    Target("codec", run_codec, codec_seeds, Form.MSGPACK, 8192, prefix_bytes=1, weight=3.0),
    Target("envelope", run_envelope, envelope_seeds, Form.MSGPACK, 4096, prefix_bytes=1, weight=0.4),
    Target("hint", run_hint, hint_seeds, Form.MSGPACK, 128, tokens=(b"sealed", b"settled", b"committed")),
    Target("task-manifest", run_manifest, manifest_seeds, Form.JSON, 16384, weight=0.6),
    Target(
        "model",
        run_model,
        model_seeds,
        Form.BYTES,
        4096,
        tokens=(b'"data_offsets":[0,48]', b'"F64"', b"[", b"1e9"),
        weight=3.0,
    ),
    Target("aggregate", run_aggregate, aggregate_seeds, Form.BYTES, 4096, weight=3.0),
    Target("worker-frame", run_worker_frame, worker_frame_seeds, Form.MSGPACK, 4096, prefix_bytes=4),
)
