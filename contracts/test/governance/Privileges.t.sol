// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IAllianceErrors} from "../../src/interfaces/IAllianceErrors.sol";
import {IAllianceFactory} from "../../src/interfaces/IAllianceFactory.sol";
import {IEmission} from "../../src/governance/interfaces/IEmission.sol";
import {IGmFlock} from "../../src/governance/interfaces/IGmFlock.sol";
import {AllianceTest} from "../AllianceTest.sol";
import {GovernanceTest, IFlock, ITimelock} from "./GovernanceTest.sol";

/// An alliance that somebody made, with its factory.
contract AllianceFixture is AllianceTest {
    function contracts() external view returns (address, IAllianceFactory, address) {
        return (address(alliance), factory, creator);
    }
}

/// Every function of every contract that changes state, and who may call it. What is guarded is called here by everybody
/// who is not named, and must refuse. Words: `anyone`, who can only move what is the sender's own or what the rules say
/// for all; or the one contract that may.
contract PrivilegesTest is GovernanceTest {
    string[] private parts = [
        "FlockToken", "GmFlock", "Emission", "FlockGovernor", "TimelockController", "Genesis", "Beacon", "AllianceFactory",
        "Alliance", "Members", "Evidence", "Challenges"
    ];

    mapping(string part => mapping(string name => uint256)) private rows;
    mapping(string part => uint256) private rowCount;
    address private alliance;
    address private factory;
    address private creator;
    uint256 private guardedCount;

    function setUp() public override {
        super.setUp();
        AllianceFixture fixture = new AllianceFixture();
        fixture.setUp();
        IAllianceFactory made;
        (alliance, made, creator) = fixture.contracts();
        factory = address(made);
    }

    function _anyone(string memory part, string[9] memory names) private {
        for (uint256 i = 0; i < 9 && bytes(names[i]).length > 0; ++i) _row(part, names[i]);
    }

    function _row(string memory part, string memory name) private {
        ++rows[part][name];
        ++rowCount[part];
    }

    /// A row of a guarded function: nobody but `may` gets through, `error` tells that it was for the sender.
    function _only(address may, string memory part, string memory name, address target, bytes memory data, bytes4 error)
        private
    {
        _row(part, name);
        ++guardedCount;
        address[9] memory others = [
            stranger, holder, voter, creator, address(governor), address(timelock), address(emission), factory, address(genesis)
        ];
        for (uint256 i = 0; i < 9; ++i) {
            if (others[i] == may) continue;
            vm.prank(others[i]);
            (bool ok, bytes memory reason) = target.call(data);
            check(!ok, string.concat("not refused: ", part, ".", name));
            eq(bytes32(bytes4(reason)), bytes32(error), string.concat("refused for another reason: ", part, ".", name));
        }
    }

    function _token() private {
        _anyone("FlockToken", ["transfer", "approve", "transferFrom", "permit", "", "", "", "", ""]);
        bytes memory mint = abi.encodeCall(token.mint, (stranger, 1));
        _only(address(emission), "FlockToken", "mint", address(token), mint, IFlock.NotMinter.selector);
    }

    function _gmFlock() private {
        _anyone("GmFlock", ["transfer", "approve", "transferFrom", "delegate", "delegateBySig", "lock", "lockWithPermit", "unlock", ""]);
        bytes memory list = abi.encodeCall(gm.setStakingContract, (stranger, true));
        _only(address(timelock), "GmFlock", "setStakingContract", address(gm), list, IGmFlock.NotTimelock.selector);
    }

    function _emission() private {
        _anyone("Emission", ["mint", "", "", "", "", "", "", "", ""]);
        bytes memory weigh = abi.encodeCall(emission.setWeights, (weights(stranger, 1)));
        _only(address(timelock), "Emission", "setWeights", address(emission), weigh, IEmission.NotTimelock.selector);
    }

    /// The governor's own settings are changed by the timelock, within an execution of the governor's, which Governor.t.sol
    /// shows; a call that the timelock makes outside one is refused too, by an empty queue.
    function _governor() private {
        _anyone("FlockGovernor", [
            "propose", "queue", "execute", "cancel", "castVote", "castVoteWithReason", "castVoteWithReasonAndParams",
            "castVoteBySig", "castVoteWithReasonAndParamsBySig"
        ]);
        _anyone("FlockGovernor", ["onERC721Received", "onERC1155Received", "onERC1155BatchReceived", "", "", "", "", "", ""]);
        string[5] memory names =
            ["setVotingDelay", "setVotingPeriod", "setProposalThreshold", "updateQuorumNumerator", "relay"];
        bytes[5] memory data = [
            abi.encodeCall(governor.setVotingDelay, (1)),
            abi.encodeCall(governor.setVotingPeriod, (1)),
            abi.encodeCall(governor.setProposalThreshold, (1)),
            abi.encodeCall(governor.updateQuorumNumerator, (1)),
            abi.encodeCall(governor.relay, (address(token), 0, ""))
        ];
        for (uint256 i = 0; i < 5; ++i) {
            _only(address(timelock), "FlockGovernor", names[i], address(governor), data[i], IGovernor.GovernorOnlyExecutor.selector);
            vm.prank(address(timelock));
            (bool ok,) = address(governor).call(data[i]);
            check(!ok, "the timelock beside an execution");
        }
    }

    function _timelock() private {
        bytes4 noRole = IAccessControl.AccessControlUnauthorizedAccount.selector;
        bytes32 proposer = keccak256("PROPOSER_ROLE");
        (address may, string memory part) = (address(governor), "TimelockController");
        bytes memory data = abi.encodeCall(timelock.schedule, (stranger, 0, "", 0, 0, 9 days));
        _only(may, part, "schedule", address(timelock), data, noRole);
        data = abi.encodeCall(
            timelock.scheduleBatch, (new address[](1), new uint256[](1), new bytes[](1), 0, 0, 9 days)
        );
        _only(may, part, "scheduleBatch", address(timelock), data, noRole);
        _only(may, part, "cancel", address(timelock), abi.encodeCall(timelock.cancel, (0)), noRole);
        may = address(timelock);
        data = abi.encodeCall(timelock.updateDelay, (0));
        _only(may, part, "updateDelay", address(timelock), data, ITimelock.TimelockUnauthorizedCaller.selector);
        data = abi.encodeCall(timelock.grantRole, (proposer, stranger));
        _only(may, part, "grantRole", address(timelock), data, noRole);
        data = abi.encodeCall(timelock.revokeRole, (proposer, address(governor)));
        _only(may, part, "revokeRole", address(timelock), data, noRole);
        // Of itself: the governor would have to be told to by a vote.
        data = abi.encodeCall(timelock.renounceRole, (proposer, address(governor)));
        _only(address(governor), part, "renounceRole", address(timelock), data, IAccessControl.AccessControlBadConfirmation.selector);
        // What anyone executes was scheduled by the governor and has waited.
        _anyone(part, ["execute", "executeBatch", "onERC721Received", "onERC1155Received", "onERC1155BatchReceived", "", "", "", ""]);
    }

    function _alliances() private {
        _anyone("AllianceFactory", ["create", "", "", "", "", "", "", "", ""]);
        _anyone("Alliance", ["sealRound", "commitRound", "settleRound", "voidRound", "close", "", "", "", ""]);
        bytes memory data = abi.encodeWithSignature("initialize(uint256)", 1);
        // Not the factory either: it is for the transaction that makes the clone.
        _only(address(0), "Alliance", "initialize", alliance, data, IAllianceErrors.NotFactory.selector);
        _anyone("Members", ["join", "leave", "registerKey", "withdraw", "registerAddresses", "suspend", "reactivate", "claim", "claimRounds"]);
        _anyone("Members", ["suspendSuspected", "", "", "", "", "", "", "", ""]);
        _anyone("Evidence", [
            "slashEquivocation", "slashSealEquivocation", "slashInvalidSeal", "slashBadShare", "slashBadDealing", "", "", "", ""
        ]);
        _anyone("Challenges", ["challengeAbsence", "answerAbsence", "slashAbsence", "", "", "", "", "", ""]);
    }

    /// A function would change state and nobody had said who may call it; or a right would be another's than its stated
    /// owner's: the timelock, the governor, the factory or the emission as the minter. There are no others.
    function test_privileges__every_function_has_a_stated_owner() external {
        _token();
        _gmFlock();
        _emission();
        _governor();
        _timelock();
        _alliances();
        for (uint256 i = 0; i < parts.length; ++i) {
            string[] memory names = _mutating(parts[i]);
            for (uint256 k = 0; k < names.length; ++k) {
                check(rows[parts[i]][names[k]] > 0, string.concat("no stated owner: ", parts[i], ".", names[k]));
            }
            eq(rowCount[parts[i]], names.length, string.concat("a row without function, or one of several: ", parts[i]));
        }
        eq(guardedCount, 16, "guarded functions; one more needs a line in the table of contracts/README.md");
    }

    /// Names of the functions in the ABI that are neither view nor pure.
    function _mutating(string memory part) private view returns (string[] memory names) {
        string memory json = vm.readFile(string.concat("out/", part, ".sol/", part, ".json"));
        names = new string[](64);
        uint256 count = 0;
        for (uint256 i = 0; has(json, "abi", i); ++i) {
            if (keccak256(bytes(vm.parseJsonString(json, path("abi", i, "type")))) != keccak256("function")) continue;
            bytes32 mutability = keccak256(bytes(vm.parseJsonString(json, path("abi", i, "stateMutability"))));
            if (mutability == keccak256("view") || mutability == keccak256("pure")) continue;
            names[count++] = vm.parseJsonString(json, path("abi", i, "name"));
        }
        assembly ("memory-safe") {
            mstore(names, count)
        }
    }

    /// The table would be compared with nothing.
    function test_privileges__reads_the_abi() external view {
        eq(_mutating("Emission").length, 2, "setWeights and mint");
        eq(_mutating("Genesis").length, 0, "Genesis does nothing");
        check(_mutating("TimelockController").length > 9, "payable functions too");
    }

    /// Whoever has the keys of a contract's maker, or of the first FLOCK, could do more than anyone: nothing in
    /// storage names them. The alliance that governance dislikes goes on.
    function test_privileges__governance_cannot_touch_an_alliance() external {
        string[5] memory calls =
            ["pause()", "close()", "setOwner(address)", "withdraw()", "transferOwnership(address)"];
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(address(timelock));
            (bool ok,) = alliance.call(abi.encodeWithSignature(calls[i], stranger));
            check(!ok, calls[i]);
        }
    }
}
