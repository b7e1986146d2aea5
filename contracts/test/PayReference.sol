// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot} from "../src/Types.sol";

/// What a round pays, the slow and obvious way: every pair of validators is compared, every division is the rule's own.
/// It shares no line with the contract, and is what the rules in contracts/README.md say.
library PayReference {
    /// What everybody would vote on: digests decide who agrees on an aggregate, verdicts who agrees on a cohort.
    struct Round {
        uint256 budget;
        uint256 validators; // V
        uint256[] survivors; // of each cohort
        uint256 survivorsMin;
        Ballot[] ballots; // revealed, ascending
    }

    function verdictOf(Ballot memory ballot, uint256 cohort) internal pure returns (uint256) {
        return ballot.marks >> (48 + 2 * cohort) & 3;
    }

    function gradeOf(Ballot memory ballot, uint256 cohort) internal pure returns (uint256) {
        return ballot.marks >> (80 + 4 * cohort) & 15;
    }

    function acceptQuorum(Round memory r) internal pure returns (uint256 quorum) {
        while (3 * quorum < 2 * r.validators) ++quorum;
    }

    /// The digest with most yes votes; of several, the one that the lowest position named. Also its votes and their grades.
    function leading(Round memory r, uint256 cohort)
        internal
        pure
        returns (bytes32 digest, uint256 votes, uint256 grades)
    {
        for (uint256 i = 0; i < r.ballots.length; ++i) {
            if (verdictOf(r.ballots[i], cohort) != 1) continue;
            bytes32 candidate = r.ballots[i].aggregateDigests[cohort];
            (uint256 count, uint256 sum) = (0, 0);
            for (uint256 j = 0; j < r.ballots.length; ++j) {
                if (verdictOf(r.ballots[j], cohort) != 1) continue;
                if (r.ballots[j].aggregateDigests[cohort] != candidate) continue;
                (count, sum) = (count + 1, sum + gradeOf(r.ballots[j], cohort));
            }
            if (count > votes) (digest, votes, grades) = (candidate, count, sum);
        }
    }

    /// 0 undecided, 1 adopted, 2 rejected, 3 void.
    function outcomeOf(Round memory r, uint256 cohort) internal pure returns (uint256) {
        if (r.survivors[cohort] < r.survivorsMin) return 3;
        (, uint256 votes,) = leading(r, cohort);
        if (votes >= acceptQuorum(r)) return 1;
        uint256 against = 0;
        for (uint256 i = 0; i < r.ballots.length; ++i) if (verdictOf(r.ballots[i], cohort) == 2) ++against;
        return against >= acceptQuorum(r) ? 2 : 0;
    }

    /// For each survivor of each cohort.
    function trainerRewards(Round memory r) internal pure returns (uint256[] memory rewards) {
        rewards = new uint256[](r.survivors.length);
        uint256[] memory weights = new uint256[](r.survivors.length);
        uint256 total = 0;
        for (uint256 k = 0; k < rewards.length; ++k) {
            if (outcomeOf(r, k) != 1) continue;
            (, uint256 votes, uint256 grades) = leading(r, k);
            weights[k] = 1 + grades / votes;
            total += r.survivors[k] * weights[k];
        }
        for (uint256 k = 0; k < rewards.length; ++k) {
            if (weights[k] > 0) rewards[k] = r.budget * 4000 / 10_000 * weights[k] / total;
        }
    }

    /// How far two validators agree beyond what their shares of yes and no alone would bring.
    function agreement(Ballot memory a, Ballot memory b, uint256 cohorts) internal pure returns (int256) {
        (int256 same, int256 yesA, int256 yesB, int256 noA, int256 noB) = (int256(0), int256(0), int256(0), int256(0), int256(0));
        for (uint256 k = 0; k < cohorts; ++k) {
            (uint256 one, uint256 two) = (verdictOf(a, k), verdictOf(b, k));
            if (one != 0 && one == two) ++same;
            if (one == 1) ++yesA;
            if (one == 2) ++noA;
            if (two == 1) ++yesB;
            if (two == 2) ++noB;
        }
        return int256(cohorts) * same - yesA * yesB - noA * noB;
    }

    function bonusOf(Round memory r, uint256 i) internal pure returns (uint256) {
        uint256 cohorts = r.survivors.length;
        int256 score = 0;
        for (uint256 j = 0; j < r.ballots.length; ++j) {
            if (j != i) score += agreement(r.ballots[i], r.ballots[j], cohorts);
        }
        uint256 most = r.validators < 2 ? 0 : (r.validators - 1) * (cohorts * cohorts / 2);
        if (score <= 0 || most == 0) return 0;
        return r.budget * 1000 / 10_000 / r.validators * uint256(score) / most;
    }

    /// For each position.
    function validatorRewards(Round memory r) internal pure returns (uint256[] memory rewards) {
        rewards = new uint256[](r.validators);
        for (uint256 i = 0; i < r.ballots.length; ++i) {
            rewards[uint16(r.ballots[i].marks)] = r.budget * 4000 / 10_000 / r.validators + bonusOf(r, i);
        }
    }

    function refund(Round memory r) internal pure returns (uint256) {
        return r.budget * 1000 / 10_000 / 3;
    }
}
