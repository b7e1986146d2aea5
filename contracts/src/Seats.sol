// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20, IERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {AllianceParams, SeatView} from "./Types.sol";
import {IAlliance} from "./interfaces/IAlliance.sol";

/// @title Who is in the alliance, and the stakes
/// @dev The seat table is dense: indexes 0 to N-1 at OPEN are the round's frozen seats. Joins append behind them and
/// removals happen only when no round runs, by swapping with the last seat.
abstract contract Seats is IAlliance {
    using SafeERC20 for IERC20;
    using Checkpoints for Checkpoints.Trace224;

    uint8 internal constant WAITING = 0;
    uint8 internal constant RUNNING = 1;
    uint8 internal constant CLOSED = 4;

    // The terms of an alliance lie in its code, behind the 45 bytes of OpenZeppelin's clone with immutable arguments:
    // abi.encode(params, number, creator, paramsHash). What is in no storage slot, nothing can change.
    uint256 internal constant CLONE_CODE_BYTES = 45;
    uint256 internal constant PARAMS_WORDS = 27;

    uint256 internal constant PEER_ID_BYTES_MAX = 64;
    // Bounds the work of an OPEN: what leavers beyond it cost is one more round of membership.
    uint256 internal constant REMOVALS_PER_OPEN_MAX = 4;
    // Entries looked at, removed or stale (an owner that was queued and then removed while the alliance waited).
    uint256 internal constant QUEUE_STEPS_PER_OPEN_MAX = 16;

    struct Member {
        uint16 seat;
        bool seated;
        bool leaving;
        uint32 weight;
        uint32 joinedRound;
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

    /* STORAGE */

    IERC20 public immutable token;

    uint8 internal _status;
    uint32 internal _nextRound; // rounds opened so far: the index of the next one
    uint64 internal _statusSince; // when the alliance began to wait, or closed
    uint32 internal _leavingCount;
    uint32 internal _queueHead;
    uint256 internal _stakes; // sum of all members' stakes

    address[] internal _seats;
    address[] internal _leavingQueue;
    mapping(address owner => Member) internal _members;
    // Seat index + 1 of an owner from a round on; 0 is none. Rewards of old rounds are found here after swaps.
    mapping(address owner => Checkpoints.Trace224) internal _seatHistory;

    constructor(IERC20 token_) {
        token = token_;
    }

    /* SEATS */

    /// @inheritdoc IAlliance
    function join(
        bytes calldata peerId,
        bytes32 maskKey,
        uint32 weight,
        bytes32 paramsHash_,
        uint128 maximumLoss,
        bytes calldata peerSignature
    ) external {
        if (_status == CLOSED) revert AllianceIsClosed();
        if (paramsHash_ != paramsHash()) revert WrongParameters(paramsHash());
        AllianceParams memory p = _params();
        uint128 stake = p.seatStake;
        if (maximumLoss < stake) revert StakeAboveMaximumLoss(stake);
        if (peerId.length == 0 || peerId.length > PEER_ID_BYTES_MAX) revert WrongPeerId();
        if (peerSignature.length != 64) revert WrongPeerSignature();
        if (maskKey == 0) revert WrongMaskKey();
        if (weight == 0 || weight > p.weightMax) revert WrongWeight();
        Member storage member = _members[msg.sender];
        if (member.seated) revert AlreadySeated();
        if (member.stake != 0) revert StakeNotWithdrawn(member.releaseAt);
        if (_seats.length >= p.seatCountMax) revert NoSeatFree();
        // A key that this owner used before was perhaps erased at its peers, and perhaps known to them.
        if (maskKey == member.maskKey || maskKey == member.previousKey) revert WrongMaskKey();

        uint16 seat = uint16(_seats.length);
        _seats.push(msg.sender);
        _seatHistory[msg.sender].push(_nextRound, uint224(seat) + 1);
        member.seat = seat;
        member.seated = true;
        member.weight = weight;
        member.joinedRound = _nextRound;
        member.keyRound = _roundNow();
        member.previousKeyRound = 0;
        member.keyGeneration += 1;
        member.stake = stake;
        member.releaseAt = 0;
        member.maskKey = maskKey;
        member.previousKey = 0;
        member.peerId = peerId;
        member.peerSignature = peerSignature;
        _stakes += stake;
        emit SeatJoined(
            seat, msg.sender, peerId, maskKey, member.keyGeneration, weight, member.joinedRound, peerSignature
        );
        if (_status == WAITING && _seats.length - _leavingCount >= p.seatCountMin) _openRound();
        token.safeTransferFrom(msg.sender, address(this), stake);
    }

    /// @inheritdoc IAlliance
    function leave() external {
        if (_status == CLOSED) revert AllianceIsClosed();
        Member storage member = _members[msg.sender];
        if (!member.seated) revert NotSeated();
        if (_status == WAITING) {
            _removeSeat(msg.sender);
            return;
        }
        if (member.leaving) revert AlreadyLeaving();
        member.leaving = true;
        _leavingCount += 1;
        _leavingQueue.push(msg.sender);
        emit SeatLeaving(member.seat, msg.sender);
    }

    /// @inheritdoc IAlliance
    function registerKey(bytes32 maskKey) external {
        if (_status == CLOSED) revert AllianceIsClosed();
        Member storage member = _members[msg.sender];
        if (!member.seated) revert NotSeated();
        if (maskKey == 0 || maskKey == member.maskKey || maskKey == member.previousKey) revert WrongMaskKey();
        uint32 round = _roundNow();
        if (member.keyRound == round) revert KeyAlreadyRegistered(round);
        member.previousKey = member.maskKey;
        member.previousKeyRound = member.keyRound;
        member.maskKey = maskKey;
        member.keyRound = round;
        member.keyGeneration += 1;
        emit KeyRegistered(member.seat, msg.sender, maskKey, round, member.keyGeneration);
    }

    /// @inheritdoc IAlliance
    function withdraw() external {
        Member storage member = _members[msg.sender];
        uint128 stake = member.stake;
        if (stake == 0) revert NothingToWithdraw();
        if (member.seated && _status != CLOSED) revert StillSeated();
        uint64 releaseAt = _releaseOf(member);
        if (block.timestamp < releaseAt) revert Unbonding(releaseAt);
        member.seated = false;
        member.stake = 0;
        _stakes -= stake;
        emit StakeWithdrawn(msg.sender, stake);
        token.safeTransfer(msg.sender, stake);
    }

    /* VIEWS */

    /// @inheritdoc IAlliance
    function params() external view returns (AllianceParams memory) {
        return _params();
    }

    /// @inheritdoc IAlliance
    function number() public view returns (uint256) {
        return uint256(_readTerm(PARAMS_WORDS));
    }

    /// @inheritdoc IAlliance
    function creator() public view returns (address) {
        return address(uint160(uint256(_readTerm(PARAMS_WORDS + 1))));
    }

    /// @inheritdoc IAlliance
    function paramsHash() public view returns (bytes32) {
        return _readTerm(PARAMS_WORDS + 2);
    }

    /// @inheritdoc IAlliance
    function seatCount() external view returns (uint256) {
        return _seats.length;
    }

    /// @inheritdoc IAlliance
    function getSeats(uint256 from, uint256 count) external view returns (SeatView[] memory views) {
        uint256 length = _seats.length;
        if (from > length) from = length;
        if (count > length - from) count = length - from;
        views = new SeatView[](count);
        for (uint256 i = 0; i < count; ++i) {
            address owner = _seats[from + i];
            Member storage member = _members[owner];
            SeatView memory seat = views[i];
            seat.owner = owner;
            seat.peerId = member.peerId;
            seat.maskKey = member.maskKey;
            seat.keyRound = member.keyRound;
            seat.previousKey = member.previousKey;
            seat.previousKeyRound = member.previousKeyRound;
            seat.keyGeneration = member.keyGeneration;
            seat.weight = member.weight;
            seat.joinedRound = member.joinedRound;
            seat.leaving = member.leaving;
            seat.peerSignature = member.peerSignature;
        }
    }

    /// @inheritdoc IAlliance
    function getStake(address owner)
        external
        view
        returns (bool seated, uint16 seat, uint128 stake, uint64 releaseAt)
    {
        Member storage member = _members[owner];
        return (member.seated, member.seat, member.stake, member.stake == 0 ? 0 : _releaseOf(member));
    }

    /* INTERNAL */

    /// The ABI encoding of a static struct is its memory layout, so the words are copied as they are.
    function _params() internal view returns (AllianceParams memory p) {
        assembly ("memory-safe") {
            extcodecopy(address(), p, CLONE_CODE_BYTES, mul(PARAMS_WORDS, 32))
        }
    }

    /// One word of the terms behind the clone's code.
    function _readTerm(uint256 word) private view returns (bytes32 term) {
        assembly ("memory-safe") {
            extcodecopy(address(), 0, add(CLONE_CODE_BYTES, mul(word, 32)), 32)
            term := mload(0)
        }
    }

    function _openRound() internal virtual;

    /// The current or last round; the largest uint32 before round 0, on purpose: it is the round before it.
    function _roundNow() internal view returns (uint32 round) {
        unchecked {
            round = _nextRound - 1;
        }
    }

    /// Removes queued seats, oldest first. Called when no round runs, before the next one freezes its seats.
    function _removeLeaving() internal {
        uint256 head = _queueHead;
        uint256 end = _leavingQueue.length;
        uint256 removed = 0;
        for (uint256 step = 0; step < QUEUE_STEPS_PER_OPEN_MAX; ++step) {
            if (head == end || removed == REMOVALS_PER_OPEN_MAX) break;
            address owner = _leavingQueue[head];
            ++head;
            if (!_members[owner].leaving) continue;
            _removeSeat(owner);
            ++removed;
        }
        _queueHead = uint32(head);
    }

    function _removeSeat(address owner) private {
        Member storage member = _members[owner];
        uint16 seat = member.seat;
        uint16 last = uint16(_seats.length - 1);
        if (seat != last) {
            address moved = _seats[last];
            _seats[seat] = moved;
            _members[moved].seat = seat;
            _seatHistory[moved].push(_nextRound, uint224(seat) + 1);
            emit SeatMoved(moved, last, seat);
        }
        _seats.pop();
        _seatHistory[owner].push(_nextRound, 0);
        if (member.leaving) {
            member.leaving = false;
            _leavingCount -= 1;
        }
        member.seated = false;
        member.releaseAt = uint64(block.timestamp) + _params().unbondingSeconds;
        emit SeatRemoved(seat, owner, member.releaseAt);
    }

    function _releaseOf(Member storage member) private view returns (uint64) {
        if (!member.seated) return member.releaseAt;
        return _status == CLOSED ? _statusSince + _params().unbondingSeconds : 0;
    }
}
