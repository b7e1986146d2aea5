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

    /// From a year on gm is never above 3.01 times the amount, and the lock holds for a year. For amounts below 2^10 wei.
    function check_lock__at_most_301(uint256 amount, uint256 lockSeconds) external pure {
        vm.assume(amount < 2 ** 10 && lockSeconds >= 365 days);
        assert(LockMath.clipped(lockSeconds) == 365 days);
        unchecked {
            assert(LockMath.gmFor(amount, lockSeconds) * 100 <= amount * 301);
        }
    }
}
