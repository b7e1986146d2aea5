// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IChallenges} from "./IChallenges.sol";
import {IEvidence} from "./IEvidence.sol";
import {IMembers} from "./IMembers.sol";
import {IRounds} from "./IRounds.sol";

/// @title One alliance: the staked nodes that train one model
/// @notice What callers see at an alliance's address. The trust model and the numbered invariants are in
/// contracts/README.md.
interface IAlliance is IMembers, IRounds, IEvidence, IChallenges {}
