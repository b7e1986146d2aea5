// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Who does what in a round
/// @notice A Feistel permutation with cycle walking orders the seats; one position costs O(1), whatever their number.
/// @dev Eight rounds, because four are measurably biased for a few seats. tests/vectors/sortition.json is run by this
/// library and by its Python counterpart.
library Sortition {
    uint256 private constant ROUND_COUNT = 8;
    uint256 private constant KNOWN = 1 << 255;

    /// The position or seat is not below the number of seats; nobody stands there.
    error NoSuchPosition();

    /// A permutation of seats, with the values of its round function that were computed so far: for a committee they come
    /// up again and again, and a hash costs more than a look.
    struct Order {
        uint256 seatCount;
        uint256 halfBits;
        bytes32[3] preimage; // domain and seed; round and half are written behind them
        uint256[] mixed; // index: round, then half
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
    function open(bytes32 seed, uint256 seatCount) internal pure returns (Order memory order) {
        order.seatCount = seatCount;
        order.halfBits = computeHalfBits(seatCount);
        order.mixed = new uint256[](ROUND_COUNT << order.halfBits);
        bytes32[3] memory preimage = order.preimage;
        bytes20 domain = "p2p_flock feistel v1";
        assembly ("memory-safe") {
            mstore(preimage, domain)
            mstore(add(preimage, 20), seed)
        }
    }

    /// The seat that stands at `position` among `seatCount`.
    function seatAt(bytes32 seed, uint256 position, uint256 seatCount) internal pure returns (uint256) {
        if (position >= seatCount) revert NoSuchPosition();
        return seatAt(open(seed, seatCount), position);
    }

    /// The position at which `seat` stands: the inverse of seatAt.
    function positionOf(bytes32 seed, uint256 seat, uint256 seatCount) internal pure returns (uint256) {
        if (seat >= seatCount) revert NoSuchPosition();
        return positionOf(open(seed, seatCount), seat);
    }

    function seatAt(Order memory order, uint256 position) internal pure returns (uint256 seat) {
        uint256 seatCount = order.seatCount;
        if (position >= seatCount) revert NoSuchPosition();
        if (seatCount == 1) return 0;
        seat = position;
        // A permutation of a finite set leads from below seatCount back below it; the set is less than 4 times as large.
        do {
            seat = _forward(order, seat);
        } while (seat >= seatCount);
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

    /// Bits of one half: the least h >= 1 with seatCount <= 4^h.
    function computeHalfBits(uint256 seatCount) internal pure returns (uint256 halfBits) {
        halfBits = 1;
        while ((seatCount - 1) >> (2 * halfBits) != 0) ++halfBits;
    }

    /// The cohort of a trainer index: cohort c holds the indexes floor(c·T/K) to floor((c+1)·T/K) - 1.
    function cohortOf(uint256 trainer, uint256 trainerCount, uint256 cohortCount) internal pure returns (uint256) {
        return ((trainer + 1) * cohortCount - 1) / trainerCount;
    }

    function _forward(Order memory order, uint256 x) private pure returns (uint256) {
        unchecked {
            uint256 halfBits = order.halfBits;
            (uint256 left, uint256 right) = (x >> halfBits, x & ((1 << halfBits) - 1));
            for (uint256 j = 0; j < ROUND_COUNT; ++j) {
                (left, right) = (right, left ^ _mix(order, halfBits, j, right));
            }
            return left << halfBits | right;
        }
    }

    function _backward(Order memory order, uint256 x) private pure returns (uint256) {
        unchecked {
            uint256 halfBits = order.halfBits;
            (uint256 left, uint256 right) = (x >> halfBits, x & ((1 << halfBits) - 1));
            for (uint256 j = ROUND_COUNT; j > 0; --j) {
                (left, right) = (right ^ _mix(order, halfBits, j - 1, left), left);
            }
            return left << halfBits | right;
        }
    }

    /// The last bits of keccak256("p2p_flock feistel v1" ‖ seed ‖ uint8 j ‖ uint32 half), 57 bytes, as many as a half has.
    /// @param j below ROUND_COUNT; `half` below 2^halfBits: so the index is below the length of `mixed`
    function _mix(Order memory order, uint256 halfBits, uint256 j, uint256 half) private pure returns (uint256 value) {
        uint256[] memory mixed = order.mixed;
        bytes32[3] memory preimage = order.preimage;
        assembly ("memory-safe") {
            let entry := add(add(mixed, 32), shl(5, or(shl(halfBits, j), half)))
            value := mload(entry)
            if iszero(value) {
                mstore(add(preimage, 52), or(shl(248, j), shl(216, half)))
                value := or(and(keccak256(preimage, 57), sub(shl(halfBits, 1), 1)), KNOWN)
                mstore(entry, value)
            }
            value := xor(value, KNOWN)
        }
    }
}
