// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Ballot} from "../Types.sol";

/// @title What validators sign
/// @dev EIP-712, domain name "p2p_flock", version "1". The domain is computed at each use from the address that runs:
/// alliances are clones, and a separator cached by the implementation would let one clone's signatures pass at another.
library Digests {
    bytes32 internal constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 internal constant SEAL_TYPE = keccak256(
        "Seal(uint256 alliance,uint32 round,uint32 view,uint64 beaconRound,bytes32 seed,bytes32 manifestDigest,bytes32 survivorsDigest)"
    );
    bytes32 internal constant COMMIT_TYPE =
        keccak256("Commit(uint256 alliance,uint32 round,bytes32 seal,uint32 position,bytes32 commitment)");
    bytes32 internal constant BALLOT_DOMAIN = keccak256("p2p_flock ballot v2");

    function domainSeparator() internal view returns (bytes32) {
        return keccak256(
            abi.encode(DOMAIN_TYPE, keccak256("p2p_flock"), keccak256("1"), block.chainid, address(this))
        );
    }

    function typedData(bytes32 separator, bytes32 structHash) internal pure returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(separator, structHash);
    }

    function sealHash(
        uint256 number,
        uint32 round,
        uint32 leaderView,
        uint64 beaconRound,
        bytes32 seed,
        bytes32 manifestDigest,
        bytes32 survivorsDigest
    ) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(SEAL_TYPE, number, round, leaderView, beaconRound, seed, manifestDigest, survivorsDigest)
        );
    }

    /// What the digests of all validators' Commits share: six words of the struct, of which position and commitment come last,
    /// then the bytes that typedData hashes, of which the struct's hash comes last.
    function commitWords(bytes32 separator, uint256 number, uint32 round, bytes32 seal)
        internal
        pure
        returns (bytes32[9] memory words)
    {
        (words[0], words[1], words[2], words[3]) =
            (COMMIT_TYPE, bytes32(number), bytes32(uint256(round)), seal);
        assembly ("memory-safe") {
            mstore(add(words, 192), shl(240, 0x1901))
            mstore(add(words, 194), separator)
        }
    }

    /// What a validator signs for its commitment: typedData of the Commit, whose static fields are hashed as the words in which
    /// they stand.
    function commitDigest(bytes32[9] memory words, uint256 position, bytes32 commitment)
        internal
        pure
        returns (bytes32 digest)
    {
        assembly ("memory-safe") {
            mstore(add(words, 128), position)
            mstore(add(words, 160), commitment)
            mstore(add(words, 226), keccak256(words, 192))
            digest := keccak256(add(words, 192), 66)
        }
    }

    /// The words of a ballot's commitment that are the same for all validators.
    function ballotWords(uint256 number, uint32 round, bytes32 seal) internal view returns (bytes32[10] memory words) {
        (words[0], words[1]) = (BALLOT_DOMAIN, bytes32(block.chainid));
        (words[2], words[3]) = (bytes32(uint256(uint160(address(this)))), bytes32(number));
        (words[4], words[5]) = (bytes32(uint256(round)), seal);
    }

    /// The ballot at `i`, which must be below the number of ballots, and its aggregateDigests: Solidity would check offsets and
    /// indexes again. Offsets are followed wherever they lead, beyond the calldata to zeros: what is read there is what is
    /// hashed, and counts if it was committed to.
    function ballotAt(Ballot[] calldata ballots, uint256 i)
        internal
        pure
        returns (Ballot calldata ballot, bytes32[] calldata digests)
    {
        assembly ("memory-safe") {
            ballot := add(ballots.offset, calldataload(add(ballots.offset, shl(5, i))))
            let list := add(ballot, calldataload(add(ballot, 64))) // the third field
            digests.length := calldataload(list)
            digests.offset := add(list, 32)
        }
    }

    /// What a ballot opens: the hash of ten words. Its position is among the marks, so a copied commitment opens nothing.
    /// @param words ballotWords, whose last four are written here
    /// @param digests the ballot's aggregateDigests
    /// @param rows gets in row `i` what the ballot names: its base model, then its digests; as long as all rows together
    /// @return commitment what the validator committed to if this is its ballot
    /// @return row hash of the row
    function openBallot(
        bytes32[10] memory words,
        Ballot calldata ballot,
        bytes32[] calldata digests,
        bytes32[] memory rows,
        uint256 i
    ) internal pure returns (bytes32 commitment, bytes32 row) {
        assembly ("memory-safe") {
            let length := shl(5, digests.length)
            let at := add(add(rows, 32), mul(i, add(length, 32)))
            mstore(at, calldataload(add(ballot, 32))) // baseModelDigest
            calldatacopy(add(at, 32), digests.offset, length)
            row := keccak256(at, add(length, 32))
            calldatacopy(add(words, 192), ballot, 64) // marks, baseModelDigest
            mstore(add(words, 256), keccak256(add(at, 32), length))
            mstore(add(words, 288), calldataload(add(ballot, 96))) // salt
            commitment := keccak256(words, 320)
        }
    }

    /// keccak256(abi.encodePacked(words)), in memory that is used again.
    function hashWords(uint256[] calldata words) internal pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            let length := mul(words.length, 32)
            calldatacopy(free, words.offset, length)
            digest := keccak256(free, length)
        }
    }

    /// One step of the hash over a round's commitments in the order in which the chain took them:
    /// keccak256(abi.encode(rolling, position, commitment)).
    function rollOver(bytes32 rolling, uint256 position, bytes32 commitment) internal pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, rolling)
            mstore(add(free, 32), position)
            mstore(add(free, 64), commitment)
            digest := keccak256(free, 96)
        }
    }

    /// The hash over all commitments in the order in which the chain took them.
    /// @param order a position for each byte
    /// @param opened bitmap of positions: their commitments stand in `commitments`, by position, the others' in `unopened`,
    /// one after the other
    /// @return rolling wrong if `used` exceeds the length of `unopened`
    function rollOver(
        bytes calldata order,
        uint256 opened,
        bytes32[64] memory commitments,
        bytes32[] calldata unopened
    ) internal pure returns (bytes32 rolling, uint256 used) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            for { let i := 0 } lt(i, order.length) { i := add(i, 1) } {
                let position := byte(0, calldataload(add(order.offset, i)))
                mstore(free, rolling)
                mstore(add(free, 32), position)
                switch and(shr(position, opened), 1)
                case 1 { mstore(add(free, 64), mload(add(commitments, shl(5, position)))) }
                default {
                    mstore(add(free, 64), calldataload(add(unopened.offset, shl(5, used))))
                    used := add(used, 1)
                }
                rolling := keccak256(free, 96)
            }
        }
    }
}
