"""The threat model names rules and tests; what it names must be there, and the README must lead to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from p2p_flock.alliance.risk import compute_blocking, compute_capture, compute_committee_chance
from p2p_flock.alliance.solver import Population
from p2p_flock.bench.attacks import CASES, TABLE_BEGINS, TABLE_ENDS, Row, render, write_table
from p2p_flock.net import admission, hardening, limits

ROOT = Path(__file__).resolve().parents[2]
MODEL = (ROOT / "docs" / "threat-model.md").read_text()
ATTACKS = (ROOT / "docs" / "attacks.md").read_text()


def test_threat_model__named_files_exist() -> None:
    """A claim would stand on a test that is gone."""
    named = set(re.findall(r"`((?:tests|p2p_flock|contracts|scripts)/[\w./-]+)", MODEL))
    assert len(named) > 30
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    linked = re.findall(r"\]\(([^)#]+)\)", MODEL)
    assert [name for name in linked if not (ROOT / "docs" / name).exists()] == []


@pytest.mark.parametrize("promise", [f"(P{number})" for number in range(1, 9)])
def test_threat_model__every_promise_has_an_attacker(promise: str) -> None:
    """A promise that nobody is said to attack would be believed without a test."""
    assert promise in MODEL


def test_threat_model__is_linked() -> None:
    """Nobody would find what is not defended."""
    readme = (ROOT / "README.md").read_text()
    assert "docs/threat-model.md" in readme and "docs/attacks.md" in readme


def test_threat_model__numbers_are_those_of_the_code() -> None:
    """The text would go on telling limits of an earlier version."""
    text = " ".join(MODEL.split())
    assert f"{admission.STRANGERS_MAX} of {admission.INBOUND_CONNECTIONS_MAX} inbound connections" in text
    assert f"The list of bans holds {hardening.BANS_MAX}" in text
    assert hardening.BAN_SECONDS == 120.0 and "for two minutes" in text
    assert limits.BANS_PER_ADDRESS.burst == 8.0 and "after eight bans from one address" in text
    assert limits.LINES_PER_STATEMENT.burst == 20.0 and "speak twenty times a minute" in text


def test_threat_model__captured_committees_are_computed() -> None:
    """A chance worked out by hand would stay when the quorums change."""
    table = MODEL.partition("### Captured committees")[2].partition("A prevented verdict")[0]
    lines = [line for line in table.splitlines() if re.match(r"\| \d", line)]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len(rows) == 7
    for owners, validators, *shown in rows:
        seats, bad = (int(number) for number in owners.split(","))
        population = Population(seats, int(validators), 1, 1, 0, 0)
        chances = (
            compute_capture(population, bad),
            compute_committee_chance(population, bad, population.validator_count // 2 + 1),
            compute_blocking(population, bad),
        )
        for text, chance in zip(shown, chances, strict=True):
            assert read_chance(text) == pytest.approx(float(chance), rel=0.05), (owners, validators, text)


def read_chance(text: str) -> float:
    """``2·10⁻⁶``, ``.9 %`` or ``0``."""
    power = re.fullmatch(r"([\d.]+)·10⁻(\S)", text)
    if power:
        return float(power[1]) * 10.0 ** -"⁰¹²³⁴⁵⁶⁷⁸⁹".index(power[2])
    return float(text.rstrip(" %")) / (100 if "%" in text else 1)


def test_attacks__the_table_is_of_this_version() -> None:
    """Figures of attacks that are no longer made would be believed."""
    table = ATTACKS.partition(TABLE_BEGINS)[2].partition(TABLE_ENDS)[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")][2:]
    assert rows and set(rows) <= set(CASES)


def test_attacks__the_table_is_written_between_its_marks(tmp_path: Path) -> None:
    """The text around the table would be lost with the next measurement."""
    path = tmp_path / "attacks.md"
    path.write_text(f"before\n{TABLE_BEGINS}\nold\n{TABLE_ENDS}\nafter\n")
    row = Row("streams", {"streams": 1500}, 0.1, 0.25, 2_000_000, 3.0, 1.5, 9.0, 2.0, 0, 0.4, False, 0, 120)
    write_table(path, "here.", render([row]))
    text = path.read_text()
    assert text.startswith(f"before\n{TABLE_BEGINS}\nhere.\n") and text.endswith(f"{TABLE_ENDS}\nafter\n")
    assert "old" not in text
    assert "| streams | 1.5 k streams | 25% (10%) | +2 MB | 3 ms ×1.5 | 9 ms ×2.0 | 0 | 0.4 s | 0.1 kB |" in text
    path.write_text("nothing")
    with pytest.raises(ValueError, match="no place"):
        write_table(path, "", "")
