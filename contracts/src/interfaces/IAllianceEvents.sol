// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, RoundRecord} from "../Types.sol";

/// @title What an alliance logs
interface IAllianceEvents {
    event SeatJoined(
        uint16 indexed seat,
        address indexed owner,
        bytes peerId,
        bytes32 maskKey,
        uint32 generation,
        uint32 weight,
        uint32 joinedRound,
        bytes peerSignature
    );
    event KeyRegistered(
        uint16 indexed seat, address indexed owner, bytes32 maskKey, uint32 round, uint32 generation
    );
    /// The seat is queued for removal: its owner left, or it was suspended or slashed while a round ran.
    event SeatLeaving(uint16 indexed seat, address indexed owner);
    event SeatRemoved(uint16 indexed seat, address indexed owner, uint64 releaseAt);
    event SeatMoved(address indexed owner, uint16 from, uint16 to);
    /// Followed by SeatLeaving, or by SeatRemoved while the alliance waits for seats.
    event SeatSuspended(uint16 indexed seat, address indexed owner, uint32 firstRound, uint32 secondRound);
    /// `firstRound` and `lastRound`: of the records that were shown. Followed like SeatSuspended.
    event SeatSuspected(uint16 indexed seat, address indexed owner, uint32 firstRound, uint32 lastRound);
    event SeatReactivated(
        uint16 indexed seat, address indexed owner, bytes32 maskKey, uint32 generation, uint32 joinedRound
    );
    /// `fault`: 1 equivocation, 2 seal equivocation, 3 invalid seal, 4 bad share, 5 bad dealing, 6 absence. `round`: in which it
    /// was done. `seat`: the owner's present or last one. A tenth of `amount` is the beneficiary's to claim.
    event Slashed(
        address indexed owner,
        uint16 seat,
        uint32 indexed round,
        uint8 fault,
        uint128 amount,
        address indexed beneficiary
    );
    event AddressesRegistered(uint16 indexed seat, address indexed owner, bytes addresses);
    event StakeWithdrawn(address indexed owner, uint128 stake);
    event RewardClaimed(address indexed owner, uint256 amount);
    event RoundOpened(uint32 indexed round, uint16 seatCount, uint64 beaconRound, uint64 opensAt);
    event SeatsAwaited(uint32 nextRound, uint16 seatCount);
    /// `signers`: bitmap of positions. `signatures`: 65 bytes each, in ascending order of position, so that a survivor can
    /// check the quorum itself before it unmasks.
    event RoundSealed(
        uint32 indexed round,
        uint32 leaderView,
        bytes32 seal,
        bytes32 seed,
        bytes32 manifestDigest,
        uint256[] survivors,
        uint64 signers,
        bytes signatures
    );
    /// The new commitments of one call, in ascending order of `positions`, a bitmap. The order of these logs, and the
    /// ascending order within each, is the order in which the chain took them.
    event BallotsCommitted(uint32 indexed round, uint64 positions, bytes32[] commitments);
    /// Ballots that were opened before the round could end, in full, so that anyone can settle it. Entries of an
    /// earlier log may be repeated.
    event BallotsRecorded(uint32 indexed round, Ballot[] ballots);
    /// `cohortOutcome`: 0 undecided, 1 adopted, 2 rejected, 3 void. `aggregateDigests`: the digest with the most yes
    /// votes, adopted or not, zero without any; of several, the one that the lowest position named. `votesFor`: its yes
    /// votes. `baseModelDigest`: the one that the accept quorum named, or zero. `closed`: this was the last round, or the
    /// score target is reached. `marks`: the marks of every revealed position, ascending; bit 144 says that its base
    /// model is the one most named (ties as above), bit 145 + k that its digest is the leading one of cohort k.
    event RoundSettled(
        uint32 indexed round,
        uint8[] cohortOutcome,
        bytes32[] aggregateDigests,
        uint16[] votesFor,
        uint16[] votesAgainst,
        bytes32 baseModelDigest,
        bool closed,
        uint256[] marks,
        RoundRecord record
    );
    /// `reason`: 1 not sealed in time, 2 sealed but nobody committed.
    event RoundVoided(uint32 indexed round, uint8 reason);
    event AllianceClosed(uint32 indexed round, uint256 residual);
    /// A survivor of `round` is accused of never having sent its unmasking; it may answer until `deadline`.
    event AbsenceChallenged(address indexed owner, uint32 indexed round, address challenger, uint64 deadline);
    /// `unmasking`: the body of the signed message, canonical msgpack.
    event AbsenceAnswered(address indexed owner, uint32 indexed round, bytes unmasking);
}
