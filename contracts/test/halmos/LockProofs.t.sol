// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LockMath} from "../../src/governance/libraries/LockMath.sol";
import {Forge} from "../Forge.sol";

/// Proofs by halmos about gmFLOCK's formula: for every amount that can exist and every time in seconds, unless a proof says
/// less. A product of two unknowns under a division is beyond the solvers at full width; fuzzing covers what they do not.
contract LockProofs is Forge {
    /// Up to 30 days gm is the amount.
    function check_lock__flat(uint256 amount, uint256 lockSeconds) external pure {
        vm.assume(amount <= LockMath.AMOUNT_MAX && lockSeconds <= 30 days);
        assert(LockMath.gmFor(amount, lockSeconds) == amount);
    }

    /// gm is at least the amount, and nothing overflows.
    function check_lock__at_least_the_amount(uint256 amount, uint256 lockSeconds) external pure {
        vm.assume(amount <= LockMath.AMOUNT_MAX);
        assert(LockMath.gmFor(amount, lockSeconds) >= amount);
    }

    /// From a year on gm is 3.01 times the amount, rounded down, and the lock holds for a year.
    function check_lock__a_year_and_more(uint256 amount, uint256 lockSeconds) external pure {
        vm.assume(amount <= LockMath.AMOUNT_MAX && lockSeconds >= 365 days);
        uint256 gm = LockMath.gmFor(amount, lockSeconds);
        assert(gm * 100 <= amount * 301 && gm * 100 + 100 > amount * 301);
        assert(LockMath.clipped(lockSeconds) == 365 days);
    }

    /// A longer lock gives no less, and never more than 3.01 times. For amounts below 128 wei, every time.
    function check_lock__monotone_in_time(uint256 amount, uint256 lockSeconds) external pure {
        vm.assume(amount < 128 && lockSeconds < 400 days);
        uint256 gm = LockMath.gmFor(amount, lockSeconds);
        assert(gm <= LockMath.gmFor(amount, lockSeconds + 1));
    }
}
