"""Runs slither and compares its findings with the explanations in slither.toml: none may lack one, none may be stale.

    scripts/audit slither

An explanation covers one detector at the places it names: `Contract.function`, `Contract.variable`, or `*` for all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from scratch import open_scratch, run_tool

EXPLANATIONS = Path(__file__).with_name("slither.toml")
SLITHER = Path(sys.executable).with_name("slither")
TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Finding:
    """One result: the detector, where it points, and slither's own words."""

    check: str
    place: str
    text: str


def run_slither() -> list[Finding]:
    """All findings in `src/`."""
    with open_scratch() as contracts:
        answer = run_tool(
            [str(SLITHER), ".", "--json", "-", "--filter-paths", "node_modules|test/"], contracts, TIMEOUT_S
        )
        if not answer.stdout.startswith("{"):
            raise SystemExit(f"slither failed:\n{answer.stderr[-3000:]}")
        results = json.loads(answer.stdout)["results"].get("detectors", [])
    return [Finding(result["check"], name_place(result), result["description"].strip()) for result in results]


def name_place(result: dict) -> str:
    """`Contract.element` of what the finding points at first."""
    element = result["elements"][0]
    parent = element.get("type_specific_fields", {}).get("parent", {})
    if element["type"] == "node":  # a statement: its function, and that one's contract
        grandparent = parent.get("type_specific_fields", {}).get("parent", {})
        return f"{grandparent.get('name', '')}.{parent.get('name', '')}"
    if element["type"] in ("contract", "pragma"):
        return str(element["name"])
    return f"{parent.get('name', '')}.{element['name']}"


def explain(findings: list[Finding]) -> tuple[list[Finding], list[str]]:
    """Findings without an explanation, and explanations without a finding."""
    open_findings, used = [], Counter()
    explained = tomllib.loads(EXPLANATIONS.read_text())["explained"]
    for finding in findings:
        for index, entry in enumerate(explained):
            if entry["check"] == finding.check and ("*" in entry["where"] or finding.place in entry["where"]):
                used[index] += 1
                used[index, finding.place] += 1
                break
        else:
            open_findings.append(finding)
    stale = []
    for index, entry in enumerate(explained):
        places = [place for place in entry["where"] if place != "*" and not used[index, place]]
        if places or not used[index]:
            stale.append(f"{entry['check']}: {', '.join(places) or '*'}")
    return open_findings, stale


def main() -> int:
    """Print the table; 1 if anything is open or stale."""
    try:
        findings = run_slither()
    except subprocess.TimeoutExpired:
        print(f"slither took longer than {TIMEOUT_S:.0f} s", file=sys.stderr)
        return 1
    open_findings, stale = explain(findings)
    for check, count in sorted(Counter(finding.check for finding in findings).items()):
        left = sum(finding.check == check for finding in open_findings)
        print(f"  {check:32} {count:4} found {left:4} unexplained")
    for finding in open_findings:
        print(f"\nunexplained {finding.check} at {finding.place}:\n{finding.text[:600]}")
    for text in stale:
        print(f"\nan explanation that explains nothing any more: {text}")
    print(f"\n{len(findings)} findings, {len(open_findings)} unexplained, {len(stale)} stale explanations")
    return 1 if open_findings or stale else 0


if __name__ == "__main__":
    sys.exit(main())
