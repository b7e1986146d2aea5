// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DealtShare, LeafProof, SealStatement, Statement} from "../src/Types.sol";
import {AllianceTest} from "./AllianceTest.sol";

/// Signed statements, messages and contribution trees, made from the specification and not with the contract's libraries.
abstract contract EvidenceTest is AllianceTest {
    bytes32 internal constant CONTEXT = keccak256("cohort context");
    bytes32 internal constant PAIR_CONTEXT = keccak256("pair context");

    /// A dealer's document: one secret is really shared, what the other leaves hold does not matter.
    struct Document {
        bytes32[][] levels; // of the Merkle tree, leaves first
        bytes32[] shares;
        uint256 shareLeaf; // index of the first share's leaf
        uint256 secretLeaf;
        bytes32 secretCommitment;
    }

    /* STATEMENTS */

    function envelopeDigest(Statement memory s, uint256 chain, address contract_, uint256 number)
        internal
        pure
        returns (bytes32)
    {
        bytes32 body = sha256(s.body);
        return keccak256(
            abi.encodePacked("p2p_flock envelope v1", chain, contract_, number, s.round, s.kind, s.seat, body)
        );
    }

    function sign(address owner, bytes32 digest) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keys[owner], digest);
        return abi.encodePacked(r, s, v);
    }

    function signed(Statement memory s, address owner) internal view returns (Statement memory) {
        s.signature = sign(owner, envelopeDigest(s, block.chainid, address(alliance), alliance.number()));
        return s;
    }

    function said(address owner, uint32 round, uint8 kind, bytes memory body) internal view returns (Statement memory) {
        return signed(Statement(round, kind, 7, body, ""), owner);
    }

    function contribution(bytes32 root) internal pure returns (bytes memory) {
        return abi.encodePacked(hex"92c420", root, hex"c420", keccak256("document"));
    }

    /// Contradicts itself in `round`.
    function slashFor(address owner, uint32 round) internal {
        alliance.slashEquivocation(said(owner, round, 1, "one"), said(owner, round, 1, "two"));
    }

    /* SEALS */

    function seedOf(uint32 round, uint64 beaconRound) internal view returns (bytes32) {
        bytes32 randomness = beacon.valueOf(beaconRound);
        return keccak256(
            abi.encodePacked(
                "p2p_flock seed v1", block.chainid, address(alliance), alliance.number(), round, randomness
            )
        );
    }

    /// The seal of a manifest that names the seats 0 to `count` - 1.
    function validSeal(uint32 round, uint64 beaconRound, bytes memory manifest, uint256 count)
        internal
        view
        returns (SealStatement memory seal)
    {
        uint256[] memory survivors = new uint256[](1);
        survivors[0] = (1 << count) - 1;
        return SealStatement(round, 0, beaconRound, seedOf(round, beaconRound), sha256(manifest), survivors);
    }

    /* MESSAGES */

    function integer(uint256 value) internal pure returns (bytes memory) {
        if (value < 0x80) return abi.encodePacked(uint8(value));
        if (value < 0x100) return abi.encodePacked(uint8(0xcc), uint8(value));
        return value < 0x10000
            ? abi.encodePacked(uint8(0xcd), uint16(value))
            : abi.encodePacked(uint8(0xce), uint32(value));
    }

    function list(uint256 length) internal pure returns (bytes memory) {
        return length < 16 ? abi.encodePacked(uint8(0x90 + length)) : abi.encodePacked(uint8(0xdc), uint16(length));
    }

    function manifestOf(uint32 round, uint256 count, bytes32 root) internal pure returns (bytes memory manifest) {
        manifest = abi.encodePacked(hex"92", integer(round), list(count));
        for (uint256 seat = 0; seat < count; ++seat) {
            bytes32 digest = keccak256(abi.encode(seat));
            manifest = abi.encodePacked(manifest, hex"94", integer(seat), hex"c420", root, hex"c420", digest, hex"c420", digest);
        }
    }

    /// A share of each of `count` dealers' self masks, and of their pair seeds with `dropouts` others.
    function unmaskingOf(bytes32 seal, uint256 count, uint256 dropouts, bytes32 share)
        internal
        pure
        returns (bytes memory body)
    {
        body = abi.encodePacked(hex"92c420", seal, list(count * (1 + dropouts)));
        for (uint256 dealer = 0; dealer < count; ++dealer) {
            body = abi.encodePacked(body, hex"920092", integer(dealer), hex"c420", share);
            for (uint256 d = 0; d < dropouts; ++d) {
                body = abi.encodePacked(body, hex"920193", integer(dealer), integer(count + d), hex"c420", share);
            }
        }
    }

    /* DOCUMENTS */

    function hash32(string memory name, uint32 count, bytes memory parts) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(uint32(bytes(name).length), name, count, parts));
    }

    function part(bytes memory data) internal pure returns (bytes memory) {
        return abi.encodePacked(uint64(data.length), data);
    }

    function part(bytes32 word) internal pure returns (bytes memory) {
        return part(abi.encodePacked(word));
    }

    function sharingOf(uint16 dealer, uint16 secretOf) internal pure returns (bytes32) {
        bytes memory who = abi.encodePacked(part(abi.encodePacked(dealer)), part(abi.encodePacked(secretOf)));
        return hash32("p2p_flock sharing context v1", 3, abi.encodePacked(part(CONTEXT), who));
    }

    function shareCommitment(uint16 dealer, uint16 secretOf, uint16 holder, bytes32 share)
        internal
        pure
        returns (bytes32)
    {
        bytes memory parts =
            abi.encodePacked(part(sharingOf(dealer, secretOf)), part(abi.encodePacked(holder)), part(share));
        return hash32("p2p_flock share commitment v1", 3, parts);
    }

    /// Seats 0 to n - 1 hold the shares of what `dealer` shares; the polynomial's coefficients are hashes.
    function dealt(uint256 n, uint256 threshold) internal pure returns (bytes32[] memory shares) {
        shares = new bytes32[](n);
        for (uint256 i = 0; i < n; ++i) {
            for (uint256 k = threshold; k > 0; --k) {
                shares[i] = multiplied(shares[i], uint8(i + 1)) ^ keccak256(abi.encode("coefficient", k - 1));
            }
        }
    }

    function secretDealt() internal pure returns (bytes32) {
        return keccak256(abi.encode("coefficient", 0));
    }

    /// Byte by byte in the field of AES, the slow way.
    function multiplied(bytes32 word, uint8 factor) internal pure returns (bytes32 product) {
        bytes memory bytes_ = new bytes(32);
        for (uint256 i = 0; i < 32; ++i) {
            uint256 a = uint8(word[i]);
            uint256 sum = 0;
            for (uint256 bit = 0; bit < 8; ++bit) {
                if (factor >> bit & 1 == 1) sum ^= a;
                a <<= 1;
                if (a > 255) a ^= 0x11b;
            }
            bytes_[i] = bytes1(uint8(sum));
        }
        return bytes32(bytes_);
    }

    /// Leaves as in a complete graph of n: header, chunk, self mask, n - 1 pairs, n rows of n shares, n - 1 bundles, next
    /// key. The row of `secretOf` is real, and so is the commitment to `secret`.
    function documentOf(uint256 n, uint16 dealer, uint16 secretOf, bytes32[] memory shares, bytes32 secret)
        internal
        pure
        returns (Document memory d)
    {
        bool own = dealer == secretOf;
        d.shares = shares;
        d.shareLeaf = 3 + n - 1 + uint256(secretOf) * n;
        d.secretLeaf = own ? 2 : 3 + uint256(secretOf) - (secretOf > dealer ? 1 : 0);
        string memory name = own ? "p2p_flock self mask commitment v1" : "p2p_flock pair seed commitment v1";
        bytes32 domain = own ? sharingOf(dealer, secretOf) : PAIR_CONTEXT;
        d.secretCommitment = hash32(name, 2, abi.encodePacked(part(domain), part(secret)));
        bytes[] memory payloads = new bytes[](n * n + 2 * n + 2);
        for (uint256 i = 0; i < payloads.length; ++i) payloads[i] = abi.encodePacked(hex"01", keccak256(abi.encode(i)));
        payloads[d.secretLeaf] = own
            ? abi.encodePacked(hex"02", d.secretCommitment)
            : abi.encodePacked(hex"03", secretOf, PAIR_CONTEXT, d.secretCommitment);
        for (uint16 i = 0; i < n; ++i) {
            bytes32 commitment = shareCommitment(dealer, secretOf, i, shares[i]);
            payloads[d.shareLeaf + i] = abi.encodePacked(hex"04", secretOf, i, i, commitment);
        }
        d.levels = treeOf(payloads);
    }

    function treeOf(bytes[] memory payloads) internal pure returns (bytes32[][] memory levels) {
        levels = new bytes32[][](21);
        uint256 count = payloads.length;
        levels[0] = new bytes32[](count);
        for (uint32 i = 0; i < count; ++i) {
            bytes memory place =
                abi.encodePacked(part(abi.encodePacked(uint32(count))), part(abi.encodePacked(i)), part(payloads[i]));
            levels[0][i] = hash32("p2p_flock merkle leaf v1", 4, abi.encodePacked(part(CONTEXT), place));
        }
        uint256 height = 0;
        for (; count > 1; ++height) {
            bytes32[] memory below = levels[height];
            count = (count + 1) / 2;
            levels[height + 1] = new bytes32[](count);
            for (uint256 i = 0; i < count; ++i) {
                levels[height + 1][i] = 2 * i + 1 == below.length
                    ? below[2 * i]
                    : hash32("p2p_flock merkle node v1", 2, abi.encodePacked(part(below[2 * i]), part(below[2 * i + 1])));
            }
        }
        assembly ("memory-safe") {
            mstore(levels, add(height, 1))
        }
    }

    function rootOf(Document memory d) internal pure returns (bytes32) {
        return d.levels[d.levels.length - 1][0];
    }

    function proofOf(Document memory d, uint256 leaf) internal pure returns (LeafProof memory proof) {
        (proof.count, proof.index) = (uint32(d.levels[0].length), uint32(leaf));
        bytes32[] memory siblings = new bytes32[](21);
        uint256 used = 0;
        for (uint256 h = 0; h + 1 < d.levels.length; ++h) {
            if (leaf ^ 1 < d.levels[h].length) siblings[used++] = d.levels[h][leaf ^ 1];
            leaf /= 2;
        }
        assembly ("memory-safe") {
            mstore(siblings, used)
        }
        proof.siblings = siblings;
    }

    /// The first `count` shares with their proofs.
    function dealtShares(Document memory d, uint256 count) internal pure returns (DealtShare[] memory shares) {
        shares = new DealtShare[](count);
        for (uint16 i = 0; i < count; ++i) {
            shares[i] = DealtShare(i, i, d.shares[i], proofOf(d, d.shareLeaf + i));
        }
    }
}
