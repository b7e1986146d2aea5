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

    /// The words of a Commit that are the same for all validators; position and commitment come behind them.
    function openCommit(uint256 number, uint32 round, bytes32 seal) internal pure returns (bytes32[6] memory words) {
        (words[0], words[1], words[2], words[3]) =
            (COMMIT_TYPE, bytes32(number), bytes32(uint256(round)), seal);
    }

    /// EIP-712 hashStruct of a Commit. A struct of static fields is hashed as the words in which they stand.
    function commitHash(bytes32[6] memory words, uint256 position, bytes32 commitment)
        internal
        pure
        returns (bytes32 digest)
    {
        (words[4], words[5]) = (bytes32(position), commitment);
        assembly ("memory-safe") {
            digest := keccak256(words, 192)
        }
    }

    /// The words of a ballot's commitment that are the same for all validators.
    function openBallot(uint256 number, uint32 round, bytes32 seal) internal view returns (bytes32[10] memory words) {
        (words[0], words[1]) = (BALLOT_DOMAIN, bytes32(block.chainid));
        (words[2], words[3]) = (bytes32(uint256(uint160(address(this)))), bytes32(number));
        (words[4], words[5]) = (bytes32(uint256(round)), seal);
    }

    /// What a ballot opens: the hash of ten words. Its position is among the marks, so a copied commitment opens nothing.
    function ballotCommitment(bytes32[10] memory words, Ballot calldata ballot) internal pure returns (bytes32 digest) {
        (words[6], words[7]) = (bytes32(ballot.marks), ballot.baseModelDigest);
        (words[8], words[9]) = (hashWords(ballot.aggregateDigests), ballot.salt);
        assembly ("memory-safe") {
            digest := keccak256(words, 320)
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

    function hashWords(bytes32[] calldata words) internal pure returns (bytes32) {
        uint256[] calldata same;
        assembly ("memory-safe") {
            same.offset := words.offset
            same.length := words.length
        }
        return hashWords(same);
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
}
