// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Beacon} from "../src/Beacon.sol";
import {IBeacon} from "../src/interfaces/IBeacon.sol";
import {Forge} from "./Forge.sol";

contract BeaconTest is Forge {
    string private json = vm.readFile("../tests/vectors/beacon.json");
    Beacon private quicknet = _deploy("quicknet", 1_692_803_367, 3);
    Beacon private devnet = _deploy("devnet", 1_700_000_000, 1);

    function _deploy(string memory network, uint64 genesis, uint64 period) private returns (Beacon) {
        bytes memory key = vm.parseJsonBytes(json, string.concat(".", network, ".public_key"));
        return Beacon(vm.deployCode("out/Beacon.sol/Beacon.json", abi.encode(key, genesis, period)));
    }

    /// Base could not verify the real drand network: no alliance would ever seal a round.
    function test_verify__real_quicknet_rounds() external view {
        eq(_verifyAll(quicknet, "quicknet.rounds"), 2, "real rounds");
        bytes32 known = vm.parseJsonBytes32(json, ".quicknet.rounds[0].randomness");
        eq(known, 0xfe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd, "round 1000");
    }

    /// The development network would need other code than the real one.
    function test_verify__devnet_rounds() external view {
        check(_verifyAll(devnet, "devnet.rounds") >= 6, "devnet rounds");
    }

    /// Somebody could choose a round's randomness.
    function test_verify__bad_vectors() external {
        uint256 i = 0;
        for (; has(json, "bad_signatures", i); ++i) {
            bool real = _same(vm.parseJsonString(json, path("bad_signatures", i, "network")), "quicknet");
            uint64 round = uint64(vm.parseJsonUint(json, path("bad_signatures", i, "round")));
            bytes memory signature = vm.parseJsonBytes(json, path("bad_signatures", i, "signature"));
            string memory error = vm.parseJsonString(json, path("bad_signatures", i, "error"));
            Beacon beacon = real ? quicknet : devnet;
            if (_same(error, "WrongLength")) {
                vm.expectRevert(abi.encodeWithSelector(IBeacon.WrongLength.selector, 96, signature.length));
            } else {
                vm.expectRevert(
                    _same(error, "NoSuchRound") ? IBeacon.NoSuchRound.selector : IBeacon.WrongSignature.selector
                );
            }
            beacon.verify{gas: 500_000}(round, signature); // a precompile that refuses keeps all the gas it was given
        }
        check(i >= 12, "vectors missing");
    }

    /// A beacon with the key of nobody would accept the forged signature at infinity.
    function test_constructor__bad_keys() external {
        uint256 i = 0;
        for (; has(json, "bad_keys", i); ++i) {
            bytes memory key = vm.parseJsonBytes(json, path("bad_keys", i, "public_key"));
            if (_same(vm.parseJsonString(json, path("bad_keys", i, "error")), "WrongLength")) {
                vm.expectRevert(abi.encodeWithSelector(IBeacon.WrongLength.selector, 256, key.length));
            } else {
                vm.expectRevert(IBeacon.WrongPublicKey.selector);
            }
            this.deploy{gas: 3_000_000}(key);
        }
        check(i >= 4, "vectors missing");
    }

    function deploy(bytes calldata key) external returns (Beacon) {
        return new Beacon(key, 1, 1);
    }

    /// roundAt would divide by zero for ever.
    function test_constructor__no_schedule() external {
        bytes memory key = quicknet.publicKey();
        vm.expectRevert(IBeacon.WrongSchedule.selector);
        new Beacon(key, 1, 0);
        vm.expectRevert(IBeacon.WrongSchedule.selector);
        new Beacon(key, 0, 1);
    }

    /// Opening times would be off by one period, so a seed could be known when the seats freeze.
    function test_schedule__edges() external {
        eq(quicknet.timeOf(1), 1_692_803_367, "genesis");
        eq(quicknet.timeOf(2), 1_692_803_370, "round 2");
        eq(quicknet.roundAt(0), 1, "long before genesis");
        eq(quicknet.roundAt(1_692_803_366), 1, "just before genesis");
        eq(quicknet.roundAt(1_692_803_367), 1, "at genesis: published then");
        eq(quicknet.roundAt(1_692_803_368), 2, "after genesis");
        eq(quicknet.roundAt(1_692_803_369), 2, "within the first period");
        eq(quicknet.roundAt(1_692_803_370), 2, "at round 2: published then");
        eq(quicknet.roundAt(1_692_803_371), 3, "after round 2");
        vm.expectRevert(IBeacon.NoSuchRound.selector);
        quicknet.timeOf(0);
    }

    /// roundAt would not be the first round that is published at or after a time.
    function testFuzz_schedule__first_round_at_or_after(uint64 timestamp, uint64 period) external {
        period = uint64(bound(period, 1, 1 days));
        timestamp = uint64(bound(timestamp, 0, 1 << 40));
        Beacon beacon = new Beacon(quicknet.publicKey(), 1_692_803_367, period);
        uint64 round = beacon.roundAt(timestamp);
        check(beacon.timeOf(round) >= timestamp, "before");
        check(round == 1 || beacon.timeOf(round - 1) < timestamp, "not the first");
    }

    /// A beacon would verify with another key than it was made with.
    function test_publicKey__is_the_constructors() external view {
        bytes memory key = vm.parseJsonBytes(json, ".quicknet.public_key");
        eq(keccak256(quicknet.publicKey()), keccak256(key), "key");
    }

    function _verifyAll(Beacon beacon, string memory list) private view returns (uint256 i) {
        for (; has(json, list, i); ++i) {
            uint64 round = uint64(vm.parseJsonUint(json, path(list, i, "round")));
            bytes32 expected = vm.parseJsonBytes32(json, path(list, i, "randomness"));
            bytes memory signature = vm.parseJsonBytes(json, path(list, i, "signature"));
            eq(beacon.verify(round, signature), expected, "randomness");
        }
    }

    function _same(string memory a, string memory b) private pure returns (bool) {
        return keccak256(bytes(a)) == keccak256(bytes(b));
    }
}

/// forge-config: default.evm_version = "cancun"
contract BeaconWithoutPrecompilesTest is Forge {
    /// A chain without EIP-2537 answers every call with success and nothing: any signature would pass.
    function test_constructor__no_precompile() external {
        bytes memory key = vm.parseJsonBytes(vm.readFile("../tests/vectors/beacon.json"), ".quicknet.public_key");
        vm.expectRevert(IBeacon.WrongPublicKey.selector);
        new Beacon(key, 1, 1);
    }
}
