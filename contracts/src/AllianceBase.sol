// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {AllianceParams} from "./Types.sol";
import {IAllianceErrors} from "./interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "./interfaces/IAllianceEvents.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {ParamsRules} from "./libraries/ParamsRules.sol";
import {Tally} from "./libraries/Tally.sol";

/// @title The state of an alliance, and what its parts do with it
/// @dev Alliance (rounds), Members (seats, stakes, claims, views) and Evidence (slashing) inherit this and nothing else
/// with storage, so they agree on every slot. Values that several parts write are only changed by the functions below.
abstract contract AllianceBase is IAllianceErrors, IAllianceEvents {
    using Checkpoints for Checkpoints.Trace224;

    uint8 internal constant WAITING = 0;
    uint8 internal constant RUNNING = 1;
    uint8 internal constant CLOSED = 4;

    // The terms of an alliance lie in its code, behind the 45 bytes of OpenZeppelin's clone with immutable arguments:
    // abi.encode(params, number, creator, paramsHash). What is in no storage slot, nothing can change.
    uint256 internal constant CLONE_CODE_BYTES = 45;
    uint256 internal constant PARAMS_WORDS = 27;

    // Bounds the work of an OPEN: what leavers beyond it cost is one more round of membership.
    uint256 internal constant REMOVALS_PER_OPEN_MAX = 4;
    // Entries looked at, removed or stale (an owner that was queued and then removed while the alliance waited).
    uint256 internal constant QUEUE_STEPS_PER_OPEN_MAX = 16;

    uint256 internal constant BPS = 10_000;
    uint256 internal constant TRAINER_BPS = 4_000;
    uint256 internal constant VALIDATOR_BPS = 5_000;
    uint256 internal constant REFUND_BPS = 1_000;
    uint256 internal constant REFUND_COUNT = 3;

    struct Member {
        uint16 seat;
        bool seated;
        bool leaving;
        bool suspended; // from suspend() until the owner takes a seat again or withdraws
        bool slashed; // once in a tenure, which is the time from join() to withdraw()
        uint32 weight;
        uint32 joinedRound; // first round whose seats may include this seat
        uint32 tenureRound; // the same of the tenure's first seat
        uint32 keyRound;
        uint32 previousKeyRound;
        uint32 keyGeneration;
        uint128 stake;
        uint64 releaseAt;
        bytes32 maskKey;
        bytes32 previousKey;
        bytes peerId;
        bytes peerSignature;
    }

    /// Counters that change with every round; one word.
    struct Status {
        uint8 phase; // WAITING, RUNNING or CLOSED
        uint32 nextRound; // rounds opened so far: the index of the next one
        uint64 since; // when the alliance began to wait, or closed
        uint32 queueHead;
        uint32 settledRoundCount;
        uint16 voidCount; // in a row
        uint32 confirmedRound; // in which an accept quorum last named `_confirmedModel`
    }

    /// The current round. Every word keeps a non-zero field over the rounds, so that none is ever paid for as new.
    /// `seed` to `sealSender` are those of an earlier round until `sealedAt` is set.
    struct Round {
        uint64 beaconRound;
        uint64 opensAt;
        uint64 sealedAt;
        uint64 commitDeadline;
        uint64 committed; // bitmap of positions
        uint64 revealed;
        uint16 seatCount;
        bytes32 seed;
        bytes32 seal;
        bytes32 manifestDigest;
        uint256 survivorCounts; // 16 bits for each cohort
        address sealSender;
    }

    /// A settled round, in one word: with the beacon and the survivors it says what every seat earned.
    struct Settled {
        uint64 beaconRound;
        uint64 revealed; // bitmap of validator positions
        uint96 trainerReward; // for each survivor of an adopted cohort
        uint16 seatCount; // 0: not settled
        uint16 adopted; // bitmap of cohorts
    }

    IERC20 public immutable token;
    IBeacon public immutable beacon;

    /* STORAGE. Every amount is below the cap of FLOCK, 2^90 wei. */

    Status internal _status;
    uint128 internal _pool; // unspent rewards
    uint128 internal _owed; // earned and not paid
    uint128 internal _stakes;
    bytes32 internal _confirmedModel;
    Round internal _round;
    Tally.Book internal _book;
    bytes32[64] internal _commitments;
    address[] internal _seats;
    address[] internal _leavingQueue;
    mapping(address owner => Member) internal _members;
    // Seat index + 1 of an owner from a round on; 0 is none. Rewards of old rounds are found here after swaps.
    mapping(address owner => Checkpoints.Trace224) internal _seatHistory;
    mapping(address owner => uint256) internal _credits;
    mapping(uint32 round => Settled) internal _settled;
    mapping(uint32 round => mapping(uint256 word => uint256)) internal _survivors;
    mapping(address owner => mapping(uint256 word => uint256)) internal _claimed; // one bit for each round

    constructor(IERC20 token_, IBeacon beacon_) {
        token = token_;
        beacon = beacon_;
    }

    /* TERMS */

    /// The ABI encoding of a static struct is its memory layout, so the words are copied as they are.
    function _params() internal view returns (AllianceParams memory p) {
        assembly ("memory-safe") {
            extcodecopy(address(), p, CLONE_CODE_BYTES, mul(PARAMS_WORDS, 32))
        }
    }

    /// Single parameters, for code that needs no other: the words of their places in AllianceParams.
    function _threshold() internal view returns (uint256) {
        return uint256(_readTerm(8));
    }

    function _provableSlashBps() internal view returns (uint256) {
        return uint256(_readTerm(25));
    }

    function _number() internal view returns (uint256) {
        return uint256(_readTerm(PARAMS_WORDS));
    }

    function _creator() internal view returns (address) {
        return address(uint160(uint256(_readTerm(PARAMS_WORDS + 1))));
    }

    function _paramsHash() internal view returns (bytes32) {
        return _readTerm(PARAMS_WORDS + 2);
    }

    function _readTerm(uint256 word) private view returns (bytes32 term) {
        assembly ("memory-safe") {
            extcodecopy(address(), 0, add(CLONE_CODE_BYTES, mul(word, 32)), 32)
            term := mload(0)
        }
    }

    /* OPEN AND CLOSE */

    /// The current or last round; the largest uint32 before round 0, on purpose: it is the round before it.
    function _roundNow() internal view returns (uint32 round) {
        unchecked {
            round = _status.nextRound - 1;
        }
    }

    /// Lets leavers go, then opens the next round on the seats that remain, or waits if they are too few.
    function _openRound(AllianceParams memory p) internal {
        _removeLeaving(p);
        uint16 seats = uint16(_seats.length);
        uint32 round = _status.nextRound;
        if (seats < _seatsNeeded(p, round)) {
            if (_status.phase != WAITING) _status.since = uint64(block.timestamp);
            _status.phase = WAITING;
            emit SeatsAwaited(round, seats);
            return;
        }
        // The schedule follows from the slot, not from the second a transaction lands in. It lies after this block, and
        // the beacon round is not published before it: nobody knows the seed when the seats freeze.
        uint64 slot = p.openingSlotSeconds;
        uint64 scheduledAt = uint64(block.timestamp) / slot * slot + slot;
        uint64 beaconRound = beacon.roundAt(scheduledAt) + p.beaconMargin - 1;
        uint64 opensAt = beacon.timeOf(beaconRound);
        (_status.phase, _status.nextRound) = (RUNNING, round + 1);
        _round.beaconRound = beaconRound;
        _round.opensAt = opensAt;
        _round.sealedAt = 0;
        _round.commitDeadline = 0;
        _round.committed = 0;
        _round.revealed = 0;
        _round.seatCount = seats;
        emit RoundOpened(round, seats, beaconRound, opensAt);
    }

    /// The first opening waits for seatCountMin. A running alliance that loses seats goes on as long as every cohort can
    /// have enough survivors: smaller cohorts only make 2t > n + c easier to hold.
    function _seatsNeeded(AllianceParams memory p, uint32 round) internal pure returns (uint256) {
        if (round == 0) return p.seatCountMin;
        unchecked {
            return p.validatorCount + p.cohortCount * ParamsRules.survivorsMin(p.threshold, p.collusionBound);
        }
    }

    function _close() internal {
        uint128 residual = _pool;
        _status.phase = CLOSED;
        _status.since = uint64(block.timestamp);
        _creditFromPool(_creator(), residual);
        emit AllianceClosed(_roundNow(), residual);
    }

    /// Lets a seat go: at once while the alliance waits for seats, else at the next OPEN.
    function _letGo(Member storage member, address owner) internal {
        if (_status.phase == WAITING) {
            _removeSeat(_params(), owner);
        } else {
            _queueRemoval(member, owner);
        }
    }

    function _queueRemoval(Member storage member, address owner) internal {
        member.leaving = true;
        _leavingQueue.push(owner);
        emit SeatLeaving(member.seat, owner);
    }

    /// Removes queued seats, oldest first. Called when no round runs, before the next one freezes its seats.
    function _removeLeaving(AllianceParams memory p) private {
        uint256 head = _status.queueHead;
        uint256 end = _leavingQueue.length;
        if (head == end) return; // nearly always
        uint256 removed = 0;
        for (uint256 step = 0; step < QUEUE_STEPS_PER_OPEN_MAX; ++step) {
            if (head == end || removed == REMOVALS_PER_OPEN_MAX) break;
            address owner = _leavingQueue[head];
            ++head;
            if (!_members[owner].leaving) continue;
            _removeSeat(p, owner);
            ++removed;
        }
        _status.queueHead = uint32(head);
    }

    /// Fills the gap with the last seat. Only while no round runs: the running round's seats are frozen.
    function _removeSeat(AllianceParams memory p, address owner) internal {
        Member storage member = _members[owner];
        uint32 nextRound = _status.nextRound;
        uint16 seat = member.seat;
        uint16 last = uint16(_seats.length - 1);
        if (seat != last) {
            address moved = _seats[last];
            _seats[seat] = moved;
            _members[moved].seat = seat;
            _seatHistory[moved].push(nextRound, uint224(seat) + 1);
            emit SeatMoved(moved, last, seat);
        }
        _seats.pop();
        _seatHistory[owner].push(nextRound, 0);
        member.leaving = false;
        member.seated = false;
        member.releaseAt = uint64(block.timestamp) + p.unbondingSeconds;
        emit SeatRemoved(seat, owner, member.releaseAt);
    }

    /// Runs the code of another part on this state, as if it were this contract's, and ends the call. Takes no ether.
    function _delegate(address part) internal {
        assembly {
            calldatacopy(0, 0, calldatasize())
            let ok := delegatecall(gas(), part, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            if iszero(ok) { revert(0, returndatasize()) }
            return(0, returndatasize())
        }
    }

    /* MONEY. It moves between three sums only: pool -> owed when a round earns it, owed -> a member that claims, and
    stakes, which rewards never touch; a slash takes from stakes and gives to owed and pool. What a round does not earn
    stays in the pool, dust included. */

    /// A round reserves at most its budget, and the pool holds the budgets of all rounds to come: no underflow.
    function _reserve(uint256 amount) internal {
        _pool -= uint128(amount);
        _owed += uint128(amount);
    }

    function _creditFromPool(address account, uint256 amount) internal {
        _reserve(amount);
        _credits[account] += amount;
    }

    /// A V-th of the validators' part, whoever else revealed: keeping others from revealing gains nothing.
    function _validatorRewardDown(AllianceParams memory p) internal pure returns (uint256) {
        return uint256(p.rewardPerRound) * VALIDATOR_BPS / BPS / p.validatorCount;
    }

    /// The trainers' part of the budget for each of `survivors`.
    function _trainerRewardDown(AllianceParams memory p, uint256 survivors) internal pure returns (uint256) {
        return survivors == 0 ? 0 : uint256(p.rewardPerRound) * TRAINER_BPS / BPS / survivors;
    }

    /// What the sender of one of a round's three transactions gets back.
    function _refundDown(AllianceParams memory p) internal pure returns (uint256) {
        return uint256(p.rewardPerRound) * REFUND_BPS / BPS / REFUND_COUNT;
    }

    /* DEADLINES */

    function _sealDeadline(AllianceParams memory p) internal view returns (uint64) {
        return _round.opensAt + p.trainSeconds + uint64(p.sealSeconds) * p.validatorCount;
    }

    function _revealDeadline(AllianceParams memory p) internal view returns (uint64) {
        return _round.commitDeadline + p.settleSeconds;
    }
}
