"""The contract's rules for the running round: seal, commit, settle, void, and what a settled round pays.

Part of ``contract.py``; after ``contracts/src/Alliance.sol``, function by function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import assert_never

from p2p_flock.alliance.evidence import SealStatement, hash_seal
from p2p_flock.alliance.pay import (
    NOBODY,
    RoundFacts,
    Senders,
    compute_record,
    compute_total,
    has_reached_target,
)
from p2p_flock.alliance.settling import Settlement
from p2p_flock.alliance.voting import CohortTally, compute_tally
from p2p_flock.chain_events import (
    BallotRevealed,
    BallotsCommitted,
    LogPosition,
    RoundSealed,
    RoundSettled,
    SettledRecord,
)
from p2p_flock.crypto.signing import ballot_commitment, commit_digest, pack_marks, seal_digest, seal_struct_hash
from p2p_flock.crypto.suite import keccak256
from p2p_flock.errors import CryptoError
from p2p_flock.ports import SealRound
from p2p_flock.testing.contract import Contract
from p2p_flock.testing.contract_state import (
    CLOSED,
    WAITING,
    Call,
    Claim,
    Close,
    Commitments,
    Log,
    Refused,
    RoundCall,
    RoundRow,
    State,
    VoidRound,
    require,
)
from p2p_flock.types import Vote
from p2p_flock.wire.messages import Ballot

WAITING_SECONDS_MAX = 30 * 24 * 3600
VOID_UNSEALED, VOID_UNCOMMITTED = 1, 2
NOTHING = bytes(32)


def execute(contract: Contract, state: State, sender: bytes, call: Call, log: Log) -> None:
    """Run any transaction.

    Raises:
        Refused: it reverts; nothing was changed.
    """
    match call:
        case RoundCall():
            _run_call(contract, state, sender, call, log)
        case VoidRound():
            _void_round(contract, state, call.round, log)
        case Claim():
            _claim(contract, state, sender, call.records)
        case Close():
            _close(contract, state, log)
        case _:
            contract.run_member_call(state, sender, call, log)


def _run_call(contract: Contract, state: State, sender: bytes, call: RoundCall, log: Log) -> None:
    row = _current(state, call.round)
    match call.call:
        case SealRound():
            _seal(contract, state, row, sender, call.call, log)
        case Commitments():
            _commit(contract, state, row, sender, call.call, log)
        case Settlement():
            _settle(contract, state, row, sender, call.call, log)
        case _:
            assert_never(call.call)


def _current(state: State, number: int) -> RoundRow:
    require(state.phase != CLOSED, "AllianceIsClosed")
    require(state.phase != WAITING and state.round is not None, "NoRunningRound")
    assert state.round is not None
    require(number == state.round.number, "WrongRound")
    return state.round


def _owner_at(contract: Contract, state: State, row: RoundRow, position: int) -> bytes:
    return state.seats[contract.assignment(row.seed, row.seat_count).validators[position]]


def _require_signed(
    contract: Contract, state: State, row: RoundRow, position: int, digest: bytes, signature: bytes
) -> None:
    try:
        signer = contract.recover(digest, signature)
    except CryptoError:
        raise Refused("WrongSignature") from None
    require(signer == _owner_at(contract, state, row, position), "WrongSignature")


def _require_order(contract: Contract, positions: tuple[int, ...], *others: tuple[object, ...]) -> None:
    require(all(len(other) == len(positions) for other in others), "WrongSignatureCount")
    in_range = all(0 <= position < contract.params.validator_count for position in positions)
    require(in_range and list(positions) == sorted(set(positions)), "WrongPosition")


# --- seal ------------------------------------------------------------------------------------------------------


def count_by_cohort(contract: Contract, trainer_count: int, survivors: tuple[int, ...]) -> list[int]:
    """Survivors of each cohort.

    Raises:
        Refused: the bitmap is not in canonical form.
    """
    bits = sum(word << 256 * index for index, word in enumerate(survivors))
    canonical = len(survivors) == -(-trainer_count // 256) and bits >> trainer_count == 0
    require(canonical and all(0 <= word < 1 << 256 for word in survivors), "WrongSurvivorBitmap")
    count = contract.params.cohort_count
    starts = [cohort * trainer_count // count for cohort in range(count + 1)]
    return [(bits >> start & (1 << end - start) - 1).bit_count() for start, end in pairwise(starts)]


def _seal(contract: Contract, state: State, row: RoundRow, sender: bytes, call: SealRound, log: Log) -> None:
    params = contract.params
    require(not row.is_sealed, "AlreadySealed")
    require(log.timestamp_s >= row.opens_at_s, "NotOpenYet")
    require(log.timestamp_s <= contract.seal_deadline_s(row), "DeadlinePassed")
    require(0 <= call.view < params.validator_count, "WrongView")
    sizes = count_by_cohort(contract, row.seat_count - params.validator_count, call.survivors)
    require(max(sizes) >= params.survivors_min, "TooFewSurvivors")
    seed = contract.seed_of(row)
    terms = (row.number, call.view, row.beacon_round, seed, call.manifest_digest, call.survivors)
    seal = seal_struct_hash(contract.domain, *terms)
    sealed = replace(
        row, sealed_at_s=log.timestamp_s, seed=seed, seal=seal, sealer=sender,
        commit_deadline_s=log.timestamp_s
        + params.unmask_seconds + params.evaluate_seconds + params.commit_seconds * params.validator_count,
    )  # fmt: skip
    require(len(call.positions) >= params.seal_quorum, "WrongSignatureCount")
    _require_order(contract, call.positions, call.signatures)
    for position, signature in zip(call.positions, call.signatures, strict=True):
        _require_signed(contract, state, sealed, position, seal_digest(contract.domain, seal), signature)
    state.round = sealed
    log.events.append(
        RoundSealed(
            log.at,
            row.number,
            call.view,
            seal,
            seed,
            call.manifest_digest,
            call.survivors,
            call.positions,
            call.signatures,
        )
    )


# --- commit ----------------------------------------------------------------------------------------------------


def _require_seal(contract: Contract, row: RoundRow, seal: SealStatement) -> None:
    require(row.is_sealed, "NotSealed")
    require(hash_seal(contract.domain, seal) == row.seal, "WrongSeal")


def roll(chain: bytes, position: int, commitment: bytes) -> bytes:
    """The rolling hash after one more commitment: keccak256(abi.encode(h, position, commitment))."""
    return keccak256(chain + position.to_bytes(32, "big") + commitment)


def _commit(contract: Contract, state: State, row: RoundRow, sender: bytes, posted: Commitments, log: Log) -> None:
    params, call = contract.params, posted.call
    _require_seal(contract, row, posted.seal)
    require(log.timestamp_s <= row.commit_deadline_s, "DeadlinePassed")
    _require_order(contract, call.positions, call.commitments, call.signatures)
    fresh: dict[int, bytes] = {}
    for position, commitment, signature in zip(call.positions, call.commitments, call.signatures, strict=True):
        if position in row.order:
            continue
        require(commitment != NOTHING, "WrongCommitment")
        digest = commit_digest(contract.domain, row.number, row.seal, position, commitment)
        _require_signed(contract, state, row, position, digest, signature)
        fresh[position] = commitment
    require(bool(fresh), "NothingNew")
    order, deadline_s, committer = (*row.order, *fresh), row.commit_deadline_s, row.committer
    if len(row.order) < params.verdict_quorum <= len(order):
        deadline_s, committer = min(deadline_s, log.timestamp_s + params.commit_seconds), sender
    if len(order) == params.validator_count:
        deadline_s = log.timestamp_s
    chain = row.chain
    for position, commitment in fresh.items():
        chain = roll(chain, position, commitment)
    state.round = replace(row, order=order, chain=chain, commit_deadline_s=deadline_s, committer=committer)
    log.events.append(BallotsCommitted(log.at, row.number, tuple(fresh), tuple(fresh.values())))


# --- settle ----------------------------------------------------------------------------------------------------


def _settle(contract: Contract, state: State, row: RoundRow, sender: bytes, call: Settlement, log: Log) -> None:
    params = contract.params
    _require_seal(contract, row, call.seal)
    complete = len(row.order) == params.validator_count
    require(complete or log.timestamp_s > row.commit_deadline_s, "CommitPhaseNotOver")
    require(bool(row.order), "NothingNew")
    _require_order(contract, call.positions, call.ballots)
    ballots = dict(zip(call.positions, call.ballots, strict=True))
    _require_opened(contract, row, call, ballots)
    is_late = log.timestamp_s > row.commit_deadline_s + params.settle_seconds
    fresh = [position for position in ballots if position not in row.revealed]
    if is_late or len(row.revealed) + len(fresh) == len(row.order):
        require(all(position in ballots for position in row.revealed), "MissingBallot")
        _end_settled(contract, state, row, Ending(sender, call.seal.words, ballots), log)
        return
    require(bool(fresh), "DeadlineNotPassed")
    for position, ballot in ballots.items():  # also those that it knew: the log tells the call's ballots
        log.events.append(_revealed(log.at, row.number, position, ballot))
    state.round = replace(row, revealed=row.revealed | frozenset(fresh))


def _revealed(at: LogPosition, number: int, position: int, b: Ballot) -> BallotRevealed:
    terms = (b.verdicts, b.grades, b.score_micro, b.aggregate_digests, b.base_model_digest, b.salt)
    return BallotRevealed(at, number, position, *terms)


def _require_opened(contract: Contract, row: RoundRow, call: Settlement, ballots: Mapping[int, Ballot]) -> None:
    """Ballots in form, and together with the order and the rest what was committed, in that order."""
    count = contract.params.cohort_count
    computed: dict[int, bytes] = {}
    for position, ballot in ballots.items():
        require(position in row.order, "BallotNotCommitted")
        require(len(ballot.verdicts) == len(ballot.aggregate_digests) == count, "MalformedBallot")
        pairs = zip(ballot.verdicts, ballot.aggregate_digests, strict=True)
        require(not any(verdict == Vote.YES and digest == NOTHING for verdict, digest in pairs), "MalformedBallot")
        try:
            marks = pack_marks(position, ballot.score_micro, ballot.verdicts, ballot.grades)
        except CryptoError:
            raise Refused("MalformedBallot") from None
        terms = (ballot.base_model_digest, ballot.aggregate_digests, ballot.salt)
        computed[position] = ballot_commitment(contract.domain, row.number, row.seal, marks, *terms)
    chain, unopened = bytes(32), list(call.unopened)
    for position in call.order:
        require(position in computed or bool(unopened), "WrongCommitments")
        chain = roll(chain, position, computed[position] if position in computed else unopened.pop(0))
    require(chain == row.chain and not unopened, "WrongCommitments")


@dataclass(frozen=True, slots=True)
class Ending:
    """The call that ends a round: its sender, the sealed bitmap and all ballots that count."""

    sender: bytes
    survivors: tuple[int, ...]
    ballots: dict[int, Ballot]


def _end_settled(contract: Contract, state: State, row: RoundRow, ending: Ending, log: Log) -> None:
    params, ballots = contract.params, ending.ballots
    sizes = count_by_cohort(contract, row.seat_count - params.validator_count, ending.survivors)
    tallies = [
        compute_tally(params.verdict_quorum, ballots, cohort, size < params.survivors_min)
        for cohort, size in enumerate(sizes)
    ]
    record = _book(contract, state, row, ending, tallies, sizes)
    leading = tuple(_leading(ballots, cohort) for cohort in range(params.cohort_count))
    base = confirm_model(ballots, params.verdict_quorum)
    for position in sorted(ballots):
        log.events.append(_revealed(log.at, row.number, position, _as_marks_tell(ballots[position], leading, base)))
    state.settled_count += 1
    state.void_count = 0
    is_last = state.settled_count == params.round_count
    is_reached = has_reached_target(ballots, params.verdict_quorum, base, params.score_target_micro)
    log.events.append(
        RoundSettled(
            log.at,
            row.number,
            tuple(int(tally.outcome) for tally in tallies),
            leading,
            tuple(tally.votes_for for tally in tallies),
            tuple(tally.votes_against for tally in tallies),
            base,
            is_last or is_reached,
            record,
        )
    )
    if is_last or is_reached:
        contract.close(state, log)
    else:
        contract.open_round(state, log)


def _as_marks_tell(ballot: Ballot, leading: tuple[bytes, ...], base: bytes) -> Ballot:
    """As ``chain/events.py`` reads a ballot from a settlement: digests where they are the leading ones, no salt."""
    digests = tuple(
        digest if verdict == Vote.YES and digest == most else NOTHING
        for verdict, digest, most in zip(ballot.verdicts, ballot.aggregate_digests, leading, strict=True)
    )
    named = base if ballot.base_model_digest == base else NOTHING
    return replace(ballot, aggregate_digests=digests, base_model_digest=named, salt=b"")


def _most_named(digests: Iterable[bytes]) -> bytes:
    """The one that most voters name; of several, the one that the first voter named; nothing without voters."""
    counts = Counter(digests)  # in the order in which they were named first
    return max(counts, key=lambda digest: counts[digest], default=NOTHING)


def _leading(ballots: Mapping[int, Ballot], cohort: int) -> bytes:
    """The aggregate with the most yes votes, adopted or not."""
    in_order = [ballots[position] for position in sorted(ballots)]
    return _most_named(b.aggregate_digests[cohort] for b in in_order if b.verdicts[cohort] == Vote.YES)


def confirm_model(ballots: Mapping[int, Ballot], quorum: int) -> bytes:
    """The base model that a quorum names, 32 bytes; zero where none is."""
    named = [ballots[position].base_model_digest for position in sorted(ballots)]
    bases = [base for base in named if base != NOTHING]
    most = _most_named(bases)
    return most if bases.count(most) >= quorum else NOTHING


# --- void ------------------------------------------------------------------------------------------------------


def _void_round(contract: Contract, state: State, number: int, log: Log) -> None:
    row = _current(state, number)
    require(not row.order, "RoundHasCommitments")
    deadline_s = row.commit_deadline_s if row.is_sealed else contract.seal_deadline_s(row)
    require(log.timestamp_s > deadline_s, "DeadlineNotPassed")
    contract.end_void(state, log, VOID_UNCOMMITTED if row.is_sealed else VOID_UNSEALED)


def _close(contract: Contract, state: State, log: Log) -> None:
    """An alliance that waits for seats too long, or that nobody may join any more, pays its pool back."""
    require(state.phase != CLOSED, "AllianceIsClosed")
    require(state.phase == WAITING, "RoundIsRunning")
    deadline_s = contract.params.join_deadline_s
    is_hopeless = 0 < deadline_s < log.timestamp_s
    require(is_hopeless or log.timestamp_s > state.since_s + WAITING_SECONDS_MAX, "DeadlineNotPassed")
    contract.close(state, log)


# --- rewards ---------------------------------------------------------------------------------------------------


def _book(
    contract: Contract, state: State, row: RoundRow, ending: Ending, tallies: list[CohortTally], sizes: list[int]
) -> SettledRecord:
    params = contract.params
    facts = RoundFacts(
        row.number, row.seat_count, row.seed, ending.survivors, tuple(sizes),
        tuple(tally.outcome for tally in tallies), tuple(tally.aggregate_digest for tally in tallies), ending.ballots,
    )  # fmt: skip
    senders = Senders(row.sealer, row.committer or NOBODY, ending.sender)
    terms = (params.reward_per_round, params.validator_count, params.verdict_quorum)
    record = state.settled[row.number] = compute_record(*terms, facts, senders)
    contract.reserve(state, compute_total(record, sizes))
    return record


def get_reward(contract: Contract, state: State, owner: bytes, record: SettledRecord) -> int:
    """What a settled round owes an account, wei: its role's reward and its refunds; 0 where it was claimed.

    Raises:
        Refused: it is not the round's record.
    """
    contract.require_record(state, record)
    if (owner, record.round) in state.claimed:
        return 0
    return _seat_reward(contract, state, owner, record) + _refunds(owner, record)


def _refunds(owner: bytes, record: SettledRecord) -> int:
    return record.refund * (record.sealer, record.committer, record.settler).count(owner)


def _seat_reward(contract: Contract, state: State, owner: bytes, record: SettledRecord) -> int:
    position = contract.position_in(state, owner, record)
    if position is None or not contract.took_part(record, position):
        return 0
    validator_count = contract.params.validator_count
    if position < validator_count:
        return record.validator_rewards[position]
    cohorts = contract.assignment(record.seed, record.seat_count).cohorts
    sizes = [len(cohort) for cohort in cohorts]
    index, cohort = position - validator_count, 0
    while index >= sizes[cohort]:
        index, cohort = index - sizes[cohort], cohort + 1
    return record.trainer_rewards[cohort]


def _claim(contract: Contract, state: State, sender: bytes, records: tuple[SettledRecord, ...]) -> None:
    due = {record.round: get_reward(contract, state, sender, record) for record in records}
    amount = state.credits.get(sender, 0) + sum(due.values())
    require(amount > 0, "NothingToClaim")
    state.claimed |= {(sender, number) for number, reward in due.items() if reward}
    state.credits[sender] = 0
    state.owed -= amount
    state.balances[sender] = state.balances.get(sender, 0) + amount
