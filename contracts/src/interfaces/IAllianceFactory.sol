// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AllianceParams} from "../Types.sol";

/// @title Makes alliances. Anyone may; nobody can change or stop one afterwards.
interface IAllianceFactory {
    /// The task name must have 1 to 64 bytes.
    error WrongTaskName();
    /// The owners are not strictly increasing, more than 1024, or not those of params.allowlistRoot (zero: none).
    error WrongAllowlist();
    /// This part of the alliance was deployed for another token or beacon; deploy the parts anew.
    error WrongPart(address part);

    event AllianceCreated(
        uint256 indexed number,
        address indexed alliance,
        address indexed creator,
        bytes32 manifestDigest,
        string taskName,
        address[] allowlist
    );

    /// @notice Creates an alliance and escrows `rewardPool` FLOCK, which the sender has approved to the factory.
    /// Reverts with ParameterOutOfBounds(rule), see ParamsRules.
    /// @param allowlist the owners that may join, strictly increasing, at most 1024; empty if anyone may. Its Merkle root
    /// is params.allowlistRoot: a leaf is keccak256(bytes.concat(keccak256(abi.encode(owner)))), a node the keccak256 of
    /// its children, the smaller one first; nodes are paired from the left, and an odd last one moves up unchanged.
    /// @return number counts from 1; with chain and factory it is the alliance's ID for ever
    function create(
        AllianceParams calldata params,
        uint256 rewardPool,
        string calldata taskName,
        address[] calldata allowlist
    ) external returns (uint256 number, address alliance);

    /// @notice The alliance of a number, or zero.
    function alliances(uint256 number) external view returns (address);

    /// @notice Alliances made so far; the last one's number.
    function allianceCount() external view returns (uint256);
}
