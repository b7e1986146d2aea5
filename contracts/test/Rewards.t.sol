// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {AllianceTest} from "./AllianceTest.sol";

contract RewardsTest is AllianceTest {
    uint256 private constant BUDGET = 1000 ether + 7;
    uint256 private constant VALIDATOR = BUDGET * 5000 / 10_000 / 3;
    uint256 private constant REFUND = BUDGET * 1000 / 10_000 / 3;

    function setUp() public override {
        super.setUp();
        joinAll(11);
    }

    function _rounds(uint32 a) private pure returns (uint32[] memory list) {
        list = new uint32[](1);
        list[0] = a;
    }

    /// Owners by position, asked before the round settles.
    function _roles(uint256 count) private view returns (address[] memory owners) {
        owners = new address[](count);
        for (uint256 p = 0; p < count; ++p) owners[p] = ownerAt(p);
    }

    function _claim(address owner, uint32[] memory rounds) private returns (uint256) {
        uint256 before = token.balanceOf(owner);
        vm.prank(owner);
        alliance.claimRounds(rounds);
        return token.balanceOf(owner) - before;
    }

    /// Rewards would depend on something else than role, survival and adoption.
    function test_claimRounds__everyone_is_paid_once() external {
        vm.warp(state().opensAt);
        address[] memory roles = _roles(11);
        playRound(0xf7, YES); // trainer 3 dropped out
        uint256 trainer = BUDGET * 4000 / 10_000 / 7;
        for (uint256 p = 0; p < 11; ++p) {
            uint256 due = p < 3 ? VALIDATOR : p == 6 ? 0 : trainer;
            eq(alliance.getReward(roles[p], 0), due, "reward");
            if (due == 0) continue;
            vm.expectEmit();
            emit IAllianceEvents.RewardClaimed(roles[p], due);
            eq(_claim(roles[p], _rounds(0)), due, "paid");
            eq(alliance.getReward(roles[p], 0), 0, "claimed");
        }
        requireConserved();
        for (uint256 p = 0; p < 11; ++p) {
            vm.expectRevert(IAllianceErrors.NothingToClaim.selector);
            vm.prank(roles[p]);
            alliance.claimRounds(_rounds(0));
        }
        (, uint256 pool, uint256 owed) = alliance.getAccounts();
        eq(owed, 3 * REFUND, "only the refunds are left"); // this test sent the three transactions
        eq(pool, BUDGET * 3 + 1 + (BUDGET - 3 * VALIDATOR - 7 * trainer - 3 * REFUND), "dust stays in the pool");
        eq(alliance.getCredit(address(this)), 3 * REFUND, "refunds");
        alliance.claim();
        vm.expectRevert(IAllianceErrors.NothingToClaim.selector);
        alliance.claim();
    }

    /// A round named twice in one claim would be paid twice.
    function test_claimRounds__same_round_twice() external {
        vm.warp(state().opensAt);
        address validator = ownerAt(0);
        playRound(ALL, YES);
        uint32[] memory twice = new uint32[](3); // 0, 0, and 7, which is not settled
        twice[2] = 7;
        eq(_claim(validator, twice), VALIDATOR, "paid once");
    }

    /// Trainers of a rejected or undecided cohort would be paid, or those of an adopted one paid less for them being few.
    function test_claimRounds__only_adopted_cohorts() external {
        sealNow(ALL);
        address[] memory roles = _roles(11);
        Ballot[] memory ballots = ballotsOf(3, YES);
        for (uint256 i = 0; i < 3; ++i) {
            ballots[i].verdicts = hex"0201";
            signBallot(ballots[i]);
        }
        send(commitOf(ballots));
        alliance.settleRound(0, ballots);
        for (uint256 t = 0; t < 8; ++t) {
            uint256 due = t < 4 ? 0 : BUDGET * 4000 / 10_000 / 4;
            eq(alliance.getReward(roles[3 + t], 0), due, "trainer");
        }
    }

    /// Always saying no, or stalling the vote, would be paid like adopting; undistributed FLOCK would vanish.
    function test_claimRounds__nothing_adopted() external {
        playRound(ALL, NO);
        (, uint256 pool, uint256 owed) = alliance.getAccounts();
        eq(owed, 3 * VALIDATOR + 3 * REFUND, "validators and senders");
        eq(pool, BUDGET * 4 + 1 - owed, "the trainers' part stays");
        requireConserved();
    }

    /// Keeping another validator from revealing would raise one's own pay.
    function test_claimRounds__validators_that_did_not_reveal() external {
        sealNow(ALL);
        address[] memory roles = _roles(3);
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        Ballot[] memory two = new Ballot[](2);
        (two[0], two[1]) = (ballots[0], ballots[2]);
        vm.warp(state().revealDeadline + 1);
        alliance.settleRound(0, two);
        eq(alliance.getReward(roles[0], 0), VALIDATOR, "revealed");
        eq(alliance.getReward(roles[1], 0), 0, "silent");
        eq(alliance.getReward(roles[2], 0), VALIDATOR, "not a wei more");
    }

    /// Refunds would go to whoever sends the last byte, or be paid for a round that becomes void.
    function test_refunds__to_the_senders_that_reach_the_quorum() external {
        vm.warp(state().opensAt);
        SealCall memory call = sealOf(ALL);
        vm.prank(vm.addr(71));
        alliance.sealRound(
            0, 0, call.beaconSignature, MANIFEST, call.survivors, call.positions, call.signatures
        );
        eq(alliance.getCredit(vm.addr(71)), 0, "not before the round is sure to be settled");
        Ballot[] memory ballots = ballotsOf(3, YES);
        CommitCall memory all = commitOf(ballots);
        CommitCall memory single = commitOf(one(ballots[1]));
        vm.prank(vm.addr(72));
        alliance.commitRound(0, single.positions, single.commitments, single.signatures);
        vm.prank(vm.addr(73));
        alliance.commitRound(0, all.positions, all.commitments, all.signatures);
        Ballot[] memory piece = one(ballots[1]);
        vm.prank(vm.addr(74));
        alliance.settleRound(0, piece);
        vm.prank(vm.addr(75));
        alliance.settleRound(0, ballots);
        uint256[5] memory due = [REFUND, 0, REFUND, 0, REFUND];
        for (uint256 i = 0; i < 5; ++i) eq(alliance.getCredit(vm.addr(71 + i)), due[i], "refund");
        requireConserved();
    }

    /// Without quorum of commitments nothing was led; a lone validator could collect refunds.
    function test_refunds__not_without_quorum() external {
        sealNow(ALL);
        Ballot[] memory ballots = ballotsOf(1, YES);
        send(commitOf(ballots));
        vm.warp(state().commitDeadline + 1);
        alliance.settleRound(0, ballots);
        eq(alliance.getCredit(address(this)), 0, "refund");
        (, uint256 pool,) = alliance.getAccounts();
        eq(pool, BUDGET * 4 + 1 - VALIDATOR, "only the one validator");
    }

    /// Whoever moved to another seat, left, or came back would be paid for another seat's work, or not at all.
    function test_claimRounds__after_seats_were_swapped() external {
        (params.penaltyWindowSeconds, params.unbondingSeconds) = (3, 10);
        alliance = create(params, 1);
        joinAll(11);
        join(11, 0);
        join(12, 0);
        playRound(ALL, YES); // round 0: 11 seats
        vm.prank(member(2));
        alliance.leave();
        vm.prank(member(5));
        alliance.leave();
        vm.warp(state().opensAt);
        uint256[13] memory due;
        for (uint256 p = 0; p < 13; ++p) {
            for (uint256 i = 0; i < 13; ++i) {
                if (ownerAt(p) == member(i)) due[i] = p < 3 ? VALIDATOR : BUDGET * 4000 / 10_000 / 10;
            }
        }
        playRound(ALL, YES); // round 1: 13 seats, then 2 and 5 go, 11 and 12 take their places
        for (uint256 i = 0; i < 13; ++i) eq(alliance.getReward(member(i), 1), due[i], "after the swap");
        eq(alliance.getReward(member(11), 0), 0, "no seat in round 0");
        check(alliance.getReward(member(2), 0) > 0, "round 0 of one that left");

        vm.warp(block.timestamp + 10);
        vm.prank(member(2));
        alliance.withdraw();
        join(2, 1); // back at another index, from round 3 on
        playRound(ALL, YES);
        eq(alliance.getReward(member(2), 2), 0, "absent in round 2");
        playRound(ALL, YES);
        check(alliance.getReward(member(2), 3) > 0, "back in round 3");
        eq(alliance.getReward(member(2), 1), due[2], "round 1 as before");
        _claimEverything(13, 4);
        (, uint256 pool, uint256 owed) = alliance.getAccounts();
        check(pool == 0 && owed == 0, "to the last wei");
        eq(token.balanceOf(address(alliance)), uint256(params.seatStake) * 13, "only stakes are left");
    }

    function _claimEverything(uint256 members, uint32 roundCount) private {
        uint32[] memory all = new uint32[](roundCount);
        for (uint32 r = 0; r < roundCount; ++r) all[r] = r;
        for (uint256 i = 0; i < members; ++i) _claim(member(i), all);
        alliance.claim();
        vm.prank(creator);
        alliance.claim();
    }

    /// The last wei would be locked, or the creator paid what members have not claimed yet.
    function test_close__residual() external {
        for (uint256 r = 0; r < 4; ++r) playRound(r % 2 == 0 ? ALL : 0x7f, r == 3 ? NO : YES);
        eq(state().phase, 4, "closed");
        (, uint256 pool, uint256 owed) = alliance.getAccounts();
        eq(pool, 0, "everything is assigned");
        check(owed > 0, "and unpaid");
        requireConserved();
        vm.warp(block.timestamp + 3650 days); // claims never expire
        _claimEverything(11, 4);
        (,, owed) = alliance.getAccounts();
        eq(owed, 0, "nothing is left");
        eq(token.balanceOf(address(alliance)), uint256(params.seatStake) * 11, "only stakes are left");
    }

    /// FLOCK sent by mistake would unbalance the books or be paid to somebody.
    function test_donation__changes_no_account() external {
        (uint256 stakes, uint256 pool, uint256 owed) = alliance.getAccounts();
        token.transfer(address(alliance), 5);
        (uint256 stakes2, uint256 pool2, uint256 owed2) = alliance.getAccounts();
        check(stakes == stakes2 && pool == pool2 && owed == owed2, "accounts");
    }

    /// Rounds would be paid with dust of earlier ones missing: the last budgets could not be met.
    /// forge-config: default.fuzz.runs = 48
    function testFuzz_budget__never_exceeded(uint96 budget, uint8 survivorsSeed, bool adopt) external {
        budget = uint96(bound(budget, 0, 10_000 ether));
        params.rewardPerRound = budget;
        alliance = create(params, 0);
        joinAll(11);
        uint256 survivors = uint256(survivorsSeed) | 0x07; // cohort 0 is never void
        playRound(survivors, adopt ? YES : NO);
        (, uint256 pool, uint256 owed) = alliance.getAccounts();
        check(owed <= budget, "over budget");
        check(pool >= uint256(budget) * 3, "the budgets of the three rounds to come");
        eq(pool + owed, uint256(budget) * 4, "conserved");
        uint256 due = alliance.getCredit(address(this));
        for (uint256 i = 0; i < 11; ++i) due += alliance.getReward(member(i), 0);
        eq(due, owed, "what is owed is claimable, to the wei");
    }
}
