"""The properties of DESIGN §2 that one round can show, as functions over what a swarm did. Each raises Violation.

A checker is only worth something if it can fail: tests/simulation/test_planted_bugs.py plants a bug for each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from p2p_flock.alliance.accusing import get_culprits
from p2p_flock.alliance.aggregates import decode_aggregate
from p2p_flock.alliance.evidence import EVIDENCE_BYTES_MAX, EvidenceRecord
from p2p_flock.alliance.model import AdoptedCohort, apply_cohorts
from p2p_flock.alliance.reference import RoundInputs, RoundOutputs, run_round
from p2p_flock.alliance.sealing import read_have
from p2p_flock.ports import Effect, Persist
from p2p_flock.secagg.answer import get_secret_of
from p2p_flock.testing.checkers.base import Violation
from p2p_flock.testing.swarm import Swarm
from p2p_flock.types import CohortOutcome, Vote
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import (
    MESSAGE_BYTES_MAX,
    MESSAGE_KINDS,
    Ballot,
    BallotCommitment,
    Contribution,
    Envelope,
    Have,
    Manifest,
    Message,
    SealProposal,
    SealSignature,
    Unmasking,
)

__all__ = ["Violation", "check_all", "check_settled"]

SAID_ONCE = (Contribution, Unmasking, BallotCommitment, Ballot)


def read_message(envelope: Envelope) -> Message:
    """The message in an envelope that one of our own machines sealed."""
    return decode(MESSAGE_KINDS[envelope.kind], envelope.body, MESSAGE_BYTES_MAX)


def check_persist_first(answers: Iterable[tuple[int, tuple[Effect, ...]]]) -> None:
    """P8: in every tuple the journal writes come before anything else."""
    for seat, effects in answers:
        kinds = [isinstance(effect, Persist) for effect in effects]
        if kinds != sorted(kinds, reverse=True):
            raise Violation(f"P8: seat {seat} speaks before it persists")


def check_promises(said: Iterable[tuple[int, int, Envelope]]) -> None:
    """P8: nobody signs two contradicting messages, whatever crashes lie between them."""
    first: dict[tuple[object, ...], bytes] = {}
    for _, seat, envelope in said:
        message = read_message(envelope)
        if isinstance(message, SAID_ONCE):
            claims: list[tuple[tuple[object, ...], bytes]] = [((seat, envelope.kind), envelope.body)]
        elif isinstance(message, SealSignature):
            claims = [((seat, "seal", message.view), message.seal)]
        elif isinstance(message, SealProposal):
            claims = [((seat, "proposal", message.view), message.manifest)]
        else:
            claims = []
        for name, body in claims:
            if first.setdefault(name, body) != body:
                raise Violation(f"P8: seat {seat} said two different {type(message).__name__}")


def check_haves(swarm: Swarm) -> None:
    """P8: a validator never names two roots of one trainer."""
    roots: dict[tuple[int, int], bytes] = {}
    for _, seat, envelope in swarm.said:
        message = read_message(envelope)
        if isinstance(message, Have):
            for trainer, root in read_have(swarm.setting.context, message).items():
                if roots.setdefault((seat, trainer), root) != root:
                    raise Violation(f"P8: validator {seat} named two roots of trainer {trainer}")


def check_secret_ballots(swarm: Swarm) -> None:
    """No ballot is shown while commitments are still taken: it could be copied."""
    for at_ms, seat, envelope in swarm.said:
        is_ballot = isinstance(read_message(envelope), Ballot)
        if is_ballot and (swarm.chain.commit_ended_ms is None or at_ms < swarm.chain.commit_ended_ms):
            raise Violation(f"validator {seat} showed its ballot before the commit phase was over")


def check_privacy(swarm: Swarm) -> None:
    """P1: for no trainer were enough shares said of its self mask and of every pair seed with the rest."""
    shares: dict[tuple[int, int], set[int]] = {}
    for _, seat, envelope in swarm.said:
        message = read_message(envelope)
        if isinstance(message, Unmasking):
            for item in message.items:
                shares.setdefault((item.owner, get_secret_of(item)), set()).add(seat)
    for cohort in swarm.setting.context.cohorts:
        opened = {secret for secret, holders in shares.items() if len(holders) >= cohort.threshold}
        for seat in cohort.seats:
            pairs = [(seat, other) in opened or (other, seat) in opened for other in cohort.neighbors(seat)]
            if (seat, seat) in opened and all(pairs):
                raise Violation(f"P1: both secrets of trainer {seat} are open")


def get_reference(swarm: Swarm) -> RoundOutputs:
    """What the reference makes of what the members of this run held, answered and voted."""
    setting, chain = swarm.setting, swarm.chain
    assert chain.sealed is not None
    answering: set[int] = set()
    held: dict[int, frozenset[int]] = {}
    for _, seat, envelope in swarm.said:
        message = read_message(envelope)
        if isinstance(message, Unmasking):
            answering.add(seat)
        elif isinstance(message, SealProposal) and message.view == chain.sealed.view:
            held = {have.seat: frozenset(_trainers_of(swarm, have)) for have in message.haves}
    verdicts = {}
    for position, ballot in chain.ballots.items():
        votes = {cohort: verdict == Vote.YES for cohort, verdict in enumerate(ballot.verdicts) if verdict}
        verdicts[setting.context.assignment.validators[position]] = votes
    trained = [node for node in swarm.nodes if node.contributed_with]
    context = setting.context
    return run_round(
        RoundInputs(
            context.domain, context.round, context.params, context.manifest, setting.model, context.snapshot.seats,
            setting.randomness, {node.seat: setting.value_of(node.seat) for node in trained},
            {node.seat: node.contributed_with for node in trained}, held, frozenset(answering), verdicts,
        )
    )  # fmt: skip


def _trainers_of(swarm: Swarm, envelope: Envelope) -> Iterable[int]:
    message = read_message(envelope)
    assert isinstance(message, Have)
    return read_have(swarm.setting.context, message)


def check_agreement(swarm: Swarm) -> None:
    """P2: chain and reference agree on survivors, outcome and the next model, and the sum is the plain sum."""
    chain, context = swarm.chain, swarm.setting.context
    if chain.voided or chain.sealed is None:
        return
    expected = get_reference(swarm)
    manifest = _find_blob(swarm, chain.sealed.manifest_digest)
    survivors = tuple(entry.seat for entry in decode(Manifest, manifest, MESSAGE_BYTES_MAX).entries)
    if survivors != expected.survivors:
        raise Violation(f"P2: {survivors} were sealed, the Have messages give {expected.survivors}")
    if tuple(tally.outcome for tally in chain.tallies) != expected.outcomes:
        raise Violation(f"P2: the chain decided {chain.tallies}, the reference {expected.outcomes}")
    cohorts = []
    for index, tally in enumerate(chain.tallies):
        if tally.outcome is CohortOutcome.ADOPTED:
            members = [seat for seat in context.assignment.cohorts[index] if seat in survivors]
            blob, sum_bound = _find_blob(swarm, tally.aggregate_digest), context.sum_bound(index, members)
            total = decode_aggregate(context.cohorts[index], blob, sum_bound)
            if tuple(total.tolist()) != expected.sums[index]:
                raise Violation(f"P2: cohort {index} was opened to another sum than its trainers' values")
            cohorts.append(AdoptedCohort(total, sum(context.weight_of(seat) for seat in members)))
    model = apply_cohorts(swarm.setting.model, context.manifest, context.params.levels_in(context.stage), cohorts)
    if model.digest != expected.model.digest:
        raise Violation("P2: another model than the reference's")


def _find_blob(swarm: Swarm, digest: bytes) -> bytes:
    for node in swarm.nodes:
        if digest in node.blobs:
            return node.blobs[digest]
    raise Violation("P2: what the chain names is nowhere to be had")


def check_accusations(swarm: Swarm, guilty: Collection[int] = ()) -> None:
    """P5: every piece of evidence convicts by the contract's rule, and nobody but the guilty seats."""
    context = swarm.setting.context
    for accuser, data in swarm.accusations:
        (evidence,) = decode(EvidenceRecord, data, EVIDENCE_BYTES_MAX).evidence
        culprits = get_culprits(context, evidence)
        if not culprits:
            raise Violation(f"P5: seat {accuser} would post evidence that the contract refuses")
        if not set(culprits) <= set(guilty):
            raise Violation(f"P5: seat {accuser} would have the honest seats {culprits} slashed")


def check_settled(swarm: Swarm, within_ms: int) -> None:
    """P3: the round settled, and not later than ``within_ms`` after its opening."""
    opened_ms = swarm.setting.context.snapshot.opens_at_s * 1000
    assert swarm.chain.ended_ms is not None
    if swarm.chain.voided or swarm.chain.ended_ms - opened_ms > within_ms:
        raise Violation(
            f"P3: {'void' if swarm.chain.voided else 'settled'} after {swarm.chain.ended_ms - opened_ms} ms"
        )


ALWAYS: tuple[Callable[[Swarm], None], ...] = (
    lambda swarm: check_persist_first(swarm.answers),
    lambda swarm: check_promises(swarm.said),
    check_haves,
    check_secret_ballots,
    check_privacy,
    check_agreement,
    check_accusations,
)


def check_all(swarm: Swarm) -> None:
    """Every property that holds whatever goes wrong."""
    for check in ALWAYS:
        check(swarm)
