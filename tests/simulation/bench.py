"""One simulated contract and everybody's keys: rounds by hand, for tests of the contract's rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.settling import Settlement, get_seal_statement, make_settlement
from p2p_flock.chain_events import ChainEvent, SeatJoined, SettledRecord
from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.crypto.signing import ballot_commitment, commit_digest, pack_marks, seal_digest, seal_struct_hash
from p2p_flock.ports import CommitRound, SealRound
from p2p_flock.testing.alliance import DOMAIN, digest_of, make_params
from p2p_flock.testing.contract import Contract
from p2p_flock.testing.contract_rounds import execute
from p2p_flock.testing.contract_state import Call, Commitments, Join, Log, Refused, RoundCall, State
from p2p_flock.testing.suites import Suite
from p2p_flock.types import Assignment, Vote
from p2p_flock.wire.messages import Ballot

BUDGET, SEATS, VALIDATORS, COHORTS = 10**18, 13, 3, 2
CREATOR, STRANGER = bytes(19) + b"\x01", bytes(19) + b"\x02"
MODEL = digest_of("model")
SUMS = {cohort: digest_of("sum", cohort) for cohort in range(COHORTS)}
GOOD = {0: Vote.YES, 1: Vote.NO}


class Bench:
    """Thirteen members, three validators, two cohorts of five. Every transaction is a block of its own."""

    def __init__(self, joining: int = SEATS, **changes: Any) -> None:
        self.params = make_params(VALIDATORS, COHORTS, SEATS, **{"reward_per_round": BUDGET, **changes})
        self.suite = Suite("fast")
        self.secrets = [digest_of("owner", member) for member in range(SEATS)]
        self.owners = [self.suite.address_of(secret) for secret in self.secrets]
        self.signers = dict(zip(self.owners, map(self.suite.signer, self.secrets), strict=True))
        self.contract = Contract(DOMAIN, self.params, CREATOR, self.suite.recover, lambda number: digest_of(number))
        balances = dict.fromkeys(self.owners, 2 * self.params.seat_stake)
        pool = BUDGET * self.params.round_count
        self.now_s = 1_700_000_000
        self.state = State(pool, balances, pool + sum(balances.values()), since_s=self.now_s)
        self.history = AllianceHistory(DOMAIN, self.params)
        self.events: list[ChainEvent] = []
        self.block = 0
        for member in range(joining):
            self.send(self.owners[member], self.join(member))

    def join(self, member: int, proof: tuple[bytes, ...] = ()) -> Join:
        return Join(f"peer {member}", mask_public_key(digest_of("mask", member)), 1, proof)

    def send(self, sender: bytes, call: Call) -> list[ChainEvent]:
        """Mine one transaction; raises :class:`Refused`."""
        state, self.block = self.state.copy(), self.block + 1
        log = Log(self.block, 0, self.now_s, bytes(32))
        execute(self.contract, state, sender, call, log)
        self.state = state
        for event in log.events:
            self.history.apply(event, isinstance(event, SeatJoined))
        parts = (sum(state.balances.values()), state.stakes, state.pool, state.owed)
        assert sum(parts) == state.minted and min(parts) >= 0
        self.events += log.events
        return log.events

    def refusal(self, sender: bytes, call: Call) -> str:
        """Why the contract refuses; empty where it does not."""
        try:
            execute(self.contract, self.state.copy(), sender, call, Log(self.block + 1, 0, self.now_s, bytes(32)))
        except Refused as error:
            return error.reason
        return ""

    # --- a round -------------------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        return len(self.history.rounds) - 1

    @property
    def record(self) -> RoundRecord:
        return self.history.rounds[self.number]

    @property
    def roles(self) -> Assignment:
        row = self.state.round
        assert row is not None
        return self.contract.assignment(self.contract.seed_of(row), row.seat_count)

    def owner_at(self, position: int) -> bytes:
        return self.state.seats[self.roles.validators[position]]

    def seal(self, sender: bytes = STRANGER, absent: Iterable[bytes] = ()) -> None:
        """All trainers but the absent owners survive."""
        row = self.state.round
        assert row is not None
        self.now_s = max(self.now_s, row.opens_at_s)
        trainers = [self.state.seats[seat] for seat in self.roles.trainers]
        bits = sum(1 << index for index, owner in enumerate(trainers) if owner not in set(absent))
        seed, digest = self.contract.seed_of(row), digest_of("manifest", row.number)
        seal = seal_struct_hash(DOMAIN, row.number, 0, row.beacon_round, seed, digest, (bits,))
        signatures = tuple(self.signers[self.owner_at(position)](seal_digest(DOMAIN, seal)) for position in (0, 1))
        self.send(sender, RoundCall(row.number, SealRound(0, digest, (bits,), (0, 1), signatures)))

    def ballot(
        self, position: int, votes: Mapping[int, Vote] | None = None, grades: bytes = bytes(COHORTS), score: int = 0
    ) -> Ballot:
        assert self.state.round is not None
        given = GOOD if votes is None else votes
        verdicts = bytes(given.get(cohort, Vote.UNAVAILABLE) for cohort in range(COHORTS))
        sums = tuple(SUMS[cohort] if verdicts[cohort] else bytes(32) for cohort in range(COHORTS))
        salt = digest_of("salt", self.number, position)
        return Ballot(self.state.round.seal, MODEL, verdicts, grades, score, sums, salt)

    def commit(self, ballots: Mapping[int, Ballot], sender: bytes = STRANGER) -> None:
        self.send(sender, self.commitments(ballots))

    def commitments(self, ballots: Mapping[int, Ballot]) -> RoundCall:
        """What commits to these ballots, signed by whose they are."""
        commitments, signatures = [], []
        for position, b in sorted(ballots.items()):
            marks = pack_marks(position, b.score_micro, b.verdicts, b.grades)
            terms = (b.base_model_digest, b.aggregate_digests, b.salt)
            commitments.append(ballot_commitment(DOMAIN, self.number, b.seal, marks, *terms))
            digest = commit_digest(DOMAIN, self.number, b.seal, position, commitments[-1])
            signatures.append(self.signers[self.owner_at(position)](digest))
        call = CommitRound(tuple(sorted(ballots)), tuple(commitments), tuple(signatures))
        return RoundCall(self.number, Commitments(get_seal_statement(self.record), call))

    def settlement(self, ballots: Mapping[int, Ballot]) -> Settlement:
        return make_settlement(self.record, ballots)

    def settle(self, ballots: Mapping[int, Ballot], sender: bytes = STRANGER) -> None:
        self.send(sender, RoundCall(self.number, self.settlement(ballots)))

    def run_round(
        self, absent: Iterable[bytes] = (), silent: Iterable[int] = (), votes: Mapping[int, Vote] | None = None
    ) -> SettledRecord:
        """A whole round; ``silent`` positions do not vote, the others ``votes``."""
        number = self.number
        self.seal(absent=absent)
        ballots = {p: self.ballot(p, votes) for p in range(VALIDATORS) if p not in set(silent)}
        self.commit(ballots)
        row = self.state.round
        assert row is not None
        if len(ballots) < VALIDATORS:
            self.now_s = row.commit_deadline_s + self.params.commit_seconds + 1
        self.settle(ballots)
        return self.settled(number)

    def settled(self, number: int) -> SettledRecord:
        settled = self.history.rounds[number].settled
        assert settled is not None
        return settled.record
