"""Every block of commands in README.md and docs/ is executed, in order, in a sandbox; see `pages.py` for directions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import Block, Page, parse_block, parse_page, read_pages
from tests.docs.sandbox import BlockFailedError, Sandbox

PAGES = {page.path: page for page in read_pages() if page.blocks}
QUICK, NETWORK, ALONE = (
    sorted(path for path, page in PAGES.items() if page.kind == kind) for kind in ("quick", "network", "alone")
)
NODES = 6


@dataclass(frozen=True, slots=True)
class RunningNode:
    """A testnet with spare seats, and one of its members."""

    directory: Path
    values: dict[str, str]


def execute(page: Page, folder: Path, values: dict[str, str] | None = None) -> int:
    """Execute a page's blocks in order; how many."""
    with Sandbox(folder, values) as sandbox:
        for block in page.blocks:
            print(f"--- {block.name}\n{sandbox.run(block)}")
    return len(page.blocks)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """node0 of a testnet that runs until the last page that needs one."""
    folder = tmp_path_factory.mktemp("docs")
    options = f"--nodes {NODES} --spare-seats 3 --until-stopped --directory ../net"
    start = parse_block("network", 1, f"scripts/testnet {options}\n", "background until all joined")
    with Sandbox(folder / "network") as sandbox:
        sandbox.run(start)
        directory = folder / "network" / "net"
        document = json.loads((directory / "network.json").read_text())
        values = {
            "P2P_FLOCK_HOME": document["nodes"][0]["home"],
            "ALLIANCE": document["alliance"],
            "RPC_URL": document["rpc_url"],
            "NETWORK": str(directory),
            "PASSWORD_FILE": str(directory / "passwords" / "node0"),
        }
        settled = parse_block("network", 2, "p2p-flock status\n", "again until settled +[2-9]")
        with Sandbox(folder / "first", values) as first:
            first.run(settled)
        yield RunningNode(directory, values)


def test_blocks__all_are_executed() -> None:
    """A block could be left out of every run."""
    assert sorted(QUICK + NETWORK + ALONE) == sorted(PAGES)
    assert sum(len(PAGES[path].blocks) for path in QUICK + NETWORK + ALONE) > 20


@pytest.mark.parametrize("path", QUICK)
def test_page__does_what_it_says(path: str, tmp_path: Path) -> None:
    """A reader would be told something that does not work."""
    assert execute(PAGES[path], tmp_path / "sandbox")


@pytest.mark.slow
@pytest.mark.parametrize("path", NETWORK)
def test_page__does_what_it_says_beside_a_node(path: str, tmp_path: Path, node: RunningNode) -> None:
    """A reader with a running node would be told something that does not work."""
    assert execute(PAGES[path], tmp_path / "sandbox", node.values)


@pytest.mark.slow
@pytest.mark.parametrize("path", ALONE)
def test_page__does_what_it_says_from_the_start(path: str, tmp_path: Path) -> None:
    """A newcomer's first hour would end at a command that does not work."""
    assert execute(PAGES[path], tmp_path / "sandbox")


def block(text: str, directions: str = "") -> Block:
    return parse_block("planted.md", 1, text, directions)


@pytest.mark.parametrize(
    ("text", "directions", "said"),
    [
        ("false\n", "", "exit code 1"),
        ("true\n", "exit 2", "exit code 0"),
        ("echo one\n", "shows two", "does not print"),
        ("echo one\n", "capture NAME = (two)", "nothing like"),
        ("echo one\n", "with two = three", "is to be replaced"),
        ("false\ntrue\n", "", "exit code 1"),
        ("cat\n", "again until x\nseconds 1", "never printed|did not end"),
        ("true\n", "background until ready\nseconds 5", "never printed"),
    ],
)
def test_runner__sees_a_failure(text: str, directions: str, said: str, tmp_path: Path) -> None:
    """A documented command that fails would pass."""
    with Sandbox(tmp_path / "sandbox") as sandbox, pytest.raises(BlockFailedError, match=said):
        sandbox.run(block(text, directions))


def test_runner__goes_on_where_the_last_block_ended(tmp_path: Path) -> None:
    """Blocks that belong together would be executed apart, each in a fresh shell."""
    with Sandbox(tmp_path / "sandbox") as sandbox:
        sandbox.run(block("mkdir a && cd a\nexport COLOUR=blue\n"))
        assert sandbox.run(block("pwd; echo $COLOUR\n")) == f"{tmp_path}/sandbox/p2p_flock/a\nblue\n"
        sandbox.run(block("echo id=7\n", "capture NUMBER = id=(.)"))
        assert sandbox.run(block("echo N\n", "with N = $NUMBER")) == "7\n"
        assert sandbox.run(block("exit 3\n", "exit 3\nas: exit 3")) == ""
        sandbox.run(block("test -t 0 && read answer && echo =$answer=\n", "answer y\nshows =y="))


def test_runner__ends_what_it_started(tmp_path: Path) -> None:
    """A documented node would run on after the tests."""
    with Sandbox(tmp_path / "sandbox") as sandbox:
        said = sandbox.run(block("bash -c 'echo ready $$; exec sleep 600'\n", "background until ready"))
        process = int(said.split()[1])
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_runner__uses_the_checkout(tmp_path: Path) -> None:
    """The sandbox would have no scripts, or the checkout would be written to."""
    with Sandbox(tmp_path / "sandbox") as sandbox:
        script = sandbox.script(
            block("scripts/testnet --directory ../scripts/x . .venv/bin/activate p2p_flock/ a/scripts/\n")
        )
    words = script.split()
    assert (
        words[0].startswith("/")
        and words[4].startswith("/")
        and words[2] == "../scripts/x"
        and words[6] == "a/scripts/"
    )
    assert parse_page("a.md", "text").blocks == ()
