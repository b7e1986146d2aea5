"""Makes the folder of ``p2p-flock model export``: named tensors, model card, provenance, and what a check needs.

Where a quorum of validators named the model on chain, its digest there is all the proof it takes. The newest model is
not named before the next round settles, and an alliance's last one never is: then the folder also gets the model that
was named last and the sums that were adopted since, whose digests are on chain, so that anybody can compute it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from p2p_flock import __version__
from p2p_flock.alliance.manifest import TaskManifest, decode_manifest
from p2p_flock.alliance.model import Model, open_model
from p2p_flock.chain.beacon import QUICKNET, QUICKNET_CHAIN_HASH, BeaconClient
from p2p_flock.chain.devnet_beacon import devnet_chain_hash
from p2p_flock.cli.models.card import render_card
from p2p_flock.cli.models.chain_log import AllianceLog
from p2p_flock.cli.models.provenance import (
    CARD_NAME,
    FORMAT,
    MODEL_NAME,
    PROVENANCE_NAME,
    REPLAY_FOLDER,
    PrivacyClaim,
    Provenance,
    ReplayClaim,
    RoundClaim,
    encode_provenance,
    to_hex,
)
from p2p_flock.cli.models.replay import replay
from p2p_flock.cli.models.source import Home
from p2p_flock.daemon.data_directory import read_address
from p2p_flock.daemon.privacy_budget import PrivacyBudget
from p2p_flock.daemon.scores_file import SCORES_NAME, ScoresFile
from p2p_flock.errors import BeaconError, StoreError, UsageError, WireError
from p2p_flock.learning.tensor_file import TensorPlace, encode_header
from p2p_flock.store.files import FileSource
from p2p_flock.types import CohortOutcome

COPIED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, for the command to tell."""

    provenance: Provenance
    confirmation: str
    is_checkable: bool


@dataclass(frozen=True, slots=True)
class _Base:
    """Where a replay begins: the model before ``round``."""

    round: int
    path: Path
    model: Model
    is_initial: bool


async def export_model(
    home: Home,
    log: AllianceLog,
    directory: Path,
    round_number: int | None,
    from_start: bool,
    tell: Callable[[str], None],
) -> Exported:
    """Write the model after ``round_number`` (``None``: the newest that the node holds) to ``directory``, new or empty.

    Args:
        from_start: also what it takes to compute it from the initial model, if this node still has all of that.

    Raises:
        UsageError: the node does not hold that model, or the folder is not empty.
        StoreError: the disk refuses.
        TaskError, ChainError: as of worker and chain.
    """
    _check_empty(directory)
    number, digest = _choose_model(home, log, round_number)
    path = home.model_path(digest)
    if path is None:
        raise UsageError(
            f"this node does not hold the model after round {number} any more: it keeps those of the last rounds\n"
            "leave --round out for the newest, or ask a member who exported it then"
        )
    model = open_model(FileSource(path))
    if model.digest != digest:
        raise StoreError(f"{path} is damaged\nremove it; the node then asks its peers again")
    tell("asking the task for the names of its tensors")
    document, places = await home.ask_worker()
    manifest = decode_manifest(document)
    if manifest.digest != log.handle.terms.manifest_digest:
        raise UsageError(
            f"this node has {manifest.task} {manifest.version}, and the alliance trains another task or version\n"
            "install the alliance's and set learning.task to it"
        )
    log.add_manifests(home.read_blob)
    await _add_beacons(home, log)
    confirmed = log.confirmed_after(number)
    base = None
    if confirmed is None or from_start:
        tell("looking for what the model can be computed from")
        base = _find_base(home, log, manifest, number, digest, from_start)
    if from_start and base is None:
        raise UsageError(
            "this node does not hold all adopted sums since the start any more: members keep those of the last rounds\n"
            "leave --from-start out"
        )
    with _writing_in(directory):
        files = _write_model(directory, model, path, places)
        if base is not None:
            files |= _write_replay(home, log, directory, base, number)
        confirmation = _confirmation(confirmed, base)
        provenance = _provenance(home, log, number, model, manifest, base)
        card = render_card(provenance, places, json.loads(document), confirmation).encode()
        (directory / CARD_NAME).write_bytes(card)
        provenance["files"] = dict(sorted({**files, CARD_NAME: to_hex(hashlib.sha256(card).digest())}.items()))
        (directory / PROVENANCE_NAME).write_bytes(encode_provenance(provenance))
    return Exported(provenance, confirmation, confirmed is not None or base is not None)


def _check_empty(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty\nname a new folder; nothing is overwritten")
    except OSError as error:
        raise UsageError(f"cannot write to {directory}: {error.strerror}\nname another folder") from error


@contextmanager
def _writing_in(directory: Path) -> Iterator[None]:
    """What was begun in the folder is gone again where the export fails."""
    try:
        yield
    except BaseException as error:
        for path in directory.iterdir():
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if isinstance(error, OSError):
            raise StoreError(f"cannot write to {directory}: {error.strerror}\ncheck free space") from error
        raise


def _choose_model(home: Home, log: AllianceLog, round_number: int | None) -> tuple[int, bytes]:
    """(round, digest) of the model that is asked for."""
    current_round, current = home.current_model(log.id)
    if current_round is None:
        raise UsageError("no round has ended yet: there is only the untrained model\nwait for the first rounds")
    number = current_round if round_number is None else round_number
    ended = [record for record in log.history.rounds if record.ended]
    if number >= len(ended):
        raise UsageError(f"round {number} has not ended on chain\nthe last one that has is {len(ended) - 1}")
    confirmed = log.confirmed_after(number)
    adopts_since = any(
        record.adopted for record in ended[min(number, current_round) + 1 : max(number, current_round) + 1]
    )
    if confirmed is not None:
        if number == current_round and confirmed[1] != current:
            raise UsageError(
                f"a quorum of validators confirmed 0x{confirmed[1].hex()} as the model after round {number}, and this "
                f"node holds 0x{current.hex()}\nsee `p2p-flock status`; name an earlier round with --round"
            )
        return number, confirmed[1]
    if adopts_since:
        raise UsageError(
            f"no quorum confirmed the model after round {number} on chain, and this node holds that after round "
            f"{current_round}\nleave --round out for that one"
        )
    return number, current


async def _add_beacons(home: Home, log: AllianceLog) -> None:
    """Values for rounds that ended without a seal, from the relays; without them there is no replay across such."""
    wanted = [record.opened for record in log.unsealed_rounds()]
    urls = home.config.chain.beacon_urls
    if not wanted or not urls:
        return
    chain_hash = QUICKNET_CHAIN_HASH if log.beacon == QUICKNET else devnet_chain_hash(log.beacon)
    client = BeaconClient(log.beacon, urls, chain_hash)
    try:
        found = {}
        for opened in wanted:
            with suppress(BeaconError):
                found[opened.round] = (await client.get(opened.beacon_round)).signature
        await trio.to_thread.run_sync(log.add_beacons, found)
    finally:
        client.close()


# --- a replay --------------------------------------------------------------------------------------------------------


def _find_base(
    home: Home, log: AllianceLog, manifest: TaskManifest, number: int, digest: bytes, from_start: bool
) -> _Base | None:
    """The newest model named on chain (or the initial one) from which this one comes out; tried, not assumed."""
    bases = [] if from_start else _confirmed_bases(home, log, number)
    initial = _initial_base(home, manifest)
    for base in [*bases, *([] if initial is None else [initial])]:
        try:
            if replay(log, manifest, base.model, base.round, number, home.blob_path) == digest:
                return base
        except WireError:
            continue  # a sum or a manifest is not held any more
    return None


def _confirmed_bases(home: Home, log: AllianceLog, number: int) -> list[_Base]:
    found = []
    for record in reversed(log.history.rounds[: number + 1]):
        digest = record.settled.base_model_digest if record.settled is not None else b""
        path = home.model_path(digest) if any(digest) else None
        if path is None:
            continue
        with suppress(WireError):
            model = open_model(FileSource(path))
            if model.digest == digest:
                found.append(_Base(record.opened.round, path, model, False))
    return found


def _initial_base(home: Home, manifest: TaskManifest) -> _Base | None:
    """The task's initial model, if it is still held: its parameters' digest stands in the manifest."""
    for path in sorted(home.directory.models.glob("*.safetensors")):
        with suppress(WireError, StoreError):
            model = open_model(FileSource(path))
            if is_initial(model, manifest):
                return _Base(0, path, model, True)
    return None


def is_initial(model: Model, manifest: TaskManifest) -> bool:
    """Whether it is the task's untrained model, by the digest in the manifest."""
    document = json.loads(manifest.document)
    if model.statistics.size or not isinstance(document, dict):
        return False
    hasher = hashlib.sha256()
    for start in range(0, model.parameters.size, COPIED_AT_ONCE):
        hasher.update(model.parameters[start : start + COPIED_AT_ONCE].astype("<f8").tobytes())
    return bool(hasher.hexdigest() == document.get("initial_parameters_sha256"))


# --- files -----------------------------------------------------------------------------------------------------------


def _write_model(directory: Path, model: Model, source: Path, places: tuple[TensorPlace, ...]) -> dict[str, str]:
    header = encode_header(places, model.statistics.size)
    with source.open("rb") as reader:
        reader.seek(8 + int.from_bytes(reader.read(8), "little"))  # its values are ours, name by name
        return {MODEL_NAME: _copy(reader.read, directory / MODEL_NAME, header)}


def _write_replay(home: Home, log: AllianceLog, directory: Path, base: _Base, number: int) -> dict[str, str]:
    """Base model, adopted sums, and every sealed manifest up to the model's round: keys follow from all of them."""
    folder = directory / REPLAY_FOLDER
    folder.mkdir()
    wanted = {f"{base.model.digest.hex()}.safetensors": base.path}
    for record in log.history.rounds[: number + 1]:
        sums = record.adopted if record.opened.round >= base.round else ()
        digests = [(digest, "aggregate") for _, digest in sums]
        if record.sealed is not None:
            digests.append((record.sealed.manifest_digest, "manifest"))
        for digest, kind in digests:
            path = home.blob_path(digest)
            if path is None:
                raise UsageError("the node let go of a file while it was exported\ntry again")
            wanted[f"{digest.hex()}.{kind}"] = path
    written = {}
    for name, path in wanted.items():
        with path.open("rb") as reader:
            written[f"{REPLAY_FOLDER}/{name}"] = _copy(reader.read, folder / name)
    return written


def _copy(read: Callable[[int], bytes], target: Path, start: bytes = b"") -> str:
    hasher = hashlib.sha256(start)
    with target.open("xb") as file:
        file.write(start)
        while piece := read(COPIED_AT_ONCE):
            hasher.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return to_hex(hasher.digest())


def _confirmation(confirmed: tuple[int, bytes] | None, base: _Base | None) -> str:
    if confirmed is not None:
        return f"a quorum of the validators of round {confirmed[0]} named this model as the one they started from"
    if base is None:
        return "not named yet: that takes the settlement of the next round"
    start = "the task's initial model" if base.is_initial else f"the model that round {base.round}'s validators named"
    return f"not named by itself; it follows from {start} and the sums adopted since, which are in `{REPLAY_FOLDER}/`"


# --- provenance ------------------------------------------------------------------------------------------------------


def _provenance(
    home: Home, log: AllianceLog, number: int, model: Model, manifest: TaskManifest, base: _Base | None
) -> Provenance:
    scores = ScoresFile(home.directory.home / SCORES_NAME, str(log.id)).read()
    replayed: ReplayClaim | None = None
    if base is not None:
        replayed = {
            "base_round": base.round,
            "base_digest": to_hex(base.model.digest),
            "base_is_initial": base.is_initial,
            "beacons": [
                {"round": at, "signature": to_hex(value)} for at, value in sorted(log.beacons.items()) if at <= number
            ],
        }
    return {
        "format": FORMAT,
        "version": __version__,
        "alliance": str(log.id),
        "contract": to_hex(log.handle.contract),
        "task": {
            "name": manifest.task,
            "version": manifest.version,
            "manifest_digest": to_hex(manifest.digest),
            "manifest": manifest.document.decode(),
        },
        "model": {
            "round": number,
            "digest": to_hex(model.digest),
            "parameter_count": model.parameters.size,
            "statistics_count": model.statistics.size,
        },
        "rounds": describe_rounds(log, number),
        "participants": [
            {"owner": to_hex(owner), "rounds": rounds} for owner, rounds in log.contributors(number).items()
        ],
        "scores": [
            {"round": at, "own_score": score.own_score, "local_only_score": score.local_only_score}
            for at, score in scores.items()
            if at <= number
        ],
        "privacy": describe_privacy(log, manifest),
        "replay": replayed,
        "exported_by": read_address(home.directory),
        "exported_at_s": int(time.time()),
        "files": {},
    }


def describe_rounds(log: AllianceLog, last_round: int) -> list[RoundClaim]:
    """How the rounds up to ``last_round`` ended, from the chain alone."""
    found: list[RoundClaim] = []
    for record in log.history.rounds[: last_round + 1]:
        settled, ended = record.settled, record.settled or record.voided
        assert ended is not None
        found.append(
            {
                "round": record.opened.round,
                "outcome": "settled" if settled is not None else "voided",
                "cohort_outcomes": [] if settled is None else [CohortOutcome(o).name.lower() for o in settled.outcomes],
                "votes_for": [] if settled is None else list(settled.votes_for),
                "votes_against": [] if settled is None else list(settled.votes_against),
                "transaction": to_hex(ended.at.transaction),
            }
        )
    return found


def describe_privacy(log: AllianceLog, manifest: TaskManifest) -> PrivacyClaim | None:
    """What the whole alliance costs a member at most, from its terms; ``None`` without noise."""
    told: Mapping[str, object] | None = PrivacyBudget(manifest, log.handle.params, bytes(20)).describe(None)
    if told is None:
        return None
    rounds, epsilon = told["rounds"], told["epsilon"]
    assert isinstance(rounds, int) and isinstance(epsilon, float | None)
    return {
        "noise_multiplier": manifest.noise_multiplier,
        "delta": manifest.privacy_delta,
        "rounds": rounds,
        "epsilon": epsilon,
    }
