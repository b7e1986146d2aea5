// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBeacon} from "../src/interfaces/IBeacon.sol";

/// A beacon whose values follow from the round, so that tests need no pairing. Beacon.t.sol tests the real one, and
/// DrandRound.t.sol runs a round with it.
contract StubBeacon is IBeacon {
    uint64 public constant genesis = 1_600_000_000;
    uint64 public constant period = 3;

    function verify(uint64 beaconRound, bytes calldata signature) external view virtual returns (bytes32) {
        if (signature.length != 96) revert WrongLength(96, signature.length);
        if (signature[0] != 0) revert WrongSignature();
        return valueOf(beaconRound);
    }

    function valueOf(uint64 beaconRound) public pure returns (bytes32) {
        return keccak256(abi.encode("stub beacon", beaconRound));
    }

    function timeOf(uint64 beaconRound) public pure returns (uint64) {
        return genesis + (beaconRound - 1) * period;
    }

    function roundAt(uint64 timestamp) external pure returns (uint64) {
        unchecked {
            return timestamp <= genesis ? 1 : (timestamp - genesis - 1) / period + 2;
        }
    }

    function publicKey() external pure returns (bytes memory) {
        return new bytes(256);
    }
}
