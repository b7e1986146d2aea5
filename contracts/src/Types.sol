// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// What an alliance is created with, for ever. `paramsHash = keccak256(abi.encode(params))`: members sign up to it.
/// Bounds are checked by ParamsRules at creation, and named there.
struct AllianceParams {
    bytes32 manifestDigest; // of the task manifest, a content-addressed document
    uint128 seatStake; // FLOCK wei that every seat locks
    uint128 rewardPerRound; // FLOCK wei that one settled round may distribute
    uint32 roundCount; // settled rounds (adopted, rejected or undecided alike) until the alliance closes
    uint16 seatCountMin; // seats at which the first round opens; later ones need as many as committee and cohorts do
    uint16 seatCountMax; // seats at which joining ends
    uint8 validatorCount; // V
    uint8 cohortCount; // K
    uint8 threshold; // t, shares that recover a mask
    uint8 collusionBound; // c, owners of one cohort that may collude
    uint8 laneBits; // width of a lane, which names the ring that masked vectors live in
    uint32 levels; // q, clip levels of the fixed-point encoding
    uint32 weightMax; // largest public weight a seat may declare
    uint32 lossToleranceMicro; // loss increase, in millionths, that validators still accept
    uint32 trainSeconds;
    uint32 sealSeconds; // for each validator's turn as leader
    uint32 unmaskSeconds;
    uint32 evaluateSeconds;
    uint32 commitSeconds; // for each validator's turn as leader
    uint32 settleSeconds;
    uint32 openingSlotSeconds; // rounds are scheduled on multiples of this
    uint8 beaconMargin; // beacon rounds between schedule and opening, at least 1
    uint16 redrawRounds; // rounds after which cohorts are drawn anew
    uint32 penaltyWindowSeconds;
    uint32 unbondingSeconds;
    uint16 provableSlashBps;
    uint16 voidCountMax; // voids in a row that close the alliance
    uint16 absenceSlashBps; // what an unanswered challenge of absence takes of the stake; 0 switches challenges off
    uint32 scoreTargetMicro; // score, in millionths, at which the alliance ends early; 0 is none
    uint64 joinDeadline; // Unix seconds after which nobody joins; 0 is none. Reactivation stays possible
    bytes32 allowlistRoot; // Merkle root of the owners that may join, see IAllianceFactory.create; 0 is anyone
    uint8 suspicionBound; // rejections in a row from which on a seat is suspected, see IMembers; 0 is never
}

/// One seat as nodes see it. The key to use in round `r` is `maskKey` if `keyRound` < r or is "before round 0"
/// (the largest uint32), else `previousKey`.
struct SeatView {
    address owner;
    bytes peerId; // raw bytes of the libp2p peer ID
    bytes32 maskKey; // X25519
    uint32 keyRound; // round in which `maskKey` was registered
    bytes32 previousKey; // zero if there was none
    uint32 previousKeyRound;
    uint32 keyGeneration; // grows with every key of this owner, over all its seats
    uint32 weight;
    uint32 joinedRound; // first round whose seats may include this one
    bool leaving;
    bytes peerSignature; // Ed25519, checked by nodes and not by the contract
}

/// What an owner signs up with, see IMembers.join.
struct JoinRequest {
    bytes peerId; // raw bytes of the libp2p peer ID
    bytes32 maskKey; // X25519
    uint32 weight;
    bytes32 paramsHash; // keccak256(abi.encode(params))
    uint128 maximumLoss; // FLOCK wei
    bytes peerSignature; // Ed25519, 64 bytes
    bytes32[] allowlistProof; // siblings of the sender's leaf, from the bottom up; not looked at without an allowlist
}

/// A validator's opened vote of one round. `marks`, from the lowest bit:
///   0..15   the validator's position in leader order
///   16..47  scoreMicro: its own metric of the base model on its private data, at most 1,000,000; 0 is "not measured"
///   48..79  verdicts, 2 bits for each of 16 cohorts: 0 unavailable, 1 yes, 2 no; 3 is malformed
///   80..143 grades, 4 bits for each of 16 cohorts; zero unless the verdict is yes
/// All other bits, and those of cohorts that the alliance does not have, are zero.
struct Ballot {
    uint256 marks;
    bytes32 baseModelDigest; // the global model the validator started the round from; zero names none
    bytes32[] aggregateDigests; // one for each cohort; not zero where the verdict is yes
    bytes32 salt;
}

/// All that a settled round decided about money, strikes and suspicion. The contract keeps keccak256(abi.encode(record)); whoever
/// claims or accuses shows the record, which stands in the log of RoundSettled.
struct RoundRecord {
    uint32 round;
    uint16 seatCount; // N, frozen when the round opened
    uint64 revealed; // bitmap of validator positions
    uint32 outcomes; // 2 bits for each cohort, the first lowest: 0 undecided, 1 adopted, 2 rejected, 3 void
    bytes32 seed;
    uint256[] survivors; // bitmap over trainer indexes
    uint96[] trainerRewards; // for each cohort, what each of its survivors earned; 0 where not adopted
    uint96[] validatorRewards; // for each position, base pay and agreement bonus; 0 where not revealed
    uint96 refund; // what each of the three senders earned
    address sealer; // zero, as the committer, if fewer than ceil(2V/3) committed
    address committer; // who brought the commitments to ceil(2V/3)
    address settler; // who ended the round; zero if fewer than ceil(2V/3) revealed
}

/// A message that the owner of a seat signed for others: the envelope of p2p_flock/wire/WIRE.md.
struct Statement {
    uint32 round;
    uint8 kind; // 1 contribution, 2 unmasking, 3 have, 4 seal proposal, 5 seal signature, 6 ballot commitment, 7 ballot
    uint16 seat; // as the signer says
    bytes body; // canonical msgpack
    bytes signature; // 65 bytes r, s, v
}

/// An EIP-712 Seal of this alliance, whether it came to the chain or not.
struct SealStatement {
    uint32 round;
    uint32 leaderView;
    uint64 beaconRound;
    bytes32 seed;
    bytes32 manifestDigest;
    uint256[] survivors;
}

/// The path of one leaf among `count` under a contribution's root, siblings from the bottom up.
struct LeafProof {
    uint32 count;
    uint32 index;
    bytes32[] siblings;
}

/// A share as its dealer committed to it.
struct DealtShare {
    uint16 index; // place in holder order: the share is the polynomial's value at index + 1
    uint16 holder; // seat
    bytes32 share;
    LeafProof proof;
}

/// Everything a node polls for, in one call. Fields of a phase that was not reached are zero.
struct RoundState {
    uint32 round; // the current round, or the last one; the largest uint32 before round 0
    uint8 phase; // 0 waiting for seats, 1 open, 2 sealed, 3 revealing, 4 closed
    uint16 seatCount; // N, frozen when the round opened
    uint64 beaconRound;
    uint64 opensAt;
    uint64 trainDeadline;
    uint64 sealDeadline;
    uint64 sealedAt;
    uint64 commitDeadline; // the time of the last commitment once all are in
    uint64 revealDeadline;
    bytes32 seal; // EIP-712 hashStruct of the Seal; the log of RoundSealed holds what it was made of
    uint64 committedPositions;
    uint64 revealedPositions;
    uint16 commitCount;
    uint32 settledRoundCount;
    uint16 voidCount; // in a row
    uint64 timestamp; // of the block that answered
}
