// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {AllianceParams, Ballot, JoinRequest, RoundRecord, RoundState, SealStatement} from "../src/Types.sol";
import {IAlliance} from "../src/interfaces/IAlliance.sol";
import {IAllianceFactory} from "../src/interfaces/IAllianceFactory.sol";
import {IBeacon} from "../src/interfaces/IBeacon.sol";
import {Sortition} from "../src/libraries/Sortition.sol";
import {Follower} from "./Follower.sol";
import {StubBeacon} from "./StubBeacon.sol";

/// What an alliance answers beside IAlliance. Tests import interfaces only, and deploy what the build made: so they are
/// compiled without optimizer (foundry.toml), three times as fast, and the contracts that they run are the real ones.
interface IAllianceParts {
    function initialize(uint256 rewardPool) external;
    function factory() external view returns (address);
    function token() external view returns (address);
    function beacon() external view returns (address);
}

/// An alliance with members that sign, and every transaction of a round as a value that a test can spoil.
/// Digests are built here from the specification, not with the contract's library.
abstract contract AllianceTest is Follower {
    struct SealCall {
        uint32 round;
        uint32 leaderView;
        bytes beaconSignature;
        bytes32 manifestDigest;
        uint256[] survivors;
        uint64 signers;
        bytes signatures;
    }

    struct CommitCall {
        SealStatement seal;
        uint64 positions;
        bytes32[] commitments;
        bytes signatures;
    }

    struct SettleCall {
        SealStatement seal;
        bytes order;
        bytes32[] unopened;
        Ballot[] ballots;
    }

    uint256 internal constant START = 1_700_000_000;
    uint256 internal constant ALL = type(uint256).max;
    uint8 internal constant UNAVAILABLE = 0;
    uint8 internal constant YES = 1;
    uint8 internal constant NO = 2;
    bytes32 internal constant MODEL = keccak256("model digest");
    bytes32 internal constant MANIFEST = keccak256("contribution manifest");
    bytes32 internal constant SEAL_TYPE = keccak256(
        "Seal(uint256 alliance,uint32 round,uint32 view,uint64 beaconRound,bytes32 seed,bytes32 manifestDigest,bytes32 survivorsDigest)"
    );
    bytes32 internal constant COMMIT_TYPE =
        keccak256("Commit(uint256 alliance,uint32 round,bytes32 seal,uint32 position,bytes32 commitment)");

    address internal creator = vm.addr(0xC0);
    address internal stranger = vm.addr(0x57);
    IERC20 internal token;
    StubBeacon internal beacon;
    IAllianceFactory internal factory;
    IAlliance internal alliance;
    AllianceParams internal params;
    mapping(address owner => uint256) internal keys;
    mapping(uint256 i => address) private _memberAt;

    function setUp() public virtual {
        vm.recordLogs();
        vm.warp(START);
        token = IERC20(
            vm.deployCode("out/FlockToken.sol/FlockToken.json", abi.encode(address(this), 1_000_000 ether, address(0)))
        );
        beacon = new StubBeacon();
        factory = deployFactory(address(token), beacon);
        params = defaultParams();
        alliance = create(params, 1);
    }

    /* ALLIANCE AND MEMBERS */

    /// Three validators, two cohorts of four at eleven seats; amounts that leave dust in every division.
    function defaultParams() internal pure returns (AllianceParams memory p) {
        p.manifestDigest = keccak256("task manifest");
        p.seatStake = 100 ether + 3;
        p.rewardPerRound = 1000 ether + 7;
        p.roundCount = 4;
        p.seatCountMin = 11;
        p.seatCountMax = 14;
        p.validatorCount = 3;
        p.cohortCount = 2;
        p.threshold = 3;
        p.collusionBound = 0;
        p.laneBits = 32;
        p.levels = 65_536;
        p.weightMax = 16;
        p.lossToleranceMicro = 10_000;
        (p.trainSeconds, p.sealSeconds, p.unmaskSeconds) = (30, 5, 6);
        (p.evaluateSeconds, p.commitSeconds, p.settleSeconds) = (10, 7, 8);
        (p.openingSlotSeconds, p.beaconMargin, p.redrawRounds) = (10, 2, 1);
        (p.penaltyWindowSeconds, p.unbondingSeconds, p.provableSlashBps) = (60, 120, 1000);
        p.voidCountMax = 3;
    }

    /// The parts, beside the factory that binds them together.
    function deployParts(address token_, IBeacon beacon_) internal returns (address members) {
        bytes memory both = abi.encode(token_, beacon_);
        address challenges = vm.deployCode("out/Challenges.sol/Challenges.json", both);
        address evidence = vm.deployCode("out/Evidence.sol/Evidence.json", abi.encode(token_, beacon_, challenges));
        return vm.deployCode("out/Members.sol/Members.json", abi.encode(token_, beacon_, evidence));
    }

    function deployFactory(address token_, IBeacon beacon_) internal returns (IAllianceFactory) {
        address members = deployParts(token_, beacon_);
        return IAllianceFactory(
            vm.deployCode("out/AllianceFactory.sol/AllianceFactory.json", abi.encode(token_, beacon_, members))
        );
    }

    /// `spare` wei beyond the budgets of all rounds are escrowed.
    function create(AllianceParams memory p, uint256 spare) internal returns (IAlliance) {
        return create(p, spare, new address[](0));
    }

    function create(AllianceParams memory p, uint256 spare, address[] memory allowlist) internal returns (IAlliance) {
        uint256 pool = uint256(p.rewardPerRound) * p.roundCount + spare;
        token.transfer(creator, pool);
        vm.prank(creator);
        token.approve(address(factory), pool);
        vm.prank(creator);
        (, address made) = factory.create(p, pool, "heart", allowlist);
        return IAlliance(made);
    }

    function member(uint256 i) internal returns (address owner) {
        owner = _memberAt[i];
        if (owner != address(0)) return owner;
        owner = vm.addr(1000 + i);
        (_memberAt[i], keys[owner]) = (owner, 1000 + i);
    }

    function maskKey(uint256 i, uint256 generation) internal pure returns (bytes32) {
        return keccak256(abi.encode("mask key", i, generation));
    }

    function fund(address owner) internal {
        token.transfer(owner, params.seatStake);
        vm.prank(owner);
        token.approve(address(alliance), params.seatStake);
    }

    /// What member `i` joins with, in an alliance that anyone may join.
    function requestOf(uint256 i, uint256 generation) internal view returns (JoinRequest memory request) {
        request.peerId = peerId(i);
        request.maskKey = maskKey(i, generation);
        request.weight = 4;
        request.paramsHash = keccak256(abi.encode(params));
        request.maximumLoss = params.seatStake;
        request.peerSignature = new bytes(64);
    }

    function join(uint256 i, uint256 generation) internal returns (address owner) {
        owner = member(i);
        fund(owner);
        JoinRequest memory request = requestOf(i, generation);
        vm.prank(owner);
        alliance.join(request);
    }

    function peerId(uint256 i) internal pure returns (bytes memory) {
        return abi.encodePacked(hex"002408011220", keccak256(abi.encode("peer", i)));
    }

    function joinAll(uint256 count) internal {
        for (uint256 i = 0; i < count; ++i) join(i, 0);
    }

    function state() internal view returns (RoundState memory) {
        return alliance.roundState();
    }

    /* ROLES */

    function seedNow() internal view returns (bytes32) {
        RoundState memory s = state();
        return Sortition.computeSeed(
            address(alliance), alliance.number(), s.round, beaconValue(s.beaconRound)
        );
    }

    function beaconValue(uint64 beaconRound) internal view virtual returns (bytes32) {
        return beacon.valueOf(beaconRound);
    }

    function beaconProof(uint64) internal view virtual returns (bytes memory) {
        return new bytes(96);
    }

    function ownerAt(uint256 position) internal view returns (address) {
        uint256 seat = Sortition.seatAt(seedNow(), position, state().seatCount);
        return alliance.getSeats(seat, 1)[0].owner;
    }

    function positionOf(address owner) internal view returns (uint256 position) {
        while (ownerAt(position) != owner) ++position;
    }

    /* SIGNATURES */

    function typed(bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("p2p_flock"),
                keccak256("1"),
                block.chainid,
                address(alliance)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function signAs(address owner, bytes32 structHash) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keys[owner], typed(structHash));
        return abi.encodePacked(r, s, v);
    }

    /// The other signature over the same digest that plain ecrecover accepts.
    function malleate(bytes memory signature) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        uint8 v = uint8(signature[64]) == 27 ? 28 : 27;
        return abi.encodePacked(r, bytes32(order - uint256(s)), v);
    }

    /// The `i`-th of joined signatures.
    function signatureAt(bytes memory joined, uint256 i) internal pure returns (bytes memory signature) {
        signature = new bytes(65);
        for (uint256 k = 0; k < 65; ++k) signature[k] = joined[65 * i + k];
    }

    function replaceSignature(bytes memory joined, uint256 i, bytes memory signature) internal pure {
        for (uint256 k = 0; k < 65; ++k) joined[65 * i + k] = signature[k];
    }

    function firstPositions(uint256 count) internal pure returns (uint64) {
        return uint64((uint256(1) << count) - 1);
    }

    /* SEAL */

    function words(uint256 bitmap) internal view returns (uint256[] memory list) {
        uint256 trainers = state().seatCount - params.validatorCount;
        list = new uint256[](1);
        list[0] = bitmap & (type(uint256).max >> (256 - trainers));
    }

    function hashOf(SealStatement memory seal) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                SEAL_TYPE,
                alliance.number(),
                seal.round,
                seal.leaderView,
                seal.beaconRound,
                seal.seed,
                seal.manifestDigest,
                keccak256(abi.encodePacked(seal.survivors))
            )
        );
    }

    function sealHash(SealCall memory call) internal view returns (bytes32) {
        return hashOf(
            SealStatement(
                call.round, call.leaderView, state().beaconRound, seedNow(), call.manifestDigest, call.survivors
            )
        );
    }

    function sealOf(uint256 bitmap) internal view returns (SealCall memory call) {
        call.round = state().round;
        call.beaconSignature = beaconProof(state().beaconRound);
        call.manifestDigest = MANIFEST;
        call.survivors = words(bitmap);
        call.signers = firstPositions(params.validatorCount / 2 + 1);
        signSeal(call);
    }

    function signSeal(SealCall memory call) internal view {
        bytes32 hash = sealHash(call);
        call.signatures = "";
        for (uint256 p = 0; p < 64; ++p) {
            if (call.signers >> p & 1 == 1) call.signatures = bytes.concat(call.signatures, signAs(ownerAt(p), hash));
        }
    }

    function send(SealCall memory call) internal {
        alliance.sealRound(
            call.round,
            call.leaderView,
            call.beaconSignature,
            call.manifestDigest,
            call.survivors,
            call.signers,
            call.signatures
        );
    }

    /// Goes to the opening time and seals.
    function sealNow(uint256 bitmap) internal {
        if (block.timestamp < state().opensAt) vm.warp(state().opensAt);
        send(sealOf(bitmap));
    }

    /// The seal of a round as the log tells it; without one, a statement that says the round only.
    function sealedIn(uint32 round) internal returns (SealStatement memory seal) {
        Book storage book = bookOf(address(alliance), round);
        if (book.seal.length != 0) return abi.decode(book.seal, (SealStatement));
        seal.round = round;
    }

    function sealedNow() internal returns (SealStatement memory) {
        return sealedIn(latestOf(address(alliance)));
    }

    /* COMMIT */

    function commitmentOf(Ballot memory ballot) internal returns (bytes32) {
        SealStatement memory seal = sealedNow();
        return keccak256(
            abi.encode(
                keccak256("p2p_flock ballot v2"),
                block.chainid,
                address(alliance),
                alliance.number(),
                seal.round,
                hashOf(seal),
                ballot.marks,
                ballot.baseModelDigest,
                keccak256(abi.encodePacked(ballot.aggregateDigests)),
                ballot.salt
            )
        );
    }

    function commitOf(Ballot[] memory ballots) internal returns (CommitCall memory call) {
        call.seal = sealedNow();
        call.commitments = new bytes32[](ballots.length);
        for (uint256 i = 0; i < ballots.length; ++i) {
            call.positions |= uint64(1) << uint16(ballots[i].marks);
            call.commitments[i] = commitmentOf(ballots[i]);
        }
        signCommits(call);
    }

    function signCommits(CommitCall memory call) internal view {
        bytes32 seal = hashOf(call.seal);
        uint256 number = alliance.number();
        uint256 n = 0;
        call.signatures = "";
        for (uint256 p = 0; p < 64; ++p) {
            if (call.positions >> p & 1 == 0) continue;
            bytes32 hash = keccak256(abi.encode(COMMIT_TYPE, number, call.seal.round, seal, p, call.commitments[n++]));
            call.signatures = bytes.concat(call.signatures, signAs(ownerAt(p), hash));
        }
    }

    function send(CommitCall memory call) internal {
        alliance.commitRound(call.seal, call.positions, call.commitments, call.signatures);
    }

    /* BALLOTS */

    function digestOf(uint256 cohort) internal pure returns (bytes32) {
        return keccak256(abi.encode("aggregate", cohort));
    }

    /// One verdict for every cohort, all naming the same aggregates; a yes has grade 3.
    function ballotOf(uint16 position, uint8 verdict) internal view returns (Ballot memory ballot) {
        ballot.marks = position;
        ballot.baseModelDigest = MODEL;
        ballot.aggregateDigests = new bytes32[](params.cohortCount);
        for (uint256 c = 0; c < params.cohortCount; ++c) {
            setVerdict(ballot, c, verdict, verdict == YES ? 3 : 0);
            ballot.aggregateDigests[c] = digestOf(c);
        }
        ballot.salt = keccak256(abi.encode("salt", position));
    }

    function setVerdict(Ballot memory ballot, uint256 cohort, uint8 verdict, uint8 grade) internal pure {
        (uint256 low, uint256 high) = (48 + 2 * cohort, 80 + 4 * cohort);
        ballot.marks &= ~(uint256(3) << low | uint256(15) << high);
        ballot.marks |= uint256(verdict) << low | uint256(grade) << high;
    }

    function setScore(Ballot memory ballot, uint32 scoreMicro) internal pure {
        ballot.marks = ballot.marks & ~(uint256(type(uint32).max) << 16) | uint256(scoreMicro) << 16;
    }

    function setPosition(Ballot memory ballot, uint16 position) internal pure {
        ballot.marks = ballot.marks >> 16 << 16 | position;
    }

    function ballotsOf(uint256 count, uint8 verdict) internal view returns (Ballot[] memory ballots) {
        ballots = new Ballot[](count);
        for (uint256 i = 0; i < count; ++i) ballots[i] = ballotOf(uint16(i), verdict);
    }

    function one(Ballot memory ballot) internal pure returns (Ballot[] memory list) {
        list = new Ballot[](1);
        list[0] = ballot;
    }

    function two(Ballot memory first, Ballot memory second) internal pure returns (Ballot[] memory list) {
        list = new Ballot[](2);
        (list[0], list[1]) = (first, second);
    }

    /* SETTLE */

    /// Everything that the chain asks for beside the ballots, as the log tells it.
    function settleOf(uint32 round, Ballot[] memory ballots) internal returns (SettleCall memory call) {
        call.seal = sealedIn(round);
        call.ballots = ballots;
        Book storage book = bookOf(address(alliance), round);
        call.order = book.order;
        uint256 opened = 0;
        for (uint256 i = 0; i < ballots.length; ++i) opened |= uint256(1) << uint16(ballots[i].marks);
        bytes32[] memory unopened = new bytes32[](call.order.length);
        uint256 n = 0;
        for (uint256 i = 0; i < call.order.length; ++i) {
            if (opened >> uint8(call.order[i]) & 1 == 0) unopened[n++] = book.commitments[i];
        }
        call.unopened = new bytes32[](n);
        for (uint256 i = 0; i < n; ++i) call.unopened[i] = unopened[i];
    }

    function send(SettleCall memory call) internal {
        alliance.settleRound(call.seal, call.order, call.unopened, call.ballots);
    }

    function settle(uint32 round, Ballot[] memory ballots) internal {
        send(settleOf(round, ballots));
    }

    /// A whole round in which all validators say the same.
    function playRound(uint256 survivors, uint8 verdict) internal {
        sealNow(survivors);
        playBallots(ballotsOf(params.validatorCount, verdict));
    }

    /// The rest of a sealed round in which exactly these vote.
    function playBallots(Ballot[] memory ballots) internal {
        uint32 round = sealedNow().round;
        send(commitOf(ballots));
        if (ballots.length < params.validatorCount) vm.warp(state().commitDeadline + 1);
        settle(round, ballots);
    }

    /// A round in which everybody takes part but `sleeper`.
    function playWithout(address sleeper) internal {
        if (block.timestamp < state().opensAt) vm.warp(state().opensAt);
        uint256 position = positionOf(sleeper);
        uint256 asleep = position < params.validatorCount ? 0 : 1 << (position - params.validatorCount);
        _sealAround(sleeper, ALL & ~asleep);
        Ballot[] memory ballots = new Ballot[](position < 3 ? 2 : 3);
        uint256 n = 0;
        for (uint16 p = 0; p < 3; ++p) if (ownerAt(p) != sleeper) ballots[n++] = ballotOf(p, YES);
        playBallots(ballots);
    }

    function _sealAround(address sleeper, uint256 bitmap) private {
        SealCall memory call = sealOf(bitmap);
        call.signers = 0;
        uint256 n = 0;
        for (uint16 p = 0; n < 2; ++p) {
            if (ownerAt(p) == sleeper) continue;
            call.signers |= uint64(1) << p;
            ++n;
        }
        signSeal(call);
        send(call);
    }

    /* MONEY */

    function isSettled(uint32 round) internal returns (bool) {
        return bookOf(address(alliance), round).settlement.length != 0;
    }

    function settlementOf(uint32 round) internal returns (Settlement memory) {
        check(isSettled(round), "this round was not settled");
        return abi.decode(bookOf(address(alliance), round).settlement, (Settlement));
    }

    /// The record of a settled round as the log tells it.
    function recordOf(uint32 round) internal returns (RoundRecord memory) {
        return settlementOf(round).record;
    }

    function recordsOf(uint32 first, uint32 count) internal returns (RoundRecord[] memory records) {
        records = new RoundRecord[](count);
        for (uint32 i = 0; i < count; ++i) records[i] = recordOf(first + i);
    }

    function rewardOf(address owner, uint32 round) internal returns (uint256) {
        return alliance.getReward(owner, recordOf(round));
    }

    /// Returns what was paid.
    function claimAs(address owner, RoundRecord[] memory records) internal returns (uint256) {
        uint256 before = token.balanceOf(owner);
        vm.prank(owner);
        alliance.claimRounds(records);
        return token.balanceOf(owner) - before;
    }

    /// P6 at any moment: what the contract holds is what it says it owes.
    function requireConserved() internal view {
        (uint256 stakes, uint256 pool, uint256 owed) = alliance.getAccounts();
        eq(token.balanceOf(address(alliance)), stakes + pool + owed, "P6: balance = stakes + pool + owed");
    }
}
