// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, RoundState} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {AllianceTest} from "./AllianceTest.sol";

contract CommitTest is AllianceTest {
    function setUp() public override {
        super.setUp();
        joinAll(11);
        sealNow(ALL);
    }

    function _commit(uint256 count) private view returns (CommitCall memory) {
        return commitOf(ballotsOf(count, YES));
    }

    function _only(CommitCall memory all, uint256 i) private view returns (CommitCall memory call) {
        call.round = all.round;
        call.positions = new uint16[](1);
        call.commitments = new bytes32[](1);
        call.positions[0] = all.positions[i];
        call.commitments[0] = all.commitments[i];
        signCommits(call);
    }

    /// A batch of commitments would be lost.
    function test_commitRound__all_at_once() external {
        CommitCall memory call = _commit(3);
        vm.expectEmit();
        emit IAllianceEvents.BallotsCommitted(0, call.positions, call.commitments);
        send(call);
        RoundState memory s = state();
        eq(s.committedPositions, 7, "bitmap");
        eq(s.commitCount, 3, "count");
        eq(s.phase, 3, "the phase ends as soon as complete");
        eq(s.commitDeadline, block.timestamp, "commit deadline");
        eq(s.revealDeadline, block.timestamp + 8, "reveal deadline");
    }

    /// One validator that committed itself would make the leader's batch fail.
    function test_commitRound__skips_known_positions() external {
        CommitCall memory all = _commit(3);
        send(_only(all, 1));
        CommitCall memory rest = _commit(3);
        rest.commitments[1] = MODEL; // what a batch says about a known position is not even looked at
        rest.signatures[1] = "";
        uint16[] memory positions = new uint16[](2);
        bytes32[] memory commitments = new bytes32[](2);
        (positions[0], positions[1]) = (0, 2);
        (commitments[0], commitments[1]) = (rest.commitments[0], rest.commitments[2]);
        vm.expectEmit();
        emit IAllianceEvents.BallotsCommitted(0, positions, commitments);
        send(rest);
        eq(state().commitCount, 3, "count");
        alliance.settleRound(0, ballotsOf(3, YES)); // the first commitment of position 1 stands
    }

    /// A validator could change its vote after committing.
    function test_commitRound__only_once() external {
        CommitCall memory call = _only(_commit(3), 0);
        send(call);
        call.commitments[0] = MODEL;
        signCommits(call);
        vm.expectRevert(IAllianceErrors.NothingNew.selector);
        send(call);
        vm.expectRevert(IAllianceErrors.NothingNew.selector);
        alliance.commitRound(0, new uint16[](0), new bytes32[](0), new bytes[](0));
    }

    /// The others would wait for a silent validator until the last deadline, or be cut off at once.
    function test_commitRound__quorum_shortens_the_deadline() external {
        CommitCall memory all = _commit(3);
        uint64 first = state().commitDeadline;
        send(_only(all, 2));
        eq(state().commitDeadline, first, "one of three changes nothing");
        vm.warp(block.timestamp + 4);
        send(_only(all, 0));
        eq(state().commitDeadline, block.timestamp + 7, "two of three: 7 s remain");
        vm.warp(block.timestamp + 8);
        eq(state().phase, 3, "revealing");
        CommitCall memory late = _only(all, 1);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlinePassed.selector, uint64(block.timestamp - 1)));
        send(late);
    }

    /// A quorum that forms late would prolong the phase beyond its first deadline.
    function test_commitRound__quorum_never_prolongs() external {
        CommitCall memory all = _commit(3);
        uint64 first = state().commitDeadline;
        vm.warp(first - 1);
        send(_only(all, 2));
        send(_only(all, 0));
        eq(state().commitDeadline, first, "unchanged");
        vm.warp(first);
        send(_only(all, 1)); // in the last second
        eq(state().commitCount, 3, "count");
    }

    /// A commitment of somebody else, of nobody or without content would be recorded.
    function test_commitRound__bad_entries() external {
        CommitCall memory call = _commit(3);
        call.signatures[2] = call.signatures[1];
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 2));
        send(call);
        call = _commit(3);
        call.signatures[0] = malleate(call.signatures[0]);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 0));
        send(call);
        call = _commit(3);
        call.commitments[1] = 0;
        signCommits(call);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongCommitment.selector, 1));
        send(call);
        call = _commit(3);
        call.positions[2] = 1;
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongPosition.selector, 1));
        send(call);
        call = _commit(3);
        call.positions[2] = 3;
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongPosition.selector, 3));
        send(call);
        call = _commit(3);
        call.commitments = new bytes32[](2);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongSignatureCount.selector, 3));
        send(call);
        eq(state().commitCount, 0, "count");
    }

    /// A vote could be committed before there is anything to vote on, or in another round.
    function test_commitRound__not_sealed() external {
        CommitCall memory call = _commit(3);
        call.round = 1;
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongRound.selector, uint32(0)));
        send(call);
        call.round = 0;
        vm.warp(state().commitDeadline + 1);
        alliance.voidRound(0);
        vm.warp(state().opensAt);
        call.round = 1;
        vm.expectRevert(IAllianceErrors.NotSealed.selector);
        send(call);
    }

    /// A copied commitment could be opened as the copier's own vote.
    function test_commitRound__copied_commitment_does_not_open() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        CommitCall memory call = commitOf(ballots);
        call.commitments[2] = call.commitments[0];
        signCommits(call);
        send(call);
        ballots[2].salt = ballots[0].salt;
        signBallot(ballots[2]);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.BallotNotCommitted.selector, 2));
        alliance.settleRound(0, ballots);
    }

    /// Somebody could commit after the first votes were opened.
    function test_commitRound__after_the_first_reveal() external {
        CommitCall memory all = _commit(3);
        send(_only(all, 0));
        send(_only(all, 1));
        vm.warp(state().commitDeadline);
        uint64 deadline = state().commitDeadline;
        Ballot[] memory first = one(ballotOf(0, YES));
        CommitCall memory late = _only(all, 2);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.CommitPhaseNotOver.selector, deadline));
        alliance.settleRound(0, first);
        vm.warp(deadline + 1);
        alliance.settleRound(0, first);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlinePassed.selector, deadline));
        send(late);
    }
}
