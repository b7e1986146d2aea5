// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, JoinRequest, RoundState, SeatView} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {AllianceTest} from "./AllianceTest.sol";

contract SeatsTest is AllianceTest {
    uint32 private constant BEFORE_ROUND_0 = type(uint32).max;

    /* JOIN */

    /// A joiner would not find itself in the table that every node reads.
    function test_join__seat_is_listed() external {
        address staker = member(0);
        fund(staker);
        JoinRequest memory request = requestOf(0, 0);
        request.weight = 16;
        vm.expectEmit();
        emit IAllianceEvents.SeatJoined(0, staker, peerId(0), maskKey(0, 0), 1, 16, 0, new bytes(64));
        vm.prank(staker);
        alliance.join(request);

        SeatView memory seat = alliance.getSeats(0, 10)[0];
        eq(seat.owner, staker, "owner");
        eq(keccak256(seat.peerId), keccak256(peerId(0)), "peer ID");
        eq(seat.maskKey, maskKey(0, 0), "mask key");
        eq(seat.keyRound, BEFORE_ROUND_0, "key round");
        eq(seat.previousKey, 0, "previous key");
        eq(seat.keyGeneration, 1, "generation");
        eq(seat.weight, 16, "weight");
        eq(seat.joinedRound, 0, "joined round");
        eq(seat.peerSignature.length, 64, "peer signature");
        eq(token.balanceOf(address(alliance)), uint256(params.rewardPerRound) * 4 + 1 + params.seatStake, "stake");
        requireConserved();
    }

    /// A joiner would be bound by terms or losses it did not agree to, or an unusable seat would be elected.
    function test_join__bad_arguments() external {
        address staker = member(0);
        fund(staker);
        bytes4[9] memory errors = [
            IAllianceErrors.WrongParameters.selector,
            IAllianceErrors.StakeAboveMaximumLoss.selector,
            IAllianceErrors.WrongPeerId.selector,
            IAllianceErrors.WrongPeerId.selector,
            IAllianceErrors.WrongMaskKey.selector,
            IAllianceErrors.WrongWeight.selector,
            IAllianceErrors.WrongWeight.selector,
            IAllianceErrors.WrongPeerSignature.selector,
            IAllianceErrors.WrongPeerSignature.selector
        ];
        for (uint256 kind = 0; kind < errors.length; ++kind) {
            JoinRequest memory request = requestOf(0, 0);
            bytes memory error = abi.encodePacked(errors[kind]);
            if (kind == 0) (request.paramsHash, error) = (MODEL, bytes.concat(error, request.paramsHash));
            if (kind == 1) error = abi.encodeWithSelector(errors[kind], request.maximumLoss--);
            if (kind == 2) request.peerId = "";
            if (kind == 3) request.peerId = new bytes(65);
            if (kind == 4) request.maskKey = 0;
            if (kind == 5) request.weight = 0;
            if (kind == 6) request.weight = 17;
            if (kind == 7) request.peerSignature = new bytes(63);
            if (kind == 8) request.peerSignature = new bytes(65);
            vm.expectRevert(error);
            vm.prank(staker);
            alliance.join(request);
        }
        eq(alliance.seatCount(), 0, "seats");
    }

    /// Thresholds would no longer count distinct owners.
    function test_join__twice() external {
        join(0, 0);
        vm.expectRevert(IAllianceErrors.AlreadySeated.selector);
        vm.prank(member(0));
        alliance.join(requestOf(9, 0));
    }

    /// A seat would exist without stake.
    function test_join__without_approval() external {
        address pauper = member(0);
        vm.prank(pauper);
        (bool ok,) = address(alliance).call(
            abi.encodeCall(alliance.join, (requestOf(0, 0)))
        );
        check(!ok, "joined for nothing");
        (bool seated,,,) = alliance.getStake(pauper);
        check(!seated, "seated");
    }

    /// The headroom of the ring was checked for seatCountMax owners: more would garble sums.
    function test_join__full() external {
        joinAll(14);
        address late = member(14);
        fund(late);
        vm.expectRevert(IAllianceErrors.NoSeatFree.selector);
        vm.prank(late);
        alliance.join(requestOf(14, 0));
    }

    /// Round 0 would open too early, too late, or with a seed known to the last joiner.
    function test_join__opens_round_zero() external {
        joinAll(10);
        eq(state().round, BEFORE_ROUND_0, "round before the last seat");
        eq(state().phase, 0, "phase before the last seat");
        uint64 beaconRound = beacon.roundAt(uint64(START) + 10) + 1; // slot of 10 s strictly after now, margin 2
        address last = member(10);
        fund(last);
        vm.expectEmit();
        emit IAllianceEvents.RoundOpened(0, 11, beaconRound, beacon.timeOf(beaconRound));
        vm.prank(last);
        alliance.join(requestOf(10, 0));
        RoundState memory s = state();
        eq(s.round, 0, "round");
        eq(s.phase, 1, "phase");
        eq(s.seatCount, 11, "frozen seats");
        check(s.opensAt > START + 10, "opens after the schedule");
        eq(s.trainDeadline, s.opensAt + 30, "train deadline");
        eq(s.sealDeadline, s.opensAt + 30 + 15, "seal deadline");
    }

    /// Somebody could join after seeing the seed, and be elected by choosing its address.
    function test_join__running_round_keeps_its_seats() external {
        joinAll(11);
        join(11, 0);
        eq(state().seatCount, 11, "frozen");
        eq(alliance.seatCount(), 12, "table");
        SeatView memory seat = alliance.getSeats(11, 1)[0];
        eq(seat.joinedRound, 1, "first round of the late joiner");
        eq(seat.keyRound, 0, "its key counts from round 1");
        playRound(ALL, YES);
        eq(state().seatCount, 12, "next round");
    }

    /* LEAVE AND WITHDRAW */

    /// A leaver's position would change hands during the round.
    function test_leave__removed_at_the_next_open() external {
        joinAll(12);
        address leaver = member(3);
        vm.prank(leaver);
        alliance.leave();
        check(alliance.getSeats(3, 1)[0].leaving, "leaving");
        eq(alliance.seatCount(), 12, "still seated");
        vm.expectRevert(IAllianceErrors.AlreadyLeaving.selector);
        vm.prank(leaver);
        alliance.leave();
        vm.expectRevert(IAllianceErrors.StillSeated.selector);
        vm.prank(leaver);
        alliance.withdraw();

        playRound(ALL, YES);
        eq(alliance.seatCount(), 11, "removed");
        eq(alliance.getSeats(3, 1)[0].owner, member(11), "the last seat fills the gap");
        (bool seated,, uint128 stake, uint64 releaseAt) = alliance.getStake(leaver);
        check(!seated && stake == params.seatStake, "stake held while unbonding");
        eq(releaseAt, block.timestamp + 120, "unbonding starts when the last round ended");
    }

    /// An OPEN with many leavers would run out of gas, or a leaver would be lost from the queue.
    function test_leave__four_for_each_open() external {
        params.seatCountMax = 20;
        alliance = create(params, 1);
        joinAll(20);
        for (uint256 i = 0; i < 6; ++i) {
            vm.prank(member(i));
            alliance.leave();
        }
        playRound(ALL, YES);
        eq(alliance.seatCount(), 16, "four went");
        playRound(ALL, YES);
        eq(alliance.seatCount(), 14, "two went");
        for (uint256 i = 0; i < 6; ++i) {
            (bool seated,,,) = alliance.getStake(member(i));
            check(!seated, "a leaver is still seated");
        }
    }

    /// A stake could be locked by an alliance that never fills.
    function test_leave__at_once_while_waiting() external {
        joinAll(3);
        address leaver = member(0);
        vm.prank(leaver);
        alliance.leave();
        eq(alliance.seatCount(), 2, "removed");
        eq(alliance.getSeats(0, 1)[0].owner, member(2), "the last seat fills the gap");
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.Unbonding.selector, uint64(START + 120)));
        vm.prank(leaver);
        alliance.withdraw();
        vm.warp(START + 120);
        vm.prank(leaver);
        alliance.withdraw();
        eq(token.balanceOf(leaver), params.seatStake, "stake back");
        requireConserved();
        vm.expectRevert(IAllianceErrors.NothingToWithdraw.selector);
        vm.prank(leaver);
        alliance.withdraw();
    }

    /// Leavers beyond the four of an OPEN would be stuck in an alliance that has become too small to open a round.
    function test_leave__again_while_waiting() external {
        joinAll(11);
        for (uint256 i = 0; i < 6; ++i) {
            vm.prank(member(i));
            alliance.leave();
        }
        playRound(ALL, YES);
        eq(state().phase, 0, "too few seats to go on");
        eq(alliance.seatCount(), 7, "four went");
        for (uint256 i = 4; i < 6; ++i) {
            vm.prank(member(i));
            alliance.leave();
        }
        eq(alliance.seatCount(), 5, "the others went at once");
        // Their queue entries are stale now: new seats must not be removed by them.
        for (uint256 i = 20; i < 24; ++i) join(i, 0);
        eq(state().phase, 1, "opened again");
        eq(state().round, 1, "the next round");
        eq(state().seatCount, 9, "nobody was removed");
    }

    /// The slot of a member that came back would be removed because of its first departure.
    function test_leave__stale_queue_entry_of_a_returner() external {
        joinAll(11);
        for (uint256 i = 0; i < 6; ++i) {
            vm.prank(member(i));
            alliance.leave();
        }
        playRound(ALL, YES);
        address returner = member(5);
        vm.prank(returner);
        alliance.leave();
        vm.warp(block.timestamp + 120);
        vm.prank(returner);
        alliance.withdraw();
        join(5, 1);
        for (uint256 i = 20; i < 22; ++i) join(i, 0);
        // Seats: 10 to 6, 4 (leaving), returner, 20, 21: the leaver is not counted, so the alliance still waits.
        eq(state().phase, 0, "a leaver does not open a round");
        join(22, 0);
        eq(state().phase, 1, "opened");
        eq(state().seatCount, 9, "the leaver was removed, the returner was not");
        (bool seated,,,) = alliance.getStake(returner);
        check(seated, "returner");
        (seated,,,) = alliance.getStake(member(4));
        check(!seated, "leaver");
    }

    /// An alliance would start with fewer seats than its creator asked for, stop for one that left, or go on with a
    /// cohort that could never be opened.
    function test_open__seats_needed() external {
        joinAll(10);
        eq(state().phase, 0, "the first round waits for seatCountMin");
        join(10, 0);
        for (uint256 i = 0; i < 2; ++i) {
            vm.prank(member(i));
            alliance.leave();
        }
        playRound(ALL, YES);
        eq(state().phase, 1, "goes on");
        eq(state().seatCount, 9, "three validators and two cohorts of three");
        vm.prank(member(2));
        alliance.leave();
        SettleCall memory call = settleOf(1, _played());
        vm.expectEmit();
        emit IAllianceEvents.SeatsAwaited(2, 8);
        send(call);
        eq(state().phase, 0, "waits");
        join(20, 0);
        eq(state().phase, 1, "and opens with nine again");
    }

    function _played() private returns (Ballot[] memory ballots) {
        sealNow(ALL);
        ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
    }

    /// A returner would hold two stakes in one record, and lose one.
    function test_join__stake_not_withdrawn() external {
        joinAll(1);
        vm.prank(member(0));
        alliance.leave();
        fund(member(0));
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.StakeNotWithdrawn.selector, uint64(START + 120)));
        vm.prank(member(0));
        alliance.join(requestOf(0, 1));
    }

    /// A returner restored from an old backup could not notice that its keys are old.
    function test_join__returner_goes_on_counting_generations() external {
        joinAll(1);
        vm.prank(member(0));
        alliance.leave();
        vm.warp(START + 120);
        vm.prank(member(0));
        alliance.withdraw();
        fund(member(0));
        vm.expectRevert(IAllianceErrors.WrongMaskKey.selector);
        vm.prank(member(0));
        alliance.join(requestOf(0, 0));
        join(0, 1);
        eq(alliance.getSeats(0, 1)[0].keyGeneration, 2, "generation");
    }

    /// A stranger would be paid a stake.
    function test_leave__no_seat() external {
        vm.expectRevert(IAllianceErrors.NotSeated.selector);
        vm.prank(stranger);
        alliance.leave();
        vm.expectRevert(IAllianceErrors.NothingToWithdraw.selector);
        vm.prank(stranger);
        alliance.withdraw();
        vm.expectRevert(IAllianceErrors.NotSeated.selector);
        vm.prank(stranger);
        alliance.registerKey(MODEL);
    }

    /// Members of a closed alliance could not get their stakes without one another, or without leave().
    function test_withdraw__after_closing() external {
        joinAll(11);
        vm.prank(member(1));
        alliance.leave();
        for (uint256 i = 0; i < 4; ++i) playRound(ALL, YES);
        eq(state().phase, 4, "closed");
        uint256 closedAt = block.timestamp;
        vm.expectRevert(IAllianceErrors.AllianceIsClosed.selector);
        vm.prank(member(0));
        alliance.leave();
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.Unbonding.selector, uint64(closedAt + 120)));
        vm.prank(member(0));
        alliance.withdraw();
        vm.warp(closedAt + 120);
        for (uint256 i = 0; i < 11; ++i) {
            vm.prank(member(i));
            alliance.withdraw();
            eq(token.balanceOf(member(i)), params.seatStake, "stake back");
        }
        (uint256 stakes,,) = alliance.getAccounts();
        eq(stakes, 0, "no stake left");
        requireConserved();
        vm.expectRevert(IAllianceErrors.NothingToWithdraw.selector);
        vm.prank(member(0));
        alliance.withdraw();
    }

    /* KEYS */

    /// A node could not tell which key counts in the round that runs.
    function test_registerKey__counts_from_the_next_round() external {
        joinAll(11);
        vm.expectEmit();
        emit IAllianceEvents.KeyRegistered(2, member(2), maskKey(2, 1), 0, 2);
        vm.prank(member(2));
        alliance.registerKey(maskKey(2, 1));
        SeatView memory seat = alliance.getSeats(2, 1)[0];
        eq(seat.maskKey, maskKey(2, 1), "key");
        eq(seat.keyRound, 0, "registered in round 0, counts from round 1");
        eq(seat.previousKey, maskKey(2, 0), "previous key counts in round 0");
        eq(seat.previousKeyRound, BEFORE_ROUND_0, "previous round");
        eq(seat.keyGeneration, 2, "generation");
    }

    /// A second key in a round would erase the one that the round runs with.
    function test_registerKey__once_a_round() external {
        joinAll(11);
        vm.prank(member(2));
        alliance.registerKey(maskKey(2, 1));
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.KeyAlreadyRegistered.selector, uint32(0)));
        vm.prank(member(2));
        alliance.registerKey(maskKey(2, 2));
        playRound(ALL, YES);
        vm.prank(member(2));
        alliance.registerKey(maskKey(2, 2));
        SeatView memory seat = alliance.getSeats(2, 1)[0];
        eq(seat.keyRound, 1, "round");
        eq(seat.previousKey, maskKey(2, 1), "previous key");
        eq(seat.previousKeyRound, 0, "previous round");
    }

    /// A spent mask key could be announced as fresh, and pair masks would repeat.
    function test_registerKey__not_fresh() external {
        joinAll(11);
        vm.expectRevert(IAllianceErrors.WrongMaskKey.selector);
        vm.prank(member(2));
        alliance.registerKey(0);
        vm.expectRevert(IAllianceErrors.WrongMaskKey.selector);
        vm.prank(member(2));
        alliance.registerKey(maskKey(2, 0));
        vm.prank(member(2));
        alliance.registerKey(maskKey(2, 1));
        playRound(ALL, YES);
        vm.expectRevert(IAllianceErrors.WrongMaskKey.selector);
        vm.prank(member(2));
        alliance.registerKey(maskKey(2, 0));
    }

    /// Before round 0 a node would seem to have a key that counts one round too late.
    function test_registerKey__before_round_zero() external {
        join(0, 0);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.KeyAlreadyRegistered.selector, BEFORE_ROUND_0));
        vm.prank(member(0));
        alliance.registerKey(maskKey(0, 1));
    }

    /* VIEWS */

    /// Reading the table in pages would miss or repeat seats, or fail at its end.
    function test_getSeats__pages() external {
        joinAll(5);
        eq(alliance.getSeats(0, 2).length, 2, "first page");
        eq(alliance.getSeats(4, 2).length, 1, "last page");
        eq(alliance.getSeats(5, 2).length, 0, "behind the end");
        eq(alliance.getSeats(ALL, ALL).length, 0, "far behind the end");
        eq(alliance.getSeats(0, ALL).length, 5, "everything");
        eq(alliance.getSeats(3, 1)[0].owner, member(3), "seat 3");
    }
}
