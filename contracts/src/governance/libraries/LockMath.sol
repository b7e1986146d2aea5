// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title How much gmFLOCK a lock gives
/// @dev FLock's rule for n FLOCK and t days: n up to 30 days, n · (1 + 2.19 · (t − 30) / 365) above, t at most 365. In
/// seconds 2.19 / 365 days = 1 / 14,400,000 exactly, so gm = n + ⌊n · (t − 2,592,000) / 14,400,000⌋: one division, rounded
/// down. At 365 days this is ⌊3.01 · n⌋.
library LockMath {
    uint256 internal constant SECONDS_MIN = 1 days;
    uint256 internal constant SECONDS_MAX = 365 days;
    uint256 internal constant FLAT_SECONDS = 30 days;
    uint256 internal constant SECONDS_PER_MULTIPLE = 14_400_000;
    /// The cap of the token: a larger amount cannot exist.
    uint256 internal constant AMOUNT_MAX = 1_000_000_000 ether;

    /// @notice gm for `amount` (at most AMOUNT_MAX) and `lockSeconds`; above a year they count as a year.
    function gmFor(uint256 amount, uint256 lockSeconds) internal pure returns (uint256) {
        lockSeconds = clipped(lockSeconds);
        if (lockSeconds <= FLAT_SECONDS) return amount;
        return amount + amount * (lockSeconds - FLAT_SECONDS) / SECONDS_PER_MULTIPLE;
    }

    /// @notice The time that a lock of `lockSeconds` really holds.
    function clipped(uint256 lockSeconds) internal pure returns (uint256) {
        return lockSeconds < SECONDS_MAX ? lockSeconds : SECONDS_MAX;
    }
}
