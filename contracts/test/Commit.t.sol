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

    function _commit(uint256 count) private returns (CommitCall memory) {
        return commitOf(ballotsOf(count, YES));
    }

    function _only(CommitCall memory all, uint256 i) private view returns (CommitCall memory call) {
        call.seal = all.seal;
        call.positions = uint64(1) << uint64(i);
        call.commitments = new bytes32[](1);
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
        replaceSignature(rest.signatures, 1, new bytes(65));
        bytes32[] memory commitments = new bytes32[](2);
        (commitments[0], commitments[1]) = (rest.commitments[0], rest.commitments[2]);
        vm.expectEmit();
        emit IAllianceEvents.BallotsCommitted(0, 5, commitments);
        send(rest);
        eq(state().commitCount, 3, "count");
        settle(0, ballotsOf(3, YES)); // the first commitment of position 1 stands
        eq(state().settledRoundCount, 1, "settled");
    }

    /// A validator could change its vote after committing.
    function test_commitRound__only_once() external {
        CommitCall memory call = _only(_commit(3), 0);
        send(call);
        call.commitments[0] = MODEL;
        signCommits(call);
        vm.expectRevert(IAllianceErrors.NothingNew.selector);
        send(call);
        call.positions = 0;
        (call.commitments, call.signatures) = (new bytes32[](0), "");
        vm.expectRevert(IAllianceErrors.NothingNew.selector);
        send(call);
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
        bytes memory good = call.signatures;
        replaceSignature(call.signatures, 2, signatureAt(good, 1));
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 2), call);
        call = _commit(3);
        replaceSignature(call.signatures, 0, malleate(signatureAt(call.signatures, 0)));
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 0), call);
        call = _commit(3);
        call.commitments[1] = 0;
        signCommits(call);
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongCommitment.selector, 1), call);
        call = _commit(3);
        call.positions = 11; // position 3 is a trainer
        signCommits(call);
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongPosition.selector, 3), call);
        bytes memory count = abi.encodeWithSelector(IAllianceErrors.WrongSignatureCount.selector, 3);
        call = _commit(3);
        call.commitments = new bytes32[](2);
        _refuse(count, call);
        call = _commit(3);
        call.signatures = bytes.concat(call.signatures, hex"00");
        _refuse(count, call);
        call = _commit(3);
        call.positions = 3;
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongSignatureCount.selector, 2), call);
        eq(state().commitCount, 0, "count");
    }

    function _refuse(bytes memory error, CommitCall memory call) private {
        vm.expectRevert(error);
        send(call);
    }

    /// A vote could be committed before there is anything to vote on, or in another round.
    function test_commitRound__not_sealed() external {
        CommitCall memory call = _commit(3);
        call.seal.round = 1;
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongRound.selector, uint32(0)), call);
        call.seal.round = 0;
        vm.warp(state().commitDeadline + 1);
        alliance.voidRound(0);
        vm.warp(state().opensAt);
        call.seal.round = 1;
        _refuse(abi.encodePacked(IAllianceErrors.NotSealed.selector), call);
    }

    /// Votes could be committed under a seal that is not the round's.
    function test_commitRound__another_seal() external {
        for (uint256 field = 0; field < 6; ++field) {
            CommitCall memory call = _commit(3);
            if (field == 0) call.seal.leaderView += 1;
            if (field == 1) call.seal.beaconRound += 1;
            if (field == 2) call.seal.seed = MODEL;
            if (field == 3) call.seal.manifestDigest = MODEL;
            if (field == 4) call.seal.survivors[0] -= 1;
            if (field == 5) call.seal.survivors = new uint256[](0);
            signCommits(call);
            _refuse(abi.encodePacked(IAllianceErrors.WrongSeal.selector), call);
        }
    }

    /// A copied commitment could be opened as the copier's own vote.
    function test_commitRound__copied_commitment_does_not_open() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        CommitCall memory call = commitOf(ballots);
        call.commitments[2] = call.commitments[0];
        signCommits(call);
        send(call);
        ballots[2].salt = ballots[0].salt;
        vm.expectRevert(IAllianceErrors.WrongCommitments.selector);
        settle(0, ballots);
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
        settle(0, first);
        vm.warp(deadline + 1);
        settle(0, first);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlinePassed.selector, deadline));
        send(late);
    }
}
