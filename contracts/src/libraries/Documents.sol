// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LeafProof} from "../Types.sol";

/// @title Commitments under the root that a trainer signed (p2p_flock/secagg/SPEC.md)
/// @dev Every hash is sha256 over a frame: length and bytes of a name, the number of parts, length and bytes of each part.
/// So no two lists of parts have one frame, and leaves, nodes and commitments cannot stand for each other.
library Documents {
    uint256 private constant LEAVES_MAX = 1 << 20;
    bytes1 private constant SELF_MASK = 0x02;
    bytes1 private constant PAIR = 0x03;
    bytes1 private constant SHARE = 0x04;
    // Lengths of parts.
    uint64 private constant L2 = 2;
    uint64 private constant L4 = 4;
    uint64 private constant L32 = 32;

    /* LEAVES */

    function selfMaskLeaf(bytes32 commitment) internal pure returns (bytes memory) {
        return abi.encodePacked(SELF_MASK, commitment);
    }

    function pairLeaf(uint16 neighbor, bytes32 pairContext, bytes32 commitment) internal pure returns (bytes memory) {
        return abi.encodePacked(PAIR, neighbor, pairContext, commitment);
    }

    function shareLeaf(uint16 secretOf, uint16 index, uint16 holder, bytes32 commitment)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(SHARE, secretOf, index, holder, commitment);
    }

    /// Whether `payload` is the leaf that `proof` leads from to `root`, in a tree of `context`. The leaf's hash holds
    /// the number of leaves and its own index, so a path has one meaning. An odd last node moves up unchanged.
    function isUnder(bytes32 root, bytes32 context, bytes memory payload, LeafProof calldata proof)
        internal
        pure
        returns (bool)
    {
        (uint256 count, uint256 index) = (proof.count, proof.index);
        if (count > LEAVES_MAX || index >= count) return false;
        bytes32 digest = _leaf(context, proof.count, proof.index, payload);
        uint256 used = 0;
        while (count > 1) {
            if (index ^ 1 < count) {
                if (used == proof.siblings.length) return false;
                bytes32 sibling = proof.siblings[used++];
                digest = index % 2 == 0 ? _node(digest, sibling) : _node(sibling, digest);
            }
            (index, count) = (index / 2, (count + 1) / 2);
        }
        return used == proof.siblings.length && digest == root;
    }

    function _leaf(bytes32 context, uint32 count, uint32 index, bytes memory payload) private pure returns (bytes32) {
        bytes memory parts = abi.encodePacked(L32, context, L4, count, L4, index, uint64(payload.length), payload);
        return _hash("p2p_flock merkle leaf v1", 4, parts);
    }

    function _node(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return _hash("p2p_flock merkle node v1", 2, abi.encodePacked(L32, left, L32, right));
    }

    /* COMMITMENTS */

    /// What a dealer's shares of one secret are bound to; of its self mask if `secretOf` is the dealer.
    function sharingContext(bytes32 context, uint16 dealer, uint16 secretOf) internal pure returns (bytes32) {
        return _hash("p2p_flock sharing context v1", 3, abi.encodePacked(L32, context, L2, dealer, L2, secretOf));
    }

    function commitShare(bytes32 sharing, uint16 holder, bytes32 share) internal pure returns (bytes32) {
        return _hash("p2p_flock share commitment v1", 3, abi.encodePacked(L32, sharing, L2, holder, L32, share));
    }

    function commitSelfMask(bytes32 sharing, bytes32 selfMask) internal pure returns (bytes32) {
        return _hash("p2p_flock self mask commitment v1", 2, abi.encodePacked(L32, sharing, L32, selfMask));
    }

    function commitPairSeed(bytes32 pairContext, bytes32 pairSeed) internal pure returns (bytes32) {
        return _hash("p2p_flock pair seed commitment v1", 2, abi.encodePacked(L32, pairContext, L32, pairSeed));
    }

    function _hash(string memory name, uint32 count, bytes memory parts) private pure returns (bytes32) {
        return sha256(abi.encodePacked(uint32(bytes(name).length), name, count, parts));
    }
}
