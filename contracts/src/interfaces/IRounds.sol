// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, SealStatement} from "../Types.sol";
import {IAllianceErrors} from "./IAllianceErrors.sol";
import {IAllianceEvents} from "./IAllianceEvents.sol";

/// @title The rounds of an alliance
/// @notice Anyone may send these transactions: the signatures carry the authority. Times are block timestamps in
/// seconds; a deadline belongs to the phase that it ends, and the next phase begins after it.
interface IRounds is IAllianceErrors, IAllianceEvents {
    /// @notice Fixes a round's survivors. The first valid seal counts.
    /// @param leaderView whose turn it was; the signatures cover it
    /// @param beaconSignature of the round's beacon round, 96 bytes, uncompressed
    /// @param manifestDigest of the contributions
    /// @param survivors bitmap over trainer indexes, exactly ceil(T/256) words
    /// @param signers bitmap of the signing validators' positions, at least floor(V/2) + 1
    /// @param signatures 65 bytes r, s, v each, over the EIP-712 Seal, in ascending order of position
    function sealRound(
        uint32 round,
        uint32 leaderView,
        bytes calldata beaconSignature,
        bytes32 manifestDigest,
        uint256[] calldata survivors,
        uint64 signers,
        bytes calldata signatures
    ) external;

    /// @notice Records commitments. A position commits once; entries of positions that did are skipped, so that a late
    /// batch survives one that came before. When ceil(2V/3) are in, `params().commitSeconds` remain for the others.
    /// The chain keeps a rolling hash of them: h' = keccak256(abi.encode(h, position, commitment)), from h = 0 in each round.
    /// @param seal what the round was sealed with, from the log of RoundSealed
    /// @param positions bitmap
    /// @param commitments one for each position, ascending. A ballot's commitment is keccak256(abi.encode(
    /// keccak256("p2p_flock ballot v2"), block.chainid, this address, number, round, seal's hash, marks, baseModelDigest,
    /// keccak256(abi.encodePacked(aggregateDigests)), salt))
    /// @param signatures 65 bytes r, s, v each, over the EIP-712 Commit, ascending
    function commitRound(
        SealStatement calldata seal,
        uint64 positions,
        bytes32[] calldata commitments,
        bytes calldata signatures
    ) external;

    /// @notice Opens ballots. Ends the round if all committed ones are open or the reveal deadline has passed: tallies,
    /// reserves what was earned, and opens the next round. The call that ends it must bring all ballots opened before
    /// (MissingBallot), and may still bring others, so that a chain outage does not cost the round. A call that does not
    /// end it marks its ballots as revealed and logs them, and must bring a new one.
    /// A ballot needs no signature: it opens a commitment that its validator signed.
    /// @param seal what the round was sealed with
    /// @param order all committed positions in the order in which the chain took them, one byte each
    /// @param unopened the commitments, in `order`, of those without a ballot in this call
    /// @param ballots strictly increasing by position
    function settleRound(
        SealStatement calldata seal,
        bytes calldata order,
        bytes32[] calldata unopened,
        Ballot[] calldata ballots
    ) external;

    /// @notice Ends a round that was not sealed in time, or sealed without any commitment, and opens the next.
    /// `params().voidCountMax` of them in a row close the alliance.
    function voidRound(uint32 round) external;

    /// @notice Closes an alliance that has waited for seats for 30 days, or that waits after its join deadline, so
    /// that no pool is locked for ever.
    function close() external;
}
