// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {AllianceParams, RoundRecord} from "./Types.sol";
import {IAllianceErrors} from "./interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "./interfaces/IAllianceEvents.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {ParamsRules} from "./libraries/ParamsRules.sol";
import {Sortition} from "./libraries/Sortition.sol";

/// @title The state of an alliance, and what its parts do with it
/// @dev Alliance (rounds), Members (seats, stakes, claims, views), Evidence and Challenges (slashing) inherit this and
/// nothing else with storage, so they agree on every slot. Values that several parts write are only changed by the functions below.
abstract contract AllianceBase is IAllianceErrors, IAllianceEvents {
    using Checkpoints for Checkpoints.Trace224;

    uint8 internal constant WAITING = 0;
    uint8 internal constant RUNNING = 1;
    uint8 internal constant CLOSED = 4;

    uint8 internal constant OUTCOME_UNDECIDED = 0;
    uint8 internal constant OUTCOME_ADOPTED = 1;
    uint8 internal constant OUTCOME_REJECTED = 2;
    uint8 internal constant OUTCOME_VOID = 3;

    // The terms of an alliance lie in its code, behind the 45 bytes of OpenZeppelin's clone with immutable arguments:
    // abi.encode(params, number, creator, paramsHash). What is in no storage slot, nothing can change.
    uint256 internal constant CLONE_CODE_BYTES = 45;
    uint256 internal constant PARAMS_WORDS = 32;

    // Bounds the work of an OPEN: what leavers beyond it cost is one more round of membership.
    uint256 internal constant REMOVALS_PER_OPEN_MAX = 4;
    // Entries looked at, removed or stale (an owner that was queued and then removed while the alliance waited).
    uint256 internal constant QUEUE_STEPS_PER_OPEN_MAX = 16;

    uint256 internal constant BPS = 10_000;
    uint256 internal constant BENEFICIARY_BPS = 1_000; // of what is slashed

    struct Member {
        uint16 seat;
        bool seated;
        bool leaving;
        bool suspended; // from suspend() until the owner takes a seat again or withdraws
        bool suspected; // from suspendSuspected() until the owner withdraws
        bool slashed; // for a provable fault: once in a tenure, which is the time from join() to withdraw()
        uint8 absenceSlashCount; // in this tenure
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

    /// The current round, in one word. What else is known of it is valid from `sealedAt` on: `_seal`, `_sealing`, and
    /// `_commits` once it names this round. None is ever cleared: a word that stays is cheaper to write than a new one.
    struct Round {
        uint64 beaconRound;
        uint48 opensAt;
        uint48 sealedAt; // 0: not sealed
        uint48 commitDeadline;
        uint16 seatCount;
    }

    struct Sealing {
        address sealer;
        uint64 revealed; // bitmap of positions whose ballots were opened
    }

    struct Commits {
        uint32 round; // the other fields are those of an older round if this one is
        uint64 committed; // bitmap of positions
        address committer; // who brought them to the accept quorum, or zero
    }

    /// An open challenge of absence, in two words.
    struct Challenge {
        uint32 round;
        address challenger;
        uint64 deadline; // 0: no challenge
        bytes32 seed; // of the round
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
    bytes32 internal _seal; // EIP-712 hashStruct of the Seal
    Sealing internal _sealing;
    Commits internal _commits;
    bytes32 internal _rolling; // hash over the commitments
    address[] internal _seats;
    address[] internal _leavingQueue;
    mapping(address owner => Member) internal _members;
    // Seat index + 1 of an owner from a round on; 0 is none. Rewards of old rounds are found here after swaps.
    mapping(address owner => Checkpoints.Trace224) internal _seatHistory;
    mapping(address owner => uint256) internal _credits;
    mapping(uint32 round => bytes32 recordHash) internal _settled; // 0: not settled
    mapping(address owner => mapping(uint256 word => uint256)) internal _claimed; // one bit for each round
    mapping(address owner => mapping(uint256 word => uint256)) internal _challenged; // one bit for each round
    mapping(address owner => Challenge) internal _challenges;

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

    function _penaltyWindowSeconds() internal view returns (uint64) {
        return uint64(uint256(_readTerm(23)));
    }

    function _provableSlashBps() internal view returns (uint256) {
        return uint256(_readTerm(25));
    }

    function _joinDeadline() internal view returns (uint64) {
        return uint64(uint256(_readTerm(29)));
    }

    function _absenceSlashBps() internal view returns (uint256) {
        return uint256(_readTerm(27));
    }

    function _suspicionBound() internal view returns (uint256) {
        return uint256(_readTerm(31));
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

    /// The owner of a seat that is known to be in the table. Solidity would look up the table's length each time.
    function _ownerOf(uint256 seat) internal view returns (address owner) {
        assembly ("memory-safe") {
            mstore(0, _seats.slot)
            owner := sload(add(keccak256(0, 32), seat))
        }
    }

    /// Bitmap of the positions that committed in the current round.
    function _committed() internal view returns (uint256) {
        return _round.sealedAt != 0 && _commits.round == _roundNow() ? _commits.committed : 0;
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
        _round = Round(beaconRound, uint48(opensAt), 0, 0, seats);
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
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, 0, calldatasize())
            let ok := delegatecall(gas(), part, free, calldatasize(), 0, 0)
            returndatacopy(free, 0, returndatasize())
            if iszero(ok) { revert(free, returndatasize()) }
            return(free, returndatasize())
        }
    }

    /* MONEY. It moves between three sums only: pool -> owed when a round earns it, owed -> a member that claims, and
    stakes, which rewards never touch; a slash takes from stakes and gives to owed and pool; the bond of a challenge is
    owed from the start, to one of two. What a round does not earn stays in the pool, dust included. */

    /// A round reserves at most its budget, and the pool holds the budgets of all rounds to come: no underflow.
    function _reserve(uint256 amount) internal {
        _pool -= uint128(amount);
        _owed += uint128(amount);
    }

    function _creditFromPool(address account, uint256 amount) internal {
        _reserve(amount);
        _credits[account] += amount;
    }

    /// Takes `bps` of a stake: a tenth for the beneficiary to claim, the rest for the pool, or for whom the pool went to.
    function _penalize(address owner, uint256 bps, uint32 round, uint8 fault, address beneficiary) internal {
        Member storage member = _members[owner];
        uint256 amount = uint256(member.stake) * bps / BPS;
        uint256 reward = amount * BENEFICIARY_BPS / BPS;
        member.stake -= uint128(amount);
        _stakes -= uint128(amount);
        _pool += uint128(amount);
        _creditFromPool(beneficiary, reward);
        emit Slashed(owner, member.seat, round, fault, uint128(amount), beneficiary);
        if (_status.phase == CLOSED) _creditFromPool(_creator(), amount - reward);
    }

    /* RECORDS */

    function _requireRecord(RoundRecord calldata record) internal view {
        if (_settled[record.round] != keccak256(abi.encode(record))) revert WrongRecord(record.round);
    }

    /// Where an owner stood in a settled round, if it had a seat then.
    function _positionIn(RoundRecord calldata record, address owner)
        internal
        view
        returns (bool seated, uint256 position)
    {
        uint256 seatPlusOne = _seatHistory[owner].upperLookup(record.round);
        if (seatPlusOne == 0 || seatPlusOne > record.seatCount) return (false, 0);
        return (true, Sortition.positionOf(record.seed, seatPlusOne - 1, record.seatCount));
    }

    function _isSurvivor(RoundRecord calldata record, uint256 trainer) internal pure returns (bool) {
        return record.survivors[trainer / 256] >> (trainer % 256) & 1 == 1;
    }

    /* DEADLINES */

    function _sealDeadline(AllianceParams memory p) internal view returns (uint64) {
        return uint64(_round.opensAt) + p.trainSeconds + uint64(p.sealSeconds) * p.validatorCount;
    }

    function _revealDeadline(AllianceParams memory p) internal view returns (uint64) {
        return uint64(_round.commitDeadline) + p.settleSeconds;
    }
}
