"""Reading the daemons' metrics files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2p_flock.errors import StoreError
from p2p_flock.testnet.metrics import FILE_NAME
from tests.testnet.makers import closed_line, make_node, phase_line


def test_metrics__come_as_they_are_written(tmp_path: Path) -> None:
    """The table would show a round only after it has ended."""
    node = make_node(tmp_path, "node0", [phase_line()])
    assert node.phases[1]["train"].seconds == 1.0
    with (node.home / FILE_NAME).open("a") as file:
        file.write(json.dumps(closed_line()) + "\n")
    node.refresh()
    assert node.closed[1].outcome == "settled"


def test_metrics__wait_for_the_end_of_a_line(tmp_path: Path) -> None:
    """A daemon killed while it wrote would make the launcher fail."""
    node = make_node(tmp_path, "node0", [])
    line = json.dumps(closed_line())
    (node.home / FILE_NAME).write_text(line[:50])
    node.refresh()
    assert node.closed == {}
    (node.home / FILE_NAME).write_text(line + "\n")
    node.refresh()
    assert node.closed[1].bytes_sent == 1_000


def test_metrics__of_a_restarted_round_add_up(tmp_path: Path) -> None:
    """A crash would hide bytes that were sent, or show a shorter training than there was."""
    lines = [phase_line(ended_at=14.0), phase_line(ended_at=12.0), closed_line(bytes_sent=1), closed_line(bytes_sent=2)]
    node = make_node(tmp_path, "node0", lines)
    assert node.phases[1]["train"].seconds == 3.0
    assert node.closed[1].bytes_sent == 3


def test_metrics__of_a_round_void_before_the_beacon(tmp_path: Path) -> None:
    """A round without a seed must be told, not crash the report."""
    line = closed_line(
        outcome="voided", seed=None, survivors=[], trainers=[], validators=[], seat=None, model_digest=None
    )
    node = make_node(tmp_path, "node0", [line])
    assert node.closed[1].seed is None
    assert node.closed[1].trainers == ()


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"event": "phase"}', '{"event": "closed", "round": "x"}'])
def test_metrics__refuse_what_is_no_line(tmp_path: Path, text: str) -> None:
    """A daemon that writes another form would silently vanish from the report."""
    node = make_node(tmp_path, "node0", [])
    (node.home / FILE_NAME).write_text(text + "\n")
    with pytest.raises(StoreError, match=FILE_NAME):
        node.refresh()
