"""scripts/setup: nothing to do the second time, and a clear word where something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (
    *(
        "bash",
        "env",
        "cat",
        "cp",
        "cmp",
        "cut",
        "dirname",
        "find",
        "flock",
        "grep",
        "id",
        "mkdir",
        "mv",
        "rm",
        "sha256sum",
    ),
    *("tail", "tr", "touch"),
)
# Stands in for Python: makes a "virtual environment" of itself, says yes to every question, and notes installations.
FAKE_PYTHON = """#!{bin}/bash
case "$1 $2" in
  "--version ") echo "Python 3.11.0" ;;
  "-m venv") mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; echo "#!$4/bin/python" > "$4/bin/pip" ;;
  "-m pip") echo "$*" >> {calls} ;;
  "-m compileall") echo "$*" >> {calls}.compiled ;;
  "-c import sysconfig"*) echo {include} ;;
esac
"""
FAKE_NPM = """#!{bin}/bash
echo "npm $*" >> {calls}; mkdir -p $2/node_modules; rm -f $2/node_modules/.installed*
"""
FAKE_NODE = """#!{bin}/bash
case "$1" in */vendor.mjs) mkdir -p p2p_flock/dashboard/static/vendor ;; esac
"""
PAGE = "p2p_flock/dashboard/frontend"
FAKE_ID = "#!{bin}/bash\necho {code}\n"
FAKE_TOOL = "#!{bin}/bash\nexit {code}\n"


def call(script: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *arguments], env=environment, check=False, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without anything set up, and a folder ``bin`` with the most basic programs only."""
    for name in ("scripts", "contracts", "bin", PAGE, "p2p_flock/dashboard/static"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("pyproject.toml", "scripts/setup", "scripts/constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "contracts" / name, tmp_path / "contracts" / name)
        shutil.copy(ROOT / PAGE / name, tmp_path / PAGE / name)
    shutil.copy(ROOT / PAGE / "vendor.mjs", tmp_path / PAGE / "vendor.mjs")
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None, name
        (tmp_path / "bin" / name).symlink_to(found)
    return tmp_path


def test_setup__without_python_says_what_to_install(checkout: Path) -> None:
    """A newcomer would see a traceback or a bare "command not found"."""
    result = call(checkout / "scripts" / "setup", {"PATH": str(checkout / "bin"), "HOME": str(checkout)})
    assert result.returncode == 1
    assert "Python 3.11 or newer is needed" in result.stderr
    assert "python3-venv" in result.stderr


def add_program(checkout: Path, name: str, text: str, code: int = 0) -> None:
    path = checkout / "bin" / name
    names = {"bin": checkout / "bin", "calls": checkout / "calls", "include": checkout / "include", "code": code}
    path.write_text(text.format(**names))
    path.chmod(0o755)


@pytest.fixture
def machine(checkout: Path) -> Path:
    """A checkout on a machine that has everything; its installers only note that they were called."""
    (checkout / "include").mkdir()
    (checkout / "include" / "Python.h").touch()
    add_program(checkout, "python3", FAKE_PYTHON)
    add_program(checkout, "npm", FAKE_NPM)
    add_program(checkout, "node", FAKE_NODE)
    add_program(checkout, "gcc", FAKE_TOOL)
    return checkout


def set_up(checkout: Path, *arguments: str) -> list[str]:
    """Run it successfully; what it installed."""
    (checkout / "calls").write_text("")
    environment = {"PATH": str(checkout / "bin"), "HOME": str(checkout)}
    result = call(checkout / "scripts" / "setup", environment, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return (checkout / "calls").read_text().splitlines()


def test_setup__second_start_installs_nothing(machine: Path) -> None:
    """Every start would wait for a registry, and fail where there is no network."""
    pip, chain, page = set_up(machine)
    assert pip.endswith("-c scripts/constraints.txt -e .")
    assert chain.startswith("npm --prefix contracts ci --ignore-scripts")
    assert page.startswith(f"npm --prefix {PAGE} ci --omit=dev --ignore-scripts")
    assert set_up(machine) == []


def test_setup__tests_need_more_than_a_node(machine: Path) -> None:
    """The first test run after a testnet would find no pytest; a testnet after the tests would install again."""
    set_up(machine)
    pip, page = set_up(machine, "--test")
    assert pip.endswith("-e .[accelerator,test]")
    assert page.startswith(f"npm --prefix {PAGE} ci --ignore-scripts"), "without its tools"
    assert set_up(machine) == []


@pytest.mark.parametrize(
    ("changed", "installers"),
    [
        ("scripts/constraints.txt", 1),
        ("pyproject.toml", 1),
        ("contracts/package-lock.json", 2),
        (f"{PAGE}/package-lock.json", 2),
    ],
)
def test_setup__follows_changed_pins(machine: Path, changed: str, installers: int) -> None:
    """After an update of the checkout the old packages would stay."""
    set_up(machine)
    with (machine / changed).open("a") as file:
        file.write("\n")
    assert len(set_up(machine)) == installers


def test_setup__puts_back_a_page_without_libraries(machine: Path) -> None:
    """The operator's page would stay empty after a `git clean`."""
    set_up(machine)
    (machine / "p2p_flock/dashboard/static/vendor").rmdir()
    set_up(machine)
    assert (machine / "p2p_flock/dashboard/static/vendor").is_dir()


def test_setup__compiles_what_has_changed(machine: Path) -> None:
    """Every process of a testnet would compile the package again where Python may not keep what it compiled."""
    source, compiled = machine / "p2p_flock" / "changed.py", machine / "calls.compiled"
    set_up(machine)
    assert compiled.read_text().splitlines() == ["-m compileall -q p2p_flock"]
    set_up(machine)
    assert len(compiled.read_text().splitlines()) == 1
    source.touch()
    later_ns = (machine / ".venv" / ".p2p_flock-compiled").stat().st_mtime_ns + 10**9
    os.utime(source, ns=(later_ns, later_ns))
    set_up(machine)
    assert len(compiled.read_text().splitlines()) == 2


def test_setup__leaves_nothing_of_itself(machine: Path) -> None:
    """A lock or a log left behind would be taken for a running set-up."""
    set_up(machine)
    assert not (machine / ".flock").exists()


@pytest.mark.parametrize(("user", "words"), [(0, "failed"), (1000, "sudo apt-get update && sudo apt-get install")])
def test_setup__without_a_compiler_says_what_is_missing(machine: Path, user: int, words: str) -> None:
    """libp2p's one compiled dependency would fail with a page of compiler output."""
    (machine / "bin" / "gcc").unlink()
    add_program(machine, "apt-get", FAKE_TOOL, code=100)  # one that cannot install
    (machine / "bin" / "id").unlink()
    add_program(machine, "id", FAKE_ID, code=user)
    result = call(machine / "scripts" / "setup", {"PATH": str(machine / "bin"), "HOME": str(machine)})
    assert result.returncode == 1
    assert words in result.stdout + result.stderr
    assert "gcc libc6-dev libgmp-dev" in result.stdout + result.stderr
    assert not (machine / ".venv").exists()


def test_setup__unknown_argument_is_refused(checkout: Path) -> None:
    """A mistyped tier would set up something else."""
    assert call(checkout / "scripts" / "setup", {**os.environ}, "--tset").returncode == 2
