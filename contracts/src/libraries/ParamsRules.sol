// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AllianceParams} from "../Types.sol";

/// @title The bounds of an alliance's parameters
/// @dev Every rule is one line with its own number, so that the error says which of them was broken.
library ParamsRules {
    uint256 internal constant VALIDATOR_COUNT_MAX = 64; // positions fit one uint64 bitmap
    uint256 internal constant COHORT_COUNT_MAX = 16; // survivor counts of all cohorts fit one word
    uint256 internal constant COMPLETE_GRAPH_OWNERS_MAX = 32; // larger cohorts use a k-regular graph
    uint256 internal constant ROUND_COUNT_MAX = 1_000_000;
    // Widths of lanes, as bits of a mask: 16 and 32 fill a word each, the others share words of 64 bits.
    uint256 internal constant LANE_BITS = 1 << 10 | 1 << 12 | 1 << 15 | 1 << 16 | 1 << 20 | 1 << 30 | 1 << 32;
    uint256 internal constant PHASE_SECONDS_MIN = 3;
    uint256 internal constant PHASE_SECONDS_MAX = 30 days; // no parameter can lock a stake for a lifetime
    uint256 internal constant UNBONDING_SECONDS_MAX = 365 days;
    uint256 internal constant SLASH_BPS_MAX = 5_000;
    uint256 internal constant ABSENCE_SLASH_BPS_MAX = 100; // three of them in a tenure stay a small loss
    uint256 internal constant SCORE_MICRO_MAX = 1_000_000;

    /// A parameter is out of bounds. `rule` is the number beside the rule in ParamsRules; change the parameters
    /// named there and create again.
    error ParameterOutOfBounds(uint8 rule);

    function validate(AllianceParams calldata p, uint256 rewardPool) internal view {
        uint256 validators = p.validatorCount;
        uint256 cohorts = p.cohortCount;
        _require(p.manifestDigest != 0, 1);
        _require(p.seatStake > 0, 2);
        _require(p.rewardPerRound <= type(uint96).max, 3);
        _require(p.roundCount > 0 && p.roundCount <= ROUND_COUNT_MAX, 4);
        _require(rewardPool >= uint256(p.rewardPerRound) * p.roundCount, 5);
        _require(validators > 0 && validators <= VALIDATOR_COUNT_MAX, 6);
        _require(cohorts > 0 && cohorts <= COHORT_COUNT_MAX, 7);
        _require(p.threshold >= 3, 8);
        _require(p.seatCountMax >= p.seatCountMin, 9);
        _require(p.seatCountMin >= validators + cohorts * survivorsMin(p), 10);
        // From here on seatCountMin > validators.
        uint256 owners = _ceilDiv(p.seatCountMin - validators, cohorts);
        // Two seals of one round can never both gather a threshold (secagg/SPEC.md).
        _require(
            owners > COMPLETE_GRAPH_OWNERS_MAX || 2 * uint256(p.threshold) > owners + p.collusionBound, 11
        );
        uint256 laneBits = p.laneBits;
        _require(LANE_BITS >> laneBits & 1 == 1, 12);
        _require(p.levels > 0 && p.weightMax > 0, 13);
        // Headroom: a sum that could wrap around the ring, or carry into the next lane of its word, would be garbled
        // without a trace. A shared word's lane holds value and bias; 16 and 32 keep four bits to tell garbling by.
        uint256 most = laneBits % 16 == 0 ? 1 << (laneBits - 4) : (1 << (laneBits - 1)) - 1;
        _require(_ceilDiv(p.seatCountMax - validators, cohorts) * p.levels * p.weightMax <= most, 14);
        _require(_isPhase(p.trainSeconds) && _isPhase(p.sealSeconds) && _isPhase(p.unmaskSeconds), 15);
        _require(_isPhase(p.evaluateSeconds) && _isPhase(p.commitSeconds) && _isPhase(p.settleSeconds), 16);
        _require(p.openingSlotSeconds > 0 && p.openingSlotSeconds <= PHASE_SECONDS_MAX, 17);
        _require(p.beaconMargin > 0, 18);
        _require(p.redrawRounds > 0, 19);
        // Evidence must still find the stake of whoever left.
        _require(p.penaltyWindowSeconds < p.unbondingSeconds && p.unbondingSeconds <= UNBONDING_SECONDS_MAX, 20);
        _require(p.provableSlashBps <= SLASH_BPS_MAX, 21);
        _require(p.voidCountMax > 0, 22);
        _require(p.absenceSlashBps <= ABSENCE_SLASH_BPS_MAX, 23);
        // Whoever is challenged has time to answer, and whoever left can be challenged and slashed while it unbonds.
        _require(
            p.absenceSlashBps == 0
                || (p.penaltyWindowSeconds >= PHASE_SECONDS_MIN
                    && p.unbondingSeconds > 2 * uint256(p.penaltyWindowSeconds)),
            24
        );
        _require(p.scoreTargetMicro <= SCORE_MICRO_MAX, 25);
        _require(p.joinDeadline == 0 || p.joinDeadline > block.timestamp, 26);
        // The rejection of a round's only cohort accuses all of its trainers alike: whoever makes it happen could have
        // every honest seat suspended.
        _require(p.suspicionBound == 0 || cohorts > 1, 27);
    }

    /// Survivors below which a cohort is void: max(3, t, c + 3), so that an opened sum always hides three honest owners.
    function survivorsMin(AllianceParams calldata p) internal pure returns (uint256) {
        return survivorsMin(p.threshold, p.collusionBound);
    }

    function survivorsMin(uint256 threshold, uint256 collusionBound) internal pure returns (uint256 least) {
        least = collusionBound + 3;
        if (threshold > least) least = threshold;
    }

    function _isPhase(uint32 duration) private pure returns (bool) {
        return duration >= PHASE_SECONDS_MIN && duration <= PHASE_SECONDS_MAX;
    }

    function _ceilDiv(uint256 a, uint256 b) private pure returns (uint256) {
        return (a + b - 1) / b;
    }

    function _require(bool holds, uint8 rule) private pure {
        if (!holds) revert ParameterOutOfBounds(rule);
    }
}
