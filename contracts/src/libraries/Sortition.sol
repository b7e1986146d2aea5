// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Who does what in a round
/// @notice A keyed permutation orders the seats; one position costs O(1), whatever their number.
/// @dev The generalised Feistel network of Black and Rogaway, "Ciphers with arbitrary finite domains" (CT-RSA 2002),
/// section 6: seats are written as left * b + right with left below a = ceil(sqrt(N)) and right below b = ceil(N / a), and a
/// and b are added to in turn, modulo a and b. a * b exceeds N by less than a, so hardly a walk leads beyond N and back.
/// Twelve rounds, because eight are measurably biased for a few seats. tests/vectors/sortition.json is run by this library
/// and by its Python counterpart.
library Sortition {
    uint256 private constant ROUND_COUNT = 12;

    /// The position or seat is not below the number of seats; nobody stands there.
    error NoSuchPosition();

    /// A permutation of seats. Values of its round function lie in a table once they were computed: for a large committee
    /// they come up again and again, and a hash costs three looks.
    struct Order {
        uint256 seatCount;
        uint256 a;
        uint256 b;
        bytes32[3] preimage; // domain and seed; round and half are written behind them
        uint256[] table; // index: half * ROUND_COUNT + round; values plus one, 0 is not computed yet
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
        order.a = Math.sqrt(seatCount, Math.Rounding.Ceil);
        order.b = Math.ceilDiv(seatCount, order.a);
        order.table = new uint256[](ROUND_COUNT * order.a); // b is at most a
        bytes32[3] memory preimage = order.preimage;
        bytes20 domain = "p2p_flock feistel v2";
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

    /// A walk ends: the permutation maps a finite set onto itself, so from a place below seatCount it leads there again.
    function seatAt(Order memory order, uint256 position) internal pure returns (uint256 seat) {
        if (position >= order.seatCount) revert NoSuchPosition();
        seat = position;
        do {
            seat = _forward(order, seat);
        } while (seat >= order.seatCount);
    }

    /// The cohort of a trainer index: cohort c holds the indexes floor(c·T/K) to floor((c+1)·T/K) - 1.
    function cohortOf(uint256 trainer, uint256 trainerCount, uint256 cohortCount) internal pure returns (uint256) {
        return ((trainer + 1) * cohortCount - 1) / trainerCount;
    }

    function positionOf(Order memory order, uint256 seat) internal pure returns (uint256 position) {
        if (seat >= order.seatCount) revert NoSuchPosition();
        position = seat;
        do {
            position = _backward(order, position);
        } while (position >= order.seatCount);
    }

    /// Unchecked: left stays below a and right below b, which are at most 2^128.
    function _forward(Order memory order, uint256 x) private pure returns (uint256) {
        unchecked {
            (uint256 a, uint256 b) = (order.a, order.b);
            (uint256 left, uint256 right) = (x / b, x % b);
            for (uint256 j = 0; j < ROUND_COUNT; j += 2) {
                left = (left + _mix(order, j, right, a)) % a;
                right = (right + _mix(order, j + 1, left, b)) % b;
            }
            return left * b + right;
        }
    }

    function _backward(Order memory order, uint256 x) private pure returns (uint256) {
        unchecked {
            (uint256 a, uint256 b) = (order.a, order.b);
            (uint256 left, uint256 right) = (x / b, x % b);
            for (uint256 j = ROUND_COUNT; j > 0; j -= 2) {
                right = (right + b - _mix(order, j - 1, left, b)) % b;
                left = (left + a - _mix(order, j - 2, right, a)) % a;
            }
            return left * b + right;
        }
    }

    /// keccak256("p2p_flock feistel v2" ‖ seed ‖ uint8 j ‖ uint32 half) modulo `modulus`. `half` is below a and j below
    /// ROUND_COUNT, so the place is in the table.
    function _mix(Order memory order, uint256 j, uint256 half, uint256 modulus) private pure returns (uint256 value) {
        (uint256[] memory table, bytes32[3] memory preimage) = (order.table, order.preimage);
        assembly ("memory-safe") {
            let place := add(add(table, 32), shl(5, add(mul(half, ROUND_COUNT), j)))
            value := mload(place)
            if iszero(value) {
                mstore(add(preimage, 52), or(shl(248, j), shl(216, half)))
                value := add(mod(keccak256(preimage, 57), modulus), 1)
                mstore(place, value)
            }
            value := sub(value, 1)
        }
    }
}
