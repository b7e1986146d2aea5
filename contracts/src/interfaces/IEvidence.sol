// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DealtShare, LeafProof, SealStatement, Statement} from "../Types.sol";
import {IAllianceErrors} from "./IAllianceErrors.sol";
import {IAllianceEvents} from "./IAllianceEvents.sol";

/// @title Faults that signatures prove
/// @notice Anyone may post evidence, once for each offender and tenure; also after the alliance has closed, until the
/// stake is withdrawn. `provableSlashBps` of the stake are taken: a tenth is the sender's to claim, the rest goes to
/// the pool (to the creator, once that was paid out). An offender that is seated is removed when the next round opens,
/// may withdraw what is left after unbonding, and may then join anew.
/// @dev Nothing here asks what a reorganisation could change: seats, keys, or which beacon round a round runs on.
interface IEvidence is IAllianceErrors, IAllianceEvents {
    /// Why evidence proves nothing. Reverted as ProvesNothing(reason).
    enum Reason {
        SAID_OFTEN, // messages of this kind may be said more than once: only 1, 2, 6 and 7 are not
        DIFFERENT_MATTERS, // the statements are of different rounds, kinds, seats or views
        SAME_STATEMENT, // the statements say the same
        DIFFERENT_SIGNERS, // different owners signed the statements
        WRONG_KIND, // no contribution, or no unmasking
        MALFORMED, // the body or the manifest is not the canonical msgpack of its message
        VALID_SEAL, // the seal follows from its beacon round, as far as it is known, and its manifest fits it
        ANOTHER_SEAL, // the message answers another seal
        ANOTHER_MANIFEST, // the seal is of another manifest
        NO_SUCH_ITEM, // the message has fewer shares
        NOT_SEALED, // the share's dealer is not in the manifest
        NOT_UNDER_ROOT, // a commitment is not the leaf that its proof should lead to
        RIGHT_SHARE, // the share is the committed one
        UNORDERED_SHARES, // indexes are not increasing, or beyond 254
        TOO_FEW_SHARES, // fewer shares than the threshold
        RIGHT_DEALING // the shares lie on one polynomial, and its secret is the committed one or none was shown
    }

    /// The evidence convicts nobody; drop it.
    error ProvesNothing(Reason reason);

    /// @notice Two different messages of one kind in one round. Contributions, unmaskings, ballot commitments and ballots
    /// are said once per round number, ever; running one key on two machines breaks that.
    function slashEquivocation(Statement calldata first, Statement calldata second) external;

    /// @notice Two different seals of one view of one round.
    function slashSealEquivocation(
        SealStatement calldata first,
        bytes calldata firstSignature,
        SealStatement calldata second,
        bytes calldata secondSignature
    ) external;

    /// @notice A seal whose seed does not follow from its beacon round, or whose manifest is malformed, names another
    /// round, a seat twice, or not as many trainers as the survivors have bits. Convicts every signer; those slashed
    /// before are skipped.
    /// @param beaconSignature of the seal's beacon round, as in sealRound; if it is empty, the seed is not judged
    /// @param manifest the bytes with the seal's digest; anything else is not looked at
    function slashInvalidSeal(
        SealStatement calldata seal,
        bytes calldata beaconSignature,
        bytes calldata manifest,
        bytes[] calldata signatures
    ) external;

    /// @notice A share that is not the one its holder was dealt, in an unmasking.
    /// @param unmasking which answers `seal`
    /// @param itemIndex place of the share among the message's items
    /// @param manifest of the seal: it names the root of the share's dealer
    /// @param context digest of the cohort's context, the domain of the dealer's tree
    /// @param commitment to the right share, whose leaf (secret, index, holder, commitment) `proof` shows
    function slashBadShare(
        Statement calldata unmasking,
        uint16 itemIndex,
        SealStatement calldata seal,
        bytes calldata manifest,
        bytes32 context,
        bytes32 commitment,
        uint16 shareIndex,
        LeafProof calldata proof
    ) external;

    /// @notice Shares that their dealer committed to and that lie on no one polynomial of degree t - 1, or on one whose
    /// value at 0 is not the secret the dealer committed to.
    /// @param contribution which holds the root
    /// @param secretOf the dealer's own seat for its self mask, else the neighbor whose pair seed is shared
    /// @param shares at least t, with increasing indexes
    /// @param secretCommitment of the secret, and `pairContext` of a pair seed, as in the leaf that `secretProof` shows;
    /// not looked at when the shares themselves contradict
    function slashBadDealing(
        Statement calldata contribution,
        bytes32 context,
        uint16 secretOf,
        DealtShare[] calldata shares,
        bytes32 secretCommitment,
        bytes32 pairContext,
        LeafProof calldata secretProof
    ) external;
}
