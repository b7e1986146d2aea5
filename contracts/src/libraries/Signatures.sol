// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Signatures that stand side by side in one byte string, 65 bytes r, s, v each
library Signatures {
    uint256 internal constant LENGTH = 65;
    // Half the order of secp256k1: a signature with a larger s has a second form.
    uint256 private constant S_MAX = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// Who signed `digest` with the signature at `index`, which must lie within `signatures`. Zero if nobody did, or if the
    /// signature has not the one form that counts: a low s, and 27 or 28 as v.
    function recover(bytes32 digest, bytes calldata signatures, uint256 index) internal pure returns (address) {
        bytes32 r;
        bytes32 s;
        uint256 v;
        assembly ("memory-safe") {
            let at := add(signatures.offset, mul(index, LENGTH))
            r := calldataload(at)
            s := calldataload(add(at, 32))
            v := byte(0, calldataload(add(at, 64)))
        }
        if (uint256(s) > S_MAX) return address(0);
        return ecrecover(digest, uint8(v), r, s); // refuses any other v
    }
}
