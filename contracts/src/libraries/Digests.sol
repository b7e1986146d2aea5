// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

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
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
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

    function commitHash(uint256 number, uint32 round, bytes32 seal, uint256 position, bytes32 commitment)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(COMMIT_TYPE, number, round, seal, position, commitment));
    }

    /// What a ballot opens. Its position is among the marks, so a copied commitment opens nothing.
    function ballotCommitment(uint256 number, uint32 round, bytes32 seal, Ballot calldata ballot)
        internal
        view
        returns (bytes32)
    {
        return keccak256(
            abi.encode(
                BALLOT_DOMAIN,
                block.chainid,
                address(this),
                number,
                round,
                seal,
                ballot.marks,
                ballot.baseModelDigest,
                keccak256(abi.encodePacked(ballot.aggregateDigests)),
                ballot.salt
            )
        );
    }

    /// One step of the hash over a round's commitments in the order in which the chain took them.
    function rollOver(bytes32 rolling, uint256 position, bytes32 commitment) internal pure returns (bytes32) {
        return keccak256(abi.encode(rolling, position, commitment));
    }
}
