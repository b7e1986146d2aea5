// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Shamir's polynomials over GF(2^8), 32 of them at once
/// @dev The field of AES, modulo x^8 + x^4 + x^3 + x + 1. A word holds 32 of its elements, one of each polynomial; a
/// sum is XOR. p2p_flock/crypto/secret_sharing.py computes the same.
library SecretSharing {
    // Byte a is the inverse of a; byte 0 is not used.
    bytes private constant INVERSES =
        hex"00018df6cb527bd1e84f29c0b0e1e5c774b4aa4b992b605f583ffdccff40eeb2"
        hex"3a6e5af1554da8c9c10a98153044a2c22c45926cf3396642f235206f77bb5919"
        hex"1dfe37672d31f569a764ab135425e909ed5c05ca4c2487bf183e22f051ec6117"
        hex"165eafd349a63643f44791df3393213b79b7978510b5ba3cb670d006a1fa8182"
        hex"837e7f809673be569b9e95d9f702b9a4de6a326dd88a84722a149f88f9dc899a"
        hex"fb7c2ec38fb8654826c8124acee7d2620ce01fef11757871a58e763dbdbc8657"
        hex"0b282fa3dad4e40fa92753041bfcace67a07ae63c5dbe2ea948bc4d59df8906b"
        hex"b10dd6ebc60ecfad084ed7e35d501eb35b2338346846038cdd9c7da0cd1a411c";
    uint256 private constant LOW_BITS = 0x7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f;
    uint256 private constant ONES = 0x0101010101010101010101010101010101010101010101010101010101010101;

    /// Newton's interpolation through the first `threshold` points.
    /// @param points pairwise different, in 1 to 255, at least `threshold` and one at least
    /// @param values one word for each point
    /// @return onOneCurve whether all further points lie on it too
    /// @return atZero its value at 0: the shared secret
    function interpolate(uint256[] memory points, uint256[] memory values, uint256 threshold)
        internal
        pure
        returns (bool onOneCurve, uint256 atZero)
    {
        bytes memory inverses = INVERSES;
        uint256[] memory differences = new uint256[](threshold);
        onOneCurve = true;
        for (uint256 i = 0; i < points.length; ++i) {
            uint256 difference = values[i];
            for (uint256 j = 0; j < i && j < threshold; ++j) {
                difference = times(difference ^ differences[j], uint8(inverses[points[i] ^ points[j]]));
            }
            if (i < threshold) differences[i] = difference;
            // The divided difference of order t vanishes just where the polynomial of degree t - 1 goes through.
            else if (difference != 0) onOneCurve = false;
        }
        for (uint256 j = threshold; j > 0; --j) atZero = times(atZero, points[j - 1]) ^ differences[j - 1];
    }

    /// Every byte of `word` times `factor`, which has 8 bits.
    function times(uint256 word, uint256 factor) internal pure returns (uint256 product) {
        unchecked {
            for (; factor != 0; factor >>= 1) {
                if (factor & 1 == 1) product ^= word;
                word = ((word & LOW_BITS) << 1) ^ (((word >> 7) & ONES) * 0x1b);
            }
        }
    }
}
