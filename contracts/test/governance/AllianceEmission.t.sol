// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEmission} from "../../src/governance/interfaces/IEmission.sol";
import {GovernanceTest} from "./GovernanceTest.sol";
import {AllianceFixture} from "./Privileges.t.sol";

contract AllianceEmissionTest is GovernanceTest {
    /// Whoever makes an alliance would be paid from the emission: makes one, joins it with its own nodes, and earns.
    function test_alliance__gets_no_emission() external {
        AllianceFixture fixture = new AllianceFixture();
        fixture.setUp();
        (address alliance,, address creator) = fixture.contracts();
        vm.warp(START + 400 days);
        eq(emission.weightOf(alliance), 0, "no weight");
        eq(emission.accrued(alliance), 0, "nothing");
        vm.expectRevert(abi.encodeWithSelector(IEmission.NothingAccrued.selector, alliance));
        emission.mint(alliance);
        vm.prank(creator);
        vm.expectRevert(IEmission.NotTimelock.selector);
        emission.setWeights(weights(alliance, 1));
        vm.prank(alliance);
        vm.expectRevert(IEmission.NotTimelock.selector);
        emission.setWeights(weights(alliance, 1));
        // Only a vote gives it some, for the time after it.
        Calls memory c = call1(address(emission), abi.encodeCall(IEmission.setWeights, (weights(alliance, 1))));
        enact(c);
        eq(emission.accrued(alliance), 0, "not for the time before");
        vm.warp(block.timestamp + 1 days);
        check(emission.accrued(alliance) > 0, "from the vote on");
    }
}
