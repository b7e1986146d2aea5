// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {FlockToken} from "../FlockToken.sol";
import {IEmission} from "./interfaces/IEmission.sol";
import {EmissionMath} from "./libraries/EmissionMath.sol";

/// @title The minter of FLOCK
/// @dev An index holds FLOCK released per unit of weight. It is written only when weights change; minting reads
/// it and writes nothing but what was minted. So every amount is exact for the history of weights, whoever minted before.
contract Emission is IEmission {
    using EnumerableSet for EnumerableSet.AddressSet;

    uint256 private constant GAUGES_MAX = 32;
    /// Units of the index in a wei. Sums stay below 2^249: 2^89 wei in all, 2^96 units, weights below 2^64.
    uint256 private constant UNITS = 2 ** 96;

    /// @dev `units` are what it had accrued, in units of the index, when its weight changed last and the index was `index`.
    struct Gauge {
        uint256 index;
        uint256 units;
        uint128 minted;
        uint64 weight;
    }

    FlockToken private immutable _token;
    address public immutable timelock;
    uint64 public immutable startsAt;

    uint256 public totalWeight;
    uint256 public mintedTotal;
    uint256 private _index;
    uint256 private _releasedAtIndex;
    EnumerableSet.AddressSet private _active;
    mapping(address gauge => Gauge) private _gauges;

    constructor(FlockToken token_, address timelock_) {
        _token = token_;
        timelock = timelock_;
        startsAt = uint64(block.timestamp);
        _setWeight(timelock_, 1);
        emit WeightSet(timelock_, 1, 1);
    }

    /// @inheritdoc IEmission
    function setWeights(GaugeWeight[] calldata changes) external {
        if (msg.sender != timelock) revert NotTimelock();
        _index = _indexNow();
        _releasedAtIndex = emitted();
        for (uint256 i = 0; i < changes.length; ++i) _setWeight(changes[i].gauge, changes[i].weight);
        for (uint256 i = 0; i < changes.length; ++i) {
            emit WeightSet(changes[i].gauge, _gauges[changes[i].gauge].weight, totalWeight);
        }
    }

    /// @dev The index must be of this second.
    function _setWeight(address gauge, uint64 weight) private {
        if (gauge == address(0)) revert WrongGauge();
        Gauge storage g = _gauges[gauge];
        g.units += uint256(g.weight) * (_index - g.index);
        g.index = _index;
        totalWeight = totalWeight - g.weight + weight;
        g.weight = weight;
        if (weight == 0) _active.remove(gauge);
        else if (_active.add(gauge) && _active.length() > GAUGES_MAX) revert TooManyGauges();
    }

    /// @inheritdoc IEmission
    function mint(address gauge) external returns (uint256 amount) {
        amount = accrued(gauge);
        if (amount == 0) revert NothingAccrued(gauge);
        _gauges[gauge].minted += uint128(amount);
        mintedTotal += amount;
        emit EmissionMinted(gauge, amount, mintedTotal);
        _token.mint(gauge, amount);
    }

    /// @inheritdoc IEmission
    function accrued(address gauge) public view returns (uint256) {
        Gauge storage g = _gauges[gauge];
        return (g.units + uint256(g.weight) * (_indexNow() - g.index)) / UNITS - g.minted;
    }

    /// @dev Without weight the index stands still: what is released then is nobody's.
    function _indexNow() private view returns (uint256) {
        if (totalWeight == 0) return _index;
        return _index + (emitted() - _releasedAtIndex) * UNITS / totalWeight;
    }

    /// @inheritdoc IEmission
    function emitted() public view returns (uint256) {
        return EmissionMath.released(block.timestamp - startsAt);
    }

    /// @inheritdoc IEmission
    function emittedAt(uint256 timestamp) external view returns (uint256) {
        return timestamp < startsAt ? 0 : EmissionMath.released(timestamp - startsAt);
    }

    /// @inheritdoc IEmission
    function gauges() external view returns (GaugeWeight[] memory list) {
        list = new GaugeWeight[](_active.length());
        for (uint256 i = 0; i < list.length; ++i) {
            address gauge = _active.at(i);
            list[i] = GaugeWeight(gauge, _gauges[gauge].weight);
        }
    }

    /// @inheritdoc IEmission
    function weightOf(address gauge) external view returns (uint64) {
        return _gauges[gauge].weight;
    }

    /// @inheritdoc IEmission
    function mintedOf(address gauge) external view returns (uint256) {
        return _gauges[gauge].minted;
    }

    /// @inheritdoc IEmission
    function token() external view returns (address) {
        return address(_token);
    }
}
