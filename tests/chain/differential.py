"""Random rounds played on the real contract, with everybody's keys at hand. Support for ``test_differential.py``.

The chain is anvil with its clock turned and all accounts impersonated; signatures are real. What a round must come to
is said by ``alliance/reference.py``, or by ``alliance/pay.py`` alone where votes name different aggregates.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from p2p_flock.alliance.pay import NOBODY, RoundFacts, Senders, compute_record, compute_total
from p2p_flock.alliance.reference import RoundInputs, RoundOutputs, run_round
from p2p_flock.alliance.sortition import compute_assignment, compute_seed
from p2p_flock.alliance.suspicion import advance_run
from p2p_flock.alliance.voting import compute_tally
from p2p_flock.chain.beacon import compute_randomness, sign_beacon, uncompress_g1
from p2p_flock.chain.contracts import address_bytes, compute_params_hash, load_contract, params_to_abi
from p2p_flock.chain.devnet_beacon import SECRET_KEY
from p2p_flock.chain_events import SettledRecord
from p2p_flock.crypto.signing import (
    address_of,
    ballot_commitment,
    commit_digest,
    pack_marks,
    seal_digest,
    seal_struct_hash,
    sign,
)
from p2p_flock.params import AllianceParams
from p2p_flock.testing.alliance import digest_of, make_model, make_params, make_task
from p2p_flock.types import CohortOutcome, Domain, Seat, Vote
from p2p_flock.wire.messages import Ballot
from tests.chain.rehearsal import CHAIN_ID, HOLDER, Rehearsal

REWARDS_WEI = (0, 1, 7, 10_007, 10**18, 10**24 + 1)
MANIFEST_DIGEST, BASE_MODEL = digest_of("sealed manifest"), digest_of("base model")


def draw_params(generator: random.Random, rounds: int) -> AllianceParams:
    """Committees, cohorts, thresholds and rewards of all sizes."""
    validators, cohorts = generator.randint(1, 7), generator.randint(1, 4)
    threshold = generator.randint(3, 4)
    owners = generator.randint(threshold, 2 * threshold - 1)  # the complete graph: 2t > n + c
    seats = validators + cohorts * owners
    bound = generator.randint(0, 3) if cohorts > 1 else 0
    return replace(
        make_params(validators, cohorts, seats),
        threshold=threshold,
        reward_per_round=generator.choice(REWARDS_WEI),
        round_count=rounds,
        void_count_max=1000,
        suspicion_bound=bound,
    )


@dataclass
class Round:
    """One round as it was opened, and everything that its members will do."""

    number: int
    beacon_round: int
    opens_at_s: int
    inputs: RoundInputs
    committed: tuple[int, ...] = ()
    revealed: tuple[int, ...] = ()
    ballots: dict[int, Ballot] = field(default_factory=dict)


class RandomAlliance:
    """An alliance whose rounds are drawn by ``generator`` and played to their end, one after the other."""

    def __init__(self, chain: Rehearsal, generator: random.Random, params: AllianceParams) -> None:
        self.chain, self.params = chain, params
        self._random = generator
        self._contract = load_contract("Alliance")
        self._token = load_contract("FlockToken")
        self._secrets = [digest_of("owner", generator.random(), seat) for seat in range(params.seat_count_min)]
        self.owners = [address_of(secret) for secret in self._secrets]
        self.records: list[SettledRecord] = []
        self._said: list[dict[bytes, CohortOutcome]] = []  # of each of them
        names = ("settled", "void", "messy", "recorded first", "undecided", "bonus", "suspected")
        self.counts = dict.fromkeys(names, 0)
        self.outcomes: set[CohortOutcome] = set()
        self._create()

    # --- setting up ----------------------------------------------------------------------------------------------

    def _create(self) -> None:
        chain, factory = self.chain, load_contract("AllianceFactory")
        pool = self.params.reward_per_round * self.params.round_count
        approve = self._token.functions["approve"]
        chain.send(HOLDER, chain.token, approve.encode(chain.factory, pool))
        create = factory.functions["create"].encode(params_to_abi(self.params), pool, "differential", [])
        chain.send(HOLDER, chain.factory, create)
        (number,) = chain.view(factory, chain.factory, "allianceCount")
        (self.address,) = (address_bytes_of(chain.view(factory, chain.factory, "alliances", number)[0]),)
        self.domain = Domain(CHAIN_ID, self.address, int(number))
        transfer = self._token.functions["transfer"]
        for seat, owner in enumerate(self.owners):
            chain.fund(owner)
            chain.send(HOLDER, chain.token, transfer.encode(owner, self.params.seat_stake))
            chain.send(owner, chain.token, approve.encode(self.address, self.params.seat_stake))
            request = (
                *(b"peer %d" % seat, digest_of("key", seat), 1 + seat % self.params.weight_max),
                *(compute_params_hash(self.params), self.params.seat_stake, bytes(64), []),
            )
            receipt = self._send(owner, "join", request)
        self._opened = self._event(receipt, "RoundOpened")

    def _send(self, sender: bytes, function: str, *arguments: object) -> Any:
        return self.chain.send(sender, self.address, self._contract.functions[function].encode(*arguments))

    def _event(self, receipt: Any, name: str) -> dict[str, Any] | None:
        for log in receipt["logs"]:
            topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
            event = self._contract.events.get(topics[0])
            if event is not None and event.name == name:
                return event.decode(topics, bytes.fromhex(log["data"][2:]))
        return None

    def view(self, function: str, *arguments: object) -> tuple[Any, ...]:
        """The values of a view of the alliance."""
        return self.chain.view(self._contract, self.address, function, *arguments)

    # --- a round ---------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether a round runs."""
        return self._opened is not None

    def play_round(self) -> None:
        """Draw a round, play it, and compare what the contract logged with what the reference says."""
        drawn = self._draw()
        outputs = run_round(drawn.inputs)
        self.chain.pass_until(drawn.opens_at_s)
        if outputs.record is None:
            self._void()
            return
        seal, digest, sealer = self._seal(drawn, outputs)
        self._vote(drawn, outputs, digest)
        if not drawn.committed:
            self._void()
            return
        committer, order = self._commit(drawn, seal, digest)
        settler, settled = self._settle(drawn, seal, order)
        expected = self._expect(drawn, outputs, Senders(sealer, committer, settler))
        record = SettledRecord(*as_plain(SettledRecord(*settled["record"])))
        assert as_plain(record) == as_plain(expected), (self.params, drawn)
        self._count(record, settled)
        if self.is_open:
            self._suspect(drawn.number)

    def _draw(self) -> Round:
        opened, generator, params = self._opened, self._random, self.params
        assert opened is not None
        value = sign_beacon(SECRET_KEY, opened["beaconRound"])
        randomness = compute_randomness(value)
        number, seat_count = opened["round"], opened["seatCount"]
        seed = compute_seed(self.domain, number, randomness)
        roles = compute_assignment(seed, seat_count, params)
        seats = [Seat(i, owner, f"peer {i}", 1, digest_of("key", i)) for i, owner in enumerate(self.owners)]
        luck = generator.choice((0.6, 0.9, 1.0))
        trainers = list(roles.trainers)
        held = {
            validator: frozenset(seat for seat in trainers if generator.random() < luck)
            for validator in roles.validators
        }
        task, model = make_task(), make_model()
        width = task.width(model.stage)
        committing = generator.choice((0.0, 0.7, 1.0, 1.0, 1.0))
        revealing = generator.choice((0.5, 0.9, 1.0))
        positions = [p for p in range(params.validator_count) if generator.random() < committing]
        revealed = [p for p in positions if generator.random() < revealing]
        good = [generator.random() < 0.7 for _ in range(params.cohort_count)]
        verdicts = {
            roles.validators[position]: {
                cohort: good[cohort] if generator.random() < 0.9 else not good[cohort]
                for cohort in range(params.cohort_count)
                if generator.random() < 0.95
            }
            for position in revealed
        }
        inputs = RoundInputs(
            domain=self.domain,
            round=number,
            params=params,
            manifest=task,
            model=model,
            seats=seats,
            randomness=randomness,
            values={seat: np.full(width, 0.01 * seat) for seat in trainers},
            entropy={seat: digest_of("entropy", number, seat) for seat in trainers},
            held=held,
            answering=frozenset(seat for seat in trainers if generator.random() < 0.95),
            verdicts=verdicts,
            grades={
                seat: {cohort: generator.randint(0, 15) for cohort, vote in votes.items() if vote}
                for seat, votes in verdicts.items()
            },
        )
        return Round(number, opened["beaconRound"], opened["opensAt"], inputs, tuple(positions), tuple(revealed))

    def _void(self) -> None:
        (state,) = self.view("roundState")
        names = STATE_FIELDS
        deadline = state[names.index("commitDeadline")] or state[names.index("sealDeadline")]
        self.chain.pass_until(deadline + 1)
        before = self.view("getAccounts")
        receipt = self._send(HOLDER, "voidRound", state[0])
        assert self.view("getAccounts") == before  # a void round costs and pays nothing
        self.counts["void"] += 1
        self._opened = self._event(receipt, "RoundOpened")

    def _seal(self, drawn: Round, outputs: RoundOutputs) -> tuple[tuple[Any, ...], bytes, bytes]:
        assert outputs.record is not None
        generator, params = self._random, self.params
        words = list(outputs.record.survivors)
        view = generator.randrange(params.validator_count)
        terms = (drawn.number, view, drawn.beacon_round, outputs.seed, MANIFEST_DIGEST, words)
        digest = seal_digest(self.domain, seal_struct_hash(self.domain, *terms))
        quorum = params.validator_count // 2 + 1
        positions = sorted(
            generator.sample(range(params.validator_count), generator.randint(quorum, params.validator_count))
        )
        signatures = b"".join(sign(self._secret(outputs, position), digest) for position in positions)
        sealer = generator.choice(self.owners)
        beacon = uncompress_g1(sign_beacon(SECRET_KEY, drawn.beacon_round))
        signers = sum(1 << position for position in positions)
        receipt = self._send(
            sealer, "sealRound", drawn.number, view, beacon, MANIFEST_DIGEST, words, signers, signatures
        )
        sealed = self._event(receipt, "RoundSealed")
        assert sealed is not None and sealed["seed"] == outputs.seed
        return terms, bytes(sealed["seal"]), sealer

    def _secret(self, outputs: RoundOutputs, position: int) -> bytes:
        return self._secrets[outputs.assignment.validators[position]]

    def _vote(self, drawn: Round, outputs: RoundOutputs, seal: bytes) -> None:
        """The ballots of the committed; every seventh round some of them name another sum."""
        generator, params = self._random, self.params
        is_messy = generator.random() < 0.15
        self.counts["messy"] += is_messy
        for position in drawn.committed:
            seat = outputs.assignment.validators[position]
            votes, grades = drawn.inputs.verdicts.get(seat, {}), drawn.inputs.grades.get(seat, {})
            cohorts = range(params.cohort_count)
            usable = [votes.get(cohort) if cohort in outputs.sums else None for cohort in cohorts]
            verdicts = bytes(Vote.UNAVAILABLE if vote is None else Vote.YES if vote else Vote.NO for vote in usable)
            strange = generator.random() < 0.4 if is_messy else False
            self_digests = tuple(
                digest_of("other" if strange else "sum", cohort) if vote else bytes(32)
                for cohort, vote in enumerate(usable)
            )
            given = bytes(grades.get(cohort, 0) if vote else 0 for cohort, vote in enumerate(usable))
            drawn.ballots[position] = Ballot(
                seal,
                BASE_MODEL,
                verdicts,
                given,
                generator.randrange(1_000_001),
                self_digests,
                digest_of("salt", position),
            )
        if not is_messy:
            return
        drawn.inputs = replace(drawn.inputs, verdicts={}, grades={})

    def _commit(self, drawn: Round, seal: tuple[Any, ...], digest: bytes) -> tuple[bytes, tuple[int, ...]]:
        """One or two batches, the later perhaps with entries of the first; who came to the quorum, and the order."""
        generator, params = self._random, self.params
        roles = compute_assignment(seal[3], len(self.owners), params)
        split = generator.randint(0, len(drawn.committed)) if generator.random() < 0.3 else 0
        shuffled = generator.sample(drawn.committed, len(drawn.committed))
        batches = [sorted(shuffled[:split]), sorted(shuffled[split:] + shuffled[: split // 2])]
        committer, done, order = NOBODY, set(), []
        quorum = params.verdict_quorum
        for batch in batches:
            fresh = [position for position in batch if position not in done]
            if not fresh:
                continue
            commitments = [self._commitment(drawn, position, digest) for position in batch]
            signatures = b"".join(
                sign(
                    self._secrets[roles.validators[position]],
                    commit_digest(self.domain, drawn.number, digest, position, commitment),
                )
                for position, commitment in zip(batch, commitments, strict=True)
            )
            sender = generator.choice(self.owners)
            self._send(sender, "commitRound", seal, sum(1 << p for p in batch), commitments, signatures)
            if len(done) < quorum <= len(done) + len(fresh):
                committer = sender
            done.update(fresh)
            order += fresh
        return committer, tuple(order)

    def _commitment(self, drawn: Round, position: int, seal: bytes) -> bytes:
        ballot = drawn.ballots[position]
        marks = pack_marks(position, ballot.score_micro, ballot.verdicts, ballot.grades)
        return ballot_commitment(
            self.domain, drawn.number, seal, marks, ballot.base_model_digest, ballot.aggregate_digests, ballot.salt
        )

    def _settle(self, drawn: Round, seal: tuple[Any, ...], order: Sequence[int]) -> tuple[bytes, dict[str, Any]]:
        generator = self._random
        digest = next(iter(drawn.ballots.values())).seal
        names = STATE_FIELDS
        (state,) = self.view("roundState")
        if len(order) < self.params.validator_count:
            self.chain.pass_until(state[names.index("commitDeadline")] + 1)
        early = [position for position in drawn.revealed if generator.random() < 0.5]
        if early and generator.random() < 0.3 and len(early) < len(order):
            self.counts["recorded first"] += 1
            self._open(generator.choice(self.owners), drawn, seal, order, sorted(early), digest)
        (state,) = self.view("roundState")
        if len(drawn.revealed) < len(order):
            self.chain.pass_until(state[names.index("revealDeadline")] + 1)
        settler = generator.choice(self.owners)
        receipt = self._open(settler, drawn, seal, order, list(drawn.revealed), digest)
        settled = self._event(receipt, "RoundSettled")
        assert settled is not None
        self._opened = self._event(receipt, "RoundOpened")
        return settler, settled

    def _open(
        self, sender: bytes, drawn: Round, seal: tuple[Any, ...], order: Sequence[int], shown: list[int], digest: bytes
    ) -> Any:
        unopened = [self._commitment(drawn, position, digest) for position in order if position not in shown]
        ballots = []
        for position in sorted(shown):
            ballot = drawn.ballots[position]
            marks = pack_marks(position, ballot.score_micro, ballot.verdicts, ballot.grades)
            ballots.append((marks, ballot.base_model_digest, list(ballot.aggregate_digests), ballot.salt))
        return self._send(sender, "settleRound", seal, bytes(order), unopened, ballots)

    # --- what must come of it -----------------------------------------------------------------------------------------

    def _expect(self, drawn: Round, outputs: RoundOutputs, senders: Senders) -> SettledRecord:
        """The reference's record; where votes name different sums, the rules of voting and pay alone."""
        params = self.params
        ballots = {position: drawn.ballots[position] for position in drawn.revealed}
        if drawn.inputs.verdicts or not drawn.revealed:
            record = run_round(replace(drawn.inputs, senders=senders)).record
            assert record is not None
            return record
        assert outputs.record is not None
        sizes = [sum(seat in outputs.survivors for seat in cohort) for cohort in outputs.assignment.cohorts]
        tallies = [
            compute_tally(params.verdict_quorum, ballots, cohort, size < params.survivors_min)
            for cohort, size in enumerate(sizes)
        ]
        facts = RoundFacts(
            round=drawn.number,
            seat_count=len(self.owners),
            seed=outputs.seed,
            survivors=outputs.record.survivors,
            survivor_counts=tuple(sizes),
            outcomes=tuple(tally.outcome for tally in tallies),
            aggregate_digests=tuple(tally.aggregate_digest for tally in tallies),
            ballots=ballots,
        )
        return compute_record(params.reward_per_round, params.validator_count, params.verdict_quorum, facts, senders)

    def _count(self, record: SettledRecord, settled: dict[str, Any]) -> None:
        self.counts["settled"] += 1
        outcomes = [CohortOutcome(outcome) for outcome in settled["cohortOutcome"]]
        self.outcomes.update(outcomes)
        self.counts["undecided"] += CohortOutcome.UNDECIDED in outcomes
        base = self.params.reward_per_round * 4_000 // 10_000 // self.params.validator_count
        self.counts["bonus"] += max(record.validator_rewards) > base
        self.records.append(record)

    # --- suspicion ---------------------------------------------------------------------------------------------------

    def _suspect(self, number: int) -> None:
        """Some owner is suspected by some window of records just when ``alliance/suspicion.py`` counts that many.

        Asked, not done: the seats of these alliances stay.
        """
        self._said.append(self._outcomes_of(self.records[-1]))
        owner, first = self._random.choice(self.owners), self._random.randrange(len(self.records))
        if self._random.random() < 0.2:
            first = 0
        function, records = self._contract.functions["suspendSuspected"], [as_plain(r) for r in self.records[first:]]
        refusal = self.chain.refusal(HOLDER, self.address, function.encode(owner, records))
        run, bound = 0, self.params.suspicion_bound
        for said in self._said[first:]:
            run = advance_run(run, said[owner]) if owner in said else run
        assert self.records[-1].round == number
        self.counts["suspected"] += refusal is None
        if bound == 0:
            assert refusal == ("SuspicionIsOff", {})
        else:
            assert refusal == (None if run >= bound else ("NotSuspected", {"rejections": run}))

    def _outcomes_of(self, record: SettledRecord) -> dict[bytes, CohortOutcome]:
        """By owner, what was decided about the cohort in which it was a sealed trainer."""
        roles = compute_assignment(record.seed, record.seat_count, self.params)
        bits = sum(word << 256 * index for index, word in enumerate(record.survivors))
        return {
            self.owners[seat]: CohortOutcome(record.outcomes >> 2 * roles.cohort_of(seat) & 3)
            for index, seat in enumerate(roles.trainers)
            if bits >> index & 1
        }

    # --- the end -----------------------------------------------------------------------------------------------------

    def claim_everything(self) -> None:
        """Everybody claims all records, stakes are withdrawn, and nothing is left: conservation to the last wei."""
        stakes, pool, owed = self.view("getAccounts")
        earned = sum(compute_total(record, self._sizes(record)) for record in self.records)
        budget = self.params.reward_per_round * self.params.round_count
        assert (stakes, pool, owed) == (self.params.seat_stake * len(self.owners), 0, budget)
        records = [as_plain(record) for record in self.records]
        claimed = 0
        for owner in self.owners:
            due = 0
            for start in range(0, len(records), 32):
                page = records[start : start + 32]
                page_due = sum(self.view("getReward", owner, record)[0] for record in page)
                if page_due:
                    self._send(owner, "claimRounds", page)
                due += page_due
            claimed += due
        assert claimed == earned
        if budget > earned:
            self._send(HOLDER, "claim")  # the creator's residual
        assert self.view("getAccounts") == (stakes, 0, 0)
        self.chain.pass_until(self.chain.now_s + self.params.unbonding_seconds + 1)
        for owner in self.owners:
            self._send(owner, "withdraw")
        (left,) = self.chain.view(self._token, self.chain.token, "balanceOf", self.address)
        assert left == 0 and self.view("getAccounts") == (0, 0, 0)

    def _sizes(self, record: SettledRecord) -> list[int]:
        bits = sum(word << 256 * index for index, word in enumerate(record.survivors))
        roles = compute_assignment(record.seed, record.seat_count, self.params)
        flags = {seat: bits >> index & 1 for index, seat in enumerate(roles.trainers)}
        return [sum(flags[seat] for seat in cohort) for cohort in roles.cohorts]


STATE_FIELDS = (
    "round",
    "phase",
    "seatCount",
    "beaconRound",
    "opensAt",
    "trainDeadline",
    "sealDeadline",
    "sealedAt",
    "commitDeadline",
    "revealDeadline",
)


def as_plain(record: SettledRecord) -> tuple[Any, ...]:
    """A record as the ABI takes it: its fields in order, lists for arrays, 20 bytes for addresses."""
    values = (getattr(record, name) for name in SettledRecord.__dataclass_fields__)
    return tuple(
        list(value) if isinstance(value, list | tuple) else address_bytes_of(value) if isinstance(value, str) else value
        for value in values
    )


def address_bytes_of(value: Any) -> bytes:
    """An address as the decoder gives it, as bytes."""
    return value if isinstance(value, bytes) else address_bytes(value)
