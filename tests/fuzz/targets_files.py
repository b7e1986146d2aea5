"""Targets of what a node reads from its own disk and its own user: after a crash, a bad copy or a slip of the hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from p2p_flock.alliance.allowlist import NO_ALLOWLIST
from p2p_flock.alliance.model import encode_model
from p2p_flock.chain.archive import LogArchive
from p2p_flock.chain.deployment_plan import STEPS
from p2p_flock.chain.deployment_record import read_record
from p2p_flock.cli.alliance_admission import parse_join_deadline, parse_score_target, read_allowlist, read_owners
from p2p_flock.cli.amounts import parse_flock
from p2p_flock.cli.creating.sources import PRESETS, build, read_json, read_toml, render
from p2p_flock.daemon.config_file import parse_config
from p2p_flock.daemon.config_template import render_config
from p2p_flock.daemon.control import _parse_request
from p2p_flock.daemon.control_messages import COMMANDS, params_from_json, params_to_json
from p2p_flock.daemon.control_protocol import decode_line, encode_line
from p2p_flock.errors import ConfigError, ControlError, ParameterError, StoreError, UsageError
from p2p_flock.net.bootstrap_file import read_bootstrap_file
from p2p_flock.store.blobs import BlobStore
from p2p_flock.store.journal import Journal, Record
from p2p_flock.store.models import ModelStore
from p2p_flock.store.secrets import MAGIC, RoundSecrets, _Entry, _SecretsFile, create_secrets_key
from p2p_flock.store.segments import SegmentFile
from p2p_flock.testing.alliance import make_model, make_params
from p2p_flock.wire.codec import encode
from tests.fuzz.target import Form, Target
from tests.fuzz.targets_net import ADDRESSES, PEER, scratch_folder

CONFIG = f"""
[node]
# comment
[net]
listen_port = 4101
bootstrap = ["{ADDRESSES[0]}/p2p/{PEER}"]
[chain]
chain_id = 8453
rpc_urls = ["https://example.org/rpc"]
factory = "0x{"11" * 20}"
[store]
[test]
save_encodings = false
"""


def written(name: str, data: bytes) -> Path:
    """A file with these bytes."""
    path = scratch_folder() / name
    path.write_bytes(data)
    return path


# --- control socket ----------------------------------------------------------------------------------------------


def run_control(data: bytes) -> bool:
    """A line to the daemon, and the parameters in it; the same line as an answer of the daemon."""
    try:
        decode_line(data)
        command, arguments = _parse_request(data)
    except (ControlError, UsageError):
        return False
    encode_line({"ok": True, "command": command})
    if command == "alliance.create":
        try:
            params = params_from_json(arguments["params"], bytes(32))
            assert params_from_json(params_to_json(params), bytes(32)) == params
        except UsageError:
            return False
    return True


def control_seeds() -> Sequence[bytes]:
    examples = {"alliance": "flock:8453:0x00:1", "reward_pool": "5", "params_hash": "0x00", "maximum_loss": "1"}
    params = {name: value for name, value in params_to_json(make_params()).items() if name != "manifest_digest"}
    special: dict[str, object] = {"params": params, "allowlist": [], "weight": None, "task": "heart"}
    special |= {"before": None, "after": 0, "level": "info", "limit": 20}
    return [
        encode_line(
            {"command": command, "arguments": {n: {**examples, **special}[n] for n in arguments.__annotations__}}
        )
        for command, (arguments, _) in COMMANDS.items()
    ]


# --- text files --------------------------------------------------------------------------------------------------


def run_config(data: bytes) -> bool:
    try:
        parse_config(data.decode(errors="replace"), Path("config.toml"), {})
    except ConfigError:
        return False
    return True


def config_seeds() -> Sequence[bytes]:
    return [CONFIG.encode(), render_config({}).encode()]


def run_alliance_file(data: bytes) -> bool:
    """The TOML and the JSON that ``alliance create`` reads, to the point where the daemon is called."""
    taken = False
    path = written("alliance", data)
    try:
        document = read_toml(path)
        owners = read_owners(document.get("allowlist", []), path)
        params = build({**OPTIONAL, **document["params"]}, owners)  # type: ignore[dict-item]
        again = read_toml(written("again", render("heart", 5, params, owners).encode()))
        assert build(again["params"], owners) == params  # type: ignore[arg-type]
        taken = True
    except (UsageError, ParameterError):
        pass
    try:
        build({**PRESETS["testnet"], **read_json(path)}, ())
        taken = True
    except (UsageError, ParameterError):
        pass
    return taken


OPTIONAL: dict[str, object] = {"allowlist_root": "0x" + NO_ALLOWLIST.hex()}


def alliance_file_seeds() -> Sequence[bytes]:
    params = make_params()
    return [render("heart", 10**21, params, ()).encode(), json.dumps({"seat_stake": "5 FLOCK"}).encode()]


def run_words(data: bytes) -> bool:
    """Single words that a user writes: amounts, times, scores."""
    text, taken = data.decode(errors="replace"), False
    for read in (parse_flock, parse_score_target, lambda word: parse_join_deadline(word, 1_700_000_000)):
        try:
            read(text)
            taken = True
        except UsageError:
            continue
    return taken


def words_seeds() -> Sequence[bytes]:
    return [b"1000 FLOCK", b"5", b"0.85", b"+2d12h", b"2026-12-24T18:00Z", b"1.5 flock"]


def run_lists(data: bytes) -> bool:
    """Bootstrap nodes and allowlists."""
    taken = False
    for name, read in (("peers.toml", read_bootstrap_file), ("owners", read_allowlist)):
        try:
            read(written(name, data))
            taken = True
        except UsageError:
            continue
    return taken


def lists_seeds() -> Sequence[bytes]:
    bootstrap = f'bootstrap = ["{ADDRESSES[0]}/p2p/{PEER}", "{ADDRESSES[2]}/p2p/{PEER}"]\n'
    return [bootstrap.encode(), b"# owners\n0x" + b"11" * 20 + b"\n0x" + b"22" * 20 + b" # second\n"]


def run_record(data: bytes) -> bool:
    try:
        return read_record(written("record.json", data)) is not None
    except UsageError:
        return False


def record_seeds() -> Sequence[bytes]:
    governance = {
        "voting_delay_s": 1, "voting_period_s": 2, "proposal_threshold_wei": "3", "quorum_percent": 4,
        "quorum_votes_wei_min": "5", "timelock_delay_s": 6,
    }  # fmt: skip
    step = {"nonce": 1, "creation_sha256": "00", "transactions": ["0x"], "block": None, "gas_used": 5}
    document = {
        "network": "base", "chain_id": 8453, "deployer": "0x" + "11" * 20,
        "parameters": {
            "beacon_public_key": "0x" + "22" * 96, "beacon_genesis_s": 1, "beacon_period_s": 3,
            "initial_holder": "0x" + "33" * 20, "supply_wei": "7", "governance": governance,
        },
        "steps": {STEPS[0].name: step},
    }  # fmt: skip
    return [json.dumps(document).encode()]


# --- stores --------------------------------------------------------------------------------------------------------


def run_segments(data: bytes) -> bool:
    """A damaged log archive: what it gives is a prefix, and it can be written on."""
    store = SegmentFile(written("segments", data), 1 << 20)
    segments = LogArchive(store, 8453, bytes(20), 5).load()
    store = SegmentFile(written("segments", data), 1 << 20)
    pieces = store.read()
    assert store.append(b"one more") and SegmentFile(scratch_folder() / "segments", 1 << 20).read() == [
        *pieces,
        b"one more",
    ]
    return bool(pieces or segments)


def segments_seeds() -> Sequence[bytes]:
    path = scratch_folder() / "honest-segments"
    path.unlink(missing_ok=True)
    archive = LogArchive(SegmentFile(path, 1 << 20), 8453, bytes(20), 5)
    archive.load()
    archive.append(7, bytes(32), ())
    archive.append(9, bytes(32), ())
    return [path.read_bytes()]


def run_blob_store(data: bytes) -> bool:
    """A blob that was damaged on disk is absent; what is not ours in the folder is passed over."""
    folder = scratch_folder() / "blobs"
    digest = BlobStore(folder, 1 << 20).put(b"content" * 10)
    (folder / digest.hex()[:2] / digest.hex()[2:]).write_bytes(data)
    name = data[:40].hex()
    for odd in (folder / digest.hex()[:2] / name, folder / "pins" / "round-1" / name):
        odd.parent.mkdir(exist_ok=True)
        if name:
            odd.write_bytes(b"")
    store = BlobStore(folder, 1 << 20)
    found = store.get(digest)
    assert found in (None, b"content" * 10)
    for place in (folder / digest.hex()[:2], folder / "pins" / "round-1"):
        for path in place.iterdir():
            path.unlink()
    return found is not None


def blob_store_seeds() -> Sequence[bytes]:
    return [b"content" * 10, b"content"]


def run_round_secrets(data: bytes) -> bool:
    """A damaged file of round secrets, and one that was written with the right key by something else."""
    folder = scratch_folder() / "secrets"
    key = scratch_folder() / "secrets.key"
    if not key.exists():
        create_secrets_key(key)
    secrets = RoundSecrets(folder, key)
    sealed = data[1:] if data[:1] != b"\1" else MAGIC + bytes(secrets._box.encrypt(data[1:], bytes(24)))
    (folder / "flock-1.secrets").write_bytes(sealed)
    try:
        return bool(secrets.rounds("flock:1"))
    except StoreError:
        return False


def round_secrets_seeds() -> Sequence[bytes]:
    plain = encode(_SecretsFile("flock:1", (_Entry(3, "self-mask", "k", bytes(32)), _Entry(4, "x", "", b""))))
    return [b"\0" + MAGIC + bytes(60), b"\1" + plain]


def run_model_pointer(data: bytes) -> bool:
    """The file that says which model is current."""
    folder = scratch_folder() / "models"
    store = ModelStore(folder)
    (folder / "flock-1.current.json").write_bytes(data)
    try:
        return store.current("flock:1") is not None
    except StoreError:
        return False


def model_pointer_seeds() -> Sequence[bytes]:
    store = ModelStore(scratch_folder() / "models")
    store.set_current("flock:1", 3, store.put(encode_model(make_model())))
    return [(scratch_folder() / "models" / "flock-1.current.json").read_bytes()]


def run_journal(data: bytes) -> bool:
    """A damaged journal is refused, or gives records; it never ends the node in another way."""
    path = written("journal.db", data)
    for left in ("journal.db-wal", "journal.db-shm"):
        (scratch_folder() / left).unlink(missing_ok=True)
    try:
        journal = Journal(path)
    except StoreError:
        return False
    try:
        journal.append([Record("flock:1", 1, "have", "", b"body")])
        return bool(journal.records("flock:1", 1))
    except StoreError:
        return False
    finally:
        journal.close()


def journal_seeds() -> Sequence[bytes]:
    path = scratch_folder() / "honest.db"
    path.unlink(missing_ok=True)
    journal = Journal(path)
    journal.append([Record("flock:1", 1, "have", "", b"body")])
    journal.close()
    return [path.read_bytes(), b""]


TARGETS = (
    Target("control", run_control, control_seeds, Form.JSON, 8192),
    Target("config", run_config, config_seeds, Form.TEXT, 8192, weight=0.05),
    Target("alliance-file", run_alliance_file, alliance_file_seeds, Form.TEXT, 8192, weight=0.2),
    Target("words", run_words, words_seeds, Form.TEXT, 128, tokens=(b"FLOCK", b"+1d", b"2026-", b"."), weight=4.0),
    Target("lists", run_lists, lists_seeds, Form.TEXT, 4096, weight=0.2),
    Target("deployment-record", run_record, record_seeds, Form.JSON, 4096, weight=0.3),
    Target("segments", run_segments, segments_seeds, Form.BYTES, 4096, weight=0.2),
    Target("blob-store", run_blob_store, blob_store_seeds, Form.BYTES, 256, weight=0.05),
    Target("round-secrets", run_round_secrets, round_secrets_seeds, Form.MSGPACK, 4096, prefix_bytes=1, weight=0.1),
    Target("model-pointer", run_model_pointer, model_pointer_seeds, Form.JSON, 1024, weight=0.2),
    Target("journal", run_journal, journal_seeds, Form.BYTES, 40960, weight=0.01),
)
