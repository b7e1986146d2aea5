"""How vectors reach the stores: pulled blobs in batches, models from file to file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from p2p_flock.alliance.model import AdoptedCohort, Model, apply_cohorts, encode_model
from p2p_flock.daemon.arrivals import LONG_BYTES, Arrivals
from p2p_flock.daemon.driver import forget_round, round_pin, vectors_pin
from p2p_flock.daemon.model_files import apply_in_store, keep_model, load_model, locate_parameters, make_initial_model
from p2p_flock.errors import WireError
from p2p_flock.store.blobs import BlobStore
from p2p_flock.store.files import FileSource
from p2p_flock.store.models import ModelStore
from p2p_flock.testing.alliance import make_model, make_task

TASK = make_task()


def digest_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", 1 << 26)


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


async def test_arrivals__of_chunks_are_stored_and_only_counted(blobs: BlobStore) -> None:
    """A pull of vectors would be as large in memory as they are."""
    arrivals = Arrivals(blobs, round_pin("a", 1), vectors_pin("a", 1), is_read=False)
    chunks = [bytes([index]) * (1 << 20) for index in range(3)]
    small = b"bundle"
    for data in (small, *chunks):
        await arrivals.take(digest_of(data), data)
        assert arrivals._waiting_bytes < 1 << 20, "more than one batch is held"
    await arrivals.flush()
    assert arrivals.blobs == {}
    assert arrivals.sizes == {digest_of(data): len(data) for data in (small, *chunks)}
    assert all(blobs.get(digest_of(data)) == data for data in (small, *chunks))
    forget_round(blobs, "a", 1)
    assert digest_of(small) in blobs and not any(digest_of(chunk) in blobs for chunk in chunks)


async def test_arrivals__what_waits_is_not_told_before_it_is_stored(blobs: BlobStore) -> None:
    """A validator would say that it has what a crash takes from it (P8)."""
    arrivals = Arrivals(blobs, "short", "long", is_read=True)
    await arrivals.take(digest_of(b"document"), b"document")
    assert arrivals.blobs == {} and digest_of(b"document") not in blobs
    await arrivals.flush()
    assert arrivals.blobs == {digest_of(b"document"): b"document"} and arrivals.sizes == {}


def test_arrivals__own_store_comes_first(blobs: BlobStore) -> None:
    """A restarted validator would pull everything again."""
    held, long = blobs.put(b"held"), blobs.put(bytes(LONG_BYTES))
    counted = Arrivals(blobs, round_pin("a", 1), vectors_pin("a", 1), is_read=False)
    assert counted.take_own([held, long, bytes(32)]) == [bytes(32)]
    assert counted.sizes == {held: 4, long: LONG_BYTES}
    read = Arrivals(blobs, round_pin("a", 1), vectors_pin("a", 1), is_read=True)
    assert read.take_own([held, bytes(32)]) == [bytes(32)] and read.blobs == {held: b"held"}
    forget_round(blobs, "a", 1)
    assert long not in blobs, "it was pinned for the round"


def test_models__kept_loaded_and_found_by_the_worker(models: ModelStore) -> None:
    """The worker would train from other parameters than the round's."""
    model = make_model()
    kept = keep_model(models, model)
    assert kept.digest == model.digest and keep_model(models, kept) is kept
    for one in (model, kept):
        file = locate_parameters(models, one)
        found = np.fromfile(file.path, "<f8", count=file.count, offset=file.offset_bytes)
        assert found.tobytes() == model.parameters[:].tobytes()
    loaded = load_model(models, model.digest)
    assert loaded is not None and loaded.digest == model.digest
    assert load_model(models, bytes(32)) is None


def test_models__damaged_file_is_written_again(models: ModelStore) -> None:
    """A node would go on with a damaged model under the right name (P2)."""
    model = make_model()
    keep_model(models, model)
    path = models.path(model.digest)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert load_model(models, model.digest) is None
    path.write_bytes(b"no model at all")
    assert load_model(models, model.digest) is None
    assert keep_model(models, model).digest == model.digest
    assert path.read_bytes() == encode_model(model)


def test_models__file_that_is_no_model_is_told_from_a_damaged_one(models: ModelStore) -> None:
    """A quorum's nonsense would be asked for again and again."""
    with pytest.raises(WireError):
        load_model(models, models.put(b"no model at all"))


def test_apply__gives_the_bits_of_the_core_once(models: ModelStore) -> None:
    """P2; and a validator would compute every adopted candidate twice."""
    base = keep_model(models, make_model())
    total = np.array([10, -20, 30, -40, 50, -60])
    cohort = AdoptedCohort(total, 4, digest_of(b"sum"))
    after = apply_in_store(models, base, TASK, 1000, [cohort])
    expected = apply_cohorts(make_model(), TASK, 1000, [cohort])
    assert after.digest == expected.digest and models.get(after.digest) == encode_model(expected)
    assert apply_in_store(models, base, TASK, 1000, []) is base
    unreadable = AdoptedCohort(np.zeros(0, dtype=np.int64), 4, digest_of(b"sum"))
    assert apply_in_store(models, base, TASK, 1000, [unreadable]).digest == after.digest
    for other in (AdoptedCohort(total, 5, digest_of(b"sum")), AdoptedCohort(2 * total, 4, digest_of(b"other"))):
        assert apply_in_store(models, base, TASK, 1000, [other]).digest != after.digest
    assert apply_in_store(models, base, TASK, 999, [cohort]).digest != after.digest


def test_initial_model__from_the_workers_file(models: ModelStore, tmp_path: Path) -> None:
    """Members would start from different models."""
    parameters = make_model().parameters[:]
    (tmp_path / "initial").write_bytes(parameters.astype("<f8").tobytes())
    model = make_initial_model(models, FileSource(tmp_path / "initial"))
    assert model.digest == Model(np.empty(0), parameters.copy()).digest
    assert model.digest in models
