// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Sortition} from "../src/libraries/Sortition.sol";
import {Forge} from "./Forge.sol";

/// External, so that a revert of the library can be expected.
contract SortitionCaller {
    function seatAt(bytes32 seed, uint256 position, uint256 seatCount) external pure returns (uint256) {
        return Sortition.seatAt(seed, position, seatCount);
    }

    function positionOf(bytes32 seed, uint256 seat, uint256 seatCount) external pure returns (uint256) {
        return Sortition.positionOf(seed, seat, seatCount);
    }

    function seatInOrder(bytes32 seed, uint256 position, uint256 seatCount) external pure returns (uint256) {
        return Sortition.seatAt(Sortition.open(seed, seatCount), position);
    }

    function positionInOrder(bytes32 seed, uint256 seat, uint256 seatCount) external pure returns (uint256) {
        return Sortition.positionOf(Sortition.open(seed, seatCount), seat);
    }
}

contract SortitionTest is Forge {
    SortitionCaller private caller = new SortitionCaller();
    string private json = vm.readFile("../tests/vectors/sortition.json");

    /// Python and the contract would derive different seeds from one beacon value.
    function test_seed__vectors() external {
        uint256 i = 0;
        for (; has(json, "seeds", i); ++i) {
            check(_seedMatches("seeds", i), vm.parseJsonString(json, path("seeds", i, "name")));
        }
        check(i >= 4, "vectors missing");
    }

    /// A seed would not be bound to chain, contract, alliance or round.
    function test_seed__bad_vectors() external {
        uint256 i = 0;
        for (; has(json, "bad_seeds", i); ++i) {
            check(!_seedMatches("bad_seeds", i), vm.parseJsonString(json, path("bad_seeds", i, "name")));
        }
        check(i >= 4, "vectors missing");
    }

    /// Python and the contract would elect different committees, or put trainers into different cohorts.
    function test_order__vectors() external view {
        uint256 i = 0;
        for (; has(json, "orders", i); ++i) {
            check(_orderMatches("orders", i), vm.parseJsonString(json, path("orders", i, "name")));
        }
        check(i >= 12, "vectors missing");
    }

    /// The comparison with the vectors would accept anything.
    function test_order__bad_vectors() external view {
        uint256 i = 0;
        for (; has(json, "bad_orders", i); ++i) {
            check(!_orderMatches("bad_orders", i), vm.parseJsonString(json, path("bad_orders", i, "name")));
        }
        check(i >= 12, "vectors missing");
    }

    /// Large alliances would be ordered differently in Python.
    function test_position__vectors() external view {
        uint256 i = 0;
        for (; has(json, "positions", i); ++i) {
            bytes32 seed = vm.parseJsonBytes32(json, path("positions", i, "seed"));
            uint256 count = vm.parseJsonUint(json, path("positions", i, "seat_count"));
            uint256 position = vm.parseJsonUint(json, path("positions", i, "position"));
            uint256 seat = vm.parseJsonUint(json, path("positions", i, "seat"));
            eq(Sortition.seatAt(seed, position, count), seat, "seatAt");
            eq(Sortition.positionOf(seed, seat, count), position, "positionOf");
        }
        check(i >= 9, "vectors missing");
    }

    /// A position beyond the seats would be given somebody's role.
    function test_position__bad_vectors() external {
        uint256 i = 0;
        for (; has(json, "bad_positions", i); ++i) {
            bytes32 seed = vm.parseJsonBytes32(json, path("bad_positions", i, "seed"));
            uint256 count = vm.parseJsonUint(json, path("bad_positions", i, "seat_count"));
            uint256 position = vm.parseJsonUint(json, path("bad_positions", i, "position"));
            vm.expectRevert(Sortition.NoSuchPosition.selector);
            caller.seatAt(seed, position, count);
            vm.expectRevert(Sortition.NoSuchPosition.selector);
            caller.positionOf(seed, position, count);
        }
        check(i >= 9, "vectors missing");
    }

    /// The only seat of an alliance would have no position: a permutation of one has no half to mix.
    function test_order__of_one_seat() external view {
        for (uint256 i = 0; i < 4; ++i) {
            eq(caller.seatAt(keccak256(abi.encode(i)), 0, 1), 0, "seat");
            eq(caller.positionOf(keccak256(abi.encode(i)), 0, 1), 0, "position");
        }
    }

    /// Two positions would share a seat, or a claim would look up another role than the one that was held.
    function testFuzz_order__is_a_permutation(bytes32 seed, uint256 count) external pure {
        count = bound(count, 1, 80);
        uint256 seen = 0;
        for (uint256 position = 0; position < count; ++position) {
            uint256 seat = Sortition.seatAt(seed, position, count);
            check(seat < count && seen >> seat & 1 == 0, "seat out of range or twice");
            seen |= 1 << seat;
            eq(Sortition.positionOf(seed, seat, count), position, "not the inverse");
        }
    }

    /// A large committee, whose order was asked before and remembers it, would be another than the one that claims are paid
    /// by.
    /// forge-config: default.fuzz.runs = 48
    function testFuzz_order__remembers(bytes32 seed, uint256 count) external pure {
        count = bound(count, 1, 300);
        Sortition.Order memory order = Sortition.open(seed, count);
        for (uint256 position = 0; position < count && position < 64; ++position) {
            uint256 seat = Sortition.seatAt(seed, position, count);
            eq(Sortition.seatAt(order, position), seat, "asked the first time");
            eq(Sortition.seatAt(order, position), seat, "asked again");
            eq(Sortition.positionOf(order, seat), position, "asked the other way");
        }
    }

    /// A position beyond the seats would be given a seat by an order that is already open.
    function test_order__beyond_the_seats() external {
        for (uint256 count = 1; count < 20; ++count) {
            vm.expectRevert(Sortition.NoSuchPosition.selector);
            caller.seatInOrder("seed", count, count);
            vm.expectRevert(Sortition.NoSuchPosition.selector);
            caller.positionInOrder("seed", count, count);
        }
    }

    /// A survivor would be paid for another cohort than the one it was summed in.
    function testFuzz_cohort__agrees_with_its_bounds(uint256 trainers, uint256 cohorts, uint256 trainer) external pure {
        trainers = bound(trainers, 1, 65535);
        cohorts = bound(cohorts, 1, trainers < 16 ? trainers : 16);
        trainer = bound(trainer, 0, trainers - 1);
        uint256 cohort = Sortition.cohortOf(trainer, trainers, cohorts);
        check(cohort < cohorts, "cohort out of range");
        check(cohort * trainers / cohorts <= trainer, "before its cohort");
        check(trainer < (cohort + 1) * trainers / cohorts, "behind its cohort");
    }

    function _seedMatches(string memory list, uint256 i) private returns (bool) {
        vm.chainId(vm.parseJsonUint(json, path(list, i, "chain_id")));
        bytes32 seed = Sortition.computeSeed(
            vm.parseJsonAddress(json, path(list, i, "contract")),
            vm.parseJsonUint(json, path(list, i, "alliance")),
            uint32(vm.parseJsonUint(json, path(list, i, "round"))),
            vm.parseJsonBytes32(json, path(list, i, "randomness"))
        );
        return seed == vm.parseJsonBytes32(json, path(list, i, "seed"));
    }

    function _orderMatches(string memory list, uint256 i) private view returns (bool) {
        bytes32 seed = vm.parseJsonBytes32(json, path(list, i, "seed"));
        uint256 count = vm.parseJsonUint(json, path(list, i, "seat_count"));
        uint256[] memory order = vm.parseJsonUintArray(json, path(list, i, "order"));
        if (order.length != count) return false;
        for (uint256 position = 0; position < count; ++position) {
            if (Sortition.seatAt(seed, position, count) != order[position]) return false;
        }
        return _cohortsMatch(list, i, order);
    }

    function _cohortsMatch(string memory list, uint256 i, uint256[] memory order) private view returns (bool) {
        uint256 validators = vm.parseJsonUint(json, path(list, i, "validator_count"));
        uint256 cohorts = vm.parseJsonUint(json, path(list, i, "cohort_count"));
        uint256[][] memory groups = new uint256[][](cohorts);
        for (uint256 c = 0; c < cohorts; ++c) {
            string memory field = string.concat("cohorts[", vm.toString(c), "]");
            groups[c] = vm.parseJsonUintArray(json, path(list, i, field));
        }
        uint256[] memory filled = new uint256[](cohorts);
        uint256 trainers = order.length - validators;
        for (uint256 t = 0; t < trainers; ++t) {
            uint256 c = Sortition.cohortOf(t, trainers, cohorts);
            if (filled[c] >= groups[c].length || groups[c][filled[c]] != order[validators + t]) return false;
            ++filled[c];
        }
        for (uint256 c = 0; c < cohorts; ++c) if (filled[c] != groups[c].length) return false;
        return true;
    }
}
