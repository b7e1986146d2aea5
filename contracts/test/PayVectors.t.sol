// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot} from "../src/Types.sol";
import {Pay} from "../src/libraries/Pay.sol";
import {Forge} from "./Forge.sol";
import {PayReference} from "./PayReference.sol";

/// tests/vectors/pay.json: what Python computes for a round, to the wei. The contract's formulas and PayReference.sol are
/// held to it, so that all three pay the same.
contract PayVectorsTest is Forge {
    using PayReference for PayReference.Round;

    string private constant FILE = "../tests/vectors/pay.json";

    /// Members would expect another reward than the contract books.
    function test_pay__vectors() external {
        uint256 i = 0;
        while (this.check_(i)) ++i;
        check(i >= 30, "vectors missing");
    }

    /// A call of its own for each case: every look into the file copies it, and memory is freed at the end of a call.
    function check_(uint256 i) external view returns (bool found) {
        string memory json = vm.readFile(FILE);
        if (!has(json, "cases", i)) return false;
        PayReference.Round memory r = _roundOf(json, i);
        string memory name = vm.parseJsonString(json, path("cases", i, "name"));
        _checkTrainers(r, json, i, name);
        _checkValidators(r, json, i, name);
        eq(r.refund(), vm.parseJsonUint(json, path("cases", i, "refund")), name);
        eq(Pay.refundDown(r.budget), r.refund(), name);
        return true;
    }

    function _roundOf(string memory json, uint256 i) private pure returns (PayReference.Round memory r) {
        r.budget = vm.parseJsonUint(json, path("cases", i, "reward_per_round"));
        r.validators = vm.parseJsonUint(json, path("cases", i, "validator_count"));
        r.survivorsMin = vm.parseJsonUint(json, path("cases", i, "survivors_min"));
        r.survivors = vm.parseJsonUintArray(json, path("cases", i, "survivor_counts"));
        uint256[] memory marks = vm.parseJsonUintArray(json, path("cases", i, "marks"));
        uint256[] memory digests = vm.parseJsonUintArray(json, path("cases", i, "aggregate_digests"));
        r.ballots = new Ballot[](marks.length);
        for (uint256 b = 0; b < marks.length; ++b) {
            r.ballots[b].marks = marks[b];
            r.ballots[b].aggregateDigests = new bytes32[](r.survivors.length);
            for (uint256 k = 0; k < r.survivors.length; ++k) {
                r.ballots[b].aggregateDigests[k] = bytes32(digests[b * r.survivors.length + k]);
            }
        }
    }

    function _checkTrainers(PayReference.Round memory r, string memory json, uint256 i, string memory name) private pure {
        uint256[] memory outcomes = vm.parseJsonUintArray(json, path("cases", i, "outcomes"));
        uint256[] memory grades = vm.parseJsonUintArray(json, path("cases", i, "grades"));
        uint256[] memory expected = vm.parseJsonUintArray(json, path("cases", i, "trainer_rewards"));
        uint256[] memory rewards = r.trainerRewards();
        (uint256 adopted, uint256 counts, uint256 packed) = (0, 0, 0);
        for (uint256 k = 0; k < expected.length; ++k) {
            eq(r.outcomeOf(k), outcomes[k], name);
            eq(rewards[k], expected[k], name);
            if (outcomes[k] == 1) adopted |= 1 << k;
            counts |= r.survivors[k] << 16 * k;
            packed |= grades[k] << 4 * k;
        }
        (uint96[] memory paid,) = Pay.trainerRewardsDown(r.budget, expected.length, adopted, counts, packed);
        for (uint256 k = 0; k < expected.length; ++k) eq(paid[k], expected[k], name);
    }

    function _checkValidators(PayReference.Round memory r, string memory json, uint256 i, string memory name) private pure {
        uint256[] memory expected = vm.parseJsonUintArray(json, path("cases", i, "validator_rewards"));
        uint256[] memory scores = vm.parseJsonUintArray(json, path("cases", i, "agreement_scores"));
        uint256[] memory rewards = r.validatorRewards();
        uint256[] memory marks = new uint256[](r.ballots.length);
        for (uint256 b = 0; b < marks.length; ++b) marks[b] = r.ballots[b].marks;
        uint256[] memory computed = Pay.agreementScores(marks, r.survivors.length);
        for (uint256 b = 0; b < marks.length; ++b) {
            eq(computed[b], scores[b], name);
            uint256 paid = Pay.validatorRewardDown(r.budget, r.validators)
                + Pay.bonusDown(r.budget, r.validators, r.survivors.length, computed[b]);
            eq(paid, expected[uint16(marks[b])], name);
        }
        eq(rewards.length, expected.length, name);
        for (uint256 p = 0; p < rewards.length; ++p) eq(rewards[p], expected[p], name);
    }
}
