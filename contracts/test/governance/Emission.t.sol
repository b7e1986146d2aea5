// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEmission} from "../../src/governance/interfaces/IEmission.sol";
import {EmissionMath} from "../../src/governance/libraries/EmissionMath.sol";
import {GovernanceTest} from "./GovernanceTest.sol";

contract EmissionTest is GovernanceTest {
    address private trainers = vm.addr(0x7247);
    address private arena = vm.addr(0xA2E4);

    function setUp() public override {
        vm.warp(START);
        deployGenesis();
    }

    /// The treasury would not get the whole first day.
    function test_mint__first_gauge_is_the_timelock() external {
        eq(emission.startsAt(), START, "start");
        eq(emission.token(), address(token), "token");
        eq(emission.timelock(), address(timelock), "timelock");
        eq(emission.totalWeight(), 1, "weights");
        eq(emission.gauges()[0].gauge, address(timelock), "gauge");
        eq(emission.accrued(address(timelock)), 0, "nothing at once");
        vm.warp(START + 1 days);
        vm.expectEmit();
        emit IEmission.EmissionMinted(address(timelock), DAILY, DAILY);
        vm.prank(stranger);
        eq(emission.mint(address(timelock)), DAILY, "a day");
        eq(token.balanceOf(address(timelock)), DAILY, "the treasury has it");
        eq(token.totalSupply(), SUPPLY + DAILY, "new FLOCK");
        eq(emission.mintedOf(address(timelock)), DAILY, "minted to it");
        eq(emission.mintedTotal(), DAILY, "minted");
        vm.expectRevert(abi.encodeWithSelector(IEmission.NothingAccrued.selector, address(timelock)));
        emission.mint(address(timelock));
    }

    /// An address that governance never weighed would be minted to.
    function test_mint__not_a_gauge() external {
        vm.warp(START + 1 days);
        vm.expectRevert(abi.encodeWithSelector(IEmission.NothingAccrued.selector, stranger));
        emission.mint(stranger);
        vm.expectRevert(abi.encodeWithSelector(IEmission.NothingAccrued.selector, address(0)));
        emission.mint(address(0));
    }

    /// The last wei would stay, come early, or there would be more after five years.
    function test_mint__whole_programme() external {
        vm.warp(START + 1800 days);
        eq(emission.mint(address(timelock)), EmissionMath.TOTAL, "all of it");
        vm.warp(START + 9999 days);
        eq(emission.accrued(address(timelock)), 0, "nothing more");
        eq(emission.emitted(), EmissionMath.TOTAL, "emitted");
        eq(token.totalSupply(), SUPPLY + EmissionMath.TOTAL, "supply");
    }

    /// The view of other moments would disagree with the clock, or fail before the start.
    function test_emittedAt__any_moment() external {
        eq(emission.emittedAt(START - 1), 0, "before");
        eq(emission.emittedAt(0), 0, "long before");
        eq(emission.emittedAt(START + 31 days), 30 * DAILY + DAILY * 99 / 100, "a month and a day");
        vm.warp(START + 31 days);
        eq(emission.emitted(), emission.emittedAt(START + 31 days), "now");
    }

    /// Weights would be set without a vote.
    function test_setWeights__only_the_timelock() external {
        address[3] memory others = [stranger, holder, address(governor)];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(IEmission.NotTimelock.selector);
            emission.setWeights(weights(others[i], 1));
        }
    }

    /// FLOCK would be minted to nobody.
    function test_setWeights__zero_address() external {
        vm.prank(address(timelock));
        vm.expectRevert(IEmission.WrongGauge.selector);
        emission.setWeights(weights(address(0), 1));
    }

    /// A list of gauges would grow until reading it costs a block; or a full list could not be changed in one proposal.
    function test_setWeights__at_most_32_gauges() external {
        for (uint160 i = 1; i < 32; ++i) setWeight(address(0x1000 + i), 1);
        eq(emission.gauges().length, 32, "31 and the timelock");
        vm.prank(address(timelock));
        vm.expectRevert(IEmission.TooManyGauges.selector);
        emission.setWeights(weights(arena, 1));
        IEmission.GaugeWeight[] memory swap = new IEmission.GaugeWeight[](2);
        swap[0] = IEmission.GaugeWeight(address(0x1001), 0);
        swap[1] = IEmission.GaugeWeight(arena, 7);
        vm.prank(address(timelock));
        emission.setWeights(swap);
        eq(emission.gauges().length, 32, "one for another");
        eq(emission.weightOf(address(0x1001)), 0, "gone");
        eq(emission.totalWeight(), 38, "30 of 1, the timelock, 7");
        setWeight(arena, 9);
        eq(emission.totalWeight(), 40, "changed in place");
    }

    /// The log would not tell the weights that count; a gauge named twice would count twice.
    function test_setWeights__last_entry_counts() external {
        IEmission.GaugeWeight[] memory list = new IEmission.GaugeWeight[](2);
        list[0] = IEmission.GaugeWeight(arena, 5);
        list[1] = IEmission.GaugeWeight(arena, 3);
        vm.expectEmit();
        emit IEmission.WeightSet(arena, 3, 4);
        vm.prank(address(timelock));
        emission.setWeights(list);
        eq(emission.weightOf(arena), 3, "weight");
        eq(emission.totalWeight(), 4, "sum");
    }

    /// The largest weights would overflow and stop the emission for everybody.
    function test_setWeights__largest() external {
        for (uint160 i = 1; i < 32; ++i) setWeight(address(0x1000 + i), type(uint64).max);
        setWeight(address(timelock), type(uint64).max);
        vm.warp(START + 1800 days);
        setWeight(arena, 0);
        eq(emission.accrued(address(0x1001)), EmissionMath.TOTAL / 32, "a 32nd of all");
        emission.mint(address(0x1001));
        vm.warp(START + 3600 days);
        setWeight(address(0x1001), 1);
        eq(emission.accrued(address(0x1001)), 0, "once");
    }

    /// A day would be divided by weights that were set after it (audit: settling late paid more).
    function test_setWeights__never_retroactive() external {
        vm.warp(START + 10 days);
        setWeight(trainers, 3);
        eq(emission.accrued(trainers), 0, "nothing for the days before");
        eq(emission.accrued(address(timelock)), 10 * DAILY, "those stay the treasury's");
        vm.warp(START + 20 days);
        eq(emission.accrued(trainers), 10 * DAILY * 3 / 4, "three of four since");
        setWeight(trainers, 0);
        vm.warp(START + 30 days);
        eq(emission.accrued(trainers), 10 * DAILY * 3 / 4, "kept, not grown");
        eq(emission.accrued(address(timelock)), 20 * DAILY + 10 * DAILY / 4, "alone again");
        vm.warp(START + 9999 days);
        eq(emission.mint(trainers), 10 * DAILY * 3 / 4, "a removed gauge's claim does not expire");
        setWeight(trainers, 1);
        eq(emission.accrued(trainers), 0, "and is paid once");
    }

    /// What is released while nobody has weight would come back in one burst, or stop the schedule.
    function test_setWeights__none_means_never_minted() external {
        vm.warp(START + 1 days);
        setWeight(address(timelock), 0);
        eq(emission.totalWeight(), 0, "nobody");
        eq(emission.gauges().length, 0, "no gauge");
        vm.warp(START + 2 days);
        setWeight(arena, 5);
        eq(emission.accrued(arena), 0, "the second day is nobody's");
        vm.warp(START + 3 days);
        eq(emission.accrued(arena), DAILY, "the third is the arena's");
        eq(emission.accrued(address(timelock)), DAILY, "the first is the treasury's");
        emission.mint(arena);
        emission.mint(address(timelock));
        eq(emission.emitted() - emission.mintedTotal(), DAILY, "a day is never minted");
    }

    /// What a gauge gets would depend on when and how often anybody claims (audit N8), to the wei.
    function testFuzz_mint__whoever_calls_whenever(uint64 mine, uint64 theirs, uint32[8] memory waits, uint8 calls) external {
        (mine, theirs) = (uint64(bound(mine, 1, type(uint64).max)), uint64(bound(theirs, 0, type(uint64).max)));
        setWeight(trainers, mine);
        setWeight(arena, theirs);
        uint256 state = vm.snapshotState();
        uint256 now_ = START;
        for (uint256 i = 0; i < 8; ++i) {
            now_ += waits[i] % 400 days;
            vm.warp(now_);
            if (calls >> i & 1 == 1 && emission.accrued(trainers) > 0) emission.mint(trainers);
            if (calls >> i & 2 == 2 && emission.accrued(arena) > 0) emission.mint(arena);
            if (i == 3) setWeight(arena, mine / 2);
        }
        uint256 busy = emission.mintedOf(trainers) + emission.accrued(trainers);
        vm.revertToState(state);
        now_ = START;
        for (uint256 i = 0; i < 8; ++i) {
            now_ += waits[i] % 400 days;
            vm.warp(now_);
            if (i == 3) setWeight(arena, mine / 2);
        }
        eq(emission.accrued(trainers), busy, "the same without any call before");
    }

    /// Gauges would get together more than was released, or lose more than the stated dust (P6).
    function testFuzz_accrued__dust(uint64[5] memory weight, uint64[5] memory later, uint32 first, uint32 second) external {
        address[5] memory gauge;
        setWeight(address(timelock), 0);
        for (uint160 i = 0; i < 5; ++i) {
            gauge[i] = address(0x1000 + i);
            setWeight(gauge[i], weight[i]);
        }
        bool nobodyFirst = emission.totalWeight() == 0;
        vm.warp(START + first);
        uint256 lost = nobodyFirst ? emission.emitted() : 0;
        for (uint256 i = 0; i < 5; ++i) setWeight(gauge[i], later[i]);
        bool nobodyLater = emission.totalWeight() == 0;
        vm.warp(START + uint256(first) + second);
        if (nobodyLater) lost += emission.emitted() - emission.emittedAt(START + first);
        uint256 sum = lost;
        for (uint256 i = 0; i < 5; ++i) sum += emission.accrued(gauge[i]);
        check(sum <= emission.emitted(), "more than was released");
        check(emission.emitted() - sum <= 5, "less than 1 wei for each gauge, and next to nothing for each change");
    }

    /// Whoever held a key could upload who gets what (audit: privileged reward uploads): all that can be set are weights,
    /// by the timelock, for the time to come; the claims of all others are unmoved.
    function test_audit__no_reward_uploads() external {
        setWeight(trainers, 1);
        vm.warp(START + 50 days);
        uint256 due = emission.accrued(trainers);
        IEmission.GaugeWeight[] memory grab = new IEmission.GaugeWeight[](2);
        grab[0] = IEmission.GaugeWeight(trainers, 0);
        grab[1] = IEmission.GaugeWeight(stranger, type(uint64).max);
        vm.prank(address(timelock));
        emission.setWeights(grab);
        eq(emission.accrued(stranger), 0, "weight now is nothing for then");
        eq(emission.accrued(trainers), due, "what has accrued cannot be taken");
        string[3] memory uploads = ["upload(address[],uint256[])", "mint(address,uint256)", "setRewards(address,uint256)"];
        for (uint256 i = 0; i < uploads.length; ++i) {
            vm.prank(address(timelock));
            (bool ok,) = address(emission).call(abi.encodeWithSignature(uploads[i], stranger, 1));
            check(!ok, uploads[i]);
        }
    }

    /// A share would ignore for how long it was held (audit: rewards that ignore the time delegated).
    function test_audit__shares_count_time() external {
        setWeight(address(timelock), 0);
        setWeight(trainers, 1);
        vm.warp(START + 30 days - 1);
        setWeight(arena, type(uint64).max);
        vm.warp(START + 30 days);
        check(emission.accrued(arena) <= 30 * DAILY / 30 days, "the last second's, however heavy");
        check(emission.accrued(trainers) >= 30 * DAILY - 30 * DAILY / 30 days - 1, "all seconds before");
    }
}
