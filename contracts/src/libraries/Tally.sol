// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Survivors} from "./Survivors.sol";

/// @title Counting votes that name a digest
library Tally {
    /// The digest that most voters named; of several, the one that the first voter named.
    /// @param digests what each of at most 256 voters named
    /// @param voters bitmap of the indexes that count
    /// @return digest zero without voters
    /// @return supporters bitmap of the voters that named it
    function leading(bytes32[] memory digests, uint256 voters)
        internal
        pure
        returns (bytes32 digest, uint256 supporters)
    {
        uint256 votes = 0;
        // Each step takes one digest's voters out. An undisputed vote takes one step.
        for (uint256 i = 0; i < digests.length && Survivors.countBits(voters) > votes; ++i) {
            if (voters >> i & 1 == 0) continue;
            bytes32 candidate = digests[i];
            uint256 named = 0;
            for (uint256 j = i; j < digests.length; ++j) {
                if (digests[j] == candidate) named |= 1 << j;
            }
            named &= voters;
            voters ^= named;
            uint256 count = Survivors.countBits(named);
            if (count > votes) (digest, supporters, votes) = (candidate, named, count);
        }
    }
}
