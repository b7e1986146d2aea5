"""The second environment of ``scripts/bench secagg``, next to ``.venv``: Flower, and what its functions import.

Made on first use, and again when a version below changes. The project's own environment is never touched: Flower asks
for versions of click, rich and others that the project does not have.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from p2p_flock.errors import UsageError

FOLDER = ".venv-flower"

# Installed with --no-deps: the whole of Flower also asks for a web server, a database, a package manager and, from
# version to version, for releases that an index may not have. This is what the functions that are measured import.
PINS = (
    "flwr==1.41.0",
    "numpy==2.4.6",
    "cryptography==50.0.2",
    "cffi==2.1.1",
    "pycparser==3.12",
    "pycryptodome==3.24.1",  # Flower's Shamir
    "protobuf==6.33.6",
    "grpcio==1.85.1",
    "typing_extensions==4.16.0",
    "httpx==0.28.1",
    "idna==3.20",
    "iterators==0.0.2",
    "typer==0.20.1",
    "click==8.5.1",
    "rich==14.3.4",
    "shellingham==1.5.4",
)


def prepare_flower(root: Path) -> Path:
    """The Python of the environment under ``root``, made where it is missing or has other versions.

    Raises:
        UsageError: it could not be made; the text holds what the installer said.
    """
    folder = root / FOLDER
    python, stamp = folder / "bin" / "python", folder / ".versions"
    wanted = hashlib.sha256("\n".join((sys.version, *PINS)).encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    sys.stderr.write(f"Installing Flower into {FOLDER} (once; about half a minute, 170 MB)\n")
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    _run([str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", *PINS])
    stamp.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise UsageError(f"Flower's environment cannot be made; {' '.join(command[:4])} … said:\n{done.stderr[-2000:]}")
