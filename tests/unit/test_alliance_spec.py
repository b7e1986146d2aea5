"""SPEC.md and WIRE.md say what the code does: generated tables are fresh, and what they name exists."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest

from p2p_flock.alliance import balloting, leading, lost_trainers, proposing, trainer, validator
from p2p_flock.alliance.gossip import HINTS
from p2p_flock.alliance.risk import (
    choose_suspicion_bound,
    compute_blocking,
    compute_capture,
    compute_risk,
    compute_seat_rates,
    compute_suspicion_chance,
    compute_tolerated,
)
from p2p_flock.alliance.solver import Population
from p2p_flock.wire import messages

ROOT = Path(__file__).parents[2]
SPEC, WIRE = (ROOT / path for path in ("p2p_flock/alliance/SPEC.md", "p2p_flock/wire/WIRE.md"))


def test_tables__are_those_of_the_code() -> None:
    """A reader would implement another machine, or other messages."""
    script = ROOT / "scripts" / "protocol_tables.py"
    run = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_spec__numbers_are_those_of_the_code() -> None:
    """A reader would wait for other times."""
    spec, wire = SPEC.read_text(encoding="utf-8"), WIRE.read_text(encoding="utf-8")
    assert trainer.RESEND_MS == validator.REPEAT_MS == 2000 and "every 2 s" in spec and "every 2 s" in wire
    assert trainer.FETCH_RETRY_MS == validator.FETCH_RETRY_MS == 1000 and "asks again every 1 s" in spec
    assert trainer.LAST_CALL_PERMILLE == 800 and "80 % of the unmask phase" in spec
    assert leading.GONE_GRACE_MS == 1000 and "a grace of 1 s" in spec
    assert lost_trainers.LOST_AFTER_SHARE == 6 and "for a sixth of the train phase" in spec
    assert lost_trainers.CONNECTED_SEATS_MAX == 256 and "more than 256 seats nobody is lost" in spec
    assert messages.DOCUMENT_BYTES_MAX == 256 << 10 and messages.MANIFEST_BYTES_MAX == messages.CHUNK_BYTES == 1 << 20
    assert all(f"`{hint}`" in wire for hint in HINTS)


def test_spec__names_every_record_of_the_journal() -> None:
    """A promise would not be in the table of restarts."""
    spec = SPEC.read_text(encoding="utf-8")
    kinds = (trainer.SECRETS, trainer.CONTRIBUTION, trainer.UNMASKING, proposing.HAVE, proposing.SEAL_SIGNATURE)
    for kind in (*kinds, balloting.BALLOT):
        assert f"`{kind}`" in spec


def table_rows(first_cell: str) -> list[list[str]]:
    """Cells of the rows of the table whose head begins so."""
    lines = SPEC.read_text(encoding="utf-8").splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {first_cell} |"))
    rows = takewhile(lambda line: line.startswith("|"), lines[start:])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_spec__committees_are_captured_as_computed() -> None:
    """A creator would trust in a committee that is too small."""
    head, _, *rows = table_rows("validators V")
    assert len(rows) == 6
    for label, *cells in rows:
        share = re.search(r"γ = \.(\d)", label)
        assert share is not None
        compute = compute_capture if label.startswith("captured") else compute_blocking
        for validators, cell in zip(head[1:], cells, strict=True):
            chance = compute(Population(100, int(validators), 1, 1), int(share[1]) * 10)
            assert cell == f"{float(chance) * 100:.2g}", (label, validators)


def test_spec__bounds_are_those_that_are_chosen() -> None:
    """A creator would choose a bound by another model than the command does."""
    _, _, *rows = table_rows("N")
    assert len(rows) == 8
    for row in rows:
        seats, validators, cohorts, rounds, tolerated, bad = (int(cell) for cell in row[:6])
        population = Population(seats, validators, cohorts, rounds, -(-1000 * bad // seats))
        bound = choose_suspicion_bound(population)
        risk = compute_risk(population, bad, bound)
        told = (f"{risk.clean_share:.0%}", f"{bound}", f"{risk.false_suspicion:.2%}", f"{risk.rounds_to_suspicion:.0f}")
        assert tuple(cell.replace(" %", "%") for cell in row[6:]) == told
        assert tolerated == compute_tolerated(population)


def test_spec__framing_is_as_likely_as_told() -> None:
    """A member would fear framing more or less than it must."""
    population, spec = Population(20, 5, 3, 100, 150), SPEC.read_text(encoding="utf-8")
    rates = compute_seat_rates(population, 3, True)
    part = float(rates.rejected / (rates.rejected + rates.adopted))
    chances = [compute_suspicion_chance(rates, bound, 100) for bound in (15, 5)]
    for text in (
        f".{part * 100:.0f} of the verdicts",
        f"with .{chances[0] * 10_000:04.0f}",
        f".{chances[1] * 100:.0f}: a low",
    ):
        assert text in " ".join(spec.split())


@pytest.mark.parametrize("document", [SPEC, WIRE], ids=lambda path: path.name)
def test_document__names_files_that_exist(document: Path) -> None:
    """A reader would look for a file that is gone."""
    package = ROOT / "p2p_flock"
    names = set(re.findall(r"`((?:\w+/)*\w+\.(?:py|md|json|sol))`", document.read_text(encoding="utf-8")))
    for name in sorted(names):
        found = [place / name for place in (document.parent, package, ROOT) if (place / name).exists()]
        assert found, f"{document.name} names {name}"
