// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {AllianceBase} from "./AllianceBase.sol";
import {Members} from "./Members.sol";
import {AllianceParams, Ballot, RoundRecord, SealStatement} from "./Types.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {IRounds} from "./interfaces/IRounds.sol";
import {Digests} from "./libraries/Digests.sol";
import {Marks} from "./libraries/Marks.sol";
import {ParamsRules} from "./libraries/ParamsRules.sol";
import {Pay} from "./libraries/Pay.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {Sortition} from "./libraries/Sortition.sol";
import {Statements} from "./libraries/Statements.sol";
import {Survivors} from "./libraries/Survivors.sol";
import {Tally} from "./libraries/Tally.sol";

/// @title The rounds of an alliance
/// @dev One implementation serves all alliances as ERC-1167 clones. Of the running round the chain keeps hashes, bitmaps
/// and times; what was hashed comes back as calldata. Of a settled round one word stays: the hash of its record. What is
/// not found here is looked up in Members: together they are larger than the 24,576 bytes of EIP-170.
contract Alliance is AllianceBase, IRounds {
    using Statements for SealStatement;

    uint8 internal constant VOID_UNSEALED = 1;
    uint8 internal constant VOID_UNCOMMITTED = 2;
    uint64 internal constant WAITING_SECONDS_MAX = 30 days;

    /// What checking signatures needs, computed once for a transaction.
    struct Signing {
        bytes32 separator;
        Sortition.Order order;
    }

    /// The new commitments of one commitRound.
    struct Batch {
        Signing signing;
        bytes32[9] words; // of the Commit to hash
        bytes32 rolling;
    }

    /// The ballots of one settleRound.
    struct Votes {
        bytes32[10] words; // of the commitment to hash
        bytes32[64] commitments; // by position
        uint256 opened; // bitmap of positions
        uint256 baseless; // bitmap of the ballots that name no base model
        bytes32 first; // hash of the first ballot's row in `named`
        bool differ; // not all rows are the same
        uint256[] marks;
        bytes32[] named; // a row for each ballot: its base model, then its digest of each cohort
    }

    /// What a round decided.
    struct Decision {
        uint8[] outcomes; // one for each cohort, like the next three
        bytes32[] digests;
        uint16[] votesFor;
        uint16[] votesAgainst;
        uint256 adopted; // bitmap
        uint256 packed; // the outcomes, 2 bits each
        uint256 grades; // 4 bits each
        uint256 survivorCounts; // 16 bits each
        bytes32 baseModel; // that the accept quorum named, or zero
        bool closes;
    }

    address public immutable factory;
    /// @notice Whose code answers what this contract does not define; fixed for ever.
    address public immutable members;

    constructor(IERC20 token_, IBeacon beacon_, Members members_) AllianceBase(token_, beacon_) {
        factory = msg.sender;
        members = address(members_);
    }

    /// @notice Run by the factory on a fresh clone, in the transaction that makes it and escrows the pool.
    function initialize(uint256 rewardPool) external {
        if (msg.sender != factory || _status.since != 0) revert NotFactory();
        _pool = uint128(rewardPool); // the escrow that follows fails above the supply of FLOCK
        _status.since = uint64(block.timestamp);
    }

    /// Members' code on this alliance's state, as if it were part of this contract. Takes no ether.
    fallback() external {
        _delegate(members);
    }

    /* SEAL */

    /// @inheritdoc IRounds
    function sealRound(
        uint32 round,
        uint32 leaderView,
        bytes calldata beaconSignature,
        bytes32 manifestDigest,
        uint256[] calldata survivors,
        uint64 signers,
        bytes calldata signatures
    ) external {
        _requireCurrent(round);
        AllianceParams memory p = _params();
        _requireSealable(p, leaderView);
        _requireSurvivors(p, survivors);
        bytes32 seed = _computeSeed(round, beaconSignature);
        bytes32 seal = _hashSeal(round, leaderView, seed, manifestDigest, survivors);
        _requireQuorum(p, seed, seal, signers, signatures);
        _storeSeal(p, seal);
        // The signatures go into the log, so that a survivor can check the quorum itself before it unmasks.
        emit RoundSealed(round, leaderView, seal, seed, manifestDigest, survivors, signers, signatures);
    }

    function _requireSealable(AllianceParams memory p, uint32 leaderView) private view {
        if (_round.sealedAt != 0) revert AlreadySealed();
        if (block.timestamp < _round.opensAt) revert NotOpenYet(_round.opensAt);
        uint64 deadline = _sealDeadline(p);
        if (block.timestamp > deadline) revert DeadlinePassed(deadline);
        if (leaderView >= p.validatorCount) revert WrongView();
    }

    /// Reverts if all cohorts are void: such a seal could open nothing.
    function _requireSurvivors(AllianceParams memory p, uint256[] calldata survivors) private view {
        uint256 cohorts = p.cohortCount;
        uint256 counts = Survivors.countByCohort(survivors, _round.seatCount - p.validatorCount, cohorts);
        uint256 least = ParamsRules.survivorsMin(p.threshold, p.collusionBound);
        uint256 cohort = 0;
        while (Survivors.countOf(counts, cohort) < least) {
            if (++cohort == cohorts) revert TooFewSurvivors();
        }
    }

    function _computeSeed(uint32 round, bytes calldata beaconSignature) private view returns (bytes32) {
        bytes32 randomness = beacon.verify(_round.beaconRound, beaconSignature);
        return Sortition.computeSeed(address(this), _number(), round, randomness);
    }

    function _hashSeal(
        uint32 round,
        uint32 leaderView,
        bytes32 seed,
        bytes32 manifestDigest,
        uint256[] calldata survivors
    ) private view returns (bytes32) {
        bytes32 survivorsDigest = Digests.hashWords(survivors);
        return Digests.sealHash(
            _number(), round, leaderView, _round.beaconRound, seed, manifestDigest, survivorsDigest
        );
    }

    function _requireQuorum(
        AllianceParams memory p,
        bytes32 seed,
        bytes32 seal,
        uint256 signers,
        bytes calldata signatures
    ) private view {
        uint256 count = _requirePositions(p, signers);
        uint256 quorum = uint256(p.validatorCount) / 2 + 1;
        if (count < quorum || signatures.length != Signatures.LENGTH * count) revert WrongSignatureCount(quorum);
        Signing memory signing = _signing(seed);
        bytes32 digest = Digests.typedData(signing.separator, seal);
        unchecked {
            uint256 index = 0;
            for (uint256 position = 0; signers >> position != 0; ++position) {
                if (signers >> position & 1 == 0) continue;
                _requireSignature(signing, position, digest, signatures, index);
                ++index;
            }
        }
    }

    function _storeSeal(AllianceParams memory p, bytes32 seal) private {
        _seal = seal;
        _sealing = Sealing(msg.sender, 0);
        _round.sealedAt = uint48(block.timestamp);
        _round.commitDeadline = uint48(
            block.timestamp + p.unmaskSeconds + p.evaluateSeconds + uint256(p.commitSeconds) * p.validatorCount
        );
    }

    /* COMMIT */

    /// @inheritdoc IRounds
    function commitRound(
        SealStatement calldata seal,
        uint64 positions,
        bytes32[] calldata commitments,
        bytes calldata signatures
    ) external {
        _requireSeal(seal);
        if (block.timestamp > _round.commitDeadline) revert DeadlinePassed(_round.commitDeadline);
        AllianceParams memory p = _params();
        uint256 count = _requirePositions(p, positions);
        if (commitments.length != count || signatures.length != Signatures.LENGTH * count) {
            revert WrongSignatureCount(count);
        }
        uint256 committed = _committed();
        uint256 fresh = positions & ~committed;
        if (fresh == 0) revert NothingNew();
        _takeCommitments(seal, positions, fresh, commitments, signatures);
        _storeCommits(p, committed, committed | fresh);
        if (fresh == positions) emit BallotsCommitted(seal.round, positions, commitments);
        else emit BallotsCommitted(seal.round, uint64(fresh), _select(positions, fresh, commitments));
    }

    /// Takes the fresh ones among `positions`.
    function _takeCommitments(
        SealStatement calldata seal,
        uint256 positions,
        uint256 fresh,
        bytes32[] calldata commitments,
        bytes calldata signatures
    ) private {
        Batch memory batch;
        batch.signing = _signing(seal.seed);
        batch.words = Digests.commitWords(batch.signing.separator, _number(), seal.round, _seal);
        if (_committed() != 0) batch.rolling = _rolling;
        unchecked {
            uint256 index = 0; // below the number of positions, which is that of commitments and signatures
            for (uint256 position = 0; positions >> position != 0; ++position) {
                if (positions >> position & 1 == 0) continue;
                if (fresh >> position & 1 == 1) {
                    bytes32 commitment;
                    assembly ("memory-safe") {
                        commitment := calldataload(add(commitments.offset, shl(5, index)))
                    }
                    if (commitment == 0) revert WrongCommitment(position);
                    _takeCommitment(batch, position, commitment, signatures, index);
                }
                ++index;
            }
        }
        _rolling = batch.rolling;
    }

    function _takeCommitment(
        Batch memory batch,
        uint256 position,
        bytes32 commitment,
        bytes calldata signatures,
        uint256 index
    ) private view {
        bytes32 digest = Digests.commitDigest(batch.words, position, commitment);
        _requireSignature(batch.signing, position, digest, signatures, index);
        batch.rolling = Digests.rollOver(batch.rolling, position, commitment);
    }

    /// The commitments of the fresh ones among `positions`.
    function _select(uint256 positions, uint256 fresh, bytes32[] calldata commitments)
        private
        pure
        returns (bytes32[] memory selected)
    {
        selected = new bytes32[](Survivors.countBits(fresh));
        (uint256 index, uint256 count) = (0, 0);
        for (uint256 position = 0; positions >> position != 0; ++position) {
            if (positions >> position & 1 == 0) continue;
            if (fresh >> position & 1 == 1) selected[count++] = commitments[index];
            ++index;
        }
    }

    /// Moves the deadline, and remembers who is refunded, when the accept quorum is reached.
    function _storeCommits(AllianceParams memory p, uint256 before, uint256 committed) private {
        uint256 accept = _acceptQuorum(p);
        uint256 count = Survivors.countBits(committed);
        address committer = before == 0 ? address(0) : _commits.committer;
        if (Survivors.countBits(before) < accept && count >= accept) {
            committer = msg.sender;
            uint48 deadline = uint48(block.timestamp) + p.commitSeconds;
            if (deadline < _round.commitDeadline) _round.commitDeadline = deadline;
        }
        if (count == p.validatorCount) _round.commitDeadline = uint48(block.timestamp);
        _commits = Commits(_roundNow(), uint64(committed), committer);
    }

    /* SETTLE */

    /// @inheritdoc IRounds
    function settleRound(
        SealStatement calldata seal,
        bytes calldata order,
        bytes32[] calldata unopened,
        Ballot[] calldata ballots
    ) external {
        _requireSeal(seal);
        AllianceParams memory p = _params();
        uint256 committed = _committed();
        if (Survivors.countBits(committed) < p.validatorCount && block.timestamp <= _round.commitDeadline) {
            revert CommitPhaseNotOver(_round.commitDeadline);
        }
        if (committed == 0) revert NothingNew(); // such a round is void
        Votes memory votes = _openBallots(p, committed, ballots);
        _requireRolling(votes, order, unopened);
        uint256 before = _sealing.revealed;
        uint256 revealed = before | votes.opened;
        if (revealed == committed || block.timestamp > _revealDeadline(p)) {
            if (votes.opened != revealed) revert MissingBallot(_lowest(revealed ^ votes.opened));
            _settle(p, seal, votes);
        } else {
            if (revealed == before) revert DeadlineNotPassed(_revealDeadline(p));
            _sealing.revealed = uint64(revealed);
            emit BallotsRecorded(seal.round, ballots);
        }
    }

    /// Reads the ballots, which must be well-formed and of committed positions, and computes what they open.
    function _openBallots(AllianceParams memory p, uint256 committed, Ballot[] calldata ballots)
        private
        view
        returns (Votes memory votes)
    {
        uint256 count = ballots.length;
        votes.words = Digests.ballotWords(_number(), _roundNow(), _seal);
        votes.marks = new uint256[](count);
        votes.named = new bytes32[](count * (1 + p.cohortCount));
        unchecked {
            (uint256 next, uint256 opened, uint256 cohorts) = (0, 0, p.cohortCount);
            for (uint256 i = 0; i < count; ++i) {
                (Ballot calldata ballot, bytes32[] calldata digests) = Digests.ballotAt(ballots, i);
                uint256 position = Marks.positionOf(ballot.marks);
                // Strictly increasing, so none counts twice.
                if (position < next || position >= p.validatorCount) revert WrongPosition(position);
                if (committed >> position & 1 == 0) revert BallotNotCommitted(position);
                if (digests.length != cohorts || !Marks.isWellFormed(ballot.marks, digests)) {
                    revert MalformedBallot(position);
                }
                _readBallot(votes, i, position, ballot, digests);
                opened |= 1 << position;
                next = position + 1;
            }
            votes.opened = opened;
        }
    }

    function _readBallot(
        Votes memory votes,
        uint256 i,
        uint256 position,
        Ballot calldata ballot,
        bytes32[] calldata digests
    ) private pure {
        votes.marks[i] = ballot.marks;
        if (ballot.baseModelDigest == 0) votes.baseless |= 1 << i;
        (bytes32 commitment, bytes32 row) = Digests.openBallot(votes.words, ballot, digests, votes.named, i);
        votes.commitments[position] = commitment;
        if (i == 0) votes.first = row;
        else if (row != votes.first) votes.differ = true;
    }

    /// Requires opened and unopened commitments, in `order`, to be what was rolled over. A ballot needs no signature: its
    /// validator signed the commitment.
    function _requireRolling(Votes memory votes, bytes calldata order, bytes32[] calldata unopened) private view {
        (bytes32 rolling, uint256 used) = Digests.rollOver(order, votes.opened, votes.commitments, unopened);
        if (rolling != _rolling || used != unopened.length) revert WrongCommitments();
    }

    function _settle(AllianceParams memory p, SealStatement calldata seal, Votes memory votes) private {
        Decision memory decision = _decide(p, seal, votes);
        RoundRecord memory record = _computeRecord(p, seal, decision, votes);
        if (decision.baseModel != 0) {
            _confirmedModel = decision.baseModel;
            _status.confirmedRound = seal.round;
        }
        _status.settledRoundCount += 1;
        _status.voidCount = 0;
        if (_status.settledRoundCount == p.roundCount) decision.closes = true;
        _settled[seal.round] = _logSettled(seal.round, decision, votes.marks, record);
        if (decision.closes) _close();
        else _openRound(p);
    }

    /// Emits RoundSettled, and returns keccak256(abi.encode(record)). The record is the last of the log's values, so its
    /// encoding is the end of the data, and need not be made again: before it, abi.encode(record) has the word 32.
    function _logSettled(
        uint32 round,
        Decision memory decision,
        uint256[] memory marks,
        RoundRecord memory record
    ) private returns (bytes32 recordHash) {
        bytes memory data = abi.encode(
            decision.outcomes,
            decision.digests,
            decision.votesFor,
            decision.votesAgainst,
            decision.baseModel,
            decision.closes,
            marks,
            record
        );
        bytes32 topic = RoundSettled.selector;
        assembly ("memory-safe") {
            let length := mload(data)
            log2(add(data, 32), length, topic, round)
            let offset := mload(add(data, 256)) // the eighth word: where the record begins, counted from the first
            let start := add(data, offset) // of the word before the record
            mstore(start, 32)
            recordHash := keccak256(start, sub(add(length, 32), offset))
        }
    }

    function _decide(AllianceParams memory p, SealStatement calldata seal, Votes memory votes)
        private
        view
        returns (Decision memory decision)
    {
        uint256 cohorts = p.cohortCount;
        decision.outcomes = new uint8[](cohorts);
        decision.digests = new bytes32[](cohorts);
        decision.votesFor = new uint16[](cohorts);
        decision.votesAgainst = new uint16[](cohorts);
        decision.survivorCounts =
            Survivors.countByCohort(seal.survivors, _round.seatCount - p.validatorCount, cohorts);
        _decideBaseModel(p, decision, votes);
        for (uint256 cohort = 0; cohort < cohorts; ++cohort) _decideCohort(p, decision, cohort, votes);
    }

    /// Nearly always all ballots name the same.
    function _leading(AllianceParams memory p, Votes memory votes, uint256 column, uint256 voters)
        private
        pure
        returns (bytes32 leader, uint256 supporters)
    {
        if (votes.differ) return Tally.leading(votes.named, 1 + uint256(p.cohortCount), column, voters);
        return (voters == 0 ? bytes32(0) : votes.named[column], voters);
    }

    function _decideBaseModel(AllianceParams memory p, Decision memory decision, Votes memory votes) private pure {
        uint256[] memory marks = votes.marks;
        uint256 voters = ((1 << marks.length) - 1) & ~votes.baseless;
        (bytes32 leader, uint256 supporters) = _leading(p, votes, 0, voters);
        Marks.setLeadingBase(marks, supporters);
        uint256 accept = _acceptQuorum(p);
        if (Survivors.countBits(supporters) >= accept) decision.baseModel = leader;
        uint256 target = p.scoreTargetMicro;
        decision.closes = target > 0 && Marks.countScores(marks, supporters, target) >= accept;
    }

    function _decideCohort(AllianceParams memory p, Decision memory decision, uint256 cohort, Votes memory votes)
        private
        pure
    {
        (uint256 yes, uint256 no) = Marks.votesOf(votes.marks, cohort);
        (bytes32 leader, uint256 supporters) = _leading(p, votes, 1 + cohort, yes);
        uint256 grades = Marks.setLeadingDigest(votes.marks, supporters, cohort);
        uint256 against = Survivors.countBits(no);
        uint256 votesFor = Survivors.countBits(supporters);
        (decision.digests[cohort], decision.votesFor[cohort]) = (leader, uint16(votesFor));
        decision.votesAgainst[cohort] = uint16(against);
        uint8 outcome = _outcomeOf(p, Survivors.countOf(decision.survivorCounts, cohort), votesFor, against);
        decision.outcomes[cohort] = outcome;
        decision.packed |= uint256(outcome) << (2 * cohort);
        if (outcome != OUTCOME_ADOPTED) return;
        decision.adopted |= 1 << cohort;
        decision.grades |= grades / votesFor << (4 * cohort); // an accept quorum is not empty
    }

    function _outcomeOf(AllianceParams memory p, uint256 survivors, uint256 votesFor, uint256 against)
        private
        pure
        returns (uint8)
    {
        uint256 accept = _acceptQuorum(p);
        if (survivors < ParamsRules.survivorsMin(p.threshold, p.collusionBound)) return OUTCOME_VOID;
        if (votesFor >= accept) return OUTCOME_ADOPTED;
        return against >= accept ? OUTCOME_REJECTED : OUTCOME_UNDECIDED;
    }

    /// Computes what the round pays, and reserves it; owners book it themselves (claimRounds).
    function _computeRecord(
        AllianceParams memory p,
        SealStatement calldata seal,
        Decision memory decision,
        Votes memory votes
    ) private returns (RoundRecord memory record) {
        uint256 total;
        (record.trainerRewards, total) = Pay.trainerRewardsDown(
            p.rewardPerRound, p.cohortCount, decision.adopted, decision.survivorCounts, decision.grades
        );
        record.round = seal.round;
        record.seatCount = _round.seatCount;
        record.revealed = uint64(votes.opened);
        record.outcomes = uint32(decision.packed); // of at most 16 cohorts
        record.seed = seal.seed;
        record.survivors = seal.survivors;
        total += _fillValidatorRewards(p, record, votes.marks);
        total += _fillRefunds(p, record);
        _reserve(total);
    }

    function _fillValidatorRewards(AllianceParams memory p, RoundRecord memory record, uint256[] memory marks)
        private
        pure
        returns (uint256 total)
    {
        uint256 validators = p.validatorCount;
        uint256 base = Pay.validatorRewardDown(p.rewardPerRound, validators);
        uint256[] memory scores = Pay.agreementScores(marks, p.cohortCount);
        uint96[] memory rewards = new uint96[](validators);
        record.validatorRewards = rewards;
        unchecked {
            uint256 count = marks.length; // also that of the scores; positions were checked
            for (uint256 i = 0; i < count; ++i) {
                uint256 score;
                uint256 mark;
                assembly ("memory-safe") {
                    let index := shl(5, add(i, 1))
                    score := mload(add(scores, index))
                    mark := mload(add(marks, index))
                }
                uint256 reward = base; // with the bonus at most half of the budget, which has 96 bits
                if (score != 0) reward += Pay.bonusDown(p.rewardPerRound, validators, p.cohortCount, score);
                rewards[Marks.positionOf(mark)] = uint96(reward);
                total += reward;
            }
        }
    }

    function _fillRefunds(AllianceParams memory p, RoundRecord memory record) private view returns (uint256 total) {
        uint256 accept = _acceptQuorum(p);
        uint256 refund = Pay.refundDown(p.rewardPerRound);
        record.refund = uint96(refund);
        if (Survivors.countBits(_commits.committed) >= accept) {
            (record.sealer, record.committer) = (_sealing.sealer, _commits.committer);
            total = 2 * refund;
        }
        if (Survivors.countBits(record.revealed) >= accept) {
            record.settler = msg.sender;
            total += refund;
        }
    }

    /* VOID, OPEN, CLOSE */

    /// @inheritdoc IRounds
    function voidRound(uint32 round) external {
        _requireCurrent(round);
        bool isSealed = _round.sealedAt != 0;
        if (_committed() != 0) revert RoundHasCommitments();
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
        // After the join deadline nobody can come that the alliance waits for.
        uint64 joinDeadline = _joinDeadline();
        if (joinDeadline != 0 && joinDeadline < deadline) deadline = joinDeadline;
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

    /// Requires the statement to be what the current round was sealed with.
    function _requireSeal(SealStatement calldata seal) private view {
        _requireCurrent(seal.round);
        if (_round.sealedAt == 0) revert NotSealed();
        if (seal.hashOf(_number()) != _seal) revert WrongSeal();
    }

    /// Requires a bitmap of validators' positions, and counts them.
    function _requirePositions(AllianceParams memory p, uint256 positions) private pure returns (uint256) {
        uint256 beyond = positions >> p.validatorCount;
        if (beyond != 0) revert WrongPosition(p.validatorCount + _lowest(beyond));
        return Survivors.countBits(positions);
    }

    /// The index of the lowest bit set.
    function _lowest(uint256 bits) private pure returns (uint256 index) {
        while (bits >> index & 1 == 0) ++index;
    }

    function _signing(bytes32 seed) private view returns (Signing memory) {
        return Signing(Digests.domainSeparator(), Sortition.open(seed, _round.seatCount));
    }

    /// @param index of the signature among those that stand side by side
    function _requireSignature(
        Signing memory signing,
        uint256 position,
        bytes32 digest,
        bytes calldata signatures,
        uint256 index
    ) private view {
        // A running round's seats stay in the table, and the order leads below their number.
        address owner = _ownerOf(Sortition.seatAt(signing.order, position));
        if (Signatures.recover(digest, signatures, index) != owner) revert WrongSignature(position);
    }
}
