// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBeacon} from "./interfaces/IBeacon.sol";

/// @title Verifies drand rounds of the scheme "bls-unchained-g1-rfc9380" with the EIP-2537 precompiles
/// @dev The signature of a round is unique: neither who posts it nor who orders transactions can choose its value.
contract Beacon is IBeacon {
    // RFC 9380, section 8.8.1: the suite's hash-to-curve domain.
    bytes private constant DOMAIN = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";
    // The field modulus, in two words.
    uint256 private constant P_HIGH = 0x1a0111ea397fe69a4b1ba7b6434bacd7;
    uint256 private constant P_LOW = 0x64774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab;
    // The negated generator of G2, coordinates x.c0, x.c1, y.c0, y.c1 of 64 bytes each.
    bytes private constant NEGATED_G2 =
        hex"00000000000000000000000000000000024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
        hex"0000000000000000000000000000000013e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
        hex"000000000000000000000000000000000d1b3cc2c7027888be51d9ef691d77bcb679afda66c73f17f9ee3837a55024f78c71363275a75d75d86bab79f74782aa"
        hex"0000000000000000000000000000000013fa4d4a0ad8b1ce186ed5061789213d993923066dddaf1040bc3ff59f825c78df74f2d75467e25e0f55f8a00fa030ed";
    uint256 private constant MODEXP = 0x05;
    uint256 private constant G1_ADD = 0x0b;
    uint256 private constant PAIRING = 0x0f;
    uint256 private constant MAP_FP_TO_G1 = 0x10;

    /// @inheritdoc IBeacon
    uint64 public immutable genesis;
    /// @inheritdoc IBeacon
    uint64 public immutable period;
    // The public key in G2, eight words: an immutable costs no storage read.
    bytes32 private immutable KEY0;
    bytes32 private immutable KEY1;
    bytes32 private immutable KEY2;
    bytes32 private immutable KEY3;
    bytes32 private immutable KEY4;
    bytes32 private immutable KEY5;
    bytes32 private immutable KEY6;
    bytes32 private immutable KEY7;

    constructor(bytes memory publicKeyG2, uint64 genesis_, uint64 period_) {
        if (publicKeyG2.length != 256) revert WrongLength(256, publicKeyG2.length);
        if (genesis_ == 0 || period_ == 0) revert WrongSchedule();
        bytes32[8] memory words = abi.decode(publicKeyG2, (bytes32[8]));
        // The point at infinity would be the key to which every forged signature at infinity belongs.
        bytes32 any = 0;
        for (uint256 i = 0; i < 8; ++i) any |= words[i];
        // Pairing it with the point at infinity makes the precompile check that it is on the curve and in the subgroup.
        if (any == 0 || !_pairingHolds(abi.encodePacked(new bytes(128), publicKeyG2))) revert WrongPublicKey();
        (KEY0, KEY1, KEY2, KEY3) = (words[0], words[1], words[2], words[3]);
        (KEY4, KEY5, KEY6, KEY7) = (words[4], words[5], words[6], words[7]);
        genesis = genesis_;
        period = period_;
    }

    /// @inheritdoc IBeacon
    function verify(uint64 beaconRound, bytes calldata signature) external view returns (bytes32 randomness) {
        if (signature.length != 96) revert WrongLength(96, signature.length);
        if (beaconRound == 0) revert NoSuchRound();
        bytes memory terms = abi.encodePacked(
            bytes16(0), signature[:48], bytes16(0), signature[48:], NEGATED_G2, _hashToG1(beaconRound), publicKey()
        );
        if (!_pairingHolds(terms)) revert WrongSignature();
        return sha256(_compress(signature));
    }

    /// @inheritdoc IBeacon
    function timeOf(uint64 beaconRound) public view returns (uint64) {
        if (beaconRound == 0) revert NoSuchRound();
        return genesis + (beaconRound - 1) * period;
    }

    /// @inheritdoc IBeacon
    function roundAt(uint64 timestamp) external view returns (uint64) {
        if (timestamp <= genesis) return 1;
        unchecked {
            return (timestamp - genesis - 1) / period + 2; // neither step can leave its type: 0 < period
        }
    }

    /// @inheritdoc IBeacon
    function publicKey() public view returns (bytes memory) {
        return abi.encodePacked(KEY0, KEY1, KEY2, KEY3, KEY4, KEY5, KEY6, KEY7);
    }

    /// The standard compressed form: x with the flag "compressed" and the flag "y is the larger root". drand's
    /// randomness is the hash of this form.
    function _compress(bytes calldata signature) private pure returns (bytes memory packed) {
        packed = signature[:48];
        uint256 high = uint128(bytes16(signature[48:64]));
        uint256 low = uint256(bytes32(signature[64:96]));
        uint256 halfHigh = P_HIGH >> 1;
        uint256 halfLow = (P_LOW >> 1) | (P_HIGH << 255);
        bool larger = high > halfHigh || (high == halfHigh && low > halfLow);
        packed[0] = bytes1(uint8(packed[0]) | (larger ? 0xa0 : 0x80));
    }

    /// RFC 9380 hash_to_curve of sha256(beaconRound) to a point of 128 bytes.
    function _hashToG1(uint64 beaconRound) private view returns (bytes memory point) {
        bytes32 message = sha256(abi.encodePacked(beaconRound));
        bytes memory domain = abi.encodePacked(DOMAIN, uint8(DOMAIN.length));
        // expand_message_xmd to 128 bytes: two field elements of 64.
        bytes32 b0 = sha256(abi.encodePacked(new bytes(64), message, uint16(128), uint8(0), domain));
        bytes32 b1 = sha256(abi.encodePacked(b0, uint8(1), domain));
        bytes32 b2 = sha256(abi.encodePacked(b0 ^ b1, uint8(2), domain));
        bytes32 b3 = sha256(abi.encodePacked(b0 ^ b2, uint8(3), domain));
        bytes32 b4 = sha256(abi.encodePacked(b0 ^ b3, uint8(4), domain));
        return _call(G1_ADD, abi.encodePacked(_mapToG1(b1, b2), _mapToG1(b3, b4)), 128);
    }

    /// A field element given by 512 uniform bits, mapped to G1 (the precompile clears the cofactor).
    function _mapToG1(bytes32 high, bytes32 low) private view returns (bytes memory) {
        bytes memory reduced = _call(
            MODEXP,
            abi.encodePacked(uint256(64), uint256(1), uint256(64), high, low, uint8(1), P_HIGH, P_LOW),
            64
        );
        return _call(MAP_FP_TO_G1, reduced, 128);
    }

    /// Whether the product of the pairings is one. False also for points off the curve or out of the subgroup.
    function _pairingHolds(bytes memory terms) private view returns (bool) {
        (bool ok, bytes memory output) = address(uint160(PAIRING)).staticcall(terms);
        return ok && output.length == 32 && abi.decode(output, (uint256)) == 1;
    }

    /// A precompile that is missing answers with success and no bytes: hence the length check.
    function _call(uint256 precompile, bytes memory input, uint256 length) private view returns (bytes memory output) {
        bool ok;
        (ok, output) = address(uint160(precompile)).staticcall(input);
        if (!ok || output.length != length) revert PrecompileMissing();
    }
}
