"""Exported models: what is written, and that nothing which was changed, forged or misnamed passes as the alliance's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from safetensors.numpy import load_file

from p2p_flock.alliance.manifest import TaskManifest, decode_manifest
from p2p_flock.alliance.model import Model
from p2p_flock.chain.alliance_contract import AllianceHandle
from p2p_flock.chain.beacon import BeaconNetwork, compute_randomness, public_key_of, sign_beacon
from p2p_flock.cli.models import provenance as provenances
from p2p_flock.cli.models.chain_log import AllianceLog
from p2p_flock.cli.models.export import export_model
from p2p_flock.cli.models.provenance import Provenance, encode_provenance, read_provenance
from p2p_flock.cli.models.source import Home
from p2p_flock.cli.models.verify import FAILED, UNCHECKED, VERIFIED, Findings, check_chain, check_files, check_names
from p2p_flock.daemon.config import NodeConfig
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.daemon.scores_file import SCORES_NAME, Score, ScoresFile
from p2p_flock.errors import UsageError, WireError
from p2p_flock.learning.task import digest_parameters
from p2p_flock.learning.task_manifest import TaskManifest as LearningManifest
from p2p_flock.learning.tensor_file import STATISTICS_NAME, TensorPlace, encode_header
from p2p_flock.store.files import file_name_of
from p2p_flock.testing.alliance import DOMAIN, make_model
from p2p_flock.types import AllianceId
from tests.cli.conftest import RunCommand
from tests.daemon.alliance_past import Past
from tests.unit.alliance_log import PARAMS, LogWriter

BEACON_SECRET = bytes([7]) * 32
ID = AllianceId(DOMAIN.chain_id, bytes([0xAB]) * 20, 1)
PLACES = (TensorPlace("weight", (2, 2)), TensorPlace("bias", (2,)))


def make_document(**changes: object) -> TaskManifest:
    """As wide as the tiny task of the tests, and whole."""
    initial = make_model(is_training=False).parameters[:]
    values: dict[str, Any] = {
        "name": "tiny", "version": "1", "model": "weight 2x2, bias 2", "loss": "l", "optimiser": "o",
        "preprocessing": "p", "statistics_count": 3, "parameter_count": 6, "statistics_clip": 100.0, "clip_norm": 1.5,
        "local_epochs": 1, "batch_size": 4, "learning_rate": 0.1, "test_ratio": 0.2, "columns": (),
        "initial_parameters_sha256": digest_parameters(initial),
    }  # fmt: skip
    return decode_manifest(LearningManifest(**{**values, **changes}).to_bytes())


TASK = make_document()


class BeaconLog(LogWriter):
    """Its randomness is a beacon's that can be verified."""

    def randomness(self, round_number: int) -> bytes:
        return compute_randomness(sign_beacon(BEACON_SECRET, 100 + round_number))


class NodeHome(Home):
    """A home whose worker is asked in memory."""

    async def ask_worker(self) -> tuple[bytes, tuple[TensorPlace, ...]]:
        return TASK.document, PLACES


def begin() -> Past:
    past = Past()
    log = BeaconLog(PARAMS)
    vars(log).update(vars(past.log))
    past.log = log
    return past


def chain_of(past: Past, task: TaskManifest = TASK, contract: bytes = DOMAIN.contract) -> AllianceLog:
    """The chain as a stranger reads it."""
    handle = SimpleNamespace(
        contract=contract,
        params=replace(PARAMS, manifest_digest=task.digest),
        terms=SimpleNamespace(manifest_digest=task.digest),
    )
    beacon = BeaconNetwork(public_key_of(BEACON_SECRET), 0, 1)
    return AllianceLog(ID, cast(AllianceHandle, handle), past.history(), 1_000, beacon)


def home_of(past: Past, folder: Path, beacon_urls: tuple[str, ...] = ()) -> Home:
    """A member that holds everything, and the model after the last ended round."""
    digests = {model.digest for model in past.models}
    for digest, data in past.contents.items():
        name = digest.hex()
        path = (
            folder / "models" / f"{name}.safetensors" if digest in digests else folder / "blobs" / name[:2] / name[2:]
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    pointer = {"digest": past.models[-1].digest.hex(), "round": past.log.round - 1}
    (folder / "models" / f"{file_name_of(str(ID))}.current.json").write_text(json.dumps(pointer))
    (folder / "keystore.json").write_text(json.dumps({"address": "12" * 20}))
    config = SimpleNamespace(chain=SimpleNamespace(beacon_urls=beacon_urls))
    return NodeHome(DataDirectory(folder), cast(NodeConfig, config))


async def export(past: Past, folder: Path, number: int | None = None, from_start: bool = False) -> Path:
    home, target = home_of(past, folder / "home"), folder / "export"
    await export_model(home, chain_of(past), target, number, from_start, lambda _what: None)
    return target


def examine(
    path: Path,
    past: Past,
    *,
    from_start: bool = False,
    alliance: str | None = None,
    task: TaskManifest = TASK,
    contract: bytes = DOMAIN.contract,
    installed: Callable[[], tuple[TensorPlace, ...] | None] = lambda: None,
) -> Findings:
    findings = Findings()
    folder = check_files(path, findings, alliance)
    if folder is not None:
        check_names(folder, findings, installed)
        check_chain(folder, chain_of(past, task, contract), from_start, findings)
    return findings


def failures(findings: Findings) -> str:
    assert not findings.are_good
    return "\n".join(text for kind, text in findings.told if kind == FAILED)


def verified(findings: Findings) -> str:
    assert findings.are_good, findings.told
    return "\n".join(text for kind, text in findings.told if kind == VERIFIED)


def rewrite(path: Path, change: Callable[[Any], None]) -> None:
    """A forger's edit: the content is changed and its own digests are made to fit."""
    claims = read_provenance(path / "provenance.json")
    change(claims)
    (path / "provenance.json").write_bytes(encode_provenance(claims))


# --- what is written -------------------------------------------------------------------------------------------------


async def test_export__holds_the_alliances_values_under_the_tasks_names(tmp_path: Path) -> None:
    """Whoever loads it would get another model, or none."""
    past = begin()
    past.play(3)
    path = await export(past, tmp_path)
    found = load_file(path / "model.safetensors")
    parameters = past.models[-1].parameters[:]
    assert found["weight"].tobytes() == parameters[:4].reshape(2, 2).tobytes()
    assert found["bias"].tobytes() == parameters[4:].tobytes()
    assert found[STATISTICS_NAME].tobytes() == past.models[-1].statistics.tobytes()
    card = (path / "README.md").read_text()
    for text in (str(ID), "0x" + DOMAIN.contract.hex(), "0x" + TASK.digest.hex(), "0x" + past.models[-1].digest.hex()):
        assert text in card
    assert "load_state_dict" in card and "## Limits" in card


async def test_export__tells_who_contributed_and_the_own_scores(tmp_path: Path) -> None:
    """A model card without those who made the model."""
    past = begin()
    past.play(2)
    past.play(1, adopted=False)
    ScoresFile(tmp_path / SCORES_NAME, str(ID)).append(1, Score(0.75, 0.5, 1))
    (tmp_path / "home").mkdir()
    shutil.move(tmp_path / SCORES_NAME, tmp_path / "home" / SCORES_NAME)
    path = await export(past, tmp_path)
    claims = read_provenance(path / "provenance.json")
    assert claims["scores"] == [{"round": 1, "own_score": 0.75, "local_only_score": 0.5}]
    assert {number for entry in claims["participants"] for number in entry["rounds"]} == {0, 1}, "nothing of round 2"
    assert [entry["cohort_outcomes"] for entry in claims["rounds"]] == [["adopted"], ["adopted"], ["rejected"]]
    assert "0.7500" in (path / "README.md").read_text()


async def test_export__refuses_what_it_cannot_give(tmp_path: Path) -> None:
    """A folder would be overwritten, or a model passed off as another round's."""
    past = begin()
    past.play(3)
    home, log = home_of(past, tmp_path / "home"), chain_of(past)

    async def fails(target: Path, number: int | None, match: str, from_start: bool = False) -> None:
        with pytest.raises(UsageError, match=match):
            await export_model(home, log, target, number, from_start, lambda _what: None)

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    await fails(tmp_path / "full", None, "is not empty")
    await fails(tmp_path / "a", 3, "has not ended")
    (tmp_path / "home" / "models" / f"{past.models[1].digest.hex()}.safetensors").unlink()
    await fails(tmp_path / "b", 0, "does not hold the model after round 0 any more")
    digest = past.aggregates[0].hex()
    (tmp_path / "home" / "blobs" / digest[:2] / digest[2:]).unlink()
    await fails(tmp_path / "c", None, "does not hold all adopted sums", from_start=True)
    assert list((tmp_path / "c").iterdir()) == []
    pointer = tmp_path / "home" / "models" / f"{file_name_of(str(ID))}.current.json"
    pointer.write_text(json.dumps({"digest": past.models[1].digest.hex(), "round": 1}))
    await fails(tmp_path / "d", None, "a quorum of validators confirmed")


# --- what is verified ------------------------------------------------------------------------------------------------


async def test_verify__a_model_that_a_quorum_named(tmp_path: Path) -> None:
    """The usual case: a later round's validators said on chain that they started from it."""
    past = begin()
    past.play(4)
    path = await export(past, tmp_path, number=2)
    assert read_provenance(path / "provenance.json")["replay"] is None
    told = verified(examine(path, past))
    assert "validators of round 3 named on chain as the model after round 2" in told
    assert "names and shapes of the 2 tensors are those of the task manifest" in told
    assert "the participants and the rounds that they contributed to are as the chain has them" in told


async def test_verify__the_newest_model_is_computed_again(tmp_path: Path) -> None:
    """No quorum names the last model of an alliance, and yet it is the one that everybody wants."""
    past = begin()
    past.play(3)
    path = await export(past, tmp_path)
    told = verified(examine(path, past))
    assert "computed again from the model that a quorum of the validators of round 2 named on chain, and 1 sums" in told


async def test_verify__from_the_start(tmp_path: Path) -> None:
    """Whoever trusts no quorum could not do without."""
    past = begin()
    past.play(2)
    past.void()
    past.play(1)
    home, target = home_of(past, tmp_path / "home"), tmp_path / "export"
    log = chain_of(past)
    log.add_beacons({2: sign_beacon(BEACON_SECRET, 102)})
    await export_model(home, log, target, None, True, lambda _what: None)
    told = verified(examine(target, past, from_start=True))
    assert "computed again from the task's initial model, whose digest stands in the task manifest, and 3 sums" in told
    plain = begin()
    plain.play(4)
    path = await export(plain, tmp_path / "plain", number=2)
    assert "export it with --from-start" in failures(examine(path, plain, from_start=True))


async def test_verify__a_void_rounds_beacon_is_checked(tmp_path: Path) -> None:
    """A forged beacon would change whose keys counted."""
    past = begin()
    past.play(1)
    past.void()
    past.play(1)
    log, target = chain_of(past), tmp_path / "export"
    log.add_beacons({1: sign_beacon(BEACON_SECRET, 101)})
    await export_model(home_of(past, tmp_path / "home"), log, target, None, False, lambda _what: None)

    def forge(claims: Provenance) -> None:
        assert claims["replay"] is not None
        claims["replay"]["beacons"][0]["signature"] = "0x" + sign_beacon(BEACON_SECRET, 100).hex()

    assert examine(target, past).are_good
    rewrite(target, forge)
    assert "a beacon value before round 2 is missing" in failures(examine(target, past))


async def test_verify__every_flipped_bit_fails(tmp_path: Path) -> None:
    """A damaged copy would pass as the alliance's model."""
    past = begin()
    past.play(3)
    path = await export(past, tmp_path)
    names = ["model.safetensors", "provenance.json", "README.md", *read_provenance(path / "provenance.json")["files"]]
    for name in dict.fromkeys(names):
        good = (path / name).read_bytes()
        for bit in range(3, 8 * len(good), max(1, 8 * len(good) // 41)):
            changed = bytearray(good)
            changed[bit // 8] ^= 1 << bit % 8
            (path / name).write_bytes(bytes(changed))
            assert name in failures(examine(path, past)), f"{name}, bit {bit}"
        (path / name).write_bytes(good)
    assert examine(path, past).are_good


def _hash(path: Path) -> str:
    import hashlib  # noqa: PLC0415

    return "0x" + hashlib.sha256(path.read_bytes()).hexdigest()


async def test_verify__a_forged_tensor_is_caught_by_its_digest(tmp_path: Path) -> None:
    """A forger also mends the digests that stand beside it; the chain's it cannot."""
    past = begin()
    past.play(4)
    path = await export(past, tmp_path, number=2)
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-20] ^= 1
    (path / "model.safetensors").write_bytes(bytes(data))

    def mend_file(claims: Provenance) -> None:
        claims["files"]["model.safetensors"] = _hash(path / "model.safetensors")

    rewrite(path, mend_file)
    assert "a value was changed" in failures(examine(path, past))
    model = Model(past.models[3].statistics, np.frombuffer(bytes(data[-72:-24]), "<f8").copy())
    forged = Model(np.frombuffer(bytes(data[-24:]), "<f8").copy(), model.parameters)

    def mend_digest(claims: Provenance) -> None:
        claims["model"]["digest"] = "0x" + forged.digest.hex()

    rewrite(path, mend_digest)
    told = failures(examine(path, past))
    assert f"named 0x{past.models[3].digest.hex()} as the model after round 2" in told


async def test_verify__swapped_names_are_caught(tmp_path: Path) -> None:
    """The chain knows the values only: two tensors that changed their names are another model."""
    past = begin()
    past.play(4)
    path = await export(past, tmp_path, number=2)
    body = (path / "model.safetensors").read_bytes()[len(encode_header(PLACES, 3)) :]
    renamed = (TensorPlace("weights", (2, 2)), TensorPlace("bias", (2,)))
    (path / "model.safetensors").write_bytes(encode_header(renamed, 3) + body)

    def mend(claims: Provenance) -> None:
        claims["files"]["model.safetensors"] = _hash(path / "model.safetensors")

    rewrite(path, mend)
    assert "names and shapes of the tensors are not those of the task manifest" in failures(examine(path, past))


async def test_verify__names_that_nobody_here_knows_are_said_to_be_unchecked(tmp_path: Path) -> None:
    """An operator would believe that more was verified than was."""
    past = begin()
    past.play(4)
    path = await export(past, tmp_path, number=2)
    vague = make_document(model="logistic regression: linear layer 5 to 1")

    def retell(claims: Provenance) -> None:
        claims["task"]["manifest"] = vague.document.decode()
        claims["task"]["manifest_digest"] = "0x" + vague.digest.hex()

    rewrite(path, retell)
    findings = examine(path, past, task=vague)
    assert findings.are_good
    assert any(kind == UNCHECKED and text.startswith("names and shapes") for kind, text in findings.told)
    assert "those of the task as it is installed" in verified(examine(path, past, task=vague, installed=lambda: PLACES))
    other = (TensorPlace("w", (2, 2)), PLACES[1])
    assert "weight (2, 2)" in failures(examine(path, past, task=vague, installed=lambda: other))


FORGERIES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another alliance": (lambda c: c.update(alliance=str(replace(ID, number=2))), ""),
    "no alliance": (lambda c: c.update(alliance="flock:1"), "names no alliance"),
    "another contract": (lambda c: c.update(contract="0x" + "11" * 20), "contract is 0x"),
    "another round": (lambda c: (c["model"].update(round=1), c["rounds"].pop()), "named 0x"),
    "a round to come": (
        lambda c: (c["model"].update(round=4), c["rounds"].extend({**c["rounds"][0], "round": n} for n in (3, 4))),
        "4 ended rounds",
    ),
    "votes": (lambda c: c["rounds"][1].update(votes_for=[3]), "outcomes, votes and transactions"),
    "a participant more": (
        lambda c: c["participants"].append({"owner": "0x" + "22" * 20, "rounds": [0]}), "the participants"
    ),
    "a participant twice": (lambda c: c["participants"].append(c["participants"][0]), "the participants"),
    "a participant less": (lambda c: c["participants"].pop(), "the participants"),
    "privacy": (
        lambda c: c.update(privacy={"noise_multiplier": 1.0, "delta": 1e-5, "rounds": 1, "epsilon": 1.0}), "of privacy"
    ),
    "a replay from nowhere": (
        lambda c: c.update(replay={"base_round": 77, "base_digest": "0x", "base_is_initial": False, "beacons": []}), ""
    ),
    "another task": (lambda c: c["task"].update(name="heart"), "another digest, name or version"),
    "a missing file": (lambda c: c["files"].update({"replay/" + "0" * 64 + ".aggregate": "0x00"}), "it is missing"),
    "a file outside": (lambda c: c["files"].update({"../secret": "0x00"}), "a file that no export has"),
    "rounds left out": (lambda c: c["rounds"].pop(0), "every round"),
    "a field more": (lambda c: c.update(more=1), "other fields"),
    "a wrong type": (lambda c: c["model"].update(round=True), "wrong type"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
async def test_verify__a_forged_provenance_fails(name: str, tmp_path: Path) -> None:
    """A folder would tell a false story of a true model, or reach outside itself."""
    past = begin()
    past.play(4)
    path = await export(past, tmp_path, number=2)
    change, says = FORGERIES[name]
    claims = read_provenance(path / "provenance.json")
    change(claims)
    (path / "provenance.json").write_bytes(encode_provenance(claims))
    if name == "another alliance":
        assert str(ID) in failures(examine(path, past, alliance=str(ID)))
        assert "of another alliance" in failures(examine(path, past, task=make_document(batch_size=5)))
        return
    if name == "a replay from nowhere":
        assert examine(path, past).are_good, "it was not needed"
        return
    assert says in failures(examine(path, past))


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b"[" * 100_000, b'{"provenance": {"format": 2}, "sha256": ""}', b"\xff\xfe",
     b'{"provenance": {"format": NaN}, "sha256": ""}'],
)  # fmt: skip
def test_provenance__hostile_files_are_refused(content: bytes, tmp_path: Path) -> None:
    """A stranger's file would end the command with a traceback."""
    path = tmp_path / "provenance.json"
    path.write_bytes(content)
    with pytest.raises(WireError):
        read_provenance(path)


def test_provenance__a_number_that_json_does_not_know(tmp_path: Path) -> None:
    """Infinity can be written in JSON as 1e999, and cannot be written back."""
    past_bound = provenances.PROVENANCE_BYTES_MAX
    assert past_bound >= 1 << 20
    path = tmp_path / "provenance.json"
    text = json.dumps(
        {
            "format": 1, "version": "1", "alliance": str(ID), "contract": "0x", "rounds": [], "participants": [],
            "task": {"name": "t", "version": "1", "manifest_digest": "0x", "manifest": "{}"}, "replay": None,
            "model": {"round": 0, "digest": "0x", "parameter_count": 1, "statistics_count": 1},
            "scores": [{"round": 0, "own_score": "INF", "local_only_score": None}], "privacy": None,
            "exported_by": "0x", "exported_at_s": 0, "files": {},
        }
    )  # fmt: skip
    path.write_text('{"provenance": ' + text.replace('"INF"', "1e999") + ', "sha256": "0x"}')
    with pytest.raises(WireError, match="was changed"):
        read_provenance(path)


def test_verify__a_folder_that_is_none(run: RunCommand, tmp_path: Path) -> None:
    """A mistyped path would be answered with a traceback, or worse, with yes."""
    ran = run("model", "verify", tmp_path / "nowhere")
    assert ran.code == 1
    assert "there is no such file" in ran.out and "NOT VERIFIED" in ran.out
    ran = run("model", "verify", tmp_path, "--json")
    assert ran.code == 1 and json.loads(ran.out)["is_verified"] is False


async def test_verify__without_an_endpoint_says_which_is_needed(run: RunCommand, tmp_path: Path) -> None:
    """A verifier without a node would not know what to name."""
    past = begin()
    past.play(4)
    path = await export(past, tmp_path, number=2)
    import trio  # noqa: PLC0415

    ran = await trio.to_thread.run_sync(run, "model", "verify", path)
    assert ran.code == 2 and "--rpc-url" in ran.err
