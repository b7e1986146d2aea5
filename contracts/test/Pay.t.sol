// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, RoundRecord} from "../src/Types.sol";
import {AllianceTest} from "./AllianceTest.sol";
import {PayReference} from "./PayReference.sol";

/// What rounds pay: the agreement bonus, pay by grade, and both against PayReference.sol for random votes.
contract PayTest is AllianceTest {
    using PayReference for PayReference.Round;

    uint256 private constant BUDGET = 1000 ether + 7;

    function _start(uint8 validators, uint8 cohorts) private {
        (params.validatorCount, params.cohortCount) = (validators, cohorts);
        params.seatCountMin = uint16(validators) + 4 * uint16(cohorts);
        params.seatCountMax = params.seatCountMin + 2;
        alliance = create(params, 1);
        joinAll(params.seatCountMin);
        sealNow(ALL);
    }

    /// Plays round 0 with these verdicts: a row for each validator, '1' yes, '2' no, '0' unavailable.
    function _vote(string[] memory rows) private returns (RoundRecord memory) {
        Ballot[] memory ballots = ballotsOf(rows.length, YES);
        for (uint256 i = 0; i < rows.length; ++i) {
            for (uint256 k = 0; k < params.cohortCount; ++k) setVerdict(ballots[i], k, uint8(bytes(rows[i])[k]) - 48, 0);
        }
        playBallots(ballots);
        return recordOf(0);
    }

    function _rows(string memory a, string memory b, string memory c) private pure returns (string[] memory rows) {
        rows = new string[](3);
        (rows[0], rows[1], rows[2]) = (a, b, c);
    }

    function _base() private view returns (uint256) {
        return BUDGET * 4000 / 10_000 / params.validatorCount;
    }

    function _most() private view returns (uint256) {
        return BUDGET * 1000 / 10_000 / params.validatorCount;
    }

    /* AGREEMENT BONUS */

    /// Saying yes to everything, which needs no evaluation, would earn a bonus when the others say yes as well.
    function test_bonus__always_yes_earns_nothing() external {
        _start(3, 4);
        RoundRecord memory r = _vote(_rows("1111", "1122", "1122"));
        eq(r.validatorRewards[0], _base(), "always yes");
        // The two others agree in all four cohorts, half of them yes: half of the most, for one of two peers.
        eq(r.validatorRewards[1], _base() + _most() / 2, "the second");
        eq(r.validatorRewards[2], _base() + _most() / 2, "the third");
    }

    /// A committee that says yes as one, without looking, would share the bonus.
    function test_bonus__unanimous_yes_earns_nothing() external {
        _start(3, 4);
        RoundRecord memory r = _vote(_rows("1111", "1111", "1111"));
        for (uint256 i = 0; i < 3; ++i) eq(r.validatorRewards[i], _base(), "base pay");
    }

    /// With one cohort nothing tells agreement from habit: a bonus could only pay for conformity.
    function test_bonus__single_cohort_earns_nothing() external {
        _start(3, 1);
        RoundRecord memory r = _vote(_rows("1", "1", "2"));
        for (uint256 i = 0; i < 3; ++i) eq(r.validatorRewards[i], _base(), "base pay");
    }

    /// The tenth would never be paid in full, or more than in full.
    function test_bonus__balanced_agreement_earns_the_maximum() external {
        _start(3, 2);
        RoundRecord memory r = _vote(_rows("12", "12", "12"));
        for (uint256 i = 0; i < 3; ++i) eq(r.validatorRewards[i], _base() + _most(), "even number of cohorts");
        _start(3, 5);
        r = _vote(_rows("12121", "12121", "12121"));
        for (uint256 i = 0; i < 3; ++i) eq(r.validatorRewards[i], _base() + _most(), "odd number of cohorts");
    }

    /// Whoever says the opposite of what it found would be paid for it, or lose its base pay.
    function test_bonus__contrarian_earns_nothing() external {
        _start(3, 4);
        RoundRecord memory r = _vote(_rows("1212", "1212", "2121"));
        eq(r.validatorRewards[2], _base(), "the contrarian");
        eq(r.validatorRewards[0], _base(), "its opposition takes the others' as well: 8 from one, -8 from the other");
    }

    /// A validator that found nothing available would be paid as if it had judged.
    function test_bonus__unavailable_earns_nothing() external {
        _start(3, 4);
        RoundRecord memory r = _vote(_rows("0000", "1122", "1122"));
        eq(r.validatorRewards[0], _base(), "judged nothing");
        eq(r.validatorRewards[1], _base() + _most() / 2, "a peer that judged nothing brings nothing");
    }

    /// Voting by the coin would pay: its expectation must be below what looking earns.
    function test_bonus__random_votes_earn_little() external {
        _start(3, 4);
        string[16] memory votes = [
            "1111", "1112", "1121", "1122", "1211", "1212", "1221", "1222",
            "2111", "2112", "2121", "2122", "2211", "2212", "2221", "2222"
        ];
        uint256 sum = 0;
        for (uint256 i = 0; i < 16; ++i) {
            uint256 clean = snapshot();
            sum += _vote(_rows(votes[i], "1122", "1122")).validatorRewards[0] - _base();
            vm.revertToState(clean);
        }
        check(sum / 16 < _most() / 5, "a fifth of what looking earns, at most");
    }

    /// A lone validator would divide by zero peers.
    function test_bonus__one_validator() external {
        _start(1, 2);
        string[] memory rows = new string[](1);
        rows[0] = "12";
        eq(_vote(rows).validatorRewards[0], _base(), "base pay");
    }

    /// Silence would be scored: peers' bonus must come from opened ballots only.
    function test_bonus__only_of_opened_ballots() external {
        _start(3, 2);
        Ballot[] memory ballots = ballotsOf(3, YES);
        for (uint256 i = 0; i < 3; ++i) setVerdict(ballots[i], 1, NO, 0);
        send(commitOf(ballots));
        vm.warp(state().revealDeadline + 1);
        settle(0, two(ballots[0], ballots[1]));
        RoundRecord memory r = recordOf(0);
        eq(r.validatorRewards[0], _base() + _most() / 2, "one peer of two");
        eq(r.validatorRewards[2], 0, "silent");
    }

    /* PAY BY GRADE */

    /// Plays round 0 in which everybody adopts everything, with `grades[i]` for cohort i from every validator.
    function _grade(uint8[] memory grades) private returns (RoundRecord memory) {
        Ballot[] memory ballots = ballotsOf(params.validatorCount, YES);
        for (uint256 i = 0; i < ballots.length; ++i) {
            for (uint256 k = 0; k < grades.length; ++k) setVerdict(ballots[i], k, YES, grades[k]);
        }
        playBallots(ballots);
        return recordOf(0);
    }

    /// A cohort that improved the model much would be paid like one that did not.
    function test_grades__weigh_the_pay() external {
        _start(3, 2);
        uint8[] memory grades = new uint8[](2);
        (grades[0], grades[1]) = (15, 0);
        RoundRecord memory r = _grade(grades);
        uint256 trainers = BUDGET * 4000 / 10_000;
        uint256 weight = 4 * 16 + 4 * 1;
        eq(r.trainerRewards[0], trainers * 16 / weight, "grade 15");
        eq(r.trainerRewards[1], trainers / weight, "grade 0 is still paid");
        eq(rewardOf(ownerAtRound0(3), 0), r.trainerRewards[0], "a trainer of cohort 0");
        eq(rewardOf(ownerAtRound0(10), 0), r.trainerRewards[1], "a trainer of cohort 1");
    }

    /// Who stood at a position of round 0.
    function ownerAtRound0(uint256 position) private returns (address owner) {
        RoundRecord memory r = recordOf(0);
        for (uint256 i = 0; i < r.seatCount; ++i) {
            owner = member(i);
            uint256 reward = alliance.getReward(owner, r);
            if (reward == (position < 7 ? r.trainerRewards[0] : r.trainerRewards[1])) return owner;
        }
    }

    /// Grades of a single cohort would raise or lower what its trainers earn: there is nobody to compare with.
    function test_grades__single_cohort_is_paid_the_same() external {
        _start(3, 1);
        uint256 clean = snapshot();
        for (uint8 g = 0; g < 16; g += 5) {
            uint8[] memory grades = new uint8[](1);
            grades[0] = g;
            eq(_grade(grades).trainerRewards[0], BUDGET * 4000 / 10_000 / 4, "a quarter of the trainers' part");
            vm.revertToState(clean);
        }
    }

    /// Grades that came with votes for another aggregate, or with a no, would count.
    function test_grades__only_of_the_adopting_votes() external {
        _start(7, 2);
        Ballot[] memory ballots = ballotsOf(7, YES);
        uint8[7] memory first = [3, 4, 5, 6, 8, 15, 15];
        for (uint256 i = 0; i < 7; ++i) {
            setVerdict(ballots[i], 0, YES, first[i]);
            setVerdict(ballots[i], 1, YES, 0);
        }
        ballots[5].aggregateDigests[0] = keccak256("another sum");
        setVerdict(ballots[6], 0, NO, 0);
        playBallots(ballots);
        RoundRecord memory r = recordOf(0);
        // (3 + 4 + 5 + 6 + 8) / 5 = 5.2, rounded down: weights 6 and 1.
        eq(r.trainerRewards[0], BUDGET * 4000 / 10_000 * 6 / (4 * 6 + 4), "mean of the five, rounded down");
        eq(r.trainerRewards[1], BUDGET * 4000 / 10_000 / (4 * 6 + 4), "the other cohort");
    }

    /// A rejected cohort's grades would take from the adopted ones.
    function test_grades__only_of_adopted_cohorts() external {
        _start(3, 2);
        Ballot[] memory ballots = ballotsOf(3, YES);
        for (uint256 i = 0; i < 3; ++i) setVerdict(ballots[i], 0, YES, 9);
        setVerdict(ballots[0], 1, YES, 15);
        setVerdict(ballots[1], 1, NO, 0);
        setVerdict(ballots[2], 1, NO, 0);
        playBallots(ballots);
        RoundRecord memory r = recordOf(0);
        eq(r.trainerRewards[0], BUDGET * 4000 / 10_000 / 4, "all of the trainers' part");
        eq(r.trainerRewards[1], 0, "rejected");
    }

    /* BOTH */

    function _requireAsReference(Ballot[] memory ballots, uint256 bitmap) private {
        PayReference.Round memory r;
        (r.budget, r.validators, r.ballots) = (params.rewardPerRound, params.validatorCount, ballots);
        r.survivorsMin = params.collusionBound + 3 > params.threshold ? params.collusionBound + 3 : params.threshold;
        uint256 trainers = params.seatCountMin - params.validatorCount;
        r.survivors = new uint256[](params.cohortCount);
        for (uint256 k = 0; k < r.survivors.length; ++k) {
            for (uint256 t = k * trainers / r.survivors.length; t < (k + 1) * trainers / r.survivors.length; ++t) {
                r.survivors[k] += bitmap >> t & 1;
            }
        }
        Settlement memory s = settlementOf(0);
        uint256 spent = 0;
        uint256[] memory rewards = r.trainerRewards();
        for (uint256 k = 0; k < rewards.length; ++k) {
            (bytes32 digest, uint256 votes,) = r.leading(k);
            eq(s.cohortOutcome[k], r.outcomeOf(k), "outcome");
            eq(s.aggregateDigests[k], digest, "leading digest");
            eq(s.votesFor[k], votes, "votes for it");
            eq(s.record.trainerRewards[k], rewards[k], "trainers");
            spent += rewards[k] * r.survivors[k];
        }
        rewards = r.validatorRewards();
        for (uint256 i = 0; i < rewards.length; ++i) {
            eq(s.record.validatorRewards[i], rewards[i], "validator");
            spent += rewards[i];
        }
        eq(s.record.refund, r.refund(), "refund");
        if (s.record.committer != address(0)) spent += 2 * r.refund();
        if (s.record.settler != address(0)) spent += r.refund();
        check(spent <= params.rewardPerRound, "over budget");
        (,, uint256 owed) = alliance.getAccounts();
        eq(owed, spent, "owed, to the wei");
        requireConserved();
    }

    /// Three validators on two cohorts hide what more of them show: the contract would pay something else than its rules.
    /// forge-config: default.fuzz.runs = 24
    function testFuzz_pay__of_seven_validators(uint256 votes, uint256 grades, uint16 dropouts, uint96 budget) external {
        params.rewardPerRound = uint96(bound(budget, 0, 5_000 ether));
        (params.validatorCount, params.cohortCount) = (7, 3);
        (params.seatCountMin, params.seatCountMax) = (20, 22); // cohorts of 4, 4 and 5
        alliance = create(params, 0);
        joinAll(20);
        uint256 survivors = (ALL & ~uint256(dropouts & dropouts >> 3)) | 0xf;
        sealNow(survivors);
        Ballot[] memory ballots = ballotsOf(7 - (votes >> 250) % 3, YES);
        for (uint256 i = 0; i < ballots.length; ++i) _randomize(ballots[i], votes >> 24 * i, grades >> 24 * i);
        playBallots(ballots);
        _requireAsReference(ballots, survivors & 0x1fff);
    }

    /// Mostly yes, sometimes no, unavailable or another aggregate.
    function _randomize(Ballot memory ballot, uint256 votes, uint256 grades) private pure {
        for (uint256 k = 0; k < ballot.aggregateDigests.length; ++k) {
            uint256 kind = votes >> 4 * k & 15;
            uint8 verdict = kind < 9 ? YES : kind < 14 ? NO : UNAVAILABLE;
            setVerdict(ballot, k, verdict, verdict == YES ? uint8(grades >> 4 * k & 15) : 0);
            if (kind == 0) ballot.aggregateDigests[k] = keccak256(abi.encode("another", k));
        }
    }
}
