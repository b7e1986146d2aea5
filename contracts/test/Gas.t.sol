// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballot} from "../src/Types.sol";
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
}
