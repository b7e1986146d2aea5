"""Logs that tell several facts, and logs that contradict themselves: what an endpoint may not make a node believe."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest
from web3 import Web3

from p2p_flock.chain.contracts import ALLIANCE, load_contract
from p2p_flock.chain.events import Log, decode_log
from p2p_flock.chain_events import BallotRevealed, BallotsCommitted, RoundSealed, RoundSettled, SettledRecord
from p2p_flock.crypto.signing import pack_marks
from p2p_flock.errors import ChainError
from p2p_flock.types import Vote
from tests.chain.test_contracts import type_of

ROUND = 4
MODEL, SUM, OTHER, SALT = (bytes([letter]) * 32 for letter in b"msox")
YES, NO, NONE = Vote.YES, Vote.NO, Vote.UNAVAILABLE
ADDRESSES = [bytes([number]) * 20 for number in (1, 2, 3)]
RECORD = SettledRecord(ROUND, 9, 0b101, 0b1001, b"r" * 32, (0b1111,), (11, 0), (7, 0, 9), 3, *ADDRESSES)


def log_of(name: str, **values: Any) -> Log:
    """A log as the chain would hold it, encoded by web3.py."""
    text = resources.files("p2p_flock.chain").joinpath("artifacts", f"{ALLIANCE}.json").read_text()
    item = next(i for i in json.loads(text)["abi"] if i["type"] == "event" and i["name"] == name)
    codec, topic = Web3().codec, next(e.topic for e in load_contract(ALLIANCE).events.values() if e.name == name)
    indexed = [part for part in item["inputs"] if part["indexed"]]
    others = [part for part in item["inputs"] if not part["indexed"]]
    topics = (topic, *(codec.encode([part["type"]], [values[part["name"]]]) for part in indexed))
    data = codec.encode([type_of(part) for part in others], [values[part["name"]] for part in others])
    return Log(8, 2, bytes(32), bytes(32), topics, data)


def record_values(record: SettledRecord = RECORD) -> tuple[object, ...]:
    lists = (list(record.survivors), list(record.trainer_rewards), list(record.validator_rewards))
    senders = tuple(Web3.to_checksum_address(a) for a in (record.sealer, record.committer, record.settler))
    facts = (record.round, record.seat_count, record.revealed, record.outcomes, record.seed)
    return (*facts, *lists, record.refund, *senders)


def marks(position: int, verdicts: list[Vote], grades: list[int], leading: int = 0) -> int:
    return pack_marks(position, 500_000, bytes(verdicts), bytes(grades)) | leading << 144


def settled_log(**changes: Any) -> Log:
    values: dict[str, Any] = {
        "round": ROUND,
        "cohortOutcome": [1, 2],
        "aggregateDigests": [SUM, OTHER],
        "votesFor": [2, 1],
        "votesAgainst": [0, 1],
        "baseModelDigest": MODEL,
        "closed": False,
        # Position 0 names model and both sums; position 2 another model, and no sum in the second cohort.
        "marks": [marks(0, [YES, YES], [5, 1], 0b111), marks(2, [YES, NONE], [15, 0], 0b010)],
        "record": record_values(),
    }
    return log_of("RoundSettled", **{**values, **changes})


def test_settlement__tells_of_its_ballots_and_its_record() -> None:
    """Strikes, claims and the operator's view would come from votes that nobody gave."""
    first, second, settled = decode_log(settled_log(), 1_000)
    assert isinstance(first, BallotRevealed) and isinstance(second, BallotRevealed)
    assert isinstance(settled, RoundSettled)
    assert first.at == second.at == settled.at
    assert (first.position, first.verdicts, first.grades, first.score_micro) == (0, b"\x01\x01", b"\x05\x01", 500_000)
    assert (first.base_model_digest, first.aggregate_digests, first.salt) == (MODEL, (SUM, OTHER), b"")
    assert (second.position, second.verdicts, second.grades) == (2, b"\x01\x00", b"\x0f\x00")
    assert (second.base_model_digest, second.aggregate_digests) == (bytes(32), (SUM, bytes(32)))
    assert settled.record == RECORD
    assert (settled.outcomes, settled.aggregate_digests, settled.votes_for) == ((1, 2), (SUM, OTHER), (2, 1))


def test_recorded_ballots__come_in_full() -> None:
    """Whoever ends the round must show them again, salt and all."""
    ballots = [(marks(1, [NO], [0]), MODEL, [OTHER], SALT), (marks(3, [YES], [9]), OTHER, [SUM], SALT)]
    first, second = decode_log(log_of("BallotsRecorded", round=ROUND, ballots=ballots), 1_000)
    assert isinstance(first, BallotRevealed) and isinstance(second, BallotRevealed)
    assert (first.position, first.verdicts, first.aggregate_digests, first.salt) == (1, b"\x02", (OTHER,), SALT)
    assert (second.position, second.grades, second.base_model_digest) == (3, b"\x09", OTHER)


def test_bitmaps__become_positions() -> None:
    """A signature would be checked against another validator's key."""
    signatures = [bytes([number]) * 65 for number in (1, 2)]
    terms = {"leaderView": 0, "seal": SALT, "seed": SALT, "manifestDigest": SALT, "survivors": [15]}
    log = log_of("RoundSealed", round=ROUND, signers=0b1010, signatures=b"".join(signatures), **terms)
    (sealed,) = decode_log(log, 1_000)
    assert isinstance(sealed, RoundSealed)
    assert (sealed.positions, sealed.signatures) == ((1, 3), tuple(signatures))
    top = 1 << 63 | 1
    (committed,) = decode_log(log_of("BallotsCommitted", round=ROUND, positions=top, commitments=[SUM, OTHER]), 0)
    assert isinstance(committed, BallotsCommitted)
    assert (committed.positions, committed.commitments) == ((0, 63), (SUM, OTHER))


def replaced(**changes: Any) -> tuple[object, ...]:
    names = SettledRecord.__slots__
    return record_values(SettledRecord(*(changes.get(name, getattr(RECORD, name)) for name in names)))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"marks": [marks(0, [YES, YES], [5, 1])]}, id="bad_ballot_missing"),
        pytest.param({"marks": [marks(2, [NO, NO], [0, 0]), marks(0, [NO, NO], [0, 0])]}, id="bad_order"),
        pytest.param({"marks": [marks(0, [NO, NO], [0, 0])] * 2}, id="bad_twice"),
        pytest.param({"marks": [0, 2 | 3 << 48]}, id="bad_verdict"),
        pytest.param({"marks": [0, 2 | 7 << 80]}, id="bad_grade_without_yes"),
        pytest.param({"marks": [0, 2 | 1 << 60]}, id="bad_verdict_of_no_cohort"),
        pytest.param({"cohortOutcome": [1, 9]}, id="bad_outcome"),
        pytest.param({"cohortOutcome": [1]}, id="bad_outcome_count"),
        pytest.param({"record": replaced(round=5)}, id="bad_record_round"),
        pytest.param({"record": replaced(revealed=0b111)}, id="bad_record_revealed"),
        pytest.param({"record": replaced(outcomes=0b0101)}, id="bad_record_outcomes"),
        pytest.param({"record": replaced(trainer_rewards=(11,))}, id="bad_record_trainers"),
        pytest.param({"record": replaced(validator_rewards=(7,))}, id="bad_record_validators"),
    ],
)
def test_settlement__that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    """A lying endpoint would have nodes claim and suspend with a record that the chain does not hold."""
    with pytest.raises(ChainError):
        decode_log(settled_log(**changes), 1_000)


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(log_of("BallotsCommitted", round=ROUND, positions=0b111, commitments=[SUM]), id="bad_commitments"),
        pytest.param(
            log_of("BallotsRecorded", round=ROUND, ballots=[(1, MODEL, [SUM] * 17, SALT)]), id="bad_cohort_count"
        ),
        pytest.param(log_of("BallotsRecorded", round=ROUND, ballots=[(1, MODEL, [], SALT)]), id="bad_no_cohort"),
        pytest.param(
            log_of(
                "RoundSealed",
                round=ROUND,
                signers=0b11,
                signatures=bytes(65),
                **{"leaderView": 0, "seal": SALT, "seed": SALT, "manifestDigest": SALT, "survivors": [15]},
            ),
            id="bad_signatures",
        ),
    ],
)
def test_logs__with_parts_that_do_not_fit_are_refused(log: Log) -> None:
    """A part would be taken for another validator's."""
    with pytest.raises(ChainError):
        decode_log(log, 1_000)
