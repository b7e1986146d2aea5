// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The bitmap of a round's sealed trainers
/// @dev Bit i of the words is trainer index i. Counts of at most 16 cohorts are packed, 16 bits each, into one word.
library Survivors {
    error WrongSurvivorBitmap();

    /// Counts the survivors of every cohort. Reverts unless the bitmap is canonical: exactly the words that
    /// `trainerCount` bits need, and no bit beyond them, so that one survivor set has one digest.
    function countByCohort(uint256[] calldata words, uint256 trainerCount, uint256 cohortCount)
        internal
        pure
        returns (uint256 counts)
    {
        if (words.length != (trainerCount + 255) / 256) revert WrongSurvivorBitmap();
        uint256 tail = trainerCount % 256;
        if (tail != 0 && words[words.length - 1] >> tail != 0) revert WrongSurvivorBitmap();
        unchecked {
            uint256 low = 0;
            for (uint256 cohort = 0; cohort < cohortCount; ++cohort) {
                uint256 high = (cohort + 1) * trainerCount / cohortCount; // both counts have 16 bits
                counts |= countRange(words, low, high) << (16 * cohort);
                low = high;
            }
        }
    }

    /// Bits set from index `low` to index `high` - 1.
    function countRange(uint256[] calldata words, uint256 low, uint256 high) internal pure returns (uint256 total) {
        unchecked {
            while (low < high) {
                uint256 bit = low % 256;
                uint256 length = high - low < 256 - bit ? high - low : 256 - bit;
                uint256 mask = type(uint256).max >> (256 - length);
                total += countBits((words[low / 256] >> bit) & mask);
                low += length;
            }
        }
    }

    /// Number of ones in a word, by summing neighbouring fields of twice the width in each step.
    function countBits(uint256 x) internal pure returns (uint256) {
        unchecked {
            x -= (x >> 1) & 0x5555555555555555555555555555555555555555555555555555555555555555;
            x = (x & 0x3333333333333333333333333333333333333333333333333333333333333333)
                + ((x >> 2) & 0x3333333333333333333333333333333333333333333333333333333333333333);
            x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f;
            x = (x + (x >> 8)) & 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
            x += x >> 16;
            x += x >> 32;
            x += x >> 64;
            x += x >> 128;
            return x & 0xffff;
        }
    }

    /// The survivors of one cohort out of packed counts.
    function countOf(uint256 counts, uint256 cohort) internal pure returns (uint256) {
        unchecked {
            return (counts >> (16 * cohort)) & 0xffff;
        }
    }
}
