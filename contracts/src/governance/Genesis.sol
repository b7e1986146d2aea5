// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {FlockToken} from "../FlockToken.sol";
import {Emission} from "./Emission.sol";
import {FlockGovernor} from "./FlockGovernor.sol";
import {GmFlock} from "./GmFlock.sol";
import {GovernanceSettings} from "./interfaces/IFlockGovernor.sol";
import {IGenesis} from "./interfaces/IGenesis.sol";
import {EmissionMath} from "./libraries/EmissionMath.sol";

/// @title The deployment of the protocol contracts
contract Genesis is IGenesis {
    uint256 private constant SUPPLY_MAX = 1_000_000_000 ether - EmissionMath.TOTAL;

    /// @inheritdoc IGenesis
    address public immutable token;
    /// @inheritdoc IGenesis
    address public immutable gmFlock;
    /// @inheritdoc IGenesis
    address public immutable governor;
    /// @inheritdoc IGenesis
    address public immutable timelock;
    /// @inheritdoc IGenesis
    address public immutable emission;

    constructor(address initialHolder, uint256 initialSupply, GovernanceSettings memory settings) {
        if (initialSupply > SUPPLY_MAX) revert SupplyTooLarge(initialSupply, SUPPLY_MAX);
        // The token must know its minter, and gmFLOCK the timelock, before they exist: the addresses that a contract
        // makes follow from its own and a counter from 1 on. The governor's first contract is its timelock.
        address minter = _created(address(this), 4);
        address executor = _created(_created(address(this), 3), 1);
        FlockToken flock = new FlockToken(initialHolder, initialSupply, minter);
        GmFlock gm = new GmFlock(flock, executor);
        FlockGovernor made = new FlockGovernor(gm, settings);
        (token, gmFlock, governor, timelock) = (address(flock), address(gm), address(made), made.timelock());
        emission = address(new Emission(flock, executor));
        assert(timelock == executor && emission == minter);
    }

    /// @dev The address of a CREATE: keccak256(rlp([creator, nonce])), for nonces of one byte.
    function _created(address creator, uint8 nonce) private pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"d694", creator, nonce)))));
    }
}
