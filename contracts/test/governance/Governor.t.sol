// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IEmission} from "../../src/governance/interfaces/IEmission.sol";
import {IFlockGovernor} from "../../src/governance/interfaces/IFlockGovernor.sol";
import {GovernanceTest, IGm} from "./GovernanceTest.sol";

contract GovernorTest is GovernanceTest {
    address private arena = vm.addr(0xA2E4);

    function _state(uint256 id, IGovernor.ProposalState expected) private view {
        eq(uint256(governor.state(id)), uint256(expected), "state");
    }

    function _weightsCall() private view returns (Calls memory) {
        return call1(address(emission), abi.encodeCall(IEmission.setWeights, (weights(arena, 3))));
    }

    /// Nothing could be decided, or it would be executed before its time.
    function test_flow__weights_and_treasury() external {
        vm.warp(START + 10 days);
        emission.mint(address(timelock));
        Calls memory c = Calls(new address[](2), new uint256[](2), new bytes[](2), "Arena gets three of four, and a grant");
        (c.targets[0], c.payloads[0]) = (address(emission), abi.encodeCall(IEmission.setWeights, (weights(arena, 3))));
        (c.targets[1], c.payloads[1]) = (address(token), abi.encodeCall(token.transfer, (arena, 1_000_000 ether)));
        uint256 id = propose(voter, c);
        check(governor.proposalNeedsQueuing(id), "every proposal waits in the timelock");
        _state(id, IGovernor.ProposalState.Pending);
        vm.warp(block.timestamp + 1 days + 1);
        _state(id, IGovernor.ProposalState.Active);
        vote(voter, id, 1);
        vm.warp(governor.proposalDeadline(id) + 1);
        _state(id, IGovernor.ProposalState.Succeeded);
        vm.prank(stranger);
        queue(c);
        _state(id, IGovernor.ProposalState.Queued);
        vm.warp(block.timestamp + 2 days - 1);
        (bool ok,) = address(this).call(abi.encodeCall(this.executeNow, (c)));
        check(!ok, "the timelock holds");
        vm.warp(block.timestamp + 1);
        vm.prank(stranger);
        execute(c);
        _state(id, IGovernor.ProposalState.Executed);
        eq(emission.weightOf(arena), 3, "weights");
        eq(token.balanceOf(arena), 1_000_000 ether, "grant");
        eq(token.balanceOf(address(timelock)), 10 * DAILY - 1_000_000 ether, "treasury");
        (ok,) = address(this).call(abi.encodeCall(this.executeNow, (c)));
        check(!ok, "once");
    }

    function executeNow(Calls memory c) external {
        execute(c);
    }

    /// A setting could not be changed any more.
    function test_flow__own_settings_staking_and_delay() external {
        bytes[5] memory own = [
            abi.encodeCall(governor.setVotingDelay, (3 days)),
            abi.encodeCall(governor.setVotingPeriod, (7 days)),
            abi.encodeCall(governor.setProposalThreshold, (5 ether)),
            abi.encodeCall(governor.updateQuorumNumerator, (50)),
            abi.encodeCall(governor.relay, (address(gm), 0, abi.encodeCall(gm.delegate, (stranger))))
        ];
        Calls memory c = Calls(new address[](7), new uint256[](7), new bytes[](7), "all settings");
        for (uint256 i = 0; i < 5; ++i) (c.targets[i], c.payloads[i]) = (address(governor), own[i]);
        (c.targets[5], c.payloads[5]) = (address(timelock), abi.encodeCall(timelock.updateDelay, (4 days)));
        (c.targets[6], c.payloads[6]) = (address(gm), abi.encodeCall(gm.setStakingContract, (arena, true)));
        enact(c);
        eq(governor.votingDelay(), 3 days, "voting delay");
        eq(governor.votingPeriod(), 7 days, "voting period");
        eq(governor.proposalThreshold(), 5 ether, "threshold");
        eq(governor.quorumNumerator(), 50, "quorum");
        eq(gm.delegates(address(governor)), stranger, "relayed");
        eq(timelock.getMinDelay(), 4 days, "delay");
        check(gm.isStakingContract(arena), "staking contract");
        vm.warp(block.timestamp + 1);
        eq(governor.quorum(block.timestamp - 1), gm.totalSupply() / 2, "half of all gm");
    }

    /// The timelock, and with it the treasury, could be lost by a proposal.
    function test_updateTimelock__never() external {
        vm.expectRevert(IFlockGovernor.TimelockFixed.selector);
        governor.updateTimelock(stranger);
        Calls memory c = call1(address(governor), abi.encodeCall(governor.updateTimelock, (stranger)));
        succeed(c);
        queue(c);
        vm.warp(block.timestamp + 2 days);
        (bool ok,) = address(this).call(abi.encodeCall(this.executeNow, (c)));
        check(!ok, "not by a proposal either");
        eq(governor.timelock(), address(timelock), "the same");
    }

    /// Whoever locks first would decide alone while next to nothing is locked.
    function test_quorum__least() external {
        vm.warp(START);
        deployGenesis();
        give(stranger, 999_999 ether);
        lockFor(stranger, 999_999 ether, 30 days);
        vm.warp(START + 1);
        eq(governor.quorum(START), 1_000_000 ether, "not 4 % of next to nothing");
        Calls memory c = _weightsCall();
        uint256 id = propose(stranger, c);
        vm.warp(block.timestamp + 1 days + 1);
        vote(stranger, id, 1);
        vm.warp(governor.proposalDeadline(id) + 1);
        _state(id, IGovernor.ProposalState.Defeated);
    }

    /// Anybody would flood voters with proposals.
    function test_propose__threshold() external {
        give(stranger, 100_000 ether);
        lockFor(stranger, 100_000 ether - 1, 30 days);
        vm.warp(block.timestamp + 1);
        Calls memory c = _weightsCall();
        vm.prank(stranger);
        vm.expectRevert(
            abi.encodeWithSelector(
                IGovernor.GovernorInsufficientProposerVotes.selector, stranger, 100_000 ether - 1, 100_000 ether
            )
        );
        governor.propose(c.targets, c.values, c.payloads, c.description);
        lockFor(stranger, 1, 30 days);
        vm.warp(block.timestamp + 1);
        propose(stranger, c);
    }

    /// FLOCK that is borrowed, bought or locked after a proposal would decide it, or a vote count twice.
    function test_vote__of_the_snapshot_and_once() external {
        Calls memory c = _weightsCall();
        uint256 id = propose(voter, c);
        vm.warp(governor.proposalSnapshot(id) + 1);
        give(stranger, 100_000_000 ether);
        lockFor(stranger, 100_000_000 ether, 365 days);
        vm.warp(block.timestamp + 1);
        vote(stranger, id, 0);
        vote(voter, id, 1);
        (uint256 against, uint256 favour,) = governor.proposalVotes(id);
        eq(against, 0, "locked too late");
        eq(favour, gm.gmFor(VOTER_LOCK, 365 days), "the snapshot's votes");
        vm.prank(voter);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorAlreadyCastVote.selector, voter));
        governor.castVote(id, 1);
        vm.warp(governor.proposalDeadline(id) + 1);
        _state(id, IGovernor.ProposalState.Succeeded);
    }

    /// A majority against would not stop a proposal.
    function test_vote__more_against() external {
        give(stranger, 4_000_000 ether);
        lockFor(stranger, 4_000_000 ether, 365 days);
        Calls memory c = _weightsCall();
        vm.warp(block.timestamp + 1);
        uint256 id = propose(voter, c);
        vm.warp(governor.proposalSnapshot(id) + 1);
        vote(voter, id, 1);
        vote(stranger, id, 0);
        vm.warp(governor.proposalDeadline(id) + 1);
        _state(id, IGovernor.ProposalState.Defeated);
        (bool ok,) = address(this).call(abi.encodeCall(this.queueNow, (c)));
        check(!ok, "not queued");
    }

    function queueNow(Calls memory c) external {
        queue(c);
    }

    /// Somebody other than the proposer would stop a proposal, or the proposer one that is voted on.
    function test_cancel__only_the_proposer_and_only_before_the_vote() external {
        Calls memory c = _weightsCall();
        uint256 id = propose(voter, c);
        bytes memory data =
            abi.encodeCall(governor.cancel, (c.targets, c.values, c.payloads, keccak256(bytes(c.description))));
        vm.prank(stranger);
        (bool ok,) = address(governor).call(data);
        check(!ok, "a stranger");
        uint256 state = vm.snapshotState();
        vm.prank(voter);
        (ok,) = address(governor).call(data);
        check(ok, "the proposer");
        _state(id, IGovernor.ProposalState.Canceled);
        vm.revertToState(state);
        vm.warp(governor.proposalSnapshot(id) + 1);
        vm.prank(voter);
        (ok,) = address(governor).call(data);
        check(!ok, "too late");
    }

    /// A staking contract would vote with what is staked in it, or the staker lose its vote.
    function test_vote__with_staked_gm() external {
        setStaking(arena, true);
        vm.prank(voter);
        IGm(address(gm)).transfer(arena, 1_000_000 ether);
        vm.prank(arena);
        gm.delegate(arena);
        vm.warp(block.timestamp + 1);
        Calls memory c = _weightsCall();
        uint256 id = propose(voter, c);
        vm.warp(governor.proposalSnapshot(id) + 1);
        vote(arena, id, 0);
        vote(voter, id, 1);
        (uint256 against, uint256 favour,) = governor.proposalVotes(id);
        eq(against, 0, "the contract has none");
        eq(favour, gm.gmFor(VOTER_LOCK, 365 days), "the staker has all");
    }
}
