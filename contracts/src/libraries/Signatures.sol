// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Signatures that stand side by side in one byte string, 65 bytes r, s, v each
library Signatures {
    uint256 internal constant LENGTH = 65;
    uint256 private constant ECRECOVER = 0x01;
    // Half the order of secp256k1: a signature with a larger s has a second form.
    uint256 private constant S_MAX = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// Who signed `digest` with the signature at `index`, which must lie within `signatures`. Zero if nobody did, or if the
    /// signature has not the one form that counts: a low s, and 27 or 28 as v.
    function recover(bytes32 digest, bytes calldata signatures, uint256 index) internal view returns (address signer) {
        assembly ("memory-safe") {
            let at := add(signatures.offset, mul(index, LENGTH))
            let s := calldataload(add(at, 32))
            if iszero(gt(s, S_MAX)) {
                let input := mload(0x40)
                mstore(input, digest)
                mstore(add(input, 32), byte(0, calldataload(add(at, 64)))) // the precompile refuses all but 27 and 28
                mstore(add(input, 64), calldataload(at))
                mstore(add(input, 96), s)
                // It answers with no bytes if there is no signer, and then leaves this word as it is.
                mstore(0, 0)
                pop(staticcall(gas(), ECRECOVER, input, 128, 0, 32))
                signer := mload(0)
            }
        }
    }
}
