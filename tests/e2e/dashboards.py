"""Asks the interface of a node that takes part in rounds: every answer is what its document says."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from p2p_flock.daemon.dashboard_files import read_token, read_url
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.dashboard.api import READ_COMMANDS, command_path
from tests.dashboard.test_openapi import check_answer
from tests.e2e.running import Testnet

KINDS = {"watch", "history", "mesh", "log"}


def fetch(home: Path, path: str) -> Any:
    """One answer of a node's dashboard, not read yet."""
    directory = DataDirectory(home)
    headers = {"Authorization": f"Bearer {read_token(directory.dashboard_token)}"}
    return urllib.request.urlopen(
        urllib.request.Request(read_url(directory.dashboard_url) + path, headers=headers), timeout=60
    )


def read_events(home: Path) -> dict[str, Any]:
    """The first event of each kind."""
    found: dict[str, Any] = {}
    kind = ""
    with fetch(home, "/api/v1/events") as stream:
        while set(found) != KINDS:
            line = stream.readline().decode().rstrip("\n")
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found.setdefault(kind, json.loads(line.removeprefix("data: ")))
    return found


def check_dashboard(testnet: Testnet) -> None:
    """While rounds run, once one has ended: whoever builds on the document would else meet other answers."""
    network = testnet.network()
    home = Path(network["nodes"][0]["home"])

    def has_ended_a_round() -> bool:
        # Its files first: asking the node all the time would slow it down.
        return any(node.closed for node in testnet.nodes() if node.name == "node0") and bool(
            json.load(fetch(home, "/api/v1/alliance/history"))["rounds"]
        )

    testnet.wait_until(has_ended_a_round)
    document = json.load(fetch(home, "/api/v1/openapi.json"))
    for command in READ_COMMANDS:
        query = f"?alliance={network['alliance']}" if command == "alliance.show" else ""
        check_answer(document, command, json.load(fetch(home, command_path(command) + query)))
    events = read_events(home)
    check_answer(document, "alliance.watch", events["watch"])
    check_answer(document, "node.mesh", events["mesh"])
    check_answer(document, "node.log", {**events["log"], "next": 0})
    assert events["history"]["rounds"] and events["log"]["lines"]
    assert {peer["role"] for peer in events["mesh"]["peers"] if peer["seat"] is not None}
    assert b"# TYPE" in fetch(home, "/metrics").read()
