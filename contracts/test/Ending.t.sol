// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, JoinRequest, RoundState} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {AllianceTest} from "./AllianceTest.sol";

/// The two terms that end an alliance before its last round: the join deadline and the score target.
contract EndingTest is AllianceTest {
    bytes32 private constant OTHER = keccak256("another model");
    uint32 private constant TARGET = 900_000;

    /* JOIN DEADLINE */

    function _createUntil(uint64 deadline) private {
        params.joinDeadline = deadline;
        alliance = create(params, 1);
    }

    /// Somebody could join an alliance whose creator closed it for newcomers, or not in its last second.
    function test_join__deadline() external {
        uint64 deadline = uint64(START + 1000);
        _createUntil(deadline);
        vm.warp(deadline);
        join(0, 0);
        vm.warp(deadline + 1);
        address late = member(1);
        fund(late);
        JoinRequest memory request = requestOf(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.JoinDeadlinePassed.selector, deadline));
        vm.prank(late);
        alliance.join(request);
        eq(alliance.seatCount(), 1, "seats");
    }

    /// A member that slept would lose its seat for ever: reactivation is no joining.
    function test_reactivate__after_the_join_deadline() external {
        params.roundCount = 6;
        _createUntil(uint64(START + 1000));
        joinAll(12);
        playWithout(member(5));
        playWithout(member(5));
        alliance.suspend(member(5), recordOf(0), recordOf(1));
        playRound(ALL, YES);
        vm.warp(params.joinDeadline + 1);
        vm.prank(member(5));
        alliance.reactivate(maskKey(5, 1));
        eq(alliance.seatCount(), 12, "seated again");
    }

    /// An alliance that nobody can fill any more would hold its pool for a month.
    function test_close__after_the_join_deadline() external {
        uint64 deadline = uint64(START + 1000);
        _createUntil(deadline);
        join(0, 0);
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlineNotPassed.selector, deadline));
        alliance.close();
        vm.warp(deadline + 1);
        vm.expectEmit();
        emit IAllianceEvents.AllianceClosed(type(uint32).max, uint256(params.rewardPerRound) * 4 + 1);
        vm.prank(stranger);
        alliance.close();
        vm.prank(creator);
        alliance.claim();
        eq(token.balanceOf(creator), uint256(params.rewardPerRound) * 4 + 1, "pool back");
        vm.warp(block.timestamp + 120);
        vm.prank(member(0));
        alliance.withdraw();
        requireConserved();
    }

    /// A join deadline beyond the month of waiting would lock the pool until then.
    function test_close__month_before_the_join_deadline() external {
        _createUntil(uint64(START + 60 days));
        uint64 deadline = uint64(START + 30 days);
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlineNotPassed.selector, deadline));
        alliance.close();
        vm.warp(deadline + 1);
        alliance.close();
        eq(state().phase, 4, "closed");
    }

    /// An alliance that works could be closed because nobody can join it.
    function test_close__not_while_rounds_run_after_the_join_deadline() external {
        _createUntil(uint64(START + 1000));
        joinAll(11);
        vm.warp(START + 2000);
        vm.expectRevert(IAllianceErrors.RoundIsRunning.selector);
        alliance.close();
        alliance.voidRound(0);
        vm.expectRevert(IAllianceErrors.RoundIsRunning.selector);
        alliance.close();
        // Three seats go: nobody can fill them, so it may end at once.
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(member(i));
            alliance.leave();
        }
        playRound(ALL, YES);
        eq(state().phase, 0, "waits");
        alliance.close();
        eq(state().phase, 4, "closed");
        requireConserved();
    }

    /* SCORE TARGET */

    function _aim(uint32 target) private {
        params.scoreTargetMicro = target;
        alliance = create(params, 1);
        joinAll(11);
    }

    /// Plays a round in which the validators name these models and scores. Returns whether the alliance closed.
    function _play(bytes32[3] memory models, uint32[3] memory scores) private returns (bool closed) {
        sealNow(ALL);
        Ballot[] memory ballots = ballotsOf(3, YES);
        for (uint256 i = 0; i < 3; ++i) {
            ballots[i].baseModelDigest = models[i];
            setScore(ballots[i], scores[i]);
        }
        uint32 round = sealedNow().round;
        playBallots(ballots);
        closed = state().phase == 4;
        check(settlementOf(round).closed == closed, "the log says so");
    }

    /// An alliance that has reached its aim would go on spending its pool, or not pay the round that showed it.
    function test_score__reached() external {
        _aim(TARGET);
        check(_play([MODEL, MODEL, OTHER], [TARGET, TARGET, 0]), "a quorum that names the model, at the target");
        RoundState memory s = state();
        check(s.settledRoundCount == 1 && s.round == 0, "in its first round");
        (, uint256 pool, uint256 owed) = alliance.getAccounts();
        eq(pool, 0, "everything is assigned");
        eq(owed, uint256(params.rewardPerRound) * 4 + 1, "to members and creator");
        uint256 earned = rewardOf(address(this), 0);
        for (uint256 i = 0; i < 11; ++i) earned += rewardOf(member(i), 0);
        check(earned > uint256(params.rewardPerRound) * 8 / 10, "the round is paid");
        eq(alliance.getCredit(creator), owed - earned, "the rest is the creator's");
        requireConserved();
        vm.expectRevert(IAllianceErrors.AllianceIsClosed.selector);
        alliance.voidRound(1);
    }

    /// Fewer than a quorum, or scores of other models, could end an alliance.
    function test_score__not_reached() external {
        params.roundCount = 9;
        _aim(TARGET);
        check(!_play([MODEL, MODEL, MODEL], [TARGET, TARGET - 1, 0]), "one of three");
        check(!_play([MODEL, MODEL, OTHER], [TARGET, TARGET - 1, 1_000_000]), "the score of another model");
        check(!_play([MODEL, OTHER, bytes32(0)], [TARGET, TARGET, TARGET]), "no model is confirmed");
        check(!_play([bytes32(0), bytes32(0), bytes32(0)], [TARGET, TARGET, TARGET]), "no model is named");
        check(!_play([MODEL, MODEL, MODEL], [uint32(0), 0, 0]), "not measured");
        check(_play([OTHER, OTHER, OTHER], [TARGET, 1_000_000, 0]), "two of three");
    }

    /// A validator that only committed would count for the target.
    function test_score__only_opened_ballots() external {
        _aim(TARGET);
        sealNow(ALL);
        Ballot[] memory ballots = ballotsOf(3, YES);
        for (uint256 i = 0; i < 3; ++i) setScore(ballots[i], TARGET);
        send(commitOf(ballots));
        vm.warp(state().revealDeadline + 1);
        settle(0, one(ballots[0]));
        eq(state().phase, 1, "goes on");
    }

    /// An alliance without target would end because of its scores.
    function test_score__no_target() external {
        _aim(0);
        check(!_play([MODEL, MODEL, MODEL], [uint32(1_000_000), 1_000_000, 1_000_000]), "goes on");
        check(!_play([MODEL, MODEL, MODEL], [uint32(0), 0, 0]), "goes on");
    }

    /// The votes on a round's aggregates would matter for the score of the model it started from.
    function test_score__reached_in_a_rejected_round() external {
        _aim(TARGET);
        sealNow(ALL);
        Ballot[] memory ballots = ballotsOf(3, NO);
        for (uint256 i = 0; i < 3; ++i) setScore(ballots[i], TARGET);
        playBallots(ballots);
        eq(state().phase, 4, "closed");
        eq(recordOf(0).trainerRewards[0], 0, "nothing was adopted");
        requireConserved();
    }
}
