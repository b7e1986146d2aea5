// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AllianceParams, JoinRequest} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceFactory} from "../src/interfaces/IAllianceFactory.sol";
import {AllianceTest} from "./AllianceTest.sol";

/// Alliances that only some owners may join. The tree is built here from its description, level by level.
contract AllowlistTest is AllianceTest {
    uint256 private constant POOL = 10_000 ether;

    /// Owners `from` to `from` + `count` - 1, sorted; `index` of an owner is its number.
    mapping(address owner => uint256) private index;

    function setUp() public override {
        super.setUp();
        (params.seatCountMin, params.seatCountMax, params.levels) = (51, 60, 1024);
        (params.validatorCount, params.cohortCount) = (3, 16);
    }

    function _owners(uint256 from, uint256 count) private returns (address[] memory owners) {
        owners = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            address owner = member(from + i);
            index[owner] = from + i;
            uint256 k = i;
            for (; k > 0 && owners[k - 1] > owner; --k) owners[k] = owners[k - 1];
            owners[k] = owner;
        }
    }

    function _leaf(address owner) private pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(owner))));
    }

    function _node(bytes32 a, bytes32 b) private pure returns (bytes32) {
        return a < b ? keccak256(bytes.concat(a, b)) : keccak256(bytes.concat(b, a));
    }

    function _leaves(address[] memory owners) private pure returns (bytes32[] memory level) {
        level = new bytes32[](owners.length);
        for (uint256 i = 0; i < owners.length; ++i) level[i] = _leaf(owners[i]);
    }

    function _above(bytes32[] memory level) private pure returns (bytes32[] memory above) {
        above = new bytes32[]((level.length + 1) / 2);
        for (uint256 i = 0; i < above.length; ++i) {
            above[i] = 2 * i + 1 < level.length ? _node(level[2 * i], level[2 * i + 1]) : level[2 * i];
        }
    }

    function _root(address[] memory owners) private pure returns (bytes32) {
        bytes32[] memory level = _leaves(owners);
        while (level.length > 1) level = _above(level);
        return level[0];
    }

    function _proof(address[] memory owners, uint256 place) private pure returns (bytes32[] memory proof) {
        bytes32[] memory siblings = new bytes32[](16);
        uint256 n = 0;
        for (bytes32[] memory level = _leaves(owners); level.length > 1; level = _above(level)) {
            if (place ^ 1 < level.length) siblings[n++] = level[place ^ 1];
            place /= 2;
        }
        proof = new bytes32[](n);
        for (uint256 i = 0; i < n; ++i) proof[i] = siblings[i];
    }

    function _createFor(address[] memory owners) private {
        params.allowlistRoot = _root(owners);
        alliance = create(params, 0, owners);
    }

    function _join(address owner, bytes32[] memory proof) private {
        JoinRequest memory request = requestOf(index[owner], 0);
        request.allowlistProof = proof;
        vm.prank(owner);
        alliance.join(request);
    }

    function _refuse(address owner, bytes32[] memory proof) private {
        vm.expectRevert(IAllianceErrors.NotOnAllowlist.selector);
        _join(owner, proof);
    }

    /// Somebody on the list could not join, or somebody else could, for some size of the list.
    function test_join__allowlists_of_every_size() external {
        uint256[10] memory sizes = [uint256(1), 2, 3, 4, 5, 6, 7, 9, 17, 33];
        address outsider = member(100);
        for (uint256 s = 0; s < sizes.length; ++s) {
            address[] memory owners = _owners(0, sizes[s]);
            _createFor(owners);
            fund(outsider);
            for (uint256 i = 0; i < owners.length; ++i) {
                bytes32[] memory proof = _proof(owners, i);
                _refuse(outsider, proof);
                fund(owners[i]);
                if (owners.length > 1) _refuse(owners[i], new bytes32[](0));
                _join(owners[i], proof);
            }
            eq(alliance.seatCount(), sizes[s], "everybody on the list");
        }
    }

    /// A proof that is cut, longer, of another place or altered would pass.
    function test_join__wrong_proofs() external {
        address[] memory owners = _owners(0, 11);
        _createFor(owners);
        fund(owners[4]);
        bytes32[] memory right = _proof(owners, 4);
        bytes32[] memory wrong = new bytes32[](right.length - 1);
        for (uint256 i = 0; i < wrong.length; ++i) wrong[i] = right[i];
        _refuse(owners[4], wrong);
        wrong = new bytes32[](right.length + 1);
        for (uint256 i = 0; i < right.length; ++i) wrong[i] = right[i];
        _refuse(owners[4], wrong);
        _refuse(owners[4], _proof(owners, 5));
        _refuse(owners[4], _proof(owners, 10));
        for (uint256 i = 0; i < right.length; ++i) {
            wrong = _proof(owners, 4);
            wrong[i] ^= bytes32(uint256(1));
            _refuse(owners[4], wrong);
        }
        _join(owners[4], right);
    }

    /// An inner node of the tree could be passed off as an owner: leaves are hashed twice, so no owner's leaf is a node.
    function testFuzz_join__outsiders(uint160 outsider, uint8 length, uint256 seed) external {
        address[] memory owners = _owners(0, 8);
        _createFor(owners);
        address sender = address(outsider);
        for (uint256 i = 0; i < owners.length; ++i) vm.assume(sender != owners[i]);
        vm.assume(sender > address(0xffff));
        bytes32[] memory proof = new bytes32[](length % 8);
        for (uint256 i = 0; i < proof.length; ++i) {
            proof[i] = seed >> i & 1 == 0 ? _leaf(owners[i]) : keccak256(abi.encode(seed, i));
        }
        _refuse(sender, proof);
    }

    /// An alliance would be closed to everybody because joiners send no proof, or open to all because of a wrong one.
    function test_join__without_allowlist() external {
        alliance = create(params, 0);
        bytes32[] memory any = new bytes32[](3);
        for (uint256 i = 0; i < 2; ++i) {
            index[member(i)] = i;
            fund(member(i));
            _join(member(i), i == 0 ? any : new bytes32[](0));
        }
        eq(alliance.seatCount(), 2, "anyone may join");
    }

    function _refuseList(AllianceParams memory p, address[] memory owners) private {
        vm.expectRevert(IAllianceFactory.WrongAllowlist.selector);
        factory.create(p, POOL, "heart", owners);
    }

    /// An alliance would carry a list that nobody can read from the log, so that nobody could prove its place on it.
    function test_create__wrong_allowlists() external {
        params.rewardPerRound = 1;
        token.approve(address(factory), type(uint256).max);
        AllianceParams memory p = params;
        address[] memory owners = _owners(0, 5);
        _refuseList(p, owners); // no root
        p.allowlistRoot = _root(owners);
        _refuseList(p, new address[](0)); // no list
        address[] memory other = _owners(0, 5);
        (other[1], other[2]) = (other[2], other[1]);
        p.allowlistRoot = _root(other);
        _refuseList(p, other); // not sorted, though the root is its own
        other = _owners(0, 5);
        other[2] = other[1];
        p.allowlistRoot = _root(other);
        _refuseList(p, other); // one owner twice
        p.allowlistRoot = _root(_owners(1, 5));
        _refuseList(p, owners); // another list
        p.allowlistRoot = _leaf(owners[0]);
        _refuseList(p, owners);
        p.allowlistRoot = _root(owners);
        vm.expectEmit(true, false, true, true);
        emit IAllianceFactory.AllianceCreated(2, address(0), address(this), p.manifestDigest, "heart", owners);
        factory.create(p, POOL, "heart", owners);
    }

    /// A list could be larger than its log may become, or the largest would not fit a transaction.
    function test_create__longest_allowlist() external {
        params.rewardPerRound = 1;
        token.approve(address(factory), type(uint256).max);
        AllianceParams memory p = params;
        address[] memory owners = new address[](1025);
        for (uint160 i = 0; i < 1025; ++i) owners[i] = address((i + 1) << 96);
        p.allowlistRoot = _root(owners);
        _refuseList(p, owners);
        assembly ("memory-safe") {
            mstore(owners, 1024)
        }
        p.allowlistRoot = _root(owners);
        uint256 gas = gasleft();
        factory.create(p, POOL, "heart", owners);
        check(gas - gasleft() < 8_000_000, "the largest list fits a transaction");
    }
}
