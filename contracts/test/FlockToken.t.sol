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
        FlockToken token = new FlockToken(holder, CAP, address(0));
        eq(token.totalSupply(), CAP, "supply");
        eq(token.balanceOf(holder), CAP, "holder");
        eq(token.decimals(), 18, "decimals");
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20ExceededCap.selector, CAP + 1, CAP));
        new FlockToken(holder, CAP + 1, address(0));
    }

    /// A token that starts with nothing would need somebody to give nothing to.
    function test_constructor__nothing_for_nobody() external {
        eq(new FlockToken(address(0), 0, address(0)).totalSupply(), 0, "supply");
    }

    /// Somebody could mint, burn another's FLOCK or pause it: the token has no such function but the minter's.
    function test_token__has_no_privileges() external {
        FlockToken token = new FlockToken(holder, CAP / 2, address(0));
        string[6] memory calls = ["mint(address,uint256)", "burn(uint256)", "pause()", "owner()", "upgradeTo(address)", "setMinter(address)"];
        address[3] memory senders = [holder, address(this), address(0xdead)];
        for (uint256 i = 0; i < calls.length; ++i) {
            for (uint256 k = 0; k < 3; ++k) {
                vm.prank(senders[k]);
                (bool ok,) = address(token).call(abi.encodeWithSignature(calls[i], holder, 1));
                check(!ok, calls[i]);
            }
        }
    }

    /// Somebody else than the minter could mint, or the minter more than the cap.
    function test_mint__only_by_the_minter() external {
        address minter = vm.addr(0x111);
        FlockToken token = new FlockToken(holder, 0, minter);
        eq(token.totalSupply(), 0, "nothing at first");
        eq(token.minter(), minter, "minter");
        vm.expectRevert(FlockToken.NotMinter.selector);
        token.mint(holder, 1);
        vm.expectRevert(FlockToken.NotMinter.selector);
        vm.prank(holder);
        token.mint(holder, 1);
        vm.prank(minter);
        token.mint(holder, CAP - 1);
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20ExceededCap.selector, CAP + 1, CAP));
        vm.prank(minter);
        token.mint(holder, 2);
        vm.prank(minter);
        token.mint(spender, 1);
        eq(token.totalSupply(), CAP, "up to the cap");
        eq(token.balanceOf(spender), 1, "to whom it was minted");
    }

    /// A permit would not work, work twice, work late, or work for another signer.
    function test_permit__once_and_in_time() external {
        FlockToken token = new FlockToken(holder, CAP, address(0));
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
