// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBeacon} from "../src/interfaces/IBeacon.sol";
import {RoundState} from "../src/Types.sol";
import {AllianceTest} from "./AllianceTest.sol";

/// A whole round with the real beacon contract and the development network's key, and what it costs.
contract DrandRoundTest is AllianceTest {
    uint256 private constant VECTOR = 3; // devnet.rounds[3] is round 109
    string private json;

    function setUp() public override {
        super.setUp();
        json = vm.readFile("../tests/vectors/beacon.json");
        // Round 0 is scheduled at START + 10, when drand's round 108 appears; 109 is the margin.
        bytes memory key = vm.parseJsonBytes(json, ".devnet.public_key");
        bytes memory arguments = abi.encode(key, uint64(START + 10 - 107 * 3), uint64(3));
        factory = deployFactory(address(token), IBeacon(vm.deployCode("out/Beacon.sol/Beacon.json", arguments)));
        alliance = create(params, 1);
        joinAll(11);
    }

    function beaconValue(uint64) internal view override returns (bytes32) {
        return vm.parseJsonBytes32(json, path("devnet.rounds", VECTOR, "randomness"));
    }

    function beaconProof(uint64) internal view override returns (bytes memory) {
        return vm.parseJsonBytes(json, path("devnet.rounds", VECTOR, "signature"));
    }

    /// The parts would not fit together: beacon, seed, roles, signatures and settlement.
    function test_round__with_a_drand_signature() external {
        RoundState memory s = state();
        eq(s.beaconRound, 109, "the vector's round");
        eq(s.opensAt, START + 10 + 3, "published at the schedule, plus the margin");
        playRound(ALL, YES);
        eq(state().settledRoundCount, 1, "settled");
    }

    /// Somebody could seal with another signature than drand's.
    function test_round__with_a_bad_signature() external {
        vm.warp(state().opensAt);
        SealCall memory call = sealOf(ALL);
        call.beaconSignature[95] ^= 0x01;
        (bool ok, bytes memory error) = address(alliance).call{gas: 2_000_000}(
            abi.encodeCall(
                alliance.sealRound,
                (
                    call.round,
                    call.leaderView,
                    call.beaconSignature,
                    call.manifestDigest,
                    call.survivors,
                    call.signers,
                    call.signatures
                )
            )
        );
        check(!ok && bytes4(error) == IBeacon.WrongSignature.selector, "refused for its signature");
    }
}
