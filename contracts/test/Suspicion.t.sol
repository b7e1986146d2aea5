// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, RoundRecord} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {Sortition} from "../src/libraries/Sortition.sol";
import {EvidenceTest} from "./EvidenceTest.sol";

/// A member whose rounds end as a test wants it.
abstract contract SuspicionTest is EvidenceTest {
    /// What a round says of one member. Rejected and adopted beside it: the other cohort had the opposite outcome.
    enum Fate {
        UNDECIDED,
        ADOPTED,
        REJECTED,
        VOID, // too few survivors in its cohort, itself among them
        UNSEALED_ADOPTED,
        UNSEALED_REJECTED,
        VALIDATOR
    }

    uint256 internal constant BOUND = 3;

    function setUp() public virtual override {
        super.setUp();
        (params.roundCount, params.voidCountMax, params.suspicionBound) = (40, 500, uint8(BOUND));
        alliance = create(params, 1);
    }

    function voidNow() internal {
        vm.warp(state().sealDeadline + 1);
        alliance.voidRound(state().round);
    }

    /// Rounds become void until the member is drawn as what is asked for.
    function drawAs(address owner, bool validator) internal returns (uint256 trainer) {
        while ((positionOf(owner) < 3) != validator) voidNow();
        return validator ? 0 : positionOf(owner) - 3;
    }

    /// Returns the round that was settled.
    function play(address owner, Fate fate) internal returns (uint32 round) {
        uint256 trainer = drawAs(owner, fate == Fate.VALIDATOR);
        uint256 trainers = state().seatCount - 3;
        uint256 cohort = Sortition.cohortOf(trainer, trainers, 2);
        uint256 survivors = ALL;
        if (fate == Fate.UNSEALED_ADOPTED || fate == Fate.UNSEALED_REJECTED) survivors &= ~(uint256(1) << trainer);
        if (fate == Fate.VOID) survivors = _voidCohort(trainer, cohort, trainers);
        bool isGood = fate == Fate.ADOPTED || fate == Fate.UNSEALED_ADOPTED || fate == Fate.VOID;
        Ballot[] memory ballots = ballotsOf(3, YES);
        for (uint256 i = 0; i < 3; ++i) {
            if (fate == Fate.UNDECIDED) setVerdict(ballots[i], cohort, UNAVAILABLE, 0);
            else if (!isGood) setVerdict(ballots[i], cohort, NO, 0);
            if (isGood) setVerdict(ballots[i], 1 - cohort, NO, 0);
        }
        round = state().round;
        sealNow(survivors);
        playBallots(ballots);
    }

    /// All of the other cohort, two of this one.
    function _voidCohort(uint256 trainer, uint256 cohort, uint256 trainers) private pure returns (uint256 survivors) {
        uint256 others = 0;
        for (uint256 t = 0; t < trainers; ++t) {
            bool isOther = Sortition.cohortOf(t, trainers, 2) != cohort;
            if (isOther || t == trainer || (others == 0 && ++others == 1)) survivors |= uint256(1) << t;
        }
    }

    function playMany(address owner, Fate fate, uint256 count) internal {
        for (uint256 i = 0; i < count; ++i) play(owner, fate);
    }

    /// The records of all settled rounds from `first` to `last`.
    function settledFrom(uint32 first, uint32 last) internal returns (RoundRecord[] memory records) {
        uint256 count = 0;
        for (uint32 r = first; r <= last; ++r) if (isSettled(r)) ++count;
        records = new RoundRecord[](count);
        for (uint32 r = last + 1; r > first; --r) if (isSettled(r - 1)) records[--count] = recordOf(r - 1);
    }

    function settledSince(uint32 first) internal returns (RoundRecord[] memory) {
        return settledFrom(first, latestOf(address(alliance)));
    }

    function refuse(bytes memory error, address owner, RoundRecord[] memory records) internal {
        vm.expectRevert(error);
        alliance.suspendSuspected(owner, records);
    }

    function refuseRun(uint256 run, address owner, RoundRecord[] memory records) internal {
        refuse(abi.encodeWithSelector(IAllianceErrors.NotSuspected.selector, run), owner, records);
    }

    function refuseBecause(bytes4 error, address owner, RoundRecord[] memory records) internal {
        refuse(abi.encodePacked(error), owner, records);
    }

    function suspectedNow(address owner) internal view returns (bool suspected) {
        (,,,,,,, suspected) = alliance.getMember(owner);
    }

    function tenureOf(address owner) internal view returns (uint32 tenure) {
        (,,,,,, tenure,) = alliance.getMember(owner);
    }
}

contract SuspicionRuleTest is SuspicionTest {
    /* THE RULE */

    /// Whoever poisons always would stay for ever, or its stake be lost with the seat.
    function test_suspendSuspected__bound_reached() external {
        joinAll(12);
        address poisoner = member(5);
        playMany(poisoner, Fate.REJECTED, BOUND);
        RoundRecord[] memory records = settledSince(0);
        uint32 last = records[records.length - 1].round;
        vm.expectEmit();
        emit IAllianceEvents.SeatSuspected(5, poisoner, records[0].round, last);
        vm.expectEmit();
        emit IAllianceEvents.SeatLeaving(5, poisoner);
        vm.prank(stranger);
        alliance.suspendSuspected(poisoner, records);
        check(suspectedNow(poisoner), "suspected");
        (,,,, bool suspended, bool slashed,,) = alliance.getMember(poisoner);
        check(!suspended && !slashed, "and nothing else");
        eq(state().seatCount, 12, "the running round keeps its seats");
        refuseBecause(IAllianceErrors.AlreadyLeaving.selector, poisoner, records);
        playRound(ALL, YES);
        (bool seated,, uint128 stake, uint64 releaseAt) = alliance.getStake(poisoner);
        check(!seated && stake == params.seatStake, "removed, nothing lost");
        eq(releaseAt, block.timestamp + 120, "unbonding");
        eq(state().seatCount, 11, "next round");
        refuseBecause(IAllianceErrors.NotSeated.selector, poisoner, records);
        requireConserved();
    }

    /// Somebody could be suspended before the bound, that is after as much bad luck as honest members have.
    function test_suspendSuspected__below_the_bound() external {
        joinAll(12);
        address unlucky = member(5);
        for (uint256 run = 1; run < BOUND; ++run) {
            play(unlucky, Fate.REJECTED);
            refuseRun(run, unlucky, settledSince(0));
        }
        play(unlucky, Fate.REJECTED);
        refuseRun(BOUND - 1, unlucky, settledSince(recordOf(settledSince(0)[1].round).round)); // shows too little
        alliance.suspendSuspected(unlucky, settledSince(0));
        check(suspectedNow(unlucky), "and at it");
    }

    /// An honest member would be suspended for rejections before and after its cohort was adopted.
    function test_suspendSuspected__adopted_clears() external {
        joinAll(12);
        address honest = member(5);
        playMany(honest, Fate.REJECTED, BOUND - 1);
        play(honest, Fate.ADOPTED);
        refuseRun(0, honest, settledSince(0));
        playMany(honest, Fate.REJECTED, BOUND - 1);
        RoundRecord[] memory all = settledSince(0);
        refuseRun(BOUND - 1, honest, all);
        // The bound was reached, nobody came, and it was cleared.
        play(honest, Fate.REJECTED);
        play(honest, Fate.ADOPTED);
        refuseRun(0, honest, settledSince(0));
    }

    /// Rounds that say nothing of a member would clear a poisoner or condemn an honest one.
    function test_suspendSuspected__what_says_nothing() external {
        joinAll(12);
        address poisoner = member(5);
        play(poisoner, Fate.REJECTED);
        for (uint8 fate = 0; fate <= uint8(Fate.VALIDATOR); ++fate) {
            if (Fate(fate) == Fate.ADOPTED || Fate(fate) == Fate.REJECTED) continue;
            play(poisoner, Fate(fate));
            refuseRun(1, poisoner, settledSince(0));
        }
        playMany(poisoner, Fate.REJECTED, BOUND - 1);
        alliance.suspendSuspected(poisoner, settledSince(0));
    }

    /// The cohort of somebody else would count.
    function test_suspendSuspected__counts_the_own_cohort() external {
        joinAll(11);
        address poisoner = member(5);
        uint256[11] memory runs;
        for (uint256 i = 0; i < 5; ++i) {
            drawAs(poisoner, false);
            uint256[11] memory positions;
            for (uint256 k = 0; k < 11; ++k) positions[k] = positionOf(member(k));
            uint256 bad = Sortition.cohortOf(positions[5] - 3, 8, 2);
            play(poisoner, Fate.REJECTED);
            for (uint256 k = 0; k < 11; ++k) {
                if (positions[k] < 3) continue;
                runs[k] = Sortition.cohortOf(positions[k] - 3, 8, 2) == bad ? runs[k] + 1 : 0;
            }
        }
        RoundRecord[] memory all = settledSince(0);
        uint256 cleared = 0;
        for (uint256 k = 0; k < 11; ++k) {
            if (runs[k] == 0) ++cleared;
            if (runs[k] < BOUND) refuseRun(runs[k], member(k), all);
            else alliance.suspendSuspected(member(k), all);
        }
        check(suspectedNow(poisoner) && cleared > 0, "the poisoner, and not everybody");
    }

    /// Suspicion could be had where the creator did not want it.
    function test_suspendSuspected__off() external {
        params.suspicionBound = 0;
        alliance = create(params, 1);
        joinAll(12);
        playMany(member(5), Fate.REJECTED, 5);
        refuseBecause(IAllianceErrors.SuspicionIsOff.selector, member(5), settledSince(0));
    }

    /* THE RECORDS */

    /// The round whose adoption clears would be left out.
    function test_suspendSuspected__a_round_is_left_out() external {
        joinAll(12);
        address honest = member(5);
        play(honest, Fate.REJECTED);
        play(honest, Fate.ADOPTED);
        play(honest, Fate.REJECTED);
        play(honest, Fate.REJECTED);
        RoundRecord[] memory all = settledSince(0);
        refuseRun(2, honest, all);
        refuseBecause(IAllianceErrors.NotConsecutive.selector, honest, _three(all[0], all[2], all[3]));
        play(honest, Fate.ADOPTED);
        all = settledSince(0);
        RoundRecord[] memory early = _three(all[0], all[2], all[3]);
        refuseBecause(IAllianceErrors.NotConsecutive.selector, honest, early);
    }

    /// A window would end before the adoption that clears.
    function test_suspendSuspected__ends_early() external {
        joinAll(12);
        address honest = member(5);
        playMany(honest, Fate.REJECTED, BOUND);
        RoundRecord[] memory early = settledSince(0);
        play(honest, Fate.ADOPTED);
        refuseBecause(IAllianceErrors.NotConsecutive.selector, honest, early);
        voidNow(); // a void round is no settled one, and does not make an older round the last
        refuseBecause(IAllianceErrors.NotConsecutive.selector, honest, early);
    }

    /// One rejection would count as often as it is shown.
    function test_suspendSuspected__a_round_shown_twice() external {
        joinAll(12);
        address unlucky = member(5);
        playMany(unlucky, Fate.REJECTED, 2);
        RoundRecord[] memory all = settledSince(0);
        refuseBecause(IAllianceErrors.NotConsecutive.selector, unlucky, _three(all[0], all[0], all[1]));
        refuseBecause(IAllianceErrors.NotConsecutive.selector, unlucky, _three(all[0], all[1], all[1]));
        refuseBecause(IAllianceErrors.NotConsecutive.selector, unlucky, _three(all[1], all[0], all[1]));
        refuseBecause(IAllianceErrors.NotConsecutive.selector, unlucky, new RoundRecord[](0));
    }

    /// A record could be changed, taken from a void round, or from one that runs.
    function test_suspendSuspected__wrong_records() external {
        joinAll(12);
        address honest = member(5);
        play(honest, Fate.REJECTED);
        uint32 adopted = play(honest, Fate.ADOPTED);
        play(honest, Fate.REJECTED);
        for (uint256 field = 0; field < 4; ++field) {
            RoundRecord[] memory all = settledSince(0);
            if (field == 0) all[1].outcomes = 0xa;
            if (field == 1) all[1].seed = all[0].seed;
            if (field == 2) all[1].survivors[0] = 0;
            if (field == 3) all[1].trainerRewards = new uint96[](1);
            refuse(abi.encodeWithSelector(IAllianceErrors.WrongRecord.selector, adopted), honest, all);
        }
        voidNow();
        uint32 voided = state().round - 1;
        play(honest, Fate.REJECTED);
        RoundRecord[] memory records = settledSince(adopted);
        refuseRun(2, honest, records);
        records[0] = records[1];
        records[1].round = voided;
        bytes memory error = abi.encodeWithSelector(IAllianceErrors.WrongRecord.selector, voided);
        refuse(error, honest, _three(records[0], records[1], records[2]));
        RoundRecord[] memory running = settledSince(0);
        running[running.length - 1].round = state().round;
        refuseBecause(IAllianceErrors.NotConsecutive.selector, honest, running);
    }

    /// Records of another alliance in which the same owner was rejected would count.
    function test_suspendSuspected__record_of_another_alliance() external {
        joinAll(12);
        address owner = member(5);
        playMany(owner, Fate.REJECTED, BOUND);
        RoundRecord[] memory foreign = settledSince(0);
        uint32 last = foreign[BOUND - 1].round;
        alliance = create(params, 1);
        joinAll(12);
        while (state().round < last) voidNow();
        playRound(ALL, YES); // the same number is the last settled one here
        refuse(abi.encodeWithSelector(IAllianceErrors.WrongRecord.selector, foreign[0].round), owner, foreign);
    }

    function _three(RoundRecord memory a, RoundRecord memory b, RoundRecord memory c)
        private
        pure
        returns (RoundRecord[] memory list)
    {
        list = new RoundRecord[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }

    /* TENURES */

    /// Whoever was suspended would come back with the same stake, or could not come back with another.
    function test_reactivate__suspected() external {
        joinAll(12);
        address poisoner = member(5);
        playMany(poisoner, Fate.REJECTED, BOUND);
        alliance.suspendSuspected(poisoner, settledSince(0));
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(IAllianceErrors.SeatIsSuspected.selector);
            vm.prank(poisoner);
            alliance.reactivate(maskKey(5, 1));
            playRound(ALL, YES);
        }
        vm.warp(block.timestamp + 120);
        vm.prank(poisoner);
        alliance.withdraw();
        check(!suspectedNow(poisoner), "the tenure is over");
        eq(token.balanceOf(poisoner), params.seatStake, "with the whole stake");
        vm.expectRevert(IAllianceErrors.NotSuspended.selector);
        vm.prank(poisoner);
        alliance.reactivate(maskKey(5, 1));
        join(5, 1);
        check(!suspectedNow(poisoner), "joined anew");
        eq(alliance.seatCount(), 12, "seated");
        requireConserved();
    }

    /// The run of a tenure that ended would suspend the next one.
    function test_suspendSuspected__tenures() external {
        joinAll(12);
        address owner = member(5);
        playMany(owner, Fate.REJECTED, BOUND);
        vm.prank(owner);
        alliance.leave();
        refuseBecause(IAllianceErrors.AlreadyLeaving.selector, owner, settledSince(0));
        playRound(ALL, UNAVAILABLE);
        vm.warp(block.timestamp + 120);
        vm.prank(owner);
        alliance.withdraw();
        join(5, 1);
        RoundRecord[] memory all = settledSince(0);
        refuse(abi.encodeWithSelector(IAllianceErrors.RoundBeforeTenure.selector, all[0].round), owner, all);
        voidNow(); // the last one without it
        play(owner, Fate.REJECTED);
        for (uint32 first = 0; first < tenureOf(owner); ++first) {
            if (!isSettled(first)) continue;
            refuse(abi.encodeWithSelector(IAllianceErrors.RoundBeforeTenure.selector, first), owner, settledSince(first));
        }
        refuseRun(1, owner, settledSince(tenureOf(owner)));
        playMany(owner, Fate.REJECTED, BOUND - 1);
        alliance.suspendSuspected(owner, settledSince(tenureOf(owner)));
        check(suspectedNow(owner), "the new tenure's own run");
    }

    /// A poisoner would clear itself by sleeping for two rounds, being suspended and coming back.
    function test_suspendSuspected__goes_on_after_a_reactivation() external {
        joinAll(12);
        address poisoner = member(5);
        playMany(poisoner, Fate.REJECTED, BOUND - 1);
        playWithout(poisoner);
        playWithout(poisoner);
        RoundRecord[] memory all = settledSince(0);
        alliance.suspend(poisoner, all[all.length - 2], all[all.length - 1]);
        refuseBecause(IAllianceErrors.AlreadyLeaving.selector, poisoner, all);
        playRound(ALL, UNAVAILABLE); // its seat goes at the end
        playRound(ALL, YES); // without it
        vm.prank(poisoner);
        alliance.reactivate(maskKey(5, 1));
        refuseRun(BOUND - 1, poisoner, settledSince(0)); // seated, and not drawn yet
        playRound(ALL, YES);
        play(poisoner, Fate.REJECTED);
        alliance.suspendSuspected(poisoner, settledSince(0));
        vm.expectRevert(IAllianceErrors.SeatIsSuspected.selector);
        vm.prank(poisoner);
        alliance.reactivate(maskKey(5, 2));
    }

    /// A poisoner would hide for ever behind absences that suspend it before its run is full.
    function test_suspendSuspected__after_coming_back() external {
        joinAll(12);
        address poisoner = member(5);
        playMany(poisoner, Fate.REJECTED, BOUND);
        playWithout(poisoner);
        playWithout(poisoner);
        RoundRecord[] memory all = settledSince(0);
        alliance.suspend(poisoner, all[all.length - 2], all[all.length - 1]);
        playRound(ALL, UNAVAILABLE);
        vm.prank(poisoner);
        alliance.reactivate(maskKey(5, 1));
        alliance.suspendSuspected(poisoner, settledSince(0));
        check(suspectedNow(poisoner), "at once");
    }

    /// Whoever was slashed would be let go twice, or a suspicion would hide it from evidence.
    function test_suspendSuspected__slashed() external {
        joinAll(12);
        (address first, address second) = (member(5), member(6));
        playMany(first, Fate.REJECTED, BOUND);
        slashFor(first, settledSince(0)[0].round);
        refuseBecause(IAllianceErrors.AlreadyLeaving.selector, first, settledSince(0));
        playMany(second, Fate.REJECTED, BOUND);
        alliance.suspendSuspected(second, settledSince(0));
        slashFor(second, settledSince(0)[0].round);
        (,,,,, bool slashed,, bool suspected) = alliance.getMember(second);
        check(slashed && suspected, "both");
        vm.expectRevert(IAllianceErrors.SeatIsSuspected.selector);
        vm.prank(second);
        alliance.reactivate(maskKey(6, 1));
        playRound(ALL, YES);
        playRound(ALL, YES);
        eq(alliance.seatCount(), 10, "both are gone");
        requireConserved();
    }

    /* PHASES */

    /// A suspected seat could never be removed while the alliance waits, and would count for the next opening.
    function test_suspendSuspected__while_waiting() external {
        joinAll(11);
        address poisoner = member(5);
        playMany(poisoner, Fate.REJECTED, BOUND - 1);
        for (uint256 i = 6; i < 9; ++i) {
            vm.prank(member(i));
            alliance.leave();
        }
        play(poisoner, Fate.REJECTED);
        eq(state().phase, 0, "waits");
        RoundRecord[] memory all = settledSince(0);
        vm.expectEmit();
        emit IAllianceEvents.SeatSuspected(5, poisoner, all[0].round, all[BOUND - 1].round);
        vm.expectEmit();
        emit IAllianceEvents.SeatRemoved(5, poisoner, uint64(block.timestamp) + 120);
        alliance.suspendSuspected(poisoner, all);
        eq(alliance.seatCount(), 7, "removed at once");
        vm.expectRevert(IAllianceErrors.SeatIsSuspected.selector);
        vm.prank(poisoner);
        alliance.reactivate(maskKey(5, 1));
        join(20, 0);
        join(21, 0);
        eq(state().phase, 1, "opened without it");
    }

    /// A stranger would be suspended, or a closed alliance change.
    function test_suspendSuspected__nobody_and_closed() external {
        params.roundCount = 4;
        alliance = create(params, 1);
        joinAll(12);
        playMany(member(5), Fate.REJECTED, 3);
        refuseBecause(IAllianceErrors.NotSeated.selector, stranger, settledSince(0));
        play(member(5), Fate.REJECTED);
        eq(state().phase, 4, "closed");
        refuseBecause(IAllianceErrors.AllianceIsClosed.selector, member(5), settledSince(0));
    }

    /// A suspicion would keep a stake from its owner when the alliance closes before the seat is removed.
    function test_withdraw__suspected_before_closing() external {
        params.roundCount = 4;
        alliance = create(params, 1);
        joinAll(12);
        playMany(member(5), Fate.REJECTED, 3);
        alliance.suspendSuspected(member(5), settledSince(0));
        playRound(ALL, YES);
        eq(state().phase, 4, "closed");
        vm.warp(block.timestamp + 120);
        vm.prank(member(5));
        alliance.withdraw();
        eq(token.balanceOf(member(5)), params.seatStake, "whole");
        check(!suspectedNow(member(5)), "cleared");
    }

    /* ANY HISTORY */

    /// Some choice of the window would show more rejections in a row than there were, or less than all show.
    /// forge-config: default.fuzz.runs = 24
    function testFuzz_suspendSuspected__any_window(uint256 random) external {
        joinAll(12);
        address owner = member(5);
        uint256 run = 0;
        for (uint256 i = 0; i < 7; ++i) {
            // Mostly rejected: 9 of 16.
            uint256 kind = random >> 4 * i & 15;
            Fate fate = kind < 7 ? Fate(kind) : Fate.REJECTED;
            play(owner, fate);
            if (fate == Fate.ADOPTED) run = 0;
            if (fate == Fate.REJECTED) ++run;
        }
        RoundRecord[] memory all = settledSince(0);
        uint256 before = type(uint256).max;
        for (uint256 skipped = 0; skipped < all.length; ++skipped) {
            uint256 shown = _shown(owner, settledSince(all[skipped].round));
            check(shown <= before, "a later window shows more");
            if (skipped == 0) eq(shown, run < BOUND ? run : BOUND, "all records show the run");
            before = shown;
        }
    }

    /// The run that these records show, BOUND for more.
    function _shown(address owner, RoundRecord[] memory records) private returns (uint256 run) {
        uint256 id = snapshot();
        try alliance.suspendSuspected(owner, records) {
            run = BOUND;
        } catch (bytes memory error) {
            check(bytes4(error) == IAllianceErrors.NotSuspected.selector, "refused for another reason");
            assembly ("memory-safe") {
                run := mload(add(error, 36))
            }
        }
        vm.revertToState(id);
    }
}
