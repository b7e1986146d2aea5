// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {RoundRecord} from "../src/Types.sol";
import {IAlliance} from "../src/interfaces/IAlliance.sol";
import {AllianceTest} from "./AllianceTest.sol";

/// A token that calls whoever it wants in the middle of a transfer. FLOCK never does; the contracts must not rely on it.
contract HostileToken is ERC20("FLOCK", "FLOCK") {
    address private _target;
    bytes private _call;
    bool public succeeded;

    constructor(address holder, uint256 supply) {
        _mint(holder, supply);
    }

    function arm(address target, bytes calldata call) external {
        (_target, _call, succeeded) = (target, call, false);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (_target == address(0)) return;
        address target = _target;
        _target = address(0);
        (succeeded,) = target.call(_call);
    }
}

/// A member that is a contract, so that the token's call comes from its own address.
contract Reentrant {
    function run(address target, bytes calldata call) external returns (bool ok) {
        (ok,) = target.call(call);
    }
}

contract ReentrancyTest is AllianceTest {
    HostileToken private hostile;
    Reentrant private staker;

    function setUp() public override {
        super.setUp();
        hostile = new HostileToken(address(this), 1_000_000 ether);
        token = IERC20(address(hostile));
        factory = deployFactory(address(token), beacon);
        params.unbondingSeconds = 61;
        alliance = create(params, 1);
        staker = new Reentrant();
        token.transfer(address(staker), params.seatStake);
        staker.run(address(token), abi.encodeCall(token.approve, (address(alliance), type(uint256).max)));
        check(staker.run(address(alliance), _join()), "joined");
    }

    function _join() private view returns (bytes memory) {
        return abi.encodeCall(
            IAlliance(address(0)).join,
            (requestOf(99, 0))
        );
    }

    function _armed(bytes memory call) private {
        hostile.arm(address(staker), abi.encodeCall(staker.run, (address(alliance), call)));
    }

    /// A stake could be withdrawn twice.
    function test_withdraw__reentered() external {
        check(staker.run(address(alliance), abi.encodeWithSignature("leave()")), "left");
        vm.warp(block.timestamp + 61);
        _armed(abi.encodeWithSignature("withdraw()"));
        check(staker.run(address(alliance), abi.encodeWithSignature("withdraw()")), "withdrawn");
        eq(token.balanceOf(address(staker)), params.seatStake, "once");
        requireConserved();
    }

    /// A seat could be taken twice for one stake, or the table left between two states.
    function test_join__reentered() external {
        joinAll(3);
        address other = member(3);
        fund(other);
        _armed(abi.encodeWithSignature("leave()"));
        vm.prank(other);
        alliance.join(requestOf(3, 0));
        eq(alliance.seatCount(), 4, "one left while another joined");
        eq(alliance.getSeats(0, 1)[0].owner, other, "the joiner fills the gap");
        requireConserved();
    }

    /// A reward could be claimed twice.
    function test_claim__reentered() external {
        joinAll(10);
        // A contract cannot sign: void rounds until it is drawn as trainer.
        while (ownerAt(0) == address(staker) || ownerAt(1) == address(staker) || ownerAt(2) == address(staker)) {
            vm.warp(state().sealDeadline + 1);
            alliance.voidRound(state().round);
        }
        uint32 round = state().round;
        playRound(ALL, YES);
        uint256 due = rewardOf(address(staker), round);
        check(due > 0, "the staker trained");
        RoundRecord[] memory records = recordsOf(round, 1);
        bytes memory call = abi.encodeCall(IAlliance(address(0)).claimRounds, (records));
        _armed(call);
        check(staker.run(address(alliance), call), "claimed");
        check(!hostile.succeeded() || token.balanceOf(address(staker)) == due, "re-entered");
        eq(token.balanceOf(address(staker)), due, "once");
        requireConserved();
    }
}
