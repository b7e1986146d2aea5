// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title FLOCK, the stake and reward token
/// @notice ERC-20 with permit (ERC-2612), 18 decimals, never more than 1,000,000,000 FLOCK.
/// @dev The whole supply is minted here, once. There is no owner, no pause, no hook and no further minting.
contract FlockToken is ERC20, ERC20Permit, ERC20Capped {
    constructor(address initialHolder, uint256 initialSupply)
        ERC20("FLOCK", "FLOCK")
        ERC20Permit("FLOCK")
        ERC20Capped(1_000_000_000 ether)
    {
        _mint(initialHolder, initialSupply);
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Capped) {
        ERC20Capped._update(from, to, value);
    }
}
