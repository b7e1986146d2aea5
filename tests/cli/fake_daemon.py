"""A daemon that only answers on the control socket: the real server, canned results, requests kept for the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from p2p_flock.cli.alliance_create import PRESETS
from p2p_flock.daemon.control import Handler, serve_control
from p2p_flock.daemon.control_messages import (
    COMMANDS,
    AdmissionResult,
    AllianceListEntry,
    AllianceShowResult,
    OwnDataResult,
    StatusResult,
    TaskResult,
    WalletResult,
    params_from_json,
    params_to_json,
)
from p2p_flock.daemon.control_protocol import JsonObject, prepare_control_socket
from p2p_flock.errors import P2PFlockError
from tests.cli.watch_samples import SAMPLES

ALLIANCE = "flock:84530:0x" + "ab" * 20 + ":0"
ADDRESS = "0x" + "12" * 20
PEER_ID = "12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiw"
DIGEST = "0x" + "cd" * 32
FLOCK = 10**18

STATUS: StatusResult = {
    "peer_id": PEER_ID, "address": ADDRESS, "uptime_s": 3_725, "listen_addresses": ["/ip4/127.0.0.1/tcp/4101"],
    "connected_peers": 7, "chain_id": 84_530, "block": 123, "chain_time_s": 1_700_000_000, "alliance": ALLIANCE,
    "task": "heart", "seat": 4, "round": 3, "settled_rounds": 2, "round_count": 11, "role": "trainer", "phase": "train",
    "standing": "joined", "release_at_s": None, "suspended_for": [], "suspected_for": [], "slashed": None,
    "rounds_behind": 0, "syncing": None,
    "phase_ends_at_s": 1_700_000_020, "model_digest": DIGEST, "score_before": 0.61, "score_after": 0.59,
    "privacy": None, "warnings": ["two endpoints differ"], "dashboard": None,
}  # fmt: skip
OPEN_TO_ALL: AdmissionResult = {"listed_owners": None, "is_listed": None, "join_deadline_s": None, "is_over": False}
ABOUT: TaskResult = {
    "name": "heart", "version": "1", "model": "logistic regression: linear layer 35 to 1", "loss": "mean log-loss",
    "optimiser": "SGD", "preprocessing": "standardise numbers", "score_name": "AUC", "parameter_count": 36,
    "statistics_count": 39, "local_epochs": 5, "batch_size": 16, "learning_rate": 0.04, "test_ratio": 0.25,
    "examples_per_weight": 8, "has_holdout": False, "column_count": 2,
    "columns": [
        {"name": "age", "kind": "number", "unit": "years", "low": 18.0, "high": 120.0, "values": [], "value_count": 0,
         "required": True},
        {"name": "sex", "kind": "category", "unit": "", "low": 0.0, "high": 0.0, "values": ["Female", "Male"],
         "value_count": 2, "required": False},
    ],
}  # fmt: skip
DATA: OwnDataResult = {
    "task": "heart", "path": "/nowhere/data.csv", "seed": "1", "memory_bytes_max": 1 << 34, "train_count": 114,
    "test_count": 38, "problems": [], "error": None, "error_is_of_data": False,
}  # fmt: skip
SHOW: AllianceShowResult = {
    "alliance": ALLIANCE, "contract": ADDRESS, "task": "heart", "task_installed": True, "about": ABOUT, "data": DATA,
    "manifest_digest": DIGEST,
    "params": params_to_json(params_from_json(PRESETS["testnet"], bytes.fromhex(DIGEST[2:]))), "params_hash": DIGEST,
    "admission": OPEN_TO_ALL, "privacy": None,
    "seats": [{"index": 0, "owner": ADDRESS, "peer_id": PEER_ID, "weight": 3, "leaving": False, "binding_valid": False,
               "connected": True}],
    "round": None, "settled_rounds": 0, "phase": "waiting", "phase_ends_at_s": None, "closed": False,
    "model_digest": None, "own_seat": None, "own_state": "none", "weight_suggested": 4, "eth": str(FLOCK),
    "flock": str(2_000 * FLOCK),
    "rounds": [{"round": 0, "outcome": "settled", "cohort_outcomes": ["adopted"], "trainers": 5,
                "trainers_by_cohort": [5], "survivors": 4, "survivors_by_cohort": [4], "votes_for": [3],
                "votes_against": [0], "model_digest": DIGEST, "seconds": 12}],
}  # fmt: skip
LISTED: AllianceListEntry = {
    "alliance": ALLIANCE, "task": "heart", "task_installed": False, "seats": 3, "seat_count_min": 8,
    "seat_count_max": 8, "settled_rounds": 0, "round_count": 11, "seat_stake": str(1_000 * FLOCK), "closed": False,
    "joined": False, "admission": OPEN_TO_ALL,
}  # fmt: skip
WALLET: WalletResult = {
    "address": ADDRESS, "peer_id": PEER_ID, "chain_id": 84_530, "eth": "1234500000000000000", "flock": "0",
    "staked": str(1_000 * FLOCK), "unclaimed": str(FLOCK // 4), "withdrawable": "0",
    "earned_total": str(FLOCK), "claimed_total": str(3 * FLOCK // 4), "gas_spent_wei": "2000000000000000",
    "gas_since_s": 1_700_000_000,
}  # fmt: skip
RESULTS: dict[str, Mapping[str, object]] = {
    "status": STATUS,
    "alliance.show": SHOW,
    "alliance.list": {"alliances": [LISTED]},
    "alliance.create": {
        "alliance": ALLIANCE,
        "contract": ADDRESS,
        "manifest_digest": DIGEST,
        "privacy": None,
        "transactions": [DIGEST],
    },
    "alliance.watch": SAMPLES["collecting"],
    "alliance.history": {"rounds": [], "earliest": 0},
    "alliance.join": {"alliance": ALLIANCE, "seat": 5, "weight": 4, "transactions": [DIGEST]},
    "alliance.leave": {"alliance": ALLIANCE, "state": "leaving", "withdrawable_at_s": None, "transactions": [DIGEST]},
    "alliance.withdraw": {
        "alliance": ALLIANCE,
        "state": "withdrawn",
        "withdrawable_at_s": None,
        "transactions": [DIGEST],
    },
    "alliance.reactivate": {"alliance": ALLIANCE, "transactions": [DIGEST]},
    "node.mesh": {
        "own": {"peer_id": PEER_ID, "seat": None, "owner": ADDRESS, "role": None, "addresses": []},
        "peers": [],
        "peer_count": 0,
    },
    "node.log": {"lines": [], "next": 0},
    "task.show": ABOUT,
    "wallet.show": WALLET,
    "wallet.claim": {"claimed": str(FLOCK), "transactions": [DIGEST]},
    "stop": {"stopping": True},
}


class FakeDaemon:
    """``results`` may be changed by the test: an error instead of a result is raised by the handler."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.results: dict[str, Mapping[str, object] | P2PFlockError] = dict(RESULTS)
        self.requests: list[tuple[str, JsonObject]] = []

    def change(self, command: str, **fields: Any) -> None:
        """Replace fields of a command's result."""
        self.results[command] = {**RESULTS[command], **fields}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve on a trio thread."""
        ready = threading.Event()
        scope = trio.CancelScope()
        token: list[trio.lowlevel.TrioToken] = []

        async def serve() -> None:
            handlers: dict[str, Handler] = {command: self._handler(command) for command in COMMANDS}
            with scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(serve_control, prepare_control_socket(self.home), handlers)
                    token.append(trio.lowlevel.current_trio_token())
                    ready.set()

        thread = threading.Thread(target=trio.run, args=(serve,))
        thread.start()
        assert ready.wait(10)
        try:
            yield
        finally:
            token[0].run_sync_soon(scope.cancel)
            thread.join()

    def _handler(self, command: str) -> Handler:
        async def answer(arguments: JsonObject) -> Mapping[str, object]:
            self.requests.append((command, arguments))
            result = self.results[command]
            if isinstance(result, P2PFlockError):
                raise result
            return result

        return answer
