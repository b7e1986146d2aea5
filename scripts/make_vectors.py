#!/usr/bin/env python3
"""Writes the vectors that every implementation of the protocol must agree with: ``make_vectors.py [--check] [NAME…]``.

Each section here is one file in ``tests/vectors/``: a function that returns its cases, half of them ``bad_*``. Where it
can, it computes the expected values by its own slow and obvious means, not with the code under test. Vectors shared
with the contracts come from ``contracts/script/make_vectors.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "scripts"))

import vectors_alliance  # noqa: E402  the path is set just above
import vectors_crypto  # noqa: E402
import vectors_evidence  # noqa: E402
import vectors_pay  # noqa: E402
import vectors_secagg  # noqa: E402
import vectors_solver  # noqa: E402

FOLDER = ROOT / "tests" / "vectors"

# To add a section: a function that returns {"about": text, "cases": [...]}, a line here, a test in tests/vectors/.
SECTIONS: dict[str, Callable[[], dict[str, object]]] = {
    "shamir": vectors_crypto.make_shamir,
    "masking": vectors_crypto.make_masking,
    "fixed_point": vectors_crypto.make_fixed_point,
    "merkle": vectors_crypto.make_merkle,
    "secagg": vectors_secagg.make_secagg,
    "solver": vectors_solver.make_solver,
    "evidence": vectors_evidence.make_evidence,
    "messages": vectors_alliance.make_messages,
    "sealing": vectors_alliance.make_sealing,
    "voting": vectors_alliance.make_voting,
    "model": vectors_alliance.make_model,
    "pay": vectors_pay.make_pay,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a file is stale")
    parser.add_argument("names", nargs="*", choices=[*SECTIONS, []], metavar="NAME")
    arguments = parser.parse_args()
    stale = []
    for name in arguments.names or SECTIONS:
        text = json.dumps(SECTIONS[name](), indent=1, ensure_ascii=False) + "\n"
        path = FOLDER / f"{name}.json"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.name)
        if not arguments.check:
            path.write_text(text, encoding="utf-8")
    print(("stale: " if arguments.check else "written: ") + (", ".join(stale) or "none"))
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
