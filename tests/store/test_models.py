"""Models by digest, and the pointer to the current one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from p2p_flock.errors import StoreError
from p2p_flock.store.files import TEMPORARY_PREFIX
from p2p_flock.store.models import CurrentModel, ModelStore

ALLIANCE = "flock:84530:0x" + "ab" * 20 + ":0"
MODEL = b"canonical safetensors"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_models__survive_reopening_under_their_digest(store: ModelStore, tmp_path: Path) -> None:
    """A restarted node would train from another model, and tools could not find the file."""
    digest = store.put(MODEL)
    assert digest == hashlib.sha256(MODEL).digest()
    assert (tmp_path / "models" / f"{digest.hex()}.safetensors").read_bytes() == MODEL
    assert ModelStore(tmp_path / "models").get(digest) == MODEL
    assert store.get(bytes(32)) is None


def test_models__damaged_reads_as_absent_and_can_come_again(store: ModelStore) -> None:
    """The node would train from a damaged model and diverge from the others (P2)."""
    digest = store.put(MODEL)
    store.path(digest).write_bytes(MODEL[:-1])
    assert store.get(digest) is None
    assert store.put(MODEL) == digest
    assert store.get(digest) == MODEL


def test_models__current_follows_the_rounds(store: ModelStore, tmp_path: Path) -> None:
    """The node would go back to an old model after a restart."""
    assert store.current(ALLIANCE) is None
    first, second = store.put(MODEL), store.put(MODEL + b"2")
    store.set_current(ALLIANCE, None, first)
    assert store.current(ALLIANCE) == CurrentModel(None, first)
    store.set_current(ALLIANCE, 4, second)
    assert ModelStore(tmp_path / "models").current(ALLIANCE) == CurrentModel(4, second)
    assert store.current(ALLIANCE[:-1] + "1") is None


def test_models__current_must_be_held(store: ModelStore) -> None:
    """The pointer would name a model that is not there."""
    with pytest.raises(StoreError, match="put"):
        store.set_current(ALLIANCE, 0, bytes(32))


def test_models__half_written_files_of_a_crash_are_ignored(store: ModelStore, tmp_path: Path) -> None:
    """kill -9 in the middle of an adoption would lose the old model without having the new one."""
    digest = store.put(MODEL)
    store.set_current(ALLIANCE, 4, digest)
    (tmp_path / "models" / f"{TEMPORARY_PREFIX}a").write_bytes(b'{"dig')
    again = ModelStore(tmp_path / "models")
    assert again.current(ALLIANCE) == CurrentModel(4, digest)
    assert len(list((tmp_path / "models").iterdir())) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"digest": "zz", "round": 1}', '{"digest": "00", "round": 1}',
                                  '{"digest": "' + "00" * 32 + '", "round": "1"}'])  # fmt: skip
def test_models__damaged_pointer_is_named(store: ModelStore, tmp_path: Path, text: str) -> None:
    """The operator would see a traceback instead of what to do."""
    store.set_current(ALLIANCE, 4, store.put(MODEL))
    (pointer,) = (tmp_path / "models").glob("*.current.json")
    pointer.write_text(text)
    with pytest.raises(StoreError, match="damaged"):
        store.current(ALLIANCE)


def test_models__prune_keeps_what_is_named_or_current(store: ModelStore) -> None:
    """A model that is not final yet would be lost, or the disk fill up."""
    digests = [store.put(MODEL + bytes([number])) for number in range(4)]
    store.set_current(ALLIANCE, 4, digests[3])
    assert store.prune(frozenset({digests[0]})) == 2
    assert [store.get(digest) is not None for digest in digests] == [True, False, False, True]
