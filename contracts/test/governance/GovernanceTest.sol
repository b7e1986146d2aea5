// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IERC5805} from "@openzeppelin/contracts/interfaces/IERC5805.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {IEmission} from "../../src/governance/interfaces/IEmission.sol";
import {GovernanceSettings, IFlockGovernor} from "../../src/governance/interfaces/IFlockGovernor.sol";
import {IGenesis} from "../../src/governance/interfaces/IGenesis.sol";
import {IGmFlock} from "../../src/governance/interfaces/IGmFlock.sol";
import {Forge} from "../Forge.sol";

/// What these tests call of FLOCK. Interfaces only: a test that imports a contract makes a second build of it.
interface IFlock is IERC20Metadata, IERC20Permit {
    error NotMinter();

    function mint(address to, uint256 amount) external;
    function minter() external view returns (address);
    function cap() external view returns (uint256);
}

interface IGm is IGmFlock, IERC20Metadata, IERC5805 {}

interface IGovernorAll is IGovernor, IFlockGovernor {
    function timelock() external view returns (address);
    function token() external view returns (address);
    function proposalThreshold() external view returns (uint256);
    function quorumNumerator() external view returns (uint256);
    function proposalVotes(uint256 id) external view returns (uint256 against, uint256 favour, uint256 abstain);
    function setVotingDelay(uint48 delay) external;
    function setVotingPeriod(uint32 period) external;
    function setProposalThreshold(uint256 threshold) external;
    function updateQuorumNumerator(uint256 numerator) external;
    function updateTimelock(address timelock) external;
    function relay(address target, uint256 value, bytes calldata data) external payable;
}

interface ITimelock is IAccessControl {
    error TimelockUnauthorizedCaller(address caller);

    function getMinDelay() external view returns (uint256);
    function updateDelay(uint256 delay) external;
    function schedule(address target, uint256 value, bytes calldata data, bytes32 predecessor, bytes32 salt, uint256 delay)
        external;
    function scheduleBatch(
        address[] calldata targets,
        uint256[] calldata values,
        bytes[] calldata payloads,
        bytes32 predecessor,
        bytes32 salt,
        uint256 delay
    ) external;
    function cancel(bytes32 id) external;
}

/// Cheatcodes that only these tests use.
interface GovernanceVm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);
    function parseJsonKeys(string calldata json, string calldata key) external pure returns (string[] memory);
}

/// The protocol as Genesis deploys it. 500 million FLOCK are with `holder`; `voter` has locked 3 million for a year.
abstract contract GovernanceTest is Forge {
    GovernanceVm internal constant gvm = GovernanceVm(address(vm));
    uint256 internal constant START = 1_790_000_000;
    uint256 internal constant SUPPLY = 500_000_000 ether;
    uint256 internal constant DAILY = 309_157.68 ether;
    uint256 internal constant VOTER_LOCK = 3_000_000 ether;

    address internal holder = vm.addr(0x401D);
    address internal voter = vm.addr(0x7073);
    address internal stranger = vm.addr(0x57A6);
    IGenesis internal genesis;
    IFlock internal token;
    IGm internal gm;
    IGovernorAll internal governor;
    ITimelock internal timelock;
    IEmission internal emission;

    function settings() internal pure returns (GovernanceSettings memory) {
        return GovernanceSettings({
            votingDelay: 1 days,
            votingPeriod: 5 days,
            proposalThreshold: 100_000 ether,
            quorumNumerator: 4,
            quorumVotesMin: 1_000_000 ether,
            timelockDelay: 2 days
        });
    }

    function setUp() public virtual {
        vm.warp(START);
        deployGenesis();
        give(voter, VOTER_LOCK);
        lockFor(voter, VOTER_LOCK, 365 days);
        vm.warp(START + 1);
    }

    function deployGenesis() internal {
        genesis = IGenesis(vm.deployCode("Genesis.sol:Genesis", abi.encode(holder, SUPPLY, settings())));
        token = IFlock(genesis.token());
        gm = IGm(genesis.gmFlock());
        governor = IGovernorAll(genesis.governor());
        timelock = ITimelock(genesis.timelock());
        emission = IEmission(genesis.emission());
    }

    function give(address owner, uint256 amount) internal {
        vm.prank(holder);
        token.transfer(owner, amount);
    }

    function lockFor(address owner, uint256 amount, uint256 lockSeconds) internal returns (uint256 id) {
        vm.prank(owner);
        token.approve(address(gm), amount);
        vm.prank(owner);
        return gm.lock(amount, lockSeconds);
    }

    function unlockFor(address owner, uint256 id) internal {
        vm.prank(owner);
        gm.unlock(one(id));
    }

    function one(uint256 id) internal pure returns (uint256[] memory ids) {
        ids = new uint256[](1);
        ids[0] = id;
    }

    function weights(address gauge, uint64 weight) internal pure returns (IEmission.GaugeWeight[] memory list) {
        list = new IEmission.GaugeWeight[](1);
        list[0] = IEmission.GaugeWeight(gauge, weight);
    }

    /// As if a proposal had been executed that does only this.
    function setWeight(address gauge, uint64 weight) internal {
        vm.prank(address(timelock));
        emission.setWeights(weights(gauge, weight));
    }

    function setStaking(address stakingContract, bool listed) internal {
        vm.prank(address(timelock));
        gm.setStakingContract(stakingContract, listed);
    }

    struct Calls {
        address[] targets;
        uint256[] values;
        bytes[] payloads;
        string description;
    }

    function call1(address target, bytes memory payload) internal pure returns (Calls memory c) {
        c = Calls(new address[](1), new uint256[](1), new bytes[](1), "a proposal");
        (c.targets[0], c.payloads[0]) = (target, payload);
    }

    function propose(address proposer, Calls memory c) internal returns (uint256 id) {
        vm.prank(proposer);
        return governor.propose(c.targets, c.values, c.payloads, c.description);
    }

    function vote(address account, uint256 id, uint8 support) internal {
        vm.prank(account);
        governor.castVote(id, support);
    }

    /// From the proposal to the moment when it can be queued, `voter` in favour.
    function succeed(Calls memory c) internal returns (uint256 id) {
        id = propose(voter, c);
        vm.warp(block.timestamp + governor.votingDelay() + 1);
        vote(voter, id, 1);
        vm.warp(governor.proposalDeadline(id) + 1);
    }

    function queue(Calls memory c) internal {
        governor.queue(c.targets, c.values, c.payloads, keccak256(bytes(c.description)));
    }

    function execute(Calls memory c) internal {
        governor.execute(c.targets, c.values, c.payloads, keccak256(bytes(c.description)));
    }

    function enact(Calls memory c) internal {
        succeed(c);
        queue(c);
        vm.warp(block.timestamp + timelock.getMinDelay());
        execute(c);
    }
}
