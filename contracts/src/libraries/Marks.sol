// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The word that holds a ballot's position, score, verdicts and grades (see Ballot)
/// @dev p2p_flock/crypto/signing.py packs and unpacks the same.
library Marks {
    uint256 internal constant YES = 1;
    uint256 internal constant NO = 2;
    uint256 internal constant SCORE_MICRO_MAX = 1_000_000;

    uint256 private constant SCORE_BIT = 16;
    uint256 private constant VERDICT_BIT = 48;
    uint256 private constant GRADE_BIT = 80;
    // What the log of RoundSettled adds.
    uint256 private constant BASE_LEADS_BIT = 144;
    uint256 private constant DIGEST_LEADS_BIT = 145;

    function positionOf(uint256 marks) internal pure returns (uint256) {
        return marks & 0xffff;
    }

    function scoreMicroOf(uint256 marks) internal pure returns (uint256) {
        return marks >> SCORE_BIT & 0xffffffff;
    }

    function verdictOf(uint256 marks, uint256 cohort) internal pure returns (uint256) {
        unchecked {
            return marks >> (VERDICT_BIT + 2 * cohort) & 3; // a cohort is below 16, here and in what follows
        }
    }

    function gradeOf(uint256 marks, uint256 cohort) internal pure returns (uint256) {
        unchecked {
            return marks >> (GRADE_BIT + 4 * cohort) & 0xf;
        }
    }

    function withLeadingBase(uint256 marks) internal pure returns (uint256) {
        return marks | 1 << BASE_LEADS_BIT;
    }

    function withLeadingDigest(uint256 marks, uint256 cohort) internal pure returns (uint256) {
        unchecked {
            return marks | 1 << (DIGEST_LEADS_BIT + cohort);
        }
    }

    /// A one in the field of 16 bits of every cohort with this verdict.
    function spread(uint256 marks, uint256 verdict) internal pure returns (uint256 fields) {
        uint256 verdicts = marks >> VERDICT_BIT & 0xffffffff;
        for (uint256 bit = 0; verdicts != 0; (verdicts, bit) = (verdicts >> 2, bit + 16)) {
            if (verdicts & 3 == verdict) fields |= 1 << bit;
        }
    }

    /// Whether the marks mean something, and one thing only, in an alliance of `digests.length` cohorts.
    function isWellFormed(uint256 marks, bytes32[] calldata digests) internal pure returns (bool) {
        unchecked {
            uint256 cohorts = digests.length; // at most 16
            uint256 beyond = marks >> (VERDICT_BIT + 2 * cohorts) & (0xffffffff >> (2 * cohorts))
                | marks >> (GRADE_BIT + 4 * cohorts);
            if (beyond != 0 || scoreMicroOf(marks) > SCORE_MICRO_MAX) return false;
            (uint256 verdicts, uint256 grades) = (marks >> VERDICT_BIT, marks >> GRADE_BIT);
            for (uint256 cohort = 0; cohort < cohorts; ++cohort) {
                uint256 verdict = verdicts & 3;
                if (verdict == YES ? digests[cohort] == 0 : verdict > NO || grades & 0xf != 0) return false;
                (verdicts, grades) = (verdicts >> 2, grades >> 4);
            }
            return true;
        }
    }
}
