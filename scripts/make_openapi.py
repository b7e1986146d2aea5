"""Writes ``docs/reference/openapi.json``: ``make_openapi.py [--check]``, called by ``scripts/openapi``.

The document is what a node serves at ``/api/v1/openapi.json``. A default test fails where the copy is stale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2p_flock.daemon.dashboard import describe_interface  # noqa: E402  the path is set just above

COPY = ROOT / "docs" / "reference" / "openapi.json"


def main() -> int:
    """Write the copy, or with ``--check`` compare it; the exit code."""
    text = json.dumps(describe_interface(), indent=1, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["--check"]:
        is_same = COPY.exists() and COPY.read_text(encoding="utf-8") == text
        print("up to date" if is_same else f"{COPY} is stale: run scripts/openapi")
        return 0 if is_same else 1
    COPY.parent.mkdir(parents=True, exist_ok=True)
    COPY.write_text(text, encoding="utf-8")
    print(f"written: {COPY}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
