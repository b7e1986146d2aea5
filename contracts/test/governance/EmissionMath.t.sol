// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EmissionMath} from "../../src/governance/libraries/EmissionMath.sol";
import {Forge} from "../Forge.sol";

contract EmissionMathTest is Forge {
    uint256 private constant END = 60 * 30 days;

    /// The schedule would not be the one that Python computes with exact integers (contracts/script/make_vectors.py).
    function test_released__vectors() external view {
        string memory json = vm.readFile("../tests/vectors/governance.json");
        uint256 i = 0;
        for (; has(json, "emission", i); ++i) {
            uint256 elapsed = vm.parseJsonUint(json, path("emission", i, "elapsed"));
            eq(EmissionMath.released(elapsed), vm.parseJsonUint(json, path("emission", i, "released")), "released");
        }
        check(i > 100, "vectors");
    }

    /// The programme would not be FLock's 420,000,006 FLOCK, 309,157.68 on the first day, 99 % of it in the second month.
    function test_released__totals() external pure {
        eq(EmissionMath.TOTAL, 420_000_005_525_647_585_758_774_934, "the total in wei");
        eq((EmissionMath.TOTAL + 0.5 ether) / 1 ether, 420_000_006, "the total in FLOCK, rounded");
        eq(EmissionMath.released(0), 0, "nothing at the start");
        eq(EmissionMath.released(1 days), 309_157.68 ether, "first day");
        eq(EmissionMath.released(30 days), 30 * 309_157.68 ether, "first month");
        eq(EmissionMath.released(31 days) - EmissionMath.released(30 days), 309_157.68 ether * 99 / 100, "31st day");
        eq(EmissionMath.released(END), EmissionMath.TOTAL, "the end");
        eq(EmissionMath.released(type(uint256).max), EmissionMath.TOTAL, "for ever");
        check(EmissionMath.released(END - 1) < EmissionMath.TOTAL, "not before the end");
    }

    /// Time would take FLOCK back, or a second release more than one of the first month does.
    function testFuzz_released__monotone_and_bounded(uint256 elapsed, uint256 step) external pure {
        elapsed = bound(elapsed, 0, END + 30 days);
        step = bound(step, 1, 90 days);
        uint256 more = EmissionMath.released(elapsed + step) - EmissionMath.released(elapsed);
        check(more <= EmissionMath.FIRST_MONTH_BUDGET * step / 30 days + 1, "faster than at the start");
        check(EmissionMath.released(elapsed) <= EmissionMath.TOTAL, "more than the total");
        if (elapsed + step <= END) check(more >= step * 1.9 ether, "slower than in the last month");
    }
}
