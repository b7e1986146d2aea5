// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RoundRecord, SealStatement, Statement} from "../Types.sol";
import {IAllianceErrors} from "./IAllianceErrors.sol";
import {IAllianceEvents} from "./IAllianceEvents.sol";

/// @title Challenges of absence, for what the chain cannot see
/// @notice A sealed survivor must send its unmasking, or its cohort cannot be opened. Whoever missed it may demand it on
/// chain: the accused posts it, or loses `absenceSlashBps` of its stake. Off in alliances where that is 0.
/// @dev Who is challenged needs to do nothing but what it should have done before, and is paid the bond for it.
interface IChallenges is IAllianceErrors, IAllianceEvents {
    /// This alliance has no challenges of absence: its absenceSlashBps is 0.
    error ChallengesAreOff();
    /// The owner was no sealed survivor of this round.
    error NotSurvivor(uint32 round);
    /// The owner's cohort had fewer survivors than max(threshold, collusionBound + 3) in this round: it is never opened, and
    /// its survivors must not unmask.
    error CohortIsVoid();
    /// Only rounds from `oldest` on can be challenged.
    error RoundTooOld(uint32 oldest);
    /// This owner was challenged for this round before; once is enough.
    error AlreadyChallenged();
    /// A challenge of this owner is open until `deadline`; wait for its answer, or slash after it.
    error ChallengeIsOpen(uint64 deadline);
    /// No challenge of this owner is open.
    error NoOpenChallenge();
    /// The owner was slashed for absence three times in this tenure, which is the most.
    error AbsenceSlashesSpent();
    /// This is not the unmasking that the challenge asks for: kind 2, of its round, signed by the owner, and answering
    /// `seal`, a seal of this round with its seed.
    error WrongAnswer();

    /// @notice Demands the unmasking of a survivor, with a bond of `absenceSlashBps` of params().seatStake, which the sender
    /// has approved: it goes to the accused that answers, else back. One open challenge for each owner, and one ever for
    /// each owner and round; rounds of the owner's tenure, and of the last 16 only; not where the owner's cohort was void.
    /// Allowed until the stake is withdrawn.
    /// @param record of the settled round
    function challengeAbsence(address owner, RoundRecord calldata record) external;

    /// @notice Answers a challenge, `params().penaltyWindowSeconds` after it at the latest. Anyone may post it.
    /// @param seal which the unmasking answers
    /// @param unmasking the message of kind 2 as its owner signed it for the others
    function answerAbsence(address owner, SealStatement calldata seal, Statement calldata unmasking) external;

    /// @notice Slashes `absenceSlashBps` of the stake after a challenge's deadline: a tenth is the challenger's to claim, the
    /// rest goes to the pool (to the creator, once that was paid out). At most three times in a tenure. The seat stays.
    function slashAbsence(address owner) external;

    /// @notice The open challenge of an owner; zeros if there is none.
    function getChallenge(address owner) external view returns (uint32 round, address challenger, uint64 deadline);
}
