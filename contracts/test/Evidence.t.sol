// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SealStatement, Statement} from "../src/Types.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {IBeacon} from "../src/interfaces/IBeacon.sol";
import {IEvidence} from "../src/interfaces/IEvidence.sol";
import {EvidenceTest} from "./EvidenceTest.sol";

/// What a slash does, to whom it may be done, and what cannot be turned against the honest. Which statements convict is
/// in EvidenceVectors.t.sol, what they cost in EvidenceGas.t.sol.
contract SlashTest is EvidenceTest {
    uint256 private constant STAKE = 100 ether + 3;
    uint256 private constant AMOUNT = 10 ether; // a tenth, rounded down
    uint256 private constant REWARD = 1 ether;
    address private reporter = vm.addr(0x4E);

    function _refuse(IEvidence.Reason reason) private {
        vm.expectRevert(abi.encodeWithSelector(IEvidence.ProvesNothing.selector, reason));
    }

    function _refuseOwner(address owner) private {
        vm.expectRevert(_notSlashable(owner));
    }

    /// Asserts that the owner's contradiction in a round is refused with this error.
    function _refuseSlash(bytes memory error, address owner, uint32 round) private {
        (Statement memory one, Statement memory two) = (said(owner, round, 1, "one"), said(owner, round, 1, "two"));
        vm.expectRevert(error);
        alliance.slashEquivocation(one, two);
    }

    function _notSlashable(address owner) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IAllianceErrors.NotSlashable.selector, owner);
    }

    function _isSlashed(address owner) private view returns (bool slashed) {
        (,,,,, slashed,,) = alliance.getMember(owner);
    }

    function _stakeOf(address owner) private view returns (uint256 stake) {
        (,, stake,) = alliance.getStake(owner);
    }

    function _slashBy(address sender, address owner, uint32 round) private {
        (Statement memory one, Statement memory two) = (said(owner, round, 1, "one"), said(owner, round, 1, "two"));
        vm.prank(sender);
        alliance.slashEquivocation(one, two);
    }

    /* THE MONEY */

    /// A slash would be taken from others, vanish, or pay the reporter more than a tenth.
    function test_slash__takes_and_gives() external {
        joinAll(12);
        address equivocator = member(5);
        (uint256 stakes, uint256 pool, uint256 owed) = alliance.getAccounts();
        vm.expectEmit();
        emit IAllianceEvents.Slashed(equivocator, 5, 0, 1, uint128(AMOUNT), reporter);
        vm.expectEmit();
        emit IAllianceEvents.SeatLeaving(5, equivocator);
        _slashBy(reporter, equivocator, 0);
        (uint256 stakesNow, uint256 poolNow, uint256 owedNow) = alliance.getAccounts();
        eq(stakes - stakesNow, AMOUNT, "taken from the stakes");
        eq(poolNow - pool, AMOUNT - REWARD, "nine tenths to the pool");
        eq(owedNow - owed, REWARD, "a tenth to the reporter");
        eq(_stakeOf(equivocator), STAKE - AMOUNT, "what is left");
        check(_isSlashed(equivocator), "marked");
        requireConserved();
        vm.prank(reporter);
        alliance.claim();
        eq(token.balanceOf(reporter), REWARD, "claimed");
        vm.expectRevert(IAllianceErrors.NothingToClaim.selector);
        vm.prank(reporter);
        alliance.claim();
        requireConserved();
    }

    /// An offender would go on being elected, or lose more than the cap allows.
    function test_slash__removes_the_seat_and_returns_the_rest() external {
        joinAll(12);
        address equivocator = member(5);
        _slashBy(reporter, equivocator, 0);
        check(alliance.getSeats(5, 1)[0].leaving, "leaves");
        eq(state().seatCount, 11, "the running round keeps its seats");
        playRound(ALL, YES);
        (bool seated,,, uint64 releaseAt) = alliance.getStake(equivocator);
        check(!seated, "removed");
        eq(state().seatCount, 11, "not in the next round");
        vm.expectRevert(IAllianceErrors.NotSuspended.selector);
        vm.prank(equivocator);
        alliance.reactivate(maskKey(5, 1));
        vm.warp(releaseAt);
        vm.prank(equivocator);
        alliance.withdraw();
        eq(token.balanceOf(equivocator), STAKE - AMOUNT, "the rest");
        check(!_isSlashed(equivocator), "the tenure is over");
        requireConserved();
    }

    /// One fault, told in two ways or by two reporters, would be paid for twice.
    function test_slash__once_in_a_tenure() external {
        joinAll(12);
        _slashBy(reporter, member(5), 0);
        _refuseSlash(abi.encodePacked(IAllianceErrors.AlreadySlashed.selector), member(5), 0);
        Statement memory one = said(member(5), 1, 6, "one");
        Statement memory two = said(member(5), 1, 6, "two");
        vm.expectRevert(IAllianceErrors.AlreadySlashed.selector);
        alliance.slashEquivocation(one, two);
        playRound(ALL, YES);
        _refuseSlash(abi.encodePacked(IAllianceErrors.AlreadySlashed.selector), member(5), 0);
        eq(_stakeOf(member(5)), STAKE - AMOUNT, "once");
        requireConserved();
    }

    /// A slash after closing would lock FLOCK that nobody can claim.
    function test_slash__after_closing_goes_to_the_creator() external {
        joinAll(11);
        _slashBy(reporter, member(5), 0);
        for (uint256 i = 0; i < 4; ++i) playRound(ALL, YES);
        eq(state().phase, 4, "closed");
        uint256 residual = alliance.getCredit(creator);
        _slashBy(reporter, member(6), 2);
        eq(alliance.getCredit(creator) - residual, AMOUNT - REWARD, "to whom the residual went");
        eq(alliance.getCredit(reporter), 2 * REWARD, "the reporter");
        (, uint256 pool,) = alliance.getAccounts();
        eq(pool, 0, "no pool any more");
        requireConserved();
        vm.warp(block.timestamp + 120);
        for (uint256 i = 0; i < 11; ++i) {
            vm.prank(member(i));
            alliance.withdraw();
        }
        _refuseSlash(_notSlashable(member(7)), member(7), 2);
        requireConserved();
    }

    /// The residual would not hold what was slashed before closing.
    function test_slash__before_closing_is_part_of_the_residual() external {
        joinAll(12);
        _slashBy(reporter, member(5), 0);
        for (uint256 i = 0; i < 4; ++i) playRound(ALL, NO);
        // Nothing was adopted: refunds (10 %) and validators' rewards (40 %) left the pool, and a slash came in.
        uint256 round = params.rewardPerRound;
        uint256 spent = 4 * (3 * (round / 10 / 3) + 3 * (round * 4 / 10 / 3));
        eq(alliance.getCredit(creator), 4 * round + 1 - spent + AMOUNT - REWARD, "residual");
        requireConserved();
    }

    /// A share of the stake would be taken that the parameters did not say, or a stake of dust would break the slash.
    function testFuzz_slash__amounts(uint128 stake, uint16 bps) external {
        params.seatStake = uint128(bound(stake, 1, 1000 ether));
        params.provableSlashBps = uint16(bound(bps, 0, 5000));
        alliance = create(params, 0);
        joinAll(1);
        uint256 amount = uint256(params.seatStake) * params.provableSlashBps / 10_000;
        _slashBy(reporter, member(0), 0);
        eq(_stakeOf(member(0)), params.seatStake - amount, "stake");
        eq(alliance.getCredit(reporter), amount / 10, "reward");
        check(_stakeOf(member(0)) * 2 >= params.seatStake, "half at most");
        requireConserved();
    }

    /* TO WHOM */

    /// Somebody would be slashed for what an earlier stake answered for, or escape by leaving.
    function test_slash__tenures() external {
        joinAll(12);
        address leaver = member(5);
        vm.prank(leaver);
        alliance.leave();
        playRound(ALL, YES); // 0; round 1 runs without the leaver
        vm.warp(block.timestamp + 120);
        vm.prank(leaver);
        alliance.withdraw();
        _refuseSlash(_notSlashable(leaver), leaver, 0);
        join(5, 1); // counts from round 2
        _refuseSlash(_notSlashable(leaver), leaver, 0);
        _refuseSlash(_notSlashable(leaver), leaver, 1);
        slashFor(leaver, 2);
        check(_isSlashed(leaver), "in the new tenure");
    }

    /// A leaver would be out of reach while its stake is still here, or be queued twice.
    function test_slash__while_leaving_and_unbonding() external {
        joinAll(14);
        for (uint256 i = 4; i < 6; ++i) {
            vm.prank(member(i));
            alliance.leave();
        }
        slashFor(member(5), 0);
        playRound(ALL, YES);
        eq(alliance.seatCount(), 12, "two went");
        slashFor(member(4), 0);
        (bool seated,, uint128 stake, uint64 releaseAt) = alliance.getStake(member(4));
        check(!seated && stake == STAKE - AMOUNT, "slashed while unbonding");
        eq(releaseAt, block.timestamp + 120, "the release does not move");
        playRound(ALL, YES);
        eq(alliance.seatCount(), 12, "nobody else went");
        requireConserved();
    }

    /// An offender would be seated when the alliance goes on, or be kept in it.
    function test_slash__while_waiting() external {
        joinAll(10);
        slashFor(member(5), 0);
        eq(alliance.seatCount(), 10, "queued");
        join(10, 0);
        eq(state().phase, 0, "does not count for the opening");
        eq(alliance.seatCount(), 10, "removed");
        join(11, 0);
        eq(state().seatCount, 11, "opened without it");
        slashFor(member(6), 0);
        vm.expectRevert(IAllianceErrors.AlreadyLeaving.selector);
        vm.prank(member(6));
        alliance.leave();
    }

    /// A suspended owner would be out of reach, or take a seat again in spite of it.
    function test_slash__while_suspended() external {
        joinAll(12);
        playWithout(member(5));
        playWithout(member(5));
        alliance.suspend(member(5), recordOf(0), recordOf(1));
        playRound(ALL, YES);
        slashFor(member(5), 1);
        vm.expectRevert(IAllianceErrors.AlreadySlashed.selector);
        vm.prank(member(5));
        alliance.reactivate(maskKey(5, 1));
        requireConserved();
    }

    /// An offender would get rid of its fault by being suspended and coming back.
    function test_slash__for_rounds_before_a_reactivation() external {
        params.roundCount = 5;
        alliance = create(params, 1);
        joinAll(12);
        playWithout(member(5));
        playWithout(member(5));
        alliance.suspend(member(5), recordOf(0), recordOf(1));
        playRound(ALL, YES);
        vm.prank(member(5));
        alliance.reactivate(maskKey(5, 1)); // counts from round 4
        slashFor(member(5), 0);
        eq(alliance.seatCount(), 12, "its seat goes at the next OPEN");
        playRound(ALL, YES);
        eq(alliance.seatCount(), 11, "gone");
        requireConserved();
    }

    /* WHAT CANNOT BE TURNED AGAINST THE HONEST */

    /// What was said on another chain, to another contract, or in another alliance would convict here.
    function test_slashEquivocation__said_elsewhere() external {
        joinAll(11);
        address owner = member(5);
        Statement memory here = said(owner, 0, 1, "one");
        Statement memory there = Statement(0, 1, 7, "two", "");
        bytes32[3] memory digests = [
            envelopeDigest(there, block.chainid + 1, address(alliance), alliance.number()),
            envelopeDigest(there, block.chainid, address(factory), alliance.number()),
            envelopeDigest(there, block.chainid, address(alliance), alliance.number() + 1)
        ];
        for (uint256 i = 0; i < 3; ++i) {
            there.signature = sign(owner, digests[i]);
            _refuse(IEvidence.Reason.DIFFERENT_SIGNERS);
            alliance.slashEquivocation(here, there);
        }
    }

    /// One statement, told twice or signed twice, would contradict itself.
    function test_slashEquivocation__same_statement() external {
        joinAll(11);
        Statement memory one = said(member(5), 0, 1, "one");
        Statement memory again = said(member(5), 0, 1, "one");
        _refuse(IEvidence.Reason.SAME_STATEMENT);
        alliance.slashEquivocation(one, again);
        again.signature = malleate(one.signature);
        _refuse(IEvidence.Reason.SAME_STATEMENT);
        alliance.slashEquivocation(one, again);
    }

    /// A signature with a second form, or none, would be somebody's: an owner at address zero.
    function test_slashEquivocation__malformed_signatures() external {
        joinAll(11);
        Statement memory one = said(member(5), 0, 1, "one");
        Statement memory two = said(member(5), 0, 1, "two");
        (one.signature, two.signature) = (malleate(one.signature), malleate(two.signature));
        _refuseOwner(address(0));
        alliance.slashEquivocation(one, two);
        bytes[3] memory broken = [bytes(""), new bytes(65), abi.encodePacked(two.signature, uint8(0))];
        for (uint256 i = 0; i < 3; ++i) {
            (one.signature, two.signature) = (broken[i], broken[i]);
            _refuseOwner(address(0));
            alliance.slashEquivocation(one, two);
        }
    }

    /// Messages that may be repeated, or differ by round, kind or seat, would contradict each other.
    function test_slashEquivocation__what_may_be_said() external {
        joinAll(11);
        Statement memory one = said(member(5), 3, 1, "one");
        Statement[3] memory others =
            [said(member(5), 4, 1, "two"), said(member(5), 3, 2, "two"), said(member(5), 3, 1, "two")];
        others[2].seat = 8;
        signed(others[2], member(5));
        for (uint256 i = 0; i < 3; ++i) {
            _refuse(IEvidence.Reason.DIFFERENT_MATTERS);
            alliance.slashEquivocation(one, others[i]);
        }
        for (uint16 kind = 0; kind < 256; ++kind) {
            if (kind == 1 || kind == 2 || kind == 6 || kind == 7) continue;
            Statement memory first = said(member(5), 3, uint8(kind), "one");
            Statement memory second = said(member(5), 3, uint8(kind), "two");
            _refuse(IEvidence.Reason.SAID_OFTEN);
            alliance.slashEquivocation(first, second);
        }
    }

    /// Two owners' statements would convict one of them, and strangers' somebody.
    function test_slashEquivocation__by_others() external {
        joinAll(11);
        Statement memory one = said(member(5), 0, 1, "one");
        Statement memory two = said(member(6), 0, 1, "two");
        _refuse(IEvidence.Reason.DIFFERENT_SIGNERS);
        alliance.slashEquivocation(one, two);
        keys[stranger] = 0x57;
        _refuseSlash(_notSlashable(stranger), stranger, 0);
    }

    /// A validator that signed, view after view or before and after a reorganisation that changed seats and beacon round,
    /// would be slashed for it.
    function test_slashSeals__honest_over_views_and_reorganisations() external {
        joinAll(11);
        address validator = member(5);
        (bytes memory four, bytes memory five) = (manifestOf(0, 4, MANIFEST), manifestOf(0, 5, MANIFEST));
        SealStatement memory before = validSeal(0, 100, four, 4);
        SealStatement memory later = validSeal(0, 101, five, 5);
        later.leaderView = 1; // one seal per view, views only upward, in each history of the chain
        uint256[] memory wide = new uint256[](2); // 300 trainers, of which 5 survived
        (wide[0], wide[1]) = (0xf, 1);
        later.survivors = wide;
        bytes memory one = sign(validator, typed(hashOf(before)));
        bytes memory two = sign(validator, typed(hashOf(later)));
        _refuse(IEvidence.Reason.DIFFERENT_MATTERS);
        alliance.slashSealEquivocation(before, one, later, two);
        _refuse(IEvidence.Reason.SAME_STATEMENT);
        alliance.slashSealEquivocation(before, one, before, malleate(one));
        bytes[] memory signatures = new bytes[](1);
        bytes[2] memory proofs = [bytes(""), new bytes(96)];
        for (uint256 judged = 0; judged < 2; ++judged) {
            signatures[0] = one;
            _refuse(IEvidence.Reason.VALID_SEAL);
            alliance.slashInvalidSeal(before, proofs[judged], four, signatures);
            signatures[0] = two;
            _refuse(IEvidence.Reason.VALID_SEAL);
            alliance.slashInvalidSeal(later, proofs[judged], five, signatures);
            // A manifest of somebody else's making proves nothing about this seal.
            _refuse(IEvidence.Reason.VALID_SEAL);
            alliance.slashInvalidSeal(later, proofs[judged], hex"c1", signatures);
        }
    }

    /// Any well-formed manifest that fits its seal would convict: seats and rounds of every width, in any order.
    function testFuzz_slashInvalidSeal__honest_manifests(uint32 round, uint16 first, uint16 step, uint8 count) external {
        joinAll(1);
        (round, count) = (uint32(bound(round, 0, type(uint32).max)), uint8(bound(count, 1, 70)));
        step |= 1; // odd steps visit 65,536 seats before one comes again
        bytes memory manifest = abi.encodePacked(hex"92", integer(round), list(count));
        for (uint256 i = 0; i < count; ++i) {
            uint256 seat = (uint256(first) + i * step) % 65_536;
            manifest = abi.encodePacked(manifest, hex"94", integer(seat));
            for (uint256 k = 0; k < 3; ++k) manifest = abi.encodePacked(manifest, hex"c420", keccak256(abi.encode(i, k)));
        }
        SealStatement memory seal = validSeal(round, 100, manifest, count);
        bytes[] memory signatures = new bytes[](1);
        signatures[0] = sign(member(0), typed(hashOf(seal)));
        _refuse(IEvidence.Reason.VALID_SEAL);
        alliance.slashInvalidSeal(seal, new bytes(96), manifest, signatures);
    }

    /* SEALS WITH MANY SIGNERS */

    /// One signer of an invalid seal would shield the others: slashed before, named twice, or not slashable.
    function test_slashInvalidSeal__signers() external {
        joinAll(11);
        bytes memory manifest = manifestOf(0, 4, MANIFEST);
        SealStatement memory seal = validSeal(0, 100, manifest, 5);
        slashFor(member(3), 0);
        bytes[] memory signatures = new bytes[](4);
        for (uint256 i = 0; i < 3; ++i) signatures[i] = sign(member(3 + i), typed(hashOf(seal)));
        signatures[3] = signatures[2];
        for (uint256 i = 4; i < 6; ++i) {
            vm.expectEmit();
            emit IAllianceEvents.Slashed(member(i), uint16(i), 0, 3, uint128(AMOUNT), address(this));
            vm.expectEmit();
            emit IAllianceEvents.SeatLeaving(uint16(i), member(i));
        }
        alliance.slashInvalidSeal(seal, "", manifest, signatures);
        eq(alliance.getCredit(address(this)), 3 * REWARD, "three in all");
        vm.expectRevert(IAllianceErrors.AlreadySlashed.selector);
        alliance.slashInvalidSeal(seal, "", manifest, signatures);
        vm.expectRevert(IAllianceErrors.AlreadySlashed.selector);
        alliance.slashInvalidSeal(seal, "", manifest, new bytes[](0));
        keys[stranger] = 0x57;
        (signatures[0], signatures[1]) = (sign(member(7), typed(hashOf(seal))), sign(stranger, typed(hashOf(seal))));
        _refuseOwner(stranger);
        alliance.slashInvalidSeal(seal, "", manifest, signatures);
        check(!_isSlashed(member(7)), "nobody, if one of them is no member");
        requireConserved();
    }

    /// A seal over a false seed would pass, or a right one be judged by a beacon value that drand never signed.
    function test_slashInvalidSeal__seed() external {
        joinAll(11);
        SealStatement memory seal = validSeal(0, 100, "", 4);
        bytes[] memory signatures = new bytes[](1);
        signatures[0] = sign(member(3), typed(hashOf(seal)));
        bytes memory forged = new bytes(96);
        forged[0] = 0x01;
        vm.expectRevert(IBeacon.WrongSignature.selector);
        alliance.slashInvalidSeal(seal, forged, "not the manifest", signatures);
        _refuse(IEvidence.Reason.VALID_SEAL);
        alliance.slashInvalidSeal(seal, new bytes(96), "not the manifest", signatures);

        seal.seed = seedOf(1, 100); // of another round
        signatures[0] = sign(member(3), typed(hashOf(seal)));
        _refuse(IEvidence.Reason.VALID_SEAL);
        alliance.slashInvalidSeal(seal, "", "not the manifest", signatures); // the seed is not judged
        alliance.slashInvalidSeal(seal, new bytes(96), "not the manifest", signatures);
        check(_isSlashed(member(3)), "slashed");
    }
}
