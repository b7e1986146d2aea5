// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, RoundRecord} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {AllianceTest} from "./AllianceTest.sol";

contract RewardsTest is AllianceTest {
    uint256 private constant BUDGET = 1000 ether + 7;
    uint256 private constant VALIDATOR = BUDGET * 4000 / 10_000 / 3;
    uint256 private constant REFUND = BUDGET * 1000 / 10_000 / 3;

    function setUp() public override {
        super.setUp();
        joinAll(11);
    }

    /// Owners by position, asked before the round settles.
    function _roles(uint256 count) private view returns (address[] memory owners) {
        owners = new address[](count);
        for (uint256 p = 0; p < count; ++p) owners[p] = ownerAt(p);
    }

    /// Rewards would depend on something else than role, survival and adoption.
    function test_claimRounds__everyone_is_paid_once() external {
        vm.warp(state().opensAt);
        address[] memory roles = _roles(11);
        playRound(0xf7, YES); // trainer 3 dropped out
        uint256 trainer = BUDGET * 4000 / 10_000 / 7;
        RoundRecord[] memory records = recordsOf(0, 1);
        for (uint256 p = 0; p < 11; ++p) {
            uint256 due = p < 3 ? VALIDATOR : p == 6 ? 0 : trainer;
            eq(rewardOf(roles[p], 0), due, "reward");
            if (due == 0) continue;
            vm.expectEmit();
            emit IAllianceEvents.RewardClaimed(roles[p], due);
            eq(claimAs(roles[p], records), due, "paid");
            eq(rewardOf(roles[p], 0), 0, "claimed");
        }
        requireConserved();
        for (uint256 p = 0; p < 11; ++p) {
            vm.expectRevert(IAllianceErrors.NothingToClaim.selector);
            vm.prank(roles[p]);
            alliance.claimRounds(records);
        }
        (, uint256 pool, uint256 owed) = alliance.getAccounts();
        eq(owed, 3 * REFUND, "only the refunds are left"); // this test sent the three transactions
        eq(pool, BUDGET * 3 + 1 + (BUDGET - 3 * VALIDATOR - 7 * trainer - 3 * REFUND), "dust stays in the pool");
        vm.expectRevert(IAllianceErrors.NothingToClaim.selector);
        alliance.claim(); // refunds are rewards of the round
        eq(claimAs(address(this), records), 3 * REFUND, "refunds");
        vm.expectRevert(IAllianceErrors.NothingToClaim.selector);
        alliance.claimRounds(records);
        (,, owed) = alliance.getAccounts();
        eq(owed, 0, "nothing is left");
    }

    /// A round named twice in one claim would be paid twice.
    function test_claimRounds__same_round_twice() external {
        vm.warp(state().opensAt);
        address validator = ownerAt(0);
        playRound(ALL, YES);
        RoundRecord[] memory twice = new RoundRecord[](2);
        (twice[0], twice[1]) = (recordOf(0), recordOf(0));
        eq(claimAs(validator, twice), VALIDATOR, "paid once");
    }

    /// Whoever makes up a record, or changes one field of a true one, would be paid for it.
    function test_claimRounds__wrong_record() external {
        vm.warp(state().opensAt);
        address validator = ownerAt(0);
        playRound(ALL, YES);
        playRound(ALL, YES);
        for (uint256 field = 0; field < 13; ++field) {
            RoundRecord[] memory records = recordsOf(0, 1);
            RoundRecord memory r = records[0];
            if (field == 0) r.round = 1;
            if (field == 1) r.seatCount += 1;
            if (field == 2) r.revealed = 3;
            if (field == 3) r.seed = MODEL;
            if (field == 4) r.survivors[0] = 0;
            if (field == 5) r.survivors = new uint256[](2);
            if (field == 6) r.trainerRewards[0] += 1;
            if (field == 7) r.validatorRewards[0] += 1;
            if (field == 8) r.refund += 1;
            if (field == 9) r.sealer = validator;
            if (field == 10) r.committer = validator;
            if (field == 11) r.settler = validator;
            if (field == 12) r.round = 2; // runs
            bytes memory error = abi.encodeWithSelector(IAllianceErrors.WrongRecord.selector, r.round);
            vm.expectRevert(error);
            alliance.getReward(validator, r);
            vm.expectRevert(error);
            vm.prank(validator);
            alliance.claimRounds(records);
        }
        RoundRecord memory nothing;
        nothing.round = 7;
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongRecord.selector, uint32(7)));
        alliance.getReward(validator, nothing);
    }

    /// A record would be taken for another alliance's round of the same number.
    function test_claimRounds__record_of_another_alliance() external {
        playRound(ALL, YES);
        RoundRecord[] memory records = recordsOf(0, 1);
        alliance = create(params, 1);
        joinAll(11);
        playRound(0x7f, YES);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongRecord.selector, uint32(0)));
        vm.prank(member(0));
        alliance.claimRounds(records);
    }

    /// Whoever had no seat would be paid, or a sender's refund not because it has none.
    function test_claimRounds__refunds_of_non_members() external {
        sealNow(ALL);
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        SettleCall memory call = settleOf(0, ballots);
        vm.prank(stranger);
        send(call);
        eq(rewardOf(stranger, 0), REFUND, "the settler");
        eq(rewardOf(creator, 0), 0, "nobody");
        eq(rewardOf(address(0), 0), 0, "the zero address has no refund");
        eq(claimAs(stranger, recordsOf(0, 1)), REFUND, "paid");
        vm.expectRevert(IAllianceErrors.NothingToClaim.selector);
        vm.prank(creator);
        alliance.claimRounds(recordsOf(0, 1));
    }

    /// A member that sent a round's transactions would lose its refund to its reward, or the other way round.
    function test_claimRounds__refund_and_reward_of_one_account() external {
        sealNow(ALL);
        address validator = ownerAt(1);
        Ballot[] memory ballots = ballotsOf(3, YES);
        CommitCall memory commits = commitOf(ballots);
        vm.prank(validator);
        send(commits);
        SettleCall memory call = settleOf(0, ballots);
        vm.prank(validator);
        send(call);
        eq(rewardOf(validator, 0), VALIDATOR + 2 * REFUND, "both");
        eq(claimAs(validator, recordsOf(0, 1)), VALIDATOR + 2 * REFUND, "at once");
        eq(rewardOf(validator, 0), 0, "once");
    }

    /// Trainers of a rejected or undecided cohort would be paid, or those of an adopted one paid less for them being few.
    function test_claimRounds__only_adopted_cohorts() external {
        sealNow(ALL);
        address[] memory roles = _roles(11);
        Ballot[] memory ballots = ballotsOf(3, YES);
        for (uint256 i = 0; i < 3; ++i) setVerdict(ballots[i], 0, NO, 0);
        playBallots(ballots);
        for (uint256 t = 0; t < 8; ++t) {
            uint256 due = t < 4 ? 0 : BUDGET * 4000 / 10_000 / 4;
            eq(rewardOf(roles[3 + t], 0), due, "trainer");
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
        vm.warp(state().revealDeadline + 1);
        settle(0, two(ballots[0], ballots[2]));
        eq(rewardOf(roles[0], 0), VALIDATOR, "revealed");
        eq(rewardOf(roles[1], 0), 0, "silent");
        eq(rewardOf(roles[2], 0), VALIDATOR, "not a wei more");
    }

    /// Refunds would go to whoever sends the last byte, or be paid for a round that becomes void.
    function test_refunds__to_the_senders_that_reach_the_quorum() external {
        vm.warp(state().opensAt);
        SealCall memory sealing = sealOf(ALL);
        vm.prank(vm.addr(71));
        send(sealing);
        (,, uint256 owed) = alliance.getAccounts();
        eq(owed, 0, "not before the round is settled");
        Ballot[] memory ballots = ballotsOf(3, YES);
        CommitCall memory all = commitOf(ballots);
        CommitCall memory single = commitOf(one(ballots[1]));
        vm.prank(vm.addr(72));
        send(single);
        vm.prank(vm.addr(73));
        send(all);
        SettleCall memory piece = settleOf(0, one(ballots[1]));
        vm.prank(vm.addr(74));
        send(piece);
        SettleCall memory end = settleOf(0, ballots);
        vm.prank(vm.addr(75));
        send(end);
        uint256[5] memory due = [REFUND, 0, REFUND, 0, REFUND];
        for (uint256 i = 0; i < 5; ++i) eq(rewardOf(vm.addr(71 + i), 0), due[i], "refund");
        eq(recordOf(0).refund, REFUND, "a third of a tenth");
        requireConserved();
    }

    /// Without quorum of commitments nothing was led; a lone validator could collect refunds.
    function test_refunds__not_without_quorum() external {
        sealNow(ALL);
        playBallots(ballotsOf(1, YES));
        eq(rewardOf(address(this), 0), 0, "refund");
        RoundRecord memory r = recordOf(0);
        check(r.sealer == address(0) && r.committer == address(0) && r.settler == address(0), "nobody is named");
        (, uint256 pool,) = alliance.getAccounts();
        eq(pool, BUDGET * 4 + 1 - VALIDATOR, "only the one validator");
    }

    /// Without quorum of opened votes nothing was settled: the settler would be paid for ending a failed round.
    function test_refunds__settler_without_quorum() external {
        sealNow(ALL);
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        vm.warp(state().revealDeadline + 1);
        settle(0, one(ballots[0]));
        RoundRecord memory r = recordOf(0);
        check(r.sealer == address(this) && r.committer == address(this) && r.settler == address(0), "two are named");
        (,, uint256 owed) = alliance.getAccounts();
        eq(owed, VALIDATOR + 2 * REFUND, "and paid");
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
        for (uint256 i = 0; i < 13; ++i) eq(rewardOf(member(i), 1), due[i], "after the swap");
        eq(rewardOf(member(11), 0), 0, "no seat in round 0");
        check(rewardOf(member(2), 0) > 0, "round 0 of one that left");

        vm.warp(block.timestamp + 10);
        vm.prank(member(2));
        alliance.withdraw();
        join(2, 1); // back at another index, from round 3 on
        playRound(ALL, YES);
        eq(rewardOf(member(2), 2), 0, "absent in round 2");
        playRound(ALL, YES);
        check(rewardOf(member(2), 3) > 0, "back in round 3");
        eq(rewardOf(member(2), 1), due[2], "round 1 as before");
        _claimEverything(13, 4);
        (, uint256 pool, uint256 owed) = alliance.getAccounts();
        check(pool == 0 && owed == 0, "to the last wei");
        eq(token.balanceOf(address(alliance)), uint256(params.seatStake) * 13, "only stakes are left");
    }

    function _claimEverything(uint256 members, uint32 roundCount) private {
        RoundRecord[] memory all = recordsOf(0, roundCount);
        for (uint256 i = 0; i < members; ++i) claimAs(member(i), all);
        claimAs(address(this), all);
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
    function testFuzz_budget__never_exceeded(uint96 budget, uint8 survivorsSeed, uint256 votes) external {
        budget = uint96(bound(budget, 0, 10_000 ether));
        params.rewardPerRound = budget;
        alliance = create(params, 0);
        joinAll(11);
        sealNow(uint256(survivorsSeed) | 0x07); // cohort 0 is never void
        Ballot[] memory ballots = ballotsOf(3, YES);
        for (uint256 i = 0; i < 6; ++i) {
            uint8 verdict = uint8(votes >> 8 * i & 3) % 3;
            setVerdict(ballots[i / 2], i % 2, verdict, verdict == YES ? uint8(votes >> 8 * i + 4 & 15) : 0);
        }
        playBallots(ballots);
        (, uint256 pool, uint256 owed) = alliance.getAccounts();
        check(owed <= budget, "over budget");
        check(pool >= uint256(budget) * 3, "the budgets of the three rounds to come");
        eq(pool + owed, uint256(budget) * 4, "conserved");
        uint256 due = rewardOf(address(this), 0);
        for (uint256 i = 0; i < 11; ++i) due += rewardOf(member(i), 0);
        eq(due, owed, "what is owed is claimable, to the wei");
    }
}
