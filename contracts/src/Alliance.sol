// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {AllianceBase} from "./AllianceBase.sol";
import {Members} from "./Members.sol";
import {AllianceParams, Ballot} from "./Types.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {IRounds} from "./interfaces/IRounds.sol";
import {Digests} from "./libraries/Digests.sol";
import {ParamsRules} from "./libraries/ParamsRules.sol";
import {Sortition} from "./libraries/Sortition.sol";
import {Survivors} from "./libraries/Survivors.sol";
import {Tally} from "./libraries/Tally.sol";

/// @title The rounds of an alliance
/// @dev One implementation serves all alliances as ERC-1167 clones. Slots of the current round are used again by the
/// next one; only two words a round (and one for every 256 trainers) stay behind, for claims. What is not found here
/// is looked up in Members: together they are larger than the 24,576 bytes of EIP-170.
contract Alliance is AllianceBase, IRounds {
    using Tally for Tally.Book;

    uint8 internal constant VOID_UNSEALED = 1;
    uint8 internal constant VOID_UNCOMMITTED = 2;
    uint8 internal constant OUTCOME_UNDECIDED = 0;
    uint8 internal constant OUTCOME_ADOPTED = 1;
    uint8 internal constant OUTCOME_REJECTED = 2;
    uint8 internal constant OUTCOME_VOID = 3;
    bytes1 internal constant VERDICT_YES = 0x01;
    bytes1 internal constant VERDICT_NO = 0x02;
    uint64 internal constant WAITING_SECONDS_MAX = 30 days;

    /// What checking signatures needs, computed once for a transaction.
    struct Signing {
        bytes32 separator;
        bytes32 seed;
        uint256 number;
        uint256 seatCount;
        uint256 validatorCount;
    }

    /// The new entries of one commitRound.
    struct Batch {
        uint256 committed; // bitmap of positions, the earlier ones included
        uint256 count;
        uint16[] positions;
        bytes32[] commitments;
    }

    address public immutable factory;
    address private immutable MEMBERS;

    /// @param members whose code answers what this contract does not define; fixed for ever
    constructor(IERC20 token_, IBeacon beacon_, Members members) AllianceBase(token_, beacon_) {
        factory = msg.sender;
        MEMBERS = address(members);
    }

    /// @notice Run by the factory on a fresh clone, in the transaction that makes it and escrows the pool.
    function initialize(uint256 rewardPool) external {
        if (msg.sender != factory || _status.since != 0) revert NotFactory();
        _pool = uint128(rewardPool); // the escrow that follows fails above the supply of FLOCK
        _status.since = uint64(block.timestamp);
    }

    /// Members' code on this alliance's state, as if it were part of this contract. Takes no ether.
    fallback() external {
        _delegate(MEMBERS);
    }

    /* SEAL */

    /// @inheritdoc IRounds
    function sealRound(
        uint32 round,
        uint32 leaderView,
        bytes calldata beaconSignature,
        bytes32 manifestDigest,
        uint256[] calldata survivors,
        uint16[] calldata positions,
        bytes[] calldata signatures
    ) external {
        _requireCurrent(round);
        _requireSealable(leaderView);
        _storeSurvivors(round, survivors);
        bytes32 randomness = beacon.prove(_round.beaconRound, beaconSignature);
        _storeSeal(round, leaderView, randomness, manifestDigest, survivors);
        _requireQuorum(positions, signatures);
        _emitSealed(round, leaderView, survivors, positions, signatures);
    }

    function _requireSealable(uint32 leaderView) private view {
        AllianceParams memory p = _params();
        if (_round.sealedAt != 0) revert AlreadySealed();
        if (block.timestamp < _round.opensAt) revert NotOpenYet(_round.opensAt);
        uint64 deadline = _sealDeadline(p);
        if (block.timestamp > deadline) revert DeadlinePassed(deadline);
        if (leaderView >= p.validatorCount) revert WrongView();
    }

    /// Reverts if all cohorts are void: such a seal could open nothing.
    function _storeSurvivors(uint32 round, uint256[] calldata survivors) private {
        AllianceParams memory p = _params();
        uint256 cohorts = p.cohortCount;
        uint256 counts =
            Survivors.countByCohort(survivors, _round.seatCount - p.validatorCount, cohorts);
        uint256 least = ParamsRules.survivorsMin(p.threshold, p.collusionBound);
        uint256 cohort = 0;
        while (Survivors.countOf(counts, cohort) < least) {
            if (++cohort == cohorts) revert TooFewSurvivors();
        }
        _round.survivorCounts = counts;
        for (uint256 i = 0; i < survivors.length; ++i) _survivors[round][i] = survivors[i];
    }

    function _storeSeal(
        uint32 round,
        uint32 leaderView,
        bytes32 randomness,
        bytes32 manifestDigest,
        uint256[] calldata survivors
    ) private {
        AllianceParams memory p = _params();
        bytes32 seed = Sortition.computeSeed(address(this), _number(), round, randomness);
        bytes32 survivorsDigest = keccak256(abi.encodePacked(survivors));
        _round.seed = seed;
        _round.seal = Digests.sealHash(
            _number(), round, leaderView, _round.beaconRound, seed, manifestDigest, survivorsDigest
        );
        _round.manifestDigest = manifestDigest;
        _round.sealSender = msg.sender;
        _round.sealedAt = uint64(block.timestamp);
        _round.commitDeadline = uint64(
            block.timestamp + p.unmaskSeconds + p.evaluateSeconds
                + uint256(p.commitSeconds) * p.validatorCount
        );
    }

    function _requireQuorum(uint16[] calldata positions, bytes[] calldata signatures) private view {
        Signing memory signing = _signing(_params());
        uint256 quorum = signing.validatorCount / 2 + 1;
        if (positions.length < quorum || positions.length != signatures.length) revert WrongSignatureCount(quorum);
        bytes32 seal = _round.seal;
        uint256 next = 0;
        for (uint256 i = 0; i < positions.length; ++i) {
            next = _requireNext(signing, positions[i], next);
            _requireSignature(signing, positions[i], seal, signatures[i]);
        }
    }

    /// The signatures go into the log, so that a survivor can check the quorum itself before it unmasks.
    function _emitSealed(
        uint32 round,
        uint32 leaderView,
        uint256[] calldata survivors,
        uint16[] calldata positions,
        bytes[] calldata signatures
    ) private {
        emit RoundSealed(
            round,
            leaderView,
            _round.seal,
            _round.seed,
            _round.manifestDigest,
            survivors,
            positions,
            signatures
        );
    }

    /* COMMIT */

    /// @inheritdoc IRounds
    function commitRound(
        uint32 round,
        uint16[] calldata positions,
        bytes32[] calldata commitments,
        bytes[] calldata signatures
    ) external {
        _requireCurrent(round);
        if (_round.sealedAt == 0) revert NotSealed();
        if (block.timestamp > _round.commitDeadline) revert DeadlinePassed(_round.commitDeadline);
        if (positions.length != commitments.length || positions.length != signatures.length) {
            revert WrongSignatureCount(positions.length);
        }
        Signing memory signing = _signing(_params());
        Batch memory batch = Batch(
            _round.committed, 0, new uint16[](positions.length), new bytes32[](positions.length)
        );
        uint256 next = 0;
        for (uint256 i = 0; i < positions.length; ++i) {
            next = _requireNext(signing, positions[i], next);
            _recordCommit(round, signing, batch, positions[i], commitments[i], signatures[i]);
        }
        if (batch.count == 0) revert NothingNew();
        _storeCommits(batch.committed);
        (uint16[] memory newPositions, bytes32[] memory newCommitments) = (batch.positions, batch.commitments);
        uint256 count = batch.count;
        assembly ("memory-safe") {
            mstore(newPositions, count)
            mstore(newCommitments, count)
        }
        emit BallotsCommitted(round, newPositions, newCommitments);
    }

    function _recordCommit(
        uint32 round,
        Signing memory signing,
        Batch memory batch,
        uint16 position,
        bytes32 commitment,
        bytes calldata signature
    ) private {
        if (batch.committed >> position & 1 == 1) return;
        if (commitment == 0) revert WrongCommitment(position);
        bytes32 structHash = Digests.commitHash(signing.number, round, _round.seal, position, commitment);
        _requireSignature(signing, position, structHash, signature);
        _commitments[position] = commitment;
        batch.committed |= 1 << position;
        batch.positions[batch.count] = position;
        batch.commitments[batch.count] = commitment;
        batch.count += 1;
    }

    /// Moves the deadline, and pays the refunds of seal and commit, when the accept quorum is reached.
    function _storeCommits(uint256 committed) private {
        AllianceParams memory p = _params();
        uint256 accept = _acceptQuorum(p);
        uint256 before = Survivors.countBits(_round.committed);
        uint256 count = Survivors.countBits(committed);
        _round.committed = uint64(committed);
        if (before < accept && count >= accept) {
            uint64 deadline = uint64(block.timestamp) + p.commitSeconds;
            if (deadline < _round.commitDeadline) _round.commitDeadline = deadline;
            // The round can no longer be void, so it may be charged.
            _creditFromPool(_round.sealSender, _refundDown(p));
            _creditFromPool(msg.sender, _refundDown(p));
        }
        if (count == p.validatorCount) _round.commitDeadline = uint64(block.timestamp);
    }

    /* SETTLE */

    /// @inheritdoc IRounds
    function settleRound(uint32 round, Ballot[] calldata ballots) external {
        _requireCurrent(round);
        if (_round.sealedAt == 0) revert NotSealed();
        AllianceParams memory p = _params();
        uint256 committed = _round.committed;
        if (Survivors.countBits(committed) < p.validatorCount && block.timestamp <= _round.commitDeadline) {
            revert CommitPhaseNotOver(_round.commitDeadline);
        }
        if (committed == 0) revert NothingNew(); // such a round is void
        uint256 before = _round.revealed;
        uint256 revealed = _recordBallots(p, round, ballots);
        uint256 accept = _acceptQuorum(p);
        if (Survivors.countBits(before) < accept && Survivors.countBits(revealed) >= accept) {
            _creditFromPool(msg.sender, _refundDown(p));
        }
        if (revealed == committed || block.timestamp > _revealDeadline(p)) {
            _settle(p, round);
        } else if (revealed == before) {
            revert DeadlineNotPassed(_revealDeadline(p));
        }
    }

    function _recordBallots(AllianceParams memory p, uint32 round, Ballot[] calldata ballots) private returns (uint256 revealed) {
        revealed = _round.revealed;
        if (ballots.length == 0) return revealed;
        Signing memory signing = _signing(p);
        // The book still holds an earlier round's counts until this round's first ballot is written.
        Tally.Counts memory counts = revealed == 0 ? Tally.Counts(0, 0) : _book.read();
        uint256 next = 0;
        for (uint256 i = 0; i < ballots.length; ++i) {
            Ballot calldata ballot = ballots[i];
            next = _requireNext(signing, ballot.position, next);
            if (revealed >> ballot.position & 1 == 1) continue;
            _requireBallot(p, round, signing, ballot);
            _count(round, counts, ballot);
            revealed |= 1 << ballot.position;
            emit BallotRevealed(
                round, ballot.position, ballot.verdicts, ballot.aggregateDigests, ballot.baseModelDigest
            );
        }
        _book.write(counts);
        _round.revealed = uint64(revealed);
    }

    function _requireBallot(
        AllianceParams memory p,
        uint32 round,
        Signing memory signing,
        Ballot calldata ballot
    ) private view {
        uint256 position = ballot.position;
        uint256 cohorts = p.cohortCount;
        if (_round.committed >> position & 1 == 0) revert BallotNotCommitted(position);
        if (ballot.verdicts.length != cohorts || ballot.aggregateDigests.length != cohorts) {
            revert MalformedBallot(position);
        }
        for (uint256 cohort = 0; cohort < cohorts; ++cohort) {
            bytes1 verdict = ballot.verdicts[cohort];
            if (verdict > VERDICT_NO || (verdict == VERDICT_YES && ballot.aggregateDigests[cohort] == 0)) {
                revert MalformedBallot(position);
            }
        }
        (bytes32 commitment, bytes32 structHash) = Digests.ballotHashes(signing.number, round, _round.seal, ballot);
        if (_commitments[position] != commitment) revert BallotNotCommitted(position);
        _requireSignature(signing, position, structHash, ballot.signature);
    }

    function _count(uint32 round, Tally.Counts memory counts, Ballot calldata ballot) private {
        if (ballot.baseModelDigest != 0) {
            _book.addFor(counts, round, Tally.BASE_MODEL, ballot.baseModelDigest);
        }
        for (uint256 cohort = 0; cohort < ballot.verdicts.length; ++cohort) {
            bytes1 verdict = ballot.verdicts[cohort];
            if (verdict == VERDICT_YES) _book.addFor(counts, round, cohort, ballot.aggregateDigests[cohort]);
            if (verdict == VERDICT_NO) Tally.addAgainst(counts, cohort);
        }
    }

    function _settle(AllianceParams memory p, uint32 round) private {
        uint256 accept = _acceptQuorum(p);
        Tally.Counts memory counts = _round.revealed == 0 ? Tally.Counts(0, 0) : _book.read();
        uint8[] memory outcomes = _computeOutcomes(p, counts, accept);
        _bookRewards(p, round, outcomes);
        bytes32 model = bytes32(0);
        if (Tally.countOf(counts.votesFor, Tally.BASE_MODEL) >= accept) {
            model = _book.leading[Tally.BASE_MODEL];
            _confirmedModel = model;
            _status.confirmedRound = round;
        }
        _status.settledRoundCount += 1;
        _status.voidCount = 0;
        bool closed = _status.settledRoundCount == p.roundCount;
        _emitSettled(round, outcomes, counts, model, closed);
        if (closed) _close();
        else _openRound(p);
    }

    function _computeOutcomes(AllianceParams memory p, Tally.Counts memory counts, uint256 accept)
        private
        view
        returns (uint8[] memory outcomes)
    {
        uint256 least = ParamsRules.survivorsMin(p.threshold, p.collusionBound);
        outcomes = new uint8[](p.cohortCount);
        for (uint256 cohort = 0; cohort < outcomes.length; ++cohort) {
            if (Survivors.countOf(_round.survivorCounts, cohort) < least) {
                outcomes[cohort] = OUTCOME_VOID;
            } else if (Tally.countOf(counts.votesFor, cohort) >= accept) {
                outcomes[cohort] = OUTCOME_ADOPTED;
            } else if (Tally.countOf(counts.votesAgainst, cohort) >= accept) {
                outcomes[cohort] = OUTCOME_REJECTED;
            } else {
                outcomes[cohort] = OUTCOME_UNDECIDED;
            }
        }
    }

    /// Reserves what this round earned its survivors and validators; they book it themselves (claimRounds).
    function _bookRewards(AllianceParams memory p, uint32 round, uint8[] memory outcomes) private {
        uint256 adopted = 0;
        uint256 survivors = 0;
        for (uint256 cohort = 0; cohort < outcomes.length; ++cohort) {
            if (outcomes[cohort] != OUTCOME_ADOPTED) continue;
            adopted |= 1 << cohort;
            survivors += Survivors.countOf(_round.survivorCounts, cohort);
        }
        uint256 trainerReward = _trainerRewardDown(p, survivors);
        _reserve(trainerReward * survivors + _validatorRewardDown(p) * Survivors.countBits(_round.revealed));
        _settled[round] = Settled({
            beaconRound: _round.beaconRound,
            revealed: _round.revealed,
            trainerReward: uint96(trainerReward), // rewardPerRound is below 2^96
            seatCount: _round.seatCount,
            adopted: uint16(adopted)
        });
    }

    function _emitSettled(
        uint32 round,
        uint8[] memory outcomes,
        Tally.Counts memory counts,
        bytes32 model,
        bool closed
    ) private {
        uint256 cohorts = outcomes.length;
        bytes32[] memory digests = new bytes32[](cohorts);
        uint16[] memory votesFor = new uint16[](cohorts);
        uint16[] memory votesAgainst = new uint16[](cohorts);
        for (uint256 cohort = 0; cohort < cohorts; ++cohort) {
            digests[cohort] = _book.leadingOf(counts, cohort);
            votesFor[cohort] = uint16(Tally.countOf(counts.votesFor, cohort));
            votesAgainst[cohort] = uint16(Tally.countOf(counts.votesAgainst, cohort));
        }
        emit RoundSettled(round, outcomes, digests, votesFor, votesAgainst, model, closed);
    }

    /* VOID, OPEN, CLOSE */

    /// @inheritdoc IRounds
    function voidRound(uint32 round) external {
        _requireCurrent(round);
        bool isSealed = _round.sealedAt != 0;
        if (_round.committed != 0) revert RoundHasCommitments();
        AllianceParams memory p = _params();
        uint64 deadline = isSealed ? _round.commitDeadline : _sealDeadline(p);
        if (block.timestamp <= deadline) revert DeadlineNotPassed(deadline);
        _status.voidCount += 1;
        emit RoundVoided(round, isSealed ? VOID_UNCOMMITTED : VOID_UNSEALED);
        if (_status.voidCount == p.voidCountMax) _close();
        else _openRound(p);
    }

    /// @inheritdoc IRounds
    function close() external {
        if (_status.phase == CLOSED) revert AllianceIsClosed();
        if (_status.phase == RUNNING) revert RoundIsRunning();
        uint64 deadline = _status.since + WAITING_SECONDS_MAX;
        if (block.timestamp <= deadline) revert DeadlineNotPassed(deadline);
        _close();
    }

    /* INTERNAL */

    /// ceil(2V/3): the yes votes that adopt, the no votes that reject.
    function _acceptQuorum(AllianceParams memory p) private pure returns (uint256) {
        return (2 * uint256(p.validatorCount) + 2) / 3;
    }

    function _requireCurrent(uint32 round) private view {
        if (_status.phase == CLOSED) revert AllianceIsClosed();
        if (_status.phase == WAITING) revert NoRunningRound();
        if (round != _roundNow()) revert WrongRound(_roundNow());
    }

    /// Requires the round's seed to be stored.
    function _signing(AllianceParams memory p) private view returns (Signing memory) {
        return Signing(Digests.domainSeparator(), _round.seed, _number(), _round.seatCount, p.validatorCount);
    }

    /// Positions of a list are strictly increasing, so none counts twice. Returns the least that may follow.
    function _requireNext(Signing memory signing, uint16 position, uint256 least) private pure returns (uint256) {
        if (position < least || position >= signing.validatorCount) revert WrongPosition(position);
        return uint256(position) + 1;
    }

    /// OpenZeppelin's recovery takes 65 bytes only and refuses a high s, so a signature has one form.
    function _requireSignature(
        Signing memory signing,
        uint256 position,
        bytes32 structHash,
        bytes calldata signature
    ) private view {
        address owner = _seats[Sortition.seatAt(signing.seed, position, signing.seatCount)];
        (address signer, ECDSA.RecoverError problem,) =
            ECDSA.tryRecoverCalldata(Digests.typedData(signing.separator, structHash), signature);
        if (problem != ECDSA.RecoverError.NoError || signer != owner) revert WrongSignature(position);
    }
}
