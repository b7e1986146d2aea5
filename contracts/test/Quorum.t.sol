// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, RoundRecord} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {AllianceTest} from "./AllianceTest.sol";

/// The quorums of every committee size that DESIGN names, at and just below them.
contract QuorumTest is AllianceTest {
    function _start(uint8 validators) private {
        params.validatorCount = validators;
        params.cohortCount = 1;
        (params.seatCountMin, params.seatCountMax) = (uint16(validators) + 4, uint16(validators) + 5);
        alliance = create(params, 0);
        joinAll(params.seatCountMin);
        vm.warp(state().opensAt);
    }

    function _sealsWith(uint256 quorum) private {
        SealCall memory call = sealOf(ALL);
        call.signers = firstPositions(quorum - 1);
        signSeal(call);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongSignatureCount.selector, quorum));
        send(call);
        call.signers = firstPositions(quorum);
        signSeal(call);
        send(call);
    }

    /// `count` validators say `verdict`, the others nothing.
    function _vote(uint256 count, uint8 verdict) private {
        Ballot[] memory ballots = ballotsOf(params.validatorCount, UNAVAILABLE);
        for (uint16 i = 0; i < count; ++i) ballots[i] = ballotOf(i, verdict);
        CommitCall memory call = commitOf(ballots);
        send(call);
        settle(call.seal.round, ballots);
    }

    /// What all members together earned as trainers of an adopted cohort, and not as validators.
    function _paid(uint32 round) private returns (uint256 trainers) {
        RoundRecord memory record = recordOf(round);
        for (uint256 i = 0; i < params.seatCountMin; ++i) trainers += alliance.getReward(member(i), record);
        for (uint256 p = 0; p < params.validatorCount; ++p) trainers -= record.validatorRewards[p];
    }

    function _requireQuorums(uint8 validators, uint256 quorum, uint256 accept) private {
        _start(validators);
        _sealsWith(quorum);
        _vote(accept - 1, YES);
        eq(_paid(0), 0, "adopted by fewer than the quorum");
        sealNow(ALL);
        _vote(accept, YES);
        eq(_paid(1), uint256(params.rewardPerRound) * 4 / 10 / 4 * 4, "not adopted by the quorum");
    }

    /// A minority would seal or adopt, or a quorum could not: Q = 1, 2, 2, 3, 4 and A = 1, 2, 2, 3, 5.
    function test_quorum__of_every_committee() external {
        _requireQuorums(1, 1, 1);
        _requireQuorums(2, 2, 2);
        _requireQuorums(3, 2, 2);
        _requireQuorums(4, 3, 3);
        _requireQuorums(7, 4, 5);
        _requireQuorums(64, 33, 43);
    }
}
