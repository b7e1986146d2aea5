// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Survivors} from "../src/libraries/Survivors.sol";
import {Tally} from "../src/libraries/Tally.sol";
import {Forge} from "./Forge.sol";

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
    using Tally for Tally.Book;

    uint256 private constant CHOICES = 4;

    Tally.Book private _book;
    mapping(uint256 question => mapping(bytes32 digest => uint256)) private _expected;
    mapping(uint256 question => uint256) private _against;

    function _digest(uint256 choice) private pure returns (bytes32) {
        return keccak256(abi.encode(choice));
    }

    /// A disputed vote would be counted wrong: an aggregate without quorum could be adopted.
    function testFuzz_addFor__one_by_one(uint256[48] calldata votes, uint256 pause) external {
        // Another round's counts lie in the book already.
        Tally.Counts memory counts = Tally.Counts(0, 0);
        for (uint256 i = 0; i < 20; ++i) _book.addFor(counts, 6, i % 3, _digest(i % CHOICES));
        _book.write(counts);

        counts = Tally.Counts(0, 0);
        for (uint256 i = 0; i < votes.length; ++i) {
            uint256 question = votes[i] % 3 == 2 ? Tally.BASE_MODEL : votes[i] % 3;
            if (votes[i] >> 8 & 3 == 0) {
                Tally.addAgainst(counts, question);
                _against[question] += 1;
            } else {
                bytes32 digest = _digest(votes[i] >> 16 & (CHOICES - 1));
                _book.addFor(counts, 7, question, digest);
                _expected[question][digest] += 1;
            }
            if (i == pause % votes.length) { // as if the next votes came in another transaction
                _book.write(counts);
                counts = _book.read();
            }
        }
        for (uint256 q = 0; q < 3; ++q) _check(counts, q == 2 ? Tally.BASE_MODEL : q);
    }

    function _check(Tally.Counts memory counts, uint256 question) private view {
        uint256 most = 0;
        for (uint256 c = 0; c < CHOICES; ++c) {
            if (_expected[question][_digest(c)] > most) most = _expected[question][_digest(c)];
        }
        eq(Tally.countOf(counts.votesFor, question), most, "most votes for one digest");
        eq(Tally.countOf(counts.votesAgainst, question), _against[question], "votes against");
        bytes32 leading = _book.leadingOf(counts, question);
        eq(leading == 0 ? 0 : _expected[question][leading], most, "the leader has them");
    }

    /// 64 votes on each of 17 questions would run into a neighbour's bits.
    function test_addFor__full_committee() external {
        Tally.Counts memory counts = Tally.Counts(0, 0);
        for (uint256 v = 0; v < 64; ++v) {
            for (uint256 q = 0; q < Tally.QUESTION_COUNT; ++q) {
                _book.addFor(counts, 0, q, _digest(q));
                Tally.addAgainst(counts, q);
            }
        }
        for (uint256 q = 0; q < Tally.QUESTION_COUNT; ++q) {
            eq(Tally.countOf(counts.votesFor, q), 64, "for");
            eq(Tally.countOf(counts.votesAgainst, q), 64, "against");
        }
    }
}
