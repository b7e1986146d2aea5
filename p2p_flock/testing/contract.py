"""The alliance contract's rules over many rounds, in memory: seats, keys, strikes, slashes, rounds, money.

What ``contracts/src`` does, in Python, without gas: every transaction is run against a :class:`State` and either
changes it and logs, or is refused with the contract's error name and changes nothing. ``ledger.py`` puts transactions
into blocks and takes them back. Not checked here because no machine depends on it: the beacon's signature inside a seal
(the beacon's value is known), gas, ERC-20 approvals, peer IDs, the text of addresses. Of a settled round the contract
keeps the record's hash, here it keeps the record. Challenges of absence are missing: nodes join no alliance with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from p2p_flock.alliance.allowlist import NO_ALLOWLIST, is_on_allowlist
from p2p_flock.alliance.evidence import Court, Evidence, check_evidence, fault_of, round_of
from p2p_flock.alliance.sortition import compute_assignment, compute_seed
from p2p_flock.alliance.suspicion import advance_run
from p2p_flock.chain_events import (
    AllianceClosed,
    KeyRegistered,
    RoundOpened,
    RoundVoided,
    SeatJoined,
    SeatLeft,
    SeatMoved,
    SeatReactivated,
    SeatRemoved,
    SeatSuspected,
    SeatSuspended,
    SettledRecord,
    Slashed,
    StakeWithdrawn,
)
from p2p_flock.errors import EvidenceError
from p2p_flock.params import AllianceParams
from p2p_flock.ports import Recoverer
from p2p_flock.testing.contract_state import (
    CLOSED,
    RUNNING,
    WAITING,
    Join,
    Leave,
    Log,
    MemberCall,
    MemberRow,
    Reactivate,
    Refused,
    RegisterKey,
    RoundRow,
    Slash,
    State,
    Suspend,
    SuspendSuspected,
    Withdraw,
    require,
)
from p2p_flock.types import Assignment, CohortOutcome, Domain

BPS, BENEFICIARY_BPS = 10_000, 1_000
REMOVALS_PER_OPEN_MAX, QUEUE_STEPS_PER_OPEN_MAX = 4, 16
BEACON_PERIOD_S = 1  # as the local devnet's: beacon round n is published at second n


class Contract:
    """One alliance contract: its immutable terms and its code. The state is an argument of everything.

    Attributes:
        randomness: the beacon's value of a beacon round, known to all from its publication on.
    """

    def __init__(
        self,
        domain: Domain,
        params: AllianceParams,
        creator: bytes,
        recover: Recoverer,
        randomness: Callable[[int], bytes],
    ) -> None:
        self.domain, self.params, self.creator, self.recover = domain, params, creator, recover
        self.randomness = randomness
        self._assignments: dict[tuple[bytes, int], Assignment] = {}

    def assignment(self, seed: bytes, seat_count: int) -> Assignment:
        """Who sits where under a seed; the contract computes single positions of the same permutation."""
        known = self._assignments.get((seed, seat_count))
        if known is None:
            known = self._assignments[seed, seat_count] = compute_assignment(seed, seat_count, self.params)
        return known

    def run_member_call(self, state: State, sender: bytes, call: MemberCall, log: Log) -> None:
        """Run one transaction about seats, keys and stakes; ``contract_rounds.execute`` runs any.

        Raises:
            Refused: it reverts; nothing was changed.
        """
        match call:
            case Join():
                self._join(state, sender, call, log)
            case Leave():
                self._leave(state, sender, log)
            case RegisterKey():
                self._register_key(state, sender, call, log)
            case Suspend():
                self._suspend(state, call, log)
            case SuspendSuspected():
                self._suspend_suspected(state, call, log)
            case Reactivate():
                self._reactivate(state, sender, call, log)
            case Slash():
                self._slash_by(state, sender, call.evidence, log)
            case Withdraw():
                self._withdraw(state, sender, log)
            case _:
                assert_never(call)

    # --- seats -------------------------------------------------------------------------------------------------

    def _join(self, state: State, sender: bytes, call: Join, log: Log) -> None:
        member = state.members.get(sender)
        require(state.phase != CLOSED, "AllianceIsClosed")
        deadline_s = self.params.join_deadline_s
        require(deadline_s == 0 or log.timestamp_s <= deadline_s, "JoinDeadlinePassed")
        root = self.params.allowlist_root
        require(root == NO_ALLOWLIST or is_on_allowlist(root, sender, call.allowlist_proof), "NotOnAllowlist")
        require(1 <= call.weight <= self.params.weight_max, "WrongWeight")
        require(len(state.seats) < self.params.seat_count_max, "NoSeatFree")
        require(member is None or not member.seated, "AlreadySeated")
        require(member is None or member.stake == 0, "StakeNotWithdrawn")
        require(state.balances.get(sender, 0) >= self.params.seat_stake, "ERC20InsufficientBalance")
        self._require_fresh(member, call.mask_key)
        stake = self.params.seat_stake
        base = MemberRow(
            0, False, False, False, False, call.weight, 0, state.next_round, 0,
            0 if member is None else member.key_generation, stake, 0, b"", b"", call.peer_id,
        )  # fmt: skip
        row = self._seat(state, sender, base, call.mask_key)
        state.balances[sender] -= stake
        state.stakes += stake
        log.events.append(
            SeatJoined(log.at, row.seat, sender, call.peer_id, call.mask_key, call.weight, row.joined_round, bytes(64))
        )
        self._open_if_awaited(state, log)

    def _open_if_awaited(self, state: State, log: Log) -> None:
        if state.phase == WAITING and len(state.seats) >= self.seats_needed(state):
            self.open_round(state, log)

    def _seat(self, state: State, owner: bytes, member: MemberRow, mask_key: bytes) -> MemberRow:
        row = replace(
            member, seat=len(state.seats), seated=True, joined_round=state.next_round, key_round=state.running,
            key_generation=member.key_generation + 1, releases_at_s=0, mask_key=mask_key, previous_key=b"",
        )  # fmt: skip
        state.members[owner] = row
        self._note_seat(state, owner, row.seat)
        state.seats += (owner,)
        return row

    def _note_seat(self, state: State, owner: bytes, seat: int) -> None:
        history = [entry for entry in state.seat_history.get(owner, ()) if entry[0] != state.next_round]
        state.seat_history[owner] = (*history, (state.next_round, seat))

    def _require_fresh(self, member: MemberRow | None, mask_key: bytes) -> None:
        known = (b"", bytes(32)) if member is None else (b"", bytes(32), member.mask_key, member.previous_key)
        require(mask_key not in known, "WrongMaskKey")

    def _seated(self, state: State, owner: bytes) -> MemberRow:
        require(state.phase != CLOSED, "AllianceIsClosed")
        member = state.members.get(owner)
        if member is None or not member.seated:
            raise Refused("NotSeated")
        return member

    def _leave(self, state: State, sender: bytes, log: Log) -> None:
        member = self._seated(state, sender)
        require(not member.leaving or state.phase == WAITING, "AlreadyLeaving")
        self._let_go(state, sender, log)

    def _let_go(self, state: State, owner: bytes, log: Log) -> None:
        if state.phase == WAITING:
            self._remove_seat(state, owner, log)
        else:
            self._queue_removal(state, owner, log)

    def _queue_removal(self, state: State, owner: bytes, log: Log) -> None:
        member = state.members[owner]
        state.members[owner] = replace(member, leaving=True)
        state.queue += (owner,)
        log.events.append(SeatLeft(log.at, member.seat, owner))

    def _remove_seat(self, state: State, owner: bytes, log: Log) -> None:
        member, last = state.members[owner], len(state.seats) - 1
        if member.seat != last:
            moved = state.seats[last]
            state.seats = (*state.seats[: member.seat], moved, *state.seats[member.seat + 1 :])
            state.members[moved] = replace(state.members[moved], seat=member.seat)
            self._note_seat(state, moved, member.seat)
            log.events.append(SeatMoved(log.at, moved, last, member.seat))
        state.seats = state.seats[:last]
        self._note_seat(state, owner, -1)
        released_s = log.timestamp_s + self.params.unbonding_seconds
        state.members[owner] = replace(member, leaving=False, seated=False, releases_at_s=released_s)
        log.events.append(SeatRemoved(log.at, member.seat, owner))

    def _register_key(self, state: State, sender: bytes, call: RegisterKey, log: Log) -> None:
        member = self._seated(state, sender)
        self._require_fresh(member, call.mask_key)
        require(member.key_round != state.running, "KeyAlreadyRegistered")
        state.members[sender] = replace(
            member, previous_key=member.mask_key, mask_key=call.mask_key, key_round=state.running,
            key_generation=member.key_generation + 1,
        )  # fmt: skip
        log.events.append(
            KeyRegistered(log.at, member.seat, sender, call.mask_key, state.running, member.key_generation + 1)
        )

    def _withdraw(self, state: State, sender: bytes, log: Log) -> None:
        member = state.members.get(sender)
        if member is None or member.stake == 0:
            raise Refused("NothingToWithdraw")
        require(not member.seated or state.phase == CLOSED, "StillSeated")
        releases_at_s = state.since_s + self.params.unbonding_seconds if member.seated else member.releases_at_s
        require(log.timestamp_s >= releases_at_s, "Unbonding")
        state.members[sender] = replace(member, seated=False, suspended=False, suspected=False, slashed=False, stake=0)
        state.stakes -= member.stake
        state.balances[sender] += member.stake
        log.events.append(StakeWithdrawn(log.at, sender, member.stake))

    # --- strikes and slashes -------------------------------------------------------------------------------------

    def _suspend(self, state: State, call: Suspend, log: Log) -> None:
        member = self._seated(state, call.owner)
        require(not member.leaving, "AlreadyLeaving")
        for record in (call.first, call.second):
            self.require_record(state, record)
        first, second = call.first.round, call.second.round
        self._require_last(state, second)
        self._require_next(state, first, second)
        require(first >= member.joined_round, "NotAbsent")
        for record in (call.first, call.second):
            position = self.position_in(state, call.owner, record)
            require(position is not None and not self.took_part(record, position), "NotAbsent")
        state.members[call.owner] = replace(member, suspended=True)
        log.events.append(SeatSuspended(log.at, member.seat, call.owner, first, second))
        self._let_go(state, call.owner, log)

    def _require_last(self, state: State, number: int) -> None:
        unsettled = state.void_count + (state.phase == RUNNING)
        require(number + unsettled + 1 == state.next_round, "NotConsecutive")

    def _require_next(self, state: State, first: int, second: int) -> None:
        require(first < second, "NotConsecutive")
        require(not any(number in state.settled for number in range(first + 1, second)), "NotConsecutive")

    def _suspend_suspected(self, state: State, call: SuspendSuspected, log: Log) -> None:
        require(state.phase != CLOSED, "AllianceIsClosed")
        bound, records = self.params.suspicion_bound, call.records
        require(bound > 0, "SuspicionIsOff")
        member = self._seated(state, call.owner)
        require(not member.leaving, "AlreadyLeaving")
        require(bool(records), "NotConsecutive")
        first, last = records[0].round, records[-1].round
        require(first >= member.tenure_round, "RoundBeforeTenure")
        self._require_last(state, last)
        run = 0
        for index, record in enumerate(records):
            self.require_record(state, record)
            if index:
                self._require_next(state, records[index - 1].round, record.round)
            outcome = self._outcome_of(state, call.owner, record)
            run = run if outcome is None else advance_run(run, outcome)
        require(run >= bound, "NotSuspected")
        state.members[call.owner] = replace(member, suspected=True)
        log.events.append(SeatSuspected(log.at, member.seat, call.owner, first, last))
        self._let_go(state, call.owner, log)

    def _outcome_of(self, state: State, owner: bytes, record: SettledRecord) -> CohortOutcome | None:
        """Of the cohort in which it was a sealed trainer; ``None`` where it was not."""
        position = self.position_in(state, owner, record)
        index = -1 if position is None else position - self.params.validator_count
        if position is None or index < 0 or not self.took_part(record, position):
            return None
        assignment = self.assignment(record.seed, record.seat_count)
        return CohortOutcome(record.outcomes >> 2 * assignment.cohort_of(assignment.trainers[index]) & 3)

    def require_record(self, state: State, record: SettledRecord) -> None:
        """Raises :class:`Refused` where it is not what the round was settled with."""
        require(state.settled.get(record.round) == record, "WrongRecord")

    def position_in(self, state: State, owner: bytes, record: SettledRecord) -> int | None:
        """The owner's place in a settled round's order; ``None`` where it had no seat in it."""
        history = state.seat_history.get(owner, ())
        seat = next((s for since, s in reversed(history) if since <= record.round), -1)
        if not 0 <= seat < record.seat_count:
            return None
        assignment = self.assignment(record.seed, record.seat_count)
        return (*assignment.validators, *assignment.trainers).index(seat)

    def took_part(self, record: SettledRecord, position: int) -> bool:
        """As a validator revealed, as a trainer sealed, in a settled round."""
        if position < self.params.validator_count:
            return bool(record.revealed >> position & 1)
        index = position - self.params.validator_count
        return bool(record.survivors[index // 256] >> index % 256 & 1)

    def _reactivate(self, state: State, sender: bytes, call: Reactivate, log: Log) -> None:
        require(state.phase != CLOSED, "AllianceIsClosed")
        member = state.members.get(sender)
        require(member is None or not member.suspected, "SeatIsSuspected")
        if member is None or not member.suspended:
            raise Refused("NotSuspended")
        require(not member.slashed, "AlreadySlashed")
        require(not member.seated, "StillSeated")
        require(len(state.seats) < self.params.seat_count_max, "NoSeatFree")
        self._require_fresh(member, call.mask_key)
        row = self._seat(state, sender, replace(member, suspended=False), call.mask_key)
        log.events.append(
            SeatReactivated(log.at, row.seat, sender, call.mask_key, row.key_generation, row.joined_round)
        )
        self._open_if_awaited(state, log)

    def _slash_by(self, state: State, sender: bytes, evidence: Evidence, log: Log) -> None:
        court = Court(
            self.domain,
            self.params.threshold,
            self.verify_beacon,
            self.recover,
        )
        try:
            culprits = check_evidence(court, evidence)
        except EvidenceError:
            raise Refused("NoProof") from None
        number = round_of(evidence)
        for owner in culprits:
            member = state.members.get(owner)
            require(member is not None and member.stake > 0 and number >= member.tenure_round, "NotSlashable")
        fresh = [owner for owner in dict.fromkeys(culprits) if not state.members[owner].slashed]
        require(bool(fresh), "AlreadySlashed")
        for owner in fresh:
            self._slash(state, sender, owner, number, fault_of(evidence).value, log)

    def _slash(self, state: State, sender: bytes, owner: bytes, number: int, fault: int, log: Log) -> None:
        member = state.members[owner]
        amount = member.stake * self.params.provable_slash_bps // BPS
        reward = amount * BENEFICIARY_BPS // BPS
        state.members[owner] = replace(member, slashed=True, stake=member.stake - amount)
        state.stakes -= amount
        state.pool += amount
        self.credit_from_pool(state, sender, reward)
        log.events.append(Slashed(log.at, owner, member.seat, number, fault, amount, sender))
        if state.phase == CLOSED:
            self.credit_from_pool(state, self.creator, amount - reward)
        elif member.seated and not member.leaving:
            self._queue_removal(state, owner, log)

    # --- money ---------------------------------------------------------------------------------------------------

    def reserve(self, state: State, amount: int) -> None:
        """pool → owed."""
        assert 0 <= amount <= state.pool, "the pool always holds what a round earns"
        state.pool -= amount
        state.owed += amount

    def credit_from_pool(self, state: State, account: bytes, amount: int) -> None:
        """pool → what this account may claim."""
        self.reserve(state, amount)
        state.credits[account] = state.credits.get(account, 0) + amount

    # --- open and close ------------------------------------------------------------------------------------------

    def seats_needed(self, state: State) -> int:
        """Seats at which the next round opens."""
        params = self.params
        if state.next_round == 0:
            return params.seat_count_min
        return params.validator_count + params.cohort_count * params.survivors_min

    def open_round(self, state: State, log: Log) -> None:
        """OPEN, or wait for seats."""
        self._remove_leaving(state, log)
        if len(state.seats) < self.seats_needed(state):
            if state.phase != WAITING:
                state.since_s = log.timestamp_s
            state.phase, state.round = WAITING, None
            return
        slot_s = self.params.opening_slot_seconds
        scheduled_s = log.timestamp_s // slot_s * slot_s + slot_s
        beacon_round = -(-scheduled_s // BEACON_PERIOD_S) + self.params.beacon_margin - 1
        opened = RoundOpened(log.at, state.next_round, len(state.seats), beacon_round, beacon_round * BEACON_PERIOD_S)
        state.phase, state.next_round = RUNNING, state.next_round + 1
        state.round = RoundRow(opened.round, beacon_round, opened.opens_at_s, opened.seat_count)
        log.events.append(opened)

    def _remove_leaving(self, state: State, log: Log) -> None:
        removed = steps = 0
        while steps < min(QUEUE_STEPS_PER_OPEN_MAX, len(state.queue)) and removed < REMOVALS_PER_OPEN_MAX:
            owner = state.queue[steps]
            steps += 1
            if state.members[owner].leaving:
                self._remove_seat(state, owner, log)
                removed += 1
        state.queue = state.queue[steps:]

    def close(self, state: State, log: Log) -> None:
        """CLOSED: nothing changes any more but claims, withdrawals and slashes."""
        state.phase, state.since_s, state.round = CLOSED, log.timestamp_s, None
        self.credit_from_pool(state, self.creator, state.pool)
        log.events.append(AllianceClosed(log.at, state.running))

    def seal_deadline_s(self, row: RoundRow) -> int:
        """Chain time of the last second in which the round may be sealed."""
        return row.opens_at_s + self.params.train_seconds + self.params.seal_seconds * self.params.validator_count

    def verify_beacon(self, beacon_round: int, signature: bytes) -> bytes | None:
        """Stands in for the beacon contract: the randomness itself is the signature."""
        return signature if signature == self.randomness(beacon_round) else None

    def seed_of(self, row: RoundRow) -> bytes:
        """What the round's beacon value gives."""
        return compute_seed(self.domain, row.number, self.randomness(row.beacon_round))

    def end_void(self, state: State, log: Log, reason: int) -> None:
        """Log the void and go on."""
        state.void_count += 1
        log.events.append(RoundVoided(log.at, state.running, reason))
        if state.void_count == self.params.void_count_max:
            self.close(state, log)
        else:
            self.open_round(state, log)
