"""Why a round ended as it did and what befell its members, in sentences for whoever runs a node. Pure.

Called by ``daemon/history_answer.py``. Says what the log shows and nothing else: nobody knows why another member's data
spoke against a sum.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p_flock.alliance.evidence import describe_fault
from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.penalties import compute_absent
from p2p_flock.alliance.seat_table import Happening
from p2p_flock.chain_events import RoundSettled
from p2p_flock.daemon.round_report import count_survivors
from p2p_flock.params import AllianceParams
from p2p_flock.types import Assignment, CohortOutcome, Vote

NAMED_MAX = 8  # seats named in a sentence
WEI_PER_FLOCK = 10**18

_VOIDS = {
    1: "Void: the validators did not agree on chain in time whose updates are in. Nothing was opened, nobody is to "
    "blame or paid, and the next round began.",
    2: "Void: it was settled whose updates are in, but no validator's vote came on chain in time. Nothing was adopted, "
    "nobody is to blame or paid, and the next round began.",
}


def describe_reasons(history: AllianceHistory, record: RoundRecord) -> list[str]:
    """Why an ended round was adopted, rejected, undecided or void, cohort by cohort, and who was missing."""
    if record.voided is not None:
        return [_VOIDS.get(record.voided.reason, f"Void: reason {record.voided.reason} of a later version.")]
    settled, assignment = record.settled, history.assignment(record.opened.round)
    assert settled is not None
    told = []
    for cohort in range(len(settled.outcomes)):
        name = f"Cohort {cohort}: " if len(settled.outcomes) > 1 else ""
        told.append(name + _describe_cohort(history.params, record, settled, assignment, cohort))
    return told + _describe_missing(record, assignment)


def count_abstentions(params: AllianceParams, settled: RoundSettled) -> list[int]:
    """Per cohort, of the fixed V, how many neither voted for the leading sum nor against it."""
    votes = zip(settled.votes_for, settled.votes_against, strict=True)
    return [max(0, params.validator_count - yes - no) for yes, no in votes]


def _describe_cohort(
    params: AllianceParams, record: RoundRecord, settled: RoundSettled, assignment: Assignment | None, cohort: int
) -> str:
    yes, no, all_votes = settled.votes_for[cohort], settled.votes_against[cohort], params.validator_count
    needed = params.verdict_quorum
    match CohortOutcome(settled.outcomes[cohort]):
        case CohortOutcome.ADOPTED:
            return f"Adopted: {yes} of {all_votes} validators voted for it, {needed} were needed."
        case CohortOutcome.REJECTED:
            return (
                f"Rejected: {no} of {all_votes} validators voted against it, {needed} were needed. By their own "
                "private data it made the model worse than the terms allow, or it could not be a sum of honest updates."
            )
        case CohortOutcome.VOID:
            counted = _count_in(record, assignment, cohort)
            told = "too few trainers were in" if counted is None else f"{counted[0]} of {counted[1]} trainers were in"
            return f"Void: {told}, and no sum of fewer than {params.survivors_min} may be opened."
        case CohortOutcome.UNDECIDED:
            unable = sum(reveal.verdicts[cohort] == Vote.UNAVAILABLE for reveal in record.reveals.values())
            silent = all_votes - len(record.reveals)
            other = sum(reveal.verdicts[cohort] == Vote.YES for reveal in record.reveals.values()) - yes
            parts = [f"{yes} for", f"{no} against"]
            parts += [f"{unable} could not judge it"] if unable else []
            parts += [f"{other} for another sum"] if other > 0 else []
            parts += [f"{silent} gave no vote in time"] if silent else []
            return (
                f"Undecided: either verdict takes {needed} of {all_votes} votes, and there were {', '.join(parts)}. "
                "Not adopted, and held against nobody."
            )


def _count_in(record: RoundRecord, assignment: Assignment | None, cohort: int) -> tuple[int, int] | None:
    counts = count_survivors(record, assignment)
    return None if assignment is None or not counts else (counts[cohort], len(assignment.cohorts[cohort]))


def _describe_missing(record: RoundRecord, assignment: Assignment | None) -> list[str]:
    if record.sealed is None or assignment is None:
        return []
    bits = sum(word << 256 * index for index, word in enumerate(record.sealed.survivors))
    trainers = [seat for index, seat in enumerate(assignment.trainers) if not bits >> index & 1]
    validators = [seat for position, seat in enumerate(assignment.validators) if position not in record.reveals]
    told = []
    if trainers:
        told.append(f"Trained for nothing or not at all, for their updates did not arrive in time: {_seats(trainers)}.")
    if validators:
        told.append(f"Validators without a vote on chain: {_seats(validators)}.")
    return told


def _seats(seats: Sequence[int]) -> str:
    named = ", ".join(str(seat) for seat in sorted(seats)[:NAMED_MAX])
    more = f" and {len(seats) - NAMED_MAX} more" if len(seats) > NAMED_MAX else ""
    return f"seat{'s' if len(seats) > 1 else ''} {named}{more}"


# --- members ---------------------------------------------------------------------------------------------------------


def find_absent(history: AllianceHistory, round_number: int) -> tuple[tuple[int, bytes], ...]:
    """(seat, owner) of each member that got a strike in an ended round, ascending; none of a void one."""
    absent = compute_absent(history, round_number) or frozenset()
    seats = history.rounds[round_number].seats if absent else ()
    return tuple((seat, entry.owner) for seat, entry in enumerate(seats) if entry.owner in absent)


def describe_strike(history: AllianceHistory, round_number: int, seat: int) -> str:
    """Why a seat got a strike in a settled round."""
    assignment = history.assignment(round_number)
    is_validator = assignment is not None and seat in assignment.validators
    missing = "its vote did not come on chain" if is_validator else "its update did not arrive"
    return f"a strike: {missing} in time; two in a row suspend the seat, and no stake is lost"


def describe_happening(happening: Happening) -> str:
    """What befell a member and for what, without its name."""
    rounds = happening.rounds
    match happening.what:
        case "joined":
            return f"joined, and takes part from round {rounds[0]} on"
        case "reactivated":
            return f"took its seat again, and takes part from round {rounds[0]} on"
        case "left":
            return "asked to leave; the seat goes when the next round opens"
        case "suspended":
            return f"suspended: absent in rounds {rounds[0]} and {rounds[1]}, which anybody may show; no stake is lost"
        case "suspected":
            return (
                f"suspended for good: the cohorts it trained in were rejected again and again, none adopted between, "
                f"in rounds {rounds[0]} to {rounds[1]}; no stake is lost"
            )
        case "slashed":
            fault = describe_fault(happening.fault or 0)
            return f"slashed {_flock(happening.amount)} FLOCK: {fault} in round {rounds[0]}, proved by this transaction"
        case "withdrawn":
            return f"took its stake back: {_flock(happening.amount)} FLOCK"
        case "challenged":
            return f"is accused of not having answered in round {rounds[0]}, and may show its answer"
        case "answered":
            return f"showed its answer of round {rounds[0]}: the accusation is void"
        case what:
            return what


def _flock(amount: int | None) -> str:
    """To a millionth, rounded down; a slash of dust is told as such."""
    micro = (amount or 0) // 10**12
    return f"{micro // 10**6}.{micro % 10**6:06d}".rstrip("0").rstrip(".")
