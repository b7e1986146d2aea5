// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Deploys the protocol contracts, all in its constructor, and then does nothing
/// @notice One transaction, so that there is no moment in which anybody holds a right that it must give up later.
/// @dev constructor(address initialHolder, uint256 initialSupply, GovernanceSettings settings)
interface IGenesis {
    /// With the whole emission to come the supply would pass the token's cap.
    error SupplyTooLarge(uint256 initialSupply, uint256 initialSupplyMax);

    /// @notice FLOCK; its minter is the emission.
    function token() external view returns (address);

    /// @notice gmFLOCK; its timelock lists staking contracts.
    function gmFlock() external view returns (address);

    /// @notice Counts the votes of gmFLOCK; the only proposer of the timelock.
    function governor() external view returns (address);

    /// @notice Executes what was decided; holds the treasury.
    function timelock() external view returns (address);

    /// @notice Mints FLOCK by the schedule; its first gauge is the timelock.
    function emission() external view returns (address);
}
