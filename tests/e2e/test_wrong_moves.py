"""Wrong moves that newcomers make: what is wrong and what to do about it, a documented exit code, never a traceback.

Every command and daemon here is a process of its own on one development chain. ``Bench.run`` looks for tracebacks in
what each prints, ``Bench.stop`` in what a daemon logged.
"""

from __future__ import annotations

import resource
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from p2p_flock.chain.devnet import DevnetOptions, run_devnet
from p2p_flock.chain.devnet_deployment import fund
from tests.e2e.mistakes import (
    PASSWORD,
    Bench,
    Home,
    Ran,
    changed,
    find_workers,
    kill,
    printed,
    serving_a_page,
    two_lines,
    wait_until,
)
from tests.e2e.moves import PAGE, Moves, mended

ETH, FLOCK = 10**18, 10**18
OTHER = "12" * 20  # an address at which nothing stands
STRANGER = "12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiw"
API_KEY = "0123456789abcdef0123456789abcdef"
OPENED = {"P2P_FLOCK_PASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("moves")
    (folder / "data").mkdir()
    with run_devnet(DevnetOptions(folder / "chain", lifetime_s=900)) as devnet:
        yield Bench(folder, devnet)


@pytest.fixture(scope="module")
def moves(bench: Bench) -> Iterator[Moves]:
    moves = Moves(bench)
    yield moves
    moves.write()


@pytest.fixture(scope="module")
def idle(bench: Bench) -> Home:
    """A home in which everything is right and no daemon runs for long."""
    return bench.make_home("member")


@pytest.fixture(scope="module")
def alliance(bench: Bench) -> str:
    """The ID of an alliance with free seats."""
    creator = bench.make_home("creator")
    pay(bench, creator, ETH, 10_000 * FLOCK)
    with bench.running(creator):
        words = ("alliance", "create", "--home", creator.folder, "--preset", "testnet", "--task", "heart", "--yes")
        return str(printed(bench.run(*words, "--json"))["alliance"])


@pytest.fixture(scope="module")
def newcomer(bench: Bench) -> Iterator[Home]:
    """A home with a running daemon and an empty account; its data is missing until somebody puts it there."""
    home = bench.make_home("newcomer")
    home.data.rename(home.data.with_suffix(".kept"))
    with bench.running(home):
        yield home


def pay(bench: Bench, home: Home, eth_wei: int, flock_wei: int) -> None:
    trio.run(fund, bench.devnet, [bytes.fromhex(home.address[2:])], eth_wei, flock_wei)


# --- commands that need no chain -----------------------------------------------------------------------------------


def test_wrong_move__no_daemon_runs(bench: Bench, moves: Moves, idle: Home) -> None:
    """A script could not tell a node that is down from one that is ill."""
    ran = bench.run("status", "--home", idle.folder)
    two_lines(ran, 3, str(idle.folder), "p2p-flock node --home")
    moves.note("no daemon runs", ran)


def test_wrong_move__command_in_the_wrong_place(bench: Bench, moves: Moves) -> None:
    """Who leaves out a group would think that the command does not exist."""
    ran = bench.run("join", f"flock:84530:0x{OTHER}:0")
    two_lines(ran, 2, "join", "did you mean `p2p-flock alliance join`")
    moves.note("a command in the wrong place", ran)
    two_lines(bench.run("alliance", "status"), 2, "`p2p-flock status`")


def test_wrong_move__option_misspelt(bench: Bench, moves: Moves) -> None:
    """A mistyped option must be named, with the one that was meant."""
    ran = bench.run("status", "--hom", "here")
    two_lines(ran, 2, "--hom", "p2p-flock status --help")
    moves.note("an option misspelt", ran)


def test_wrong_move__no_password(bench: Bench, moves: Moves, idle: Home) -> None:
    """A daemon started by a service would wait for ever for somebody to type."""
    ran = bench.run("node", "--home", idle.folder)
    two_lines(ran, 2, "no password", "--password-file", "P2P_FLOCK_PASSWORD")
    moves.note("no password", ran)


def test_wrong_move__wrong_password(bench: Bench, moves: Moves, idle: Home) -> None:
    """It could look like a damaged keystore."""
    ran = bench.run("node", "--home", idle.folder, P2P_FLOCK_PASSWORD="another password")
    two_lines(ran, 2, "password does not open", "keystore.json")
    moves.note("a wrong password", ran)


def test_wrong_move__password_file_for_all_to_read(bench: Bench, moves: Moves, idle: Home) -> None:
    """Every user of the machine could take the stake."""
    file = bench.folder / "password"
    file.write_text(PASSWORD + "\n")
    file.chmod(0o644)
    ran = bench.run("node", "--home", idle.folder, "--password-file", file)
    two_lines(ran, 2, str(file), "chmod 600")
    moves.note("a password file that others can read", ran)


def test_wrong_move__malformed_alliance_id(bench: Bench, moves: Moves, idle: Home) -> None:
    """Half an ID, as copying from a mail gives it."""
    ran = bench.run("alliance", "show", f"84530:0x{OTHER}:0", "--home", idle.folder)
    two_lines(ran, 2, "is not an alliance ID", "flock:<chain id>")
    moves.note("half an alliance ID", ran)


@pytest.mark.parametrize(
    ("move", "section", "key", "value", "names"),
    [
        ("a key misspelt in config.toml", "chain", "confirmatoins", "2", ("confirmatoins", "confirmations")),
        ("config.toml is no TOML", "chain", "confirmations", '"2', ("not valid TOML", "config.toml:")),
        ("a value out of range", "chain", "confirmations", "-2", ("confirmations", "0 to 1000", "-2")),
        ("text where a number belongs", "net", "listen_port", '"4101"', ("listen_port", "listen_port = 4101")),
        ("a bootstrap address without peer ID", "net", "bootstrap", '["/ip4/203.0.113.7/tcp/4101"]', ("peer ID",)),
    ],
)
def test_wrong_move__settings(
    bench: Bench, moves: Moves, idle: Home, move: str, section: str, key: str, value: str, names: tuple[str, ...]
) -> None:
    """A node would run with other settings than its operator believes."""
    with changed(idle, section, key, value):
        ran = bench.run("node", "--home", idle.folder)
        two_lines(ran, 2, *names)
        moves.note(move, ran)
        told = bench.run("doctor", "--home", idle.folder, "--only", "settings")
        assert told.code == 1 and all(name in told.out for name in names), told.text


def test_wrong_move__home_without_a_node(bench: Bench, moves: Moves) -> None:
    """A mistyped --home must not make a new, empty node."""
    ran = bench.run("node", "--home", bench.folder / "nowhere", **OPENED)
    two_lines(ran, 2, "holds no node", "p2p-flock init --home")
    moves.note("a folder without a node", ran)
    assert not (bench.folder / "nowhere").exists()


def test_wrong_move__home_that_cannot_be_made(bench: Bench, moves: Moves) -> None:
    """Keys would be lost half-written."""
    (bench.folder / "file").touch()
    home = bench.folder / "file" / "home"
    words = ("init", "--home", home, "--rpc-url", bench.devnet.rpc_url, "--chain-id", 1, "--factory", f"0x{OTHER}")
    ran = bench.run(*words, **OPENED)
    two_lines(ran, 1, str(home), "permissions")
    moves.note("a folder that cannot be made", ran)


def test_wrong_move__init_twice(bench: Bench, moves: Moves, idle: Home) -> None:
    """A second init would throw away the account's key."""
    words = ("init", "--home", idle.folder, "--rpc-url", bench.devnet.rpc_url, "--chain-id", 1)
    ran = bench.run(*words, "--factory", f"0x{OTHER}", **OPENED)
    two_lines(ran, 2, "holds a node already", "never overwrites")
    moves.note("init where a node is", ran)


# --- a node that must not start ------------------------------------------------------------------------------------


def test_wrong_move__key_for_all_to_read(bench: Bench, moves: Moves, idle: Home) -> None:
    """Who reads the key can speak as this node."""
    key = idle.folder / "identity.key"
    key.chmod(0o644)
    ran = bench.run("node", "--home", idle.folder, **OPENED)
    told = bench.run("doctor", "--home", idle.folder, "--only", "home")
    key.chmod(0o600)
    two_lines(ran, 1, str(key), "chmod 600")
    moves.note("a key that others can read", ran)
    assert told.code == 1 and "chmod 600" in told.out


def test_wrong_move__chain_unreachable(bench: Bench, moves: Moves, idle: Home) -> None:
    """It could look like a defect of the node."""
    with changed(idle, "chain", "rpc_urls", '["http://127.0.0.1:1"]'):
        ran = bench.run("node", "--home", idle.folder, **OPENED)
    two_lines(ran, 4, "http://127.0.0.1:1 did not answer", "this machine can reach it")
    moves.note("the chain cannot be reached", ran)


def test_wrong_move__wrong_chain_id(bench: Bench, moves: Moves, idle: Home) -> None:
    """Money would be looked for on another chain."""
    with changed(idle, "chain", "chain_id", "8453"):
        ran = bench.run("node", "--home", idle.folder, **OPENED)
    two_lines(ran, 2, "on chain 84530", "8453", "chain.chain_id")
    moves.note("a wrong chain ID", ran)


def test_wrong_move__endpoint_answers_a_page(bench: Bench, moves: Moves, idle: Home) -> None:
    """Whatever a web server says must not end in a traceback, and an API key in the URL not on the screen."""
    with serving_a_page() as address, changed(idle, "chain", "rpc_urls", f'["{address}/v2/{API_KEY}"]'):
        ran = bench.run("node", "--home", idle.folder, **OPENED)
        told = bench.run("doctor", "--home", idle.folder, "--only", "chain", "--json")
    two_lines(ran, 4, "no JSON", "JSON-RPC endpoint")
    moves.note("the endpoint answers a web page", ran)
    assert told.code == 1 and "no JSON" in told.out
    assert API_KEY not in ran.text + told.text + idle.read_log()


def test_wrong_move__no_factory_there(bench: Bench, moves: Moves, idle: Home) -> None:
    """A mistyped address must be told from a chain that is down."""
    with changed(idle, "chain", "factory", f'"0x{OTHER}"'):
        ran = bench.run("node", "--home", idle.folder, **OPENED)
    two_lines(ran, 2, "no contract at the factory address", "chain.factory")
    moves.note("nothing stands at the factory's address", ran)


def test_wrong_move__another_contract_as_factory(bench: Bench, moves: Moves, idle: Home) -> None:
    """The token's address in the factory's place is an easy mistake, and 'execution reverted' helps nobody."""
    with changed(idle, "chain", "factory", f'"{bench.devnet.token}"'):
        ran = bench.run("node", "--home", idle.folder, **OPENED)
        told = bench.run("doctor", "--home", idle.folder, "--only", "chain")
    two_lines(ran, 2, "is no alliance factory", "chain.factory")
    moves.note("the token's address as factory", ran)
    assert told.code == 1 and "is not the alliance factory of this version" in told.out


def test_wrong_move__port_taken(bench: Bench, moves: Moves, idle: Home) -> None:
    """Two nodes on one port would share their connections."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", idle.port))
        other.listen()
        ran = bench.run("node", "--home", idle.folder, **OPENED)
        told = bench.run("doctor", "--home", idle.folder, "--only", "port")
    two_lines(ran, 2, f"port {idle.port}", "net.listen_port")
    moves.note("the port is taken", ran)
    assert told.code == 1 and "taken by another program" in told.out


def test_wrong_move__full_disk(bench: Bench, moves: Moves, idle: Home) -> None:
    """A node that cannot keep its promises must not make any. A limit on files stands for the disk: writes fail so."""

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 10, 16 << 10))

    ran = bench.run("node", "--home", idle.folder, preexec=no_room, **OPENED)
    two_lines(ran, 1, "journal.sqlite", "free space")
    moves.note("the disk is full", ran)
    told = bench.run("doctor", "--home", idle.folder, "--only", "disk", preexec=no_room)
    assert told.code == 1 and "cannot be written" in told.out, told.text


# --- a node that runs, and is asked for what cannot be -------------------------------------------------------------


@pytest.mark.slow  # starts a daemon
def test_wrong_move__second_daemon(bench: Bench, moves: Moves, newcomer: Home) -> None:
    """Two daemons with one key would contradict each other, which costs the stake."""
    ran = bench.run("node", "--home", newcomer.folder, **OPENED)
    two_lines(ran, 2, "another daemon", "p2p-flock stop")
    moves.note("a second daemon in one folder", ran)


@pytest.mark.slow  # starts a daemon
def test_wrong_move__alliance_of_another_chain(bench: Bench, moves: Moves, newcomer: Home) -> None:
    """An ID of the main chain on a node of the test chain."""
    ran = bench.run("alliance", "show", f"flock:8453:{bench.devnet.factory}:0", "--home", newcomer.folder)
    two_lines(ran, 2, "is on chain 8453, this node on 84530", "chain.rpc_urls")
    moves.note("an alliance of another chain", ran)


@pytest.mark.slow  # starts a daemon
def test_wrong_move__alliance_of_another_factory(bench: Bench, moves: Moves, newcomer: Home) -> None:
    """Whose contracts another factory makes, nobody knows."""
    ran = bench.run("alliance", "show", f"flock:84530:0x{OTHER}:0", "--home", newcomer.folder)
    two_lines(ran, 2, "another factory", "chain.factory")
    moves.note("an alliance of another factory", ran)


@pytest.mark.slow  # starts a daemon
def test_wrong_move__unknown_alliance(bench: Bench, moves: Moves, newcomer: Home) -> None:
    """A number that was never given."""
    name = f"flock:84530:{bench.devnet.factory}:77"
    ran = bench.run("alliance", "join", name, "--home", newcomer.folder, "--yes")
    two_lines(ran, 2, "no alliance 77", "alliance list")
    moves.note("an alliance that does not exist", ran)
    told = bench.run("doctor", "--home", newcomer.folder, "--alliance", name, "--only", "balance")
    assert told.code == 1 and "no alliance 77" in told.out, told.text


def join(bench: Bench, home: Home, alliance: str) -> Ran:
    return bench.run("alliance", "join", alliance, "--home", home.folder, "--yes")


@pytest.mark.slow  # starts a daemon
def test_wrong_move__too_little_flock(bench: Bench, moves: Moves, newcomer: Home, alliance: str) -> None:
    """The stake must be there before two transactions are paid for."""
    ran = join(bench, newcomer, alliance)
    two_lines(ran, 2, "the stake is 1,000 FLOCK", "p2p-flock wallet")
    moves.note("too little FLOCK for the stake", ran)
    told = bench.run("doctor", "--home", newcomer.folder, "--alliance", alliance, "--only", "balance")
    assert told.code == 1 and "a seat stakes 1,000 FLOCK" in told.out, told.text


@pytest.mark.slow  # starts a daemon
def test_wrong_move__no_gas(bench: Bench, moves: Moves, alliance: str) -> None:
    """FLOCK alone sends nothing."""
    home = bench.make_home("penniless")
    pay(bench, home, 0, 2_000 * FLOCK)
    with bench.running(home):
        ran = join(bench, home, alliance)
    two_lines(ran, 2, "no ETH to pay gas", "p2p-flock wallet")
    moves.note("no ETH for gas", ran)
    told = bench.run("doctor", "--home", home.folder, "--only", "balance")
    assert told.code == 1 and "too little to pay gas" in told.out, told.text


@pytest.mark.slow  # starts a daemon
def test_wrong_move__data_missing(bench: Bench, moves: Moves, newcomer: Home) -> None:
    """A node without data would hold a seat and train nothing. Its daemon says so when it starts, too."""
    assert "is not there: this node cannot join" in newcomer.read_log()
    ran = bench.run("task", "check", "--home", newcomer.folder)
    two_lines(ran, 2, "newcomer.csv")
    assert "no such file" in ran.out
    moves.note("the data file is missing", ran, ran.text)
    told = bench.run("doctor", "--home", newcomer.folder, "--only", "data")
    assert told.code == 1 and "is not there" in told.out


@pytest.mark.slow  # starts a daemon
def test_wrong_move__data_not_readable(bench: Bench, moves: Moves, newcomer: Home) -> None:
    """A folder in the file's place, as a mistyped path gives it."""
    newcomer.data.mkdir()
    ran = bench.run("task", "check", "--home", newcomer.folder)
    told = bench.run("doctor", "--home", newcomer.folder, "--only", "data")
    newcomer.data.rmdir()
    two_lines(ran, 2, "newcomer.csv")
    moves.note("the data cannot be read", ran, ran.text)
    assert told.code == 1, told.text


@pytest.mark.slow  # starts a daemon
def test_wrong_move__wrong_column(bench: Bench, moves: Moves, newcomer: Home) -> None:
    """A column of another name, or in another unit, would spoil every round this member trains in."""
    kept = newcomer.data.with_suffix(".kept").read_text()
    newcomer.data.write_text(kept.replace("chol", "cholesterol", 1))
    ran = bench.run("task", "check", "--home", newcomer.folder)
    told = bench.run("doctor", "--home", newcomer.folder, "--only", "data")
    newcomer.data.unlink()
    two_lines(ran, 2, "newcomer.csv")
    assert "'chol' is missing; the file has 'cholesterol'" in ran.out and "rename that column" in ran.out
    moves.note("a wrong column in the data", ran, ran.text)
    assert told.code == 1 and "'chol' is missing" in told.out, told.text


@pytest.mark.slow  # starts a daemon
def test_wrong_move__killed_worker(bench: Bench, moves: Moves, idle: Home, alliance: str) -> None:
    """A training process that the system ends (no memory) costs what it was doing, and nothing after that."""
    words = ("task", "check", "--home", str(idle.folder))
    with bench.running(idle) as daemon:  # which starts another when it is asked again
        checking = bench.begin(*words)
        wait_until(lambda: bool(find_workers(checking.pid)) or checking.poll() is not None, "its worker is there")
        kill(find_workers(checking.pid)[0])
        out, err = checking.communicate(timeout=60)
        ran = Ran(words, checking.returncode, out, err)
        two_lines(ran, 1, "killed by SIGKILL", "check.log")
        moves.note("the training process is killed while it works", ran)
        wait_until(lambda: bool(find_workers(daemon.pid)), "the daemon's worker is there")
        kill(find_workers(daemon.pid)[0])
        shown = bench.run("alliance", "show", alliance, "--home", idle.folder)
        assert shown.code == 0 and "Task heart (installed here)" in shown.out, shown.text


@pytest.mark.slow  # starts a daemon
def test_wrong_move__dashboard_port_taken(bench: Bench, moves: Moves, idle: Home) -> None:
    """Another program on the page's port must not keep a node from its rounds."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with changed(idle, "dashboard", "port", str(port)), bench.running(idle):
            ran = bench.run("status", "--home", idle.folder)
            told = bench.run("doctor", "--home", idle.folder, "--only", "dashboard", "--only", "node")
        assert ran.code == told.code == 0, ran.text + told.text
        warned = next(line for line in ran.out.splitlines() if f"port {port}" in line)
    assert "[dashboard]" in ran.out and "serves no page" in told.out
    moves.note("the dashboard's port is taken", ran, warned.replace(f"port {port}", "port PORT"))


# --- what only doctor can see --------------------------------------------------------------------------------------


def test_wrong_move__task_not_installed(bench: Bench, moves: Moves, idle: Home) -> None:
    """The node runs and cannot join."""
    with changed(idle, "learning", "task", '"hart"'):
        ran = bench.run("doctor", "--home", idle.folder, "--only", "task")
    assert ran.code == 1 and "'hart' is not installed" in ran.out and "heart" in ran.out
    moves.note("the task is not installed", ran, mended(ran))


def test_wrong_move__clock_off(bench: Bench, moves: Moves, idle: Home) -> None:
    """A node whose clock is minutes off asks relays for values that are not out."""
    with changed(idle, "test", "clock_offset_ms", "-120000"):
        words = ("doctor", "--home", idle.folder, "--only", "clock", "--only", "beacon")
        ran = bench.run(*words, P2P_FLOCK_TEST_MODE="1")
    assert ran.code == 1 and ran.out.count("behind") == 2, ran.text
    assert "timedatectl" in ran.out
    moves.note("the clock is two minutes slow", ran, mended(ran))


@pytest.mark.slow  # starts a daemon
def test_wrong_move__bootstrap_nodes(bench: Bench, moves: Moves, idle: Home, newcomer: Home) -> None:
    """A node that never meets another looks healthy to itself."""
    words = ("doctor", "--home", idle.folder, "--only", "bootstrap")
    with changed(idle, "net", "bootstrap", f'["/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}"]'):
        ran = bench.run(*words)
    assert ran.code == 1 and "nobody answers at /ip4/127.0.0.1/tcp/1" in ran.out, ran.text
    moves.note("a bootstrap node that is not there", ran, mended(ran))
    with changed(idle, "net", "bootstrap", f'["/ip4/127.0.0.1/tcp/{newcomer.port}/p2p/{STRANGER}"]'):
        ran = bench.run(*words)
    assert ran.code == 1 and "is not the node" in ran.out, ran.text
    moves.note("a bootstrap address with the peer ID of another", ran, mended(ran))


def test_wrong_move__no_beacon(bench: Bench, moves: Moves, idle: Home) -> None:
    """Without a beacon value no round of this node begins."""
    with changed(idle, "chain", "beacon_urls", '["http://127.0.0.1:1"]'):
        ran = bench.run("doctor", "--home", idle.folder, "--only", "beacon")
    assert ran.code == 1 and "no drand relay answers" in ran.out
    moves.note("no relay of the beacon can be reached", ran, mended(ran))


def test_wrong_move__a_home_taken_apart(bench: Bench, moves: Moves, idle: Home) -> None:
    """A restored backup without the keystore."""
    home = bench.folder / "restored"
    shutil.copytree(idle.folder, home)
    (home / "keystore.json").unlink()
    ran = bench.run("doctor", "--home", home, "--only", "home")
    assert ran.code == 1 and "keystore.json is missing" in ran.out
    moves.note("a backup without the keystore", ran, mended(ran))
    two_lines(bench.run("node", "--home", home, **OPENED), 2, "keystore.json is missing")


@pytest.mark.slow  # starts a daemon
def test_doctor__is_content_with_what_is_right(bench: Bench, idle: Home, alliance: str) -> None:
    """An alarm where nothing is wrong would teach people to look away."""
    pay(bench, idle, ETH, 2_000 * FLOCK)
    ran = bench.run("doctor", "--home", idle.folder, "--alliance", alliance, **OPENED)
    assert ran.code == 0, ran.text
    assert "✗" not in ran.out and "cover the stake of 1,000 FLOCK" in ran.out and "examples to train on" in ran.out
    assert PASSWORD not in ran.text


def test_wrong_moves__are_twenty_at_least() -> None:
    """The page would lose rows without anybody noticing, or show this machine's folders."""
    page = PAGE.read_text()
    assert page.count("\n| ") - 1 >= 20
    assert "Traceback" not in page and str(Path.home()) + "/" not in page
