// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RoundRecord, SeatView} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {AllianceTest} from "./AllianceTest.sol";

/// Suspension, reactivation and published addresses.
contract StrikesTest is AllianceTest {
    function setUp() public override {
        super.setUp();
        params.roundCount = 8;
        alliance = create(params, 1);
    }

    function _void() internal {
        vm.warp(state().sealDeadline + 1);
        alliance.voidRound(state().round);
    }

    function _refuse(bytes memory error, address owner, uint32 first, uint32 second) internal {
        (RoundRecord memory one_, RoundRecord memory two_) = (recordOf(first), recordOf(second));
        vm.expectRevert(error);
        alliance.suspend(owner, one_, two_);
    }

    function _suspend(address owner, uint32 first, uint32 second) internal {
        (RoundRecord memory one_, RoundRecord memory two_) = (recordOf(first), recordOf(second));
        alliance.suspend(owner, one_, two_);
    }

    function _suspended(address owner) internal view returns (bool suspended) {
        (,,,, suspended,,,) = alliance.getMember(owner);
    }

    /* SUSPEND */

    /// Seats of nodes that are gone would be elected for ever, or their stakes be lost.
    function test_suspend__two_strikes() external {
        joinAll(12);
        address sleeper = member(5);
        playWithout(sleeper);
        playWithout(sleeper);
        vm.expectEmit();
        emit IAllianceEvents.SeatSuspended(5, sleeper, 0, 1);
        vm.expectEmit();
        emit IAllianceEvents.SeatLeaving(5, sleeper);
        vm.prank(stranger);
        _suspend(sleeper, 0, 1);
        check(_suspended(sleeper), "suspended");
        check(alliance.getSeats(5, 1)[0].leaving, "leaving");
        eq(state().seatCount, 12, "the running round keeps its seats");
        playRound(ALL, YES);
        (bool seated,, uint128 stake, uint64 releaseAt) = alliance.getStake(sleeper);
        check(!seated && stake == params.seatStake, "removed, nothing lost");
        eq(releaseAt, block.timestamp + 120, "unbonding");
        eq(state().seatCount, 11, "next round");
        requireConserved();
    }

    /// One role's absence would count and the other's not. Roles are drawn, so several sleepers try their luck.
    function test_suspend__in_every_role() external {
        bool[3] memory reached;
        for (uint256 i = 0; i < 20 && !(reached[0] && reached[1] && reached[2]); ++i) {
            params.manifestDigest = keccak256(abi.encode(i));
            alliance = create(params, 1);
            joinAll(12);
            address sleeper = member(7);
            uint256 asValidator = 0;
            for (uint256 r = 0; r < 2; ++r) {
                if (positionOf(sleeper) < 3) ++asValidator;
                playWithout(sleeper);
            }
            reached[asValidator] = true;
            _suspend(sleeper, 0, 1);
            check(_suspended(sleeper), "suspended");
        }
        check(reached[0] && reached[1] && reached[2], "trainer twice, both, validator twice");
    }

    /// Somebody could be suspended that took part.
    function test_suspend__not_absent() external {
        joinAll(12);
        address sleeper = member(5);
        playRound(ALL, YES);
        playWithout(sleeper);
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotAbsent.selector, uint32(0)), sleeper, 0, 1);
        playRound(ALL, YES);
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotAbsent.selector, uint32(2)), sleeper, 1, 2);
        playWithout(sleeper);
        for (uint256 i = 0; i < 12; ++i) {
            if (i != 5) _refuse(abi.encodeWithSelector(IAllianceErrors.NotAbsent.selector, uint32(2)), member(i), 2, 3);
        }
    }

    /// Old strikes, strikes with a good round between, or rounds that nobody settled would suspend.
    function test_suspend__not_the_last_two() external {
        bytes memory error = abi.encodePacked(IAllianceErrors.NotConsecutive.selector);
        joinAll(12);
        address sleeper = member(5);
        playWithout(sleeper); // 0
        _refuse(error, sleeper, 0, 0);
        playWithout(sleeper); // 1
        _refuse(error, sleeper, 1, 0);
        _refuse(error, sleeper, 1, 1);
        playRound(ALL, YES); // 2
        playWithout(sleeper); // 3
        _refuse(error, sleeper, 0, 1);
        _refuse(error, sleeper, 1, 3);
        _refuse(error, sleeper, 3, 3);
        _refuse(error, sleeper, 3, 2);
        _void(); // 4
        playWithout(sleeper); // 5
        _refuse(error, sleeper, 1, 5);
        RoundRecord memory voided;
        voided.round = 4;
        RoundRecord memory last = recordOf(5);
        vm.expectRevert(error);
        alliance.suspend(sleeper, voided, last);
        _suspend(sleeper, 3, 5);
        _refuse(abi.encodePacked(IAllianceErrors.AlreadyLeaving.selector), sleeper, 3, 5);
    }

    /// Somebody could be suspended by a record that the round never had, or for a round that is not settled.
    function test_suspend__wrong_records() external {
        joinAll(12);
        address sleeper = member(5);
        playWithout(sleeper);
        playRound(ALL, YES);
        RoundRecord memory first = recordOf(0);
        RoundRecord memory second = recordOf(1);
        second.survivors[0] = first.survivors[0];
        second.revealed = first.revealed;
        if (first.revealed == 7) second.seed = first.seed; // a trainer then: let it stand at the same place
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongRecord.selector, uint32(1)));
        alliance.suspend(sleeper, first, second);
        second = recordOf(1);
        first.refund += 1;
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongRecord.selector, uint32(0)));
        alliance.suspend(sleeper, first, second);
        first = recordOf(0);
        second.round = 2; // runs
        vm.expectRevert(IAllianceErrors.NotConsecutive.selector);
        alliance.suspend(sleeper, first, second);
        RoundRecord memory nothing;
        (nothing.round, first.round) = (1, 0);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongRecord.selector, uint32(1)));
        alliance.suspend(sleeper, first, nothing);
    }

    /// Void rounds, which nobody can be blamed for, would break a row of strikes or hide the last one.
    function test_suspend__void_rounds_do_not_count() external {
        joinAll(12);
        address sleeper = member(5);
        _void();
        playWithout(sleeper); // 1
        _void();
        _void();
        playWithout(sleeper); // 4
        _void();
        _void();
        _suspend(sleeper, 1, 4);
        check(_suspended(sleeper), "suspended");
    }

    /// Somebody without a seat, or one that was there only for a part of it, would have strikes.
    function test_suspend__not_seated() external {
        joinAll(11);
        playWithout(member(5));
        join(11, 0); // counts from round 2: round 1 runs
        playWithout(member(5));
        _refuse(abi.encodePacked(IAllianceErrors.NotSeated.selector), stranger, 0, 1);
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotAbsent.selector, uint32(0)), member(11), 0, 1);
        playWithout(member(11));
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotAbsent.selector, uint32(1)), member(11), 1, 2);
        vm.prank(member(11));
        alliance.leave();
        playWithout(member(11));
        _refuse(abi.encodePacked(IAllianceErrors.NotSeated.selector), member(11), 2, 3);
    }

    /// An absent seat could never be removed while the alliance waits, and would count for the next opening.
    function test_suspend__while_waiting() external {
        joinAll(11);
        playWithout(member(5));
        for (uint256 i = 6; i < 9; ++i) {
            vm.prank(member(i));
            alliance.leave();
        }
        playWithout(member(5));
        eq(state().phase, 0, "waits");
        vm.expectEmit();
        emit IAllianceEvents.SeatSuspended(5, member(5), 0, 1);
        vm.expectEmit();
        emit IAllianceEvents.SeatRemoved(5, member(5), uint64(block.timestamp) + 120);
        _suspend(member(5), 0, 1);
        eq(alliance.seatCount(), 7, "removed at once");
        join(20, 0);
        vm.prank(member(5));
        alliance.reactivate(maskKey(5, 1));
        eq(state().phase, 1, "opened with nine");
        eq(state().seatCount, 9, "by the reactivated seat");
    }

    /// A closed alliance would change.
    function test_suspend__closed() external {
        joinAll(11);
        for (uint256 i = 0; i < 8; ++i) playWithout(member(5));
        eq(state().phase, 4, "closed");
        bytes memory error = abi.encodePacked(IAllianceErrors.AllianceIsClosed.selector);
        _refuse(error, member(5), 6, 7);
        vm.expectRevert(error);
        vm.prank(member(5));
        alliance.reactivate(maskKey(5, 1));
        vm.expectRevert(error);
        vm.prank(member(5));
        alliance.registerAddresses("");
    }

    /* REACTIVATE */

    function _suspendFive() private returns (address sleeper) {
        joinAll(12);
        sleeper = member(5);
        playWithout(sleeper);
        playWithout(sleeper);
        _suspend(sleeper, 0, 1);
    }

    /// A node that slept would lose its place for ever, come back unseen by others, or with a key that was spent.
    function test_reactivate__sits_at_the_end() external {
        address sleeper = _suspendFive();
        vm.expectRevert(IAllianceErrors.StillSeated.selector);
        vm.prank(sleeper);
        alliance.reactivate(maskKey(5, 1));
        playRound(ALL, YES); // 2
        bytes32[2] memory stale = [bytes32(0), maskKey(5, 0)];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(IAllianceErrors.WrongMaskKey.selector);
            vm.prank(sleeper);
            alliance.reactivate(stale[i]);
        }
        vm.expectEmit();
        emit IAllianceEvents.SeatReactivated(11, sleeper, maskKey(5, 1), 2, 4);
        vm.prank(sleeper);
        alliance.reactivate(maskKey(5, 1));
        SeatView memory seat = alliance.getSeats(11, 1)[0];
        eq(seat.owner, sleeper, "owner");
        eq(seat.keyRound, 3, "the key counts from round 4");
        eq(seat.joinedRound, 4, "so does the seat");
        eq(seat.weight, 4, "weight of the join");
        eq(keccak256(seat.peerId), keccak256(peerId(5)), "peer ID of the join");
        check(!seat.leaving && !_suspended(sleeper), "not leaving");
        (,,,,,, uint32 tenure,) = alliance.getMember(sleeper);
        eq(tenure, 0, "evidence of the rounds before still counts");
        // Its two strikes are the last two settled rounds no more; even if nothing else had been settled, they are paid.
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotConsecutive.selector), sleeper, 0, 1);
        playRound(ALL, YES); // 3
        eq(state().seatCount, 12, "drawn again");
        playRound(ALL, YES); // 4
        check(rewardOf(sleeper, 4) > 0, "paid again");
        vm.expectRevert(IAllianceErrors.NotSuspended.selector);
        vm.prank(sleeper);
        alliance.reactivate(maskKey(5, 2));
    }

    /// The strikes that suspended a seat would suspend it again.
    function test_reactivate__strikes_are_spent() external {
        joinAll(11);
        address sleeper = member(5);
        playWithout(sleeper);
        for (uint256 i = 6; i < 9; ++i) {
            vm.prank(member(i));
            alliance.leave();
        }
        playWithout(sleeper);
        _suspend(sleeper, 0, 1);
        vm.prank(sleeper);
        alliance.reactivate(maskKey(5, 1));
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotAbsent.selector, uint32(0)), sleeper, 0, 1);
        join(20, 0); // nine seats: opens round 2
        playWithout(sleeper);
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotAbsent.selector, uint32(1)), sleeper, 1, 2);
        playWithout(sleeper);
        _suspend(sleeper, 2, 3);
    }

    /// Anybody could sit down without a stake.
    function test_reactivate__not_suspended() external {
        joinAll(12);
        address leaver = member(5);
        vm.prank(leaver);
        alliance.leave();
        playRound(ALL, YES);
        address[3] memory others = [leaver, member(6), stranger];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(IAllianceErrors.NotSuspended.selector);
            vm.prank(others[i]);
            alliance.reactivate(maskKey(5, 1));
        }
    }

    /// A stake could be withdrawn and still hold a seat, or be withheld for ever.
    function test_reactivate__after_withdrawing() external {
        address sleeper = _suspendFive();
        playRound(ALL, YES);
        vm.warp(block.timestamp + 120);
        vm.prank(sleeper);
        alliance.withdraw();
        check(!_suspended(sleeper), "the tenure is over");
        vm.expectRevert(IAllianceErrors.NotSuspended.selector);
        vm.prank(sleeper);
        alliance.reactivate(maskKey(5, 1));
        join(5, 1);
        (bool seated,,,, bool suspended,, uint32 tenure,) = alliance.getMember(sleeper);
        check(seated && !suspended && tenure == 4, "joined anew");
    }

    /// The ring's headroom would be exceeded.
    function test_reactivate__full() external {
        address sleeper = _suspendFive();
        playRound(ALL, YES);
        for (uint256 i = 12; i < 15; ++i) join(i, 0);
        vm.expectRevert(IAllianceErrors.NoSeatFree.selector);
        vm.prank(sleeper);
        alliance.reactivate(maskKey(5, 1));
        vm.prank(member(14));
        alliance.leave();
        playRound(ALL, YES);
        vm.prank(sleeper);
        alliance.reactivate(maskKey(5, 1));
        eq(alliance.seatCount(), 14, "seated");
    }

    /// A seat that was suspended would be stuck with its owner.
    function test_leave__while_suspended() external {
        address sleeper = _suspendFive();
        vm.expectRevert(IAllianceErrors.AlreadyLeaving.selector);
        vm.prank(sleeper);
        alliance.leave();
        vm.expectRevert(IAllianceErrors.StillSeated.selector);
        vm.prank(sleeper);
        alliance.withdraw();
    }

    /* ADDRESSES */

    /// A newcomer would find no address, or a stranger could write into the log as a member.
    function test_registerAddresses__log() external {
        joinAll(2);
        bytes memory addresses = "/ip4/192.0.2.1/tcp/4001\n/dns4/node.example/tcp/4001";
        vm.expectEmit();
        emit IAllianceEvents.AddressesRegistered(1, member(1), addresses);
        vm.prank(member(1));
        alliance.registerAddresses(addresses);
        vm.expectRevert(IAllianceErrors.NotSeated.selector);
        vm.prank(stranger);
        alliance.registerAddresses(addresses);
        vm.prank(member(1));
        alliance.registerAddresses(new bytes(512));
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.AddressesTooLong.selector, 512));
        vm.prank(member(1));
        alliance.registerAddresses(new bytes(513));
    }
}
