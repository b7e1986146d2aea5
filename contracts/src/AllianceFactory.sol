// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {SafeERC20, IERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {Alliance} from "./Alliance.sol";
import {AllianceBase} from "./AllianceBase.sol";
import {AllianceParams} from "./Types.sol";
import {Evidence} from "./Evidence.sol";
import {Members} from "./Members.sol";
import {IAllianceFactory} from "./interfaces/IAllianceFactory.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {ParamsRules} from "./libraries/ParamsRules.sol";

/// @title The one factory of a deployment
/// @dev Deploys the implementation itself, so that token, beacon and factory of all clones are fixed in code. Its other
/// parts are deployed before: together they are larger than the 49,152 bytes of EIP-3860.
contract AllianceFactory is IAllianceFactory {
    using SafeERC20 for IERC20;

    uint256 private constant TASK_NAME_BYTES_MAX = 64;
    uint256 private constant ALLOWLIST_OWNERS_MAX = 1024; // the log of all of them costs 700,000 gas

    IERC20 public immutable token;
    IBeacon public immutable beacon;
    address public immutable implementation;
    /// @inheritdoc IAllianceFactory
    uint256 public allianceCount;
    /// @inheritdoc IAllianceFactory
    mapping(uint256 number => address) public alliances;

    /// @param members with the parts behind it, all of this token and beacon
    constructor(IERC20 token_, IBeacon beacon_, Members members) {
        Evidence evidence = Evidence(members.evidence());
        _requirePart(members, token_, beacon_);
        _requirePart(evidence, token_, beacon_);
        _requirePart(AllianceBase(evidence.challenges()), token_, beacon_);
        token = token_;
        beacon = beacon_;
        implementation = address(new Alliance(token_, beacon_, members));
    }

    /// @inheritdoc IAllianceFactory
    function create(
        AllianceParams calldata params,
        uint256 rewardPool,
        string calldata taskName,
        address[] calldata allowlist
    ) external returns (uint256 number, address alliance) {
        ParamsRules.validate(params, rewardPool);
        if (bytes(taskName).length == 0 || bytes(taskName).length > TASK_NAME_BYTES_MAX) revert WrongTaskName();
        if (_computeRoot(allowlist) != params.allowlistRoot) revert WrongAllowlist();
        number = ++allianceCount;
        alliance = Clones.cloneWithImmutableArgs(
            implementation, abi.encode(params, number, msg.sender, keccak256(abi.encode(params)))
        );
        alliances[number] = alliance;
        Alliance(alliance).initialize(rewardPool);
        emit AllianceCreated(number, alliance, msg.sender, params.manifestDigest, taskName, allowlist);
        token.safeTransferFrom(msg.sender, alliance, rewardPool);
    }

    /// Whoever joins proves its place with OpenZeppelin's MerkleProof. Leaves are hashed twice, so none is also a node.
    function _computeRoot(address[] calldata owners) private pure returns (bytes32) {
        uint256 count = owners.length;
        if (count == 0) return 0;
        if (count > ALLOWLIST_OWNERS_MAX) revert WrongAllowlist();
        bytes32[] memory nodes = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            if (i > 0 && owners[i] <= owners[i - 1]) revert WrongAllowlist();
            nodes[i] = keccak256(bytes.concat(keccak256(abi.encode(owners[i]))));
        }
        // Each layer is written over the one below it.
        for (; count > 1; count = (count + 1) / 2) {
            for (uint256 i = 0; i < count; i += 2) {
                nodes[i / 2] = i + 1 < count ? Hashes.commutativeKeccak256(nodes[i], nodes[i + 1]) : nodes[i];
            }
        }
        return nodes[0];
    }

    function _requirePart(AllianceBase part, IERC20 token_, IBeacon beacon_) private view {
        if (address(part.token()) != address(token_) || address(part.beacon()) != address(beacon_)) {
            revert WrongPart(address(part));
        }
    }
}
