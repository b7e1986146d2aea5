"""The OpenAPI document: valid, not stale, and true of what a node answers."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from p2p_flock.daemon.control_messages import COMMANDS
from p2p_flock.daemon.dashboard import CONTROL_DOCUMENT, describe_interface
from p2p_flock.daemon.log_ring import LogRing, answer_log
from p2p_flock.dashboard.api import READ_COMMANDS, command_path
from p2p_flock.dashboard.words import parse_control_document
from tests.cli.fake_daemon import RESULTS
from tests.cli.watch_samples import SAMPLES
from tests.daemon.test_watch_answer import Past
from tests.dashboard.client import FakeNode, open_dashboard

COPY = Path(__file__).resolve().parents[2] / "docs" / "reference" / "openapi.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe_interface()


def check_answer(document: dict[str, Any], command: str, answer: object) -> None:
    """Fails where an answer is not what the document says; also where it has fields that the document lacks."""
    media = document["paths"][command_path(command)]["get"]["responses"]["200"]["content"]["application/json"]
    strict = json.loads(
        json.dumps({**document["components"], "$ref": media["schema"]["$ref"]}).replace("/components", "")
    )
    for schema in strict["schemas"].values():
        schema["additionalProperties"] = False
    Draft202012Validator(strict).validate(json.loads(json.dumps(answer)))


def test_document__is_valid_openapi(document: dict[str, Any]) -> None:
    """No tool could read it."""
    validate(document)


def test_document__copy_is_not_stale(document: dict[str, Any]) -> None:
    """What the documentation shows would not be what a node does: run scripts/openapi."""
    assert json.loads(COPY.read_text(encoding="utf-8")) == document, "run scripts/openapi"


def test_document__holds_what_reads_and_nothing_that_changes(document: dict[str, Any]) -> None:
    """A client would be built against a path that is not there."""
    described = {path for path in document["paths"] if path.startswith("/api/v1/")}
    others = {"/api/v1/session", "/api/v1/events", "/api/v1/openapi.json"}
    assert described == {command_path(command) for command in READ_COMMANDS} | others
    for path in described - {"/api/v1/session"}:
        assert set(document["paths"][path]) == {"get"}


async def test_document__is_served_as_it_is(document: dict[str, Any]) -> None:
    """The node would tell another interface than the one in the documentation."""
    async with open_dashboard(documentation=CONTROL_DOCUMENT.read_text(encoding="utf-8")) as client:
        assert (await client.get("/api/v1/openapi.json")).json == document


async def test_parameters__are_those_that_are_taken(document: dict[str, Any]) -> None:
    """Whoever leaves out what may be left out, by the document, would be refused."""
    async with open_dashboard(FakeNode()) as client:
        for command in READ_COMMANDS:
            parameters = document["paths"][command_path(command)]["get"]["parameters"]
            required = "&".join(f"{one['name']}=x" for one in parameters if one["required"])
            assert (await client.get(f"{command_path(command)}?{required}")).status == 200, command
            if required:
                assert (await client.get(command_path(command))).status == 400, command


@pytest.mark.parametrize("command", sorted(set(READ_COMMANDS) & set(RESULTS)))
def test_answers__samples_are_as_described(document: dict[str, Any], command: str) -> None:
    """The commands' own tests would run on answers that no node gives."""
    check_answer(document, command, RESULTS[command])


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_answers__watch_samples_are_as_described(document: dict[str, Any], name: str) -> None:
    """A client that trusts the document would fail on what a node says in this situation."""
    check_answer(document, "alliance.watch", SAMPLES[name])


@pytest.mark.parametrize("rounds", [0, 4, 30])
def test_answers__of_a_watched_node_are_as_described(document: dict[str, Any], rounds: int) -> None:
    """A client that trusts the document would fail on a real answer."""
    check_answer(document, "alliance.watch", Past(rounds).answer())


def test_answers__of_the_log_are_as_described(document: dict[str, Any]) -> None:
    """A client that trusts the document would fail on a log with fields, or on an empty one."""
    ring = LogRing(str)
    check_answer(document, "node.log", answer_log(ring, 0, "info", 10))
    fields = {"seat": 4, "ratio": 0.5, "is_late": True, "what": None, "peer": "x", "list": [1]}
    record = logging.LogRecord("p2p_flock", logging.WARNING, "", 0, "late", None, None)
    record.__dict__ |= {"fields": fields, "flock_round": ("flock:1", 3)}
    ring.handle(record)
    check_answer(document, "node.log", answer_log(ring, 0, "info", 10))


def test_check__finds_a_field_of_another_type_or_name(document: dict[str, Any]) -> None:
    """The checks above would pass whatever a node answers."""
    good = {"lines": [], "next": 0}
    check_answer(document, "node.log", good)
    for bad in ({"lines": []}, {**good, "next": "0"}, {**good, "more": 1}, {**good, "lines": [{}]}):
        with pytest.raises(Exception, match=r"(required property|is not of type|unexpected)"):
            check_answer(document, "node.log", bad)


def test_words__are_those_of_the_control_document(document: dict[str, Any]) -> None:
    """Fields would be explained twice, in different words, or not at all."""
    words = parse_control_document(CONTROL_DOCUMENT.read_text(encoding="utf-8"))
    assert set(COMMANDS) <= set(words.commands), "a command that CONTROL.md does not explain"
    assert "gossipsub" in words.field("node.mesh", "in_mesh")
    assert words.field("status", "in_mesh") == ""
    schemas = document["components"]["schemas"]
    for name in ("StatusResult", "MeshResult", "PeerResult", "LogResult", "LogLine"):
        for field, schema in schemas[name]["properties"].items():
            assert schema.get("description"), f"CONTROL.md does not explain {field} of {name}"


def test_words__what_is_not_understood_is_left_out() -> None:
    """A new form of a table would break the node's start."""
    table = "| field | meaning |\n|---|---|\n| `x`, `y` | both; `z` inside |"
    text = f"**`a.b`** does\nthis\n\n{table}\n\n## Next\n| `w` | no |\n"
    words = parse_control_document(text)
    assert words.commands == {"a.b": "does this"}
    assert words.field("a.b", "x") == words.field("a.b", "y") == "both; `z` inside"
    assert words.field("a.b", "z") == "See `x`." and words.field("a.b", "w") == ""
