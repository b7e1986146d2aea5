// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AllianceParams, Ballot} from "../src/Types.sol";
import {IAlliance} from "../src/interfaces/IAlliance.sol";
import {IAllianceErrors} from "../src/interfaces/IAllianceErrors.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {IAllianceFactory} from "../src/interfaces/IAllianceFactory.sol";
import {ParamsRules} from "../src/libraries/ParamsRules.sol";
import {AllianceTest, IAllianceParts} from "./AllianceTest.sol";
import {StubBeacon} from "./StubBeacon.sol";

interface IFactoryParts {
    function implementation() external view returns (address);
    function token() external view returns (address);
    function beacon() external view returns (address);
}

/// Every part names the one that its unknown calls go to.
interface IPart {
    function members() external view returns (address);
    function evidence() external view returns (address);
    function challenges() external view returns (address);
}

contract FactoryTest is AllianceTest {
    uint256 private constant POOL = 10_000 ether;

    function _create(AllianceParams memory p, uint256 pool) private returns (address made) {
        (, made) = factory.create(p, pool, "heart", new address[](0));
    }

    function setUp() public override {
        super.setUp();
        token.approve(address(factory), type(uint256).max);
    }

    /// An alliance would run under other terms than its creator fixed, or without its pool.
    function test_create__terms_and_escrow() external {
        AllianceParams memory p = defaultParams();
        vm.expectEmit(); // the address is that of the factory's next clone
        emit IAllianceFactory.AllianceCreated(
            2, _predicted(2), address(this), p.manifestDigest, "digits", new address[](0)
        );
        (uint256 number, address made) = factory.create(p, POOL, "digits", new address[](0));
        eq(number, 2, "numbers count on");
        eq(factory.allianceCount(), 2, "count");
        eq(factory.alliances(2), made, "by number");
        eq(factory.alliances(3), address(0), "not made");
        IAlliance second = IAlliance(made);
        eq(keccak256(abi.encode(second.params())), keccak256(abi.encode(p)), "params");
        eq(second.paramsHash(), keccak256(abi.encode(p)), "hash");
        eq(second.number(), 2, "number");
        eq(second.creator(), address(this), "creator");
        eq(token.balanceOf(made), POOL, "escrow");
        (, uint256 pool,) = second.getAccounts();
        eq(pool, POOL, "pool");
        eq(IAllianceParts(made).token(), address(token), "token");
        eq(IAllianceParts(made).beacon(), address(beacon), "beacon");
        eq(IAllianceParts(made).factory(), address(factory), "factory");
        eq(second.roundState().phase, 0, "waits for seats");
    }

    function _predicted(uint256 number) private view returns (address) {
        // Nonces of a contract start at 1; the factory has made Alliance and number - 1 clones.
        return address(
            uint160(uint256(keccak256(abi.encodePacked(hex"d694", address(factory), bytes1(uint8(1 + number))))))
        );
    }

    /// Somebody could refill the pool's books, or take over the implementation.
    function test_initialize__only_by_the_factory() external {
        IAllianceParts made = IAllianceParts(address(alliance));
        vm.expectRevert(IAllianceErrors.NotFactory.selector);
        made.initialize(POOL);
        vm.expectRevert(IAllianceErrors.NotFactory.selector);
        vm.prank(address(factory));
        made.initialize(POOL); // not twice either
        IAllianceParts implementation = IAllianceParts(IFactoryParts(address(factory)).implementation());
        vm.expectRevert(IAllianceErrors.NotFactory.selector);
        implementation.initialize(POOL);
    }

    /// The parts of an alliance would be larger than a chain accepts, or be made for another token or beacon.
    function test_parts__fit_and_agree() external view {
        string[5] memory names = ["Alliance", "Members", "Evidence", "Challenges", "AllianceFactory"];
        address[5] memory parts = _parts();
        for (uint256 i = 0; i < 5; ++i) {
            check(parts[i].code.length <= 24_576, string.concat("EIP-170: ", names[i]));
            string memory file = string.concat("out/", names[i], ".sol/", names[i], ".json");
            check(vm.getCode(file).length + 96 <= 49_152, string.concat("EIP-3860: ", names[i]));
            eq(IAllianceParts(parts[i]).token(), address(token), string.concat("token of ", names[i]));
            eq(IAllianceParts(parts[i]).beacon(), address(beacon), string.concat("beacon of ", names[i]));
        }
    }

    function _parts() private view returns (address[5] memory parts) {
        parts[0] = IFactoryParts(address(factory)).implementation();
        parts[1] = IPart(parts[0]).members();
        parts[2] = IPart(parts[1]).evidence();
        parts[3] = IPart(parts[2]).challenges();
        parts[4] = address(factory);
    }

    /// Alliances would keep their books in another token, or draw their seeds from another beacon, than their factory says.
    function test_constructor__wrong_parts() external {
        (address low, address high) = (address(1), address(type(uint160).max));
        address[4] memory tokens = [address(token), address(token), low, high];
        address[4] memory beacons = [low, high, address(beacon), address(beacon)];
        for (uint256 i = 0; i < 4; ++i) {
            bytes memory right = abi.encode(token, beacon);
            bytes memory wrong = abi.encode(tokens[i], beacons[i]);
            for (uint256 part = 0; part < 3; ++part) {
                address challenges = vm.deployCode("out/Challenges.sol/Challenges.json", part == 0 ? wrong : right);
                address evidence = vm.deployCode(
                    "out/Evidence.sol/Evidence.json", bytes.concat(part == 1 ? wrong : right, abi.encode(challenges))
                );
                address members = vm.deployCode(
                    "out/Members.sol/Members.json", bytes.concat(part == 2 ? wrong : right, abi.encode(evidence))
                );
                address[3] memory parts = [challenges, evidence, members];
                bytes memory error = abi.encodeWithSelector(IAllianceFactory.WrongPart.selector, parts[part]);
                _requireRefused(abi.encode(token, beacon, members), error);
            }
        }
    }

    function _requireRefused(bytes memory arguments, bytes memory error) private {
        bytes memory code = bytes.concat(vm.getCode("out/AllianceFactory.sol/AllianceFactory.json"), arguments);
        vm.expectRevert(error);
        this.deploy(code);
    }

    function deploy(bytes memory code) external returns (address made) {
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
            if iszero(made) {
                returndatacopy(0, 0, returndatasize())
                revert(0, returndatasize())
            }
        }
    }

    /// Ether or unknown calls would be swallowed.
    function test_fallback__refuses_the_unknown() external {
        (bool ok,) = address(alliance).call(abi.encodeWithSignature("mintEverything()"));
        check(!ok, "unknown function");
        (ok,) = address(alliance).call("");
        check(!ok, "empty call");
        vm.deal(address(this), 1 ether);
        (ok,) = address(alliance).call{value: 1}("");
        check(!ok, "ether");
        (ok,) = address(alliance).call{value: 1}(abi.encodeWithSignature("leave()"));
        check(!ok, "ether with a call");
    }

    /// An alliance would be listed under a name that breaks a screen.
    function test_create__task_name() external {
        AllianceParams memory p = defaultParams();
        vm.expectRevert(IAllianceFactory.WrongTaskName.selector);
        factory.create(p, POOL, "", new address[](0));
        vm.expectRevert(IAllianceFactory.WrongTaskName.selector);
        factory.create(p, POOL, string(new bytes(65)), new address[](0));
        factory.create(p, POOL, string(new bytes(64)), new address[](0));
    }

    /// An alliance would exist without the pool it promises.
    function test_create__without_approval() external {
        AllianceParams memory p = defaultParams();
        token.approve(address(factory), POOL - 1);
        (bool ok,) = address(factory).call(abi.encodeCall(factory.create, (p, POOL, "heart", new address[](0))));
        check(!ok, "created");
        eq(factory.allianceCount(), 1, "count");
    }

    function _refuse(AllianceParams memory p, uint8 rule) private {
        vm.expectRevert(abi.encodeWithSelector(ParamsRules.ParameterOutOfBounds.selector, rule));
        _create(p, POOL);
    }

    /// Free seats, endless alliances or unfunded rounds could be created.
    function test_create__bounds_of_money() external {
        AllianceParams memory p = defaultParams();
        p.manifestDigest = 0;
        _refuse(p, 1);
        p = defaultParams();
        p.seatStake = 0;
        _refuse(p, 2);
        p.seatStake = 1;
        _create(p, POOL);
        p.rewardPerRound = uint128(type(uint96).max) + 1;
        _refuse(p, 3);
        p.rewardPerRound = 0;
        _create(p, 0);
        p.roundCount = 0;
        _refuse(p, 4);
        p.rewardPerRound = 1;
        p.roundCount = 1_000_001;
        _refuse(p, 4);
        p.roundCount = 1_000_000;
        _create(p, 1_000_000);
        vm.expectRevert(abi.encodeWithSelector(ParamsRules.ParameterOutOfBounds.selector, uint8(5)));
        _create(p, 999_999);
    }

    /// Committees could be drawn that do not fit the bitmaps, or that the seats cannot fill.
    function test_create__bounds_of_committees() external {
        AllianceParams memory p = defaultParams();
        p.validatorCount = 0;
        _refuse(p, 6);
        p.validatorCount = 65;
        _refuse(p, 6);
        p.validatorCount = 64;
        _refuse(p, 10);
        (p.seatCountMin, p.seatCountMax) = (70, 70);
        _create(p, POOL);
        p = defaultParams();
        p.cohortCount = 0;
        _refuse(p, 7);
        (p.cohortCount, p.seatCountMin, p.seatCountMax) = (17, 54, 99);
        _refuse(p, 7);
        p.cohortCount = 16;
        _create(p, POOL);
        p.seatCountMax = 53;
        _refuse(p, 9);
        (p.seatCountMin, p.seatCountMax) = (50, 99); // 3 + 16 · 3 = 51
        _refuse(p, 10);
        p.seatCountMin = 51;
        _create(p, POOL);
    }

    /// Two seals could both gather a threshold, or a cohort open with fewer than three honest owners.
    function test_create__bounds_of_secrecy() external {
        AllianceParams memory p = defaultParams();
        p.threshold = 2;
        _refuse(p, 8);
        p = defaultParams();
        p.collusionBound = 2; // 5 survivors of each cohort of 4
        _refuse(p, 10);
        (p.collusionBound, p.seatCountMin) = (1, 13); // cohorts of 5: 2t = 6 is not above n + c = 6
        _refuse(p, 11);
        p.threshold = 4;
        _create(p, POOL);
        (p.threshold, p.collusionBound, p.seatCountMin) = (5, 0, 12); // a cohort of 4 has no 5 shares
        _refuse(p, 10);
        p.seatCountMin = 13;
        _create(p, POOL);
        (p.threshold, p.collusionBound) = (3, 1);
        (p.seatCountMin, p.seatCountMax) = (67, 67); // cohorts of 32
        _refuse(p, 11);
        (p.seatCountMin, p.seatCountMax) = (68, 68); // one of 33: k-regular, not judged here
        _create(p, POOL);
    }

    /// A sum could wrap around the ring and be garbled without a trace.
    function test_create__bounds_of_the_ring() external {
        AllianceParams memory p = defaultParams();
        p.laneBits = 24;
        _refuse(p, 12);
        p = defaultParams();
        p.levels = 0;
        _refuse(p, 13);
        p = defaultParams();
        p.weightMax = 0;
        _refuse(p, 13);
        (p.laneBits, p.levels, p.weightMax) = (16, 682, 1); // 6 owners at most: 6 · 682 <= 4096
        _create(p, POOL);
        p.levels = 683;
        _refuse(p, 14);
        (p.laneBits, p.levels, p.weightMax) = (32, type(uint32).max, type(uint32).max);
        _refuse(p, 14);
    }

    /// An alliance could be made in a ring that no node has, or whose packed lanes carry into each other.
    function test_create__every_ring() external {
        uint8[7] memory rings = [10, 12, 15, 16, 20, 30, 32];
        for (uint256 bits = 0; bits < 256; ++bits) {
            AllianceParams memory p = defaultParams();
            (p.laneBits, p.levels, p.weightMax) = (uint8(bits), 1, 1);
            bool known = false;
            for (uint256 n = 0; n < rings.length; ++n) {
                known = known || rings[n] == bits;
            }
            if (known) _create(p, POOL);
            else _refuse(p, 12);
        }
        AllianceParams memory packed = defaultParams();
        for (uint256 n = 0; n < rings.length; ++n) {
            packed.laneBits = rings[n];
            packed.weightMax = 1;
            bool plain = rings[n] == 16 || rings[n] == 32;
            // 6 owners at most: 2 · 6 · levels < 2^w, or 6 · levels <= 2^(w−4) where a lane is a word.
            uint256 most = plain ? uint256(1) << (rings[n] - 4) : ((uint256(1) << rings[n]) - 1) / 2;
            packed.levels = uint32(most / 6);
            _create(packed, POOL);
            packed.levels += 1;
            _refuse(packed, 14);
        }
    }

    /// Phases could be too short for a block, or lock stakes for a lifetime; whoever left could not be slashed.
    function test_create__bounds_of_time() external {
        for (uint256 bad = 0; bad < 2; ++bad) {
            uint32 duration = bad == 0 ? 2 : 30 days + 1;
            AllianceParams memory phase = defaultParams();
            phase.trainSeconds = duration;
            _refuse(phase, 15);
            phase = defaultParams();
            phase.sealSeconds = duration;
            _refuse(phase, 15);
            phase = defaultParams();
            phase.unmaskSeconds = duration;
            _refuse(phase, 15);
            phase = defaultParams();
            phase.evaluateSeconds = duration;
            _refuse(phase, 16);
            phase = defaultParams();
            phase.commitSeconds = duration;
            _refuse(phase, 16);
            phase = defaultParams();
            phase.settleSeconds = duration;
            _refuse(phase, 16);
            phase = defaultParams();
            phase.openingSlotSeconds = bad == 0 ? 0 : duration;
            _refuse(phase, 17);
        }
        AllianceParams memory p = defaultParams();
        p.beaconMargin = 0;
        _refuse(p, 18);
        p = defaultParams();
        p.redrawRounds = 0;
        _refuse(p, 19);
        p = defaultParams();
        p.penaltyWindowSeconds = p.unbondingSeconds;
        _refuse(p, 20);
        p.unbondingSeconds = 365 days + 1;
        _refuse(p, 20);
        p.unbondingSeconds = 365 days;
        _create(p, POOL);
        p.provableSlashBps = 5001;
        _refuse(p, 21);
        p.provableSlashBps = 5000;
        _create(p, POOL);
        p.voidCountMax = 0;
        _refuse(p, 22);
    }

    /// An absence could cost a stake, or be challenged so late that the accused has gone with it; an alliance could end at
    /// a score that nobody can name, or be closed for joining before it exists.
    function test_create__bounds_of_the_economy() external {
        AllianceParams memory p = defaultParams();
        (p.absenceSlashBps, p.unbondingSeconds) = (101, 121);
        _refuse(p, 23);
        p.absenceSlashBps = 100;
        _create(p, POOL);
        p.unbondingSeconds = 120; // no more than two windows of 60 s
        _refuse(p, 24);
        p.absenceSlashBps = 0;
        _create(p, POOL);
        (p.absenceSlashBps, p.penaltyWindowSeconds) = (1, 2); // nobody can answer within a block or two
        _refuse(p, 24);
        p.penaltyWindowSeconds = 3;
        _create(p, POOL);
        p = defaultParams();
        p.scoreTargetMicro = 1_000_001;
        _refuse(p, 25);
        p.scoreTargetMicro = 1_000_000;
        _create(p, POOL);
        p.joinDeadline = uint64(block.timestamp);
        _refuse(p, 26);
        p.joinDeadline += 1;
        _create(p, POOL);
    }

    /// Whoever gets the only cohort of a round rejected could have all honest seats suspended, one after the other.
    function test_create__suspicion_needs_two_cohorts() external {
        AllianceParams memory p = defaultParams();
        (p.cohortCount, p.threshold) = (1, 5);
        for (uint16 bound_ = 1; bound_ < 256; bound_ += 127) {
            p.suspicionBound = uint8(bound_);
            _refuse(p, 27);
        }
        p.suspicionBound = 0;
        _create(p, POOL);
        p = defaultParams();
        p.suspicionBound = 255;
        _create(p, POOL);
    }

    /// Parameters at their largest would overflow a deadline and stop the alliance.
    function test_create__largest_deadlines_open_a_round() external {
        AllianceParams memory p = defaultParams();
        (p.trainSeconds, p.sealSeconds, p.unmaskSeconds) = (30 days, 30 days, 30 days);
        (p.evaluateSeconds, p.commitSeconds, p.settleSeconds) = (30 days, 30 days, 30 days);
        (p.openingSlotSeconds, p.beaconMargin, p.unbondingSeconds) = (30 days, 255, 365 days);
        params = p;
        alliance = create(p, 0);
        joinAll(11);
        playRound(ALL, YES);
        eq(state().settledRoundCount, 1, "settled");
    }

    /// The smallest committee, one validator, would stall: no leader change, one signature, one vote.
    function test_create__one_validator() external {
        params.validatorCount = 1;
        (params.seatCountMin, params.seatCountMax) = (9, 12);
        alliance = create(params, 0);
        joinAll(9);
        playRound(ALL, YES);
        eq(state().settledRoundCount, 1, "settled");
        check(rewardOf(member(0), 0) > 0, "paid");
    }

    /// The largest committee would run out of gas under the 2^24 limit of one transaction.
    function test_create__largest_committee() external {
        params.validatorCount = 64;
        params.cohortCount = 16;
        (params.seatCountMin, params.seatCountMax) = (128, 128);
        (params.collusionBound, params.threshold) = (0, 3);
        alliance = create(params, 0);
        joinAll(128);
        vm.warp(state().opensAt);
        SealCall memory call = sealOf(ALL);
        uint256 gas = gasleft();
        send(call);
        check(gas - gasleft() < 4_000_000, "seal");
        Ballot[] memory ballots = ballotsOf(64, YES);
        CommitCall memory commits = commitOf(ballots);
        gas = gasleft();
        send(commits);
        check(gas - gasleft() < 4_000_000, "commit");
        SettleCall memory settling = settleOf(0, ballots);
        gas = gasleft();
        send(settling);
        check(gas - gasleft() < 8_000_000, "settle");
        eq(recordOf(0).outcomes, 0x55555555, "sixteen adopted cohorts");
        eq(state().settledRoundCount, 1, "settled");
    }
}
