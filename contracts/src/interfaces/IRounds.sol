// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot} from "../Types.sol";
import {IAllianceErrors} from "./IAllianceErrors.sol";
import {IAllianceEvents} from "./IAllianceEvents.sol";

/// @title The rounds of an alliance
/// @notice Anyone may send these transactions: the signatures carry the authority. Times are block timestamps in
/// seconds; a deadline belongs to the phase that it ends, and the next phase begins after it.
interface IRounds is IAllianceErrors, IAllianceEvents {
    /// @notice Fixes a round's survivors. The first valid seal counts.
    /// @param leaderView whose turn it was; the signatures cover it
    /// @param beaconSignature 96 bytes, uncompressed; ignored if the beacon round is proven already
    /// @param manifestDigest of the contributions
    /// @param survivors bitmap over trainer indexes, exactly ceil(T/256) words
    /// @param positions of the signing validators, strictly increasing, at least floor(V/2) + 1
    /// @param signatures 65 bytes r, s, v each, over the EIP-712 Seal
    function sealRound(
        uint32 round,
        uint32 leaderView,
        bytes calldata beaconSignature,
        bytes32 manifestDigest,
        uint256[] calldata survivors,
        uint16[] calldata positions,
        bytes[] calldata signatures
    ) external;

    /// @notice Records commitments. A position commits once; entries of positions that did are skipped, so that a late
    /// batch survives one that came before. When ceil(2V/3) are in, `params().commitSeconds` remain for the others.
    function commitRound(
        uint32 round,
        uint16[] calldata positions,
        bytes32[] calldata commitments,
        bytes[] calldata signatures
    ) external;

    /// @notice Records ballots, then settles if all committed ones are open or the reveal deadline has passed. The
    /// settling call itself may still bring ballots, so that a chain outage does not cost the round.
    /// Settling tallies, books rewards and opens the next round. Entries already revealed are skipped.
    function settleRound(uint32 round, Ballot[] calldata ballots) external;

    /// @notice Ends a round that was not sealed in time, or sealed without any commitment, and opens the next.
    /// `params().voidCountMax` of them in a row close the alliance.
    function voidRound(uint32 round) external;

    /// @notice Closes an alliance that has waited for seats for 30 days, so that no pool is locked for ever.
    function close() external;
}
