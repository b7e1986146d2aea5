"""SPEC.md and WIRE.md say what the code does: generated tables are fresh, and what they name exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from p2p_flock.alliance import balloting, leading, proposing, trainer, validator
from p2p_flock.alliance.gossip import HINTS
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
    assert messages.DOCUMENT_BYTES_MAX == 256 << 10 and messages.MANIFEST_BYTES_MAX == messages.CHUNK_BYTES == 1 << 20
    assert all(f"`{hint}`" in wire for hint in HINTS)


def test_spec__names_every_record_of_the_journal() -> None:
    """A promise would not be in the table of restarts."""
    spec = SPEC.read_text(encoding="utf-8")
    kinds = (trainer.SECRETS, trainer.CONTRIBUTION, trainer.UNMASKING, proposing.HAVE, proposing.SEAL_SIGNATURE)
    for kind in (*kinds, balloting.BALLOT):
        assert f"`{kind}`" in spec


@pytest.mark.parametrize("document", [SPEC, WIRE], ids=lambda path: path.name)
def test_document__names_files_that_exist(document: Path) -> None:
    """A reader would look for a file that is gone."""
    package = ROOT / "p2p_flock"
    names = set(re.findall(r"`((?:\w+/)*\w+\.(?:py|md|json|sol))`", document.read_text(encoding="utf-8")))
    for name in sorted(names):
        found = [place / name for place in (document.parent, package, ROOT) if (place / name).exists()]
        assert found, f"{document.name} names {name}"
