"""The commands that ask the daemon: what they send, show and return."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

import pytest

from p2p_flock.cli.alliance_create import PRESETS
from p2p_flock.daemon.control_messages import params_from_json
from p2p_flock.errors import (
    ChainError,
    ConfigError,
    ControlError,
    NetError,
    P2PFlockError,
    TransactionFailedError,
    UsageError,
)
from p2p_flock.params import validate_params
from tests.cli.conftest import RunCommand
from tests.cli.fake_daemon import ADDRESS, ALLIANCE, DIGEST, FLOCK, PEER_ID, RESULTS, SHOW, FakeDaemon

EVERY_COMMAND = [
    (("status",), "status"),
    (("alliance", "list"), "alliance.list"),
    (("alliance", "show", ALLIANCE), "alliance.show"),
    (("alliance", "leave", ALLIANCE), "alliance.leave"),
    (("alliance", "create", "--preset", "testnet", "--task", "heart", "--yes"), "alliance.create"),
    (("wallet", "claim"), "wallet.claim"),
]


@pytest.mark.parametrize(("arguments", "command"), EVERY_COMMAND)
def test_json__is_the_raw_result(run: RunCommand, daemon: FakeDaemon, arguments: tuple[str, ...], command: str) -> None:
    """Scripts could not read what the daemon said."""
    ran = run(*arguments, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out) == RESULTS[command]
    assert daemon.requests[-1][0] == command


@pytest.mark.parametrize(
    ("arguments", "_command"), [*EVERY_COMMAND, (("alliance", "join", ALLIANCE), ""), (("stop",), "")]
)
def test_commands__without_a_daemon_say_how_to_start_one(
    run: RunCommand, tmp_path: Path, arguments: tuple[str, ...], _command: str
) -> None:
    """A newcomer would see a traceback of a socket."""
    ran = run(*arguments)
    assert ran.code == 3
    home = tmp_path / "home"
    assert ran.err == f"error: no daemon runs in {home}\n   do: start it with `p2p-flock node --home {home}`\n"


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (TransactionFailedError("join", "NoSeatFree"), 4, "all seats are taken"),
        (TransactionFailedError("join", "SomethingNew"), 4, "alliance show ID"),
        (TransactionFailedError("join", "NoSeatFree", "Own remedy."), 4, "all seats are taken"),
        (ChainError("no answer from the endpoint"), 4, "rpc_urls"),
        (ChainError("two lines\nwith a remedy"), 4, "do: with a remedy"),
        (UsageError("no such alliance. Look at the list."), 2, "do: Look at the list."),
        (ConfigError("settings are wrong\ncorrect them"), 2, "do: correct them"),
        (ControlError("busy\ntry later"), 1, "do: try later"),
        (NetError("no peers"), 1, "bootstrap"),
        (P2PFlockError(""), 1, "P2PFlockError"),
    ],
)
def test_errors__are_two_lines_with_their_exit_code(
    run: RunCommand, daemon: FakeDaemon, error: P2PFlockError, code: int, says: str
) -> None:
    """The operator would not know what to do, or a script not why it failed."""
    daemon.results["alliance.leave"] = error
    ran = run("alliance", "leave", ALLIANCE)
    assert ran.code == code
    assert says in ran.err
    lines = ran.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("   do: ")


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("alliance", "join"), ("status", "--nonsense"),
                                       ("alliance", "join", "foo"), ("init",), ("node", "--home")])  # fmt: skip
def test_errors__wrong_usage_is_exit_code_two(run: RunCommand, arguments: tuple[str, ...]) -> None:
    """Scripts could not tell a mistyped command from a failure."""
    ran = run(*arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err


def test_help__documents_the_exit_codes(run: RunCommand) -> None:
    """Scripts' authors would have to read the source."""
    ran = run("--help")
    assert ran.code == 0
    text = " ".join(ran.out.split())
    for part in ("0 done", "1 failed", "2 wrong usage", "3 no daemon", "4 the chain refused", "5 you declined"):
        assert part in text


def test_status__tells_what_the_node_does(run: RunCommand, daemon: FakeDaemon) -> None:
    """The operator could not see what the node is doing."""
    text = run("status").out
    for part in ("1 h 2 min", "7 peers", PEER_ID, ADDRESS, ALLIANCE, "2 of 11 rounds", "3, train, you are trainer",
                 "ends in 20 s", ".610 → .590", "warning: two endpoints differ", "block 123", " old"):  # fmt: skip
        assert part in text, part
    daemon.change("status", alliance=None, round=None, block=None, chain_time_s=None, warnings=[], listen_addresses=[])
    text = run("status").out
    assert "p2p-flock alliance join ID" in text
    assert "no block seen" in text


def test_status__shows_that_it_catches_up(run: RunCommand, daemon: FakeDaemon) -> None:
    """A newcomer with a large model would look as if it hung."""
    assert "catching up" not in run("status").out
    daemon.change("status", rounds_behind=50, syncing="fetching the model before round 52: 12.0 of 80.0 MiB")
    assert "50 rounds behind; fetching the model before round 52: 12.0 of 80.0 MiB" in run("status").out


def test_status__texts_of_others_are_not_markup(run: RunCommand, daemon: FakeDaemon) -> None:
    """A peer could style or hide what the operator reads."""
    daemon.change("status", warnings=["[red]odd[/red] [/bold]"])
    assert "[red]odd[/red] [/bold]" in run("status").out


def test_show__names_seats_rounds_and_terms(run: RunCommand, daemon: FakeDaemon) -> None:
    """A member could not see who else is in it."""
    text = run("alliance", "show", ALLIANCE).out
    for part in (ALLIANCE, ADDRESS, PEER_ID, "not proved: ignored", "adopted", "4 of 5", "3:0", "12 s", "Task heart"):
        assert part in text, part
    assert daemon.requests == [("alliance.show", {"alliance": ALLIANCE})]


def test_list__names_whole_ids(run: RunCommand, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ID cut off at the terminal's width could not be copied."""
    monkeypatch.setenv("COLUMNS", "40")
    text = run("alliance", "list").out
    assert ALLIANCE in text
    assert "heart (not installed)" in " ".join(text.split())
    daemon.results["alliance.list"] = {"alliances": []}
    assert "alliance create" in run("alliance", "list").out


def test_join__shows_the_terms_and_binds_what_was_shown(run: RunCommand, daemon: FakeDaemon) -> None:
    """A member would stake without knowing what it risks and reveals."""
    ran = run("alliance", "join", ALLIANCE, "--no-dry-run", "--yes")
    assert ran.code == 0, ran.err
    text = " ".join(ran.out.split())
    for part in (
        "Task heart",
        "11 rounds",
        "You stake 1,000 FLOCK. That is also the most you can lose.",
        "10 % of it",
        "Your records stay on this machine",
        "sum over at least 3 honest owners",
        "Over many rounds sums still leak",
        "Only differential privacy bounds that",
        "Your weight would be 4 of at most 64",
        "1 min 20 s",
        "Joined",
        "seat 5",
    ):
        assert part in text, part
    assert daemon.requests[-1] == (
        "alliance.join",
        {"alliance": ALLIANCE, "weight": None, "params_hash": DIGEST, "maximum_loss": str(1_000 * FLOCK)},
    )


def test_join__colluders_and_cohort_size_follow_the_parameters(run: RunCommand, daemon: FakeDaemon) -> None:
    """The privacy shown would not be the privacy given."""
    daemon.change("alliance.show", params={**SHOW["params"], "threshold": 10, "collusion_bound": 3})
    text = " ".join(run("alliance", "show", ALLIANCE).out.split())
    assert "a cohort of at least 10 owners" in text
    assert "even if 3 of them work together" in text


def test_join__weight_is_passed_on(run: RunCommand, daemon: FakeDaemon) -> None:
    """A member's chosen weight would be ignored."""
    assert run("alliance", "join", ALLIANCE, "--no-dry-run", "--yes", "--weight", "7", "--json").code == 0
    assert daemon.requests[-1][1]["weight"] == 7
    for weight in ("0", "-1", "many", "1.5", "9999999999"):
        ran = run("alliance", "join", ALLIANCE, "--no-dry-run", "--yes", f"--weight={weight}")
        assert (ran.code, "--weight" in ran.err) == (2, True)


def test_join__json_prints_json_only(run: RunCommand, daemon: FakeDaemon) -> None:
    """A script would have to search the result between sentences."""
    assert (
        json.loads(run("alliance", "join", ALLIANCE, "--no-dry-run", "--yes", "--json").out)
        == daemon.results["alliance.join"]
    )


def test_join__without_a_terminal_needs_yes(run: RunCommand, daemon: FakeDaemon) -> None:
    """A script would hang, or stake without a word."""
    ran = run("alliance", "join", ALLIANCE)
    assert (ran.code, "--yes" in ran.err) == (2, True)
    assert [command for command, _ in daemon.requests] == ["alliance.show"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"closed": True}, "is closed"),
        ({"own_state": "joined"}, "already in"),
        ({"task_installed": False}, "in another version"),
        ({"flock": "5"}, "the account holds < 0.000001 FLOCK"),
        ({"eth": "0"}, "no ETH"),
    ],
)
def test_join__what_cannot_succeed_is_refused_before_sending(
    run: RunCommand, daemon: FakeDaemon, fields: dict[str, object], says: str
) -> None:
    """The member would pay gas for a revert, or stake where it cannot train."""
    daemon.change("alliance.show", **fields)
    ran = run("alliance", "join", ALLIANCE, "--no-dry-run", "--yes")
    assert (ran.code, says in ran.err) == (2, True), ran.err
    assert len(ran.err.splitlines()) == 2
    assert [command for command, _ in daemon.requests] == ["alliance.show"]


def test_join__again_after_withdrawing(run: RunCommand, daemon: FakeDaemon) -> None:
    """A member that left could never come back."""
    daemon.change("alliance.show", own_state="withdrawn")
    assert run("alliance", "join", ALLIANCE, "--no-dry-run", "--yes").code == 0


def test_leave__says_what_happens_to_the_stake(run: RunCommand, daemon: FakeDaemon) -> None:
    """A member would not know when and how it gets the stake back."""
    assert "starts to unbond" in run("alliance", "leave", ALLIANCE).out
    assert daemon.requests[-1] == ("alliance.leave", {"alliance": ALLIANCE})
    daemon.change("alliance.leave", state="unbonding", withdrawable_at_s=1_700_000_000)
    assert "2023-11-1" in run("alliance", "leave", ALLIANCE).out
    assert "back in the account" in run("alliance", "withdraw", ALLIANCE).out
    assert daemon.requests[-1] == ("alliance.withdraw", {"alliance": ALLIANCE})


def test_reactivate__takes_the_seat_again(run: RunCommand, daemon: FakeDaemon) -> None:
    """A member whose node gave up would have to leave and stake anew."""
    assert "next round" in run("alliance", "reactivate", ALLIANCE).out
    assert daemon.requests[-1] == ("alliance.reactivate", {"alliance": ALLIANCE})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"standing": "leaving"}, "goes when the next round opens"),
        ({"standing": "unbonding", "release_at_s": 1_700_000_120}, "withdrawn in 2 min"),
        ({"standing": "unbonding", "release_at_s": 1_700_000_000}, "alliance withdraw ID"),
        ({"standing": "suspended", "suspended_for": [4, 6]}, "absent in rounds 4 and 6"),
        ({"standing": "suspected", "suspected_for": [4, 6, 9]}, "rejected 3 times in a row, in rounds 4 to 9"),
        ({"slashed": {"fault": "bad share", "round": 2, "amount": str(FLOCK), "transaction": DIGEST}}, "bad share"),
    ],
)
def test_status__says_how_the_stake_stands(
    run: RunCommand, daemon: FakeDaemon, fields: dict[str, object], says: str
) -> None:
    """An operator would learn of a slash or suspension from its balance."""
    daemon.change("status", **fields)
    assert says in " ".join(run("status").out.split())


def test_wallet__shows_and_claims(run: RunCommand, daemon: FakeDaemon) -> None:
    """A member could not see or collect what it earned."""
    for name in ("config.toml", "identity.key", "keystore.json", "secrets.key"):
        (daemon.home / name).touch(mode=0o600)
    text = run("wallet").out
    for part in (ADDRESS, "1.2345 ETH", "1,000 FLOCK", "0.25 FLOCK to claim"):
        assert part in text, part
    assert json.loads(run("wallet", "--json").out) == daemon.results["wallet.show"]
    assert "Claimed 1 FLOCK" in run("wallet", "claim").out
    assert daemon.requests[-1] == ("wallet.claim", {"alliance": None})
    assert "Claimed" in run("wallet", "claim", "--home", daemon.home, "--alliance", ALLIANCE).out
    assert daemon.requests[-1][1] == {"alliance": ALLIANCE}
    daemon.change("wallet.claim", claimed="0", transactions=[])
    assert "nothing to claim" in run("wallet", "claim").out


def test_stop__asks_the_daemon(run: RunCommand, daemon: FakeDaemon) -> None:
    """A daemon in the background could only be killed."""
    assert run("stop").code == 0
    assert daemon.requests == [("stop", {})]


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_create__presets_keep_the_rules(run: RunCommand, preset: str) -> None:
    """The first alliance a user tries to create would be refused."""
    ran = run("alliance", "create", "--preset", preset, "--task", "heart", "--dry-run")
    assert ran.code == 0, ran.err
    params = params_from_json(tomllib.loads(ran.out)["params"], bytes(32))
    validate_params(params)
    chosen = {"threshold": params.threshold, "collusion_bound": params.collusion_bound}
    assert params == params_from_json({**chosen, **PRESETS[preset]}, bytes(32))


def test_create__bounds_are_chosen_for_the_colluders_one_fears(run: RunCommand) -> None:
    """A creator's guess would decide how private everybody's updates are."""
    for share, bounds in (("0", (9, 0)), ("0.2", (11, 4)), ("0.33", (12, 7))):
        ran = run("alliance", "create", "--preset", "default", "--task", "heart", "--dry-run", "--corrupt-share", share)
        params = tomllib.loads(ran.out)["params"]
        assert (params["threshold"], params["collusion_bound"]) == bounds
        assert "never exceeded" in " ".join(ran.err.split()) and "miss what was asked for" not in " ".join(
            ran.err.split()
        )


def test_create__weak_numbers_are_shown_as_what_they_are(run: RunCommand) -> None:
    """A creator would believe that its own numbers hold against colluders."""
    ran = run("alliance", "create", "--preset", "testnet", "--task", "heart", "--dry-run")
    said = " ".join(ran.err.split())
    assert "miss what was asked for" in said and "in any of 11 rounds is 100%" in said
    sizes = ("--set", "seat_count_min=71", "--set", "seat_count_max=71", "--set", "cohort_count=4")
    ran = run("alliance", "create", "--preset", "default", "--task", "heart", "--dry-run", *sizes)
    assert ran.code == 2 and "The best is collusion bound 13 and threshold 15" in ran.err


def test_create__one_bound_alone_is_refused(run: RunCommand) -> None:
    """The other bound would be chosen against what the creator meant."""
    ran = run("alliance", "create", "--preset", "default", "--task", "heart", "--dry-run", "--set", "threshold=9")
    assert ran.code == 2 and "threshold is set alone" in ran.err


def test_create__later_sources_win_and_dry_run_reads_back(run: RunCommand, daemon: FakeDaemon, tmp_path: Path) -> None:
    """The parameters fixed for ever would not be the ones the user wrote last."""
    file, params = tmp_path / "alliance.toml", tmp_path / "params.json"
    file.write_text(run("alliance", "create", "--preset", "testnet", "--task", "heart", "--dry-run").out)
    params.write_text(json.dumps({"round_count": 5, "seat_stake": 2 * FLOCK}))
    ran = run("alliance", "create", "--from", file, "--params", params, "--set", "round_count=7",
              "--set", "reward_per_round=2.5 FLOCK", "--reward-pool", "20 FLOCK", "--yes")  # fmt: skip
    assert ran.code == 0, ran.err
    assert ALLIANCE in ran.out
    command, sent = daemon.requests[-1]
    assert command == "alliance.create"
    assert (sent["task"], sent["reward_pool"]) == ("heart", str(20 * FLOCK))
    built = params_from_json(sent["params"], bytes(32))
    expected = dataclasses.replace(
        params_from_json(PRESETS["testnet"], bytes(32)),
        round_count=7,
        seat_stake=2 * FLOCK,
        reward_per_round=5 * FLOCK // 2,
    )
    assert built == expected
    assert "manifest_digest" not in sent["params"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--preset", "testnet"), "no task is named"),
        (("--task", "heart"), "lack "),
        (("--preset", "testnet", "--task", "heart", "--set", "threshold=2"), "threshold"),
        (("--preset", "testnet", "--task", "heart", "--set", "treshold=3"), "names no alliance parameter"),
        (("--preset", "testnet", "--task", "heart", "--set", "seat_stake=1.5"), "is no amount"),
        (("--preset", "testnet", "--task", "heart", "--set", "round_count=many"), "whole number"),
        (("--preset", "testnet", "--task", "heart", "--reward-pool", "1 FLOCK"), "does not last"),
        (("--task", "heart", "--from", "FILE"), "[params]"),
        (("--task", "heart", "--params", "FILE"), "not valid JSON"),
        (("--task", "heart", "--params", "missing"), "cannot read"),
    ],
)
def test_create__mistakes_are_refused_before_sending(
    run: RunCommand, daemon: FakeDaemon, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    """An alliance with wrong numbers would be fixed for ever, or gas paid for a revert."""
    (tmp_path / "FILE").write_text("task = 'heart'\n")
    words = [str(tmp_path / word) if word in ("FILE", "missing") else word for word in arguments]
    ran = run("alliance", "create", *words)
    assert (ran.code, says in ran.err) == (2, True), ran.err
    assert len(ran.err.splitlines()) == 2
    assert daemon.requests == []


PRIVACY = {
    "noise_multiplier": 2.86,
    "delta": 1e-5,
    "rounds": 20,
    "epsilon": 7.99,
    "rounds_spent": 3,
    "epsilon_spent": 2.76,
}


def test_join__tells_what_privacy_costs(run: RunCommand, daemon: FakeDaemon) -> None:
    """A member would stake without knowing how much of its data all rounds together give away."""
    daemon.change("alliance.show", privacy=PRIVACY)
    text = " ".join(run("alliance", "join", ALLIANCE, "--no-dry-run", "--yes").out.split())
    assert "every trainer adds noise: ε = 8 at δ = 1e-05 over at most 20 rounds as a trainer" in text
    assert "adds none" not in text


def test_show__tells_that_no_noise_is_added(run: RunCommand, daemon: FakeDaemon) -> None:
    """A member would believe in privacy over all rounds where there is none."""
    assert "and this alliance adds none" in " ".join(run("alliance", "show", ALLIANCE).out.split())
    daemon.change("alliance.show", task_installed=False)
    assert "which this node cannot read yet" in " ".join(run("alliance", "show", ALLIANCE).out.split())


def test_show__noise_without_a_bound(run: RunCommand, daemon: FakeDaemon) -> None:
    """An ε that cannot be told would be shown as one that can."""
    daemon.change("alliance.show", privacy={**PRIVACY, "epsilon": None})
    assert "ε not bounded at δ = 1e-05" in " ".join(run("alliance", "show", ALLIANCE).out.split())


def test_status__tells_what_is_spent(run: RunCommand, daemon: FakeDaemon) -> None:
    """The operator would not see its privacy run out."""
    assert "privacy" not in run("status").out
    daemon.change("status", privacy=PRIVACY)
    assert "ε 2.8 of 8 spent at δ 1e-05: 3 of at most 20 rounds with noise" in " ".join(run("status").out.split())


def test_create__tells_what_privacy_costs(run: RunCommand, daemon: FakeDaemon) -> None:
    """A creator would not see what its task's noise gives."""
    daemon.change("alliance.create", privacy=PRIVACY)
    ran = run("alliance", "create", "--preset", "testnet", "--task", "heart+noise2.86", "--yes")
    assert "Every trainer adds noise: ε = 8 at δ = 1e-05" in " ".join(ran.out.split())
