"""Every numbered invariant of contracts/README.md names tests, and the tests exist."""

from __future__ import annotations

import re
from pathlib import Path

CONTRACTS = Path(__file__).parents[2] / "contracts"


def check_invariants(start: str, end: str, form: str) -> None:
    """Numbered sentences of one section, counted from 1 without a gap, each with tests that exist."""
    text = (CONTRACTS / "README.md").read_text(encoding="utf-8")
    invariants = re.findall(form, text.split(start, 1)[1].split(end, 1)[0], flags=re.MULTILINE)
    sources = "\n".join(path.read_text(encoding="utf-8") for path in sorted((CONTRACTS / "test").rglob("*.sol")))
    assert [int(number) for number, _ in invariants] == list(range(1, len(invariants) + 1))
    assert invariants, f"no invariants behind {start!r}"
    for number, sentence in invariants:
        names = re.findall(r"`(\w+_\w+)`", sentence) or re.findall(r"`(\w+)`", sentence)
        missing = [name for name in names if f"function {name}(" not in sources]
        assert names, f"invariant {number} names no test"
        assert not missing, f"invariant {number} names tests that do not exist: {missing}"


def test_contracts_readme__every_invariant_has_a_test() -> None:
    """An invariant could be promised that nothing checks, or whose test was renamed away."""
    check_invariants("## Invariants", "\n## ", r"^(\d+)\. (.+)$")


def test_contracts_readme__every_audit_finding_has_a_test() -> None:
    """A finding of the audit could be said to be impossible by a test that was renamed away."""
    text = (CONTRACTS / "README.md").read_text(encoding="utf-8")
    section = text.split("## Audit findings", 1)[1].split("\n## ", 1)[0]
    names = re.findall(r"`(test\w*__\w+)`", section)
    sources = "\n".join(path.read_text(encoding="utf-8") for path in sorted((CONTRACTS / "test").rglob("*.sol")))
    assert len(names) >= 10
    assert not [name for name in names if f"function {name}(" not in sources]


def test_contracts_readme__every_protocol_invariant_has_a_test() -> None:
    """An invariant of token, votes or emission could be promised that no test checks, or none any more."""
    check_invariants("### Invariants of the protocol contracts", "\n### ", r"^- G(\d+)\. (.+)$")
