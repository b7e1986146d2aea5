// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Who does what in a round
/// @notice A keyed permutation orders the seats; one position costs O(1), whatever their number.
/// @dev The generalised Feistel network of Black and Rogaway, "Ciphers with arbitrary finite domains" (CT-RSA 2002),
/// section 6: seats are written as left * b + right with left below a = ceil(sqrt(N)) and right below b = ceil(N / a), and a
/// and b are added to in turn, modulo a and b. a * b exceeds N by less than a, so hardly a walk leads beyond N and back.
/// Eight rounds: with four some pairs of a few seats come much oftener than others, with eight at five to nine seats a few
/// per cent oftener, beyond that nothing shows. tests/vectors/sortition.json is run here and by the Python counterpart.
library Sortition {
    uint256 private constant ROUND_PAIRS = 4;

    /// The position or seat is not below the number of seats; nobody stands there.
    error NoSuchPosition();

    /// A permutation of seats. The digest of a half serves four rounds, and lies in a table once it was computed: in a large
    /// committee the same halves come up again and again.
    struct Order {
        uint256 seatCount;
        uint256 a;
        uint256 b;
        bytes32[3] preimage; // domain and seed; side and half are written behind them
        uint256[] table; // digests of right halves at even places, of left ones at odd places; 0 is not computed yet
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
        order.table = new uint256[](2 * order.a); // b is at most a
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

    /// In assembly, because a committee of 64 takes some hundred walks. `left` stays below a and `right` below b, which are at
    /// most 2^128, and b is at most a: nothing overflows, and all places are in the table, 64 bytes for each half.
    function _forward(Order memory order, uint256 x) private pure returns (uint256 y) {
        (uint256 a, uint256 b, uint256[] memory table, bytes32[3] memory preimage) =
            (order.a, order.b, order.table, order.preimage);
        assembly ("memory-safe") {
            function digestOf(words, place, side, half) -> digest {
                mstore(add(words, 52), or(shl(248, side), shl(216, half)))
                digest := keccak256(words, 57)
                mstore(place, digest)
            }
            let left := div(x, b)
            let right := mod(x, b)
            let rights := add(table, 32)
            let lefts := add(table, 64)
            for { let shift := 0 } lt(shift, 256) { shift := add(shift, 64) } {
                let place := add(rights, shl(6, right))
                let digest := mload(place)
                if iszero(digest) { digest := digestOf(preimage, place, 0, right) }
                left := mod(add(left, and(shr(shift, digest), 0xffffffffffffffff)), a)
                place := add(lefts, shl(6, left))
                digest := mload(place)
                if iszero(digest) { digest := digestOf(preimage, place, 1, left) }
                right := mod(add(right, and(shr(shift, digest), 0xffffffffffffffff)), b)
            }
            y := add(mul(left, b), right)
        }
    }

    function _backward(Order memory order, uint256 x) private pure returns (uint256) {
        (uint256 a, uint256 b) = (order.a, order.b);
        (uint256 left, uint256 right) = (x / b, x % b);
        for (uint256 pair = ROUND_PAIRS; pair > 0; --pair) {
            right = (right + b - _mix(order.preimage, pair - 1, 1, left) % b) % b;
            left = (left + a - _mix(order.preimage, pair - 1, 0, right) % a) % a;
        }
        return left * b + right;
    }

    /// 64 bits, from the lowest on, of keccak256("p2p_flock feistel v2" ‖ seed ‖ uint8 side ‖ uint32 half).
    function _mix(bytes32[3] memory preimage, uint256 pair, uint256 side, uint256 half)
        private
        pure
        returns (uint256 value)
    {
        assembly ("memory-safe") {
            mstore(add(preimage, 52), or(shl(248, side), shl(216, half)))
            value := and(shr(shl(6, pair), keccak256(preimage, 57)), 0xffffffffffffffff)
        }
    }
}
