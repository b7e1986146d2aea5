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

    /// The seat that stands at `position` among `seatCount`.
    function seatAt(bytes32 seed, uint256 position, uint256 seatCount) internal pure returns (uint256 seat) {
        if (position >= seatCount) revert NoSuchPosition();
        if (seatCount == 1) return 0;
        uint256 halfBits = computeHalfBits(seatCount);
        seat = position;
        // A permutation of a finite set leads from below seatCount back below it; the set is less than 4 times as large.
        do {
            seat = _forward(seed, seat, halfBits);
        } while (seat >= seatCount);
    }

    /// The position at which `seat` stands: the inverse of seatAt.
    function positionOf(bytes32 seed, uint256 seat, uint256 seatCount) internal pure returns (uint256 position) {
        if (seat >= seatCount) revert NoSuchPosition();
        if (seatCount == 1) return 0;
        uint256 halfBits = computeHalfBits(seatCount);
        position = seat;
        do {
            position = _backward(seed, position, halfBits);
        } while (position >= seatCount);
    }

    /// Bits of one half: the least h >= 1 with seatCount <= 4^h.
    function computeHalfBits(uint256 seatCount) internal pure returns (uint256 halfBits) {
        halfBits = 1;
        while ((seatCount - 1) >> (2 * halfBits) != 0) ++halfBits;
    }

    /// The cohort of a trainer index: cohort c holds the indexes floor(c·T/K) to floor((c+1)·T/K) - 1.
    function cohortOf(uint256 trainer, uint256 trainerCount, uint256 cohortCount) internal pure returns (uint256) {
        return ((trainer + 1) * cohortCount - 1) / trainerCount;
    }

    function _forward(bytes32 seed, uint256 x, uint256 halfBits) private pure returns (uint256) {
        uint256 mask = (1 << halfBits) - 1;
        (uint256 left, uint256 right) = (x >> halfBits, x & mask);
        for (uint256 j = 0; j < ROUND_COUNT; ++j) {
            (left, right) = (right, left ^ (_mix(seed, j, right) & mask));
        }
        return left << halfBits | right;
    }

    function _backward(bytes32 seed, uint256 x, uint256 halfBits) private pure returns (uint256) {
        uint256 mask = (1 << halfBits) - 1;
        (uint256 left, uint256 right) = (x >> halfBits, x & mask);
        for (uint256 j = ROUND_COUNT; j > 0; --j) {
            (left, right) = (right ^ (_mix(seed, j - 1, left) & mask), left);
        }
        return left << halfBits | right;
    }

    /// keccak256("p2p_flock feistel v1" ‖ seed ‖ uint8 j ‖ uint32 half), 57 bytes, beyond the free memory pointer: a committee of 64 hashes some thousand times, and abi.encodePacked would grow memory each time.
    function _mix(bytes32 seed, uint256 j, uint256 half) private pure returns (uint256 digest) {
        bytes20 domain = "p2p_flock feistel v1";
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, domain)
            mstore(add(free, 20), seed)
            mstore(add(free, 52), or(shl(248, j), shl(216, half)))
            digest := keccak256(free, 57)
        }
    }
}
