// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Marks} from "../src/libraries/Marks.sol";
import {Msgpack} from "../src/libraries/Msgpack.sol";
import {SecretSharing} from "../src/libraries/SecretSharing.sol";
import {Signatures} from "../src/libraries/Signatures.sol";
import {EvidenceTest} from "./EvidenceTest.sol";

/// Recovers two signatures in one call, as the alliance does with many.
contract SignaturesCaller {
    function recoverTwo(bytes32 digest, bytes calldata signatures) external view returns (address first, address second) {
        (first, second) = (Signatures.recover(digest, signatures, 0), Signatures.recover(digest, signatures, 1));
    }
}

/// The field and the reader that evidence is judged with, against the slow and obvious way.
contract LibrariesTest is EvidenceTest {
    /// A signature that belongs to nobody would count as one more of whoever stands before it.
    function test_recover__nobody_after_somebody() external {
        bytes32 digest = keccak256("digest");
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(0xA11, digest);
        bytes memory signatures = bytes.concat(abi.encodePacked(r, s, v), new bytes(65));
        (address first, address second) = new SignaturesCaller().recoverTwo(digest, signatures);
        eq(first, vm.addr(0xA11), "the signer");
        eq(second, address(0), "nobody");
    }

    using Msgpack for Msgpack.Reader;

    function setUp() public pure override {}

    /// An honest dealer's shares would lie on no polynomial.
    /// forge-config: default.fuzz.runs = 8
    function testFuzz_times__every_factor(bytes32 word) external pure {
        for (uint256 factor = 0; factor < 256; ++factor) {
            eq(bytes32(SecretSharing.times(uint256(word), factor)), multiplied(word, uint8(factor)), "product");
        }
    }

    /// One wrong inverse in the table would convict every dealer whose holders stand at two certain places. All pairs of
    /// points have all differences; the straight line through each of them is checked at a third.
    function test_interpolate__every_inverse() external pure {
        uint256 slope = uint256(keccak256("slope"));
        uint256 atZero = uint256(keccak256("secret"));
        for (uint256 difference = 1; difference < 255; ++difference) {
            uint256 x = difference == 1 ? 2 : 1;
            uint256[] memory points = new uint256[](3);
            (points[0], points[1], points[2]) = (x, x ^ difference, 255);
            if (points[1] == 255) points[2] = 254;
            uint256[] memory values = new uint256[](3);
            for (uint256 i = 0; i < 3; ++i) values[i] = atZero ^ SecretSharing.times(slope, points[i]);
            (bool onOneCurve, uint256 found) = SecretSharing.interpolate(points, values, 2);
            check(onOneCurve && found == atZero, "a straight line");
        }
    }

    /// Votes of some cohort would not count for the bonus. A mutant without one of the steps let every test pass.
    function testFuzz_spread__every_cohort(uint256 word) external pure {
        uint256 marks = 0;
        for (uint256 k = 0; k < 16; ++k) marks |= (word >> 8 * k) % 3 << 48 + 2 * k; // verdicts: 0, yes or no
        (uint256 yes, uint256 no) = Marks.spread(marks);
        for (uint256 k = 0; k < 16; ++k) {
            uint256 verdict = (word >> 8 * k) % 3;
            eq(yes >> 16 * k & 0xffff, verdict == Marks.YES ? 1 : 0, "yes");
            eq(no >> 16 * k & 0xffff, verdict == Marks.NO ? 1 : 0, "no");
        }
    }

    /// A right dealing would convict, or a wrong one pass, for some number, threshold and places of shares.
    /// forge-config: default.fuzz.runs = 32
    function testFuzz_interpolate__shares(uint8 n, uint8 threshold, uint8 bent, uint8 skip) external pure {
        n = uint8(bound(n, 3, 32));
        threshold = uint8(bound(threshold, 3, n));
        bytes32[] memory shares = dealt(n, threshold);
        uint256[] memory points = new uint256[](n);
        uint256[] memory values = new uint256[](n);
        uint256 used = 0;
        for (uint256 i = 0; i < n; ++i) {
            if (i == skip && used + n - i > threshold) continue; // holders that did not answer leave gaps
            (points[used], values[used++]) = (i + 1, uint256(shares[i]));
        }
        assembly ("memory-safe") {
            mstore(points, used)
            mstore(values, used)
        }
        (bool onOneCurve, uint256 found) = SecretSharing.interpolate(points, values, threshold);
        check(onOneCurve, "the right shares");
        eq(bytes32(found), secretDealt(), "the secret");
        values[bent % used] ^= 1 << bent;
        (onOneCurve, found) = SecretSharing.interpolate(points, values, threshold);
        check(onOneCurve == (used == threshold), "a bent share shows when there is one to spare");
        check(onOneCurve ? bytes32(found) != secretDealt() : true, "else it makes another secret");
    }

    function open(bytes calldata data) external pure returns (Msgpack.Reader memory) {
        return Msgpack.open(data);
    }

    function _read(bytes memory data) private view returns (uint256 value, bool done) {
        Msgpack.Reader memory reader = this.open(data);
        value = reader.readUint(type(uint32).max);
        done = reader.isDone();
    }

    /// Numbers would be read wrongly at the borders of their forms, or one number have two forms.
    function test_readUint__forms() external view {
        uint256[9] memory borders =
            [uint256(0), 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000, 0x7fffffff, type(uint32).max];
        for (uint256 i = 0; i < borders.length; ++i) {
            (uint256 value, bool done) = _read(integer(borders[i]));
            check(done && value == borders[i], "canonical");
        }
        bytes[10] memory bad = [
            bytes(hex""),
            hex"cc7f",
            hex"cd00ff",
            hex"ce0000ffff",
            hex"cf0000000100000000",
            hex"cc",
            hex"ce000100",
            hex"e0",
            hex"c0",
            hex"a161"
        ];
        for (uint256 i = 0; i < bad.length; ++i) {
            (uint256 value, bool done) = _read(bad[i]);
            check(!done && value == 0, "not canonical");
        }
    }

    /// A number above what its field takes would be cut to fit, and pass for another one.
    function test_readUint__at_most() external view {
        uint256[4] memory most = [uint256(0), 0x7f, 0xff, 0xffff];
        for (uint256 i = 0; i < 4; ++i) {
            Msgpack.Reader memory reader = this.open(integer(most[i]));
            check(reader.readUint(most[i]) == most[i] && reader.isDone(), "at most");
            reader = this.open(integer(most[i] + 1));
            check(reader.readUint(most[i]) == 0 && !reader.isDone(), "one above");
        }
    }

    /// What p2p_flock/wire/codec.py writes would be read as something else.
    function testFuzz_readers__canonical(uint32 number, uint16 length, bytes32 word) external view {
        Msgpack.Reader memory reader = this.open(abi.encodePacked(integer(number), list(length), hex"c420", word));
        eq(reader.readUint(type(uint32).max), number, "number");
        eq(reader.readArray(), length, "array");
        eq(reader.readBytes32(), word, "bytes");
        check(reader.isDone(), "done");
        reader.readUint(1);
        check(!reader.isDone(), "beyond the end");
    }

    /// A list of another length than its message has would be read as the message, and its items as others.
    function test_skipArray__other_lengths() external view {
        for (uint256 length = 0; length < 40; length += 3) {
            for (uint256 expected = 0; expected < 40; ++expected) {
                Msgpack.Reader memory reader = this.open(list(length));
                reader.skipArray(expected);
                check(reader.isDone() == (expected == length), "length");
            }
        }
    }

    /// A list or byte string would have two forms, or be read past the end.
    function test_readers__malformed() external view {
        bytes[6] memory lists = [bytes(hex""), hex"dc000f", hex"dd00010000", hex"dc00", hex"80", hex"c403"];
        for (uint256 i = 0; i < lists.length; ++i) {
            Msgpack.Reader memory reader = this.open(lists[i]);
            check(reader.readArray() == 0 && reader.broken, "list");
        }
        bytes memory word = new bytes(32);
        bytes[4] memory strings = [
            abi.encodePacked(hex"c41f", word),
            abi.encodePacked(hex"c50020", word),
            abi.encodePacked(hex"d920", word),
            abi.encodePacked(hex"c420", uint248(0))
        ];
        for (uint256 i = 0; i < strings.length; ++i) {
            Msgpack.Reader memory reader = this.open(strings[i]);
            check(reader.readBytes32() == 0 && reader.broken, "bytes");
        }
    }
}
