"""The contract's rules for the running round: seal, commit, settle, void, and what a settled round pays.

Part of ``contract.py``; after ``contracts/src/Alliance.sol``, function by function.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import assert_never

from p2p_flock.alliance.voting import CohortTally, compute_tally
from p2p_flock.chain_events import BallotRevealed, BallotsCommitted, RoundSealed, RoundSettled
from p2p_flock.crypto.signing import (
    ballot_commitment,
    ballot_digest,
    commit_digest,
    seal_digest,
    seal_struct_hash,
)
from p2p_flock.errors import CryptoError
from p2p_flock.ports import CommitRound, SealRound, SettleRound
from p2p_flock.testing.contract import BPS, Contract
from p2p_flock.testing.contract_state import (
    CLOSED,
    WAITING,
    Call,
    Claim,
    Log,
    Refused,
    RoundCall,
    RoundRow,
    SettledRow,
    State,
    VoidRound,
    require,
)
from p2p_flock.types import CohortOutcome, Vote
from p2p_flock.wire.messages import Ballot

TRAINER_BPS, VALIDATOR_BPS, REFUND_BPS, REFUND_COUNT = 4_000, 5_000, 1_000, 3
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
            _claim(contract, state, sender, call.rounds)
        case _:
            contract.run_member_call(state, sender, call, log)


def _run_call(contract: Contract, state: State, sender: bytes, call: RoundCall, log: Log) -> None:
    row = _current(state, call.round)
    match call.call:
        case SealRound():
            _seal(contract, state, row, sender, call.call, log)
        case CommitRound():
            _commit(contract, state, row, sender, call.call, log)
        case SettleRound():
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
        row, sealed_at_s=log.timestamp_s, seed=seed, seal=seal, survivors=call.survivors, seal_sender=sender,
        commit_deadline_s=log.timestamp_s
        + params.unmask_seconds + params.evaluate_seconds + params.commit_seconds * params.validator_count,
    )  # fmt: skip
    require(len(call.positions) >= params.seal_quorum, "WrongSignatureCount")
    _require_order(contract, call.positions, call.signatures)
    for position, signature in zip(call.positions, call.signatures, strict=True):
        _require_signed(contract, state, sealed, position, seal_digest(contract.domain, seal), signature)
    state.round = sealed
    state.proven |= {row.beacon_round}
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


def _commit(contract: Contract, state: State, row: RoundRow, sender: bytes, call: CommitRound, log: Log) -> None:
    params = contract.params
    require(row.is_sealed, "NotSealed")
    require(log.timestamp_s <= row.commit_deadline_s, "DeadlinePassed")
    _require_order(contract, call.positions, call.commitments, call.signatures)
    fresh: dict[int, bytes] = {}
    for position, commitment, signature in zip(call.positions, call.commitments, call.signatures, strict=True):
        if position in row.commitments:
            continue
        require(commitment != NOTHING, "WrongCommitment")
        digest = commit_digest(contract.domain, row.number, row.seal, position, commitment)
        _require_signed(contract, state, row, position, digest, signature)
        fresh[position] = commitment
    require(bool(fresh), "NothingNew")
    before, deadline_s = len(row.commitments), row.commit_deadline_s
    commitments = {**row.commitments, **fresh}
    if before < params.verdict_quorum <= len(commitments):
        deadline_s = min(deadline_s, log.timestamp_s + params.commit_seconds)
        contract.credit_from_pool(state, row.seal_sender, _refund(contract))
        contract.credit_from_pool(state, sender, _refund(contract))
    if len(commitments) == params.validator_count:
        deadline_s = log.timestamp_s
    state.round = replace(row, commitments=commitments, commit_deadline_s=deadline_s)
    log.events.append(BallotsCommitted(log.at, row.number, tuple(fresh), tuple(fresh.values())))


# --- settle ----------------------------------------------------------------------------------------------------


def _settle(contract: Contract, state: State, row: RoundRow, sender: bytes, call: SettleRound, log: Log) -> None:
    params = contract.params
    require(row.is_sealed, "NotSealed")
    complete = len(row.commitments) == params.validator_count
    require(complete or log.timestamp_s > row.commit_deadline_s, "CommitPhaseNotOver")
    require(bool(row.commitments), "NothingNew")
    _require_order(contract, call.positions, call.ballots)
    fresh: dict[int, Ballot] = {}
    for position, ballot in zip(call.positions, call.ballots, strict=True):
        if position not in row.ballots:
            _require_ballot(contract, state, row, position, ballot)
            fresh[position] = ballot
    ballots = {**row.ballots, **fresh}
    is_late = log.timestamp_s > row.commit_deadline_s + params.settle_seconds
    is_end = len(ballots) == len(row.commitments) or is_late
    require(is_end or bool(fresh), "DeadlineNotPassed")
    for position, ballot in fresh.items():
        terms = (ballot.verdicts, ballot.aggregate_digests, ballot.base_model_digest)
        log.events.append(BallotRevealed(log.at, row.number, position, *terms))
    if len(row.ballots) < params.verdict_quorum <= len(ballots):
        contract.credit_from_pool(state, sender, _refund(contract))
    state.round = replace(row, ballots=ballots)
    if is_end:
        _end_settled(contract, state, state.round, log)


def _require_ballot(contract: Contract, state: State, row: RoundRow, position: int, ballot: Ballot) -> None:
    count = contract.params.cohort_count
    require(position in row.commitments, "BallotNotCommitted")
    require(len(ballot.verdicts) == count and len(ballot.aggregate_digests) == count, "MalformedBallot")
    for verdict, digest in zip(ballot.verdicts, ballot.aggregate_digests, strict=True):
        require(verdict <= Vote.NO and not (verdict == Vote.YES and digest == NOTHING), "MalformedBallot")
    terms = (ballot.base_model_digest, ballot.verdicts, ballot.aggregate_digests, ballot.salt)
    commitment = ballot_commitment(contract.domain, row.number, row.seal, position, *terms)
    require(row.commitments[position] == commitment, "BallotNotCommitted")
    digest = ballot_digest(contract.domain, row.number, row.seal, position, *terms)
    _require_signed(contract, state, row, position, digest, ballot.signature)


def _end_settled(contract: Contract, state: State, row: RoundRow, log: Log) -> None:
    params = contract.params
    sizes = count_by_cohort(contract, row.seat_count - params.validator_count, row.survivors)
    tallies = [
        compute_tally(params.verdict_quorum, row.ballots, cohort, size < params.survivors_min)
        for cohort, size in enumerate(sizes)
    ]
    _book(contract, state, row, tallies, sizes)
    state.settled_count += 1
    state.void_count = 0
    is_last = state.settled_count == params.round_count
    log.events.append(
        RoundSettled(
            log.at,
            row.number,
            tuple(int(tally.outcome) for tally in tallies),
            tuple(_leading(row, cohort) for cohort in range(params.cohort_count)),
            tuple(tally.votes_for for tally in tallies),
            tuple(tally.votes_against for tally in tallies),
            _confirmed_model(row, params.verdict_quorum),
            is_last,
        )
    )
    if is_last:
        contract.close(state, log)
    else:
        contract.open_round(state, log)


def _leading(row: RoundRow, cohort: int) -> bytes:
    """The aggregate that first came to most yes votes, adopted or not."""
    counts: dict[bytes, int] = {}
    leading = NOTHING
    for ballot in row.ballots.values():
        if ballot.verdicts[cohort] == Vote.YES:
            digest = ballot.aggregate_digests[cohort]
            counts[digest] = counts.get(digest, 0) + 1
            if counts[digest] > counts.get(leading, 0):
                leading = digest
    return leading


def _confirmed_model(row: RoundRow, quorum: int) -> bytes:
    bases = [ballot.base_model_digest for ballot in row.ballots.values()]
    return next((base for base in bases if any(base) and bases.count(base) >= quorum), NOTHING)


# --- void ------------------------------------------------------------------------------------------------------


def _void_round(contract: Contract, state: State, number: int, log: Log) -> None:
    row = _current(state, number)
    require(not row.commitments, "RoundHasCommitments")
    deadline_s = row.commit_deadline_s if row.is_sealed else contract.seal_deadline_s(row)
    require(log.timestamp_s > deadline_s, "DeadlineNotPassed")
    contract.end_void(state, log, VOID_UNCOMMITTED if row.is_sealed else VOID_UNSEALED)


# --- rewards ---------------------------------------------------------------------------------------------------


def _refund(contract: Contract) -> int:
    return contract.params.reward_per_round * REFUND_BPS // BPS // REFUND_COUNT


def _validator_reward(contract: Contract) -> int:
    return contract.params.reward_per_round * VALIDATOR_BPS // BPS // contract.params.validator_count


def _book(contract: Contract, state: State, row: RoundRow, tallies: list[CohortTally], sizes: list[int]) -> None:
    adopted = frozenset(c for c, tally in enumerate(tallies) if tally.outcome is CohortOutcome.ADOPTED)
    survivors = sum(sizes[cohort] for cohort in adopted)
    reward = contract.params.reward_per_round * TRAINER_BPS // BPS // survivors if survivors else 0
    contract.reserve(state, reward * survivors + _validator_reward(contract) * len(row.ballots))
    state.settled[row.number] = SettledRow(
        row.seed, row.seat_count, frozenset(row.ballots), row.survivors, adopted, reward
    )


def get_reward(contract: Contract, state: State, owner: bytes, number: int) -> int:
    """What a settled round pays its owner, wei; 0 where it was claimed."""
    row = state.settled.get(number)
    position = contract.position_in(state, owner, number)
    if row is None or position is None or (owner, number) in state.claimed:
        return 0
    if not contract.took_part(state, number, position):
        return 0
    validator_count = contract.params.validator_count
    if position < validator_count:
        return _validator_reward(contract)
    cohorts = contract.assignment(row.seed, row.seat_count).cohorts
    sizes = [len(cohort) for cohort in cohorts]
    index, cohort = position - validator_count, 0
    while index >= sizes[cohort]:
        index, cohort = index - sizes[cohort], cohort + 1
    return row.trainer_reward if cohort in row.adopted else 0


def _claim(contract: Contract, state: State, sender: bytes, rounds: tuple[int, ...]) -> None:
    due = {number: get_reward(contract, state, sender, number) for number in rounds}
    amount = state.credits.get(sender, 0) + sum(due.values())
    require(amount > 0, "NothingToClaim")
    state.claimed |= {(sender, number) for number, reward in due.items() if reward}
    state.credits[sender] = 0
    state.owed -= amount
    state.balances[sender] = state.balances.get(sender, 0) + amount
