// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {FlockToken} from "../src/FlockToken.sol";
import {Forge} from "./Forge.sol";

contract FlockTokenTest is Forge {
    uint256 private constant CAP = 1_000_000_000 ether;
    uint256 private constant HOLDER_KEY = 0xF10C;

    address private holder = vm.addr(HOLDER_KEY);
    address private spender = vm.addr(0x5BE);

    /// More FLOCK than the cap could exist.
    function test_constructor__cap() external {
        FlockToken token = new FlockToken(holder, CAP);
        eq(token.totalSupply(), CAP, "supply");
        eq(token.balanceOf(holder), CAP, "holder");
        eq(token.decimals(), 18, "decimals");
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20ExceededCap.selector, CAP + 1, CAP));
        new FlockToken(holder, CAP + 1);
    }

    /// Somebody could mint, burn another's FLOCK or pause it: the token has no such function.
    function test_token__has_no_privileges() external {
        FlockToken token = new FlockToken(holder, CAP / 2);
        string[6] memory calls = ["mint(address,uint256)", "burn(uint256)", "pause()", "owner()", "upgradeTo(address)", "setMinter(address)"];
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool ok,) = address(token).call(abi.encodeWithSignature(calls[i], holder, 1));
            check(!ok, calls[i]);
        }
    }

    /// A permit would not work, work twice, work late, or work for another signer.
    function test_permit__once_and_in_time() external {
        FlockToken token = new FlockToken(holder, CAP);
        vm.warp(1000);
        bytes32 digest = _digest(token, 7 ether, 0, 1000);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(HOLDER_KEY, digest);
        token.permit(holder, spender, 7 ether, 1000, v, r, s);
        eq(token.allowance(holder, spender), 7 ether, "allowance");
        (bool ok,) = address(token).call(abi.encodeCall(token.permit, (holder, spender, 7 ether, 1000, v, r, s)));
        check(!ok, "twice");
        (v, r, s) = vm.sign(HOLDER_KEY, _digest(token, 7 ether, 1, 999));
        vm.expectRevert(abi.encodeWithSelector(ERC20Permit.ERC2612ExpiredSignature.selector, 999));
        token.permit(holder, spender, 7 ether, 999, v, r, s);
        (v, r, s) = vm.sign(0xBAD, _digest(token, 7 ether, 1, 1000));
        vm.expectRevert(abi.encodeWithSelector(ERC20Permit.ERC2612InvalidSigner.selector, vm.addr(0xBAD), holder));
        token.permit(holder, spender, 7 ether, 1000, v, r, s);
    }

    function _digest(FlockToken token, uint256 value, uint256 nonce, uint256 deadline) private view returns (bytes32) {
        bytes32 permit = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                holder,
                spender,
                value,
                nonce,
                deadline
            )
        );
        return keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), permit));
    }
}
