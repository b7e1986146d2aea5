// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// What a governor starts with. All but quorumVotesMin can be changed later, by proposals alone.
struct GovernanceSettings {
    uint48 votingDelay; // seconds from a proposal to the moment whose votes count
    uint32 votingPeriod; // seconds of voting after that, at least 1
    uint256 proposalThreshold; // votes (gm wei) that a proposer needs
    uint256 quorumNumerator; // percent of all gm that must vote for or abstain
    uint256 quorumVotesMin; // votes (gm wei) that must vote for or abstain however little is locked, at least 1; fixed
    uint256 timelockDelay; // seconds from queueing to execution
}

/// @title Decides by votes of gmFLOCK; what it decides is executed by its timelock, which also holds the treasury
/// @notice OpenZeppelin's Governor: propose → (votingDelay) → castVote → (votingPeriod) → queue → (timelock delay) →
/// execute. For, against, abstain; a proposal passes with more for than against and the quorum. The rest of its functions is
/// documented in OpenZeppelin's IGovernor.
/// @dev The constructor makes the TimelockController with this governor as only proposer and canceller, with open
/// execution, and without admin but the timelock itself.
interface IFlockGovernor {
    /// The timelock is fixed: it holds the treasury and the rights over emission and gmFLOCK.
    error TimelockFixed();
    /// A quorum of 0 would let a single wei decide while nothing else is locked.
    error WrongQuorum();

    /// @notice The least quorum, however little is locked.
    function quorumVotesMin() external view returns (uint256);
}
