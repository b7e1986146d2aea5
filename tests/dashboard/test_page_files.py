"""The page's own files: their unit tests, their types, and the rules that keep a peer's text from becoming markup."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "p2p_flock" / "dashboard" / "static"
FRONTEND = ROOT / "p2p_flock" / "dashboard" / "frontend"
OWN_FILES = sorted(path for path in STATIC.iterdir() if path.is_file())
FILE_LINES_MAX = 500
MODULE_LINES_MAX = 300
# Ways to turn text into markup, code or a request to somebody else. The only address in the page is this node's own.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc"
    r"|https?://|//cdn|\bon(?:click|load|error)=\""
)


def run_tool(*command: str) -> subprocess.CompletedProcess[str]:
    """In the folder of the page's tools; Node.js may be the one of the virtual environment."""
    path = os.pathsep.join((os.environ["PATH"], str(ROOT / ".venv" / "bin")))
    assert (FRONTEND / "node_modules" / "typescript").is_dir(), "the page's tools are missing: run scripts/setup --test"
    program = shutil.which(command[0], path=path)
    assert program is not None, f"{command[0]} is missing: run scripts/setup --test"
    return subprocess.run(
        [program, *command[1:]],
        cwd=FRONTEND,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_page__its_unit_tests_pass() -> None:
    """Who is called late, what a round's outcome means or what a figure says would be wrong."""
    result = run_tool("node", "--test")
    assert result.returncode == 0, result.stdout + result.stderr


def test_page__its_types_are_sound() -> None:
    """A field that the node does not send would be read, and shown as "undefined"."""
    result = run_tool(str(FRONTEND / "node_modules" / ".bin" / "tsc"), "--project", ".")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", OWN_FILES, ids=lambda path: path.name)
def test_page__text_of_peers_cannot_become_markup(path: Path) -> None:
    """A peer could run code in the operator's browser, or the page would call a third party."""
    text = path.read_text()
    found = [match for match in FORBIDDEN.findall(text) if not match.startswith("http") or path.suffix != ".svg"]
    assert found == []
    assert len(text.splitlines()) <= (MODULE_LINES_MAX if path.suffix in (".mjs", ".js") else FILE_LINES_MAX)
    if path.suffix in (".mjs", ".js"):
        assert text.startswith("// @ts-check\n")


def test_page__everything_it_loads_is_there() -> None:
    """The page would stay empty where a module or a style sheet was renamed."""
    index = (STATIC / "index.html").read_text()
    wanted = re.findall(r'(?:href|src)="/static/([^"]+)"', index)
    for path in STATIC.glob("*.mjs"):
        wanted += re.findall(r'(?:from|import\() ?"\./([^"]+)"', path.read_text())
    assert len(wanted) > 20
    assert [name for name in wanted if not (STATIC / name).is_file()] == []
    assert "<style" not in index and "style=" not in index, "the content policy refuses both"
