"""What makes each reason appear, through public behaviour. For ``test_reasons.py``, which holds the registry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from p2p_flock.alliance.evidence import EVIDENCE_BYTES_MAX, Evidence, EvidenceRecord
from p2p_flock.alliance.gossip import Checked, validate_envelope
from p2p_flock.alliance.sealing import make_have
from p2p_flock.alliance.trainer import Phase as TrainerPhase
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.alliance.voting import make_ballot, make_commitment
from p2p_flock.chain_events import BallotsCommitted, LogPosition
from p2p_flock.crypto.secret_sharing import split_secret
from p2p_flock.errors import DropReason, RemoteProtocolError
from p2p_flock.ports import Accuse, CommitmentsObserved, Effect, Report, SealObserved, Send, TimePassed
from p2p_flock.secagg import aggregator
from p2p_flock.secagg.aggregator import UnmaskingReceived
from p2p_flock.secagg.answer import Answered, Refused
from p2p_flock.secagg.contributor import Contributed, Contributor, SealConfirmed
from p2p_flock.testing.alliance import digest_of, make_setting
from p2p_flock.types import Vote
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import Ballot, Contribution, Envelope, Message, PairSeedShare, SealProposal
from tests.unit.alliance_round import NOW_MS, ContributedRound
from tests.unit.secagg_cohort import SEAL, Cohort, make_cohort
from tests.unit.test_alliance_trainer import Journal, trainer_in
from tests.unit.test_alliance_validator import (
    CONTEXT,
    MANIFEST,
    ROUND,
    SEALED,
    SEALED_MS,
    Phase,
    unmasking_of,
    validator_in,
)
from tests.unit.test_alliance_validator import SEAL as ROUND_SEAL

COHORT = make_cohort()
ALL = COHORT.seats
FIRST, SECOND, THIRD = ROUND.validators
TRAINER = ROUND.trainers[0]


@dataclass(frozen=True)
class Found:
    """What came of one run.

    Attributes:
        named: (culprit, reason) of everything that was named.
        evidence: what was accused with.
        cheaters: who broke the protocol; everybody else ran the honest code.
    """

    named: tuple[tuple[int | None, DropReason], ...]
    evidence: tuple[Evidence, ...] = ()
    cheaters: frozenset[int] = frozenset()


def from_faults(faults: Iterable[RemoteProtocolError], *cheaters: int) -> Found:
    return Found(tuple((fault.culprit, fault.reason) for fault in faults), (), frozenset(cheaters))


def reasons_in(effects: Iterable[Effect]) -> tuple[tuple[int | None, DropReason], ...]:
    """The reasons that a machine reported. A report's text is that of the error, which begins with the reason's."""
    return tuple(
        (effect.culprit, reason)
        for effect in effects
        if isinstance(effect, Report)
        for reason in DropReason
        if effect.text.startswith(f"seat {effect.culprit}: {reason.text}")
    )


def evidence_in(effects: Iterable[Effect]) -> tuple[Evidence, ...]:
    accusations = [effect.evidence for effect in effects if isinstance(effect, Accuse)]
    return tuple(decode(EvidenceRecord, body, EVIDENCE_BYTES_MAX).evidence[0] for body in accusations)


def from_effects(effects: Iterable[Effect], *cheaters: int) -> Found:
    told = tuple(effects)
    return Found(reasons_in(told), evidence_in(told), frozenset(cheaters))


def from_check(envelope: Envelope, checked: Checked, *cheaters: int) -> Found:
    assert checked.reason is not None
    return Found(((envelope.seat, checked.reason),), (), frozenset(cheaters))


# --- harmless: everybody runs the honest code, or the named one does -----------------------------------------------


def dealer_is_offline() -> Found:
    """A sealed trainer's node goes down before the others fetched its document; one answers at the last call."""
    machine = Contributor(COHORT.context, 1, Contributed(COHORT.made[1].secrets))
    documents = {seat: document for seat, document in COHORT.documents().items() if seat != 7}
    answer = machine.handle(SealConfirmed(SEAL, COHORT.manifest(ALL), documents, COHORT.bundles_for(1)))
    assert isinstance(answer, Answered)
    return from_faults(answer.faults)


def key_counts_on_another_fork() -> Found:
    """The trainer's key was registered in a block that this validator's chain does not hold (any more)."""
    trainer = trainer_in(TrainerPhase.PREPARED)
    (said,) = [effect for effect in tell_time(trainer) if isinstance(effect, Send)]
    context = make_setting(keyless=[TRAINER]).context
    validator = ValidatorMachine(context, FIRST, ROUND.setting.signer(FIRST))
    validator.start((), NOW_MS)
    checked = validate_envelope(context, said.envelope)
    assert checked.message is not None
    return from_effects(validator.handle(ROUND.say(TRAINER, checked.message), NOW_MS))


def tell_time(journal: Journal) -> tuple[Effect, ...]:
    deadline_ms = journal.machine.deadline_ms()
    assert deadline_ms is not None
    return journal.machine.handle(TimePassed(), deadline_ms)


def message_of_the_last_round() -> Found:
    """A repetition that was under way when the round ended."""
    envelope = ROUND.say(TRAINER, ROUND.contribution(TRAINER)).envelope
    return from_check(envelope, validate_envelope(make_setting(round_number=2).context, envelope))


def answer_to_a_seal_that_is_gone() -> Found:
    """The chain was reorganised after the trainer had answered; the new seal does without it."""
    validator = COHORT.sealed_aggregator(ALL[:-1])
    gone = COHORT.unmasking(ALL[-1], ALL, digest_of("seal that is gone"))
    return from_faults(validator.handle(UnmaskingReceived(ALL[-1], gone)))


def repetition() -> Found:
    """Nobody knows what arrived: everything is said again."""
    validator = COHORT.sealed_aggregator(ALL, answering=ALL[:1])
    return from_faults(validator.handle(UnmaskingReceived(1, COHORT.unmasking(1, ALL))))


def neighbor_lies_about_a_pair_seed() -> Found:
    """Seat 7 commits to another pair seed than it has with seat 10, which is honest and named as well."""
    cohort = COHORT.with_pair_commitment(7, 10, digest_of("another pair seed"))
    machine = Contributor(cohort.context, 1, Contributed(cohort.made[1].secrets))
    refused = machine.handle(SealConfirmed(SEAL, cohort.manifest(ALL), cohort.documents(), cohort.bundles_for(1)))
    assert isinstance(refused, Refused)
    return from_faults(refused.faults, 7)


# --- score: somebody cheats, and nobody else can be shown it -------------------------------------------------------


def trainer_sends_a_have() -> Found:
    envelope = CONTEXT.seal_envelope(TRAINER, make_have(CONTEXT, {}), ROUND.setting.signer(TRAINER))
    return from_check(envelope, validate_envelope(CONTEXT, envelope), TRAINER)


def body_is_no_message() -> Found:
    envelope = replace(ROUND.say(TRAINER, ROUND.contribution(TRAINER)).envelope, body=b"\xc0")
    return from_check(envelope, validate_envelope(CONTEXT, envelope), TRAINER)


def signature_of_another() -> Found:
    message = ROUND.contribution(TRAINER)
    envelope = CONTEXT.seal_envelope(TRAINER, message, ROUND.setting.signer(ROUND.trainers[1]))
    return from_check(envelope, validate_envelope(CONTEXT, envelope), TRAINER)


def hear_document(cohort: Cohort, seat: int) -> Found:
    return from_faults(aggregator.Aggregator(cohort.context).handle(cohort.document_event(seat)), seat)


def document_without_a_neighbor() -> Found:
    made = COHORT.made[7]
    document = replace(made.document, pair_commitments=made.document.pair_commitments[32:])
    return hear_document(COHORT.with_made(replace(made, document=document)), 7)


def document_under_another_root() -> Found:
    made = COHORT.made[7]
    return hear_document(COHORT.with_made(replace(made, root=digest_of("another root"))), 7)


def chunk_of_impossible_size() -> Found:
    validator = aggregator.Aggregator(COHORT.context)
    validator.handle(COHORT.document_event(7))
    chunk, *_ = COHORT.blob_events(7)
    return from_faults(validator.handle(replace(chunk, size_bytes=chunk.size_bytes - 4)), 7)


def bundle_that_does_not_open() -> Found:
    cohort = COHORT.with_bundle(7, 1, bytes(100))
    return from_faults(cohort.answer(1, ALL).faults, 7)


def bundle_with_other_shares() -> Found:
    """Slashable it is not: the holder alone can see it."""
    shares = tuple(digest_of("off", place) for place in range(len(COHORT.context.holders(7))))
    return from_faults(COHORT.with_dealing(7, 7, shares, commit=False).answer(1, ALL).faults, 7)


def item_that_the_seal_forbids() -> Found:
    """A share of a pair seed between two survivors."""
    validator = COHORT.sealed_aggregator(ALL)
    said = COHORT.unmasking(1, ALL)
    forbidden = replace(said, items=(*said.items, PairSeedShare(ALL[-1], ALL[-2], digest_of("share"))))
    return from_faults(validator.handle(UnmaskingReceived(1, forbidden)), 1)


def two_haves_with_other_roots() -> Found:
    validator = ROUND.validator(0)
    other = {**ROUND.roots, TRAINER: digest_of("another root")}
    told = [validator.handle(ROUND.say(SECOND, make_have(CONTEXT, roots)), NOW_MS) for roots in (ROUND.roots, other)]
    return from_effects([effect for effects in told for effect in effects], SECOND)


def proposal_without_a_survivor() -> Found:
    manifest = encode(ROUND.manifest([seat for seat in ROUND.trainers if seat != TRAINER]))
    proposal: SealProposal = ROUND.proposal(manifest=manifest)
    return from_effects(ROUND.validator(1).handle(ROUND.say(FIRST, proposal), NOW_MS), FIRST)


def ballot_with(vote: Vote) -> Ballot:
    return make_ballot(CONTEXT, ROUND_SEAL.digest, {0: vote}, {}, 0, {0: bytes(31) + b"\1"}, bytes(32))


def ballot_that_was_not_committed_to() -> Found:
    sign = ROUND.setting.signer(SECOND)
    votes = {vote: ballot_with(vote) for vote in (Vote.YES, Vote.NO)}
    commitment = make_commitment(CONTEXT, 1, votes[Vote.YES], sign)
    validator = ROUND.validator(0)
    validator.handle(SEALED, SEALED_MS)
    log = BallotsCommitted(
        LogPosition(2, 0, SEALED_MS // 1000, bytes(32)), CONTEXT.round, (1,), (commitment.commitment,)
    )
    validator.handle(CommitmentsObserved(log), SEALED_MS)
    return from_effects(validator.handle(ROUND.say(SECOND, votes[Vote.NO]), SEALED_MS), SECOND)


# --- slashable: whoever saw it holds evidence ----------------------------------------------------------------------


def two_contributions() -> Found:
    other = Contribution(digest_of("another root"), digest_of("another document"))
    return from_effects(ROUND.validator(0).handle(ROUND.say(TRAINER, other), NOW_MS), TRAINER)


def two_answers() -> Found:
    validator = validator_in(Phase.OPENING)
    first = unmasking_of(TRAINER)
    second = replace(first, seal=digest_of("another seal"))
    told = [validator.handle(ROUND.say(TRAINER, said), SEALED_MS) for said in (first, second)]
    return from_effects([effect for effects in told for effect in effects], TRAINER)


def two_ballot_commitments() -> Found:
    validator, sign = validator_in(Phase.OPENING), ROUND.setting.signer(SECOND)
    messages: list[Message] = []
    for vote in (Vote.YES, Vote.NO):
        messages.append(make_commitment(CONTEXT, 1, ballot_with(vote), sign))
    told = [validator.handle(ROUND.say(SECOND, message), SEALED_MS) for message in messages]
    return from_effects([effect for effects in told for effect in effects], SECOND)


def answer_with_a_forged_share() -> Found:
    said = unmasking_of(TRAINER)
    forged = replace(said, items=(replace(said.items[0], share=digest_of("forged")), *said.items[1:]))
    return from_effects(validator_in(Phase.OPENING).handle(ROUND.say(TRAINER, forged), SEALED_MS), TRAINER)


@cache
def round_cohort() -> Cohort:
    """The round's one cohort with everybody's secrets, as tests of ``secagg/`` know it."""
    setting = ROUND.setting
    cohort = CONTEXT.cohorts[0]
    secrets = {seat: setting.mask_secrets[seat] for seat in cohort.seats}
    entropy = {seat: digest_of("entropy", seat) for seat in cohort.seats}
    return Cohort(cohort, secrets, {}, entropy, dict(ROUND.made))


def split_for(cohort: Cohort, dealer: int, secret: bytes) -> tuple[bytes, ...]:
    """The dealing of ``secret`` as the dealer's self mask."""
    context = cohort.context
    return split_secret(
        secret, context.sharing_context(dealer, dealer), context.threshold, len(context.holders(dealer))
    )


def open_with(cohort: Cohort, answering: Iterable[int], cheater: int) -> Found:
    """What a validator of the whole round makes of a cohort in which ``cheater`` dealt."""
    changed = ContributedRound(ROUND.setting)
    changed.__dict__["made"] = cohort.made
    validator, seal = changed.validator(0), changed.seal()
    effects = list(validator.handle(SealObserved(changed.sealed()), SEALED_MS))
    effects += validator.handle(replace(MANIFEST, blobs={seal.manifest_digest: encode(seal.manifest)}), SEALED_MS)
    for seat in answering:
        answer = cohort.answer(seat, cohort.seats, seal.digest)
        assert answer.faults == ()
        effects += validator.handle(changed.say(seat, answer.unmasking), SEALED_MS)
    return from_effects(effects, cheater)


def shares_of_another_secret() -> Found:
    """Dealt and committed to alike, to everybody: three shares of another self mask than the committed one."""
    cohort, dealer = round_cohort(), ROUND.trainers[0]
    secrets = cohort.made[dealer].secrets
    dealt = cohort.with_dealing(dealer, dealer, split_for(cohort, dealer, digest_of("another mask", secrets.self_mask)))
    return open_with(dealt, [seat for seat in cohort.seats if seat != dealer], dealer)


def commitment_that_nobody_can_open() -> Found:
    """One commitment, to the share of a holder that does not answer, belongs to nothing."""
    cohort, dealer = round_cohort(), ROUND.trainers[0]
    silent = next(seat for seat in cohort.seats if seat != dealer)
    place = cohort.context.holders(dealer).index(silent)
    shares = list(split_for(cohort, dealer, cohort.made[dealer].secrets.self_mask))
    shares[place] = digest_of("off")
    changed = cohort.with_dealing(dealer, dealer, tuple(shares))
    return open_with(changed, [seat for seat in cohort.seats if seat not in (dealer, silent)], dealer)
