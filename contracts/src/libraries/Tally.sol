// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Survivors} from "./Survivors.sol";

/// @title Counting votes that name a digest
library Tally {
    /// The digest that most voters named; of several, the one that the first voter named.
    /// @param rows what each of at most 256 voters named, `width` digests each
    /// @param column which of them is voted on, below `width`
    /// @param voters bitmap of the rows that count, all below their number
    /// @return digest zero without voters
    /// @return supporters bitmap of the voters that named it
    function leading(bytes32[] memory rows, uint256 width, uint256 column, uint256 voters)
        internal
        pure
        returns (bytes32 digest, uint256 supporters)
    {
        unchecked {
            uint256 votes = 0;
            // Each step takes one digest's voters out, so an undisputed vote takes one step.
            for (uint256 i = 0; voters != 0; ++i) {
                if (voters >> i & 1 == 0) continue;
                (bytes32 candidate, uint256 named) = _voters(rows, width, column, i);
                named &= voters;
                voters ^= named;
                uint256 size = Survivors.countBits(named);
                if (size > votes) (digest, supporters, votes) = (candidate, named, size);
                if (Survivors.countBits(voters) <= votes) break; // no other can have more
            }
        }
    }

    /// What row `first` names, and the bitmap of it and of the later rows that name the same.
    function _voters(bytes32[] memory rows, uint256 width, uint256 column, uint256 first)
        private
        pure
        returns (bytes32 candidate, uint256 named)
    {
        assembly ("memory-safe") {
            let row := shl(5, width)
            let start := add(add(rows, 32), shl(5, column))
            let from := add(start, mul(row, first))
            candidate := mload(from)
            // From the last row to `first`: so each one found moves the later ones up.
            let place := add(start, sub(shl(5, mload(rows)), row))
            for {} iszero(lt(place, from)) { place := sub(place, row) } {
                named := or(shl(1, named), eq(mload(place), candidate))
            }
            named := shl(first, named)
        }
    }
}
