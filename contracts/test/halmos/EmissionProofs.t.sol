// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EmissionMath} from "../../src/governance/libraries/EmissionMath.sol";
import {Forge} from "../Forge.sol";

/// Proofs by halmos about the schedule, for every second. Its loop takes 60 steps: run with --loop 61.
contract EmissionProofs is Forge {
    /// Never more than the total is released.
    function check_emission__at_most_the_total(uint256 elapsed) external pure {
        assert(EmissionMath.released(elapsed) <= EmissionMath.TOTAL);
    }

    /// From the end on all of it is released.
    function check_emission__all_in_the_end(uint256 elapsed) external pure {
        vm.assume(elapsed >= 1800 days);
        assert(EmissionMath.released(elapsed) == EmissionMath.TOTAL);
    }
}
