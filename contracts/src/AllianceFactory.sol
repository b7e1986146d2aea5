// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {SafeERC20, IERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Alliance} from "./Alliance.sol";
import {AllianceParams} from "./Types.sol";
import {Evidence} from "./Evidence.sol";
import {FlockToken} from "./FlockToken.sol";
import {Members} from "./Members.sol";
import {IAllianceFactory} from "./interfaces/IAllianceFactory.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {ParamsRules} from "./libraries/ParamsRules.sol";

/// @title The one factory of a deployment
/// @dev Deploys the implementation itself, so that token, beacon and factory of all clones are fixed in code.
contract AllianceFactory is IAllianceFactory {
    using SafeERC20 for IERC20;

    uint256 private constant TASK_NAME_BYTES_MAX = 64;

    IERC20 public immutable token;
    IBeacon public immutable beacon;
    address public immutable implementation;
    address public immutable members;
    address public immutable evidence;

    /// @inheritdoc IAllianceFactory
    uint256 public allianceCount;
    /// @inheritdoc IAllianceFactory
    mapping(uint256 number => address) public alliances;

    constructor(FlockToken token_, IBeacon beacon_) {
        token = IERC20(address(token_));
        beacon = beacon_;
        evidence = address(new Evidence(token, beacon));
        members = address(new Members(token, beacon, Evidence(evidence)));
        implementation = address(new Alliance(token, beacon, Members(members)));
    }

    /// @inheritdoc IAllianceFactory
    function create(AllianceParams calldata params, uint256 rewardPool, string calldata taskName)
        external
        returns (uint256 number, address alliance)
    {
        ParamsRules.validate(params, rewardPool);
        if (bytes(taskName).length == 0 || bytes(taskName).length > TASK_NAME_BYTES_MAX) revert WrongTaskName();
        number = ++allianceCount;
        alliance = Clones.cloneWithImmutableArgs(
            implementation, abi.encode(params, number, msg.sender, keccak256(abi.encode(params)))
        );
        alliances[number] = alliance;
        Alliance(alliance).initialize(rewardPool);
        emit AllianceCreated(number, alliance, msg.sender, params.manifestDigest, taskName);
        token.safeTransferFrom(msg.sender, alliance, rewardPool);
    }
}
