// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot} from "../src/Types.sol";
import {Marks} from "../src/libraries/Marks.sol";
import {Pay} from "../src/libraries/Pay.sol";
import {Survivors} from "../src/libraries/Survivors.sol";
import {Tally} from "../src/libraries/Tally.sol";
import {Forge} from "./Forge.sol";
import {PayReference} from "./PayReference.sol";

/// External, so that calldata arrays can be passed and reverts expected.
contract SurvivorsCaller {
    function count(uint256[] calldata words, uint256 trainers, uint256 cohorts) external pure returns (uint256) {
        return Survivors.countByCohort(words, trainers, cohorts);
    }
}

contract SurvivorsTest is Forge {
    SurvivorsCaller private caller = new SurvivorsCaller();

    /// The size of a set would be wrong, so a quorum or a cohort minimum would be too.
    function testFuzz_countBits__one_by_one(uint256 x) external pure {
        uint256 expected = 0;
        for (uint256 i = 0; i < 256; ++i) expected += x >> i & 1;
        eq(Survivors.countBits(x), expected, "bits");
    }

    /// The extremes that random words hardly ever reach.
    function test_countBits__edges() external pure {
        eq(Survivors.countBits(0), 0, "none");
        eq(Survivors.countBits(type(uint256).max), 256, "all");
        eq(Survivors.countBits(1 << 255), 1, "highest");
    }

    /// Cohorts that straddle words would be counted wrong: a void one would pass.
    function testFuzz_countByCohort__one_by_one(uint256 trainers, uint256 cohorts, uint256 seed) external view {
        trainers = bound(trainers, 1, 900);
        cohorts = bound(cohorts, 1, 16);
        uint256[] memory words = _random(trainers, seed);
        uint256 packed = caller.count(words, trainers, cohorts);
        for (uint256 c = 0; c < cohorts; ++c) {
            uint256 expected = 0;
            for (uint256 i = c * trainers / cohorts; i < (c + 1) * trainers / cohorts; ++i) {
                expected += words[i / 256] >> (i % 256) & 1;
            }
            eq(Survivors.countOf(packed, c), expected, "cohort");
        }
    }

    /// One survivor set would have two digests, or a survivor without a seat.
    function testFuzz_countByCohort__not_canonical(uint256 trainers, uint256 extra) external {
        trainers = bound(trainers, 1, 900);
        uint256[] memory words = _random(trainers, extra);
        vm.expectRevert(Survivors.WrongSurvivorBitmap.selector);
        caller.count(new uint256[](words.length + 1), trainers, 1);
        vm.expectRevert(Survivors.WrongSurvivorBitmap.selector);
        caller.count(new uint256[](words.length - 1), trainers, 1);
        if (trainers % 256 == 0) return;
        words[words.length - 1] |= 1 << bound(extra, trainers % 256, 255);
        vm.expectRevert(Survivors.WrongSurvivorBitmap.selector);
        caller.count(words, trainers, 1);
    }

    function _random(uint256 trainers, uint256 seed) private pure returns (uint256[] memory words) {
        words = new uint256[]((trainers + 255) / 256);
        for (uint256 w = 0; w < words.length; ++w) words[w] = uint256(keccak256(abi.encode(seed, w)));
        if (trainers % 256 != 0) words[words.length - 1] &= (1 << trainers % 256) - 1;
    }
}

contract TallyTest is Forge {
    uint256 private constant CHOICES = 4;

    /// A disputed vote would be counted wrong: an aggregate without quorum could be adopted, or another one lead than
    /// the one that most named, and the lowest position among them first.
    function testFuzz_leading__one_by_one(uint256 votes, uint64 voters, uint8 count) external pure {
        count = uint8(bound(count, 0, 64));
        bytes32[] memory digests = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            digests[i] = keccak256(abi.encode(uint256(keccak256(abi.encode(votes, i))) % CHOICES));
        }
        uint256 mask = count == 0 ? 0 : voters & type(uint256).max >> (256 - count);
        (bytes32 digest, uint256 supporters) = Tally.leading(digests, 1, 0, mask);
        (bytes32 expected, uint256 most) = (0, 0);
        for (uint256 i = 0; i < count; ++i) {
            if (mask >> i & 1 == 0) continue;
            uint256 named = 0;
            for (uint256 j = 0; j < count; ++j) if (mask >> j & 1 == 1 && digests[j] == digests[i]) ++named;
            if (named > most) (expected, most) = (digests[i], named);
        }
        eq(digest, expected, "the leading digest");
        eq(Survivors.countBits(supporters), most, "its votes");
        for (uint256 i = 0; i < count; ++i) {
            bool named = mask >> i & 1 == 1 && digests[i] == expected;
            check((supporters >> i & 1 == 1) == named, "who named it");
        }
    }

    /// A full committee that agrees, or in which everybody names something else.
    function test_leading__full_committee() external pure {
        bytes32[] memory digests = new bytes32[](64);
        for (uint256 i = 0; i < 64; ++i) digests[i] = "same";
        (bytes32 digest, uint256 supporters) = Tally.leading(digests, 1, 0, type(uint64).max);
        check(digest == "same" && supporters == type(uint64).max, "all of them");
        for (uint256 i = 0; i < 64; ++i) digests[i] = bytes32(i + 1);
        (digest, supporters) = Tally.leading(digests, 1, 0, type(uint64).max - 1);
        check(digest == bytes32(uint256(2)) && supporters == 2, "the lowest position that counts");
        (digest, supporters) = Tally.leading(digests, 1, 0, 0);
        check(digest == 0 && supporters == 0, "nobody");
    }
}

/// The pay formulas at any size against the slow way, with numbers that no small alliance reaches.
contract PayFormulasTest is Forge {
    using PayReference for Ballot;

    /// Trainers would earn more than their part, or the weights of cohorts would not be those of their grades.
    function testFuzz_trainerRewards__never_exceed_their_part(
        uint96 budget,
        uint8 cohorts,
        uint16 adopted,
        uint256 counts,
        uint64 grades
    ) external pure {
        cohorts = uint8(bound(cohorts, 1, 16));
        adopted &= uint16((uint256(1) << cohorts) - 1);
        uint256 total = 0;
        uint256 weight = 0;
        (uint96[] memory rewards, uint256 sum) = Pay.trainerRewardsDown(budget, cohorts, adopted, counts, grades);
        for (uint256 k = 0; k < cohorts; ++k) {
            if (adopted >> k & 1 == 1) weight += (counts >> 16 * k & 0xffff) * (1 + (grades >> 4 * k & 15));
        }
        for (uint256 k = 0; k < cohorts; ++k) {
            uint256 due = adopted >> k & 1 == 0 || weight == 0
                ? 0
                : uint256(budget) * 4000 / 10_000 * (1 + (grades >> 4 * k & 15)) / weight;
            eq(rewards[k], due, "reward");
            total += due * (counts >> 16 * k & 0xffff);
        }
        eq(sum, total, "what all get together");
        check(total <= uint256(budget) * 4000 / 10_000, "over their part");
    }

    /// Validators would earn more than their part, or a score be another than that of all pairs.
    /// forge-config: default.fuzz.runs = 48
    function testFuzz_agreement__every_pair(uint8 count, uint8 cohorts, uint256 seed, uint96 budget) external pure {
        count = uint8(bound(count, 1, 24));
        cohorts = uint8(bound(cohorts, 1, 16));
        Ballot[] memory ballots = new Ballot[](count);
        uint256[] memory marks = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            uint256 random = uint256(keccak256(abi.encode(seed, i)));
            for (uint256 k = 0; k < cohorts; ++k) {
                // Half of the committees mostly agree.
                uint256 kind = seed & 1 == 0 ? random >> 8 * k & 255 : (random >> 8 * k & 7) + 8 * k;
                uint256 verdict = kind % 8 == 0 ? 0 : kind & 8 == 0 ? 1 : 2;
                marks[i] |= verdict << (48 + 2 * k);
            }
            marks[i] |= i | random << 16 & 0xffffffff0000 | (random >> 128 & type(uint64).max) << 80;
            ballots[i].marks = marks[i];
        }
        uint256[] memory scores = Pay.agreementScores(marks, cohorts);
        uint256 validators = count + seed % 3; // some did not reveal
        uint256 spent = 0;
        for (uint256 i = 0; i < count; ++i) {
            int256 expected = 0;
            for (uint256 j = 0; j < count; ++j) {
                if (j != i) expected += PayReference.agreement(ballots[i], ballots[j], cohorts);
            }
            eq(scores[i], expected < 0 ? 0 : uint256(expected), "score");
            spent += Pay.bonusDown(budget, validators, cohorts, scores[i]);
            spent += Pay.validatorRewardDown(budget, validators);
        }
        check(spent <= uint256(budget) / 2, "over the validators' half");
    }

    /// The largest committee of validators that all agree, at the largest budget, would overflow or exceed its part.
    function test_bonus__largest_committee() external pure {
        uint256[] memory marks = new uint256[](64);
        for (uint256 i = 0; i < 64; ++i) marks[i] = i | 0x99999999 << 48;
        uint256[] memory scores = Pay.agreementScores(marks, 16);
        uint256 budget = type(uint96).max;
        for (uint256 i = 0; i < 64; ++i) {
            eq(scores[i], 63 * 128, "the most");
            eq(Pay.bonusDown(budget, 64, 16, scores[i]), budget * 1000 / 10_000 / 64, "a V-th of the tenth");
        }
        check(3 * Pay.refundDown(budget) <= budget / 10, "refunds");
    }
}

/// Which words are ballots: every bit of them is tried.
contract MarksTest is Forge {
    function isWellFormed(uint256 marks, bytes32[] calldata digests) external pure returns (bool) {
        return Marks.isWellFormed(marks, digests);
    }

    /// A ballot would have marks that nobody reads, or that two readers understand differently.
    function testFuzz_marks__one_form(uint256 marks, uint8 cohorts, uint16 named) external view {
        cohorts = uint8(bound(cohorts, 1, 16));
        if (marks & 1 == 0) marks &= type(uint256).max >> 112; // else something is nearly always beyond
        if (marks & 2 == 0) marks &= ~uint256(0xfff000000000); // small scores
        bytes32[] memory digests = new bytes32[](cohorts);
        for (uint256 k = 0; k < cohorts; ++k) digests[k] = named >> k & 1 == 1 ? bytes32(uint256(1)) : bytes32(0);
        bool expected = (marks >> 16 & type(uint32).max) <= 1_000_000 && marks >> 144 == 0;
        for (uint256 k = 0; k < 16; ++k) {
            (uint256 verdict, uint256 grade) = (marks >> (48 + 2 * k) & 3, marks >> (80 + 4 * k) & 15);
            if (k >= cohorts) expected = expected && verdict == 0 && grade == 0;
            else if (verdict == 1) expected = expected && named >> k & 1 == 1;
            else expected = expected && verdict < 3 && grade == 0;
        }
        check(this.isWellFormed(marks, digests) == expected, "the other way round");
    }

    /// A well-formed word would stay so with any other bit flipped, or the edges of its fields would be off by one.
    function test_marks__every_bit() external view {
        for (uint256 cohorts = 1; cohorts <= 16; ++cohorts) {
            bytes32[] memory digests = new bytes32[](cohorts);
            for (uint256 k = 0; k < cohorts; ++k) digests[k] = "named";
            uint256 all = uint256(1_000_000) << 16 | 0xffff;
            for (uint256 k = 0; k < cohorts; ++k) all |= uint256(1) << (48 + 2 * k) | uint256(15) << (80 + 4 * k);
            check(this.isWellFormed(all, digests), "everything at its most");
            check(!this.isWellFormed(all + (1 << 16), digests), "a score above the most");
            for (uint256 bit = 48; bit < 256; ++bit) {
                uint256 flipped = all ^ 1 << bit;
                bool isGrade = bit >= 80 && bit < 80 + 4 * cohorts;
                check(this.isWellFormed(flipped, digests) == isGrade, "one bit");
            }
        }
    }
}
