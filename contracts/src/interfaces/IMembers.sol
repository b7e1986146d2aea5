// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AllianceParams, JoinRequest, RoundRecord, RoundState, SeatView} from "../Types.sol";
import {IAllianceErrors} from "./IAllianceErrors.sol";
import {IAllianceEvents} from "./IAllianceEvents.sol";

/// @title A member's side of an alliance: seat, stake, rewards, and everything that is read
/// @notice Parameters never change, nobody has a privilege, nothing can be paused or upgraded.
interface IMembers is IAllianceErrors, IAllianceEvents {
    /* SEATS */

    /// @notice Takes a seat with `params().seatStake` FLOCK, which the sender has approved. One seat per owner, so that
    /// thresholds over seats count distinct owners and nobody votes on a cohort that holds its own seat.
    /// The seat can be drawn from the next round to open. Opens a round if the alliance was waiting for this seat.
    /// Not after params().joinDeadline, and only owners on the allowlist if there is one.
    /// @param request of which
    /// - peerId is not checked for uniqueness: whoever registers another's peer ID cannot sign for it, and nodes ignore
    ///   its seat;
    /// - maskKey is the X25519 public key of the node's pair masks;
    /// - weight is a public, coarse bucket of the member's example count;
    /// - paramsHash is keccak256(abi.encode(params)), the terms the joiner agrees to;
    /// - maximumLoss is the largest loss the joiner accepts;
    /// - peerSignature is the Ed25519 signature by the peer ID over keccak256("p2p_flock join v1" ‖ abi.encode(chain id,
    ///   this address, number, sender, maskKey)). The chain has no Ed25519: every node checks it and ignores seats whose
    ///   signature is wrong; such a seat is a silent member that can lose its stake's liquidity and nothing else;
    /// - allowlistProof leads from the sender's leaf to params().allowlistRoot.
    function join(JoinRequest calldata request) external;

    /// @notice Queues the sender's seat for removal when the next round opens, at most four each time. While the
    /// alliance waits for seats it is removed at once (call again if it was queued before). Suspended and slashed seats
    /// go the same way.
    function leave() external;

    /// @notice Installs a fresh mask key from the next round to open, at most once a round.
    function registerKey(bytes32 maskKey) external;

    /// @notice Pays the stake back, `params().unbondingSeconds` after the last round with the seat has ended or the
    /// alliance has closed. Needs nobody else, but refuses while a challenge of absence is open.
    function withdraw() external;

    /// @notice Publishes where the sender's node may be dialled; the newest counts, the empty list takes it back. Kept in
    /// the log only, checked by nobody: nodes dial what they find there and believe nothing else of it.
    /// @param addresses multiaddrs in UTF-8, joined by "\n", at most 512 bytes
    function registerAddresses(bytes calldata addresses) external;

    /* STRIKES */

    /// @notice Suspends a seat that was absent in the two rounds settled last: as a trainer not sealed, as a validator
    /// not revealed. Anyone may. Void rounds do not count, nor do rounds before the seat. No stake is lost: the seat is
    /// removed like a leaver's, and its owner takes one again with reactivate() or withdraws.
    /// @param second the record of the last settled round
    /// @param first the record of the round settled before it
    function suspend(address owner, RoundRecord calldata first, RoundRecord calldata second) external;

    /// @notice Suspends a seat that is suspected: the cohorts in which it was a sealed trainer were rejected
    /// params().suspicionBound times in a row or more, none adopted between, up to the last settled round. Anyone may.
    /// Rounds in which it was a validator, was not sealed or had no seat, and cohorts that were undecided or void, say
    /// nothing: they neither add nor clear. The run goes on over a suspension and reactivate(), and starts anew with a
    /// tenure. No stake is lost: the seat is removed like a leaver's; its owner withdraws, and may join anew.
    /// @param records of settled rounds, ascending, none left out between the first of them, which may be any of the owner's
    /// tenure (a later one only shows less), and the last settled round, which is the last of them
    function suspendSuspected(address owner, RoundRecord[] calldata records) external;

    /// @notice Seats a suspended owner again, at the end of the table, from the next round to open; not one that was
    /// suspended as suspected. Nothing is paid: the stake never left. Peer ID, its signature (over the first mask key) and weight stay those of join().
    /// Opens a round if the alliance was waiting for this seat.
    /// @param maskKey a fresh one, X25519
    function reactivate(bytes32 maskKey) external;

    /* REWARDS */

    /// @notice Pays what the sender was credited: tenths of slashes, bonds, and the residual if it is the creator. Never
    /// expires.
    function claim() external;

    /// @notice Books what the sender earned in settled rounds, as trainer, as validator and by refunds, then pays all its
    /// credit. Rounds without reward, and rounds claimed before, count nothing. Never expires.
    function claimRounds(RoundRecord[] calldata records) external;

    /* VIEWS */

    function roundState() external view returns (RoundState memory);
    function params() external view returns (AllianceParams memory);
    function paramsHash() external view returns (bytes32);
    function number() external view returns (uint256);
    function creator() external view returns (address);

    /// @notice Seats of the table, members that joined after the current round opened included.
    function seatCount() external view returns (uint256);

    /// @notice Seats `from` to `from + count - 1`, fewer at the end of the table.
    function getSeats(uint256 from, uint256 count) external view returns (SeatView[] memory);

    /// @notice An owner's stake; `releaseAt` is 0 while it is seated in an alliance that has not closed.
    function getStake(address owner)
        external
        view
        returns (bool seated, uint16 seat, uint128 stake, uint64 releaseAt);

    /// @notice getStake() and the record of the owner's tenure, which lasts from join() to withdraw().
    /// @param owner of a seat, or of a stake that is unbonding
    /// @return seated whether it is in the table, leavers included
    /// @return seat its index, or the last one it had
    /// @return stake what is left of it, in FLOCK wei; zero outside a tenure
    /// @return releaseAt when it may be withdrawn, zero while it is not known
    /// @return suspended until reactivate() or withdraw()
    /// @return slashed once in a tenure
    /// @return joinedRound first round of the tenure: evidence of earlier rounds does not count against it
    /// @return suspected suspended for its rejected cohorts, until withdraw()
    function getMember(address owner)
        external
        view
        returns (
            bool seated,
            uint16 seat,
            uint128 stake,
            uint64 releaseAt,
            bool suspended,
            bool slashed,
            uint32 joinedRound,
            bool suspected
        );

    /// @notice What claim() would pay.
    function getCredit(address owner) external view returns (uint256);

    /// @notice What claimRounds([record]) would add; zero if claimed. Reverts if it is not the record of a settled round.
    function getReward(address owner, RoundRecord calldata record) external view returns (uint256);

    /// @notice The last global model digest that an accept quorum named, and the round in which it did.
    function getConfirmedModel() external view returns (uint32 round, bytes32 modelDigest);

    /// @notice The three sums that make up this contract's balance: stakes, unspent pool, and what is owed: unpaid
    /// rewards and the bonds of open challenges.
    function getAccounts() external view returns (uint256 stakes, uint256 pool, uint256 owed);
}
