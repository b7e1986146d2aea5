// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Marks} from "./Marks.sol";
import {Survivors} from "./Survivors.sol";

/// @title What a settled round pays, as a pure function of the round
/// @dev Every division rounds down, and what is not earned stays in the pool. Products stay below 2^200: a budget has 96
/// bits, a cohort at most 2^16 survivors, a committee 64 validators. p2p_flock/alliance/settling.py computes the same.
library Pay {
    uint256 internal constant BPS = 10_000;
    uint256 internal constant TRAINER_BPS = 4_000;
    uint256 internal constant VALIDATOR_BPS = 4_000;
    uint256 internal constant AGREEMENT_BPS = 1_000;
    uint256 internal constant REFUND_BPS = 1_000;
    uint256 internal constant REFUND_COUNT = 3;

    /// What each survivor of a cohort gets. A cohort's part grows with its grade, by at most 16 to 1; with one cohort all
    /// of the trainers' part goes to its survivors, whatever the grade.
    /// @param adopted bitmap of cohorts
    /// @param counts survivors, 16 bits for each cohort (Survivors.countByCohort)
    /// @param grades 4 bits for each cohort
    /// @return rewards 0 where not adopted
    /// @return total what all survivors of all cohorts get together, at most 40 % of the budget
    function trainerRewardsDown(
        uint256 budget,
        uint256 cohortCount,
        uint256 adopted,
        uint256 counts,
        uint256 grades
    ) internal pure returns (uint96[] memory rewards, uint256 total) {
        rewards = new uint96[](cohortCount);
        uint256 weight = 0;
        for (uint256 cohort = 0; cohort < cohortCount; ++cohort) {
            if (adopted >> cohort & 1 == 0) continue;
            weight += Survivors.countOf(counts, cohort) * (1 + (grades >> (4 * cohort) & 0xf));
        }
        if (weight == 0) return (rewards, 0);
        uint256 part = budget * TRAINER_BPS / BPS;
        for (uint256 cohort = 0; cohort < cohortCount; ++cohort) {
            if (adopted >> cohort & 1 == 0) continue;
            uint256 reward = part * (1 + (grades >> (4 * cohort) & 0xf)) / weight;
            rewards[cohort] = uint96(reward); // the budget has 96 bits
            total += reward * Survivors.countOf(counts, cohort);
        }
    }

    /// A V-th of the validators' part, whoever else revealed: keeping others from revealing gains nothing.
    function validatorRewardDown(uint256 budget, uint256 validatorCount) internal pure returns (uint256) {
        return budget * VALIDATOR_BPS / BPS / validatorCount;
    }

    /// What the sender of one of a round's three transactions gets back.
    function refundDown(uint256 budget) internal pure returns (uint256) {
        return budget * REFUND_BPS / BPS / REFUND_COUNT;
    }

    /// A validator's bonus for an agreement score: at most a V-th of the bonus part, reached by whoever agrees with all
    /// others in every cohort, half of them yes and half no.
    function bonusDown(uint256 budget, uint256 validatorCount, uint256 cohortCount, uint256 score)
        internal
        pure
        returns (uint256)
    {
        uint256 most = (validatorCount - 1) * (cohortCount * cohortCount / 2);
        return most == 0 ? 0 : budget * AGREEMENT_BPS / BPS / validatorCount * score / most;
    }

    /// Correlated agreement (Dasgupta & Ghosh 2013; Shnayder et al. 2016) of every ballot with all others, summed over
    /// peers and cohorts: K times the cohorts in which two agree, less what two that vote yes and no as often would
    /// agree in by chance. Whoever always says yes, or votes at random, gets nothing.
    /// @param marks of the revealed ballots
    /// @return scores one for each ballot, zero where the sum is negative
    function agreementScores(uint256[] memory marks, uint256 cohortCount)
        internal
        pure
        returns (uint256[] memory scores)
    {
        uint256 count = marks.length;
        scores = new uint256[](count);
        if (cohortCount < 2) return scores; // one question correlates with nothing
        unchecked {
            (uint256 yes, uint256 no) = (0, 0); // votes of all; 16 bits for each cohort
            for (uint256 i = 0; i < count; ++i) {
                (uint256 y, uint256 n) = Marks.spread(marks[i]);
                (yes, no) = (yes + y, no + n);
            }
            for (uint256 i = 0; i < count; ++i) scores[i] = _score(marks[i], cohortCount, yes, no);
        }
    }

    /// Unchecked: counts are at most 64 in each of 16 cohorts, and a ballot's own votes are among those of all.
    function _score(uint256 mark, uint256 cohortCount, uint256 yes, uint256 no) private pure returns (uint256) {
        unchecked {
            (uint256 y, uint256 n) = Marks.spread(mark);
            (uint256 ownYes, uint256 ownNo) = (Marks.sumFields(y), Marks.sumFields(n));
            // Votes equal to its own, in the cohorts it voted on, less its own.
            uint256 equal = Marks.sumFields(yes & y * 0xffff) + Marks.sumFields(no & n * 0xffff);
            uint256 agreed = cohortCount * (equal - ownYes - ownNo);
            uint256 chance =
                ownYes * (Marks.sumFields(yes) - ownYes) + ownNo * (Marks.sumFields(no) - ownNo);
            return agreed > chance ? agreed - chance : 0;
        }
    }
}
