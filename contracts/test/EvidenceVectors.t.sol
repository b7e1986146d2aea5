// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAlliance} from "../src/interfaces/IAlliance.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IBeacon} from "../src/interfaces/IBeacon.sol";
import {IEvidence} from "../src/interfaces/IEvidence.sol";
import {AllianceTest, IAllianceParts} from "./AllianceTest.sol";
import {StubBeacon} from "./StubBeacon.sol";

/// A beacon that accepts one signature, of one round.
contract VectorBeacon is StubBeacon {
    uint64 private _round;
    bytes32 private _signature; // hash
    bytes32 private _value;

    function learn(uint64 beaconRound, bytes calldata signature, bytes32 value) external {
        (_round, _signature, _value) = (beaconRound, keccak256(signature), value);
    }

    function verify(uint64 beaconRound, bytes calldata signature) external view override returns (bytes32) {
        if (beaconRound != _round || keccak256(signature) != _signature) revert WrongSignature();
        return _value;
    }
}

/// tests/vectors/evidence.json: made by the real messages of a cohort of five, run by the nodes' check_evidence as well.
abstract contract EvidenceVectors is AllianceTest {
    struct Case {
        string name;
        bytes data; // the call
        address[] culprits;
    }

    string private constant FILE = "../tests/vectors/evidence.json";
    address[] internal owners;
    uint256 internal caseCount;

    function setUp() public virtual override {
        super.setUp();
        string memory json = vm.readFile(FILE);
        vm.chainId(vm.parseJsonUint(json, ".chain_id"));
        VectorBeacon known = new VectorBeacon();
        uint64 beaconRound = uint64(vm.parseJsonUint(json, ".beacon_round"));
        known.learn(beaconRound, _bytes(json, ".beacon_signature"), bytes32(_bytes(json, ".randomness")));
        (beacon, params.threshold) = (known, uint8(vm.parseJsonUint(json, ".threshold")));
        factory = deployFactory(address(token), beacon);
        _moveAlliance(address(bytes20(_bytes(json, ".contract"))), vm.parseJsonUint(json, ".alliance"));
        string[] memory secrets = vm.parseJsonStringArray(json, ".owner_secrets");
        for (uint256 i = 0; i < secrets.length; ++i) _seatOwner(uint256(bytes32(vm.parseBytes(secrets[i]))));
        while (this.keepCase(caseCount)) ++caseCount;
    }

    /// Puts an alliance where the vectors' signatures expect it: a clone's code, with other terms behind it.
    function _moveAlliance(address target, uint256 number) private {
        uint256 pool = uint256(params.rewardPerRound) * params.roundCount;
        address made = address(create(params, 0));
        bytes memory code = made.code;
        bytes memory terms = abi.encode(params, number, creator, keccak256(abi.encode(params)));
        check(code.length == 45 + terms.length, "a clone's code: 45 bytes and the terms");
        for (uint256 i = 0; i < terms.length; ++i) code[45 + i] = terms[i];
        vm.etch(target, code);
        vm.prank(address(factory));
        IAllianceParts(target).initialize(pool);
        token.transfer(target, pool);
        alliance = IAlliance(target);
    }

    function _seatOwner(uint256 secret) private {
        address owner = vm.addr(secret);
        keys[owner] = secret;
        owners.push(owner);
        fund(owner);
        vm.prank(owner);
        alliance.join(requestOf(secret, 0));
    }

    /// Reads a case and keeps it as the code of an address, which costs less than storage. A call of its own, because
    /// every look into the file copies it, and memory is freed at the end of a call.
    function keepCase(uint256 i) external returns (bool found) {
        string memory json = vm.readFile(FILE);
        if (!has(json, "cases", i)) return false;
        Case memory c;
        c.name = vm.parseJsonString(json, path("cases", i, "name"));
        c.data = _bytes(json, path("cases", i, "calldata"));
        string[] memory culprits = vm.parseJsonStringArray(json, path("cases", i, "culprits"));
        c.culprits = new address[](culprits.length);
        for (uint256 k = 0; k < culprits.length; ++k) c.culprits[k] = address(bytes20(vm.parseBytes(culprits[k])));
        vm.etch(_placeOf(i), abi.encode(c));
        return true;
    }

    function caseOf(uint256 i) internal view returns (Case memory) {
        return abi.decode(_placeOf(i).code, (Case));
    }

    function _placeOf(uint256 i) private pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("case", i)))));
    }

    function _bytes(string memory json, string memory key) private pure returns (bytes memory) {
        return vm.parseBytes(vm.parseJsonString(json, key));
    }

    function isCulprit(Case memory c, address owner) internal pure returns (bool) {
        for (uint256 i = 0; i < c.culprits.length; ++i) if (c.culprits[i] == owner) return true;
        return false;
    }

    function isSlashed(address owner) internal view returns (bool slashed) {
        (,,,,, slashed,,) = alliance.getMember(owner);
    }
}

contract EvidenceVectorsTest is EvidenceVectors {
    /// Evidence that nodes post would be refused, or what convicts nobody in their eyes would convict on the chain.
    function test_evidence__vectors() external {
        uint256 clean = vm.snapshotState();
        uint256 reasons = 0; // bitmap
        for (uint256 i = 0; i < caseCount; ++i) {
            Case memory c = caseOf(i);
            (bool ok, bytes memory answer) = address(alliance).call(c.data);
            check(ok == (c.culprits.length > 0), string.concat(c.name, ok ? ": convicts" : ": refused"));
            if (!ok) reasons |= _reasonOf(answer, c.name);
            for (uint256 k = 0; k < owners.length; ++k) {
                check(isSlashed(owners[k]) == isCulprit(c, owners[k]), string.concat(c.name, ": culprits"));
            }
            requireConserved();
            vm.revertToState(clean);
        }
        eq(reasons, (1 << (uint256(type(IEvidence.Reason).max) + 1)) - 1, "every reason to refuse, in some vector");
    }

    function _reasonOf(bytes memory answer, string memory name) private pure returns (uint256 bit) {
        if (bytes4(answer) == IAllianceErrors.NotSlashable.selector) return 0;
        if (bytes4(answer) == IBeacon.WrongSignature.selector) return 0;
        check(bytes4(answer) == IEvidence.ProvesNothing.selector, string.concat(name, ": refused without a reason"));
        uint256 reason;
        assembly ("memory-safe") {
            reason := mload(add(answer, 36))
        }
        return 1 << reason;
    }
}

/// P5 on the chain: whatever somebody changes in what others signed, only those who signed a fault are slashed. The cases
/// are those that convict, and those made of honest messages only; the others hold a fault that is named wrongly.
contract EvidenceMutationTest is EvidenceVectors {
    string[] private HONEST = [
        "bad_equivocation_same_body",
        "bad_equivocation_kind_3",
        "bad_seals_same",
        "bad_seals_other_view",
        "bad_invalid_seal_good",
        "bad_invalid_seal_no_manifest",
        "bad_invalid_seal_another_manifest",
        "bad_share_right_one",
        "bad_dealing_right",
        "bad_dealing_right_all_shares",
        "bad_dealing_right_pair_seed",
        "bad_dealing_right_without_secret",
        "bad_dealing_other_pair_context"
    ];
    uint256[] private cases;

    function setUp() public override {
        super.setUp();
        uint256 honest = 0;
        for (uint256 i = 0; i < caseCount; ++i) {
            Case memory c = caseOf(i);
            if (c.culprits.length > 0) cases.push(i);
            for (uint256 h = 0; h < HONEST.length; ++h) {
                if (keccak256(bytes(c.name)) != keccak256(bytes(HONEST[h]))) continue;
                ++honest;
                for (uint256 weight = 0; weight < 3; ++weight) cases.push(i); // half of what is drawn
            }
        }
        eq(honest, HONEST.length, "every honest case is in the vectors");
    }

    function _draw(uint256 random) private view returns (Case memory c, bytes memory data) {
        c = caseOf(cases[random % cases.length]);
        data = c.data;
    }

    function _requireOnlyCulprits(Case memory c, bytes memory data) private {
        (bool ok,) = address(alliance).call{gas: 10_000_000}(data);
        check(!ok || c.culprits.length > 0, string.concat(c.name, ": honest material convicts when changed"));
        for (uint256 k = 0; k < owners.length; ++k) {
            check(!isSlashed(owners[k]) || isCulprit(c, owners[k]), string.concat(c.name, ": frames"));
        }
        requireConserved();
    }

    /// A framer would find a byte of honest messages, proofs or seals whose change convicts their signers.
    function testFuzz_evidence__one_byte_changed(uint256 random, uint256 at, uint8 flip) external {
        (Case memory c, bytes memory data) = _draw(random);
        data[bound(at, 4, data.length - 1)] ^= bytes1(uint8(bound(flip, 1, 255)));
        _requireOnlyCulprits(c, data);
    }

    /// A framer would find a field (round, kind, seat, index, holder, digest, place) that another field's value, or a
    /// small number, may take.
    function testFuzz_evidence__one_field_replaced(uint256 random, uint256 at, uint256 from) external {
        (Case memory c, bytes memory data) = _draw(random);
        uint256 fields = (data.length - 4) / 32;
        (at, from) = (bound(at, 0, fields - 1), bound(from, 0, 2 * fields));
        assembly ("memory-safe") {
            let start := add(data, 36)
            let value := sub(from, fields)
            if lt(from, fields) { value := mload(add(start, mul(from, 32))) }
            mstore(add(start, mul(at, 32)), value)
        }
        _requireOnlyCulprits(c, data);
    }

    /// A framer would find a field that convicts when it is one more or less.
    function testFuzz_evidence__one_field_off(uint256 random, uint256 at, bool up) external {
        (Case memory c, bytes memory data) = _draw(random);
        at = bound(at, 0, (data.length - 4) / 32 - 1);
        assembly ("memory-safe") {
            let field := add(add(data, 36), mul(at, 32))
            mstore(field, sub(add(mload(field), mul(up, 2)), 1))
        }
        _requireOnlyCulprits(c, data);
    }

    /// A framer would cut the call off where it suits.
    function testFuzz_evidence__cut(uint256 random, uint256 length) external {
        (Case memory c, bytes memory data) = _draw(random);
        length = bound(length, 4, data.length);
        assembly ("memory-safe") {
            mstore(data, length)
        }
        _requireOnlyCulprits(c, data);
    }
}
