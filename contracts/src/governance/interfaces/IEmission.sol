// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The only source of new FLOCK: a fixed schedule, divided among gauges by weights that governance sets
/// @notice 309,157.68 FLOCK a day from the deployment on, times 0.99 every 30 days, for 60 times 30 days; linear in
/// between, second by second. In all 420,000,005.525647585758774934 FLOCK (see EmissionMath). A gauge is an address
/// that FLOCK is minted to. What a gauge gets is a function of the clock and of the weights that were in force, and of
/// nothing else: not of when somebody calls, how often, nor of who does. Nobody uploads amounts or shares.
/// @dev What the schedule releases while no gauge has weight is never minted by anybody.
interface IEmission {
    /// One entry of setWeights: the gauge's weight from now on. 0 removes it; what it has accrued stays its own.
    struct GaugeWeight {
        address gauge;
        uint64 weight;
    }

    /// Only the timelock, that is: a proposal that was voted for, queued and executed.
    error NotTimelock();
    /// The zero address cannot be minted to.
    error WrongGauge();
    /// At most 32 gauges have weight at a time; remove one in the same list, before the one that comes.
    error TooManyGauges();
    /// Nothing has accrued to this gauge since its last mint, or ever.
    error NothingAccrued(address gauge);

    /// From this block on the gauge has this weight, out of this sum of all weights after the whole list.
    event WeightSet(address indexed gauge, uint64 weight, uint256 totalWeight);
    /// `amount` FLOCK was minted to the gauge; `mintedTotal` is what all gauges together have got so far.
    event EmissionMinted(address indexed gauge, uint256 amount, uint256 mintedTotal);

    /// @notice Sets the weights of some gauges; the others keep theirs. Only the timelock.
    /// @dev Applies from this second on. What was released before is divided by the weights of before, always.
    /// Of a gauge named twice the last entry counts. Every weight up to the maximum of its type is allowed.
    function setWeights(GaugeWeight[] calldata changes) external;

    /// @notice Mints to the gauge what it has accrued and not yet got. Anyone may call, for any gauge.
    /// @return amount FLOCK minted, in wei, above 0
    function mint(address gauge) external returns (uint256 amount);

    /// @notice What mint(gauge) would mint now, in wei; 0 for an address that never was a gauge.
    /// @dev Rounded down from the exact share; the fraction is kept for later. So a gauge is short of its exact share by
    /// less than 1 wei, plus less than 2^-32 wei for each call of setWeights since the start. This dust is never minted.
    function accrued(address gauge) external view returns (uint256);

    /// @notice What was minted to this gauge so far, in wei.
    function mintedOf(address gauge) external view returns (uint256);

    /// @notice What was minted to all gauges together, in wei; never above `emitted()`.
    function mintedTotal() external view returns (uint256);

    /// @notice What the schedule has released by now, in wei, whether minted or not.
    function emitted() external view returns (uint256);

    /// @notice What the schedule releases from its start to `timestamp` (Unix seconds), in wei. 0 before the start.
    function emittedAt(uint256 timestamp) external view returns (uint256);

    /// @notice The gauges with weight, in no order that means anything, and their weights.
    function gauges() external view returns (GaugeWeight[] memory);

    /// @notice The weight of a gauge, or 0.
    function weightOf(address gauge) external view returns (uint64);

    /// @notice The sum of all weights.
    function totalWeight() external view returns (uint256);

    /// @notice When the schedule began: Unix seconds of the deployment.
    function startsAt() external view returns (uint64);

    /// @notice The token that this contract is the minter of.
    function token() external view returns (address);

    /// @notice Who sets the weights.
    function timelock() external view returns (address);
}
