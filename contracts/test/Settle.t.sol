// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, RoundState} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {AllianceTest} from "./AllianceTest.sol";

contract SettleTest is AllianceTest {
    struct Outcome {
        uint8[] cohortOutcome;
        bytes32[] aggregateDigests;
        uint16[] votesFor;
        uint16[] votesAgainst;
    }

    function setUp() public override {
        super.setUp();
        joinAll(11);
        sealNow(ALL);
    }

    function _outcome(uint8[2] memory outcomes, bytes32[2] memory digests, uint8[2] memory yes, uint8[2] memory no)
        private
        pure
        returns (Outcome memory o)
    {
        o = Outcome(new uint8[](2), new bytes32[](2), new uint16[](2), new uint16[](2));
        for (uint256 c = 0; c < 2; ++c) {
            o.cohortOutcome[c] = outcomes[c];
            o.aggregateDigests[c] = digests[c];
            o.votesFor[c] = yes[c];
            o.votesAgainst[c] = no[c];
        }
    }

    function _expect(uint32 round, Outcome memory o, bytes32 model, bool closed) private {
        vm.expectEmit();
        emit IAllianceEvents.RoundSettled(
            round, o.cohortOutcome, o.aggregateDigests, o.votesFor, o.votesAgainst, model, closed
        );
    }

    /// An agreed aggregate would not be adopted, or the next round would not open.
    function test_settleRound__all_reveal_at_once() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        vm.expectEmit();
        emit IAllianceEvents.BallotRevealed(0, 0, ballots[0].verdicts, ballots[0].aggregateDigests, MODEL);
        _expect(0, _outcome([1, 1], [digestOf(0), digestOf(1)], [3, 3], [0, 0]), MODEL, false);
        vm.prank(stranger);
        alliance.settleRound(0, ballots);
        RoundState memory s = state();
        eq(s.round, 1, "next round");
        eq(s.phase, 1, "open");
        eq(s.settledRoundCount, 1, "settled");
        eq(s.seed, 0, "seed of the new round is not known");
        eq(s.seal, 0, "seal of the new round");
        eq(s.survivors.length, 0, "survivors of the new round");
        eq(s.committedPositions, 0, "commitments of the new round");
        (uint32 round, bytes32 model) = alliance.getConfirmedModel();
        check(round == 0 && model == MODEL, "confirmed model");
    }

    /// A verdict would need all validators, or be reached by a minority; validators that want something else would be counted.
    function test_settleRound__verdicts() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        ballots[1].verdicts = hex"0102"; // yes to cohort 0, no to cohort 1
        ballots[2].verdicts = hex"0202"; // no to both
        for (uint256 i = 0; i < 3; ++i) signBallot(ballots[i]);
        send(commitOf(ballots));
        _expect(0, _outcome([1, 2], [digestOf(0), digestOf(1)], [2, 1], [1, 2]), MODEL, false);
        alliance.settleRound(0, ballots);
    }

    /// Yes votes for different aggregates would add up.
    function test_settleRound__divided_yes_is_undecided() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        ballots[0].aggregateDigests[0] = keccak256("another sum");
        ballots[1].verdicts = hex"0001";
        ballots[2].verdicts = hex"0100";
        ballots[1].baseModelDigest = keccak256("another model");
        ballots[2].baseModelDigest = 0;
        for (uint256 i = 0; i < 3; ++i) signBallot(ballots[i]);
        send(commitOf(ballots));
        // Cohort 0: one yes each for two digests; the one counted first leads.
        _expect(0, _outcome([0, 1], [keccak256("another sum"), digestOf(1)], [1, 2], [0, 0]), 0, false);
        alliance.settleRound(0, ballots);
    }

    /// Counts of an earlier round would decide a later one.
    function test_settleRound__counts_start_from_nothing() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        alliance.settleRound(0, ballots);
        sealNow(ALL);
        ballots = ballotsOf(3, UNAVAILABLE);
        for (uint256 i = 0; i < 3; ++i) {
            ballots[i].baseModelDigest = 0;
            signBallot(ballots[i]);
        }
        send(commitOf(ballots));
        _expect(1, _outcome([0, 0], [bytes32(0), bytes32(0)], [0, 0], [0, 0]), 0, false);
        alliance.settleRound(1, ballots);
    }

    /// A validator that stays silent after committing would stall the round, or be counted for something.
    function test_settleRound__unrevealed_abstains() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        Ballot[] memory first = new Ballot[](2);
        (first[0], first[1]) = (ballots[0], ballots[2]);
        alliance.settleRound(0, first);
        eq(state().revealedPositions, 5, "recorded");
        eq(state().round, 0, "not settled");
        uint64 deadline = state().revealDeadline;
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlineNotPassed.selector, deadline));
        alliance.settleRound(0, new Ballot[](0));
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlineNotPassed.selector, deadline));
        alliance.settleRound(0, first); // known already
        vm.warp(deadline + 1);
        _expect(0, _outcome([1, 1], [digestOf(0), digestOf(1)], [2, 2], [0, 0]), MODEL, false);
        alliance.settleRound(0, new Ballot[](0));
        eq(state().round, 1, "settled");
    }

    /// A chain outage over the reveal phase would throw a finished round away.
    function test_settleRound__late_call_brings_ballots() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        vm.warp(state().revealDeadline + 1000);
        _expect(0, _outcome([1, 1], [digestOf(0), digestOf(1)], [3, 3], [0, 0]), MODEL, false);
        alliance.settleRound(0, ballots);
    }

    /// Ballots that come in several transactions would be counted differently, or twice.
    function test_settleRound__in_pieces() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        alliance.settleRound(0, one(ballots[2]));
        alliance.settleRound(0, one(ballots[0]));
        _expect(0, _outcome([1, 1], [digestOf(0), digestOf(1)], [3, 3], [0, 0]), MODEL, false);
        alliance.settleRound(0, ballots); // 0 and 2 are skipped
    }

    /// A round would be settled twice, and paid twice.
    function test_settleRound__twice() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        alliance.settleRound(0, ballots);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongRound.selector, uint32(1)));
        alliance.settleRound(0, ballots);
    }

    /// A vote would be counted that was not committed, or was changed after the commitment.
    function test_settleRound__ballot_is_not_the_committed_one() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        bytes memory error = abi.encodeWithSelector(IAllianceErrors.BallotNotCommitted.selector, 1);
        for (uint256 change = 0; change < 4; ++change) {
            Ballot memory ballot = ballotOf(1, YES);
            if (change == 0) ballot.verdicts = hex"0201";
            if (change == 1) ballot.aggregateDigests[1] = MODEL;
            if (change == 2) ballot.baseModelDigest = MANIFEST;
            if (change == 3) ballot.salt = 0;
            signBallot(ballot);
            vm.expectRevert(error);
            alliance.settleRound(0, one(ballot));
        }
    }

    /// Whoever knows an opening could settle in the name of a validator without its signature.
    function test_settleRound__bad_signature() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        bytes memory error = abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 1);
        Ballot memory ballot = ballotOf(1, YES);
        ballot.signature = ballots[0].signature;
        vm.expectRevert(error);
        alliance.settleRound(0, one(ballot));
        ballot = ballotOf(1, YES);
        ballot.signature = malleate(ballot.signature);
        vm.expectRevert(error);
        alliance.settleRound(0, one(ballot));
    }

    /// A malformed ballot would be counted, or read out of bounds.
    function test_settleRound__malformed_ballot() external {
        for (uint256 kind = 0; kind < 5; ++kind) {
            uint32 round = state().round;
            Ballot[] memory ballots = ballotsOf(3, YES);
            if (kind == 0) ballots[1].verdicts = hex"01";
            if (kind == 1) ballots[1].verdicts = hex"010101";
            if (kind == 2) ballots[1].verdicts = hex"0103";
            if (kind == 3) ballots[1].aggregateDigests = new bytes32[](1);
            if (kind == 4) ballots[1].aggregateDigests[0] = 0;
            signBallot(ballots[1]);
            send(commitOf(ballots));
            vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.MalformedBallot.selector, 1));
            alliance.settleRound(round, ballots);
            // The others go on without it: it abstains.
            Ballot[] memory rest = new Ballot[](2);
            (rest[0], rest[1]) = (ballots[0], ballots[2]);
            vm.warp(state().revealDeadline + 1);
            _expect(round, _outcome([1, 1], [digestOf(0), digestOf(1)], [2, 2], [0, 0]), MODEL, kind == 3);
            alliance.settleRound(round, rest);
            if (kind == 3) return;
            sealNow(ALL);
        }
    }

    /// A position could vote twice in one call, or one without role could.
    function test_settleRound__positions() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        ballots[2] = ballots[1];
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongPosition.selector, 1));
        alliance.settleRound(0, ballots);
        Ballot memory outside = ballotOf(2, YES);
        outside.position = 3;
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.WrongPosition.selector, 3));
        alliance.settleRound(0, one(outside));
    }

    /// A validator that did not commit could vote after seeing the others.
    function test_settleRound__uncommitted_position() external {
        Ballot[] memory ballots = ballotsOf(2, YES);
        send(commitOf(ballots));
        vm.warp(state().commitDeadline + 1);
        Ballot[] memory uncommitted = one(ballotOf(2, YES));
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.BallotNotCommitted.selector, 2));
        alliance.settleRound(0, uncommitted);
        alliance.settleRound(0, ballots);
        eq(state().round, 1, "settled without it");
    }

    /// An aggregate over too few owners would be adopted by vote.
    function test_settleRound__void_cohort() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        alliance.settleRound(0, ballots);
        sealNow(0x3f); // cohort 1 has two survivors
        ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        _expect(1, _outcome([1, 3], [digestOf(0), digestOf(1)], [3, 3], [0, 0]), MODEL, false);
        alliance.settleRound(1, ballots);
    }

    /// Votes could be opened while others still commit.
    function test_settleRound__wrong_phase() external {
        vm.expectRevert(
            abi.encodeWithSelector(IAllianceErrors.CommitPhaseNotOver.selector, state().commitDeadline)
        );
        alliance.settleRound(0, new Ballot[](0));
        uint64 deadline = state().commitDeadline;
        vm.warp(deadline + 1);
        vm.expectRevert(IAllianceErrors.NothingNew.selector); // nobody committed: the round is void
        alliance.settleRound(0, new Ballot[](0));
        alliance.voidRound(0);
        vm.expectRevert(IAllianceErrors.NotSealed.selector);
        alliance.settleRound(1, new Ballot[](0));
    }

    /// The alliance would go on after its last round, or close before it.
    function test_settleRound__last_round_closes() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        alliance.settleRound(0, ballots);
        playRound(ALL, NO);
        playRound(ALL, UNAVAILABLE); // undecided rounds count as well
        eq(state().phase, 1, "three of four");
        sealNow(ALL);
        ballots = ballotsOf(3, YES);
        send(commitOf(ballots));
        _expect(3, _outcome([1, 1], [digestOf(0), digestOf(1)], [3, 3], [0, 0]), MODEL, true);
        alliance.settleRound(3, ballots);
        RoundState memory s = state();
        eq(s.phase, 4, "closed");
        eq(s.round, 3, "last round stays");
        vm.expectRevert(IAllianceErrors.AllianceIsClosed.selector);
        alliance.settleRound(3, ballots);
        vm.expectRevert(IAllianceErrors.AllianceIsClosed.selector);
        alliance.voidRound(3);
        bytes32 hash = alliance.paramsHash();
        address late = member(12);
        fund(late);
        vm.expectRevert(IAllianceErrors.AllianceIsClosed.selector);
        vm.prank(late);
        alliance.join(peerId(12), maskKey(12, 0), 4, hash, params.seatStake, new bytes(64));
        vm.expectRevert(IAllianceErrors.AllianceIsClosed.selector);
        vm.prank(member(0));
        alliance.registerKey(MODEL);
    }

    /// Blocks that share a timestamp would let phases run into each other.
    function test_settleRound__whole_round_in_one_second() external {
        Ballot[] memory ballots = ballotsOf(3, YES);
        uint256 now_ = block.timestamp;
        send(commitOf(ballots));
        alliance.settleRound(0, ballots);
        eq(block.timestamp, now_, "no time passed");
        eq(state().round, 1, "settled");
        check(state().opensAt > now_, "the next seed is not known yet");
    }
}
