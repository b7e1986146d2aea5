// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The schedule of the emission, as a function of the seconds since its start
/// @dev 309,157.68 FLOCK a day; FLock's figure, which with these steps sums up to the 420 million of its programme.
/// A month is 30 days. budget(0) = 30 · 309,157.68 FLOCK, budget(m) = ⌊budget(m − 1) · 99 / 100⌋ wei, m < 60. Within a
/// month it is linear: ⌊budget · s / 30 days⌋ after s seconds. The total, in wei, is 420000005525647585758774934: 654 wei
/// below that of exact fractions.
library EmissionMath {
    uint256 internal constant MONTH = 30 days;
    uint256 internal constant MONTHS = 60;
    uint256 internal constant FIRST_MONTH_BUDGET = 30 * 309_157.68 ether;
    uint256 internal constant TOTAL = 420_000_005_525_647_585_758_774_934;

    /// @notice FLOCK released in the first `elapsed` seconds, in wei: 0 at 0, never falling, TOTAL from the end on.
    function released(uint256 elapsed) internal pure returns (uint256 sum) {
        uint256 budget = FIRST_MONTH_BUDGET;
        for (uint256 month = 0; month < MONTHS; ++month) {
            if (elapsed < MONTH) return sum + budget * elapsed / MONTH;
            sum += budget;
            elapsed -= MONTH;
            budget = budget * 99 / 100;
        }
    }
}
