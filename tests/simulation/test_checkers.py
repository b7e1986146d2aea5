"""The checkers on facts made by hand: what each lets pass, and the least that it must not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.lost_trainers import compute_lost_after_ms
from p2p_flock.alliance.pay import NOBODY, RoundFacts, Senders, compute_record
from p2p_flock.chain_events import (
    BallotRevealed,
    BallotsCommitted,
    ChainEvent,
    LogPosition,
    RoundSealed,
    RoundSettled,
    RoundVoided,
    SeatSuspended,
    SettledRecord,
    Slashed,
    StakeWithdrawn,
)
from p2p_flock.ports import Persist, TimePassed
from p2p_flock.testing.alliance import OPENS_AT_S, Setting, make_params, make_setting
from p2p_flock.testing.checkers import CHECKERS, Checker, Panel, Roster, Violation, make_panel
from p2p_flock.testing.checkers.base import ROUNDS_KEPT
from p2p_flock.testing.checkers.stalls import SETTLE_MS, compute_round_max_ms
from p2p_flock.testing.facts import (
    Acted,
    AllClaimed,
    BalanceTaken,
    Ended,
    Fact,
    Failed,
    Healed,
    Logged,
    ModelApplied,
    Reorganised,
    RoundBegan,
    Said,
    Started,
    Stopped,
    TookPost,
)
from p2p_flock.types import CohortOutcome
from p2p_flock.wire.messages import (
    Ballot,
    Contribution,
    Message,
    PairSeedShare,
    SelfMaskShare,
    Unmasking,
    UnmaskingItem,
)

START_MS = OPENS_AT_S * 1000
SHARE = bytes(32)
NO_RECORD = SettledRecord(0, 0, 0, 0, SHARE, (), (), (), 0, NOBODY, NOBODY, NOBODY)  # looked at by P6 and P2 only


class Stage:
    """One checker, one round of eight members (a member's number is its seat), facts by hand."""

    def __init__(self, name: str, byzantine: frozenset[int] = frozenset(), setting: Setting | None = None) -> None:
        self.setting = setting or make_setting()
        self.context = self.setting.context
        params = self.context.params
        self.roster = Roster(params, self.setting.model, byzantine, lambda digest: None, True, 10_000)
        self.checker: Checker = CHECKERS[name](self.roster)
        self.panel = Panel(self.roster, (self.checker,))
        self.now_ms = START_MS
        self.block = 10
        self.begin()

    def tell(self, fact: Fact) -> None:
        self.panel.observe(fact)

    def begin(self, number: int = 1) -> None:
        """A round begins, with the roles of the first one."""
        snapshot = replace(self.context.snapshot, round=number, opens_at_s=self.now_ms // 1000)
        self.context = replace(self.context, snapshot=snapshot)
        members = tuple(range(len(snapshot.seats)))
        self.tell(RoundBegan(self.now_ms, self.context, members))

    def say(self, seat: int, message: Message) -> None:
        envelope = self.context.seal_envelope(seat, message, self.setting.signer(seat))
        self.tell(Said(self.now_ms, seat, self.context.round, (), envelope, message))

    def log(self, event: ChainEvent) -> None:
        self.tell(Logged(self.now_ms, 0, event))

    def at(self) -> LogPosition:
        self.block += 1
        return LogPosition(self.block, 0, self.now_ms // 1000, SHARE)

    def owner(self, seat: int) -> bytes:
        return self.context.seat(seat).owner

    def run_round(self, number: int, absent: int = -1, taken_ms: int = 5000, outcomes: tuple[int, ...] = (0,)) -> None:
        """A round is sealed, revealed and settled without one member."""
        self.begin(number)
        self.now_ms += taken_ms
        bits = sum(1 << index for index, seat in enumerate(self.context.trainers) if seat != absent)
        self.log(RoundSealed(self.at(), number, 0, SHARE, self.context.seed, SHARE, (bits,), (), ()))
        for position, seat in enumerate(self.context.assignment.validators):
            if seat != absent:
                self.log(BallotRevealed(self.at(), number, position, b"\x01", b"\x00", 0, (SHARE,), SHARE, b""))
        self.log(RoundSettled(self.at(), number, outcomes, (SHARE,), (0,), (0,), SHARE, False, NO_RECORD))


# --- P1: the rule on knowledge -------------------------------------------------------------------------------------


def shares(sealed: set[int], members: tuple[int, ...]) -> tuple[UnmaskingItem, ...]:
    """What an honest survivor says under a seal of ``sealed``."""
    items: list[UnmaskingItem] = []
    for owner in sorted(sealed):
        items.append(SelfMaskShare(owner, SHARE))
        items += [PairSeedShare(owner, other, SHARE) for other in members if other not in sealed]
    return tuple(items)


class Unsealing(Stage):
    """Five trainers, n = 5, t = 3, c = 0; everybody has contributed."""

    def __init__(self, byzantine: frozenset[int] = frozenset(), **changes: int) -> None:
        super().__init__("P1", byzantine, make_setting(make_params(**changes)) if changes else None)
        self.members = self.context.cohorts[0].seats
        for seat in self.members:
            self.say(seat, Contribution(SHARE, SHARE))

    def answer(self, seat: int, sealed: set[int], seal: int) -> None:
        self.say(seat, Unmasking(bytes([seal] * 32), shares(sealed, self.members)))

    def answer_all(self, answers: list[tuple[int, set[int]]]) -> None:
        for seal, (seat, sealed) in enumerate(answers):
            self.answer(seat, sealed, seal)


def test_p1__one_seal_passes() -> None:
    """Honest rounds would be called violations."""
    stage = Unsealing()
    for left_out in range(3):
        stage = Unsealing()
        sealed = set(stage.members[left_out:])
        for seat in sorted(sealed):
            stage.answer(seat, sealed, 1)


def test_p1__a_single_trainer_is_caught_however_many_seals() -> None:
    """The one sentence that holds under any seals would not be checked."""
    stage = Unsealing()
    everybody = set(stage.members)
    answers = [(seat, everybody - {dropped}) for dropped in stage.members[1:] for seat in stage.members[:3]]
    with pytest.raises(Violation, match=r"opens the sum of seats \d+ alone"):
        stage.answer_all(answers)


def test_p1__two_trainers_are_caught_under_one_seal() -> None:
    """A survivor that answers for fewer than max(3, t, c + 3) sealed members would go unnoticed."""
    stage = Unsealing()
    for seat in stage.members[:2]:
        stage.answer(seat, set(stage.members[:2]), 1)
    with pytest.raises(Violation, match="P1"):
        stage.answer(stage.members[2], set(stage.members[:2]), 1)


def test_p1__colluders_add_their_shares() -> None:
    """c = 1: what two honest holders and one colluder have together would not count as three."""
    setting_members = Unsealing(threshold=4, collusion_bound=1).members
    for liars, is_caught in ((frozenset[int](), False), (frozenset({setting_members[4]}), True)):
        stage = Unsealing(liars, threshold=4, collusion_bound=1)
        try:
            for seat in stage.members[:3]:
                stage.answer(seat, set(stage.members[:2]), 1)
        except Violation:
            assert is_caught
        else:
            assert not is_caught


def test_p1__liars_beyond_the_bound_are_not_promised_anything() -> None:
    """c = 0: a byzantine trainer that says everything would be taken for a hole in the protocol."""
    members = Unsealing().members
    stage = Unsealing(frozenset(members[:2]))
    for seat in members[:2]:
        stage.answer(seat, set(members), 1)
        stage.answer(seat, set(members[2:]), 2)
        stage.answer(seat, set(members[:2]), 3)
    for seat in members[2:]:
        stage.answer(seat, set(members), 1)


def test_p1__an_update_that_was_never_published_is_not_open() -> None:
    """Shares of secrets that mask nothing would be violations."""
    stage = Stage("P1")
    members = stage.context.cohorts[0].seats
    for seat in members[:3]:
        stage.say(seat, Unmasking(SHARE, shares({members[0]}, members)))
    with pytest.raises(Violation, match="P1"):
        stage.say(members[0], Contribution(SHARE, SHARE))


# --- P2, P3, P4 ------------------------------------------------------------------------------------------------------


def test_p2__a_model_without_a_settlement_is_caught() -> None:
    """A member could run away from the chain."""
    stage = Stage("P2")
    stage.tell(ModelApplied(stage.now_ms, 1, 1, SHARE, SHARE))
    with pytest.raises(Violation, match="did not settle"):
        stage.tell(ModelApplied(stage.now_ms, 1, 1, SHARE, b"another"))


def test_p3__length_is_judged_by_who_was_lost() -> None:
    """Everybody's timeouts would be allowed for, or nobody's."""
    trainer = Stage("P3").context.trainers[0]
    validator = Stage("P3").context.assignment.validators[0]
    params = make_params()
    lengths = {None: 10_000, validator: 20_000, trainer: 10_000 + compute_lost_after_ms(params.train_seconds)}
    for lost, allowed_ms in lengths.items():
        for taken_ms, is_caught in ((allowed_ms - 1000, False), (allowed_ms + 10_000, True)):
            stage = Stage("P3")
            stage.begin(2)
            if lost is not None:
                stage.tell(Stopped(stage.now_ms, lost, True, "killed"))
            stage.now_ms += taken_ms
            event = RoundSettled(stage.at(), 2, (0,), (SHARE,), (0,), (0,), SHARE, False, NO_RECORD)
            if is_caught:
                with pytest.raises(Violation, match="P3"):
                    stage.log(event)
            else:
                stage.log(event)


def test_p3__whoever_is_waited_for_again_may_cost_the_train_phase() -> None:
    """A trainer that is started again, or without which nothing can be sealed, is waited for; P3 would blame nobody."""
    first, *others = Stage("P3").context.trainers
    assert len(others) == 4 and make_params().survivors_min == 3
    back: list[Fact] = [Stopped(0, first, False, "killed"), Started(0, first, False)]
    dead: list[Fact] = [Stopped(0, seat, True, "killed") for seat in others[:3]]
    for facts in (back, dead):
        stage = Stage("P3")
        stage.begin(2)
        for fact in facts:
            stage.tell(fact)
        stage.now_ms += 10_000 + make_params().train_seconds * 1000
        stage.log(RoundSettled(stage.at(), 2, (0,), (SHARE,), (0,), (0,), SHARE, False, NO_RECORD))


def test_p3__void_because_of_one_is_caught() -> None:
    """One member could end every round without a result."""
    stage = Stage("P3")
    stage.now_ms += 3000
    with pytest.raises(Violation, match="void because of a single member"):
        stage.log(RoundVoided(stage.at(), 1, 0))


def test_p3__hanging_after_healing_is_caught() -> None:
    """A round that never ends would pass because nothing happens in it."""
    stage = Stage("P3")
    stage.tell(Healed(stage.now_ms))
    stage.tell(Ended(stage.now_ms + compute_round_max_ms(stage.context.params) + 1000, 0, 0))
    with pytest.raises(Violation, match="did not end"):
        stage.panel.finish()


def test_p3__member_that_never_settles_is_caught() -> None:
    """An honest member could be left behind for ever."""
    stage = Stage("P3")
    stage.tell(Healed(stage.now_ms))
    stage.run_round(2)
    for member in range(7):
        stage.tell(ModelApplied(stage.now_ms, member, 2, SHARE, SHARE))
    stage.tell(Ended(stage.now_ms + SETTLE_MS + 1, 1, 0))
    with pytest.raises(Violation, match="member 7 never settled round 2"):
        stage.panel.finish()
    stage.tell(ModelApplied(stage.now_ms, 7, 2, SHARE, SHARE))
    stage.panel.finish()


def test_p4__standstill_after_a_death_is_caught() -> None:
    """An alliance that waits for a dead member would pass for a quiet one."""
    stage = Stage("P4")
    stage.tell(Stopped(stage.now_ms, 3, True, "killed for good"))
    stage.tell(Ended(stage.now_ms + 3 * compute_round_max_ms(stage.context.params) + 1, 0, 0))
    with pytest.raises(Violation, match="no round settled after"):
        stage.panel.finish()


# --- P5 ------------------------------------------------------------------------------------------------------------


def suspend(stage: Stage, seat: int, first: int, second: int) -> None:
    stage.log(SeatSuspended(stage.at(), seat, stage.owner(seat), first, second))


@pytest.mark.parametrize("place", [0, 5])
def test_p5__suspension_after_two_real_absences_passes(place: int) -> None:
    """Members that are away would be kept, or their suspension be called a violation."""
    stage = Stage("P5")
    absent = (*stage.context.assignment.validators, *stage.context.trainers)[place]
    stage.tell(Stopped(stage.now_ms, absent, False, "crashed"))
    stage.run_round(2, absent)
    stage.run_round(3, absent)
    suspend(stage, absent, 2, 3)


@pytest.mark.parametrize("rounds", [(2, 3), (3, 3), (2, 4)])
def test_p5__suspension_of_who_took_part_is_caught(rounds: tuple[int, int]) -> None:
    """A present member could lose its seat."""
    stage = Stage("P5")
    victim = stage.context.trainers[1]
    stage.tell(Stopped(stage.now_ms, victim, False, "crashed"))
    stage.run_round(2, victim)
    stage.run_round(3)
    stage.run_round(4, victim)
    with pytest.raises(Violation, match="P5: member"):
        suspend(stage, victim, *rounds)


def test_p5__suspension_of_who_was_up_is_caught() -> None:
    """Others could keep an honest member's words from the chain and have it removed."""
    stage = Stage("P5")
    victim = stage.context.trainers[1]
    for number in (2, 3):
        stage.run_round(number, victim)
    with pytest.raises(Violation, match="was up all through"):
        suspend(stage, victim, 2, 3)


# --- P6 ------------------------------------------------------------------------------------------------------------


def test_p6__every_wei_is_counted() -> None:
    """Money could be made or lost."""
    stage = Stage("P6")
    right = BalanceTaken(stage.now_ms, 100, 40, 30, 20, 10)
    stage.tell(right)
    for wrong in (replace(right, pool=21), replace(right, pool=-1, stakes=51), replace(right, minted=101, pool=21)):
        with pytest.raises(Violation, match="P6"):
            stage.tell(wrong)


def test_p6__nothing_is_left_when_everybody_claimed() -> None:
    """A reward could be reserved that nobody can claim."""
    stage = Stage("P6")
    stage.tell(AllClaimed(stage.now_ms, 0))
    with pytest.raises(Violation, match="owed to nobody"):
        stage.tell(AllClaimed(stage.now_ms, 1))


def test_p6__a_round_that_pays_otherwise_is_caught() -> None:
    """The contract could pay by another rule than the stated one, or tell of another round than it settled."""
    params = make_params(cohort_count=2, seat_count=13, reward_per_round=10**18)
    stage = Stage("P6", setting=make_setting(params, 13))
    roles = stage.context.assignment
    bits, sizes = (1 << len(roles.trainers)) - 1, tuple(map(len, roles.cohorts))
    stage.log(RoundSealed(stage.at(), 1, 0, SHARE, stage.context.seed, SHARE, (bits,), (), ()))
    stage.log(BallotsCommitted(stage.at(), 1, (0, 1, 2), (SHARE,) * 3))
    sums, ballots = (bytes([1] * 32), SHARE), {}
    for position, verdicts in enumerate((b"\x01\x02", b"\x01\x02", b"\x01\x00")):
        ballots[position] = Ballot(SHARE, SHARE, verdicts, bytes([position, 0]), 0, sums, SHARE)
        stage.log(
            BallotRevealed(stage.at(), 1, position, verdicts, bytes([position, 0]), 0, (sums[0], SHARE), SHARE, b"")
        )
    outcomes = (CohortOutcome.ADOPTED, CohortOutcome.REJECTED)
    facts = RoundFacts(1, 13, stage.context.seed, (bits,), sizes, outcomes, sums, ballots)
    right = compute_record(10**18, 3, 2, facts, Senders(b"a" * 20, b"b" * 20, b"c" * 20))
    assert right.trainer_rewards == (4 * 10**17 // 5, 0) and right.validator_rewards[0] > right.validator_rewards[2] > 0

    def settle(record: SettledRecord) -> None:
        stage.log(RoundSettled(stage.at(), 1, (1, 2), sums, (3, 0), (0, 2), SHARE, False, record))

    settle(right)
    first, *others = right.validator_rewards
    for wrong in (
        replace(right, trainer_rewards=(4 * 10**17 // 5 + 1, 0)),
        replace(right, trainer_rewards=(4 * 10**17 // 5, 1)),
        replace(right, validator_rewards=(first - 1, *others)),
        replace(right, refund=right.refund + 1),
        replace(right, settler=NOBODY),
        replace(right, revealed=3),
        replace(right, seed=bytes(32)),
        replace(right, survivors=(bits >> 1,)),
    ):
        with pytest.raises(Violation, match="P6"):
            settle(wrong)


def test_p6__slashes_count_by_tenure_and_fork() -> None:
    """A slash that a reorganisation repeats, or one of a new tenure, would be taken for a second one."""
    stage = Stage("P6")
    slash = Slashed(stage.at(), stage.owner(0), 0, 1, 1, 5, stage.owner(1))
    stage.log(slash)
    stage.tell(Reorganised(stage.now_ms, 1, slash.at.block))
    stage.log(slash)
    stage.log(StakeWithdrawn(stage.at(), stage.owner(0), 5))
    stage.log(replace(slash, at=stage.at()))
    with pytest.raises(Violation, match="slashed twice"):
        stage.log(replace(slash, at=stage.at()))


# --- P7, P8 --------------------------------------------------------------------------------------------------------


def test_p7__broken_honest_code_is_caught_and_byzantine_code_is_not() -> None:
    """A crash of an adversary's own making would count."""
    stage = Stage("P7", frozenset({2}))
    stage.tell(Failed(stage.now_ms, 2, 1, "ValueError"))
    with pytest.raises(Violation, match="member 1 broke"):
        stage.tell(Failed(stage.now_ms, 1, 1, "ValueError"))


def test_p7__records_of_two_openings_and_said_again() -> None:
    """Found by the simulator: a round that a reorganisation opened twice, and a proposal answered each time it was
    repeated, were counted as 87 records of one member, though no journal holds that many.
    """
    stage = Stage("P7")

    def keep(context: RoundContext, *keys: str) -> None:
        for key in keys:
            stage.tell(Acted(stage.now_ms, 1, context.round, TimePassed(), (Persist("have", key, SHARE),)))

    seats = len(stage.context.snapshot.seats)
    for seed in (stage.context.seed, bytes(32)):
        context = replace(stage.context, seed=seed)
        stage.tell(TookPost(stage.now_ms, 1, 1, context))
        keep(context, *map(str, range(2 * seats)), *(50 * ["0"]))
    with pytest.raises(Violation, match="made to keep"):
        keep(context, *map(str, range(8 * seats)))


def test_p8__message_without_its_record_is_caught() -> None:
    """A node could speak while its disk still writes."""
    stage = Stage("P8")
    with pytest.raises(Violation, match="not in its journal"):
        stage.say(stage.context.trainers[0], Contribution(SHARE, SHARE))


# --- all of them -----------------------------------------------------------------------------------------------------


def test_checkers__forget_old_rounds() -> None:
    """A simulation of many rounds would not fit into memory."""
    setting = make_setting()
    roster = Roster(setting.context.params, setting.model, frozenset(), lambda digest: None)
    panel = make_panel(roster)
    sizes = []
    for number in range(4 * ROUNDS_KEPT):
        snapshot = replace(setting.context.snapshot, round=number)
        context = replace(setting.context, snapshot=snapshot)
        panel.observe(RoundBegan(START_MS, context, tuple(range(8))))
        for member in range(8):
            panel.observe(Started(START_MS, member, False))
            panel.observe(Acted(START_MS, member, number, TimePassed(), ()))
        kept = [
            value for checker in panel.checkers for value in vars(checker).values() if isinstance(value, dict | set)
        ]
        sizes.append(sum(map(len, kept)) + len(roster.canonical))
    assert sizes[-1] == sizes[2 * ROUNDS_KEPT]
