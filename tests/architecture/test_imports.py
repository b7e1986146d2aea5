"""The layers as import-linter contracts (``[tool.importlinter]`` in pyproject.toml), and what they cannot say."""

from __future__ import annotations

import subprocess
import sys

from tests.architecture.sources import ROOT, imported_modules, package_sources

ADAPTERS = ("p2p_flock.net", "p2p_flock.chain", "p2p_flock.learning")
# node.py opens the adapters, world.py holds them; every other file of the daemon knows one at most.
JOINING_FILES = {"p2p_flock/daemon/node.py", "p2p_flock/daemon/world.py"}


def test_imports__keep_the_layers() -> None:
    """An adapter that knows another, or a core that knows an adapter, cannot be replaced or simulated."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert ", 0 broken" in result.stdout, "import-linter checked no contract"


def test_daemon__joins_the_adapters_in_one_place() -> None:
    """Adapters joined in many places cannot be exchanged in one."""
    findings = []
    for source in package_sources():
        if not source.path.startswith("p2p_flock/daemon/") or source.path in JOINING_FILES:
            continue
        modules = [module for _, module in imported_modules(source)]
        used = {name for name in ADAPTERS if any(f"{module}.".startswith(f"{name}.") for module in modules)}
        if len(used) > 1:
            findings.append(f"{source} knows {', '.join(sorted(used))}")
    assert not findings, "\n".join(findings)


def test_torch__is_imported_by_learning_only() -> None:
    """Torch anywhere else would bring its threads and its second of start-up into every process."""
    findings = {
        f"{source}:{line} imports {module}"
        for source in package_sources()
        if not source.path.startswith("p2p_flock/learning/")
        for line, module in imported_modules(source)
        if module.split(".")[0] == "torch"
    }
    assert not findings, "\n".join(sorted(findings))
