"""The measurement of bulk transfer runs, and checks what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2p_flock.bench import transfer


def test_transfer__measures_all_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures in the report could not be repeated."""
    report = tmp_path / "report.json"
    assert transfer.main(["--mebibytes", "4", "--runs", "1", "--json", str(report)]) == 0
    measured = json.loads(report.read_text())["measurements"]
    assert [one["way"] for one in measured] == [*transfer.WAYS, transfer.WAYS[0]]
    assert all(one["megabytes_per_second"] > 0 for one in measured)
    shown = capsys.readouterr().out
    assert all(way in shown for way in transfer.WAYS)
