"""``p2p-flock model verify``: is this folder's model the one that the alliance made? Checked against the chain alone.

Everything in the folder is a stranger's claim. Each finding says what was compared with what; what cannot be checked is
said to be unchecked, never passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from p2p_flock.alliance.manifest import TaskManifest, decode_manifest
from p2p_flock.alliance.model import MODEL_VALUES_MAX, Model, open_model
from p2p_flock.cli.models.chain_log import AllianceLog
from p2p_flock.cli.models.export import describe_privacy, describe_rounds, is_initial
from p2p_flock.cli.models.provenance import (
    CARD_NAME,
    MODEL_NAME,
    PROVENANCE_NAME,
    REPLAY_FOLDER,
    Provenance,
    ReplayClaim,
    from_hex,
    read_provenance,
    to_hex,
)
from p2p_flock.cli.models.replay import replay
from p2p_flock.crypto.vectors import SourceVector
from p2p_flock.errors import P2PFlockError, StoreError, WireError
from p2p_flock.learning.task_manifest import read_manifest
from p2p_flock.learning.tensor_file import HEADER_BYTES_MAX, TensorFile, TensorPlace, find_layout, read_tensor_file
from p2p_flock.store.files import FileSource
from p2p_flock.types import AllianceId
from p2p_flock.wire.messages import MANIFEST_BYTES_MAX

CARD_BYTES_MAX = 1 << 20
TENSORS_BYTES_MAX = HEADER_BYTES_MAX + 16 + 8 * MODEL_VALUES_MAX
READ_BYTES = 1 << 20
T = TypeVar("T")
_BYTES_MAX = {".md": CARD_BYTES_MAX, ".manifest": MANIFEST_BYTES_MAX}

VERIFIED, FAILED, UNCHECKED = "verified", "FAILED", "not checked"


@dataclass(slots=True)
class Findings:
    """What was found, in order: (VERIFIED, FAILED or UNCHECKED, a sentence)."""

    told: list[tuple[str, str]] = field(default_factory=list)

    def verified(self, text: str) -> None:
        self.told.append((VERIFIED, text))

    def failed(self, text: str) -> None:
        self.told.append((FAILED, text))

    def unchecked(self, text: str) -> None:
        self.told.append((UNCHECKED, text))

    @property
    def are_good(self) -> bool:
        """Nothing failed, and something was verified."""
        kinds = [kind for kind, _ in self.told]
        return FAILED not in kinds and VERIFIED in kinds


@dataclass(frozen=True, slots=True)
class Folder:
    """An export whose files were found to be as its provenance says."""

    path: Path
    provenance: Provenance
    tensors: TensorFile
    model: Model
    manifest: TaskManifest

    @property
    def alliance(self) -> AllianceId:
        return AllianceId.parse(self.provenance["alliance"])


def check_files(path: Path, findings: Findings, alliance: str | None = None) -> Folder | None:
    """Everything that needs no chain: form, digests of the files, digest of the tensors, task manifest.

    Args:
        alliance: the ID that the model must be of, where the user named one.
    """
    provenance = _read(findings, PROVENANCE_NAME, lambda: read_provenance(path / PROVENANCE_NAME))
    if provenance is None:
        return None
    try:
        claimed = AllianceId.parse(provenance["alliance"])
    except P2PFlockError:
        findings.failed(f"{PROVENANCE_NAME}: it names no alliance")
        return None
    if alliance is not None and AllianceId.parse(alliance) != claimed:
        findings.failed(f"the folder holds a model of {claimed}, not of {alliance}")
        return None
    for name, digest in provenance["files"].items():
        problem = _check_file(path / name, digest)
        if problem is not None:
            findings.failed(f"{name}: {problem}")
    tensors = _read(findings, MODEL_NAME, lambda: read_tensor_file(path / MODEL_NAME))
    if tensors is None or not all(kind != FAILED for kind, _ in findings.told):
        return None
    findings.verified(
        f"{len(provenance['files'])} files are those that {PROVENANCE_NAME} names, byte for byte (sha-256)"
    )
    model = _read(findings, MODEL_NAME, lambda: _model_of(tensors))
    manifest = _read(
        findings,
        PROVENANCE_NAME,
        lambda: decode_manifest(provenance["task"]["manifest"].encode(errors="surrogatepass")),
    )
    if model is None or manifest is None or not _check_claims(provenance, model, manifest, findings):
        return None
    findings.verified(
        f"the tensors, recomputed value by value, have the model digest that {PROVENANCE_NAME} names: "
        f"{provenance['model']['digest']}"
    )
    return Folder(path, provenance, tensors, model, manifest)


def _check_claims(provenance: Provenance, model: Model, manifest: TaskManifest, findings: Findings) -> bool:
    task, claim = provenance["task"], provenance["model"]
    rules = {
        f"the tensors have the model digest 0x{model.digest.hex()}, and {PROVENANCE_NAME} names {claim['digest']}: "
        "a value was changed": to_hex(model.digest) == claim["digest"],
        "the model has other widths than the task manifest": (
            (model.parameters.size, model.statistics.size) == (claim["parameter_count"], claim["statistics_count"])
            and model.parameters.size == manifest.parameter_count
            and model.statistics.size in (0, manifest.statistics_count)
        ),
        "the task manifest has another digest, name or version than it is said to have": (
            (to_hex(manifest.digest), manifest.task, manifest.version)
            == (task["manifest_digest"], task["name"], task["version"])
        ),
    }  # fmt: skip
    for problem, holds in rules.items():
        if not holds:
            findings.failed(problem)
    return all(rules.values())


def check_names(folder: Folder, findings: Findings, installed: Callable[[], Sequence[TensorPlace] | None]) -> None:
    """Names and shapes: the chain knows the values only, so that two tensors might have changed their names.

    Args:
        installed: the tensors of the task as it is installed here, ``None`` where it is not.
    """
    places = folder.tensors.places
    try:
        document = read_manifest(folder.manifest.document)
        told = find_layout(document.model, document.parameter_count)
    except P2PFlockError:
        told = None
    if told is not None:
        _compare_names(places, told, "the task manifest, whose digest is on chain", findings)
        return
    known = installed()
    if known is not None:
        _compare_names(places, known, "the task as it is installed here", findings)
        return
    findings.unchecked(
        f"names and shapes of the {len(places)} tensors: the task manifest does not list them, and the task "
        f"{folder.manifest.task} is not installed and configured here; order and values are the alliance's"
    )


def _compare_names(
    places: Sequence[TensorPlace], known: Sequence[TensorPlace], source: str, findings: Findings
) -> None:
    if tuple(places) == tuple(known):
        findings.verified(f"names and shapes of the {len(places)} tensors are those of {source}")
        return
    odd = next((f"{a.name} {a.shape}" for a, b in zip(places, known, strict=False) if a != b), "their number")
    findings.failed(f"names and shapes of the tensors are not those of {source}: {odd}")


def check_chain(folder: Folder, log: AllianceLog, from_start: bool, findings: Findings) -> None:
    """Everything that the chain says of this model.

    Args:
        from_start: compute the model from the task's initial one.
    """
    provenance, handle = folder.provenance, log.handle
    if to_hex(handle.contract) != provenance["contract"]:
        findings.failed(f"the alliance's contract is {to_hex(handle.contract)}, not {provenance['contract']}")
        return
    if not handle.terms.manifest_digest == handle.params.manifest_digest == folder.manifest.digest:
        findings.failed(
            f"{log.id} trains a task with manifest {to_hex(handle.terms.manifest_digest)}, and this folder's has "
            f"{to_hex(folder.manifest.digest)}: the model is of another alliance"
        )
        return
    findings.verified(f"{log.id} is at {provenance['contract']} and trains {folder.manifest.task} "
                      f"{folder.manifest.version}: the manifest has the digest on chain")  # fmt: skip
    number = provenance["model"]["round"]
    ended = sum(record.ended for record in log.history.rounds)
    if number >= ended:
        findings.failed(f"the chain has {ended} ended rounds, and the model is said to be that after round {number}")
        return
    _check_rounds(folder, log, number, findings)
    _check_model(folder, log, number, from_start, findings)
    findings.unchecked(
        f"{len(provenance['scores'])} scores, the time of the export and who exported it: the exporter's own word"
    )


def _check_rounds(folder: Folder, log: AllianceLog, number: int, findings: Findings) -> None:
    provenance = folder.provenance
    participants = {to_hex(owner): rounds for owner, rounds in log.contributors(number).items()}
    claimed = {entry["owner"]: entry["rounds"] for entry in provenance["participants"]}
    rules = {
        "outcomes, votes and transactions of the rounds": provenance["rounds"] == describe_rounds(log, number),
        "the participants and the rounds that they contributed to": (
            claimed == participants and len(claimed) == len(provenance["participants"])
        ),
        "the terms of privacy": provenance["privacy"] == describe_privacy(log, folder.manifest),
    }  # fmt: skip
    for what, holds in rules.items():
        if holds:
            findings.verified(f"{what} are as the chain has them")
        else:
            findings.failed(f"{what} are not what the chain says")


def _check_model(folder: Folder, log: AllianceLog, number: int, from_start: bool, findings: Findings) -> None:
    confirmed, digest = log.confirmed_after(number), folder.model.digest
    if confirmed is not None and confirmed[1] != digest:
        findings.failed(
            f"a quorum of the validators of round {confirmed[0]} named 0x{confirmed[1].hex()} as the model after round "
            f"{number}; this one is 0x{digest.hex()}"
        )
        return
    if confirmed is not None:
        settled = log.history.rounds[confirmed[0]].settled
        assert settled is not None
        findings.verified(
            f"the model digest is the one that {log.history.params.verdict_quorum} or more of the "
            f"{log.history.params.validator_count} validators of round {confirmed[0]} named on chain as the model "
            f"after round {number}: transaction {to_hex(settled.at.transaction)}, "
            f"{log.block - settled.at.block} blocks deep"
        )
    claim = folder.provenance["replay"]
    if claim is None:
        if confirmed is None:
            findings.failed(
                f"nothing on chain names the model after round {number}, and the folder does not hold the sums that it "
                "could be computed from: verify again once the next round has settled, or ask for a newer export"
            )
        elif from_start:
            findings.failed("the folder does not hold what the model can be computed from: export it with --from-start")
        return
    if from_start and not claim["base_is_initial"]:
        findings.failed("the folder's replay begins at a later model: export it with --from-start")
        return
    if confirmed is None or from_start:
        _check_replay(folder, log, number, claim, findings)
    else:
        findings.unchecked("the sums in the folder were not added up again: --from-start does, where they reach back")


def _check_replay(folder: Folder, log: AllianceLog, number: int, claim: ReplayClaim, findings: Findings) -> None:
    places = folder.path / REPLAY_FOLDER
    base_digest, first = from_hex(claim["base_digest"]), claim["base_round"]
    if not (0 <= first <= number and len(base_digest) == 32):
        findings.failed("the replay begins nowhere")
        return
    base = _read(findings, REPLAY_FOLDER, lambda: open_model(FileSource(places / f"{base_digest.hex()}.safetensors")))
    if base is None:
        return
    record = log.history.rounds[first]
    named = record.settled.base_model_digest if record.settled is not None else b""
    if claim["base_is_initial"]:
        is_bound = first == 0 and is_initial(base, folder.manifest)
        source = "the task's initial model, whose digest stands in the task manifest"
    else:
        is_bound = any(named) and named == base_digest
        source = f"the model that a quorum of the validators of round {first} named on chain"
    if base.digest != base_digest or not is_bound:
        findings.failed(f"the replay's first model is not {source}")
        return
    log.add_manifests(lambda digest: _read_short(places / f"{digest.hex()}.manifest"))
    log.add_beacons({entry["round"]: from_hex(entry["signature"]) for entry in claim["beacons"]})
    adopted = sum(len(record.adopted) for record in log.history.rounds[first : number + 1])
    try:
        digest = replay(
            log, folder.manifest, base, first, number, lambda digest: _existing(places / f"{digest.hex()}.aggregate")
        )
    except (WireError, StoreError) as error:
        findings.failed(f"the model cannot be computed from the sums in the folder: {error}")
        return
    if digest != folder.model.digest:
        findings.failed(
            f"computed from {source} and the adopted sums, the model after round {number} is 0x{digest.hex()}; this "
            f"one is 0x{folder.model.digest.hex()}"
        )
        return
    findings.verified(
        f"the model, computed again from {source}, and {adopted} sums with the digests that the chain adopted, is "
        "this one"
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def _read(findings: Findings, name: str, read: Callable[[], T]) -> T | None:
    """What ``read`` gives; a failed finding where the file is not there or is none."""
    try:
        return read()
    except FileNotFoundError:
        findings.failed(
            f"{name}: there is no such file: this is no folder of `p2p-flock model export`, or not all of it"
        )
    except OSError as error:
        findings.failed(f"{name}: it cannot be read: {error.strerror}")
    except P2PFlockError as error:
        findings.failed(f"{name}: {error}")
    return None


def _check_file(path: Path, digest: str) -> str | None:
    """What is wrong with a file; ``None`` where it has the digest."""
    hasher = hashlib.sha256()
    try:
        if path.is_symlink() or not path.is_file():
            return "it is missing"
        if path.stat().st_size > _BYTES_MAX.get(path.suffix, TENSORS_BYTES_MAX):
            return "it is longer than any that an export has"
        with path.open("rb") as file:
            while piece := file.read(READ_BYTES):
                hasher.update(piece)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if to_hex(hasher.digest()) != digest:
        return f"it was changed: its sha-256 is {to_hex(hasher.digest())}, {PROVENANCE_NAME} names {digest}"
    if path.name == CARD_NAME:
        return None
    named = path.stem if path.parent.name == REPLAY_FOLDER else None
    return None if named in (None, hasher.hexdigest()) else "its name is not its digest"


def _model_of(tensors: TensorFile) -> Model:
    """The alliance's own model: the same values under the canonical header; its digest is computed, value by value."""
    source, count = FileSource(tensors.path), tensors.parameter_count
    parameters = SourceVector(source, np.dtype("<f8"), count, tensors.body_offset)
    statistics = SourceVector(source, np.dtype("<f8"), tensors.statistics_count, tensors.body_offset + 8 * count)
    return Model(statistics[:].astype(np.float64), parameters)


def _read_short(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.stat().st_size <= MANIFEST_BYTES_MAX else None
    except OSError:
        return None


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
