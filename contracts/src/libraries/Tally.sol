// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Survivors} from "./Survivors.sol";

/// @title Counting votes that name a digest
library Tally {
    /// The digest that most voters named; of several, the one that the first voter named.
    /// @param digests what each of at most 256 voters named
    /// @param voters bitmap of the indexes that count, all below the length
    /// @return digest zero without voters
    /// @return supporters bitmap of the voters that named it
    function leading(bytes32[] memory digests, uint256 voters)
        internal
        pure
        returns (bytes32 digest, uint256 supporters)
    {
        uint256 votes = 0;
        uint256 count = digests.length;
        // Each step takes one digest's voters out, so an undisputed vote takes one step.
        for (uint256 i = 0; voters != 0; ++i) {
            if (voters >> i & 1 == 0) continue;
            bytes32 candidate = digests[i];
            uint256 named = 0;
            assembly ("memory-safe") {
                let at := add(digests, shl(5, i))
                for { let j := i } lt(j, count) { j := add(j, 1) } {
                    at := add(at, 32)
                    named := or(named, shl(j, eq(mload(at), candidate)))
                }
            }
            named &= voters;
            voters ^= named;
            uint256 size = Survivors.countBits(named);
            if (size > votes) (digest, supporters, votes) = (candidate, named, size);
            if (Survivors.countBits(voters) <= votes) break; // no other can have more
        }
    }
}
