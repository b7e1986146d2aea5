// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Who does what in a round
/// @notice A Feistel permutation with cycle walking orders the seats; one position costs O(1), whatever their number.
/// @dev Eight rounds, because four are measurably biased for a few seats. tests/vectors/sortition.json is run by this
/// library and by its Python counterpart.
library Sortition {
    uint256 private constant ROUND_COUNT = 8;

    /// The position or seat is not below the number of seats; nobody stands there.
    error NoSuchPosition();

    /// A permutation of seats. For a large committee all values of its round function lie in a table: they come up again
    /// and again, and a hash costs three looks.
    struct Order {
        uint256 seatCount;
        uint256 halfBits;
        bytes32[3] preimage; // domain and seed; round and half are written behind them
        uint256[] table; // index: half, then round; values shifted up by 8 bits. Empty if there is no table
    }

    /// The seed of a round: bound to chain, contract, alliance and round, so that no beacon value serves twice.
    function computeSeed(address alliance, uint256 number, uint32 round, bytes32 randomness)
        internal
        view
        returns (bytes32)
    {
        return keccak256(
            abi.encodePacked("p2p_flock seed v1", block.chainid, alliance, number, round, randomness)
        );
    }

    /// @param seatCount at least 1
    /// @param positions how many will be asked for, about
    function open(bytes32 seed, uint256 seatCount, uint256 positions) internal pure returns (Order memory order) {
        order.seatCount = seatCount;
        order.halfBits = computeHalfBits(seatCount);
        bytes32[3] memory preimage = order.preimage;
        bytes20 domain = "p2p_flock feistel v1";
        assembly ("memory-safe") {
            mstore(preimage, domain)
            mstore(add(preimage, 20), seed)
        }
        // A position takes 4^h / N walks through all rounds, on average; the table has 2^h entries for each round.
        if (2 * (positions << order.halfBits) > 3 * seatCount) order.table = _tabulate(preimage, order.halfBits);
    }

    /// The seat that stands at `position` among `seatCount`.
    function seatAt(bytes32 seed, uint256 position, uint256 seatCount) internal pure returns (uint256) {
        if (position >= seatCount) revert NoSuchPosition();
        return seatAt(open(seed, seatCount, 1), position);
    }

    /// The position at which `seat` stands: the inverse of seatAt.
    function positionOf(bytes32 seed, uint256 seat, uint256 seatCount) internal pure returns (uint256) {
        if (seat >= seatCount) revert NoSuchPosition();
        return positionOf(open(seed, seatCount, 1), seat);
    }

    function seatAt(Order memory order, uint256 position) internal pure returns (uint256) {
        if (position >= order.seatCount) revert NoSuchPosition();
        if (order.seatCount == 1) return 0;
        return order.table.length == 0 ? _walkHashing(order, position) : _walkLooking(order, position);
    }

    function positionOf(Order memory order, uint256 seat) internal pure returns (uint256 position) {
        uint256 seatCount = order.seatCount;
        if (seat >= seatCount) revert NoSuchPosition();
        if (seatCount == 1) return 0;
        position = seat;
        do {
            position = _backward(order, position);
        } while (position >= seatCount);
    }

    /// Bits of one half: the least h >= 1 with seatCount <= 4^h, for at least one seat.
    function computeHalfBits(uint256 seatCount) internal pure returns (uint256 halfBits) {
        halfBits = 1;
        unchecked {
            while ((seatCount - 1) >> (2 * halfBits) != 0) ++halfBits; // at most 128
        }
    }

    /// The cohort of a trainer index: cohort c holds the indexes floor(c·T/K) to floor((c+1)·T/K) - 1.
    function cohortOf(uint256 trainer, uint256 trainerCount, uint256 cohortCount) internal pure returns (uint256) {
        return ((trainer + 1) * cohortCount - 1) / trainerCount;
    }

    /* Assembly, because a committee of 64 takes some thousand of these steps. The walks apply the permutation until it leads
    below the number of seats: it maps a finite set onto itself, so from a position below that number it does. The set is
    less than 4 times as large. Rounds go in pairs, in place: so the halves need not change sides. */

    function _walkHashing(Order memory order, uint256 position) private pure returns (uint256 x) {
        (uint256 seatCount, uint256 halfBits, bytes32[3] memory words) =
            (order.seatCount, order.halfBits, order.preimage);
        assembly ("memory-safe") {
            let behind := add(words, 52)
            let mask := sub(shl(halfBits, 1), 1)
            x := position
            for { let again := 1 } again { again := iszero(lt(x, seatCount)) } {
                let left := shr(halfBits, x)
                let right := and(x, mask)
                mstore(behind, shl(216, right))
                left := xor(left, and(keccak256(words, 57), mask))
                mstore(behind, or(shl(216, left), shl(248, 1)))
                right := xor(right, and(keccak256(words, 57), mask))
                mstore(behind, or(shl(216, right), shl(248, 2)))
                left := xor(left, and(keccak256(words, 57), mask))
                mstore(behind, or(shl(216, left), shl(248, 3)))
                right := xor(right, and(keccak256(words, 57), mask))
                mstore(behind, or(shl(216, right), shl(248, 4)))
                left := xor(left, and(keccak256(words, 57), mask))
                mstore(behind, or(shl(216, left), shl(248, 5)))
                right := xor(right, and(keccak256(words, 57), mask))
                mstore(behind, or(shl(216, right), shl(248, 6)))
                left := xor(left, and(keccak256(words, 57), mask))
                mstore(behind, or(shl(216, left), shl(248, 7)))
                right := xor(right, and(keccak256(words, 57), mask))
                x := or(shl(halfBits, left), right)
            }
        }
    }

    /// Halves are kept shifted up by 8 bits: with 32 times the round they are places in the table. A half is below
    /// 2^halfBits and a round below 8, so nothing beyond the table is read.
    function _walkLooking(Order memory order, uint256 position) private pure returns (uint256 x) {
        (uint256 seatCount, uint256 halfBits, uint256[] memory table) =
            (order.seatCount, order.halfBits, order.table);
        assembly ("memory-safe") {
            table := add(table, 32)
            let mask := shl(8, sub(shl(halfBits, 1), 1))
            x := position
            for { let again := 1 } again { again := iszero(lt(x, seatCount)) } {
                let left := shl(8, shr(halfBits, x))
                let right := and(shl(8, x), mask)
                left := xor(left, mload(add(table, right)))
                right := xor(right, mload(add(add(table, 32), left)))
                left := xor(left, mload(add(add(table, 64), right)))
                right := xor(right, mload(add(add(table, 96), left)))
                left := xor(left, mload(add(add(table, 128), right)))
                right := xor(right, mload(add(add(table, 160), left)))
                left := xor(left, mload(add(add(table, 192), right)))
                right := xor(right, mload(add(add(table, 224), left)))
                x := or(shl(halfBits, shr(8, left)), shr(8, right))
            }
        }
    }

    function _tabulate(bytes32[3] memory preimage, uint256 halfBits) private pure returns (uint256[] memory table) {
        table = new uint256[](ROUND_COUNT << halfBits);
        assembly ("memory-safe") {
            let behind := add(preimage, 52)
            let mask := shl(8, sub(shl(halfBits, 1), 1))
            let at := add(table, 32)
            let end := shl(add(halfBits, 216), 1)
            for { let half := 0 } lt(half, end) { half := add(half, shl(216, 1)) } {
                mstore(behind, half)
                mstore(at, and(shl(8, keccak256(preimage, 57)), mask))
                mstore(behind, or(half, shl(248, 1)))
                mstore(add(at, 32), and(shl(8, keccak256(preimage, 57)), mask))
                mstore(behind, or(half, shl(248, 2)))
                mstore(add(at, 64), and(shl(8, keccak256(preimage, 57)), mask))
                mstore(behind, or(half, shl(248, 3)))
                mstore(add(at, 96), and(shl(8, keccak256(preimage, 57)), mask))
                mstore(behind, or(half, shl(248, 4)))
                mstore(add(at, 128), and(shl(8, keccak256(preimage, 57)), mask))
                mstore(behind, or(half, shl(248, 5)))
                mstore(add(at, 160), and(shl(8, keccak256(preimage, 57)), mask))
                mstore(behind, or(half, shl(248, 6)))
                mstore(add(at, 192), and(shl(8, keccak256(preimage, 57)), mask))
                mstore(behind, or(half, shl(248, 7)))
                mstore(add(at, 224), and(shl(8, keccak256(preimage, 57)), mask))
                at := add(at, 256)
            }
        }
    }

    function _backward(Order memory order, uint256 x) private pure returns (uint256) {
        uint256 mask = (1 << order.halfBits) - 1;
        (uint256 left, uint256 right) = (x >> order.halfBits, x & mask);
        for (uint256 j = ROUND_COUNT; j > 0; --j) {
            (left, right) = (right ^ (_mix(order.preimage, j - 1, left) & mask), left);
        }
        return left << order.halfBits | right;
    }

    /// keccak256("p2p_flock feistel v1" ‖ seed ‖ uint8 j ‖ uint32 half), 57 bytes.
    function _mix(bytes32[3] memory preimage, uint256 j, uint256 half) private pure returns (uint256 digest) {
        assembly ("memory-safe") {
            mstore(add(preimage, 52), or(shl(248, j), shl(216, half)))
            digest := keccak256(preimage, 57)
        }
    }
}
