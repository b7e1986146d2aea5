"""What scripts read: fields of ``status --json`` and ``watch --json`` never go and never change their type."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_args, get_type_hints, is_typeddict

from p2p_flock.daemon.control_messages import StatusResult
from p2p_flock.daemon.watch_messages import WatchResult
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import STATUS, FakeDaemon
from tests.cli.watch_samples import SAMPLES

FIELDS = Path(__file__).parents[1] / "vectors" / "stable_fields.json"


def fields_of(hint: Any, place: str) -> dict[str, str]:
    """Type by dotted name of every field, those of objects and of lists of them among it."""
    found = {}
    for name, kind in get_type_hints(hint).items():
        inner = [one for one in (kind, *get_args(kind)) if is_typeddict(one)]
        text = getattr(kind, "__name__", str(kind)) if is_typeddict(kind) or not get_args(kind) else str(kind)
        found[f"{place}.{name}"] = text.replace("p2p_flock.daemon.watch_messages.", "")
        for one in inner:
            found |= fields_of(one, f"{place}.{name}")
    return found


def test_fields__are_those_that_scripts_know() -> None:
    """A monitoring script would break with an update. New fields: UPDATE_FIELDS=1, which takes none away."""
    now = fields_of(StatusResult, "status") | fields_of(WatchResult, "watch")
    known: dict[str, str] = json.loads(FIELDS.read_text()) if FIELDS.exists() else {}
    changed = {name: (kind, now.get(name)) for name, kind in known.items() if now.get(name) != kind}
    assert not changed, f"these went or changed, which takes another WATCH_FORMAT or version: {changed}"
    if os.environ.get("UPDATE_FIELDS"):
        FIELDS.write_text(json.dumps(dict(sorted(now.items())), indent=1) + "\n")
        known = now
    assert set(now) == set(known), "new fields: UPDATE_FIELDS=1, and CONTROL.md"


def test_status_json__is_the_whole_answer(run: RunCommand, daemon: FakeDaemon) -> None:
    """What only the human text shows could not be watched by a script; a note among it would break its reader."""
    ran = run("status", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == STATUS
    assert set(STATUS) == set(StatusResult.__annotations__)


def test_status_json__without_a_daemon_is_no_json(run: RunCommand) -> None:
    """A script would take an error for an answer: the exit code tells it."""
    ran = run("status", "--json")
    assert (ran.code, ran.out) == (3, "")


def test_watch_json__is_the_whole_answer(run: RunCommand, daemon: FakeDaemon) -> None:
    """The scores or the work would be for the screen only."""
    ran = run("watch", "--once", "--json")
    assert json.loads(ran.out) == SAMPLES["collecting"]
