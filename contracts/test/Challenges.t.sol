// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RoundRecord, SealStatement, Statement} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {IChallenges} from "../src/interfaces/IChallenges.sol";
import {EvidenceTest} from "./EvidenceTest.sol";

/// Challenges of absence: who may be challenged, what answers, what an unanswered one takes, and P6 on every path.
contract ChallengesTest is EvidenceTest {
    uint256 private constant STAKE = 100 ether + 3;
    uint256 private constant CUT = 1 ether; // a hundredth, rounded down
    address private challenger = vm.addr(0xCA);

    function setUp() public override {
        super.setUp();
        (params.absenceSlashBps, params.unbondingSeconds, params.roundCount) = (100, 121, 30);
        alliance = create(params, 1);
        joinAll(12);
        token.transfer(challenger, 100 ether);
        vm.prank(challenger);
        token.approve(address(alliance), type(uint256).max);
    }

    /// A survivor of a settled round; `k` of them.
    function _survivor(uint32 round, uint256 k) private returns (address owner) {
        RoundRecord memory r = recordOf(round);
        uint256 found = 0;
        for (uint256 i = 0; i < 15; ++i) {
            owner = member(i);
            if (alliance.getReward(owner, r) == r.trainerRewards[0] && found++ == k) return owner;
        }
        check(false, "no such survivor");
    }

    function _validator(uint32 round) private returns (address owner) {
        RoundRecord memory r = recordOf(round);
        for (uint256 i = 0; i < 15; ++i) {
            owner = member(i);
            if (alliance.getReward(owner, r) == r.validatorRewards[0]) return owner;
        }
    }

    function _challenge(address owner, uint32 round) private {
        RoundRecord memory record = recordOf(round);
        vm.prank(challenger);
        alliance.challengeAbsence(owner, record);
    }

    function _refuse(bytes memory error, address owner, uint32 round) private {
        RoundRecord memory record = recordOf(round);
        vm.expectRevert(error);
        vm.prank(challenger);
        alliance.challengeAbsence(owner, record);
    }

    function _unmasking(address owner, SealStatement memory seal) private view returns (Statement memory) {
        return said(owner, seal.round, 2, unmaskingOf(hashOf(seal), 2, 1, "share"));
    }

    function _deadline(address owner) private view returns (uint64 deadline) {
        (,, deadline) = alliance.getChallenge(owner);
    }

    function _stakeOf(address owner) private view returns (uint256 stake) {
        (,, stake,) = alliance.getStake(owner);
    }

    function _requireAccounts(uint256 stakes, uint256 pool, uint256 owed) private view {
        (uint256 stakesNow, uint256 poolNow, uint256 owedNow) = alliance.getAccounts();
        eq(stakesNow, stakes, "stakes");
        eq(poolNow, pool, "pool");
        eq(owedNow, owed, "owed");
        requireConserved();
    }

    /* THE TWO ENDS OF A CHALLENGE */

    /// An accused that did its part would lose something, or the bond would vanish.
    function test_challengeAbsence__answered() external {
        playRound(ALL, YES);
        address accused = _survivor(0, 0);
        SealStatement memory seal = sealedIn(0);
        (uint256 stakes, uint256 pool, uint256 owed) = alliance.getAccounts();
        RoundRecord memory record = recordOf(0);
        vm.expectEmit();
        emit IAllianceEvents.AbsenceChallenged(accused, 0, challenger, uint64(block.timestamp) + 60);
        vm.prank(challenger);
        alliance.challengeAbsence(accused, record);
        (uint32 round, address who, uint64 deadline) = alliance.getChallenge(accused);
        check(round == 0 && who == challenger && deadline == block.timestamp + 60, "the open challenge");
        eq(token.balanceOf(challenger), 99 ether, "bond");
        _requireAccounts(stakes, pool, owed + CUT);

        vm.warp(deadline); // in the last second
        Statement memory answer = _unmasking(accused, seal);
        vm.expectEmit();
        emit IAllianceEvents.AbsenceAnswered(accused, 0, answer.body);
        vm.prank(stranger); // anyone may post it
        alliance.answerAbsence(accused, seal, answer);
        eq(alliance.getCredit(accused), CUT, "the bond is the accused's");
        eq(alliance.getCredit(challenger), 0, "nothing for the challenger");
        eq(_stakeOf(accused), STAKE, "the stake is whole");
        _requireAccounts(stakes, pool, owed + CUT);
        (round, who, deadline) = alliance.getChallenge(accused);
        check(round == 0 && who == address(0) && deadline == 0, "closed");
        vm.prank(accused);
        alliance.claim();
        eq(token.balanceOf(accused), CUT, "paid");
        _requireAccounts(stakes, pool, owed);

        vm.expectRevert(IChallenges.NoOpenChallenge.selector);
        alliance.answerAbsence(accused, seal, answer);
        vm.expectRevert(IChallenges.NoOpenChallenge.selector);
        alliance.slashAbsence(accused);
        _refuse(abi.encodePacked(IChallenges.AlreadyChallenged.selector), accused, 0);
    }

    /// Bonds of several answers would not add up. A mutant that credits by exclusive or found no test in its way.
    function test_answerAbsence__credits_add_up() external {
        playRound(ALL, YES);
        playRound(ALL, YES);
        address accused;
        for (uint256 i = 0; i < 12; ++i) {
            accused = member(i);
            bool first = rewardOf(accused, 0) == recordOf(0).trainerRewards[0];
            if (first && rewardOf(accused, 1) == recordOf(1).trainerRewards[0]) break;
        }
        for (uint32 round = 0; round < 2; ++round) {
            _challenge(accused, round);
            SealStatement memory seal = sealedIn(round);
            alliance.answerAbsence(accused, seal, _unmasking(accused, seal));
        }
        eq(alliance.getCredit(accused), 2 * CUT, "both bonds");
        requireConserved();
    }

    /// Silence would be free, cost more than the parameters say, or pay a challenger for more than its risk.
    function test_slashAbsence__unanswered() external {
        playRound(ALL, YES);
        address accused = _survivor(0, 0);
        SealStatement memory seal = sealedIn(0);
        (uint256 stakes, uint256 pool, uint256 owed) = alliance.getAccounts();
        _challenge(accused, 0);
        uint64 deadline = _deadline(accused);
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlineNotPassed.selector, deadline));
        alliance.slashAbsence(accused);
        vm.warp(deadline + 1);
        Statement memory late = _unmasking(accused, seal);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlinePassed.selector, deadline));
        alliance.answerAbsence(accused, seal, late);
        (, uint16 seat,,) = alliance.getStake(accused);
        vm.expectEmit();
        emit IAllianceEvents.Slashed(accused, seat, 0, 6, uint128(CUT), challenger);
        vm.prank(stranger);
        alliance.slashAbsence(accused);
        eq(_stakeOf(accused), STAKE - CUT, "a hundredth");
        eq(alliance.getCredit(challenger), CUT + CUT / 10, "bond and a tenth");
        eq(alliance.getCredit(stranger), 0, "nothing for who sends it");
        _requireAccounts(stakes - CUT, pool + CUT * 9 / 10, owed + CUT + CUT / 10);
        (bool seated,,,,, bool slashed,,) = alliance.getMember(accused);
        check(seated && !slashed, "the seat stays, and the provable slash is another matter");
        vm.prank(challenger);
        alliance.claim();
        eq(token.balanceOf(challenger), 100 ether + CUT / 10, "bond back");
        requireConserved();
        vm.expectRevert(IChallenges.NoOpenChallenge.selector);
        alliance.slashAbsence(accused);
        _refuse(abi.encodePacked(IChallenges.AlreadyChallenged.selector), accused, 0);
        slashFor(accused, 0); // a tenth of what is left
        eq(_stakeOf(accused), STAKE - CUT - (STAKE - CUT) / 10, "both");
        requireConserved();
    }

    /// A member could be bled to nothing by silence in round after round, or a new tenure would inherit the count.
    function test_slashAbsence__three_times_in_a_tenure() external {
        uint256[] memory rounds = new uint256[](4);
        address accused = member(5);
        uint256 n = 0;
        uint256 stake = STAKE;
        while (n < 4) {
            playRound(ALL, YES);
            uint32 last = state().round - 1;
            if (rewardOf(accused, last) != recordOf(last).trainerRewards[0]) continue;
            rounds[n++] = last;
            if (n == 4) break;
            _challenge(accused, last);
            vm.warp(_deadline(accused) + 1);
            alliance.slashAbsence(accused);
            stake -= stake / 100;
            eq(_stakeOf(accused), stake, "a hundredth of what is left");
            if (block.timestamp > state().sealDeadline) alliance.voidRound(state().round);
        }
        _refuse(abi.encodePacked(IChallenges.AbsenceSlashesSpent.selector), accused, uint32(rounds[3]));
        requireConserved();

        vm.prank(accused);
        alliance.leave();
        playRound(ALL, YES);
        vm.warp(block.timestamp + 121);
        vm.prank(accused);
        alliance.withdraw();
        alliance.voidRound(state().round);
        join(5, 1);
        alliance.voidRound(_passed());
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotSlashable.selector, accused), accused, uint32(rounds[3]));
        while (true) {
            playRound(ALL, YES);
            uint32 last = state().round - 1;
            if (rewardOf(accused, last) != recordOf(last).trainerRewards[0]) continue;
            _challenge(accused, last);
            break;
        }
        check(_deadline(accused) != 0, "in the new tenure");
    }

    function _passed() private returns (uint32) {
        vm.warp(state().sealDeadline + 1);
        return state().round;
    }

    /* WHO MAY BE CHALLENGED */

    /// Members of alliances that did not ask for challenges would have to watch for them.
    function test_challengeAbsence__off() external {
        params.absenceSlashBps = 0;
        alliance = create(params, 1);
        joinAll(11);
        playRound(ALL, YES);
        _refuse(abi.encodePacked(IChallenges.ChallengesAreOff.selector), member(0), 0);
        (, address who, uint64 deadline) = alliance.getChallenge(member(0));
        check(who == address(0) && deadline == 0, "none");
    }

    /// Somebody could be made to answer for a round in which it had nothing to send.
    function test_challengeAbsence__not_a_survivor() external {
        vm.warp(state().opensAt);
        address dropout = ownerAt(3 + 2);
        playRound(ALL & ~uint256(4), YES);
        bytes memory error = abi.encodeWithSelector(IChallenges.NotSurvivor.selector, uint32(0));
        _refuse(error, dropout, 0);
        _refuse(error, _validator(0), 0);
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotSlashable.selector, stranger), stranger, 0);
        join(12, 0); // counts from round 2
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotSlashable.selector, member(12)), member(12), 0);
        playRound(ALL, YES);
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotSlashable.selector, member(12)), member(12), 1);
    }

    /// A survivor of a cohort that must not be opened would have to show its shares, or pay.
    function test_challengeAbsence__void_cohort() external {
        check(params.threshold == 3 && params.collusionBound == 0, "three survivors open a cohort");
        vm.warp(state().opensAt);
        (address first, address second) = (ownerAt(3 + 3), ownerAt(3 + 4)); // the last of 0..3, the first of 4..8
        playRound(ALL & ~uint256(3), YES);
        eq(recordOf(0).trainerRewards[0], 0, "void");
        _refuse(abi.encodePacked(IChallenges.CohortIsVoid.selector), first, 0);
        _challenge(second, 0);
        alliance.answerAbsence(second, sealedIn(0), _unmasking(second, sealedIn(0)));

        vm.warp(state().opensAt);
        (first, second) = (ownerAt(3 + 3), ownerAt(3 + 4));
        playRound(ALL & ~uint256(0x1c1), YES); // three of the first cohort, two of the second
        eq(recordOf(1).trainerRewards[1], 0, "void");
        _refuse(abi.encodePacked(IChallenges.CohortIsVoid.selector), second, 1);
        _challenge(first, 1);
        requireConserved();
    }

    /// Somebody could be challenged for a round that never was, or with survivors of its accuser's making.
    function test_challengeAbsence__wrong_record() external {
        vm.warp(state().opensAt);
        address dropout = ownerAt(3 + 2);
        playRound(ALL & ~uint256(4), YES);
        RoundRecord memory record = recordOf(0);
        record.survivors[0] |= 4;
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongRecord.selector, uint32(0)));
        vm.prank(challenger);
        alliance.challengeAbsence(dropout, record);
    }

    /// An accused could be asked for messages that it has long forgotten.
    function test_challengeAbsence__old_rounds() external {
        playRound(ALL, YES);
        address accused = _survivor(0, 0);
        for (uint256 i = 0; i < 15; ++i) playRound(ALL, YES);
        eq(state().round, 16, "sixteen rounds later");
        uint256 clean = snapshot();
        _challenge(accused, 0);
        vm.revertToState(clean);
        playRound(ALL, YES);
        _refuse(abi.encodeWithSelector(IChallenges.RoundTooOld.selector, uint32(1)), accused, 0);
    }

    /// Many challenges at once would take more bonds and answers than an accused can watch.
    function test_challengeAbsence__one_at_a_time() external {
        playRound(ALL, YES);
        playRound(ALL, YES);
        address accused;
        for (uint256 i = 0; i < 12; ++i) {
            accused = member(i);
            bool first = rewardOf(accused, 0) == recordOf(0).trainerRewards[0];
            if (first && rewardOf(accused, 1) == recordOf(1).trainerRewards[0]) break;
        }
        _challenge(accused, 0);
        bytes memory error = abi.encodeWithSelector(IChallenges.ChallengeIsOpen.selector, _deadline(accused));
        _refuse(error, accused, 1);
        _refuse(error, accused, 0);
        SealStatement memory seal = sealedIn(0);
        alliance.answerAbsence(accused, seal, _unmasking(accused, seal));
        _challenge(accused, 1);
        // Another one beside.
        address other = _survivor(0, _survivor(0, 0) == accused ? 1 : 0);
        _challenge(other, 0);
        requireConserved();
    }

    /// A challenge would cost its sender nothing, or be open without a bond.
    function test_challengeAbsence__without_approval() external {
        playRound(ALL, YES);
        address accused = _survivor(0, 0);
        RoundRecord memory record = recordOf(0);
        vm.prank(stranger);
        (bool ok,) = address(alliance).call(abi.encodeCall(alliance.challengeAbsence, (accused, record)));
        check(!ok, "challenged for nothing");
        eq(_deadline(accused), 0, "not open");
        requireConserved();
    }

    /* WHAT ANSWERS */

    /// Something else than the unmasking that was due would do, or the right one would not.
    function test_answerAbsence__wrong_answers() external {
        playRound(ALL, YES);
        playRound(ALL, YES);
        address accused = _survivor(0, 0);
        SealStatement memory seal = sealedIn(0);
        SealStatement memory next = sealedIn(1);
        _challenge(accused, 0);
        for (uint256 kind = 0; kind < 11; ++kind) {
            SealStatement memory shown = sealedIn(0);
            Statement memory answer = _unmasking(accused, seal);
            if (kind == 0) answer = said(accused, 0, 1, answer.body); // a contribution
            if (kind == 1) answer = said(accused, 1, 2, answer.body); // of another round
            if (kind == 2) answer = _unmasking(member(14), seal); // of somebody else
            if (kind == 3) answer.signature = malleate(answer.signature);
            if (kind == 4) answer = said(accused, 0, 2, hex"92c420"); // no unmasking
            if (kind == 5) answer = said(accused, 0, 2, unmaskingOf(hashOf(next), 2, 1, "share"));
            if (kind == 6) shown = next;
            if (kind == 7) (shown, answer) = (next, _unmasking(accused, next)); // of another round's seal
            if (kind == 8) shown.seed = next.seed;
            if (kind == 9) {
                shown.seed = next.seed; // a seal of this round, with another seed
                answer = said(accused, 0, 2, unmaskingOf(hashOf(shown), 2, 1, "share"));
            }
            if (kind == 10) shown.leaderView += 1; // not the seal that it answers
            vm.expectRevert(IChallenges.WrongAnswer.selector);
            alliance.answerAbsence(accused, shown, answer);
        }
        alliance.answerAbsence(accused, seal, _unmasking(accused, seal));
    }

    /// A trainer that answered a valid seal which lost the race to the chain would be slashed for having been quick.
    function test_answerAbsence__another_seal_of_the_round() external {
        playRound(ALL, YES);
        address accused = _survivor(0, 0);
        _challenge(accused, 0);
        SealStatement memory other = sealedIn(0);
        (other.leaderView, other.survivors[0], other.manifestDigest) = (2, 0x7f, MODEL);
        alliance.answerAbsence(accused, other, _unmasking(accused, other));
        eq(alliance.getCredit(accused), CUT, "answered");
    }

    /* LEAVING AND CLOSING */

    /// An accused could take its stake away before the deadline.
    function test_withdraw__refused_while_challenged() external {
        playRound(ALL, YES);
        address leaver = _survivor(0, 0);
        vm.prank(leaver);
        alliance.leave();
        playRound(ALL, YES);
        vm.warp(block.timestamp + 121);
        uint256 clean = snapshot();
        _challenge(leaver, 0);
        bytes memory error = abi.encodeWithSelector(IChallenges.ChallengeIsOpen.selector, _deadline(leaver));
        vm.expectRevert(error);
        vm.prank(leaver);
        alliance.withdraw();
        vm.warp(_deadline(leaver) + 1);
        vm.expectRevert(error); // until it is decided; anybody may
        vm.prank(leaver);
        alliance.withdraw();
        alliance.slashAbsence(leaver);
        vm.prank(leaver);
        alliance.withdraw();
        eq(token.balanceOf(leaver), STAKE - CUT, "the rest");
        requireConserved();

        vm.revertToState(clean);
        vm.prank(leaver);
        alliance.withdraw();
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotSlashable.selector, leaver), leaver, 0);
    }

    /// What is slashed after closing would lie in a pool that nobody is paid from.
    function test_slashAbsence__after_closing() external {
        params.roundCount = 1;
        alliance = create(params, 1);
        vm.prank(challenger);
        token.approve(address(alliance), type(uint256).max);
        joinAll(11);
        playRound(ALL, YES);
        eq(state().phase, 4, "closed");
        address accused = _survivor(0, 0);
        uint256 residual = alliance.getCredit(creator);
        _challenge(accused, 0);
        vm.warp(_deadline(accused) + 1);
        alliance.slashAbsence(accused);
        eq(alliance.getCredit(creator) - residual, CUT * 9 / 10, "to whom the residual went");
        (, uint256 pool,) = alliance.getAccounts();
        eq(pool, 0, "no pool any more");
        vm.warp(block.timestamp + 121);
        for (uint256 i = 0; i < 11; ++i) {
            vm.prank(member(i));
            alliance.withdraw();
            claimAs(member(i), recordsOf(0, 1));
        }
        claimAs(address(this), recordsOf(0, 1));
        vm.prank(creator);
        alliance.claim();
        vm.prank(challenger);
        alliance.claim();
        eq(token.balanceOf(address(alliance)), 0, "to the last wei");
    }

    /// Amounts with dust would be created, lost, or exceed what the parameters allow.
    function testFuzz_slashAbsence__amounts(uint128 stake, uint16 bps, bool answers) external {
        params.seatStake = uint128(bound(stake, 1, 1000 ether));
        params.absenceSlashBps = uint16(bound(bps, 1, 100));
        alliance = create(params, 0);
        vm.prank(challenger);
        token.approve(address(alliance), type(uint256).max);
        joinAll(11);
        playRound(ALL, YES);
        address accused = _survivor(0, 0);
        (uint256 stakes, uint256 pool, uint256 owed) = alliance.getAccounts();
        _challenge(accused, 0);
        uint256 cut = uint256(params.seatStake) * params.absenceSlashBps / 10_000;
        if (answers) {
            SealStatement memory seal = sealedIn(0);
            alliance.answerAbsence(accused, seal, _unmasking(accused, seal));
            eq(alliance.getCredit(accused), cut, "bond");
            _requireAccounts(stakes, pool, owed + cut);
        } else {
            vm.warp(_deadline(accused) + 1);
            alliance.slashAbsence(accused);
            eq(_stakeOf(accused), params.seatStake - cut, "stake");
            eq(alliance.getCredit(challenger), cut + cut / 10, "bond and a tenth");
            _requireAccounts(stakes - cut, pool + cut - cut / 10, owed + cut + cut / 10);
        }
    }
}
