// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {GovernanceSettings, IFlockGovernor} from "../../src/governance/interfaces/IFlockGovernor.sol";
import {IGenesis} from "../../src/governance/interfaces/IGenesis.sol";
import {EmissionMath} from "../../src/governance/libraries/EmissionMath.sol";
import {GovernanceTest, GovernanceVm} from "./GovernanceTest.sol";

contract GenesisTest is GovernanceTest {
    uint256 private constant GAS_OF_A_TRANSACTION_MAX = 2 ** 24; // EIP-7825
    uint256 private constant INITCODE_BYTES_MAX = 49_152; // EIP-3860
    uint256 private constant CODE_BYTES_MAX = 24_576; // EIP-170

    function setUp() public override {
        vm.warp(START);
        deployGenesis();
    }

    function _creation(uint256 supply, GovernanceSettings memory s) private view returns (bytes memory) {
        return abi.encodePacked(vm.getCode("Genesis.sol:Genesis"), abi.encode(holder, supply, s));
    }

    /// Deploys by CREATE as a transaction does; returns zero and the reason if it reverts.
    function _create(bytes memory code) private returns (address made, bytes memory reason, uint256 gasUsed) {
        gasUsed = gasleft();
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
        }
        gasUsed -= gasleft();
        if (made != address(0)) return (made, "", gasUsed);
        assembly ("memory-safe") {
            reason := mload(0x40)
            mstore(reason, returndatasize())
            returndatacopy(add(reason, 32), 0, returndatasize())
            mstore(0x40, add(add(reason, 32), returndatasize()))
        }
    }

    /// The five contracts would not know each other.
    function test_genesis__wiring() external view {
        eq(token.minter(), address(emission), "minter");
        eq(token.balanceOf(holder), SUPPLY, "supply");
        eq(token.totalSupply(), SUPPLY, "nothing else");
        eq(token.balanceOf(address(timelock)), 0, "the treasury starts empty");
        eq(gm.token(), address(token), "gm locks FLOCK");
        eq(gm.timelock(), address(timelock), "gm obeys the timelock");
        eq(governor.token(), address(gm), "votes");
        eq(governor.timelock(), address(timelock), "executor");
        eq(emission.token(), address(token), "mints FLOCK");
        eq(emission.timelock(), address(timelock), "weights");
        eq(timelock.getMinDelay(), 2 days, "delay");
        eq(governor.votingDelay(), 1 days, "voting delay");
        eq(governor.votingPeriod(), 5 days, "voting period");
        eq(governor.proposalThreshold(), 100_000 ether, "threshold");
        eq(governor.quorumNumerator(), 4, "quorum");
        eq(governor.quorumVotesMin(), 1_000_000 ether, "least quorum");
        eq(keccak256(bytes(governor.CLOCK_MODE())), keccak256("mode=timestamp"), "clock");
        eq(keccak256(bytes(governor.name())), keccak256("FlockGovernor"), "name");
    }

    /// Somebody with a key would have a right in the timelock, and so in everything.
    function test_genesis__no_account_has_a_role() external {
        gvm.recordLogs();
        deployGenesis();
        GovernanceVm.Log[] memory logs = gvm.getRecordedLogs();
        uint256 granted = 0;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != keccak256("RoleGranted(bytes32,address,address)")) continue;
            eq(logs[i].emitter, address(timelock), "roles exist in the timelock alone");
            (bytes32 role, address account) = (logs[i].topics[1], address(uint160(uint256(logs[i].topics[2]))));
            if (role == bytes32(0)) eq(account, address(timelock), "admin");
            else if (role == keccak256("EXECUTOR_ROLE")) eq(account, address(0), "anyone executes");
            else eq(account, address(governor), "proposer and canceller");
            ++granted;
        }
        eq(granted, 4, "admin, proposer, canceller, executor");
        bytes32[4] memory roles =
            [bytes32(0), keccak256("PROPOSER_ROLE"), keccak256("CANCELLER_ROLE"), keccak256("EXECUTOR_ROLE")];
        address[5] memory accounts = [holder, address(this), address(genesis), stranger, tx.origin];
        for (uint256 r = 0; r < 4; ++r) {
            eq(timelock.getRoleAdmin(roles[r]), bytes32(0), "only the admin grants");
            for (uint256 a = 0; a < 5; ++a) check(!timelock.hasRole(roles[r], accounts[a]), "a role");
        }
    }

    /// The last months' emission would run into the cap of the token and revert for ever.
    function test_genesis__supply_leaves_room_for_the_emission() external {
        uint256 most = 1_000_000_000 ether - EmissionMath.TOTAL;
        (address made, bytes memory reason,) = _create(_creation(most + 1, settings()));
        eq(made, address(0), "too large");
        eq(keccak256(reason), keccak256(abi.encodeWithSelector(IGenesis.SupplyTooLarge.selector, most + 1, most)), "why");
        (made,,) = _create(_creation(most, settings()));
        vm.warp(START + 1800 days);
        IGenesis full = IGenesis(made);
        (bool ok,) = full.emission().call(abi.encodeWithSignature("mint(address)", full.timelock()));
        check(ok, "minted to the cap");
    }

    /// FLOCK would be minted to nobody, or a single wei decide.
    function test_genesis__wrong_arguments() external {
        GovernanceSettings memory s = settings();
        s.quorumVotesMin = 0;
        (, bytes memory reason,) = _create(_creation(SUPPLY, s));
        eq(bytes32(bytes4(reason)), bytes32(IFlockGovernor.WrongQuorum.selector), "no least quorum");
        holder = address(0);
        (, reason,) = _create(_creation(SUPPLY, settings()));
        eq(bytes32(bytes4(reason)), bytes32(IERC20Errors.ERC20InvalidReceiver.selector), "no holder");
    }

    /// The deployment would not fit a transaction, or one of the contracts not the chain.
    function test_genesis__fits() external {
        bytes memory code = _creation(SUPPLY, settings());
        check(code.length <= INITCODE_BYTES_MAX, "EIP-3860");
        (address made,, uint256 gasUsed) = _create(code);
        check(made != address(0), "made");
        // The transaction itself, and its data: 16 for a byte, 40 at the floor of EIP-7623; the dearer of the two counts.
        uint256 total = 21_000 + gasUsed + 16 * code.length;
        if (total < 21_000 + 40 * code.length) total = 21_000 + 40 * code.length;
        check(total <= GAS_OF_A_TRANSACTION_MAX, "EIP-7825");
        check(total >= 8_000_000, "measured something");
        IGenesis g = IGenesis(made);
        address[6] memory all = [made, g.token(), g.gmFlock(), g.governor(), g.timelock(), g.emission()];
        for (uint256 i = 0; i < 6; ++i) check(all[i].code.length > 0 && all[i].code.length <= CODE_BYTES_MAX, "EIP-170");
    }
}
