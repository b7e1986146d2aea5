// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A round in which every participant sends its own transactions, after FLock.io's FlockTask: join, contribute a
/// hash, vote on one, finish. Exists only so that `scripts/bench gas` can measure that way beside ours: nobody deploys it
/// anywhere else, it holds no money and its votes prove nothing.
/// @dev Where FLock's own is dearer, this one takes the cheap way, so that the comparison errs in its favour: hashes are
/// words (FLock stores texts of 46 characters, three slots), roles follow from the order of joining (FLock stores one per
/// participant, drawn with a VRF request and its callback), stakes are not counted, no list of participants is logged,
/// rewards and slashes are not claimed.
contract FlockStyle {
    struct Progress {
        uint32 joined;
        uint32 contributed;
        uint32 voted;
        bytes20 unused;
    }

    struct Tally {
        uint128 votes;
        int128 score;
    }

    struct Vote {
        bytes31 start; // of the hash voted for: whether it was the popular one decides a reward
        int8 score;
    }

    event RoundFinished(uint256 indexed round, bytes32 popular, bytes32 model);

    error WrongRole();
    error AlreadyDone();
    error TooEarly();

    uint256 public immutable voterCount;
    uint256 public immutable participantCount;
    uint256 public round;
    mapping(uint256 round => Progress) public progress;
    mapping(uint256 round => mapping(address participant => uint256)) public placeOf;
    mapping(uint256 round => mapping(address proposer => bytes32)) public contributionOf;
    mapping(uint256 round => mapping(address voter => Vote)) public voteOf;
    mapping(uint256 round => mapping(bytes32 hash => Tally)) public tallyOf;
    mapping(uint256 round => bytes32) public popularHash;
    mapping(uint256 round => bytes32) public globalModelHash;

    constructor(uint256 voters, uint256 participants) {
        (voterCount, participantCount) = (voters, participants);
    }

    /// @notice Takes part in the running round; the first ones vote, the others propose.
    function joinRound() external {
        if (placeOf[round][msg.sender] != 0) revert AlreadyDone();
        placeOf[round][msg.sender] = ++progress[round].joined;
    }

    /// @notice A proposer's trained model.
    function contribute(bytes32 hash) external {
        uint256 current = round;
        if (placeOf[current][msg.sender] <= voterCount) revert WrongRole();
        if (contributionOf[current][msg.sender] != 0) revert AlreadyDone();
        contributionOf[current][msg.sender] = hash;
        ++progress[current].contributed;
    }

    /// @notice A voter's verdict on the aggregate that it computed itself.
    function vote(bytes32 hash, int8 score) external {
        uint256 current = round;
        uint256 place = placeOf[current][msg.sender];
        if (place == 0 || place > voterCount) revert WrongRole();
        Progress storage now_ = progress[current];
        if (now_.contributed + voterCount < participantCount) revert TooEarly();
        if (voteOf[current][msg.sender].start != 0) revert AlreadyDone();
        voteOf[current][msg.sender] = Vote(bytes31(hash), score);
        Tally memory tally = tallyOf[current][hash];
        (tally.votes, tally.score) = (tally.votes + 1, tally.score + score);
        tallyOf[current][hash] = tally;
        bytes32 popular = popularHash[current];
        if (popular != hash && tally.votes > tallyOf[current][popular].votes) popularHash[current] = hash;
        ++now_.voted;
    }

    /// @notice Ends the round: the popular model is the next one if its score is positive.
    function finish() external {
        uint256 current = round;
        if (progress[current].voted < voterCount) revert TooEarly();
        bytes32 popular = popularHash[current];
        bytes32 model = tallyOf[current][popular].score > 0 ? popular : globalModelHash[current];
        globalModelHash[current + 1] = model;
        round = current + 1;
        emit RoundFinished(current, popular, model);
    }
}
