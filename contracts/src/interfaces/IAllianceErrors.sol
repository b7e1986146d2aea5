// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Why an alliance refuses. Each error says what is wrong and what to do.
interface IAllianceErrors {
    /// Only the factory that made this clone may initialize it, once; create alliances through the factory.
    error NotFactory();
    /// The alliance has closed; claim rewards and withdraw the stake.
    error AllianceIsClosed();
    /// The alliance has no running round, it waits for seats; wait for RoundOpened.
    error NoRunningRound();
    /// `round` is not the current round; read roundState() and act on `current`.
    error WrongRound(uint32 current);
    /// The parameters signed up to are not this alliance's; read params() again.
    error WrongParameters(bytes32 expected);
    /// The stake exceeds the loss the joiner accepts; raise maximumLoss or stay out.
    error StakeAboveMaximumLoss(uint128 seatStake);
    /// This owner already has its one seat.
    error AlreadySeated();
    /// This owner's last stake is still here; withdraw it when it is released, then join again.
    error StakeNotWithdrawn(uint64 releaseAt);
    /// Nobody joins after the alliance's join deadline; look for another alliance.
    error JoinDeadlinePassed(uint64 joinDeadline);
    /// The sender is not on the alliance's allowlist, or the proof is not that of its place there; read the log of
    /// AllianceCreated.
    error NotOnAllowlist();
    /// All seats are taken; wait for SeatRemoved.
    error NoSeatFree();
    /// The peer ID must have 1 to 64 bytes.
    error WrongPeerId();
    /// The peer's signature must have 64 bytes (Ed25519).
    error WrongPeerSignature();
    /// The mask key is zero or the one already registered; make a new one.
    error WrongMaskKey();
    /// The weight must be from 1 to params().weightMax.
    error WrongWeight();
    /// The sender has no seat; join first.
    error NotSeated();
    /// The seat is already queued for removal; wait for SeatRemoved.
    error AlreadyLeaving();
    /// A key was already registered in this round; wait for the next round to open.
    error KeyAlreadyRegistered(uint32 round);
    /// More bytes of addresses than the log takes; send fewer.
    error AddressesTooLong(uint256 bytesMax);
    /// The owner had no seat that counts in this round, or took part in it: it is no strike.
    error NotAbsent(uint32 round);
    /// These are not the rounds settled last, each once and none left out; read the log of RoundSettled.
    error NotConsecutive();
    /// The alliance has no suspicion bound, so nobody is suspended for rejected cohorts.
    error SuspicionIsOff();
    /// The owner's tenure began after this round; show the records from its first round on.
    error RoundBeforeTenure(uint32 round);
    /// So many rejections in a row do not reach the bound; wait, or show earlier rounds too.
    error NotSuspected(uint256 rejections);
    /// This owner was suspended for its rejected cohorts and takes no seat again with this stake; withdraw, then join anew.
    error SeatIsSuspected();
    /// This owner is not suspended; join if it has no seat.
    error NotSuspended();
    /// The signer holds no stake here, or the statement is older than its tenure, or nobody signed it (owner zero: the
    /// signature is malformed or malleable).
    error NotSlashable(address owner);
    /// The stake was slashed in this tenure, which it can be once; withdraw the rest, then join again.
    error AlreadySlashed();
    /// The seat still takes part; leave, or wait for it to be removed or for the alliance to close.
    error StillSeated();
    /// The stake is not free before `releaseAt`.
    error Unbonding(uint64 releaseAt);
    /// There is no stake of this sender.
    error NothingToWithdraw();
    /// There is no reward of this sender, or the rounds named were claimed.
    error NothingToClaim();
    /// The round is not open before `opensAt`.
    error NotOpenYet(uint64 opensAt);
    /// The phase ended at `deadline`; read roundState().
    error DeadlinePassed(uint64 deadline);
    /// The deadline has not passed; wait.
    error DeadlineNotPassed(uint64 deadline);
    /// The round has its seal: the first valid one counts.
    error AlreadySealed();
    /// The round is not sealed; seal it first.
    error NotSealed();
    /// The view must be below the number of validators.
    error WrongView();
    /// Every cohort has fewer survivors than it needs; collect more contributions or let the round become void.
    error TooFewSurvivors();
    /// Fewer signatures than the quorum, or not 65 bytes (and in commitRound one commitment) for each position; collect
    /// `quorum` of them.
    error WrongSignatureCount(uint256 quorum);
    /// Positions must be below the number of validators, and those of ballots strictly increasing.
    error WrongPosition(uint256 position);
    /// The signature is malformed, malleable or not by the owner of the seat at `position`; ask for it again.
    error WrongSignature(uint256 position);
    /// The statement is not the seal of this round; read the log of RoundSealed.
    error WrongSeal();
    /// The commitment of this position is zero.
    error WrongCommitment(uint256 position);
    /// This position has no commitment, so it has no ballot; leave it out.
    error BallotNotCommitted(uint256 position);
    /// Ballots, order and unopened commitments together are not what was committed; read the log of BallotsCommitted.
    error WrongCommitments();
    /// This call ends the round, and the ballot of this position was revealed before; bring it too (BallotsRecorded).
    error MissingBallot(uint256 position);
    /// The ballot has the wrong number of digests, an unknown verdict, a yes without digest, a grade without yes, a
    /// score above 1,000,000, or marks where there must be none.
    error MalformedBallot(uint256 position);
    /// Commitments may still arrive until `deadline`; reveal after it.
    error CommitPhaseNotOver(uint64 deadline);
    /// The transaction would change nothing: all its entries are known already; drop it.
    error NothingNew();
    /// The round has commitments, so it is settled and not voided; call settleRound.
    error RoundHasCommitments();
    /// This is not the record of a settled round; read the log of RoundSettled.
    error WrongRecord(uint32 round);
    /// A round runs; only an alliance that waits for seats can be closed.
    error RoundIsRunning();
}
