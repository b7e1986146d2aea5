// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, JoinRequest, RoundRecord, SealStatement} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IBeacon} from "../src/interfaces/IBeacon.sol";
import {EvidenceTest} from "./EvidenceTest.sol";

/// What the audit of January 2025 found in FLock's contracts, attempted here, each by the one who would gain. The finding's
/// number in that report stands first. Two findings about the staking contracts (rewards uploaded by a privileged key,
/// shares that ignore the time something was delegated) are attempted in test/governance.
contract AuditFindingsTest is EvidenceTest {
    uint256 private constant BUDGET = 1000 ether + 7;

    function setUp() public override {
        super.setUp();
        joinAll(11);
    }

    /* N4, N5: PREDICTABLE RANDOMNESS */

    /// N4, N5. Whoever orders transactions or chooses when to send one would choose who validates: the seed would depend on
    /// the sender, the block or the second, or a seal be made before drand has published its value.
    function test_finding__predictable_randomness() external {
        bytes32 seed = seedNow();
        uint64 opensAt = state().opensAt;
        check(opensAt > block.timestamp, "the value is published after the seats froze");
        vm.warp(opensAt - 1);
        SealCall memory call = sealOf(ALL);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.NotOpenYet.selector, opensAt));
        send(call);
        bytes32 proposed = keccak256("a value that its sender likes");
        uint256 clean = snapshot();
        for (uint256 i = 0; i < 4; ++i) {
            vm.warp(opensAt + 5 * i);
            vm.prank(vm.addr(0x6a5 + i));
            send(call);
            eq(sealedIn(0).seed, seed, "the same for every sender, block and second");
            vm.revertToState(clean);
        }
        vm.warp(opensAt);
        call.beaconSignature = abi.encodePacked(proposed, proposed, proposed);
        call.beaconSignature[0] = 0x01;
        vm.expectRevert(IBeacon.WrongSignature.selector);
        send(call);
        // The next round's seats and beacon round are fixed before its value exists, whenever this one is settled.
        call = sealOf(ALL);
        send(call);
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        clean = snapshot();
        for (uint256 delay = 0; delay < 60; delay += 7) {
            vm.warp(opensAt + delay);
            settle(0, ballots);
            check(beacon.timeOf(state().beaconRound) > block.timestamp, "not yet published");
            vm.revertToState(clean);
        }
    }

    /* N6: COPIED VOTES */

    /// N6. A validator that does not evaluate would copy another's vote: from its commitment, from its opened ballot, or by
    /// bringing the same ballot as its own.
    function test_finding__copied_votes() external {
        sealNow(ALL);
        Ballot memory honest = ballotOf(0, YES);
        honest.salt = keccak256("known to its owner alone");
        Ballot memory third = ballotOf(2, NO);
        CommitCall memory call = commitOf(two(honest, third));
        send(call);
        // The copier sees a hash, and commits to the same.
        CommitCall memory copy = call;
        copy.positions = 2;
        bytes32 seen = call.commitments[0];
        copy.commitments = new bytes32[](1);
        copy.commitments[0] = seen;
        signCommits(copy);
        send(copy);
        Ballot[] memory opened = new Ballot[](3);
        (opened[0], opened[2]) = (honest, third);
        opened[1] = ballotOf(1, YES);
        opened[1].salt = honest.salt; // as if it had been told
        vm.expectRevert(IAllianceErrors.WrongCommitments.selector);
        settle(0, opened);
        // No vote is seen before the last one is committed: the commit phase was over when the first was opened.
        vm.warp(state().revealDeadline + 1);
        settle(0, two(honest, third));
        RoundRecord memory r = recordOf(0);
        check(r.validatorRewards[0] > 0 && r.validatorRewards[1] == 0, "the copier earned nothing");
    }

    /// N6. A vote that was guessed (always yes, what most say) would earn like one that was worked for.
    function test_finding__votes_without_work() external {
        sealNow(ALL);
        Ballot[] memory ballots = ballotsOf(3, YES);
        for (uint256 i = 0; i < 2; ++i) setVerdict(ballots[i], 1, NO, 0); // they looked; the third says yes to all
        playBallots(ballots);
        RoundRecord memory r = recordOf(0);
        eq(r.validatorRewards[2], BUDGET * 4000 / 10_000 / 3, "no bonus");
        eq(r.validatorRewards[0], BUDGET * 4000 / 10_000 / 3 + BUDGET * 1000 / 10_000 / 3 / 2, "one of two peers agrees");
    }

    /* N11: THE POPULAR HASH */

    /// N11. A group that names a digest of its own making would take over the model: by being first, by being most, by
    /// repeating itself in one position, or with the silence of others.
    function test_finding__popular_hash_capture() external {
        bytes32 captured = keccak256("a model of their own");
        sealNow(ALL);
        Ballot[] memory ballots = ballotsOf(3, YES);
        ballots[0].aggregateDigests[0] = captured;
        ballots[0].baseModelDigest = captured;
        setVerdict(ballots[2], 0, UNAVAILABLE, 0);
        playBallots(ballots);
        eq(settlementOf(0).cohortOutcome[0], 0, "most popular with one of two votes, and not adopted");
        eq(recordOf(0).trainerRewards[0], 0, "nobody is paid for it");
        (, bytes32 model) = alliance.getConfirmedModel();
        eq(model, MODEL, "the base model of the other two");

        sealNow(ALL);
        ballots = ballotsOf(3, YES);
        for (uint256 i = 0; i < 2; ++i) ballots[i].aggregateDigests[0] = captured;
        send(commitOf(ballots));
        vm.warp(state().revealDeadline + 1);
        settle(1, two(ballots[0], ballots[2])); // the other capturer is kept out, or keeps silent
        eq(settlementOf(1).cohortOutcome[0], 0, "silence is no consent: the quorum is that of all validators");
    }

    /// N11. One owner would sit on several validators' chairs with one stake, or vote for others.
    function test_finding__sybil_votes() external {
        JoinRequest memory request = requestOf(99, 0);
        vm.expectRevert(IAllianceErrors.AlreadySeated.selector);
        vm.prank(member(0));
        alliance.join(request);
        sealNow(ALL);
        CommitCall memory call = commitOf(ballotsOf(3, YES));
        replaceSignature(call.signatures, 1, signatureAt(call.signatures, 0));
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 1));
        send(call);
    }

    /* N8, N14: SETTLEMENT TIME */

    /// N8, N14. Whoever delays the settlement or the claim would be paid more, or others less.
    function test_finding__settlement_time_changes_rewards() external {
        sealNow(ALL);
        Ballot[] memory ballots = ballotsOf(3, YES);
        setVerdict(ballots[0], 1, NO, 0);
        setVerdict(ballots[1], 1, NO, 0);
        send(commitOf(ballots));
        uint256 clean = snapshot();
        settle(0, ballots);
        bytes memory prompt = abi.encode(recordOf(0));
        vm.revertToState(clean);
        uint256[4] memory delays = [uint256(1), 8, 9, 400 days];
        for (uint256 i = 0; i < delays.length; ++i) {
            vm.warp(block.timestamp + delays[i]);
            settle(0, ballots);
            eq(keccak256(abi.encode(recordOf(0))), keccak256(prompt), "the record is the same");
            vm.revertToState(clean);
        }
        // Rounds later, after closing, years later: the same.
        settle(0, ballots);
        for (uint256 i = 0; i < 3; ++i) playRound(ALL, NO);
        uint256[11] memory due;
        for (uint256 i = 0; i < 11; ++i) due[i] = rewardOf(member(i), 0);
        vm.warp(block.timestamp + 3650 days);
        for (uint256 i = 0; i < 11; ++i) {
            eq(rewardOf(member(i), 0), due[i], "unchanged");
            if (due[i] > 0) eq(claimAs(member(i), recordsOf(0, 1)), due[i], "and paid");
        }
    }

    /* N9: SLASH UNDERFLOW */

    /// N9. Slashes of several rounds and kinds would take more than the stake, and then block every other slash.
    function test_finding__slash_underflow() external {
        (params.absenceSlashBps, params.unbondingSeconds, params.provableSlashBps) = (100, 121, 5000);
        (params.seatStake, params.roundCount) = (3, 20); // every product rounds down to dust
        alliance = create(params, 1);
        joinAll(12);
        for (uint256 i = 0; i < 4; ++i) playRound(ALL, YES);
        address offender = member(5);
        token.approve(address(alliance), type(uint256).max);
        uint256 left = 3;
        uint256 absences = 0;
        for (uint32 r = 0; r < 4 && absences < 3; ++r) {
            if (rewardOf(offender, r) != recordOf(r).trainerRewards[0]) continue;
            alliance.challengeAbsence(offender, recordOf(r));
            (,, uint64 deadline) = alliance.getChallenge(offender);
            vm.warp(deadline + 1);
            alliance.slashAbsence(offender);
            ++absences;
        }
        check(absences > 0, "slashed for absence as well");
        slashFor(offender, 0);
        left -= 1; // half of three, rounded down
        (,, uint128 stake,) = alliance.getStake(offender);
        eq(stake, left, "never more than its part");
        slashFor(member(6), 0); // nobody else is shielded
        (,, stake,) = alliance.getStake(member(6));
        eq(stake, 2, "slashed as well");
        requireConserved();
    }

    /* N3, N12, N13: PHASES */

    /// N3, N12, N13. Somebody could stake into a finished alliance, play more rounds than were paid in, or vote before
    /// there is anything to vote on.
    function test_finding__finished_and_premature() external {
        CommitCall memory premature = commitOf(ballotsOf(3, YES));
        vm.expectRevert(IAllianceErrors.NotSealed.selector);
        send(premature);
        for (uint256 i = 0; i < 4; ++i) playRound(ALL, YES);
        eq(state().phase, 4, "closed after its rounds");
        address late = member(12);
        fund(late);
        JoinRequest memory request = requestOf(12, 0);
        vm.expectRevert(IAllianceErrors.AllianceIsClosed.selector);
        vm.prank(late);
        alliance.join(request);
        vm.expectRevert(IAllianceErrors.AllianceIsClosed.selector);
        send(premature);
    }

    /// N7. A vote that says nothing would keep its author from any consequence and still be paid for judging.
    function test_finding__votes_that_say_nothing() external {
        sealNow(ALL);
        Ballot[] memory ballots = ballotsOf(3, YES);
        setVerdict(ballots[2], 0, UNAVAILABLE, 0);
        setVerdict(ballots[2], 1, UNAVAILABLE, 0);
        for (uint256 i = 0; i < 2; ++i) setVerdict(ballots[i], 1, NO, 0);
        playBallots(ballots);
        RoundRecord memory r = recordOf(0);
        check(r.validatorRewards[2] < r.validatorRewards[0], "no bonus for it");
        check(settlementOf(0).cohortOutcome[0] == 1 && settlementOf(0).votesFor[0] == 2, "and it counts for nothing");
    }

    /* PRIVILEGED UPLOADS */

    /// The staking contracts take rewards from a privileged uploader. Here nobody can set, raise or redirect one: the only
    /// records are those that the settlement hashed.
    function test_finding__privileged_reward_uploads() external {
        playRound(ALL, YES);
        address[4] memory senders = [creator, address(factory), address(beacon), address(token)];
        for (uint256 i = 0; i < 4; ++i) {
            RoundRecord[] memory records = recordsOf(0, 1);
            records[0].settler = senders[i];
            records[0].refund = uint96(BUDGET);
            vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongRecord.selector, uint32(0)));
            vm.prank(senders[i]);
            alliance.claimRounds(records);
            SealStatement memory seal = sealedIn(0);
            vm.prank(senders[i]);
            (bool ok,) = address(alliance).call(
                abi.encodeCall(alliance.settleRound, (seal, "", new bytes32[](0), new Ballot[](0)))
            );
            check(!ok, "settled by privilege");
            vm.prank(senders[i]);
            (ok,) = address(alliance).call(abi.encodeWithSignature("initialize(uint256)", 1));
            check(!ok, "initialized again");
        }
        requireConserved();
    }
}
