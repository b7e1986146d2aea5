// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SealStatement, Statement} from "../Types.sol";
import {Digests} from "./Digests.sol";

/// @title Who said what: digests and signers of envelopes and seals
/// @dev Every digest holds chain, contract, alliance and round, so nothing that was said elsewhere counts here.
library Statements {
    /// What the owner of a seat signs for a message to others (p2p_flock/wire/WIRE.md). All fields but the body, which
    /// is hashed, have a fixed width.
    function digestOf(Statement calldata statement, uint256 number) internal view returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                "p2p_flock envelope v1",
                block.chainid,
                address(this),
                number,
                statement.round,
                statement.kind,
                statement.seat,
                sha256(statement.body)
            )
        );
    }

    /// EIP-712 hashStruct of a seal, its digest everywhere.
    function hashOf(SealStatement calldata seal, uint256 number) internal pure returns (bytes32) {
        return Digests.sealHash(
            number,
            seal.round,
            seal.leaderView,
            seal.beaconRound,
            seal.seed,
            seal.manifestDigest,
            Digests.hashWords(seal.survivors)
        );
    }

    /// Who signed a message; zero if nobody did. A signature has one form: 65 bytes with a low s.
    function signerOf(Statement calldata statement, uint256 number) internal view returns (address) {
        return _recover(digestOf(statement, number), statement.signature);
    }

    /// Who signed the seal with this hash; zero if nobody did.
    function sealSignerOf(bytes32 sealHash, bytes calldata signature) internal view returns (address) {
        return _recover(Digests.typedData(Digests.domainSeparator(), sealHash), signature);
    }

    function _recover(bytes32 digest, bytes calldata signature) private pure returns (address signer) {
        (signer,,) = ECDSA.tryRecoverCalldata(digest, signature); // zero on every error
    }
}
