// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20, IERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {AllianceBase} from "./AllianceBase.sol";
import {Evidence} from "./Evidence.sol";
import {AllianceParams, JoinRequest, RoundRecord, RoundState, SeatView} from "./Types.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {IChallenges} from "./interfaces/IChallenges.sol";
import {IMembers} from "./interfaces/IMembers.sol";
import {Sortition} from "./libraries/Sortition.sol";
import {Survivors} from "./libraries/Survivors.sol";

/// @title Seats, stakes, claims and views of an alliance
/// @dev Run by Alliance through delegatecall, on the alliance's own state; it does nothing at its own address.
/// The seat table is dense: indexes 0 to N-1 at OPEN are the round's frozen seats. Joins append behind them, removals
/// happen only when no round runs.
contract Members is AllianceBase, IMembers {
    using SafeERC20 for IERC20;
    using Checkpoints for Checkpoints.Trace224;

    uint256 internal constant PEER_ID_BYTES_MAX = 64;
    uint256 internal constant ADDRESSES_BYTES_MAX = 512;

    /// @notice Whose code answers what neither Alliance nor this contract defines; fixed for ever.
    address public immutable evidence;

    constructor(IERC20 token_, IBeacon beacon_, Evidence evidence_) AllianceBase(token_, beacon_) {
        evidence = address(evidence_);
    }

    /// Evidence's code on the alliance's state.
    fallback() external {
        _delegate(evidence);
    }

    /* SEATS */

    /// @inheritdoc IMembers
    function join(JoinRequest calldata request) external {
        if (_status.phase == CLOSED) revert AllianceIsClosed();
        AllianceParams memory p = _params();
        _requireWelcome(p, request);
        Member storage member = _members[msg.sender];
        if (member.seated) revert AlreadySeated();
        if (member.stake != 0) revert StakeNotWithdrawn(member.releaseAt);
        _requireFresh(member, request.maskKey);

        _seat(member, request.maskKey);
        member.tenureRound = member.joinedRound;
        member.weight = request.weight;
        member.stake = p.seatStake;
        _stakes += p.seatStake;
        member.peerId = request.peerId;
        member.peerSignature = request.peerSignature;
        emit SeatJoined(
            member.seat,
            msg.sender,
            request.peerId,
            request.maskKey,
            member.keyGeneration,
            request.weight,
            member.joinedRound,
            request.peerSignature
        );
        if (_status.phase == WAITING && _seats.length >= _seatsNeeded(p, _status.nextRound)) _openRound(p);
        token.safeTransferFrom(msg.sender, address(this), p.seatStake);
    }

    /// Everything that does not depend on who the sender was before.
    function _requireWelcome(AllianceParams memory p, JoinRequest calldata request) private view {
        if (request.paramsHash != _paramsHash()) revert WrongParameters(_paramsHash());
        if (p.joinDeadline != 0 && block.timestamp > p.joinDeadline) revert JoinDeadlinePassed(p.joinDeadline);
        if (request.maximumLoss < p.seatStake) revert StakeAboveMaximumLoss(p.seatStake);
        if (request.peerId.length == 0 || request.peerId.length > PEER_ID_BYTES_MAX) revert WrongPeerId();
        if (request.peerSignature.length != 64) revert WrongPeerSignature();
        if (request.weight == 0 || request.weight > p.weightMax) revert WrongWeight();
        if (_seats.length >= p.seatCountMax) revert NoSeatFree();
        if (p.allowlistRoot == 0) return;
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(msg.sender))));
        if (!MerkleProof.verifyCalldata(request.allowlistProof, p.allowlistRoot, leaf)) revert NotOnAllowlist();
    }

    /// At the end of the table, from the next OPEN on.
    function _seat(Member storage member, bytes32 maskKey) private {
        uint16 seat = uint16(_seats.length);
        uint32 nextRound = _status.nextRound;
        _seats.push(msg.sender);
        _seatHistory[msg.sender].push(nextRound, uint224(seat) + 1);
        member.seat = seat;
        member.seated = true;
        member.joinedRound = nextRound;
        member.keyRound = _roundNow();
        member.previousKeyRound = 0;
        member.keyGeneration += 1;
        member.releaseAt = 0;
        member.maskKey = maskKey;
        member.previousKey = 0;
    }

    /// @inheritdoc IMembers
    function leave() external {
        if (_status.phase == CLOSED) revert AllianceIsClosed();
        Member storage member = _members[msg.sender];
        if (!member.seated) revert NotSeated();
        if (member.leaving && _status.phase != WAITING) revert AlreadyLeaving();
        _letGo(member, msg.sender);
    }

    /// @inheritdoc IMembers
    function registerKey(bytes32 maskKey) external {
        if (_status.phase == CLOSED) revert AllianceIsClosed();
        Member storage member = _members[msg.sender];
        if (!member.seated) revert NotSeated();
        _requireFresh(member, maskKey);
        uint32 round = _roundNow();
        if (member.keyRound == round) revert KeyAlreadyRegistered(round);
        member.previousKey = member.maskKey;
        member.previousKeyRound = member.keyRound;
        member.maskKey = maskKey;
        member.keyRound = round;
        member.keyGeneration += 1;
        emit KeyRegistered(member.seat, msg.sender, maskKey, round, member.keyGeneration);
    }

    /// @inheritdoc IMembers
    function withdraw() external {
        Member storage member = _members[msg.sender];
        uint128 stake = member.stake;
        if (stake == 0) revert NothingToWithdraw();
        if (member.seated && _status.phase != CLOSED) revert StillSeated();
        // It ends without the challenger: whoever is challenged may answer, or call slashAbsence itself.
        uint64 challengedUntil = _challenges[msg.sender].deadline;
        if (challengedUntil != 0) revert IChallenges.ChallengeIsOpen(challengedUntil);
        uint64 releaseAt = _releaseOf(member);
        if (block.timestamp < releaseAt) revert Unbonding(releaseAt);
        member.seated = false;
        member.suspended = false;
        member.suspected = false;
        member.slashed = false;
        member.absenceSlashCount = 0;
        member.stake = 0;
        _stakes -= stake;
        emit StakeWithdrawn(msg.sender, stake);
        token.safeTransfer(msg.sender, stake);
    }

    /// @inheritdoc IMembers
    function registerAddresses(bytes calldata addresses) external {
        if (_status.phase == CLOSED) revert AllianceIsClosed();
        Member storage member = _members[msg.sender];
        if (!member.seated) revert NotSeated();
        if (addresses.length > ADDRESSES_BYTES_MAX) revert AddressesTooLong(ADDRESSES_BYTES_MAX);
        emit AddressesRegistered(member.seat, msg.sender, addresses);
    }

    /* STRIKES */

    /// @inheritdoc IMembers
    function suspend(address owner, RoundRecord calldata first, RoundRecord calldata second) external {
        if (_status.phase == CLOSED) revert AllianceIsClosed();
        Member storage member = _members[owner];
        if (!member.seated) revert NotSeated();
        if (member.leaving) revert AlreadyLeaving();
        _requireLastTwo(first.round, second.round);
        // Rounds before a reactivation were paid for by the suspension that it ended.
        if (first.round < member.joinedRound) revert NotAbsent(first.round);
        _requireAbsent(owner, first);
        _requireAbsent(owner, second);
        member.suspended = true;
        emit SeatSuspended(member.seat, owner, first.round, second.round);
        _letGo(member, owner);
    }

    /// Requires `second` to be the last settled round and `first` the one settled before it; void rounds lie between.
    function _requireLastTwo(uint32 first, uint32 second) private view {
        _requireLast(second);
        if (_settled[first] == 0) revert NotConsecutive();
        _requireNext(first, second);
    }

    /// Requires it to be the last settled round.
    function _requireLast(uint32 round) private view {
        uint256 unsettled = uint256(_status.voidCount) + (_status.phase == RUNNING ? 1 : 0);
        if (uint256(round) + unsettled + 1 != _status.nextRound) revert NotConsecutive();
    }

    /// Requires the settled `second` to come after the settled `first`, and no settled round to lie between.
    function _requireNext(uint32 first, uint32 second) private view {
        if (first >= second) revert NotConsecutive();
        // Ends at the first settled round, so after voidCountMax steps at most.
        for (uint32 round = second - 1; round > first; --round) {
            if (_settled[round] != 0) revert NotConsecutive();
        }
    }

    /// A validator takes part by revealing, a trainer by being sealed.
    function _requireAbsent(address owner, RoundRecord calldata record) private view {
        _requireRecord(record);
        (bool seated, uint256 position) = _positionIn(record, owner);
        if (!seated) revert NotAbsent(record.round);
        uint256 validators = record.validatorRewards.length;
        bool tookPart = position < validators
            ? record.revealed >> position & 1 == 1
            : _isSurvivor(record, position - validators);
        if (tookPart) revert NotAbsent(record.round);
    }

    /* SUSPICION */

    /// @inheritdoc IMembers
    function suspendSuspected(address owner, RoundRecord[] calldata records) external {
        if (_status.phase == CLOSED) revert AllianceIsClosed();
        uint256 bound = _suspicionBound();
        if (bound == 0) revert SuspicionIsOff();
        Member storage member = _members[owner];
        if (!member.seated) revert NotSeated();
        if (member.leaving) revert AlreadyLeaving();
        uint256 count = records.length;
        if (count == 0) revert NotConsecutive();
        (uint32 first, uint32 last) = (records[0].round, records[count - 1].round);
        // What an owner did in a tenure that ended was settled with it. A window that begins later only shows less.
        if (first < member.tenureRound) revert RoundBeforeTenure(first);
        _requireLast(last);
        uint256 run = 0;
        for (uint256 i = 0; i < count; ++i) {
            _requireRecord(records[i]);
            // A round left out could be the one whose adoption clears.
            if (i != 0) _requireNext(records[i - 1].round, records[i].round);
            run = _advanceRun(run, records[i], owner);
        }
        if (run < bound) revert NotSuspected(run);
        member.suspected = true;
        emit SeatSuspected(member.seat, owner, first, last);
        _letGo(member, owner);
    }

    /// alliance/suspicion.py, advance_run: an adopted cohort clears, an undecided or void one says nothing, and so do rounds
    /// in which the owner was no sealed trainer.
    function _advanceRun(uint256 run, RoundRecord calldata record, address owner) private view returns (uint256) {
        (bool seated, uint256 position) = _positionIn(record, owner);
        uint256 validators = record.validatorRewards.length;
        if (!seated || position < validators || !_isSurvivor(record, position - validators)) return run;
        uint256 cohort = Sortition.cohortOf(
            position - validators, record.seatCount - validators, record.trainerRewards.length
        );
        uint256 outcome = record.outcomes >> (2 * cohort) & 3;
        if (outcome == OUTCOME_ADOPTED) return 0;
        return outcome == OUTCOME_REJECTED ? run + 1 : run;
    }

    /// @inheritdoc IMembers
    function reactivate(bytes32 maskKey) external {
        if (_status.phase == CLOSED) revert AllianceIsClosed();
        Member storage member = _members[msg.sender];
        if (member.suspected) revert SeatIsSuspected();
        if (!member.suspended) revert NotSuspended();
        if (member.slashed) revert AlreadySlashed();
        if (member.seated) revert StillSeated();
        AllianceParams memory p = _params();
        if (_seats.length >= p.seatCountMax) revert NoSeatFree();
        _requireFresh(member, maskKey);
        member.suspended = false;
        _seat(member, maskKey);
        emit SeatReactivated(member.seat, msg.sender, maskKey, member.keyGeneration, member.joinedRound);
        if (_status.phase == WAITING && _seats.length >= _seatsNeeded(p, _status.nextRound)) _openRound(p);
    }

    /* REWARDS */

    /// @inheritdoc IMembers
    function claim() external {
        _payCredit(0);
    }

    /// @inheritdoc IMembers
    function claimRounds(RoundRecord[] calldata records) external {
        uint256 booked = 0;
        for (uint256 i = 0; i < records.length; ++i) {
            uint256 reward = getReward(msg.sender, records[i]);
            if (reward == 0) continue;
            // Marked before the next entry is read, so that a round named twice counts once.
            uint32 round = records[i].round;
            _claimed[msg.sender][round / 256] |= 1 << (round % 256);
            booked += reward;
        }
        _payCredit(booked);
    }

    function _payCredit(uint256 booked) private {
        uint256 amount = _credits[msg.sender] + booked;
        if (amount == 0) revert NothingToClaim();
        _credits[msg.sender] = 0;
        _owed -= uint128(amount);
        emit RewardClaimed(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IMembers
    function getReward(address owner, RoundRecord calldata record) public view returns (uint256 reward) {
        _requireRecord(record);
        if (_claimed[owner][record.round / 256] >> (record.round % 256) & 1 == 1) return 0;
        if (owner == record.sealer) reward += record.refund;
        if (owner == record.committer) reward += record.refund;
        if (owner == record.settler) reward += record.refund;
        (bool seated, uint256 position) = _positionIn(record, owner);
        if (!seated) return reward;
        uint256 validators = record.validatorRewards.length;
        if (position < validators) return reward + record.validatorRewards[position];
        uint256 trainer = position - validators;
        if (!_isSurvivor(record, trainer)) return reward;
        uint256 cohorts = record.trainerRewards.length;
        uint256 cohort = Sortition.cohortOf(trainer, record.seatCount - validators, cohorts);
        return reward + record.trainerRewards[cohort];
    }

    /* VIEWS */

    /// @inheritdoc IMembers
    function roundState() external view returns (RoundState memory state) {
        AllianceParams memory p = _params();
        state.round = _roundNow();
        state.settledRoundCount = _status.settledRoundCount;
        state.voidCount = _status.voidCount;
        state.timestamp = uint64(block.timestamp);
        state.phase = _phase(p);
        if (_status.nextRound == 0) return state;
        state.seatCount = _round.seatCount;
        state.beaconRound = _round.beaconRound;
        state.opensAt = _round.opensAt;
        state.trainDeadline = uint64(_round.opensAt) + p.trainSeconds;
        state.sealDeadline = _sealDeadline(p);
        if (_round.sealedAt == 0) return state;
        state.sealedAt = _round.sealedAt;
        state.commitDeadline = _round.commitDeadline;
        state.revealDeadline = _revealDeadline(p);
        state.seal = _seal;
        state.committedPositions = uint64(_committed());
        state.revealedPositions = _sealing.revealed;
        state.commitCount = uint16(Survivors.countBits(_committed()));
    }

    /// @inheritdoc IMembers
    function params() external view returns (AllianceParams memory) {
        return _params();
    }

    /// @inheritdoc IMembers
    function paramsHash() external view returns (bytes32) {
        return _paramsHash();
    }

    /// @inheritdoc IMembers
    function number() external view returns (uint256) {
        return _number();
    }

    /// @inheritdoc IMembers
    function creator() external view returns (address) {
        return _creator();
    }

    /// @inheritdoc IMembers
    function seatCount() external view returns (uint256) {
        return _seats.length;
    }

    /// @inheritdoc IMembers
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

    /// @inheritdoc IMembers
    function getStake(address owner)
        public
        view
        returns (bool seated, uint16 seat, uint128 stake, uint64 releaseAt)
    {
        Member storage member = _members[owner];
        return (member.seated, member.seat, member.stake, member.stake == 0 ? 0 : _releaseOf(member));
    }

    /// @inheritdoc IMembers
    function getMember(address owner)
        external
        view
        returns (
            bool seated,
            uint16 seat,
            uint128 stake,
            uint64 releaseAt,
            bool suspended,
            bool slashed,
            uint32 joinedRound,
            bool suspected
        )
    {
        Member storage member = _members[owner];
        (seated, seat, stake, releaseAt) = getStake(owner);
        (suspended, slashed, suspected) = (member.suspended, member.slashed, member.suspected);
        joinedRound = member.tenureRound;
    }

    /// @inheritdoc IMembers
    function getCredit(address owner) external view returns (uint256) {
        return _credits[owner];
    }

    /// @inheritdoc IMembers
    function getConfirmedModel() external view returns (uint32 round, bytes32 modelDigest) {
        return (_status.confirmedRound, _confirmedModel);
    }

    /// @inheritdoc IMembers
    function getAccounts() external view returns (uint256 stakes, uint256 pool, uint256 owed) {
        return (_stakes, _pool, _owed);
    }

    /* INTERNAL */

    /// A key used before was perhaps erased at its owner, and perhaps opened to others.
    function _requireFresh(Member storage member, bytes32 maskKey) private view {
        if (maskKey == 0 || maskKey == member.maskKey || maskKey == member.previousKey) revert WrongMaskKey();
    }

    function _releaseOf(Member storage member) private view returns (uint64) {
        if (!member.seated) return member.releaseAt;
        return _status.phase == CLOSED ? _status.since + _params().unbondingSeconds : 0;
    }

    function _phase(AllianceParams memory p) private view returns (uint8) {
        if (_status.phase != RUNNING) return _status.phase;
        if (_round.sealedAt == 0) return 1;
        bool complete = Survivors.countBits(_committed()) == p.validatorCount;
        return complete || block.timestamp > _round.commitDeadline ? 3 : 2;
    }
}
