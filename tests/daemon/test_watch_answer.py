"""The answer to ``alliance.watch``: whole, strict JSON, from memory and quick."""

from __future__ import annotations

import json
import time
import types
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from p2p_flock.alliance.earnings import compute_earnings
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.progress import Step
from p2p_flock.alliance.suspicion import compute_runs
from p2p_flock.alliance.validator import Phase
from p2p_flock.chain.records import RoundPhase
from p2p_flock.chain_events import SeatSuspected, SettledRecord
from p2p_flock.daemon.judging import Judged
from p2p_flock.daemon.presence import PEERS_MAX, Presence
from p2p_flock.daemon.privacy_budget import PrivacyBudget
from p2p_flock.daemon.progress import Progress, Works
from p2p_flock.daemon.purse import AGE_MAX_S, PAUSE_S, WATCHED_S, Holdings, Purse
from p2p_flock.daemon.scores_file import Score
from p2p_flock.daemon.session import AllianceSession
from p2p_flock.daemon.standing import describe_suspicion, may_reactivate
from p2p_flock.daemon.watch_answer import ENDED_ROUNDS_SHOWN, WatchAnswers
from p2p_flock.daemon.watch_messages import WatchResult
from p2p_flock.daemon.world import World
from p2p_flock.errors import ChainError
from p2p_flock.testing.alliance import DOMAIN, make_task
from p2p_flock.types import CohortOutcome
from tests.cli.watch_samples import SAMPLES
from tests.unit.alliance_log import PARAMS, LogWriter, owner_of
from tests.unit.test_alliance_validator import validator_in

REJECTED = CohortOutcome.REJECTED
SEATS = 8
OWN = 2
ANSWER_SECONDS_MAX = 0.05  # some ms, on a machine that does ten other things


def conforms(value: object, hint: Any) -> bool:
    """Whether a JSON value is what a type of ``watch_messages.py`` says."""
    origin = get_origin(hint)
    if is_typeddict(hint):
        hints = get_type_hints(hint)
        return isinstance(value, dict) and set(value) == set(hints) and all(
            conforms(value[name], kind) for name, kind in hints.items()
        )  # fmt: skip
    if origin in (Union, types.UnionType):
        return any(conforms(value, kind) for kind in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin is list:
        return isinstance(value, list) and all(conforms(item, get_args(hint)[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(conforms(item, get_args(hint)[1]) for item in value.values())
    return type(value) is hint


class Past:
    """A node's memory after some rounds: what the session shows to its watchers, without network or chain."""

    def __init__(self, rounds: int) -> None:
        self.log = LogWriter(PARAMS)
        self.history = AllianceHistory(DOMAIN, PARAMS)
        for name in range(SEATS):
            self.log.join(name)
        for number in range(rounds):
            self.log.open()
            if number % 5 == 4:
                self.log.void()
                continue
            self.log.seal(absent=(OWN,) if number >= rounds - 2 else ())
            self.log.settle(CohortOutcome.REJECTED if number % 5 == 3 else CohortOutcome.ADOPTED)
        self.log.open()
        for event in self.log.events:
            self.history.apply(event, binding_valid=True)
        for record in self.history.rounds:
            record.randomness = self.log.randomness(record.opened.round)
        opened = self.history.rounds[-1].opened
        self.metrics = SimpleNamespace(
            round_number=opened.round, phase="train", report="training on own data",
            started={"beacon": opened.opens_at_s - 1.0, "train": opened.opens_at_s + 0.2},
            ended={"beacon": opened.opens_at_s + 0.1},
        )  # fmt: skip
        self.session = SimpleNamespace(
            id="flock:84530:0x" + "ab" * 20 + ":0", history=self.history, block=7, metrics=self.metrics, driver=None,
            state=SimpleNamespace(round=opened.round, phase=RoundPhase.OPEN, timestamp_s=opened.opens_at_s,
                                  settled_round_count=rounds, commit_deadline_s=0, reveal_deadline_s=0),
            handle=SimpleNamespace(terms=SimpleNamespace(task_name="heart")), presence=Presence(),
            lineage=SimpleNamespace(next_round=rounds, digests={0: ("0x00", "0x" + "01" * 32)},
                                    model=SimpleNamespace(digest=bytes(32), stage=SimpleNamespace(name="TRAINING"))),
            judge=SimpleNamespace(judged={0: Judged(0.7, None, {0: 0.6}, {0: 0.8}, {0: True})}, works=Works(),
                                  worker=SimpleNamespace(score_name="AUC")),
            scorekeeper=SimpleNamespace(of=self.score_of, note=None),
            sync=SimpleNamespace(progress=Progress()),
            purse=SimpleNamespace(ask=lambda: Holdings(10**21, 0, 5, 10**18, 0, 1_700_000_000)),
            describe_sync=lambda: "fetching manifests", budget=PrivacyBudget(make_task(), PARAMS, owner_of(OWN)),
        )  # fmt: skip
        self.now_ms = opened.opens_at_s * 1000 + 500
        self.world = SimpleNamespace(
            clock=SimpleNamespace(now_ms=lambda: self.now_ms, offset_ms=0),
            net=SimpleNamespace(peer_id="peer-own", connected=lambda: frozenset({"peer-0"}), bytes_sent=1,
                                bytes_received=2),
            chain=SimpleNamespace(address=owner_of(OWN)),
            config=SimpleNamespace(chain=SimpleNamespace(chain_id=84_530)),
            tally=SimpleNamespace(worker_pid=lambda: None), gas=SimpleNamespace(spent_wei=7, since_s=1_700_000_000),
        )  # fmt: skip

    @staticmethod
    def score_of(number: int) -> Score:
        """Known of the first round only."""
        return Score(0.81, 0.75, 1) if number == 0 else Score()

    def answers(self) -> WatchAnswers:
        return WatchAnswers(cast(World, self.world), time.time())

    def answer(self) -> Any:
        return self.answers().answer(cast(AllianceSession, self.session), ["look"])


@pytest.mark.parametrize("name", SAMPLES)
def test_samples__are_of_the_type(name: str) -> None:
    """The frames would be tested with answers that no daemon gives."""
    assert conforms(SAMPLES[name], WatchResult)


@pytest.mark.parametrize("rounds", [0, 1, 3, 30])
def test_answer__is_of_its_type_and_json(rounds: int) -> None:
    """The watch would break on a field that is missing or of another kind."""
    result = Past(rounds).answer()
    assert conforms(result, WatchResult)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["alliance"]["running"]["round"] == rounds
    assert len(result["alliance"]["rounds"]) == min(rounds, ENDED_ROUNDS_SHOWN)


def test_answer__without_an_alliance() -> None:
    """A node that is in none could not be watched."""
    result = Past(0).answers().answer(None, [])
    assert conforms(result, WatchResult) and result["alliance"] is None


def test_answer__counts_outcomes_and_strikes() -> None:
    """The operator would be told of another past than the chain's."""
    alliance = Past(8).answer()["alliance"]
    assert alliance["counts"] == {"adopted": 6, "rejected": 1, "undecided": 0, "voided": 1}
    assert alliance["settled_rounds"] == 7
    past = Past(8)
    expected = 0
    for record in reversed(past.history.rounds[:-1]):
        if record.settled is None:
            continue
        assignment = past.history.assignment(record.opened.round)
        assert assignment is not None and record.sealed is not None
        trained = OWN in assignment.trainers
        position = None if trained else assignment.validators.index(OWN)
        bits = record.sealed.survivors[0]
        present = bits >> assignment.trainers.index(OWN) & 1 if trained else position in record.reveals
        if present:
            break
        expected += 1
    assert alliance["strikes"] == expected and alliance["standing"] == "joined"


def test_answer__tells_survivors_per_cohort_from_the_seal() -> None:
    """An operator could not see which cohort lost a trainer."""
    rounds = {entry["round"]: entry for entry in Past(8).answer()["alliance"]["rounds"]}
    params = PARAMS
    for entry in rounds.values():
        trained = entry["trainers_by_cohort"]
        assert len(trained) == params.cohort_count and sum(trained) == entry["trainers"]
        assert sum(entry["survivors_by_cohort"]) == entry["survivors"]
    absent = rounds[7]  # this node's seat is missing in the seal if it trained
    assert absent["survivors"] == absent["trainers"] - (absent["role"] == "trainer") > 0
    assert rounds[4]["survivors_by_cohort"] == [] and rounds[4]["outcome"] == "voided"


def test_answer__between_rounds_no_members_are_waited_for() -> None:
    """The operator of a full alliance would look for members that nobody needs."""
    past = Past(1)
    past.history.rounds.pop()
    alliance = past.answer()["alliance"]
    assert alliance["running"] is None and alliance["activity"] == "awaiting_round"
    past.history.params = replace(PARAMS, seat_count_min=SEATS + 1)
    assert past.answer()["alliance"]["activity"] == "awaiting_seats"


def test_answer__counts_rejections_in_a_row() -> None:
    """A member would learn only from its suspension that its cohorts are rejected."""
    past = Past(8)
    assert (past.answer()["alliance"]["rejections"], past.answer()["alliance"]["suspicion_bound"]) == (None, 0)
    past.history.params = replace(PARAMS, suspicion_bound=3)
    alliance = past.answer()["alliance"]
    run = compute_runs(past.history)[owner_of(OWN)]
    assert (alliance["rejections"], alliance["suspicion_bound"]) == (run.rejections, 3)


def test_answer__tells_a_suspected_member_the_rounds() -> None:
    """The operator of a suspended seat could not see what it was suspended for."""
    past = Past(8)
    rejected = [r.opened.round for r in past.history.rounds if r.settled and r.settled.outcomes == (REJECTED,)]
    seat, at = OWN, past.log.at()
    past.history.apply(SeatSuspected(at, seat, owner_of(OWN), 0, past.log.round - 1))
    trained = [n for n in rejected if seat in cast(Any, past.history.assignment(n)).trainers]
    assert past.answer()["alliance"]["suspected_for"] == trained
    assert "withdraw" in describe_suspicion(past.history, owner_of(OWN))
    assert not may_reactivate(past.history, owner_of(OWN))


def test_answer__remembers_counts_until_the_log_is_folded_anew() -> None:
    """After a reorganisation the counts would be of rounds that are undone."""
    past, other = Past(8), Past(3)
    answers = past.answers()
    first = cast(Any, answers.answer(cast(AllianceSession, past.session), []))["alliance"]["counts"]
    past.session.history = other.history
    second = cast(Any, answers.answer(cast(AllianceSession, past.session), []))["alliance"]["counts"]
    assert first["adopted"] == 6 and second == {"adopted": 3, "rejected": 0, "undecided": 0, "voided": 0}


def test_answer__steps_have_deadlines_and_times() -> None:
    """Nobody could say who is late."""
    past = Past(1)
    steps = {step["step"]: step for step in past.answer()["alliance"]["running"]["steps"]}
    assert list(steps) == [step.value for step in Step]
    opened = past.history.rounds[-1].opened
    assert steps["beacon"]["state"] == "done" and steps["train"]["state"] == "running"
    assert steps["beacon"]["ended_ms"] - steps["beacon"]["started_ms"] == 1100
    assert steps["train"]["deadline_ms"] == (opened.opens_at_s + PARAMS.train_seconds) * 1000
    assert steps["seal"]["state"] == "hidden" and steps["unmask"]["deadline_ms"] is None
    past.now_ms += PARAMS.train_seconds * 1000
    assert past.answer()["alliance"]["running"]["step"] == "seal"


def test_answer__says_what_the_node_is_doing() -> None:
    """The operator could not tell waiting from working."""
    past = Past(1)
    assert past.answer()["alliance"]["activity"] == "starting"
    past.session.lineage.next_round = 0
    alliance = past.answer()["alliance"]
    assert (alliance["activity"], alliance["activity_text"]) == ("catching_up", "fetching manifests")
    past.session.lineage.next_round = 1
    past.history.rounds[-1].randomness = None
    alliance = past.answer()["alliance"]
    assert alliance["activity"] == "awaiting_beacon" and alliance["running"]["participants"] == []
    past.world.chain.address = owner_of("stranger")
    assert past.answer()["alliance"]["activity"] == "not_seated"
    past.history.closed = True
    assert past.answer()["alliance"]["activity"] == "closed"


@pytest.mark.parametrize(
    ("phase", "activity"),
    [(Phase.SEALING, "sealing"), (Phase.OPENING, "opening"), (Phase.JUDGING, "judging"), (Phase.VOTING, "committing")],
)
def test_answer__follows_the_machine(phase: Phase, activity: str) -> None:
    """A validator's work would be shown as another's."""
    past = Past(1)
    machine = validator_in(phase)
    past.session.driver = SimpleNamespace(machine=machine, context=SimpleNamespace(round=1))
    record = past.history.rounds[-1]
    if phase is not Phase.SEALING:
        past.log.seal()
        past.history.apply(past.log.events[-1], binding_valid=True)
    assert record.ended is False
    result = past.answer()
    assert result["alliance"]["activity"] == activity and conforms(result, WatchResult)


def test_answer__takes_milliseconds_after_a_thousand_rounds() -> None:
    """Watching would slow the round down that is watched."""
    past = Past(1000)
    answers = past.answers()
    answers.answer(cast(AllianceSession, past.session), [])  # the first one counts the past
    begun = time.thread_time()
    for _ in range(5):
        answers.answer(cast(AllianceSession, past.session), [])
    assert (time.thread_time() - begun) / 5 < ANSWER_SECONDS_MAX


# --- presence and purse ----------------------------------------------------------------------------------------------


def test_presence__tells_the_seconds_and_forgets_the_oldest() -> None:
    """A stranger that changes its name would fill the memory."""
    now = [100.0]
    presence = Presence(lambda: now[0])
    presence.note("first")
    now[0] += 5.9
    assert presence.seconds_since("first") == 5 and presence.seconds_since("nobody") is None
    for number in range(PEERS_MAX):
        presence.note(str(number))
    assert presence.seconds_since("first") is None and presence.seconds_since("0") == 0


class Handle:
    """Counts what is asked of the chain; fails on demand."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False

    async def stake(self) -> SimpleNamespace:
        self.asked += 1
        if self.fails:
            raise ChainError("no endpoint")
        return SimpleNamespace(stake_wei=10, release_at_s=0)

    async def credit_wei(self) -> int:
        return 3

    async def rewards_wei(self, records: list[SettledRecord], owner: bytes) -> tuple[int, ...]:
        return tuple(100 * (record.round != 0) for record in records)  # round 0 was claimed


async def test_purse__asks_the_chain_only_while_somebody_watches() -> None:
    """Every node would poll the chain for numbers that nobody reads."""
    past, handle, now = Past(9), Handle(), [1000.0]
    past.session.handle = handle

    async def balances() -> tuple[int, int]:
        return 5, 7

    past.world.chain = SimpleNamespace(address=owner_of(OWN), balances=balances)
    purse = Purse(cast(World, past.world), cast(AllianceSession, past.session), lambda: now[0])
    await purse.refresh()
    assert handle.asked == 0 and purse.ask() is None
    await purse.refresh()
    holdings = purse.ask()
    owed = sum(earning.record.round != 0 for earning in compute_earnings(past.history, owner_of(OWN)))
    assert owed > 0
    assert holdings is not None and (holdings.stake, holdings.claimable, holdings.eth) == (10, 3 + 100 * owed, 5)
    now[0] += PAUSE_S + 1
    await purse.refresh()
    assert handle.asked == 1, "nothing has changed"
    past.session.state.settled_round_count += 1
    await purse.refresh()
    assert handle.asked == 2
    now[0] += AGE_MAX_S
    purse.ask()
    handle.fails = True
    await purse.refresh()
    assert handle.asked == 3 and purse.ask() is not None, "an endpoint that fails takes nothing away"
    now[0] += WATCHED_S + AGE_MAX_S
    await purse.refresh()
    assert handle.asked == 3
