"""Models in the store, read and written in blocks: joins ``alliance/model.py`` with ``store/models.py``.

Called by the judge and the lineage, from threads: everything here blocks, for as long as it takes to read or write a
model (8 bytes a parameter). Nothing here holds more of one than a few blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.alliance.model import AdoptedCohort, Model, open_model, write_model, write_next_model
from p2p_flock.crypto.suite import hash32
from p2p_flock.crypto.vectors import SourceVector
from p2p_flock.errors import StoreError, WireError
from p2p_flock.learning.results import VectorFile
from p2p_flock.store.files import FileSource
from p2p_flock.store.models import ModelStore

_READ_BYTES = 1 << 20


def keep_model(models: ModelStore, model: Model) -> Model:
    """The same model, in the store; written unless it is there and whole.

    Raises:
        StoreError: the disk refuses.
    """
    if _lies_in(models, model) and model.digest in models:
        return model
    kept = load_model(models, model.digest)
    if kept is not None:
        return kept
    with models.open_sink() as sink:
        digest = write_model(model, sink)
    assert digest == model.digest
    return _open(models, digest)


def load_model(models: ModelStore, digest: bytes) -> Model | None:
    """The model under ``digest``, read once to be verified; ``None`` where it is not held or its file is damaged.

    Raises:
        StoreError: the disk refuses.
        WireError: the file has this digest and is no model.
    """
    source = models.open_source(digest)
    if source is None:
        return None
    try:
        model = open_model(source)
    except WireError:
        if _digest_of(source) == digest:
            raise
        return None
    return model if model.digest == digest else None


def apply_in_store(
    models: ModelStore, base: Model, manifest: TaskManifest, levels: int, cohorts: Sequence[AdoptedCohort]
) -> Model:
    """``alliance.model.apply_cohorts`` from file to file. What was computed once in this process is not again.

    Raises:
        StoreError: the disk refuses, or a sum cannot be read any more.
    """
    if not cohorts:
        return base
    recipe = _recipe_of(base, levels, cohorts)
    digest = models.find_derived(recipe)
    if digest is None:
        with models.open_sink() as sink:
            digest = write_next_model(base, manifest, levels, cohorts, sink)
        if all(cohort.aggregate_digest for cohort in cohorts):
            models.note_derived(recipe, digest)
    return _open(models, digest)


def locate_parameters(models: ModelStore, model: Model) -> VectorFile:
    """Where the parameters of a model in the store lie, for the worker."""
    vector = (model if _lies_in(models, model) else _open(models, model.digest)).parameters
    assert isinstance(vector, SourceVector)
    return VectorFile(models.path(model.digest), vector.offset_bytes, vector.size)


def make_initial_model(models: ModelStore, parameters: FileSource) -> Model:
    """The model before the first round, in the store, from the worker's raw float64 values."""
    vector = SourceVector(parameters, np.dtype("<f8"), parameters.size // 8)
    return keep_model(models, Model(np.empty(0, dtype=np.float64), vector))


def _open(models: ModelStore, digest: bytes) -> Model:
    source = models.open_source(digest)
    if source is None:
        raise StoreError(f"the model {digest.hex()} is gone from the store: do not remove files while the node runs")
    return open_model(source, digest)


def _lies_in(models: ModelStore, model: Model) -> bool:
    vector = model.parameters
    source = vector.source if isinstance(vector, SourceVector) else None
    return isinstance(source, FileSource) and source.path == models.path(model.digest)


def _recipe_of(base: Model, levels: int, cohorts: Sequence[AdoptedCohort]) -> bytes:
    parts = [cohort.aggregate_digest + cohort.weight_total.to_bytes(8, "big") for cohort in cohorts]
    return hash32("p2p_flock next model v1", base.digest, levels.to_bytes(8, "big"), *parts)


def _digest_of(source: FileSource) -> bytes:
    hasher = hashlib.sha256()
    for start in range(0, source.size, _READ_BYTES):
        hasher.update(source.read(start, min(_READ_BYTES, source.size - start)))
    return hasher.digest()
