// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RoundState} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {AllianceTest} from "./AllianceTest.sol";

contract VoidTest is AllianceTest {
    function setUp() public override {
        super.setUp();
        joinAll(11);
    }

    /// A round nobody sealed would stall the alliance, or be voided while a seal is still possible.
    function test_voidRound__unsealed() external {
        uint64 deadline = state().sealDeadline;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlineNotPassed.selector, deadline));
        alliance.voidRound(0);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongRound.selector, uint32(0)));
        alliance.voidRound(1);
        vm.expectEmit();
        emit IAllianceEvents.RoundVoided(0, 1);
        vm.prank(stranger);
        alliance.voidRound(0);
        RoundState memory s = state();
        check(s.round == 1 && s.phase == 1 && s.voidCount == 1 && s.settledRoundCount == 0, "next round");
        check(s.opensAt > block.timestamp, "with a seed of its own");
    }

    /// A sealed round without any commitment would stall the alliance.
    function test_voidRound__nobody_committed() external {
        sealNow(ALL);
        uint64 deadline = state().commitDeadline;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlineNotPassed.selector, deadline));
        alliance.voidRound(0);
        vm.warp(deadline + 1);
        vm.expectEmit();
        emit IAllianceEvents.RoundVoided(0, 2);
        alliance.voidRound(0);
        (, uint256 pool, uint256 owed) = alliance.getAccounts();
        eq(pool, uint256(params.rewardPerRound) * 4 + 1, "a void round costs nothing");
        eq(owed, 0, "and pays nobody");
    }

    /// Validators that committed could be robbed of their round.
    function test_voidRound__with_commitments() external {
        sealNow(ALL);
        send(commitOf(ballotsOf(1, YES)));
        vm.warp(state().revealDeadline + 1);
        vm.expectRevert(IAllianceErrors.RoundHasCommitments.selector);
        alliance.voidRound(0);
        settle(0, ballotsOf(1, YES));
        eq(state().settledRoundCount, 1, "settled instead");
    }

    /// A dead alliance would hold its pool for ever, or one bad day would close a living one.
    function test_voidRound__in_a_row_closes() external {
        _void();
        _void();
        playRound(ALL, YES);
        eq(state().voidCount, 0, "a settled round starts the count anew");
        _void();
        _void();
        eq(state().phase, 1, "still running");
        _void();
        eq(state().phase, 4, "closed");
        check(alliance.getCredit(creator) > 0, "the residual is the creator's");
        vm.expectRevert(IAllianceErrors.AllianceIsClosed.selector);
        alliance.voidRound(5);
    }

    function _void() private {
        vm.warp(state().sealDeadline + 1);
        alliance.voidRound(state().round);
    }

    /// Leavers would have to wait for a settled round.
    function test_voidRound__lets_leavers_go() external {
        join(11, 0);
        vm.prank(member(0));
        alliance.leave();
        _void();
        eq(alliance.seatCount(), 11, "removed");
    }

    /// An alliance that never fills would lock its pool.
    function test_close__after_waiting() external {
        alliance = create(params, 1);
        uint64 deadline = uint64(block.timestamp + 30 days);
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlineNotPassed.selector, deadline));
        alliance.close();
        vm.warp(deadline + 1);
        vm.expectEmit();
        emit IAllianceEvents.AllianceClosed(type(uint32).max, uint256(params.rewardPerRound) * 4 + 1);
        alliance.close();
        vm.expectRevert(IAllianceErrors.AllianceIsClosed.selector);
        alliance.close();
        vm.prank(creator);
        alliance.claim();
        eq(token.balanceOf(creator), uint256(params.rewardPerRound) * 4 + 1, "pool back");
        requireConserved();
    }

    /// Anyone could close an alliance that works.
    function test_close__while_a_round_runs() external {
        vm.warp(block.timestamp + 60 days);
        vm.expectRevert(IAllianceErrors.RoundIsRunning.selector);
        alliance.close();
    }
}
