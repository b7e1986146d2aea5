// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Marks} from "../../src/libraries/Marks.sol";
import {Pay} from "../../src/libraries/Pay.sol";
import {Forge} from "../Forge.sol";

/// Proofs by halmos about pay: for three validators that all reveal, two cohorts, and every combination of verdicts.
contract PayProofs is Forge {
    /// Marks of two verdicts, which begin at bit 48, each 0 (unavailable), 1 (yes) or 2 (no).
    function _marks(uint256 first, uint256 second) private pure returns (uint256) {
        vm.assume(first < 3 && second < 3);
        return first << 48 | second << 50;
    }

    /// Who says yes to everything gets no bonus, whatever the others say.
    function check_pay__always_yes_gets_nothing(uint256 a, uint256 b, uint256 c, uint256 d) external pure {
        uint256[] memory marks = new uint256[](3);
        (marks[0], marks[1], marks[2]) = (_marks(1, 1), _marks(a, b), _marks(c, d));
        assert(Pay.agreementScores(marks, 2)[0] == 0);
    }

    /// Nobody's agreement is above what a whole share of the bonus is divided by, so all bonuses fit their part.
    function check_pay__score_at_most(uint256 a, uint256 b, uint256 c, uint256 d, uint256 e, uint256 f) external pure {
        uint256[] memory marks = new uint256[](3);
        (marks[0], marks[1], marks[2]) = (_marks(a, b), _marks(c, d), _marks(e, f));
        assert(Pay.agreementScores(marks, 2)[0] <= 4);
    }

    /// Base pay of three validators fits its part of the budget; for budgets below 2^20 wei.
    function check_pay__base_pay_fits(uint96 budget) external pure {
        vm.assume(budget < 2 ** 20);
        unchecked {
            assert(3 * Pay.validatorRewardDown(budget, 3) <= uint256(budget) * 4000 / 10_000);
        }
    }
}
