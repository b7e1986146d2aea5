// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title FLOCK, the stake and reward token
/// @notice ERC-20 with permit (ERC-2612), 18 decimals, never more than 1,000,000,000 FLOCK.
/// @dev Only the minter, which is fixed in the code, adds to the supply that the constructor mints; the zero address is
/// nobody. There is no owner, no pause and no hook.
contract FlockToken is ERC20, ERC20Permit, ERC20Capped {
    /// Only the minter may mint.
    error NotMinter();

    /// @notice Who may mint, for ever.
    address public immutable minter;

    constructor(address initialHolder, uint256 initialSupply, address minter_)
        ERC20("FLOCK", "FLOCK")
        ERC20Permit("FLOCK")
        ERC20Capped(1_000_000_000 ether)
    {
        minter = minter_;
        if (initialSupply > 0) _mint(initialHolder, initialSupply);
    }

    /// @notice Adds `amount` FLOCK wei to the supply. Reverts above the cap (ERC20ExceededCap).
    function mint(address to, uint256 amount) external {
        if (msg.sender != minter) revert NotMinter();
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Capped) {
        ERC20Capped._update(from, to, value);
    }
}
