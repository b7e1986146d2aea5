"""Governance from the command line, on a real chain: from a lock to a payment and a mint, and what is refused when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import RunCommand
from tests.cli.governed_home import (
    FLOCK,
    PASSWORD,
    TIMELOCK_DELAY_S,
    VOTING_DELAY_S,
    VOTING_PERIOD_S,
    GovernedHome,
    open_governed_home,
    printed,
)

PAYEE, GAUGE, OTHER_GAUGE = ("0x" + digits * 20 for digits in ("cd", "ab", "ac"))
DAY_S = 86_400


@pytest.fixture
def governed(run: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GovernedHome]:
    monkeypatch.setenv("P2P_FLOCK_PASSWORD", PASSWORD)
    with open_governed_home(run, tmp_path / "home") as opened:
        yield opened


def refused(run: RunCommand, *arguments: str) -> str:
    """Run what must be refused before anything is sent; its two lines."""
    ran = run(*arguments)
    assert ran.code == 2, ran.out + ran.err
    assert len(ran.err.splitlines()) == 2, ran.err
    return ran.err


def propose(run: RunCommand, *changes: str) -> str:
    """Propose and return the ID as an operator would copy it."""
    ran = run("gov", "propose", *changes, "--description", "Fund the heart alliance", "--yes", "--json")
    assert ran.code == 0, ran.err
    return str(printed(ran.out)["id_hex"])[:14]


def test_governance__pays_and_weighs_what_was_voted_for(run: RunCommand, governed: GovernedHome) -> None:
    """Nothing that the protocol can change could be changed from the command line, or it would be changed too early."""
    changes = ("--set-gauge", "treasury=0", "--set-gauge", f"{GAUGE}=1", "--set-gauge", f"{OTHER_GAUGE}=3",
               "--spend", f"{PAYEE}=500.25 FLOCK", "--set-voting-delay", "2h")  # fmt: skip
    text = refused(run, "gov", "propose", *changes, "--description", "Fund", "--yes")
    assert "1,000 gmFLOCK are missing" in text and "p2p-flock lock create" in text
    assert run("lock", "create", "20000", "FLOCK", "--days", "365", "--yes").code == 0
    governed.travel(1)
    assert "ERC20InsufficientBalance" in run("gov", "propose", *changes, "--description", "Fund", "--dry-run").out
    governed.travel(DAY_S)
    assert run("gov", "mint", "treasury").code == 0
    ran = run("gov", "propose", *changes, "--description", "Fund the heart alliance", "--yes")
    assert ran.code == 0, ran.err
    for part in ("the treasury", "removed", f"{OTHER_GAUGE}: weight 3", f"{GAUGE}: weight 1",
                 f"Pay 500.25 FLOCK from the treasury to {PAYEE}", "Set the voting delay to 2 h",
                 "pending: voting begins"):  # fmt: skip
        assert part in ran.out, part
    assert "would fail" not in ran.out
    listed: Any = printed(run("gov", "list", "--json").out)["proposals"]
    assert len(listed) == 1
    number = str(listed[0]["id_hex"])[:12]
    assert number in run("gov", "list").out

    assert "pending: voting begins" in refused(run, "gov", "vote", number, "for")
    governed.travel(VOTING_DELAY_S + 1)
    assert "active: vote until" in refused(run, "gov", "queue", number)
    assert "Voted for with 60,200 gmFLOCK" in run("gov", "vote", number, "for", "--reason", "It helps").out
    assert "voted on it already" in refused(run, "gov", "vote", number, "against")
    assert "cannot be cancelled now" in refused(run, "gov", "cancel", number)
    governed.travel(VOTING_PERIOD_S)
    assert "passed: anyone may queue it" in run("gov", "show", number).out
    assert "cannot be executed now" in refused(run, "gov", "execute", number)
    assert "Queued." in run("gov", "queue", number).out
    assert "can be executed from" in refused(run, "gov", "execute", number)
    governed.travel(TIMELOCK_DELAY_S)
    assert "Executed." in run("gov", "execute", number).out
    assert printed(run("gov", "show", number, "--json").out)["state"] == "executed"

    assert governed.flock_of(PAYEE) == 500 * FLOCK + FLOCK // 4
    parameters = printed(run("gov", "parameters", "--json").out)
    assert parameters["changed_by"] == governed.timelock
    values = parameters["parameters"]
    assert isinstance(values, dict)
    assert values["voting_delay_s"] == 7_200
    assert values["gauges"] == {GAUGE: "1", OTHER_GAUGE: "3"}
    governed.travel(DAY_S)
    minted = int(str(printed(run("gov", "mint", GAUGE, "--json").out)["minted"]))
    assert minted == governed.flock_of(GAUGE)
    assert 309_157 * FLOCK // 4 < minted < 309_200 * FLOCK // 4
    text = run("gov", "emission").out
    assert f"{OTHER_GAUGE}: weight 3 of 4 (75.0%)" in text
    assert f"the treasury ({governed.timelock}): removed" in text
    assert int(str(printed(run("gov", "mint", "treasury", "--json").out)["minted"])) > 0  # what it accrued before


def test_governance__defeated_says_what_was_missing(run: RunCommand, governed: GovernedHome) -> None:
    """A proposer would not know whether to ask more people or to give up."""
    assert run("lock", "create", "2000", "FLOCK", "--days", "30", "--yes").code == 0
    governed.travel(1)
    number = propose(run, "--set-quorum", "7")
    governed.travel(VOTING_DELAY_S + 1)
    assert run("gov", "vote", number, "abstain").code == 0
    governed.travel(VOTING_PERIOD_S)
    assert "defeated: 8,000 gmFLOCK were missing for the quorum" in run("gov", "show", number).out
    assert "defeated" in refused(run, "gov", "queue", number)


def test_governance__a_call_that_fails_fails_all_of_it(run: RunCommand, governed: GovernedHome) -> None:
    """Half of a proposal would be executed, or the operator told to fund the wrong account."""
    assert run("lock", "create", "20000", "FLOCK", "--days", "30", "--yes").code == 0
    governed.travel(1)
    number = propose(run, "--set-gauge", f"{GAUGE}=1", "--spend", f"{PAYEE}=90000000 FLOCK")
    governed.travel(VOTING_DELAY_S + 1)
    assert run("gov", "vote", number, "for").code == 0
    governed.travel(VOTING_PERIOD_S)
    assert run("gov", "queue", number).code == 0
    governed.travel(TIMELOCK_DELAY_S)
    text = refused(run, "gov", "execute", number)
    assert "refused now: ERC20InsufficientBalance" in text and "together or not at all" in text
    assert GAUGE not in run("gov", "emission").out
    assert "anyone may execute it" in run("gov", "show", number).out


def test_governance__only_its_proposer_cancels_and_in_time(run: RunCommand, governed: GovernedHome) -> None:
    """A proposal made by mistake could not be taken back, or anybody's could."""
    assert run("lock", "create", "2000", "FLOCK", "--days", "30", "--yes").code == 0
    governed.travel(1)
    number = propose(run, "--allow-staking", GAUGE)
    assert "Cancelled." in run("gov", "cancel", number).out
    assert "cancelled by its proposer" in run("gov", "list").out
    assert "there is no proposal" in refused(run, "gov", "show", "0x1234567890")
    assert "at least 8 digits" in refused(run, "gov", "show", number[:8])


def test_governance__a_vote_needs_votes_at_the_snapshot(run: RunCommand, governed: GovernedHome) -> None:
    """Somebody who locks after voting began would pay gas for a vote of nothing."""
    assert run("lock", "create", "2000", "FLOCK", "--days", "30", "--yes").code == 0
    assert run("lock", "delegate", PAYEE).code == 0
    governed.travel(1)
    assert "the account votes with 0 gmFLOCK" in refused(
        run, "gov", "propose", "--set-quorum", "7", "--description", "More", "--yes"
    )
    assert run("lock", "delegate", "self").code == 0
    governed.travel(1)
    number = propose(run, "--set-quorum", "7")
    assert run("lock", "delegate", PAYEE).code == 0
    governed.travel(VOTING_DELAY_S + 1)
    assert run("lock", "delegate", "self").code == 0
    assert "had no votes when voting on this proposal began" in refused(run, "gov", "vote", number, "for")


def test_governance__waits_for_the_daemons_transaction(run: RunCommand, governed: GovernedHome) -> None:
    """A command would take the nonce of what a running node has just sent with the same key."""
    governed.rpc("evm_setAutomine", False)
    governed.rpc("anvil_impersonateAccount", governed.address)
    sent = governed.rpc("eth_sendTransaction", {"from": governed.address, "to": PAYEE, "value": "0x1"})
    governed.rpc("anvil_stopImpersonatingAccount", governed.address)
    governed.rpc("evm_setIntervalMining", 1)
    ran = run("lock", "create", "5", "FLOCK", "--days", "30", "--yes", "--json")
    assert ran.code == 0, ran.err
    receipt = governed.rpc("eth_getTransactionReceipt", sent)
    assert isinstance(receipt, dict)
    assert int(str(receipt["blockNumber"]), 16) < int(str(printed(ran.out)["block"]))


def test_emission__nothing_accrued_is_said(run: RunCommand, governed: GovernedHome) -> None:
    """Gas would be paid to learn that an address is no gauge."""
    assert "nothing has accrued" in refused(run, "gov", "mint", GAUGE)
    text = run("gov", "emission").out
    for part in ("Month 1 of 60", "309,157.68 FLOCK", "420,000,005.525647 FLOCK", "weight 1 of 1 (100.0%)"):
        assert part in text, part


def test_governor__another_contract_is_refused(run: RunCommand, governed: GovernedHome) -> None:
    """A mistyped or planted address would be voted on."""
    assert "is no governor" in refused(run, "gov", "list", "--governor", governed.token)
    assert "there is no contract" in refused(run, "gov", "list", "--governor", PAYEE)
    assert "is no address" in refused(run, "gov", "list", "--governor", "0x12")
    assert run("gov", "list", "--governor", governed.governor).code == 0


def test_governor__unknown_says_where_to_write_it(
    run: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newcomer would not know which setting is missing."""
    monkeypatch.setenv("P2P_FLOCK_PASSWORD", PASSWORD)
    made = run("init", "--light-keystore", "--rpc-url", "http://127.0.0.1:1", "--chain-id", "8453", "--factory", GAUGE)
    assert made.code == 0
    text = refused(run, "gov", "list")
    assert "the governor's address is not known" in text and "under [chain] in" in text
