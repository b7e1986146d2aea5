// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AllianceParams, Ballot, RoundState, SeatView} from "../Types.sol";

/// @title One alliance: seats, rounds and rewards
/// @notice The staked nodes that train one model. Parameters never change, nobody has a privilege, nothing can be
/// paused or upgraded. Times are block timestamps in seconds; a deadline belongs to the phase that it ends.
/// @dev The trust model and the numbered invariants are in contracts/README.md.
interface IAlliance {
    /* ERRORS. Each says what is wrong and what to do. */

    /// Only the factory that made this clone may initialize it, once; create alliances through the factory.
    error NotFactory();
    /// The alliance has closed; claim rewards and withdraw the stake.
    error AllianceIsClosed();
    /// The alliance has no running round, it waits for seats; wait for RoundOpened.
    error NoRunningRound();
    /// `round` is not the current round; read roundState() and act on `current`.
    error WrongRound(uint32 current);
    /// The parameters signed up to are not this alliance's; read params() again.
    error WrongParameters(bytes32 expected);
    /// The stake exceeds the loss the joiner accepts; raise maximumLoss or stay out.
    error StakeAboveMaximumLoss(uint128 seatStake);
    /// This owner already has its one seat.
    error AlreadySeated();
    /// This owner's last stake is still here; withdraw it when it is released, then join again.
    error StakeNotWithdrawn(uint64 releaseAt);
    /// All seats are taken; wait for SeatRemoved.
    error NoSeatFree();
    /// The peer ID must have 1 to 64 bytes.
    error WrongPeerId();
    /// The peer's signature must have 64 bytes (Ed25519).
    error WrongPeerSignature();
    /// The mask key is zero or the one already registered; make a new one.
    error WrongMaskKey();
    /// The weight must be from 1 to params().weightMax.
    error WrongWeight();
    /// The sender has no seat; join first.
    error NotSeated();
    /// The seat is already queued for removal; wait for SeatRemoved.
    error AlreadyLeaving();
    /// A key was already registered in this round; wait for the next round to open.
    error KeyAlreadyRegistered(uint32 round);
    /// The seat still takes part; leave, or wait for the alliance to close.
    error StillSeated();
    /// The stake is not free before `releaseAt`.
    error Unbonding(uint64 releaseAt);
    /// There is no stake of this sender.
    error NothingToWithdraw();
    /// There is no reward of this sender, or the rounds named were claimed.
    error NothingToClaim();
    /// The round is not open before `opensAt`.
    error NotOpenYet(uint64 opensAt);
    /// The phase ended at `deadline`; read roundState().
    error DeadlinePassed(uint64 deadline);
    /// The deadline has not passed; wait.
    error DeadlineNotPassed(uint64 deadline);
    /// The round has its seal: the first valid one counts.
    error AlreadySealed();
    /// The round is not sealed; seal it first.
    error NotSealed();
    /// The view must be below the number of validators.
    error WrongView();
    /// Every cohort has fewer survivors than it needs; collect more contributions or let the round become void.
    error TooFewSurvivors();
    /// Fewer signatures than the quorum, or lists of different lengths; collect `quorum` of them.
    error WrongSignatureCount(uint256 quorum);
    /// Positions must be below the number of validators and strictly increasing.
    error WrongPosition(uint256 position);
    /// The signature is malformed, malleable or not by the owner of the seat at `position`; ask for it again.
    error WrongSignature(uint256 position);
    /// The commitment of this position is zero.
    error WrongCommitment(uint256 position);
    /// The ballot does not open the commitment of this position, or the position has none.
    error BallotNotCommitted(uint256 position);
    /// The ballot has the wrong number of verdicts or digests, an unknown verdict, or a yes without digest.
    error MalformedBallot(uint256 position);
    /// Commitments may still arrive until `deadline`; reveal after it.
    error CommitPhaseNotOver(uint64 deadline);
    /// The transaction would change nothing: all its entries are known already; drop it.
    error NothingNew();
    /// The round has commitments, so it is settled and not voided; call settleRound.
    error RoundHasCommitments();
    /// A round runs; only an alliance that waits for seats can be closed, after a month.
    error RoundIsRunning();

    /* EVENTS */

    event SeatJoined(
        uint16 indexed seat,
        address indexed owner,
        bytes peerId,
        bytes32 maskKey,
        uint32 generation,
        uint32 weight,
        uint32 joinedRound,
        bytes peerSignature
    );
    event KeyRegistered(
        uint16 indexed seat, address indexed owner, bytes32 maskKey, uint32 round, uint32 generation
    );
    event SeatLeaving(uint16 indexed seat, address indexed owner);
    event SeatRemoved(uint16 indexed seat, address indexed owner, uint64 releaseAt);
    event SeatMoved(address indexed owner, uint16 from, uint16 to);
    event StakeWithdrawn(address indexed owner, uint128 stake);
    event RewardClaimed(address indexed owner, uint256 amount);
    event RoundOpened(uint32 indexed round, uint16 seatCount, uint64 beaconRound, uint64 opensAt);
    event SeatsAwaited(uint32 nextRound, uint16 seatCount);
    event RoundSealed(
        uint32 indexed round,
        uint32 leaderView,
        bytes32 seal,
        bytes32 seed,
        bytes32 manifestDigest,
        uint256[] survivors,
        uint16[] positions,
        bytes[] signatures
    );
    event BallotsCommitted(uint32 indexed round, uint16[] positions, bytes32[] commitments);
    event BallotRevealed(
        uint32 indexed round,
        uint16 position,
        bytes verdicts,
        bytes32[] aggregateDigests,
        bytes32 baseModelDigest
    );
    /// `cohortOutcome`: 0 undecided, 1 adopted, 2 rejected, 3 void. `aggregateDigests`: the digest with the most yes
    /// votes, adopted or not, zero without any. `baseModelDigest`: the one that the accept quorum named, or zero.
    event RoundSettled(
        uint32 indexed round,
        uint8[] cohortOutcome,
        bytes32[] aggregateDigests,
        uint16[] votesFor,
        uint16[] votesAgainst,
        bytes32 baseModelDigest,
        bool closed
    );
    /// `reason`: 1 not sealed in time, 2 sealed but nobody committed.
    event RoundVoided(uint32 indexed round, uint8 reason);
    event AllianceClosed(uint32 indexed round, uint256 residual);

    /* SEATS */

    /// @notice Takes a seat with `params().seatStake` FLOCK, which the sender has approved. One seat per owner, so that
    /// thresholds over seats count distinct owners and nobody votes on a cohort that holds its own seat.
    /// The seat can be drawn from the next round to open. Opens a round if the alliance was waiting for this seat.
    /// @param peerId raw bytes of the node's libp2p peer ID. Not checked for uniqueness: whoever registers another's
    /// peer ID cannot sign for it, and nodes ignore its seat.
    /// @param maskKey X25519 public key of the node's pair masks
    /// @param weight public, coarse bucket of the member's example count
    /// @param paramsHash_ keccak256(abi.encode(params)): the terms the joiner agrees to
    /// @param maximumLoss the largest loss the joiner accepts
    /// @param peerSignature Ed25519 signature by the peer ID over keccak256("p2p_flock join v1" ‖ abi.encode(chain id,
    /// this address, number, sender, maskKey)). The chain has no Ed25519: every node checks it and ignores seats whose
    /// signature is wrong; such a seat is a silent member that can lose its stake's liquidity and nothing else.
    function join(
        bytes calldata peerId,
        bytes32 maskKey,
        uint32 weight,
        bytes32 paramsHash_,
        uint128 maximumLoss,
        bytes calldata peerSignature
    ) external;

    /// @notice Queues the sender's seat for removal when the next round opens, at most four each time. While the
    /// alliance waits for seats it is removed at once (call again if it was queued before).
    function leave() external;

    /// @notice Installs a fresh mask key from the next round to open, at most once a round.
    function registerKey(bytes32 maskKey) external;

    /// @notice Pays the stake back, `params().unbondingSeconds` after the last round with the seat has ended or the
    /// alliance has closed. Needs nobody else.
    function withdraw() external;

    /* REWARDS */

    /// @notice Pays what the sender was credited: refunds, and the residual if it is the creator. Never expires.
    function claim() external;

    /// @notice Books the sender's rewards as trainer or validator of settled rounds, then pays all its credit.
    /// Rounds without reward, and rounds claimed before, count nothing. Never expires.
    function claimRounds(uint32[] calldata rounds) external;

    /* ROUNDS. Anyone may send these transactions: the signatures carry the authority. */

    /// @notice Fixes a round's survivors. The first valid seal counts.
    /// @param leaderView whose turn it was; the signatures cover it
    /// @param beaconSignature 96 bytes, uncompressed; ignored if the beacon round is proven already
    /// @param manifestDigest of the contributions
    /// @param survivors bitmap over trainer indexes, exactly ceil(T/256) words
    /// @param positions of the signing validators, strictly increasing, at least floor(V/2) + 1
    /// @param signatures 65 bytes r, s, v each, over the EIP-712 Seal
    function sealRound(
        uint32 round,
        uint32 leaderView,
        bytes calldata beaconSignature,
        bytes32 manifestDigest,
        uint256[] calldata survivors,
        uint16[] calldata positions,
        bytes[] calldata signatures
    ) external;

    /// @notice Records commitments. A position commits once; entries of positions that did are skipped, so that a late
    /// batch survives one that came before. When ceil(2V/3) are in, `params().commitSeconds` remain for the others.
    function commitRound(
        uint32 round,
        uint16[] calldata positions,
        bytes32[] calldata commitments,
        bytes[] calldata signatures
    ) external;

    /// @notice Records ballots, then settles if all committed ones are open or the reveal deadline has passed. The
    /// settling call itself may still bring ballots, so that a chain outage does not cost the round.
    /// Settling tallies, books rewards and opens the next round. Entries already revealed are skipped.
    function settleRound(uint32 round, Ballot[] calldata ballots) external;

    /// @notice Ends a round that was not sealed in time, or sealed without any commitment, and opens the next.
    /// `params().voidCountMax` of them in a row close the alliance.
    function voidRound(uint32 round) external;

    /// @notice Closes an alliance that has waited for seats for 30 days, so that no pool is locked for ever.
    function close() external;

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

    /// @notice What claim() would pay.
    function getCredit(address owner) external view returns (uint256);

    /// @notice What claimRounds([round]) would add; zero if claimed.
    function getReward(address owner, uint32 round) external view returns (uint256);

    /// @notice The last global model digest that an accept quorum named, and the round in which it did.
    function getConfirmedModel() external view returns (uint32 round, bytes32 modelDigest);

    /// @notice The three sums that make up this contract's balance: stakes, unspent pool, unpaid rewards.
    function getAccounts() external view returns (uint256 stakes, uint256 pool, uint256 owed);
}
