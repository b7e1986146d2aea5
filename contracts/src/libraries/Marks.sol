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
    uint256 private constant FIELD_ONES = 0x0001000100010001000100010001000100010001000100010001000100010001;

    function positionOf(uint256 marks) internal pure returns (uint256) {
        return marks & 0xffff;
    }

    /* OF ALL BALLOTS OF A ROUND, at most 256; what is chosen among them is a bitmap of their indexes. Assembly, because there
    may be 64, and Solidity would compare every index with their number. */

    /// Who voted yes and who voted no in a cohort. No verdict is 3, so its bits say one each.
    function votesOf(uint256[] memory marks, uint256 cohort) internal pure returns (uint256 yes, uint256 no) {
        uint256 bit = VERDICT_BIT + 2 * cohort;
        assembly ("memory-safe") {
            // From the last to the first: so each one found moves the later ones up.
            for { let place := add(marks, shl(5, mload(marks))) } gt(place, marks) { place := sub(place, 32) } {
                let verdict := shr(bit, mload(place))
                yes := or(shl(1, yes), and(verdict, 1))
                no := or(shl(1, no), and(shr(1, verdict), 1))
            }
        }
    }

    /// How many of the chosen ones have at least the score `target`.
    function countScores(uint256[] memory marks, uint256 chosen, uint256 target) internal pure returns (uint256 count) {
        assembly ("memory-safe") {
            for { let place := add(marks, 32) } chosen { place := add(place, 32) } {
                let score := and(shr(SCORE_BIT, mload(place)), 0xffffffff)
                count := add(count, and(chosen, iszero(lt(score, target)))) // the lowest bit of `chosen`, or 0
                chosen := shr(1, chosen)
            }
        }
    }

    /// Notes in the marks of the chosen ones that their base model leads.
    function setLeadingBase(uint256[] memory marks, uint256 chosen) internal pure {
        assembly ("memory-safe") {
            for { let place := add(marks, 32) } chosen { place := add(place, 32) } {
                mstore(place, or(mload(place), shl(BASE_LEADS_BIT, and(chosen, 1))))
                chosen := shr(1, chosen)
            }
        }
    }

    /// Notes in the marks of the chosen ones that their digest of a cohort leads, and adds up the grades that they give it.
    function setLeadingDigest(uint256[] memory marks, uint256 chosen, uint256 cohort)
        internal
        pure
        returns (uint256 grades)
    {
        (uint256 leadsBit, uint256 gradeBit) = (DIGEST_LEADS_BIT + cohort, GRADE_BIT + 4 * cohort);
        assembly ("memory-safe") {
            for { let place := add(marks, 32) } chosen { place := add(place, 32) } {
                let mark := mload(place)
                let one := and(chosen, 1)
                grades := add(grades, mul(one, and(shr(gradeBit, mark), 0xf)))
                mstore(place, or(mark, shl(leadsBit, one)))
                chosen := shr(1, chosen)
            }
        }
    }

    /// A one in the field of 16 bits of every cohort voted yes on, and the same for no. The 16 verdicts of 2 bits are moved apart
    /// in four steps, of which each sends the upper half of every group to where it belongs.
    function spread(uint256 marks) internal pure returns (uint256 yes, uint256 no) {
        uint256 fields = marks >> VERDICT_BIT & 0xffffffff;
        fields = (fields | fields << 112) & 0xffff0000000000000000000000000000ffff;
        fields = (fields | fields << 56) & 0x00000000000000ff00000000000000ff00000000000000ff00000000000000ff;
        fields = (fields | fields << 28) & 0x0000000f0000000f0000000f0000000f0000000f0000000f0000000f0000000f;
        fields = (fields | fields << 14) & 0x0003000300030003000300030003000300030003000300030003000300030003;
        (yes, no) = (fields & FIELD_ONES, fields >> 1 & FIELD_ONES); // no verdict is 3
    }

    /// The sum of 16 fields of 16 bits, if it is below 2^16: the product's highest field adds up all of them.
    function sumFields(uint256 fields) internal pure returns (uint256) {
        unchecked {
            return fields * FIELD_ONES >> 240;
        }
    }

    /// Whether the marks mean something, and one thing only, in an alliance of `digests.length` cohorts, at most 16.
    function isWellFormed(uint256 marks, bytes32[] calldata digests) internal pure returns (bool isOne) {
        assembly ("memory-safe") {
            isOne := iszero(gt(and(shr(SCORE_BIT, marks), 0xffffffff), SCORE_MICRO_MAX))
            let verdicts := and(shr(VERDICT_BIT, marks), 0xffffffff)
            let grades := shr(GRADE_BIT, marks)
            for { let cohort := 0 } lt(cohort, digests.length) { cohort := add(cohort, 1) } {
                let verdict := and(verdicts, 3)
                switch verdict
                case 1 {
                    let digest := calldataload(add(digests.offset, shl(5, cohort)))
                    isOne := and(isOne, iszero(iszero(digest)))
                }
                default { isOne := and(isOne, and(lt(verdict, 3), iszero(and(grades, 0xf)))) }
                verdicts := shr(2, verdicts)
                grades := shr(4, grades)
            }
            isOne := and(isOne, iszero(or(verdicts, grades))) // nothing of further cohorts, nor above them
        }
    }
}
