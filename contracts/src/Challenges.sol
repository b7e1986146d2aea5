// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20, IERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {AllianceBase} from "./AllianceBase.sol";
import {AllianceParams, RoundRecord, SealStatement, Statement} from "./Types.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {IChallenges} from "./interfaces/IChallenges.sol";
import {Messages} from "./libraries/Messages.sol";
import {ParamsRules} from "./libraries/ParamsRules.sol";
import {Sortition} from "./libraries/Sortition.sol";
import {Statements} from "./libraries/Statements.sol";
import {Survivors} from "./libraries/Survivors.sol";

/// @title Challenges of absence
/// @dev Run by Alliance through Members, Evidence and delegatecall, on the alliance's own state; it does nothing at its own
/// address.
contract Challenges is AllianceBase, IChallenges {
    using SafeERC20 for IERC20;
    using Statements for Statement;
    using Statements for SealStatement;

    uint8 internal constant ABSENCE = 6; // as Slashed names it
    uint8 internal constant UNMASKING = 2;
    uint32 internal constant ROUNDS_BACK_MAX = 16; // no time is kept for a round, so its age is counted in rounds
    uint8 internal constant ABSENCE_SLASHES_MAX = 3;

    constructor(IERC20 token_, IBeacon beacon_) AllianceBase(token_, beacon_) {}

    /// @inheritdoc IChallenges
    function challengeAbsence(address owner, RoundRecord calldata record) external {
        uint256 bps = _absenceSlashBps();
        if (bps == 0) revert ChallengesAreOff();
        _requireRecord(record);
        uint32 round = record.round;
        Member storage member = _members[owner];
        if (member.stake == 0 || round < member.tenureRound) revert NotSlashable(owner);
        if (member.absenceSlashCount == ABSENCE_SLASHES_MAX) revert AbsenceSlashesSpent();
        uint32 current = _roundNow(); // at least `round`, which is settled
        if (current - round > ROUNDS_BACK_MAX) revert RoundTooOld(current - ROUNDS_BACK_MAX);
        _requireSurvivor(owner, record);
        if (_challenges[owner].deadline != 0) revert ChallengeIsOpen(_challenges[owner].deadline);
        uint256 bit = 1 << (round % 256);
        if (_challenged[owner][round / 256] & bit != 0) revert AlreadyChallenged();

        _challenged[owner][round / 256] |= bit;
        uint64 deadline = uint64(block.timestamp) + _penaltyWindowSeconds();
        _challenges[owner] = Challenge(round, msg.sender, deadline, record.seed);
        uint256 bond = _bondDown();
        _owed += uint128(bond);
        emit AbsenceChallenged(owner, round, msg.sender, deadline);
        token.safeTransferFrom(msg.sender, address(this), bond);
    }

    function _requireSurvivor(address owner, RoundRecord calldata record) private view {
        (bool seated, uint256 position) = _positionIn(record, owner);
        uint256 validators = record.validatorRewards.length;
        if (!seated || position < validators || !_isSurvivor(record, position - validators)) {
            revert NotSurvivor(record.round);
        }
        _requireOpenable(record, position - validators);
    }

    /// A void cohort is never opened: its survivors must not unmask, for too few of them hide each other.
    function _requireOpenable(RoundRecord calldata record, uint256 trainer) private view {
        uint256 trainers = record.seatCount - record.validatorRewards.length;
        uint256 cohorts = record.trainerRewards.length;
        uint256 counts = Survivors.countByCohort(record.survivors, trainers, cohorts);
        uint256 survivors = Survivors.countOf(counts, Sortition.cohortOf(trainer, trainers, cohorts));
        AllianceParams memory p = _params();
        if (survivors < ParamsRules.survivorsMin(p.threshold, p.collusionBound)) revert CohortIsVoid();
    }

    /// @inheritdoc IChallenges
    function answerAbsence(address owner, SealStatement calldata seal, Statement calldata unmasking) external {
        Challenge memory challenge = _openChallenge(owner);
        if (block.timestamp > challenge.deadline) revert DeadlinePassed(challenge.deadline);
        if (!_isAnswer(challenge, owner, seal, unmasking)) revert WrongAnswer();
        delete _challenges[owner];
        _credits[owner] += _bondDown();
        emit AbsenceAnswered(owner, challenge.round, unmasking.body);
    }

    /// The seal that was answered need not be the chain's: an honest trainer answers the first valid one it sees.
    function _isAnswer(
        Challenge memory challenge,
        address owner,
        SealStatement calldata seal,
        Statement calldata unmasking
    ) private view returns (bool) {
        if (unmasking.kind != UNMASKING || unmasking.round != challenge.round) return false;
        if (seal.round != challenge.round || seal.seed != challenge.seed) return false;
        (bool wellFormed,, bytes32 answered,) = Messages.readUnmasking(unmasking.body, 0);
        return wellFormed && answered == seal.hashOf(_number()) && unmasking.signerOf(_number()) == owner;
    }

    /// @inheritdoc IChallenges
    function slashAbsence(address owner) external {
        Challenge memory challenge = _openChallenge(owner);
        if (block.timestamp <= challenge.deadline) revert DeadlineNotPassed(challenge.deadline);
        delete _challenges[owner];
        _members[owner].absenceSlashCount += 1;
        _credits[challenge.challenger] += _bondDown();
        _penalize(owner, _absenceSlashBps(), challenge.round, ABSENCE, challenge.challenger);
    }

    /// @inheritdoc IChallenges
    function getChallenge(address owner) external view returns (uint32 round, address challenger, uint64 deadline) {
        Challenge storage challenge = _challenges[owner];
        return (challenge.round, challenge.challenger, challenge.deadline);
    }

    function _openChallenge(address owner) private view returns (Challenge memory challenge) {
        challenge = _challenges[owner];
        if (challenge.deadline == 0) revert NoOpenChallenge();
    }

    /// What a challenger deposits: as much as an owner with its whole stake can lose by the challenge.
    function _bondDown() private view returns (uint256) {
        return uint256(_params().seatStake) * _absenceSlashBps() / BPS;
    }
}
