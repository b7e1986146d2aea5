"""``alliance join``: what it refuses, what it tries on the member's data and machine, and in which order it tells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from p2p_flock.cli.alliance_refusals import check_joinable, find_warnings
from p2p_flock.cli.estimates import DEFAULT_PRICES
from p2p_flock.cli.rehearsal import Trial, run_trial
from p2p_flock.cli.trial_words import check_deadline, describe_rehearsal
from p2p_flock.daemon.control_messages import AllianceShowResult, SeatResult
from p2p_flock.errors import P2PFlockError, UsageError
from p2p_flock.learning.results import Rehearsal
from p2p_flock.learning.tasks.heart_data import write_partition
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import ADDRESS, ALLIANCE, DATA, DIGEST, FLOCK, PEER_ID, SHOW, FakeDaemon

SEAT: SeatResult = SHOW["seats"][0]
REHEARSAL = Rehearsal(
    seconds=1.0,
    cpu_seconds=0.9,
    local_epochs=5,
    example_count=100,
    test_count=40,
    loss_before=0.693,
    loss_after=0.6,
    score_name="AUC",
    score_before=0.5,
    score_after=0.812,
    memory_bytes=250_000_000,
    warnings=("column chol is never measured", "is a column in another unit?"),
)


@pytest.mark.parametrize(
    ("fields", "problem", "remedy"),
    [
        ({"closed": True}, "is closed", "alliance list"),
        ({"own_state": "joined"}, "already in", "another node"),
        ({"own_state": "unbonding"}, "former stake", "alliance withdraw"),
        ({"seats": [{**SEAT, "index": number} for number in range(8)]}, "is full: all 8 seats", "alliance list"),
        ({"admission": {**SHOW["admission"], "is_over": True}}, "deadline has passed", "alliance list"),
        ({"admission": {**SHOW["admission"], "is_listed": False, "listed_owners": 3}}, "allowlist", "ask the creator"),
        ({"task_installed": False, "data": {**DATA, "task": None, "path": None}}, "has no task", "config.toml"),
        ({"task_installed": False, "data": {**DATA, "task": "digits"}}, "set to the task digits", 'task = "heart"'),
        ({"task_installed": False, "data": {**DATA, "error": "no task 'heart' is installed"}}, "start here", "package"),
        ({"task_installed": False}, "in another version", "its creator used"),
        ({"flock": str(999 * FLOCK)}, "the stake is 1,000 FLOCK, the account holds 999", "send FLOCK"),
        ({"eth": "0"}, "no ETH", "send it some"),
        ({"eth": "100"}, "joining takes about 0.000002 ETH", "send it more"),
    ],
)
def test_join__each_refusal_has_its_sentence_and_remedy(
    run: RunCommand, daemon: FakeDaemon, fields: dict[str, object], problem: str, remedy: str
) -> None:
    """A member would pay for a revert, or not know what to do about it."""
    daemon.change("alliance.show", **fields)
    ran = run("alliance", "join", ALLIANCE, "--yes")
    what, do = ran.err.splitlines()
    assert ran.code == 2
    assert problem in what and remedy in do
    assert [command for command, _ in daemon.requests] == ["alliance.show"]


@pytest.mark.parametrize("text", ["foo", "flock:1:0x12:0", ALLIANCE + "x", ALLIANCE.replace("flock", "flok"), "flock:"])
def test_join__malformed_id(run: RunCommand, daemon: FakeDaemon, text: str) -> None:
    """A mistyped ID would be taken for an alliance that does not exist, or end in a traceback."""
    ran = run("alliance", "join", text, "--yes")
    what, do = ran.err.splitlines()
    assert (ran.code, daemon.requests) == (2, [])
    assert "is not an alliance ID" in what and "flock:<chain id>:0x<40 hex digits>:<number>" in do


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("There is no alliance 77 at this factory. Check the ID and that you are on the right chain.", "Check the ID"),
        (f"{ALLIANCE} is on chain 1, this node on 84530.\nRun another node.", "Run another node"),
        (f"{ALLIANCE} was made by another factory than this node's.\nCheck the ID.", "Check the ID"),
    ],
)
def test_join__ids_of_elsewhere_are_refused_by_the_daemon(
    run: RunCommand, daemon: FakeDaemon, message: str, says: str
) -> None:
    """What the daemon says would be lost on the way."""
    daemon.results["alliance.show"] = UsageError(message)
    ran = run("alliance", "join", ALLIANCE, "--yes")
    assert (ran.code, len(ran.err.splitlines())) == (2, 2)
    assert says in ran.err.splitlines()[1]


def test_warnings__nobody_is_connected() -> None:
    """A member would stake on a node that nobody can reach, and lose its seat two rounds later."""
    away: SeatResult = {**SEAT, "connected": False}
    assert not find_warnings(SHOW, DEFAULT_PRICES)
    (warning,) = find_warnings({**SHOW, "seats": [away, {**away, "index": 1}]}, DEFAULT_PRICES)
    assert warning.startswith("None of the 2 members is connected") and "p2p-flock doctor" in warning
    assert not find_warnings({**SHOW, "seats": []}, DEFAULT_PRICES)  # the first to join has nobody to reach
    assert not find_warnings({**SHOW, "seats": [away], "own_seat": 0}, DEFAULT_PRICES)


def test_warnings__gas_for_some_rounds_only() -> None:
    """A member's node would run dry in the middle without having been told."""
    enough_for_three: AllianceShowResult = {**SHOW, "eth": str(2_508_000_000_000 + 3 * 400_000_000_000)}
    check_joinable(enough_for_three, DEFAULT_PRICES)
    (warning,) = find_warnings(enough_for_three, DEFAULT_PRICES)
    assert "lasts for about 3 of the 11 rounds" in warning


@pytest.mark.parametrize(("seconds", "verdict"), [(1.0, "fits"), (3.1, "tight"), (6.0, "tight"), (6.1, "slow")])
def test_deadline__half_is_warned_of_and_more_than_all_refused(seconds: float, verdict: str) -> None:
    """A member would stake with a machine that is late in every round."""
    rehearsal = replace(REHEARSAL, seconds=seconds)
    if verdict == "slow":
        with pytest.raises(UsageError, match=r"about 3\d s.*gives 30 s: the node would be late.*\n.*--no-dry-run"):
            check_deadline(rehearsal, 30)
        return
    warning = check_deadline(rehearsal, 30)
    assert (warning is None) == (verdict == "fits")
    if warning is not None:
        assert warning.startswith("Training one round takes about") and "sometimes be late" in warning


def test_rehearsal__in_words() -> None:
    """The member could not read off time and score, or would take a score of chance for one that says something."""
    text = " ".join(describe_rehearsal(REHEARSAL, 30))
    for part in ("100 records took 1 s", "250 MB", "5 epochs: about 5 s", "gives 30 s", "AUC went from 0.500 to 0.812",
                 "0.693 to 0.6", "Note: column chol is never measured.", "another unit?"):  # fmt: skip
        assert part in text, part
    assert "another unit?." not in text and "say little" not in text
    few = " ".join(describe_rehearsal(replace(REHEARSAL, test_count=9, score_after=None)))
    assert "AUC is undefined" in few and "so few test records say little" in few and "gives" not in few


@pytest.fixture(scope="session")
def heart_digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Asked of a worker: the task itself would load torch into this process."""
    path = tmp_path_factory.mktemp("heart") / "data.csv"
    write_partition("Hungary", 0, 2, 1, path)
    digest = run_trial(Trial("heart", path, 1, 1 << 34, is_dry_run=False), path).manifest_digest
    assert digest is not None
    return "0x" + digest.hex()


@pytest.fixture
def own_data(daemon: FakeDaemon, tmp_path: Path, heart_digest: str) -> Path:
    """The daemon's task is the real one, its data a share of the demo's."""
    path = tmp_path / "data.csv"
    write_partition("Hungary", 0, 2, 1, path)
    daemon.change("alliance.show", data={**DATA, "path": str(path)}, manifest_digest=heart_digest)
    return path


def test_join__tells_everything_in_the_order_of_the_decision(
    run: RunCommand, daemon: FakeDaemon, own_data: Path
) -> None:
    """A member would be asked before it has seen what it gives, or read about money before its data was tried."""
    ran = run("alliance", "join", ALLIANCE, "--yes")
    assert ran.code == 0, ran.err
    order = ["What you join", "column of your file", "Your data", "Dry run: one epoch", "What others learn",
             "What it costs and pays", "Traffic and computing", "In short", "Joined"]  # fmt: skip
    places = [ran.out.index(heading) for heading in order]
    assert places == sorted(places)
    text = " ".join(ran.out.split())
    for part in ("18 to 120 years", "Female | Male", "The file fits: ", " to judge by", "One epoch over ",
                 "The alliance gives 30 s", "AUC went from 0.500 to", "of one CPU core a round"):  # fmt: skip
        assert part in text, part
    assert "Reading the data" in ran.err and "Dry run of one epoch" in ran.err
    assert daemon.requests[-1][0] == "alliance.join"


def test_join__json_carries_the_dry_run(run: RunCommand, daemon: FakeDaemon, own_data: Path) -> None:
    """A script would have to search time and score between sentences, or find sentences in its JSON."""
    ran = run("alliance", "join", ALLIANCE, "--yes", "--json")
    found = json.loads(ran.out)
    assert found["seat"] == 5 and found["dry_run"]["local_epochs"] == 5
    assert found["dry_run"]["score_after"] > 0.5


def test_join__data_that_does_not_fit_stops_it(run: RunCommand, daemon: FakeDaemon, own_data: Path) -> None:
    """A member would stake with data that its node cannot train on, or mend one mistake a try."""
    text = own_data.read_text().replace("Female", "female").replace(",chol,", ",Cholesterol,")
    own_data.write_text(text)
    for arguments in ((), ("--json",)):
        ran = run("alliance", "join", ALLIANCE, "--yes", *arguments)
        assert ran.code == 2
        listed = " ".join((ran.err if arguments else ran.out).split())
        for part in ("rename that column to 'chol'", "write 'Female'", "row 1 is the header"):
            assert part in listed, part
        assert "places do not fit the task heart" in ran.err and "task check" in ran.err
    assert {command for command, _ in daemon.requests} == {"alliance.show"}


def test_join__what_the_node_could_not_read_is_listed_also_without_a_dry_run(
    run: RunCommand, daemon: FakeDaemon, own_data: Path
) -> None:
    """The member would hear of the first mistake only, or that its task is not installed."""
    broken = {**DATA, "path": str(own_data), "error": "row 2: it is wrong; mend it", "error_is_of_data": True}
    show = daemon.results["alliance.show"]
    assert not isinstance(show, P2PFlockError)
    daemon.results["alliance.show"] = {**show, "task_installed": False, "about": None, "data": broken}
    good = own_data.read_text()
    own_data.write_text(good.replace("Female", "female", 1))
    ran = run("alliance", "join", ALLIANCE, "--yes", "--no-dry-run")
    assert ran.code == 2 and "one place does not fit" in ran.err and "write 'Female'" in " ".join(ran.out.split())
    own_data.write_text(good)
    ran = run("alliance", "join", ALLIANCE, "--yes", "--no-dry-run")
    assert ran.code == 2 and "the data fits now" in ran.err and "try again" in ran.err
    assert {command for command, _ in daemon.requests} == {"alliance.show"}


def test_join__another_version_of_the_task_beside_the_command(
    run: RunCommand, daemon: FakeDaemon, own_data: Path
) -> None:
    """The dry run would try another task than the node trains."""
    daemon.change("alliance.show", data={**DATA, "path": str(own_data)}, manifest_digest=DIGEST)
    ran = run("alliance", "join", ALLIANCE, "--yes")
    assert ran.code == 2 and "another version of the task heart than the node's" in ran.err
    assert {command for command, _ in daemon.requests} == {"alliance.show"}


def test_join__a_machine_that_is_too_slow_does_not_stake(run: RunCommand, daemon: FakeDaemon, own_data: Path) -> None:
    """The node would be late in every round; --no-dry-run is the way round it."""
    show = daemon.results["alliance.show"]
    assert not isinstance(show, P2PFlockError)
    daemon.results["alliance.show"] = {**show, "params": {**SHOW["params"], "train_seconds": 0}}
    ran = run("alliance", "join", ALLIANCE, "--yes")
    assert ran.code == 2 and "the node would be late in every round" in ran.err and "--no-dry-run" in ran.err
    assert {command for command, _ in daemon.requests} == {"alliance.show"}
    assert run("alliance", "join", ALLIANCE, "--yes", "--no-dry-run").code == 0


def test_join__warns_before_the_question(run: RunCommand, daemon: FakeDaemon) -> None:
    """The warning would come after the stake."""
    daemon.change("alliance.show", seats=[{**SEAT, "connected": False, "peer_id": PEER_ID, "owner": ADDRESS}])
    text = " ".join(run("alliance", "join", ALLIANCE, "--yes", "--no-dry-run").out.split())
    assert 0 < text.index("Warning: None of the 1 members is connected") < text.index("In short") < text.index("Joined")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"own_state": "joined", "own_seat": 0}, None),
        ({}, None),
        ({"eth": "0"}, "The account holds no ETH to pay gas with. Send it some: `p2p-flock wallet`"),
        ({"task_installed": False, "data": {**DATA, "task": "digits"}}, "set to the task digits"),
        (
            {"task_installed": False, "data": {**DATA, "error": "row 2: mend it", "error_is_of_data": True}},
            "`p2p-flock task check` lists all of it",
        ),
    ],
)
def test_show__says_what_keeps_this_node_from_joining(
    run: RunCommand, daemon: FakeDaemon, fields: dict[str, object], says: str | None
) -> None:
    """A newcomer would find out in the join, or read that a task is not installed and not what to do."""
    daemon.change("alliance.show", **fields)
    text = " ".join(run("alliance", "show", ALLIANCE).out.split())
    assert ("What keeps this node from joining" in text) == (says is not None)
    assert says is None or says in text
