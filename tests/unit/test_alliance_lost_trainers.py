"""Whose contribution is no longer waited for: not that of a trainer whose connection has been down for long (P3)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from p2p_flock.alliance.leading import GONE_GRACE_MS, compute_patience_ms
from p2p_flock.alliance.lost_trainers import (
    CONNECTED_SEATS_MAX,
    LOST_AFTER_SHARE,
    LostTrainers,
    compute_lost_after_ms,
)
from p2p_flock.alliance.sealing import read_have
from p2p_flock.alliance.validator import TICK_MS, ValidatorMachine
from p2p_flock.net.admission import INBOUND_CONNECTIONS_MAX
from p2p_flock.ports import BlobsFetched, Effect, Event, Report, SeatReachable, Send, TimePassed
from p2p_flock.testing.alliance import make_params, make_setting
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import KIND_OF_MESSAGE, Have, SealProposal
from tests.unit.alliance_round import NOW_MS, TRAINED_MS, ContributedRound, make_round

ROUND = make_round()
FIRST, SECOND, THIRD = ROUND.validators
DEAD, *ALIVE = ROUND.trainers
LOST_MS = compute_lost_after_ms(ROUND.context.params.train_seconds)
EVERYBODY_ELSE = frozenset(range(8)) - {FIRST}


def tell(machine: ValidatorMachine, now_ms: int, event: Event | None = None) -> list[Effect]:
    return list(machine.handle(event or TimePassed(), now_ms))


def haves(effects: Iterable[Effect]) -> list[set[int]]:
    """Whom each Have that is said names."""
    kind = KIND_OF_MESSAGE[Have]
    bodies = [e.envelope.body for e in effects if isinstance(e, Send) and e.envelope.kind == kind]
    return [set(read_have(ROUND.context, decode(Have, body, 1 << 20))) for body in bodies]


def proposals(effects: Iterable[Effect]) -> int:
    return sum(isinstance(e, Send) and e.envelope.kind == KIND_OF_MESSAGE[SealProposal] for e in effects)


def make_waiting(position: int = 0, held: Iterable[int] = ALIVE, down: Iterable[int] = (DEAD,)) -> ValidatorMachine:
    """A validator that holds these contributions, and whose connections to these seats are down since the opening."""
    machine = ROUND.validator(position, announced=())
    for seat in down:
        assert not haves(tell(machine, NOW_MS, SeatReachable(seat, False)))
    for seat in held:
        assert not haves(tell(machine, NOW_MS, ROUND.say(seat, ROUND.contribution(seat))))
    assert not haves(tell(machine, NOW_MS, BlobsFetched("", ROUND.blobs_of(held))))
    return machine


# --- the rule ----------------------------------------------------------------------------------------------------


def test_lost__after_a_share_of_the_train_phase() -> None:
    """P3: a dead trainer would cost the whole phase; or a short break its contribution."""
    assert LOST_AFTER_SHARE == 6
    assert compute_lost_after_ms(30) == 5000 and compute_lost_after_ms(3600) == 600_000
    assert compute_lost_after_ms(1) == GONE_GRACE_MS, "a connection may always be redialled"
    lost = LostTrainers(ROUND.context, FIRST)
    lost.note_connection(DEAD, False, NOW_MS)
    lost.note_connection(DEAD, False, NOW_MS + 4000)
    assert not lost.find_lost(NOW_MS + LOST_MS - 1) and lost.find_lost(NOW_MS + LOST_MS) == {DEAD}
    lost.note_connection(DEAD, True, NOW_MS + LOST_MS)
    assert not lost.find_lost(NOW_MS + 2 * LOST_MS)


def test_lost__validators_and_the_own_seat_are_none() -> None:
    """A validator that is gone would be taken for a trainer without a contribution."""
    lost = LostTrainers(ROUND.context, FIRST)
    for seat in (FIRST, SECOND):
        lost.note_connection(seat, False, NOW_MS)
    assert not lost.find_lost(NOW_MS + LOST_MS)
    lost.note_connection(DEAD, False, NOW_MS)
    assert lost.find_lost(NOW_MS + LOST_MS) == {DEAD}, "two of three validators are in touch"


@pytest.mark.parametrize("unreached", [{SECOND, THIRD}, EVERYBODY_ELSE])
def test_lost__nobody_while_the_own_network_is_down(unreached: set[int]) -> None:
    """A validator whose cable was pulled would leave everybody out that trains meanwhile."""
    lost = LostTrainers(ROUND.context, FIRST)
    for seat in {*unreached, DEAD}:
        lost.note_connection(seat, False, NOW_MS)
    back_ms = NOW_MS + 3 * LOST_MS
    assert not lost.find_lost(back_ms)
    lost.note_connection(SECOND, True, back_ms)
    assert not lost.find_lost(back_ms + LOST_MS - 1), "the others need as long to come back"
    assert DEAD in lost.find_lost(back_ms + LOST_MS)


def test_lost__a_lone_validator_without_connections_loses_nobody() -> None:
    """With one validator, its own cable would be taken for everybody's death."""
    setting = make_setting(make_params(validator_count=1, seat_count=6), 6)
    (validator,), trainers = setting.context.assignment.validators, setting.context.trainers
    lost = LostTrainers(setting.context, validator)
    for seat in trainers:
        lost.note_connection(seat, False, NOW_MS)
    assert not lost.find_lost(NOW_MS + LOST_MS)
    lost.note_connection(trainers[0], True, NOW_MS + LOST_MS)
    assert lost.find_lost(NOW_MS + 2 * LOST_MS) == set(trainers[1:])


def test_lost__what_still_comes_is_waited_for() -> None:
    """A contribution that is being fetched from another validator would be left out."""
    lost = LostTrainers(ROUND.context, FIRST)
    lost.note_progress(DEAD, NOW_MS)
    lost.note_connection(DEAD, False, NOW_MS)
    lost.note_progress(DEAD, NOW_MS + 3000)
    assert not lost.find_lost(NOW_MS + LOST_MS) and lost.find_lost(NOW_MS + LOST_MS + 3000) == {DEAD}


def test_lost__a_missing_connection_tells_nothing_in_a_large_alliance() -> None:
    """Trainers would be left out because nobody is connected with everybody."""
    assert CONNECTED_SEATS_MAX <= INBOUND_CONNECTIONS_MAX
    for seats, is_told in ((CONNECTED_SEATS_MAX, True), (CONNECTED_SEATS_MAX + 1, False)):
        context = make_setting(make_params(cohort_count=4, seat_count=seats), seats).context
        lost = LostTrainers(context, context.assignment.validators[0])
        lost.note_connection(context.trainers[0], False, NOW_MS)
        assert bool(lost.find_lost(NOW_MS + LOST_MS)) is is_told


# --- the validator -----------------------------------------------------------------------------------------------


def test_sealing__dead_trainer_is_waited_for_for_a_share_of_the_phase() -> None:
    """P3: a Have would wait for the train deadline, or leave out who is gone for a moment."""
    machine = make_waiting()
    assert not haves(tell(machine, NOW_MS + LOST_MS - 1))
    deadline_ms = machine.deadline_ms()
    assert deadline_ms is not None and deadline_ms <= NOW_MS + LOST_MS - 1 + TICK_MS, "it would sleep through it"
    effects = tell(machine, NOW_MS + LOST_MS)
    assert haves(effects) == [set(ALIVE)]
    assert any(isinstance(e, Report) and f"seats {DEAD}" in e.text for e in effects)


def test_sealing__who_is_connected_is_waited_for() -> None:
    """A slow trainer would be left out because another one died."""
    machine = make_waiting(held=ALIVE[1:])
    assert not haves(tell(machine, TRAINED_MS - 1))
    assert haves(tell(machine, TRAINED_MS)) == [set(ALIVE[1:])]


def test_sealing__nothing_is_said_that_could_not_be_sealed() -> None:
    """All trainers gone: a round that could be saved until the train deadline would have no survivors."""
    few = ALIVE[: ROUND.context.params.survivors_min - 1]
    machine = make_waiting(held=few, down=[seat for seat in ROUND.trainers if seat not in few])
    assert not haves(tell(machine, TRAINED_MS - 1))


def test_sealing__leader_proposes_without_the_lost_one() -> None:
    """P3: the leader would wait for Haves that name a dead trainer."""
    machine = make_waiting()
    assert haves(tell(machine, NOW_MS + LOST_MS))
    others = {seat: ROUND.roots[seat] for seat in ALIVE}
    for seat, count in ((SECOND, 0), (THIRD, 1)):
        have = decode(Have, ROUND.have(seat, others).body, 1 << 20)
        assert proposals(tell(machine, NOW_MS + LOST_MS, ROUND.say(seat, have))) == count


def test_sealing__one_validators_word_leaves_nobody_out() -> None:
    """A validator that alone lost a trainer would seal without it while it trains."""
    machine = make_waiting()
    assert haves(tell(machine, NOW_MS + LOST_MS))
    assert not proposals(tell(machine, TRAINED_MS - 1)), "a quorum of Haves is needed"


def test_sealing__who_comes_back_before_the_proposal_is_in() -> None:
    """A trainer that is eligible would be left out although all validators hold it in time."""
    machine = make_waiting()
    assert haves(tell(machine, NOW_MS + LOST_MS))
    later_ms = NOW_MS + LOST_MS + 1000
    tell(machine, later_ms, SeatReachable(DEAD, True))
    tell(machine, later_ms, ROUND.say(DEAD, ROUND.contribution(DEAD)))
    assert haves(tell(machine, later_ms, BlobsFetched("", ROUND.blobs_of([DEAD])))) == [set(ROUND.trainers)]
    partial = decode(Have, ROUND.have(SECOND, {seat: ROUND.roots[seat] for seat in ALIVE}).body, 1 << 20)
    assert not proposals(tell(machine, later_ms, ROUND.say(SECOND, partial))), "its Have may grow"
    whole = decode(Have, ROUND.have(THIRD).body, 1 << 20)
    tell(machine, later_ms, ROUND.say(THIRD, whole))
    effects = tell(machine, later_ms + compute_patience_ms(ROUND.context.params.seal_seconds * 1000))
    sent = [e.envelope.body for e in effects if isinstance(e, Send)]
    kind = [e.envelope.kind for e in effects if isinstance(e, Send)].index(KIND_OF_MESSAGE[SealProposal])
    assert decode(SealProposal, sent[kind], 1 << 20).manifest == encode(ROUND.manifest())


def test_sealing__what_is_announced_and_nobody_has_is_not_waited_for() -> None:
    """P3: a trainer that dies while its vector is pulled would cost the whole phase."""
    machine = make_waiting()
    said_ms = NOW_MS + 1000
    assert not haves(tell(machine, said_ms, ROUND.say(DEAD, ROUND.contribution(DEAD))))
    document = {ROUND.contribution(DEAD).document_digest: encode(ROUND.made[DEAD].document)}
    tell(machine, said_ms, ROUND.say(DEAD, ROUND.contribution(DEAD)))
    assert not haves(tell(machine, said_ms + 500, BlobsFetched("pull 6", document)))
    assert not haves(tell(machine, said_ms + LOST_MS - 1))
    assert haves(tell(machine, said_ms + 500 + LOST_MS)) == [set(ALIVE)]


def test_sealing__the_leader_holds_more_than_the_others() -> None:
    """P3: a trainer that told the leader alone and died would make it wait for the others until the train deadline."""
    found = ContributedRound(ROUND.setting)
    machine = found.validator(0)
    tell(machine, NOW_MS, SeatReachable(DEAD, False))
    others = {seat: ROUND.roots[seat] for seat in ALIVE}
    for seat in (SECOND, THIRD):
        have = decode(Have, ROUND.have(seat, others).body, 1 << 20)
        assert not proposals(tell(machine, NOW_MS, ROUND.say(seat, have)))
    assert proposals(tell(machine, NOW_MS + LOST_MS))
