"""The gas measurement: the smallest cell on a real chain, the table, the README's block."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib import resources
from pathlib import Path

import pytest

from p2p_flock.bench.gas import BEGIN, END, README, main, write_readme
from p2p_flock.bench.gas_table import Figures, compute_spreads, find_missed, render

ROOT = Path(__file__).resolve().parents[2]
CELL = Figures(7, 6, 1, 200_000, 150_000, 150_000, 900_000, 500_000, 14, (0.01, 0.02), (0.02, 0.03))


def test_gas__smallest_cell_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The measurement would not run on the contracts as they are, or measure something else than a round."""
    file = tmp_path / "gas.json"
    assert main(["--validators", "3", "--trainers", "6", "--json", str(file)]) == 0
    (cell,) = json.loads(file.read_text())["cells"]
    assert cell["gas"] == cell["seal_gas"] + cell["commit_gas"] + cell["settle_gas"]
    assert 170_000 < cell["seal_gas"] < 300_000  # drand alone takes 130,000
    assert cell["gas"] < 600_000
    assert cell["flock_transactions"] == 3 + 6 + 1
    assert cell["flock_gas"] > 10 * 40_000  # each stores a word and pays for a transaction
    assert 0 < cell["usd"][0] < cell["usd"][1]
    assert "| 3 | 6 |" in capsys.readouterr().out


def test_gas__flock_style_is_compiled_from_its_source() -> None:
    """The comparison would be with another contract than a reader sees. ``node bench/build.js`` mends it."""
    artifact = json.loads(resources.files("p2p_flock.bench").joinpath("artifacts", "FlockStyle.json").read_text())
    source = (ROOT / "contracts" / "bench" / "FlockStyle.sol").read_bytes()
    assert artifact["sourceSha256"] == hashlib.sha256(source).hexdigest()


def test_table__says_what_is_missed() -> None:
    """A round that became too dear would stand in the table as if it were promised so."""
    assert find_missed([CELL]) == []
    dear = dataclasses.replace(CELL, settle_gas=250_001)
    assert [text.split(":")[0] for text in find_missed([dear])] == ["V = 7"]
    uneven = dataclasses.replace(CELL, trainers=500, settle_gas=161_000)
    assert compute_spreads([CELL, uneven]) == {7: 2.2}
    assert [text.split(":")[0] for text in find_missed([CELL, uneven])] == ["flat in T"]
    table = render([CELL, uneven], "Prices.")
    assert table.count("\n| 7 |") == 2
    assert "- MISSED: flat in T" in table
    assert "- Met: V = 7" in table


def test_readme__gets_the_table_between_its_marks(tmp_path: Path) -> None:
    """Writing the table would take the rest of the README with it."""
    file = tmp_path / "README.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_readme(file, "| new |\n")
    assert file.read_text() == f"before\n{BEGIN}\n| new |\n{END}\nafter\n"
    file.write_text("no marks")
    with pytest.raises(RuntimeError, match="lacks the marks"):
        write_readme(file, "")
    assert BEGIN in README.read_text()
