"""Computes a model again: from one that the chain names, or the initial one, and the sums that were adopted since.

Called by ``model export``, which tries whether what it puts in the folder is enough, and by ``model verify``. The very
functions of the daemon do it, block by block, in a folder of its own that is gone afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.alliance.model import Model
from p2p_flock.cli.models.chain_log import AllianceLog
from p2p_flock.daemon.judging import open_adopted
from p2p_flock.daemon.model_files import apply_in_store, keep_model
from p2p_flock.errors import WireError
from p2p_flock.store.blobs import BlobStore
from p2p_flock.store.models import ModelStore

STORE_BYTES_MAX = 1 << 50  # nothing is dropped: the folder holds what it was given


def replay(
    log: AllianceLog,
    manifest: TaskManifest,
    base: Model,
    base_round: int,
    last_round: int,
    find_aggregate: Callable[[bytes], Path | None],
) -> bytes:
    """Digest of the model after ``last_round``, computed from ``base``, the model before ``base_round``.

    Args:
        log: knows every sealed manifest and the beacons of unsealed rounds up to ``last_round``.
        find_aggregate: where an adopted sum lies, by its digest on chain; it is hashed here.

    Raises:
        WireError: a sum is missing, has another digest, or is none; or the log lacks what its reading takes.
        StoreError: the disk refuses.
    """
    with tempfile.TemporaryDirectory(prefix="p2p-flock-") as folder:
        models = ModelStore(Path(folder) / "models")
        blobs = BlobStore(Path(folder) / "blobs", STORE_BYTES_MAX)
        model = keep_model(models, base)
        for record in log.history.rounds[base_round : last_round + 1]:
            if not record.adopted:
                continue
            number = record.opened.round
            seed, snapshot = log.history.seed(number), log.history.snapshot(number)
            if seed is None or snapshot is None or record.manifest is None:
                raise WireError(f"a sealed manifest or a beacon value before round {number} is missing")
            terms = (snapshot, log.history.params, manifest, model.stage, model.digest, seed)
            context = RoundContext.make(*terms)
            cohorts = []
            for cohort, digest in record.adopted:
                path = find_aggregate(digest)
                if path is None or blobs.put(path, durable=False) != digest:
                    raise WireError(f"the adopted sum of round {number}, cohort {cohort}, is missing or damaged")
                cohorts.append(open_adopted(context, cohort, digest, record.manifest, blobs))
            levels = log.history.params.levels_in(model.stage)
            before, model = model, apply_in_store(models, model, manifest, levels, cohorts)
            models.prune(frozenset({before.digest, model.digest}))
        return model.digest
