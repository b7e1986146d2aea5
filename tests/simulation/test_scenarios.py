"""Named scenarios: what the protocol is made against, and the bugs that the simulator found, under every checker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial

import pytest

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.trainer import Phase, TrainerMachine
from p2p_flock.chain_events import LogPosition, RoundSealed, RoundSettled, Slashed
from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.crypto.signing import seal_digest, seal_struct_hash
from p2p_flock.crypto.suite import sha256
from p2p_flock.ports import Effect, Event, Machine, SealObserved, SealRound
from p2p_flock.testing import hazards
from p2p_flock.testing.alliance import make_scaled_params, make_task
from p2p_flock.testing.byzantine import Villain
from p2p_flock.testing.byzantine.trainers import AnswersEverySeal
from p2p_flock.testing.checkers import Violation
from p2p_flock.testing.configuration import Config, Result
from p2p_flock.testing.contract_state import RoundCall
from p2p_flock.testing.facts import Fact, Logged, Make, Post, RoundBegan, Said, TookPost
from p2p_flock.testing.node import make_honest
from p2p_flock.testing.simulator import Simulation
from p2p_flock.types import CohortOutcome
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import (
    MANIFEST_BYTES_MAX,
    Contribution,
    Manifest,
    ManifestEntry,
    Message,
    SealProposal,
    Unmasking,
)
from tests.simulation.running import Recorder, run, watch

ADOPTED, UNDECIDED = (CohortOutcome.ADOPTED,), (CohortOutcome.UNDECIDED,)


Act = Callable[[Simulation, Fact], object]


class When:
    """Acts once, at the first fact that is meant, and a moment after it."""

    def __init__(self, is_meant: Callable[[Fact], bool], act: Act, wait_ms: int) -> None:
        self._is_meant, self._act, self._wait_ms = is_meant, act, wait_ms
        self._simulation: Simulation | None = None

    def watch(self, simulation: Simulation) -> None:
        """A plan for ``run``."""
        self._simulation = simulation
        simulation.watch(self)

    def observe(self, fact: Fact) -> None:
        simulation = self._simulation
        if simulation is not None and self._is_meant(fact):
            self._simulation = None
            simulation.at(self._wait_ms, lambda: self._act(simulation, fact))

    def finish(self) -> None:
        assert self._simulation is None, "what the scenario waits for never happened"


def says(kind: type[Message]) -> Callable[[Fact], bool]:
    return lambda fact: isinstance(fact, Said) and isinstance(fact.message, kind)


def is_seal(fact: Fact) -> bool:
    return isinstance(fact, Logged) and isinstance(fact.event, RoundSealed)


def play(
    when: When | None = None, makes: Mapping[int, Make] | None = None, rounds: int = 1,
    are_all_honest: bool = True,
) -> tuple[Result, Recorder]:  # fmt: skip
    """A run with every checker and one event."""
    recorder = Recorder()

    def plan(simulation: Simulation) -> None:
        simulation.watch(recorder)
        if when is not None:
            when.watch(simulation)

    return run(rounds=rounds, makes=makes, are_all_honest=are_all_honest, plan=plan)[1], recorder


def outcomes(recorder: Recorder) -> list[tuple[int, ...]]:
    """Of every settlement that was logged."""
    return [f.event.outcomes for f in recorder.facts if isinstance(f, Logged) and isinstance(f.event, RoundSettled)]


def survivors(recorder: Recorder) -> list[int]:
    """How many trainers each logged seal holds."""
    seals = [f.event for f in recorder.facts if isinstance(f, Logged) and isinstance(f.event, RoundSealed)]
    return [sum(word.bit_count() for word in seal.survivors) for seal in seals]


@cache
def quiet() -> tuple[Simulation, Recorder]:
    """The run without the event: roles, contributions and signatures are the same in every run of the seed."""
    recorder = Recorder()
    return run(plan=lambda simulation: simulation.watch(recorder))[0], recorder


def posts() -> tuple[RoundContext, dict[int, int]]:
    """The first round's context, and member by seat."""
    found = [fact for fact in quiet()[1].facts if isinstance(fact, TookPost)]
    return found[0].context, {fact.seat: fact.member for fact in found}


# --- dropouts ----------------------------------------------------------------------------------------------------


def kill_sender(simulation: Simulation, fact: Fact) -> None:
    assert isinstance(fact, Said)
    simulation.nodes[fact.member].stop("killed for good", True)


def test_dropout__before_contributing() -> None:
    """One absent trainer would cost the others their sum."""
    context, member_of = posts()
    absent = member_of[context.trainers[0]]
    when = When(lambda fact: isinstance(fact, TookPost) and fact.member == absent,
                lambda simulation, fact: simulation.nodes[absent].stop("killed for good", True), 10)  # fmt: skip
    result, recorder = play(when)
    assert (outcomes(recorder), survivors(recorder), result.rounds_voided) == ([ADOPTED], [4], 0)


def test_dropout__after_contributing() -> None:
    """A masked update whose sender is gone would be lost, or opened."""
    _, recorder = play(When(says(Contribution), kill_sender, 400))  # it takes three pulls until the validators hold it
    assert (outcomes(recorder), survivors(recorder)) == ([ADOPTED], [5])


@pytest.mark.parametrize("wait_ms", [1, 40, 400])
def test_dropout__after_answering(wait_ms: int) -> None:
    """An answer that only some validators got would leave them with different sums."""
    _, recorder = play(When(says(Unmasking), kill_sender, wait_ms))
    assert outcomes(recorder) == [ADOPTED]


# --- what one trainer can do to its cohort -------------------------------------------------------------------------


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize(
    ("name", "outcome", "slashes"),
    [
        ("BadShareInAnswer", ADOPTED, 1),
        ("BadBundle", ADOPTED, 0),
        ("BadShareInBundle", ADOPTED, 0),
        ("BadDealing", UNDECIDED, 1),
        ("TwoContributions", ADOPTED, 1),
        ("Quarreller", ADOPTED, 0),
    ],
)
def test_lie__of_one_trainer(name: str, outcome: tuple[int, ...], slashes: int, position: int) -> None:
    """Shares, bundles, dealings, keys and contributions that lie: wherever in the cohort the liar sits."""
    context, member_of = posts()
    liar = member_of[context.trainers[position]]
    _, recorder = play(makes={liar: Villain(name, "NeverSigns")}, are_all_honest=False)
    assert outcomes(recorder) == [outcome]
    slashed = [f.event.owner for f in recorder.facts if isinstance(f, Logged) and isinstance(f.event, Slashed)]
    assert slashed == [context.seat(context.trainers[position]).owner] * slashes


def test_substituted_key__of_a_neighbor() -> None:
    """An RPC endpoint that names another mask key for a neighbor could open the trainer that believes it."""
    context, member_of = posts()
    victim, neighbor = context.trainers[0], context.trainers[1]

    def make(post: Post) -> Machine:
        if post.seat != victim:
            return make_honest(post)
        seats = list(post.context.snapshot.seats)
        seats[neighbor] = replace(seats[neighbor], mask_key=mask_public_key(sha256(b"the endpoint's own key")))
        believed = replace(post.context, snapshot=replace(post.context.snapshot, seats=tuple(seats)))
        return TrainerMachine(believed, post.seat, post.sign, post.mask_secret_key)

    _, recorder = play(makes={member_of[victim]: make})
    assert (outcomes(recorder), survivors(recorder)) == ([ADOPTED], [4])


# --- seals -----------------------------------------------------------------------------------------------------------


def sealed_entries() -> tuple[ManifestEntry, ...]:
    """What the quiet run seals."""
    said = (fact.message for fact in quiet()[1].facts if isinstance(fact, Said))
    proposal = next(message for message in said if isinstance(message, SealProposal))
    return decode(Manifest, proposal.manifest, MANIFEST_BYTES_MAX).entries


def sign_seal(view: int, manifest: bytes, survivors: tuple[int, ...]) -> tuple[bytes, SealRound]:
    """The digest of a seal, and the seal with the signatures of the first Q validators, whatever it says."""
    context, member_of = posts()
    terms = (context.snapshot.beacon_round, context.seed, sha256(manifest), survivors)
    struct_hash = seal_struct_hash(context.domain, context.round, view, *terms)
    digest = seal_digest(context.domain, struct_hash)
    positions = tuple(range(context.params.seal_quorum))
    signers = [quiet()[0].nodes[member_of[context.assignment.validators[position]]] for position in positions]
    return struct_hash, SealRound(
        view, sha256(manifest), survivors, positions, tuple(signer.sign(digest) for signer in signers)
    )


def play_forged(manifest: bytes, survivors: tuple[int, ...], silent: int | None = None) -> tuple[Result, Recorder]:
    """Two rounds; in the first Q validators that lie together have this sealed before anybody proposes anything."""
    context, member_of = posts()
    liars = [member_of[seat] for seat in context.assignment.validators[: context.params.seal_quorum]]

    def forge(simulation: Simulation, fact: Fact) -> None:
        _, call = sign_seal(0, manifest, survivors)
        for liar in liars:
            simulation.nodes[liar].blobs[simulation.world.put(manifest)] = None
        owner = simulation.nodes[liars[0]].owner
        simulation.ledger.submit(owner, RoundCall(context.round, call), lambda reason: None)

    makes: dict[int, Make] = dict.fromkeys(liars, make_honest)
    if silent is not None:
        makes[member_of[silent]] = Villain("NeverSpeaks", "NeverSigns")
    return play(When(says(Contribution), forge, 400), makes, rounds=2, are_all_honest=False)


def bits_of(context: RoundContext, entries: tuple[ManifestEntry, ...]) -> tuple[int, ...]:
    return (sum(1 << context.trainers.index(entry.seat) for entry in entries),)


def test_seal__that_names_a_stranger() -> None:
    """Liars could have a trainer sealed that nobody holds anything of; the alliance must go on without that sum."""
    context, _ = posts()
    entries = sealed_entries()
    stranger = replace(entries[-1], root=sha256(b"root"), document_digest=sha256(b"document"))
    forged = (*entries[:-1], stranger)
    result, recorder = play_forged(encode(Manifest(0, forged)), bits_of(context, forged), stranger.seat)
    assert (outcomes(recorder)[0], survivors(recorder)[0]) == (UNDECIDED, 5)
    assert result.is_complete and outcomes(recorder)[-1] == ADOPTED


def test_seal__that_names_a_validator() -> None:
    """A manifest that is none of its seal's survivors could break whoever reads it."""
    context, _ = posts()
    entries = sealed_entries()
    forged = (*entries[:-1], replace(entries[-1], seat=context.assignment.validators[0]))
    result, recorder = play_forged(encode(Manifest(0, forged)), bits_of(context, entries))
    assert outcomes(recorder)[0] == UNDECIDED and result.is_complete and outcomes(recorder)[-1] == ADOPTED


def test_seal__of_no_manifest_at_all() -> None:
    """Bytes under a seal that are no manifest could stop everybody; they convict who signed them."""
    context, _ = posts()
    result, recorder = play_forged(b"nonsense", bits_of(context, sealed_entries()))
    slashed = [f for f in recorder.facts if isinstance(f, Logged) and isinstance(f.event, Slashed)]
    assert outcomes(recorder)[0] == UNDECIDED and result.is_complete
    assert len(slashed) == context.params.seal_quorum


def test_seal__that_leaves_out_the_honest() -> None:
    """Q liars may leave a trainer out; the chain's seal holds for everybody, and the sum is that of the others."""
    context, _ = posts()
    fewer = sealed_entries()[1:]
    _, recorder = play_forged(encode(Manifest(0, fewer)), bits_of(context, fewer))
    assert (outcomes(recorder)[0], survivors(recorder)[0]) == (ADOPTED, 4)


class ShownOther(TrainerMachine):
    """An honest trainer that is shown another seal, and then the chain's."""

    other: SealObserved | None = None

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        if isinstance(event, SealObserved) and self.other is not None:
            return (*super().handle(self.other, now_ms), *super().handle(event, now_ms))
        return super().handle(event, now_ms)


class Gullible(AnswersEverySeal):
    """Planted: a trainer that is shown the other seal when it has answered the chain's, and answers that too."""

    other: SealObserved | None = None

    def handle(self, event: Event, now_ms: int) -> tuple[Effect, ...]:
        effects = super().handle(event, now_ms)
        if self.other is not None and self.phase is Phase.ANSWERED:
            other, self.other = self.other, None
            effects += super().handle(other, now_ms)
        return effects


def play_two_seals(kind: type[ShownOther | Gullible], shown: int, only: str | None = None) -> list[tuple[int, ...]]:
    """So many trainers are shown a second seal with Q signatures, that omits the first trainer."""
    context, member_of = posts()
    manifest = Manifest(context.round, sealed_entries()[1:])
    survivors_shown = bits_of(context, manifest.entries)
    digest, call = sign_seal(1, encode(manifest), survivors_shown)
    at = LogPosition(1, 0, context.snapshot.opens_at_s + 4, bytes(32))
    other = SealObserved(
        RoundSealed(
            at, context.round, 1, digest, context.seed, call.manifest_digest, call.survivors, call.positions,
            call.signatures,
        )
    )  # fmt: skip

    def make(post: Post) -> Machine:
        if post.seat not in context.trainers[:shown]:
            return make_honest(post)
        machine = kind(post.context, post.seat, post.sign, post.mask_secret_key)
        machine.other = other
        return machine

    recorder = Recorder()

    def plan(simulation: Simulation) -> None:
        simulation.watch(recorder)
        simulation.nodes[member_of[context.assignment.validators[0]]].blobs[simulation.world.put(encode(manifest))] = (
            None
        )

    run(makes=dict.fromkeys(range(8), make), are_all_honest=True, plan=plan, only=only)
    return outcomes(recorder)


@pytest.mark.parametrize("shown", range(1, 6))
def test_two_seals__are_answered_once(shown: int) -> None:
    """A false endpoint or a fork could draw two answers out of a trainer, or a sum over too few."""
    expected = ADOPTED if 5 - shown >= 3 else UNDECIDED  # who sees the other one first keeps to it, even in silence
    assert play_two_seals(ShownOther, shown) == [expected]


@pytest.mark.parametrize("shown", range(1, 6))
@pytest.mark.parametrize("blocks", [4, 30])
def test_two_seals__shown_by_false_endpoints(shown: int, blocks: int) -> None:
    """A second seal with Q signatures, on some trainers' endpoints only, could draw both answers out of them."""
    context, member_of = posts()
    manifest = encode(Manifest(context.round, sealed_entries()[1:]))
    digest, call = sign_seal(1, manifest, bits_of(context, sealed_entries()[1:]))

    def lie(simulation: Simulation, fact: Fact) -> None:
        simulation.nodes[member_of[context.assignment.validators[0]]].blobs[simulation.world.put(manifest)] = None
        tip = simulation.ledger.tip
        at = LogPosition(tip.number + 1, 0, tip.timestamp_s + 1, digest)
        seal = RoundSealed(
            at, context.round, 1, digest, context.seed, call.manifest_digest, call.survivors, call.positions,
            call.signatures,
        )  # fmt: skip
        for seat in context.trainers[:shown]:
            hazards.show_seal(simulation, simulation.nodes[member_of[seat]], seal, blocks)

    result, recorder = play(When(says(Contribution), lie, 400))
    is_first_back = blocks == 4  # the false seal leaves the first trainer out: it may still answer the chain's in time
    expected = ADOPTED if 5 - shown + is_first_back >= 3 else UNDECIDED
    assert (outcomes(recorder), result.is_complete) == ([expected], True)
    answered = {fact.member: fact.message.seal for fact in recorder.facts
                if isinstance(fact, Said) and isinstance(fact.message, Unmasking)}  # fmt: skip
    assert sum(seal == digest for seal in answered.values()) == shown - 1


@pytest.mark.parametrize(("only", "words"), [("P1", "opens the sum"), ("P8", "said")])
def test_two_seals__answered_both_is_caught(only: str, words: str) -> None:
    """Planted: trainers that answer every seal open the one that the seals differ in."""
    with pytest.raises(Violation, match=words):
        play_two_seals(Gullible, 5, only)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("wait_ms", [300, 1500, 3200])
def test_seal__reorganised(depth: int, wait_ms: int) -> None:
    """A seal that is taken back, before or after it was answered, could be answered twice or hang the round."""
    when = When(is_seal, lambda simulation, fact: simulation.reorganise(depth), wait_ms)
    result, recorder = play(when, rounds=2)
    assert result.is_complete and outcomes(recorder)[-1] == ADOPTED


# --- sparse graphs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "ForbiddenItems"])
def test_sparse_cohort__survives_dropouts(name: str | None) -> None:
    """In a cohort of 37 each trainer's secrets lie with 15: two deaths, and one holder that says what it must not."""
    base = make_scaled_params(40, 1, make_task(parameter_count=6))
    params = replace(base, cohort_count=1, validator_count=3, threshold=10, collusion_bound=1)
    makes: dict[int, Make] = {} if name is None else {5: Villain(name, "NeverSigns")}
    config = Config(seed=1, nodes=40, rounds=1, params=params, makes=makes)
    simulation, recorder = watch(Simulation(config)), Recorder()
    simulation.watch(recorder)
    for member, at_ms in ((11, 10), (23, 3500)):
        simulation.at(at_ms, partial(simulation.nodes[member].stop, "killed for good", True))
    assert simulation.run().rounds_settled == 1
    context = next(fact.context for fact in recorder.facts if isinstance(fact, RoundBegan))
    assert (len(context.cohorts[0].seats), context.cohorts[0].holder_count) == (37, 15)
    assert outcomes(recorder) == [ADOPTED]


# --- found by the simulator ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["NeverReveals", "CopiesVotes", "OmitsBallots"])
def test_found__silent_settle_leader_takes_no_votes_with_it(name: str) -> None:
    """Whoever leads the settlement, commits and never reveals cost every round all its votes.

    Members' upkeep settled it two seconds after the deadline with no ballot on chain, before the next leader's turn.
    """
    context, member_of = posts()
    leader = member_of[context.assignment.validators[0]]
    _, recorder = play(makes={leader: Villain("NeverSpeaks", name)}, are_all_honest=False)
    assert outcomes(recorder) == [ADOPTED]
