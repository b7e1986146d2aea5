// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {SafeERC20, IERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {AllianceBase} from "../src/AllianceBase.sol";
import {Ballot, RoundRecord, SealStatement, Statement} from "../src/Types.sol";
import {IAlliance} from "../src/interfaces/IAlliance.sol";
import {IBeacon} from "../src/interfaces/IBeacon.sol";
import {IAllianceParts} from "./AllianceTest.sol";
import {ConservationChecks} from "./ConservationHandler.sol";

/// Mistakes somebody could make in Members or Evidence; everything else is the real code.
contract LeakyMembers is AllianceBase {
    using SafeERC20 for IERC20;

    address private immutable REAL;

    constructor(IERC20 token_, IBeacon beacon_, address real) AllianceBase(token_, beacon_) {
        REAL = real;
    }

    /// Planted: the round is not marked as claimed.
    function claimRounds(RoundRecord[] calldata records) external {
        uint256 amount = IAlliance(address(this)).getReward(msg.sender, records[0]);
        _owed -= uint128(amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// Planted: the sum of stakes is not lowered.
    function withdraw() external {
        uint128 stake = _members[msg.sender].stake;
        _members[msg.sender].stake = 0;
        token.safeTransfer(msg.sender, stake);
    }

    /// Planted: what is slashed goes nowhere.
    function slashEquivocation(Statement calldata, Statement calldata) external {
        _members[msg.sender].slashed = true;
        _members[msg.sender].stake -= 1;
        _stakes -= 1;
    }

    /// Planted: an offender loses its part as often as somebody asks. The books and the log are right each time.
    function slashInvalidSeal(SealStatement calldata, bytes calldata, bytes calldata, bytes[] calldata) external {
        uint128 cut = uint128(uint256(_members[msg.sender].stake) * _params().provableSlashBps / BPS);
        _members[msg.sender].slashed = true;
        _members[msg.sender].stake -= cut;
        _stakes -= cut;
        _pool += cut;
        emit Slashed(msg.sender, 0, 0, 3, cut, msg.sender);
    }

    /// Planted: the bond is taken and not booked.
    function challengeAbsence(address, RoundRecord calldata) external {
        token.safeTransferFrom(msg.sender, address(this), 1);
    }

    /// Planted: nobody looks at the records.
    function suspendSuspected(address owner, RoundRecord[] calldata) external {
        _members[owner].suspected = true;
        emit SeatSuspected(_members[owner].seat, owner, 0, 0);
        _queueRemoval(_members[owner], owner);
    }

    /// Planted: whoever was suspected comes back, or was never let go.
    function reactivate(bytes32) external {
        _members[msg.sender].suspected = !_members[msg.sender].suspected;
    }

    fallback() external {
        _delegate(REAL);
    }
}

contract PlantedBugTest is ConservationChecks {
    function setUp() public override {
        super.setUp();
        params.suspicionBound = 1;
        address real = deployParts(address(token), beacon);
        address leaky = address(new LeakyMembers(token, beacon, real));
        address implementation = vm.deployCode("out/Alliance.sol/Alliance.json", abi.encode(token, beacon, leaky));
        uint256 pool = uint256(params.rewardPerRound) * params.roundCount;
        address clone = Clones.cloneWithImmutableArgs(
            implementation, abi.encode(params, 1, creator, keccak256(abi.encode(params)))
        );
        IAllianceParts(clone).initialize(pool);
        token.transfer(clone, pool);
        alliance = IAlliance(clone);
        joinAll(11);
        requireNoError(accountsError());
        playRound(ALL, YES);
        requireNoError(accountsError());
        requireNoError(claimsError());
        requireNoError(suspicionError());
    }

    function _requireError(string memory error, string memory expected) private pure {
        eq(keccak256(bytes(error)), keccak256(bytes(expected)), string.concat("the check is blind; it said: ", error));
    }

    /// The check would not see rewards that are paid without being marked as claimed.
    function test_checks__see_a_reward_paid_twice() external {
        RoundRecord[] memory records = recordsOf(0, 1);
        vm.prank(member(0));
        alliance.claimRounds(records);
        _requireError(claimsError(), "owed != sum of all claims");
    }

    /// The check would not see stakes that are paid without being booked.
    function test_checks__see_an_unbooked_withdrawal() external {
        vm.prank(member(0));
        alliance.withdraw();
        _requireError(accountsError(), "balance != stakes + pool + owed");
    }

    /// The check would not see a slash that is taken and not given.
    function test_checks__see_a_slash_that_vanishes() external {
        Statement memory any = said(member(0), 0, 1, "any");
        vm.prank(member(0));
        alliance.slashEquivocation(any, any);
        _requireError(accountsError(), "balance != stakes + pool + owed");
    }

    /// The check would not see a slash that is taken twice.
    function test_checks__see_a_second_slash() external {
        SealStatement memory any;
        for (uint256 i = 0; i < 2; ++i) {
            requireNoError(accountsError());
            vm.prank(member(0));
            alliance.slashInvalidSeal(any, "", "", new bytes[](0));
        }
        _requireError(accountsError(), "more slashed than the parameters allow");
    }

    /// The check would not see a seat that is suspended although its cohort was adopted.
    function test_checks__see_an_unfounded_suspicion() external {
        alliance.suspendSuspected(member(0), recordsOf(0, 1));
        _requireError(suspicionError(), "suspected without the rejections in a row");
    }

    /// The check would not see a suspected member that comes back with its stake.
    function test_checks__see_a_suspicion_that_is_forgotten() external {
        Ballot[] memory ballots = ballotsOf(3, NO);
        sealNow(ALL);
        address owner = ownerAt(3);
        playBallots(ballots);
        alliance.suspendSuspected(owner, recordsOf(0, 2));
        requireNoError(suspicionError());
        vm.prank(owner);
        alliance.reactivate(0);
        _requireError(suspicionError(), "a suspicion that was not logged, or was forgotten");
    }

    /// The check would not see a bond that is taken and owed to nobody.
    function test_checks__see_an_unbooked_bond() external {
        token.approve(address(alliance), 1);
        alliance.challengeAbsence(member(0), recordOf(0));
        _requireError(accountsError(), "balance != stakes + pool + owed");
    }

    /// The check would not see a seat whose stake is gone.
    function test_checks__see_a_seat_without_stake() external {
        vm.prank(member(0));
        alliance.withdraw();
        _requireError(seatsError(), "a seat without member or stake");
    }
}
