// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RoundState} from "../src/Types.sol";
import {IAlliance} from "../src/interfaces/IAlliance.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {IBeacon} from "../src/interfaces/IBeacon.sol";
import {Survivors} from "../src/libraries/Survivors.sol";
import {AllianceTest} from "./AllianceTest.sol";

contract SealTest is AllianceTest {
    function setUp() public override {
        super.setUp();
        joinAll(11);
        vm.warp(state().opensAt);
    }

    function _refuse(bytes4 error, SealCall memory call) private {
        vm.expectRevert(error);
        send(call);
    }

    function _refuse(bytes memory error, SealCall memory call) private {
        vm.expectRevert(error);
        send(call);
    }

    /// Survivors could not check the quorum before they unmask, or would follow another seal than the chain's.
    function test_sealRound__fixes_the_survivors() external {
        SealCall memory call = sealOf(0xf7);
        bytes32 seal = sealHash(call);
        vm.expectEmit();
        emit IAllianceEvents.RoundSealed(
            0, 0, seal, seedNow(), MANIFEST, call.survivors, call.signers, call.signatures
        );
        vm.prank(stranger); // whoever brings the quorum may send it
        send(call);
        RoundState memory s = state();
        eq(s.phase, 2, "phase");
        eq(s.seal, seal, "seal");
        eq(hashOf(sealedNow()), seal, "the log tells all that the seal says");
        eq(s.sealedAt, block.timestamp, "sealed at");
        eq(s.commitDeadline, block.timestamp + 6 + 10 + 3 * 7, "commit deadline");
        eq(s.revealDeadline, s.commitDeadline + 8, "reveal deadline");
    }

    /// A second seal would open a second sum over other survivors: the difference is somebody's update.
    function test_sealRound__first_counts() external {
        send(sealOf(ALL));
        SealCall memory second = sealOf(0x7f);
        second.leaderView = 1;
        signSeal(second);
        _refuse(IAllianceErrors.AlreadySealed.selector, second);
    }

    /// Before the beacon's round its value, and so the roles, could be known to those who make it.
    function test_sealRound__before_opening() external {
        SealCall memory call = sealOf(ALL);
        uint64 opensAt = state().opensAt;
        vm.warp(opensAt - 1);
        _refuse(abi.encodeWithSelector(IAllianceErrors.NotOpenYet.selector, opensAt), call);
    }

    /// Seal and void would both be valid at one moment, or neither.
    function test_sealRound__at_the_deadline() external {
        uint64 deadline = state().sealDeadline;
        SealCall memory call = sealOf(ALL);
        vm.warp(deadline + 1);
        _refuse(abi.encodeWithSelector(IAllianceErrors.DeadlinePassed.selector, deadline), call);
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAllianceErrors.DeadlineNotPassed.selector, deadline));
        alliance.voidRound(0);
        send(call);
        eq(state().phase, 2, "sealed in the last second");
    }

    /// A seal could be replayed in another round, or a view could belong to nobody.
    function test_sealRound__wrong_round_or_view() external {
        SealCall memory call = sealOf(ALL);
        call.round = 1;
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongRound.selector, uint32(0)), call);
        call = sealOf(ALL);
        call.leaderView = 3;
        signSeal(call);
        _refuse(IAllianceErrors.WrongView.selector, call);
        call.leaderView = 2;
        signSeal(call);
        send(call);
    }

    /// A leader could change what the quorum signed.
    function test_sealRound__changed_after_signing() external {
        SealCall memory call = sealOf(ALL);
        bytes memory error = abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 0);
        call.manifestDigest = MODEL;
        _refuse(error, call);
        call = sealOf(ALL);
        call.leaderView = 1;
        _refuse(error, call);
        call = sealOf(ALL);
        call.survivors = words(0x7f);
        _refuse(error, call);
    }

    /// Fewer validators than a quorum, or others than the drawn ones could seal.
    function test_sealRound__wrong_signers() external {
        bytes memory tooFew = abi.encodeWithSelector(IAllianceErrors.WrongSignatureCount.selector, 2);
        SealCall memory call = sealOf(ALL);
        call.signers = 1;
        signSeal(call);
        _refuse(tooFew, call);

        call = sealOf(ALL);
        call.signers = 9; // the first validator, and the first trainer
        signSeal(call);
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongPosition.selector, 3), call);
        call.signers = 11; // also beside a quorum
        signSeal(call);
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongPosition.selector, 3), call);

        call = sealOf(ALL);
        bytes memory another = signAs(ownerAt(2), sealHash(call));
        replaceSignature(call.signatures, 1, another);
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 1), call);

        call = sealOf(ALL);
        replaceSignature(call.signatures, 1, signatureAt(call.signatures, 0)); // one validator twice
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 1), call);

        call = sealOf(ALL);
        call.signers = 6; // signed by others than it names
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 1), call);

        call = sealOf(ALL);
        call.signatures = bytes.concat(call.signatures, another); // more than it names
        _refuse(tooFew, call);
        call.signers = 0;
        call.signatures = "";
        _refuse(tooFew, call);
    }

    /// A signature would have a second form, and evidence about "two different messages" would become ambiguous.
    function test_sealRound__malleable_or_malformed_signature() external {
        bytes memory error = abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 1);
        bytes memory count = abi.encodeWithSelector(IAllianceErrors.WrongSignatureCount.selector, 2);
        SealCall memory call = sealOf(ALL);
        bytes memory good = call.signatures;
        call.signatures = bytes.concat(signatureAt(good, 0), malleate(signatureAt(good, 1)));
        _refuse(error, call);
        call.signatures = signatureAt(good, 0);
        _refuse(count, call);
        call.signatures = abi.encodePacked(good, hex"00");
        _refuse(count, call);
        call.signatures = abi.encodePacked(good);
        call.signatures[129] = bytes1(uint8(good[129]) - 27); // v as 0 or 1
        _refuse(error, call);
        call.signatures = bytes.concat(signatureAt(good, 0), new bytes(65)); // recovers to nobody
        _refuse(error, call);
        call.signatures = good;
        send(call);
    }

    /// Survivors beyond the trainers, or two bitmaps for one set, would be signed and stored.
    function test_sealRound__bitmap_is_canonical() external {
        SealCall memory call = sealOf(ALL);
        call.survivors[0] |= 1 << 8; // there are 8 trainers
        signSeal(call);
        _refuse(Survivors.WrongSurvivorBitmap.selector, call);
        call.survivors = new uint256[](2);
        call.survivors[0] = 0xff;
        signSeal(call);
        _refuse(Survivors.WrongSurvivorBitmap.selector, call);
        call.survivors = new uint256[](0);
        signSeal(call);
        _refuse(Survivors.WrongSurvivorBitmap.selector, call);
    }

    /// A sum over fewer than three honest owners would be opened.
    function test_sealRound__too_few_survivors() external {
        SealCall memory call = sealOf(0);
        _refuse(IAllianceErrors.TooFewSurvivors.selector, call);
        call = sealOf(0x33); // two in each cohort
        _refuse(IAllianceErrors.TooFewSurvivors.selector, call);
        send(sealOf(0x37)); // three in cohort 0; only cohort 1 is void
        eq(state().phase, 2, "sealed");
    }

    /// Somebody could seal on a randomness of its choice.
    function test_sealRound__beacon_proof() external {
        SealCall memory call = sealOf(ALL);
        call.beaconSignature = hex"00";
        _refuse(abi.encodeWithSelector(IBeacon.WrongLength.selector, 96, 1), call);
        call.beaconSignature = "";
        _refuse(abi.encodeWithSelector(IBeacon.WrongLength.selector, 96, 0), call);
        call.beaconSignature = new bytes(96);
        call.beaconSignature[0] = 0x01;
        _refuse(IBeacon.WrongSignature.selector, call);
        call.beaconSignature[0] = 0;
        send(call);
        eq(state().phase, 2, "sealed");
    }

    /// A quorum's seal could be replayed in an alliance with the same members, or after a chain split.
    function test_sealRound__replayed_elsewhere() external {
        SealCall memory call = sealOf(ALL);
        IAlliance first = alliance;
        vm.chainId(1);
        bytes memory error = abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 0);
        vm.expectRevert(error);
        send(call);
        vm.chainId(31337);

        alliance = create(params, 1);
        vm.warp(START); // so that both rounds have the same beacon round
        for (uint256 i = 0; i < 11; ++i) join(i, 0);
        eq(state().beaconRound, first.roundState().beaconRound, "same beacon round");
        vm.warp(state().opensAt);
        vm.expectRevert(error);
        send(call);
        alliance = first;
        send(call);
    }

    /// A relayed signature could serve in a later round with the same survivors.
    function test_sealRound__replayed_in_a_later_round() external {
        SealCall memory call = sealOf(ALL);
        vm.warp(state().sealDeadline + 1);
        alliance.voidRound(0);
        vm.warp(state().opensAt);
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongRound.selector, uint32(1)), call);
        call.round = 1;
        _refuse(abi.encodeWithSelector(IAllianceErrors.WrongSignature.selector, 0), call);
    }

    /// Rounds of an alliance that waits or has closed would be sealed.
    function test_sealRound__no_round_runs() external {
        IAlliance running = alliance;
        SealCall memory call = sealOf(ALL);
        alliance = create(params, 1);
        _refuse(IAllianceErrors.NoRunningRound.selector, call);
        alliance = running;
        for (uint256 i = 0; i < 3; ++i) {
            vm.warp(state().sealDeadline + 1);
            alliance.voidRound(state().round);
        }
        _refuse(IAllianceErrors.AllianceIsClosed.selector, call);
    }
}
