"""A copy of the contracts that tools may build in, clean and change: slither cleans `out/`, mutation edits sources.

Called by the scripts beside it, which `scripts/audit` runs with the Python of its own environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

CONTRACTS = Path(__file__).resolve().parent.parent
COPIED = ("src", "test", "script", "snapshots")
FILES = ("foundry.toml", "package.json", "package-lock.json")
FORGE = CONTRACTS / "node_modules" / "@foundry-rs" / "forge-linux-amd64" / "bin"


@contextmanager
def open_scratch() -> Iterator[Path]:
    """A folder like ours, with the packages and test vectors of ours; gone afterwards."""
    with TemporaryDirectory(prefix="p2p_flock_audit_") as folder:
        contracts = Path(folder) / "contracts"
        contracts.mkdir()
        for name in COPIED:
            shutil.copytree(CONTRACTS / name, contracts / name)
        for name in FILES:
            shutil.copy(CONTRACTS / name, contracts / name)
        # Dependencies must lie inside the project, or forge's coverage and slither do not find them.
        shutil.copytree(CONTRACTS / "node_modules", contracts / "node_modules", symlinks=True)
        (contracts.parent / "tests").symlink_to(CONTRACTS.parent / "tests")
        (contracts.parent / "p2p_flock").symlink_to(CONTRACTS.parent / "p2p_flock")
        yield contracts


def tool_environment() -> Mapping[str, str]:
    """The environment in which forge is found."""
    return {**os.environ, "PATH": f"{FORGE}:{os.environ['PATH']}", "FOUNDRY_DISABLE_NIGHTLY_WARNING": "1"}


def run_tool(
    command: list[str], folder: Path, timeout_s: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end; raises subprocess.TimeoutExpired at the bound, after the tool was killed."""
    return subprocess.run(
        command,
        cwd=folder,
        env={**tool_environment(), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
