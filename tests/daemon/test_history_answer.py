"""The answer to ``alliance.history``: why rounds ended as they did, who was hit by what, and what this node earned."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from p2p_flock.alliance.earnings import compute_earnings
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.chain_events import ChainEvent, LogPosition, RoundSettled, SeatLeft, Slashed
from p2p_flock.daemon import history_answer
from p2p_flock.daemon.control_protocol import JsonObject
from p2p_flock.daemon.history_answer import HistoryAnswers
from p2p_flock.daemon.history_messages import HISTORY_ROUNDS_MAX, HistoryResult
from p2p_flock.daemon.purse import Purse
from p2p_flock.daemon.session import AllianceSession
from p2p_flock.daemon.world import World
from p2p_flock.errors import UsageError
from p2p_flock.testing.alliance import DOMAIN, digest_of
from p2p_flock.types import CohortOutcome
from tests.daemon.test_watch_answer import OWN, Handle, Past, conforms
from tests.unit.alliance_log import PARAMS, LogWriter, owner_of


def of_log(log: LogWriter, events: list[ChainEvent] | None = None) -> tuple[HistoryAnswers, AllianceSession]:
    """A node's answers about a log whose beacons and manifests are known, its purse never read."""
    history = AllianceHistory(DOMAIN, log.params)
    for event in log.events if events is None else events:
        history.apply(event, binding_valid=True)
    for record in history.rounds:
        record.randomness = log.randomness(record.opened.round)
        record.manifest = log.manifests.get(record.opened.round)
    past = Past(1).session
    past.history = history
    past.purse = SimpleNamespace(ask=lambda: None, is_claimed=lambda _round: None)
    return HistoryAnswers(owner_of(OWN)), cast(AllianceSession, past)


def begun(members: int = 8) -> LogWriter:
    log = LogWriter(PARAMS)
    for name in range(members):
        log.join(name)
    log.open()
    return log


def rounds_of(log: LogWriter, events: list[ChainEvent] | None = None) -> list[Any]:
    """Newest first."""
    answers, session = of_log(log, events)
    result = answers.answer(session, None, HISTORY_ROUNDS_MAX)
    assert conforms(result, HistoryResult)
    return cast(list[Any], result["rounds"])


@pytest.mark.parametrize("rounds", [0, 1, 12])
def test_history__is_of_its_type_and_json(rounds: int) -> None:
    """The page and the command would break on a field that is missing or of another kind."""
    past = Past(rounds)
    past.session.purse = SimpleNamespace(ask=lambda: None, is_claimed=lambda _round: True)
    result = HistoryAnswers(owner_of(OWN)).answer(cast(AllianceSession, past.session), None, 200)
    assert conforms(result, HistoryResult)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert [entry["round"] for entry in result["rounds"]] == list(reversed(range(rounds)))
    earned = {earning.record.round: str(earning.total) for earning in compute_earnings(past.history, owner_of(OWN))}
    told = {entry["round"]: entry["money"]["total"] for entry in result["rounds"] if entry["money"] is not None}
    assert {number: total for number, total in told.items() if total != "0"} == earned


def test_history__pages() -> None:
    """Whoever wants the past beyond one answer would get gaps or repetitions."""
    past = Past(7)
    past.session.purse = SimpleNamespace(ask=lambda: None, is_claimed=lambda _round: None)
    answers, session = HistoryAnswers(owner_of(OWN)), cast(AllianceSession, past.session)
    seen: list[int] = []
    while page := answers.answer(session, seen[-1] if seen else None, 3)["rounds"]:
        seen += [entry["round"] for entry in page]
    assert seen == [6, 5, 4, 3, 2, 1, 0]
    assert answers.answer(session, 10**9, 200)["rounds"][0]["round"] == 6
    assert answers.answer(None, None, 5) == {"rounds": [], "earliest": 0}
    for before, limit in [(None, 0), (None, HISTORY_ROUNDS_MAX + 1), (-1, 5)]:
        with pytest.raises(UsageError, match="pages of 1 to"):
            answers.answer(session, before, limit)


def test_history__an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply beyond the control socket's limit would be refused whole."""
    past = Past(7)
    past.session.purse = SimpleNamespace(ask=lambda: None, is_claimed=lambda _round: None)
    monkeypatch.setattr(history_answer, "REPLY_BYTES_MAX", 15_000)
    answers, session = HistoryAnswers(owner_of(OWN)), cast(AllianceSession, past.session)
    full = answers.answer(session, None, 200)
    assert 1 <= len(full["rounds"]) < 7
    assert len(json.dumps(full)) < 15_000
    monkeypatch.setattr(history_answer, "REPLY_BYTES_MAX", 1)
    assert len(answers.answer(session, None, 200)["rounds"]) == 1, "or nobody would ever see that round"


def test_history__says_why() -> None:
    """A rejected, undecided or void round would leave an operator guessing."""
    log = begun()
    for outcome in (CohortOutcome.ADOPTED, CohortOutcome.REJECTED, CohortOutcome.UNDECIDED, CohortOutcome.VOID):
        log.seal()
        log.settle(outcome)
        log.open()
    log.void()
    log.open()
    void, too_few, undecided, rejected, adopted = (entry["reasons"][0] for entry in rounds_of(log))
    assert adopted.startswith("Adopted: 2 of 3 validators voted for it, 2 were needed.")
    assert rejected.startswith("Rejected: 0 of 3 validators voted against it")
    assert undecided.startswith("Undecided: either verdict takes 2 of 3 votes")
    assert "2 gave no vote in time" in undecided
    assert too_few.startswith("Void: 5 of 5 trainers were in, and no sum of fewer than 3")
    assert void.startswith("Void: the validators did not agree on chain in time")


def test_history__names_whom_it_missed() -> None:
    """ "A strike" on the page could not be explained, to its owner or to anybody else."""
    log = begun()
    trainer = log.roles().trainers[0]
    log.seal(absent=(trainer,))
    log.settle()
    log.open()
    (entry,) = rounds_of(log)
    absent = {event["seat"]: event for event in entry["events"] if event["what"] == "absent"}
    assert trainer in absent and "its update did not arrive in time" in absent[trainer]["text"]
    silent = [seat for position, seat in enumerate(log.roles().validators) if position != 2]
    assert any(f"seat {trainer}" in reason for reason in entry["reasons"])
    settled = next(event for event in log.events if isinstance(event, RoundSettled))
    assert absent[trainer]["transaction"] == "0x" + settled.at.transaction.hex()
    assert len(silent) == 2
    assert [event["seat"] for event in entry["penalties"]] == [OWN] * (OWN in absent)


def test_history__tells_what_befell_members_and_where_the_evidence_is() -> None:
    """A slash, a suspension, a newcomer: public, and yet nobody could look them up."""
    log = begun(9)
    log.seal()
    log.settle()
    log.open()
    log.slash(OWN)
    log.suspend(3, 0, 1)
    log.suspect(4, 0, 1)
    log.leave(5)
    log.seal()
    log.settle()
    log.open()
    log.withdraw(3)
    log.join("newcomer")
    log.seal()
    log.settle()
    log.open()
    events = [
        replace(event, at=LogPosition(number, 0, 1_700_000_000, digest_of("transaction", number)))
        for number, event in enumerate(log.events)
    ]
    for number, event in enumerate(events):  # what goes for a fault is queued by the same transaction
        if isinstance(event, SeatLeft):
            before = events[number - 1]
            if getattr(before, "owner", None) == event.owner and not isinstance(before, SeatLeft):
                events[number] = replace(event, at=before.at)
    newest, middle, first = rounds_of(log, events)
    by_owner = {(event["what"], event["owner"]): event for event in middle["events"] if event["what"] != "absent"}
    owners = {name: "0x" + owner_of(name).hex() for name in (OWN, 3, 4, 5)}
    assert set(by_owner) == {
        ("slashed", owners[OWN]), ("suspended", owners[3]), ("suspected", owners[4]), ("left", owners[5])
    }  # fmt: skip
    slash = by_owner["slashed", owners[OWN]]
    posted = next(event for event in events if isinstance(event, Slashed))
    assert (slash["fault"], slash["amount"], slash["rounds"]) == ("equivocation", str(10**17), [1])
    assert slash["transaction"] == "0x" + posted.at.transaction.hex()
    assert "slashed 0.1 FLOCK: equivocation in round 1" in slash["text"]
    assert slash in middle["penalties"] and slash["is_own"]
    assert middle["events"][0]["is_own"], "what concerns the reader comes first"
    assert {event["what"] for event in newest["events"]} >= {"withdrawn", "joined"}
    assert {event["what"] for event in first["events"]} >= {"joined"}, "also those who founded it"


def test_history__lists_a_rounds_transactions_and_their_senders() -> None:
    """Nobody could look a round up on a block explorer."""
    log = begun()
    log.seal()
    log.settle()
    log.open()
    (entry,) = rounds_of(log)
    listed = {found["what"]: found for found in entry["transactions"]}
    assert [found["what"] for found in entry["transactions"]] == ["open", "seal", "commit", "settle"]
    senders = {what: listed[what]["sender"] for what in listed}
    assert senders["seal"] == "0x" + owner_of("sealer").hex()
    assert senders["commit"] == "0x" + owner_of("committer").hex()
    assert senders["settle"] == "0x" + owner_of("settler").hex()
    assert senders["open"] is None, "the log does not say"
    blocks = [found["block"] for found in entry["transactions"]]
    assert blocks == sorted(blocks)


def test_history__events_and_transactions_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four thousand absent members would fill every answer; the reader's own entry must stay."""
    monkeypatch.setattr(history_answer, "EVENTS_MAX", 1)
    monkeypatch.setattr(history_answer, "TRANSACTIONS_MAX", 2)
    log = begun()
    log.seal()
    log.settle()
    log.open()
    (entry,) = rounds_of(log)
    assert len(entry["events"]) == 1 and entry["events"][0]["is_own"]
    assert entry["events_left_out"] > 0
    assert (len(entry["transactions"]), entry["transactions_left_out"]) == (2, 2)


def test_history__a_reorganised_log_is_told_anew() -> None:
    """What the chain took back would stay in the history."""
    log = begun()
    answers, session = of_log(log)
    log.seal()
    log.settle(CohortOutcome.REJECTED)
    log.open()
    session.history = of_log(log)[1].history
    assert answers.answer(session, None, 5)["rounds"][0]["cohort_outcomes"] == ["rejected"]
    other = begun()
    other.seal()
    other.settle(CohortOutcome.ADOPTED)
    other.open()
    session.history = of_log(other)[1].history
    (entry,) = answers.answer(session, None, 5)["rounds"]
    assert entry["cohort_outcomes"] == ["adopted"] and entry["reasons"][0].startswith("Adopted")


def test_history__what_befell_the_newest_round_later_is_told_too() -> None:
    """After the last round of an alliance, members withdraw; that would never be seen."""
    log = begun()
    log.seal()
    log.settle(closed=True)
    answers, session = of_log(log)
    assert not any(event["what"] == "withdrawn" for event in answers.answer(session, None, 5)["rounds"][0]["events"])
    log.withdraw(3)
    session.history.apply(log.events[-1])
    assert any(event["what"] == "withdrawn" for event in answers.answer(session, None, 5)["rounds"][0]["events"])


async def test_history__knows_what_was_claimed() -> None:
    """An operator could not tell what is still to be collected."""
    past, handle = Past(9), Handle()
    past.session.handle = handle

    async def balances() -> tuple[int, int]:
        return 5, 7

    past.world.chain = SimpleNamespace(address=owner_of(OWN), balances=balances)
    purse = past.session.purse = Purse(cast(World, past.world), cast(AllianceSession, past.session), lambda: 1000.0)
    answers = HistoryAnswers(owner_of(OWN))

    def claimed() -> dict[int, bool | None]:
        rounds = answers.answer(cast(AllianceSession, past.session), None, 200)["rounds"]
        return {entry["round"]: entry["money"] and entry["money"]["is_claimed"] for entry in rounds if entry["money"]}

    earned = [earning.record.round for earning in compute_earnings(past.history, owner_of(OWN))]
    assert set(claimed().values()) == {None}, "not looked at yet"
    await purse.refresh()
    assert {number: claimed()[number] for number in earned} == {number: number == 0 for number in earned}


async def test_history__the_command_checks_its_arguments() -> None:
    """A page's mistyped query would end the node."""
    from p2p_flock.daemon.control_messages import validate_arguments  # noqa: PLC0415

    good: JsonObject = {"before": None, "limit": 20}
    validate_arguments("alliance.history", good)
    for bad in ({"limit": 20}, {"before": "3", "limit": 20}, {"before": None, "limit": None}, {**good, "more": 1}):
        with pytest.raises(UsageError):
            validate_arguments("alliance.history", bad)
