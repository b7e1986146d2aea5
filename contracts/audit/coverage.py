"""Line and branch coverage of contracts/src by forge's tests; `scripts/audit coverage` runs it.

Our tests deploy what the build made (`out/Alliance.sol/Alliance.json`), so that they run the real, optimized code;
forge counts only what it has instrumented itself. So this runs a copy of the tests that deploy by name, without
compiler profiles. Tests of code size and of the files in `out/` say nothing there, and fail.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from scratch import open_scratch, tool_environment

PERCENT_MIN = 95.0
COMMAND = ["forge", "coverage", "--report", "lcov", "--no-match-path", "test/{GasBench,EvidenceGas,Gas}.t.sol"]


def _deploy_by_name(contracts: Path) -> None:
    """Let forge deploy the contracts that it instruments."""
    for path in sorted((contracts / "test").rglob("*.sol")):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r'"out/(\w+)\.sol/(\w+)\.json"', r'"\1.sol:\2"', text)
        text = re.sub(
            r'string\.concat\("out/", (.+?), "\.sol/", \1, "\.json"\)', r'string.concat(\1, ".sol:", \1)', text
        )
        path.write_text(text, encoding="utf-8")
    settings = contracts / "foundry.toml"
    text = settings.read_text(encoding="utf-8")
    text = re.sub(r"^additional_compiler_profiles = .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^compilation_restrictions = \[(\n.*?\n\]|.*\])\n", "", text, flags=re.MULTILINE | re.DOTALL)
    settings.write_text(text.replace("gas_snapshot_check = true", "gas_snapshot_check = false"), encoding="utf-8")


def _print_table(report: str) -> bool:
    """Print lines and branches of every file of src, and what was not reached. Returns whether both are enough."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    missed: list[str] = []
    name = ""
    for line in report.splitlines():
        kind, _, value = line.partition(":")
        fields = value.split(",")
        if kind == "SF":
            name = value
        elif name.startswith("src/") and kind in ("DA", "BRDA"):
            column = 0 if kind == "DA" else 2
            hit = fields[1 if kind == "DA" else 3] not in ("0", "-")
            counts[name][column] += hit
            counts[name][column + 1] += 1
            if not hit:
                missed.append(f"{name}:{fields[0]} {'line' if kind == 'DA' else 'branch'}")
    total = [sum(row[i] for row in counts.values()) for i in range(4)]
    for file, row in [*sorted(counts.items()), ("all", total)]:
        print(f"{file:<48} lines {row[0]:>4} of {row[1]:>4}   branches {row[2]:>3} of {row[3]:>3}")
    for place in missed:
        print(f"not reached: {place}")
    return all(100 * reached >= PERCENT_MIN * count for reached, count in (total[:2], total[2:]))


def main() -> None:
    """Words are given to `forge coverage`. Exits with 1 if lines or branches are below 95 %."""
    with open_scratch() as contracts:
        _deploy_by_name(contracts)
        subprocess.run([*COMMAND, *sys.argv[1:]], cwd=contracts, env={**tool_environment()}, check=False)
        enough = _print_table((contracts / "lcov.info").read_text(encoding="utf-8"))
    sys.exit(0 if enough else 1)


if __name__ == "__main__":
    main()
