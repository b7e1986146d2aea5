// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot, RoundRecord} from "../src/Types.sol";
import {AllianceTest} from "./AllianceTest.sol";

/// What the transactions cost, each run as one of its own (cold storage, calldata included). The figures are kept in
/// snapshots/GasTest.json: a change that makes a round dearer shows in its diff.
/// forge-config: default.isolate = true
contract GasTest is AllianceTest {
    function setUp() public override {
        super.setUp();
        params.cohortCount = 1;
        (params.seatCountMin, params.seatCountMax) = (8, 14);
        alliance = create(params, 1);
        joinAll(8);
    }

    function _measureRound(string memory name) private {
        vm.warp(state().opensAt);
        send(sealOf(ALL));
        vm.snapshotGasLastCall(string.concat(name, ": seal"));
        Ballot[] memory ballots = ballotsOf(3, YES);
        CommitCall memory commits = commitOf(ballots);
        send(commits);
        vm.snapshotGasLastCall(string.concat(name, ": commit"));
        SettleCall memory call = settleOf(commits.seal.round, ballots);
        send(call);
        vm.snapshotGasLastCall(string.concat(name, ": settle"));
    }

    /// A round's three transactions would become dearer without anybody noticing. V = 3, one cohort, 8 seats, the
    /// beacon's proof (170,000) not included.
    function test_gas__of_rounds() external {
        _measureRound("round 0");
        _measureRound("round 1");
        _measureRound("round 2");
    }

    /// A suspicion would become dearer without anybody noticing. Eight records are shown, of two, six and sixteen cohorts;
    /// gas is nearly a multiple of their number.
    function test_gas__of_suspicion() external {
        _measureSuspicion(3, 11, 2);
        _measureSuspicion(21, 50, 6);
        _measureSuspicion(64, 128, 16);
    }

    function _measureSuspicion(uint8 validators, uint16 seats, uint8 cohorts) private {
        params = defaultParams();
        (params.validatorCount, params.cohortCount, params.threshold) = (validators, cohorts, 4);
        (params.seatCountMin, params.seatCountMax) = (seats, seats);
        (params.roundCount, params.suspicionBound) = (9, 1);
        alliance = create(params, 1);
        joinAll(seats);
        for (uint256 i = 0; i < 7; ++i) playRound(ALL, NO);
        address trainer = ownerAt(validators);
        playRound(ALL, NO);
        RoundRecord[] memory records = recordsOf(0, 8);
        alliance.suspendSuspected(trainer, records);
        vm.snapshotGasLastCall(string.concat("suspicion, V = ", vm.toString(validators), ", 8 records"));
    }
}
