"""The house rules that a machine can check, on every Python file of the repository."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterable

from tests.architecture.sources import (
    ROOT,
    Source,
    functions,
    imported_modules,
    length,
    package_sources,
    python_sources,
    sources_of_tests,
    tracked_files,
)

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
MEDIAN_FILE_LINES_MAX = 150

CORE_MODULES = ("types", "params", "errors", "ports", "chain_events")
CORE_PACKAGES = ("wire", "crypto", "secagg", "alliance")
IMPURE_IMPORTS = {
    *("asyncio", "multiprocessing", "threading", "trio", "subprocess", "signal", "socket"),
    *("datetime", "time", "random", "secrets"),
    *("logging", "os", "pathlib", "shutil", "sqlite3", "sys", "tempfile"),
    *("httpx", "libp2p", "web3", "eth_account", "torch"),
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "compile", "__import__"}
UNSAFE_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "torch.save", "yaml.load", "os.system", "numpy.load"}
MOCK_IMPORTS = {"unittest.mock", "mock", "pytest_mock"}
# Where libp2p forces broad catches, and how many; each line there says why. A catch that raises again is none.
BROAD_CATCHES_MAX = {
    "p2p_flock/dashboard/connections.py": 1,
    "p2p_flock/dashboard/defects.py": 1,  # the one place where a defect does not end the node: a page's
    "p2p_flock/net/hardening.py": 3,
    "p2p_flock/net/hardened_gossip.py": 1,
    "p2p_flock/net/muxer.py": 1,
    "p2p_flock/net/gossip.py": 1,
    "p2p_flock/testing/node.py": 1,
    "p2p_flock/testing/simulate.py": 1,
    "tests/fuzz/engine.py": 1,  # whatever comes out of a reader is what it looks for
}
MACHINE_FOLDERS = "|".join(("work", "tmp", "root", "home"))  # put together here, so that this line does not match
MACHINE_PATH = re.compile(rf"""(?:(?<=['"`\s=:(])/(?:{MACHINE_FOLDERS})/|\.\./{"shared"}\b)""")


def is_core(source: Source) -> bool:
    parts = source.path.removesuffix(".py").split("/")
    return parts[0] == "p2p_flock" and (
        parts[1] in CORE_PACKAGES or (parts[1:] == [parts[-1]] and parts[1] in CORE_MODULES)
    )


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of a name or attribute chain; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def calls(source: Source) -> Iterable[tuple[int, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield node.lineno, dotted(node.func)


def belongs_to(module: str, names: Iterable[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)


def report(findings: Iterable[str]) -> None:
    lines = sorted(findings)
    assert not lines, "\n" + "\n".join(lines)


def test_core__imports_nothing_impure() -> None:
    """A core that reads clocks, disks or networks could not be replayed by seed."""
    report(
        f"{source}:{line} imports {module}"
        for source in package_sources()
        if is_core(source)
        for line, module in imported_modules(source)
        if belongs_to(module, IMPURE_IMPORTS) or module.startswith("numpy.random")
    )


def test_core__never_suspends_and_never_does_io() -> None:
    """An await or an open in the core would tie the protocol to one event loop or one machine."""
    findings = []
    for source in filter(is_core, package_sources()):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                findings.append(f"{source}:{node.lineno} is async")
        for line, name in calls(source):
            if name in IMPURE_CALLS or ".random." in f".{name}.":
                findings.append(f"{source}:{line} calls {name}")
    report(findings)


def test_core__has_no_any() -> None:
    """``Any`` in the core would let a wrong type through the one place where types carry privacy rules."""
    report(
        f"{source}:{node.lineno} says Any"
        for source in package_sources()
        if is_core(source)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Name) and node.id == "Any"
    )


def test_functions__are_short() -> None:
    """A function that does not fit a screen hides its control flow."""
    report(
        f"{source}:{node.lineno} {node.name} has {length(node)} lines"
        for source in python_sources()
        for node in functions(source)
        if length(node) > FUNCTION_LINES_MAX
    )


def test_files__are_short() -> None:
    """A file of more than 500 lines has more than one subject."""
    sizes = {str(source): source.text.count("\n") for source in python_sources()}
    report(f"{path} has {size} lines" for path, size in sizes.items() if size > FILE_LINES_MAX)
    median = statistics.median(size for path, size in sizes.items() if path.startswith("p2p_flock/"))
    assert median <= MEDIAN_FILE_LINES_MAX, f"the median file of the package has {median} lines"


def broad_catches(source: Source) -> dict[int, bool]:
    """Lines of the handlers that catch everything and do not raise again, and whether a comment there says why."""
    text, lines = source.text.splitlines(), {}
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        types = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        is_broad = any(t is None or dotted(t) in ("Exception", "BaseException") for t in types)
        last = node.body[-1]
        if is_broad and not (isinstance(last, ast.Raise) and last.exc is None):
            lines[node.lineno] = "# " in "".join(text[node.lineno - 1 : node.body[0].lineno - 1])
    return lines


def test_errors__are_caught_by_name() -> None:
    """A broad catch swallows defects and hides what went wrong."""
    findings = []
    for source in python_sources():
        lines = broad_catches(source)
        if len(lines) > BROAD_CATCHES_MAX.get(source.path, 0):
            findings += [f"{source}:{line} catches everything" for line in lines]
        findings += [f"{source}:{line} gives no reason" for line, has_reason in lines.items() if not has_reason]
    report(findings)


def test_bytes__never_become_code() -> None:
    """Unpickling or evaluating what a peer sent is remote code execution (P7)."""
    findings = []
    for source in python_sources():
        for line, module in imported_modules(source):
            if belongs_to(module, UNSAFE_IMPORTS):
                findings.append(f"{source}:{line} imports {module}")
        for line, name in calls(source):
            if name in UNSAFE_CALLS:
                findings.append(f"{source}:{line} calls {name}")
        for node in ast.walk(source.tree):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not _is_false(node.value):
                findings.append(f"{source}:{node.lineno} allows pickle")
    report(findings)


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_repository__names_no_path_of_a_machine() -> None:
    """A path that exists on one machine only breaks on every other."""
    findings = []
    for name in tracked_files():
        if name.endswith((".json", ".lock", ".npy", ".safetensors", ".png")):
            continue
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), start=1):
            if MACHINE_PATH.search(line) and not line.startswith("#!"):
                findings.append(f"{name}:{number} {line.strip()[:100]}")
    report(findings)


def test_modules__say_what_they_are() -> None:
    """A file without a first sentence is one that a newcomer must read whole."""
    report(
        f"{source} has no docstring"
        for source in python_sources()
        if source.text.strip() and ast.get_docstring(source.tree) is None
    )


def test_tests__are_never_skipped() -> None:
    """A skipped test shows green while it tests nothing."""
    forbidden = {"pytest.skip", "pytest.xfail", "pytest.importorskip", "unittest.skip"}
    findings = []
    for source in sources_of_tests():
        findings += [f"{source}:{line} calls {name}" for line, name in calls(source) if name in forbidden]
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute) and dotted(node) in (
                "pytest.mark.skip",
                "pytest.mark.skipif",
                "pytest.mark.xfail",
            ):
                findings.append(f"{source}:{node.lineno} marks {node.attr}")
    report(findings)


def test_tests__neither_sleep_nor_mock() -> None:
    """A sleeping test is slow and flaky; a mock agrees with whatever the code does."""
    findings = []
    for source in sources_of_tests():
        lines = source.text.splitlines()
        for line, name in calls(source):
            if name == "time.sleep" and "# " not in lines[line - 1]:  # blocking a loop can be what is tested: say so
                findings.append(f"{source}:{line} sleeps")
        findings += [
            f"{source}:{n} mocks" for n, module in imported_modules(source) if belongs_to(module, MOCK_IMPORTS)
        ]
    report(findings)


def test_tests__say_what_would_be_broken() -> None:
    """A failing test without a name and a sentence costs its reader an afternoon."""
    findings = []
    for source in sources_of_tests():
        for node in functions(source):
            if not node.name.startswith("test_") or not source.path.split("/")[-1].startswith("test_"):
                continue
            if not re.fullmatch(r"test_[a-z0-9_]*[a-z0-9]__[a-z0-9][a-z0-9_]*", node.name):
                findings.append(f"{source}:{node.lineno} {node.name} is not named test_<subject>__<case>")
            if ast.get_docstring(node) is None:
                findings.append(f"{source}:{node.lineno} {node.name} has no docstring")
    report(findings)
