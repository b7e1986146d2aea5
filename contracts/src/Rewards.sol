// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20, IERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {AllianceParams} from "./Types.sol";
import {Seats} from "./Seats.sol";
import {IAlliance} from "./interfaces/IAlliance.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {Sortition} from "./libraries/Sortition.sol";

/// @title Who is paid what
/// @dev Money moves between three sums only: pool -> owed when a round earns it, owed -> a member when it claims, and
/// stakes, which rewards never touch. Whatever a round does not earn simply stays in the pool, dust included.
abstract contract Rewards is Seats {
    using SafeERC20 for IERC20;
    using Checkpoints for Checkpoints.Trace224;

    uint256 internal constant BPS = 10_000;
    uint256 internal constant TRAINER_BPS = 4_000;
    uint256 internal constant VALIDATOR_BPS = 5_000;
    uint256 internal constant REFUND_BPS = 1_000;
    uint256 internal constant REFUND_COUNT = 3;

    /// A settled round, in one word: with the beacon and the survivors it says what every seat earned.
    struct Settled {
        uint64 beaconRound;
        uint64 revealed; // bitmap of validator positions
        uint96 trainerReward; // for each survivor of an adopted cohort
        uint16 seatCount; // 0: not settled
        uint16 adopted; // bitmap of cohorts
    }

    IBeacon public immutable beacon;

    uint256 internal _pool;
    uint256 internal _owed;
    mapping(address owner => uint256) internal _credits;
    mapping(uint32 round => Settled) internal _settled;
    mapping(uint32 round => mapping(uint256 word => uint256)) internal _survivors;
    mapping(address owner => mapping(uint256 word => uint256)) internal _claimed; // one bit for each round

    constructor(IBeacon beacon_) {
        beacon = beacon_;
    }

    /// @inheritdoc IAlliance
    function claim() external {
        _payCredit();
    }

    /// @inheritdoc IAlliance
    function claimRounds(uint32[] calldata rounds) external {
        uint256 total = 0;
        for (uint256 i = 0; i < rounds.length; ++i) {
            uint256 round = rounds[i];
            uint256 reward = getReward(msg.sender, rounds[i]);
            if (reward == 0) continue;
            _claimed[msg.sender][round / 256] |= 1 << (round % 256);
            total += reward;
        }
        _credits[msg.sender] += total;
        _payCredit();
    }

    /// @inheritdoc IAlliance
    function getCredit(address owner) external view returns (uint256) {
        return _credits[owner];
    }

    /// @inheritdoc IAlliance
    function getReward(address owner, uint32 round) public view returns (uint256) {
        Settled memory settled = _settled[round];
        if (settled.seatCount == 0) return 0;
        if (_claimed[owner][uint256(round) / 256] >> (uint256(round) % 256) & 1 == 1) return 0;
        uint256 seatPlusOne = _seatHistory[owner].upperLookup(round);
        if (seatPlusOne == 0 || seatPlusOne > settled.seatCount) return 0;
        bytes32 seed =
            Sortition.computeSeed(address(this), number(), round, beacon.randomness(settled.beaconRound));
        uint256 position = Sortition.positionOf(seed, seatPlusOne - 1, settled.seatCount);
        AllianceParams memory p = _params();
        uint256 validators = p.validatorCount;
        if (position < validators) {
            return settled.revealed >> position & 1 == 1 ? _validatorRewardDown(p) : 0;
        }
        uint256 trainer = position - validators;
        uint256 cohort = Sortition.cohortOf(trainer, settled.seatCount - validators, p.cohortCount);
        if (settled.adopted >> cohort & 1 == 0) return 0;
        return _survivors[round][trainer / 256] >> (trainer % 256) & 1 == 1 ? settled.trainerReward : 0;
    }

    /// @inheritdoc IAlliance
    function getAccounts() external view returns (uint256 stakes, uint256 pool, uint256 owed) {
        return (_stakes, _pool, _owed);
    }

    /// A V-th of the validators' part, whoever else revealed: keeping others from revealing gains nothing.
    function _validatorRewardDown(AllianceParams memory p) internal pure returns (uint256) {
        return uint256(p.rewardPerRound) * VALIDATOR_BPS / BPS / p.validatorCount;
    }

    /// The trainers' part of the budget for each of `survivors`.
    function _trainerRewardDown(AllianceParams memory p, uint256 survivors) internal pure returns (uint256) {
        return survivors == 0 ? 0 : uint256(p.rewardPerRound) * TRAINER_BPS / BPS / survivors;
    }

    /// What the sender of one of a round's three transactions gets back.
    function _refundDown(AllianceParams memory p) internal pure returns (uint256) {
        return uint256(p.rewardPerRound) * REFUND_BPS / BPS / REFUND_COUNT;
    }

    /// Moves earned FLOCK out of the pool. A round reserves at most its budget, and the pool holds the budgets of all
    /// rounds to come, so this never underflows.
    function _reserve(uint256 amount) internal {
        _pool -= amount;
        _owed += amount;
    }

    function _creditFromPool(address account, uint256 amount) internal {
        _reserve(amount);
        _credits[account] += amount;
    }

    function _payCredit() private {
        uint256 amount = _credits[msg.sender];
        if (amount == 0) revert NothingToClaim();
        _credits[msg.sender] = 0;
        _owed -= amount;
        emit RewardClaimed(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }
}
