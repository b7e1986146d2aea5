// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, JoinRequest, RoundRecord, RoundState} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {AllianceTest} from "./AllianceTest.sol";

contract SettleTest is AllianceTest {
    function setUp() public override {
        super.setUp();
        joinAll(11);
        sealNow(ALL);
    }

    function _requireOutcome(
        uint32 round,
        uint8[2] memory outcomes,
        bytes32[2] memory digests,
        uint8[2] memory yes,
        uint8[2] memory no
    ) private {
        Settlement memory s = settlementOf(round);
        eq(s.cohortOutcome.length, 2, "two cohorts");
        for (uint256 c = 0; c < 2; ++c) {
            eq(s.cohortOutcome[c], outcomes[c], "outcome");
            eq(s.aggregateDigests[c], digests[c], "leading digest");
            eq(s.votesFor[c], yes[c], "votes for");
            eq(s.votesAgainst[c], no[c], "votes against");
        }
        eq(s.record.outcomes, outcomes[0] | uint256(outcomes[1]) << 2, "the record's outcomes");
    }

    function _requireAdopted(uint32 round, uint8 votes) private {
        _requireOutcome(round, [1, 1], [digestOf(0), digestOf(1)], [votes, votes], [0, 0]);
        eq(settlementOf(round).baseModelDigest, MODEL, "base model");
    }

    function _refuse(bytes memory error, SettleCall memory call) private {
        vm.expectRevert(error);
        send(call);
    }

    function _wrongCommitments() private pure returns (bytes memory) {
        return abi.encodePacked(IAllianceErrors.WrongCommitments.selector);
    }

    function _committed(uint256 count) private returns (Ballot[] memory ballots) {
        ballots = ballotsOf(count, YES);
        send(commitOf(ballots));
    }

    /* OUTCOMES */

    /// An agreed aggregate would not be adopted, or the next round would not open.
    function test_settleRound__all_reveal_at_once() external {
        Ballot[] memory ballots = _committed(3);
        SettleCall memory call = settleOf(0, ballots);
        vm.prank(stranger);
        send(call);
        _requireAdopted(0, 3);
        check(!settlementOf(0).closed, "goes on");
        RoundState memory s = state();
        eq(s.round, 1, "next round");
        eq(s.phase, 1, "open");
        eq(s.settledRoundCount, 1, "settled");
        eq(s.seal, 0, "seal of the new round");
        eq(s.sealedAt, 0, "not sealed");
        eq(s.committedPositions, 0, "commitments of the new round");
        (uint32 round, bytes32 model) = alliance.getConfirmedModel();
        check(round == 0 && model == MODEL, "confirmed model");
    }

    /// Members could not claim from the log alone, or would find somebody else named for a refund.
    function test_settleRound__record() external {
        bytes32 seed = seedNow();
        Ballot[] memory ballots = ballotsOf(3, YES);
        CommitCall memory commits = commitOf(ballots);
        vm.prank(vm.addr(72));
        send(commits);
        SettleCall memory call = settleOf(0, ballots);
        vm.prank(vm.addr(73));
        send(call);
        RoundRecord memory r = recordOf(0);
        eq(r.round, 0, "round");
        eq(r.seatCount, 11, "seats");
        eq(r.revealed, 7, "revealed");
        eq(r.seed, seed, "seed");
        check(r.survivors.length == 1 && r.survivors[0] == 0xff, "survivors");
        check(r.trainerRewards.length == 2 && r.validatorRewards.length == 3, "one for each cohort and validator");
        eq(r.sealer, address(this), "sealer");
        eq(r.committer, vm.addr(72), "committer");
        eq(r.settler, vm.addr(73), "settler");
    }

    /// Nodes could not rebuild history (grades, verdicts, scores, who named the model) from the one log of a settlement.
    function test_settleRound__marks() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        for (uint32 i = 0; i < 3; ++i) setScore(ballots[i], 500_000 + i);
        ballots[0].baseModelDigest = keccak256("another model");
        setVerdict(ballots[1], 1, NO, 0);
        ballots[2].aggregateDigests[0] = keccak256("another sum");
        setVerdict(ballots[2], 0, YES, 15);
        send(commitOf(ballots));
        settle(0, ballots);
        uint256[] memory marks = settlementOf(0).marks;
        eq(marks.length, 3, "of every revealed position");
        // Bit 144: its model leads; bits 145 and 146: its digest leads in cohort 0 and 1.
        eq(marks[0], ballots[0].marks | uint256(6) << 144, "first");
        eq(marks[1], ballots[1].marks | uint256(3) << 144, "second: a no names no digest");
        eq(marks[2], ballots[2].marks | uint256(5) << 144, "third");
    }

    /// A verdict would need all validators, or be reached by a minority; validators that want something else would be counted.
    function test_settleRound__verdicts() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        setVerdict(ballots[1], 1, NO, 0); // yes to cohort 0, no to cohort 1
        setVerdict(ballots[2], 0, NO, 0); // no to both
        setVerdict(ballots[2], 1, NO, 0);
        send(commitOf(ballots));
        settle(0, ballots);
        _requireOutcome(0, [1, 2], [digestOf(0), digestOf(1)], [2, 1], [1, 2]);
    }

    /// Yes votes for different aggregates would add up.
    function test_settleRound__divided_yes_is_undecided() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        ballots[0].aggregateDigests[0] = keccak256("another sum");
        setVerdict(ballots[1], 0, UNAVAILABLE, 0);
        setVerdict(ballots[2], 1, UNAVAILABLE, 0);
        ballots[1].baseModelDigest = keccak256("another model");
        ballots[2].baseModelDigest = 0;
        send(commitOf(ballots));
        settle(0, ballots);
        // Cohort 0: one yes each for two digests; the one counted first leads.
        _requireOutcome(0, [0, 1], [keccak256("another sum"), digestOf(1)], [1, 2], [0, 0]);
        eq(settlementOf(0).baseModelDigest, 0, "no model has a quorum");
        (, bytes32 model) = alliance.getConfirmedModel();
        eq(model, 0, "none confirmed");
    }

    /// Counts of an earlier round would decide a later one.
    function test_settleRound__counts_start_from_nothing() external {
        Ballot[] memory ballots = _committed(3);
        settle(0, ballots);
        sealNow(ALL);
        ballots = ballotsOf(3, UNAVAILABLE);
        for (uint256 i = 0; i < 3; ++i) ballots[i].baseModelDigest = 0;
        send(commitOf(ballots));
        settle(1, ballots);
        _requireOutcome(1, [0, 0], [bytes32(0), bytes32(0)], [0, 0], [0, 0]);
        eq(settlementOf(1).baseModelDigest, 0, "base model");
        (uint32 round, bytes32 model) = alliance.getConfirmedModel();
        check(round == 0 && model == MODEL, "the last confirmed model stays");
    }

    /// An aggregate over too few owners would be adopted by vote.
    function test_settleRound__void_cohort() external {
        Ballot[] memory ballots = _committed(3);
        settle(0, ballots);
        sealNow(0x3f); // cohort 1 has two survivors
        ballots = _committed(3);
        settle(1, ballots);
        _requireOutcome(1, [1, 3], [digestOf(0), digestOf(1)], [3, 3], [0, 0]);
        eq(recordOf(1).trainerRewards[1], 0, "and pays nobody");
    }

    /// A cohort from which fewer than t shares can come would be adopted: a threshold above c + 3 counts as well.
    function test_settleRound__void_below_the_threshold() external {
        (params.threshold, params.seatCountMin) = (4, 11);
        alliance = create(params, 1);
        joinAll(11);
        sealNow(0x7f); // three of four in cohort 1
        playBallots(ballotsOf(3, YES));
        _requireOutcome(0, [1, 3], [digestOf(0), digestOf(1)], [3, 3], [0, 0]);
    }

    /* IN PIECES */

    /// A validator that stays silent after committing would stall the round, or be counted for something.
    function test_settleRound__unrevealed_abstains() external {
        Ballot[] memory ballots = _committed(3);
        Ballot[] memory first = two(ballots[0], ballots[2]);
        vm.expectEmit();
        emit IAllianceEvents.BallotsRecorded(0, first);
        settle(0, first);
        eq(state().revealedPositions, 5, "recorded");
        eq(state().round, 0, "not settled");
        uint64 deadline = state().revealDeadline;
        bytes memory tooEarly = abi.encodeWithSelector(IAllianceErrors.DeadlineNotPassed.selector, deadline);
        _refuse(tooEarly, settleOf(0, new Ballot[](0)));
        vm.warp(deadline);
        _refuse(tooEarly, settleOf(0, first)); // known already
        _refuse(tooEarly, settleOf(0, one(ballots[0])));
        vm.warp(deadline + 1);
        settle(0, first);
        _requireAdopted(0, 2);
        eq(recordOf(0).revealed, 5, "positions");
        eq(recordOf(0).validatorRewards[1], 0, "silence earns nothing");
        eq(state().round, 1, "settled");
    }

    /// Nobody could end a round in which nobody opened a vote.
    function test_settleRound__nobody_reveals() external {
        _committed(3);
        vm.warp(state().revealDeadline + 1);
        settle(0, new Ballot[](0));
        _requireOutcome(0, [0, 0], [bytes32(0), bytes32(0)], [0, 0], [0, 0]);
        RoundRecord memory r = recordOf(0);
        check(r.revealed == 0 && r.settler == address(0), "no refund for the settler");
        check(r.committer == address(this) && r.sealer == address(this), "the others led to a quorum");
        eq(settlementOf(0).marks.length, 0, "no marks");
        requireConserved();
    }

    /// A chain outage over the reveal phase would throw a finished round away.
    function test_settleRound__late_call_brings_ballots() external {
        Ballot[] memory ballots = _committed(3);
        vm.warp(state().revealDeadline + 1000);
        settle(0, ballots);
        _requireAdopted(0, 3);
    }

    /// Ballots that come in several transactions would be counted differently, or twice.
    function test_settleRound__in_pieces() external {
        Ballot[] memory ballots = _committed(3);
        settle(0, one(ballots[2]));
        settle(0, one(ballots[0]));
        settle(0, ballots);
        _requireAdopted(0, 3);
    }

    /// Whoever ends a round could leave out votes that were opened, and decide with the rest.
    function test_settleRound__missing_ballot() external {
        Ballot[] memory ballots = _committed(3);
        settle(0, two(ballots[0], ballots[2]));
        vm.warp(state().revealDeadline + 1);
        Ballot[][4] memory tries =
            [new Ballot[](0), one(ballots[0]), two(ballots[0], ballots[1]), two(ballots[1], ballots[2])];
        uint256[4] memory missing = [uint256(0), 2, 2, 0];
        for (uint256 i = 0; i < 4; ++i) {
            _refuse(abi.encodeWithSelector(IAllianceErrors.MissingBallot.selector, missing[i]), settleOf(0, tries[i]));
        }
        settle(0, ballots);
        _requireAdopted(0, 3);
    }

    /// The last reveal would end the round without the votes that were opened before it.
    function test_settleRound__missing_ballot_in_the_last_reveal() external {
        Ballot[] memory ballots = _committed(3);
        settle(0, two(ballots[0], ballots[2]));
        _refuse(abi.encodeWithSelector(IAllianceErrors.MissingBallot.selector, 0), settleOf(0, one(ballots[1])));
        settle(0, ballots);
        _requireAdopted(0, 3);
    }

    /// A round would be settled twice, and paid twice.
    function test_settleRound__twice() external {
        Ballot[] memory ballots = _committed(3);
        SettleCall memory call = settleOf(0, ballots);
        send(call);
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongRound.selector, uint32(1)), call);
    }

    /* WHAT MUST BE SHOWN */

    /// A vote would be counted that was not committed, or was changed after the commitment.
    function test_settleRound__ballot_is_not_the_committed_one() external {
        _committed(3);
        for (uint256 change = 0; change < 7; ++change) {
            Ballot memory ballot = ballotOf(1, YES);
            if (change == 0) setVerdict(ballot, 0, NO, 0);
            if (change == 1) ballot.aggregateDigests[1] = MODEL;
            if (change == 2) ballot.baseModelDigest = MANIFEST;
            if (change == 3) ballot.salt = 0;
            if (change == 4) setVerdict(ballot, 1, YES, 4);
            if (change == 5) setScore(ballot, 1);
            if (change == 6) ballot = _moved(ballotOf(0, YES), 1);
            _refuse(_wrongCommitments(), settleOf(0, one(ballot)));
        }
    }

    function _moved(Ballot memory ballot, uint16 position) private pure returns (Ballot memory) {
        setPosition(ballot, position);
        return ballot;
    }

    /// Somebody could settle under a seal that is not the round's: other survivors would be paid.
    function test_settleRound__another_seal() external {
        Ballot[] memory ballots = _committed(3);
        for (uint256 field = 0; field < 6; ++field) {
            SettleCall memory call = settleOf(0, ballots);
            if (field == 0) call.seal.leaderView += 1;
            if (field == 1) call.seal.beaconRound += 1;
            if (field == 2) call.seal.seed = MODEL;
            if (field == 3) call.seal.manifestDigest = MODEL;
            if (field == 4) call.seal.survivors[0] -= 1;
            if (field == 5) call.seal.survivors = new uint256[](0);
            _refuse(abi.encodePacked(IAllianceErrors.WrongSeal.selector), call);
        }
    }

    /// The chain would take another order of commitments than the one it hashed, or miss one.
    function test_settleRound__wrong_order() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(one(ballots[1])));
        send(commitOf(two(ballots[0], ballots[2])));
        bytes[7] memory orders =
            [bytes(hex"000102"), hex"010200", hex"0100", hex"", hex"01000200", hex"010003", hex"010000"];
        for (uint256 i = 0; i < orders.length; ++i) {
            SettleCall memory call = settleOf(0, ballots);
            call.order = orders[i];
            _refuse(_wrongCommitments(), call);
        }
        SettleCall memory right = settleOf(0, ballots);
        eq(keccak256(right.order), keccak256(hex"010002"), "in the order in which the chain took them");
        send(right);
        _requireAdopted(0, 3);
    }

    /// A ballot could be passed off as unopened, or commitments that nobody made be slipped in.
    function test_settleRound__wrong_unopened() external {
        Ballot[] memory ballots = _committed(3);
        bytes32 known = commitmentOf(ballots[1]);
        bytes32 second = commitmentOf(ballots[2]);
        vm.warp(state().revealDeadline + 1);
        SettleCall memory call = settleOf(0, one(ballots[0]));
        check(call.unopened[0] == known && call.unopened[1] == second, "two are unopened");
        call.unopened[1] = MODEL;
        _refuse(_wrongCommitments(), call);
        (call.unopened[0], call.unopened[1]) = (second, known);
        _refuse(_wrongCommitments(), call);
        call.unopened = new bytes32[](1);
        call.unopened[0] = known;
        _refuse(_wrongCommitments(), call);
        call.unopened = new bytes32[](0);
        _refuse(_wrongCommitments(), call);
        call.unopened = new bytes32[](3);
        (call.unopened[0], call.unopened[1]) = (known, second);
        _refuse(_wrongCommitments(), call);
        send(settleOf(0, one(ballots[0])));
        eq(state().settledRoundCount, 1, "settled");
    }

    /// Whoever knows an opening is as good as its owner: the commitment carries the owner's signature, the ballot none.
    function test_settleRound__by_anybody() external {
        Ballot[] memory ballots = _committed(3);
        SettleCall memory call = settleOf(0, ballots);
        vm.prank(stranger);
        send(call);
        _requireAdopted(0, 3);
    }

    /// A malformed ballot would be counted, or read out of bounds.
    function test_settleRound__malformed_ballot() external {
        uint256[7] memory bits = [uint256(0), 48 + 4, 80 + 8, 144, 145, 255, 84];
        for (uint256 kind = 0; kind < 12; ++kind) {
            uint256 clean = snapshot();
            Ballot[] memory ballots = ballotsOf(3, YES);
            if (kind == 0) setVerdict(ballots[1], 1, 3, 0);
            if (kind > 0 && kind < 6) ballots[1].marks |= uint256(1) << bits[kind];
            if (kind == 6) setVerdict(ballots[1], 1, NO, 1); // a grade without a yes
            if (kind == 7) setVerdict(ballots[1], 0, UNAVAILABLE, 15);
            if (kind == 8) ballots[1].aggregateDigests = new bytes32[](1);
            if (kind == 9) ballots[1].aggregateDigests = new bytes32[](3);
            if (kind == 10) ballots[1].aggregateDigests[0] = 0;
            if (kind == 11) setScore(ballots[1], 1_000_001);
            send(commitOf(ballots));
            _refuse(abi.encodeWithSelector(IAllianceErrors.MalformedBallot.selector, 1), settleOf(0, ballots));
            // The others go on without it: it abstains.
            vm.warp(state().revealDeadline + 1);
            settle(0, two(ballots[0], ballots[2]));
            _requireAdopted(0, 2);
            vm.revertToState(clean);
        }
    }

    /// A position could vote twice in one call, or one without role could.
    function test_settleRound__positions() external {
        Ballot[] memory ballots = _committed(3);
        SettleCall memory call = settleOf(0, ballots);
        call.ballots[2] = call.ballots[1];
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongPosition.selector, 1), call);
        ballots = ballotsOf(3, YES);
        (ballots[1], ballots[2]) = (ballots[2], ballots[1]);
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongPosition.selector, 1), settleOf(0, ballots));
        Ballot memory outside = ballotOf(2, YES);
        setPosition(outside, 3);
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongPosition.selector, 3), settleOf(0, one(outside)));
        setPosition(outside, 258);
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongPosition.selector, 258), settleOf(0, one(outside)));
    }

    /// A validator that did not commit could vote after seeing the others.
    function test_settleRound__uncommitted_position() external {
        Ballot[] memory ballots = _committed(2);
        vm.warp(state().commitDeadline + 1);
        Ballot memory uncommitted = ballotOf(2, YES);
        bytes memory error = abi.encodeWithSelector(IAllianceErrors.BallotNotCommitted.selector, 2);
        _refuse(error, settleOf(0, one(uncommitted)));
        SettleCall memory call = settleOf(0, one(uncommitted));
        call.order = hex"000102";
        _refuse(error, call);
        settle(0, ballots);
        eq(state().round, 1, "settled without it");
    }

    /* PHASES */

    /// Votes could be opened while others still commit.
    function test_settleRound__wrong_phase() external {
        Ballot[] memory none = new Ballot[](0);
        uint64 deadline = state().commitDeadline;
        SettleCall memory call = settleOf(0, none);
        _refuse(abi.encodeWithSelector(IAllianceErrors.CommitPhaseNotOver.selector, deadline), call);
        vm.warp(deadline + 1);
        _refuse(abi.encodePacked(IAllianceErrors.NothingNew.selector), call); // nobody committed: the round is void
        alliance.voidRound(0);
        _refuse(abi.encodePacked(IAllianceErrors.NotSealed.selector), settleOf(1, none));
    }

    /// The alliance would go on after its last round, or close before it.
    function test_settleRound__last_round_closes() external {
        settle(0, _committed(3));
        playRound(ALL, NO);
        playRound(ALL, UNAVAILABLE); // undecided rounds count as well
        eq(state().phase, 1, "three of four");
        sealNow(ALL);
        Ballot[] memory ballots = _committed(3);
        SettleCall memory call = settleOf(3, ballots);
        send(call);
        _requireAdopted(3, 3);
        check(settlementOf(3).closed, "closed by the last round");
        RoundState memory s = state();
        eq(s.phase, 4, "closed");
        eq(s.round, 3, "last round stays");
        bytes memory error = abi.encodePacked(IAllianceErrors.AllianceIsClosed.selector);
        _refuse(error, call);
        vm.expectRevert(error);
        alliance.voidRound(3);
        address late = member(12);
        fund(late);
        JoinRequest memory request = requestOf(12, 0);
        vm.expectRevert(error);
        vm.prank(late);
        alliance.join(request);
        vm.expectRevert(error);
        vm.prank(member(0));
        alliance.registerKey(MODEL);
    }

    /// Blocks that share a timestamp would let phases run into each other.
    function test_settleRound__whole_round_in_one_second() external {
        uint256 now_ = block.timestamp;
        settle(0, _committed(3));
        eq(block.timestamp, now_, "no time passed");
        eq(state().round, 1, "settled");
        check(state().opensAt > now_, "the next seed is not known yet");
    }
}
