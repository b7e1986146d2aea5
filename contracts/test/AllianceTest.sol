// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {FlockToken} from "../src/FlockToken.sol";
import {AllianceParams, Ballot, RoundState, SeatView} from "../src/Types.sol";
import {IAlliance} from "../src/interfaces/IAlliance.sol";
import {IAllianceFactory} from "../src/interfaces/IAllianceFactory.sol";
import {IBeacon} from "../src/interfaces/IBeacon.sol";
import {Sortition} from "../src/libraries/Sortition.sol";
import {Forge} from "./Forge.sol";

/// What an alliance answers beside IAlliance. Tests import interfaces only, and deploy what the build made: so they are
/// compiled without optimizer (foundry.toml), three times as fast, and the contracts that they run are the real ones.
interface IAllianceParts {
    function initialize(uint256 rewardPool) external;
    function factory() external view returns (address);
    function token() external view returns (address);
    function beacon() external view returns (address);
}

/// A beacon whose values follow from the round, so that tests need no pairing. Beacon.t.sol tests the real one, and
/// DrandRound.t.sol runs a round with it.
contract StubBeacon is IBeacon {
    uint64 public constant genesis = 1_600_000_000;
    uint64 public constant period = 3;
    mapping(uint64 beaconRound => bytes32) public randomness;

    function prove(uint64 beaconRound, bytes calldata signature) external returns (bytes32) {
        if (randomness[beaconRound] != 0) return randomness[beaconRound];
        if (signature.length != 96) revert WrongLength(96, signature.length);
        if (signature[0] != 0) revert WrongSignature();
        randomness[beaconRound] = valueOf(beaconRound);
        return valueOf(beaconRound);
    }

    function valueOf(uint64 beaconRound) public pure returns (bytes32) {
        return keccak256(abi.encode("stub beacon", beaconRound));
    }

    function timeOf(uint64 beaconRound) public pure returns (uint64) {
        return genesis + (beaconRound - 1) * period;
    }

    function roundAt(uint64 timestamp) external pure returns (uint64) {
        unchecked {
            return timestamp <= genesis ? 1 : (timestamp - genesis - 1) / period + 2;
        }
    }

    function publicKey() external pure returns (bytes memory) {
        return new bytes(256);
    }
}

/// An alliance with members that sign, and every transaction of a round as a value that a test can spoil.
/// Digests are built here from the specification, not with the contract's library.
abstract contract AllianceTest is Forge {
    struct SealCall {
        uint32 round;
        uint32 leaderView;
        bytes beaconSignature;
        bytes32 manifestDigest;
        uint256[] survivors;
        uint16[] positions;
        bytes[] signatures;
    }

    struct CommitCall {
        uint32 round;
        uint16[] positions;
        bytes32[] commitments;
        bytes[] signatures;
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
    bytes32 internal constant BALLOT_TYPE = keccak256(
        "Ballot(uint256 alliance,uint32 round,bytes32 seal,uint32 position,bytes32 baseModelDigest,bytes verdicts,bytes32[] aggregateDigests,bytes32 salt)"
    );

    address internal creator = vm.addr(0xC0);
    address internal stranger = vm.addr(0x57);
    FlockToken internal token;
    StubBeacon internal beacon;
    IAllianceFactory internal factory;
    IAlliance internal alliance;
    AllianceParams internal params;
    mapping(address owner => uint256) internal keys;

    function setUp() public virtual {
        vm.warp(START);
        token = FlockToken(
            vm.deployCode("out/FlockToken.sol/FlockToken.json", abi.encode(address(this), 1_000_000 ether))
        );
        beacon = new StubBeacon();
        factory = deployFactory(token, beacon);
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

    function deployFactory(FlockToken token_, IBeacon beacon_) internal returns (IAllianceFactory) {
        return IAllianceFactory(vm.deployCode("out/AllianceFactory.sol/AllianceFactory.json", abi.encode(token_, beacon_)));
    }

    /// `spare` wei beyond the budgets of all rounds are escrowed.
    function create(AllianceParams memory p, uint256 spare) internal returns (IAlliance) {
        uint256 pool = uint256(p.rewardPerRound) * p.roundCount + spare;
        token.transfer(creator, pool);
        vm.prank(creator);
        token.approve(address(factory), pool);
        vm.prank(creator);
        (, address made) = factory.create(p, pool, "heart");
        return IAlliance(made);
    }

    function member(uint256 i) internal returns (address owner) {
        owner = vm.addr(1000 + i);
        keys[owner] = 1000 + i;
    }

    function maskKey(uint256 i, uint256 generation) internal pure returns (bytes32) {
        return keccak256(abi.encode("mask key", i, generation));
    }

    function fund(address owner) internal {
        token.transfer(owner, params.seatStake);
        vm.prank(owner);
        token.approve(address(alliance), params.seatStake);
    }

    function join(uint256 i, uint256 generation) internal returns (address owner) {
        owner = member(i);
        fund(owner);
        bytes32 hash = alliance.paramsHash();
        vm.prank(owner);
        alliance.join(peerId(i), maskKey(i, generation), 4, hash, params.seatStake, new bytes(64));
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

    function firstPositions(uint256 count) internal pure returns (uint16[] memory positions) {
        positions = new uint16[](count);
        for (uint256 i = 0; i < count; ++i) positions[i] = uint16(i);
    }

    /* SEAL */

    function words(uint256 bitmap) internal view returns (uint256[] memory list) {
        uint256 trainers = state().seatCount - params.validatorCount;
        list = new uint256[](1);
        list[0] = bitmap & (type(uint256).max >> (256 - trainers));
    }

    function sealHash(SealCall memory call) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                SEAL_TYPE,
                alliance.number(),
                call.round,
                call.leaderView,
                state().beaconRound,
                seedNow(),
                call.manifestDigest,
                keccak256(abi.encodePacked(call.survivors))
            )
        );
    }

    function sealOf(uint256 bitmap) internal view returns (SealCall memory call) {
        call.round = state().round;
        call.beaconSignature = beaconProof(state().beaconRound);
        call.manifestDigest = MANIFEST;
        call.survivors = words(bitmap);
        call.positions = firstPositions(params.validatorCount / 2 + 1);
        signSeal(call);
    }

    function signSeal(SealCall memory call) internal view {
        bytes32 hash = sealHash(call);
        call.signatures = new bytes[](call.positions.length);
        for (uint256 i = 0; i < call.positions.length; ++i) {
            call.signatures[i] = signAs(ownerAt(call.positions[i]), hash);
        }
    }

    function send(SealCall memory call) internal {
        alliance.sealRound(
            call.round,
            call.leaderView,
            call.beaconSignature,
            call.manifestDigest,
            call.survivors,
            call.positions,
            call.signatures
        );
    }

    /// Goes to the opening time and seals.
    function sealNow(uint256 bitmap) internal {
        if (block.timestamp < state().opensAt) vm.warp(state().opensAt);
        send(sealOf(bitmap));
    }

    /* COMMIT */

    function commitmentOf(Ballot memory ballot) internal view returns (bytes32) {
        RoundState memory s = state();
        return keccak256(
            abi.encode(
                keccak256("p2p_flock ballot v1"),
                block.chainid,
                address(alliance),
                alliance.number(),
                s.round,
                s.seal,
                ballot.position,
                ballot.baseModelDigest,
                keccak256(ballot.verdicts),
                keccak256(abi.encodePacked(ballot.aggregateDigests)),
                ballot.salt
            )
        );
    }

    function commitOf(Ballot[] memory ballots) internal view returns (CommitCall memory call) {
        call.round = state().round;
        call.positions = new uint16[](ballots.length);
        call.commitments = new bytes32[](ballots.length);
        for (uint256 i = 0; i < ballots.length; ++i) {
            call.positions[i] = ballots[i].position;
            call.commitments[i] = commitmentOf(ballots[i]);
        }
        signCommits(call);
    }

    function signCommits(CommitCall memory call) internal view {
        RoundState memory s = state();
        call.signatures = new bytes[](call.positions.length);
        for (uint256 i = 0; i < call.positions.length; ++i) {
            bytes32 hash = keccak256(
                abi.encode(
                    COMMIT_TYPE, alliance.number(), call.round, s.seal, call.positions[i], call.commitments[i]
                )
            );
            call.signatures[i] = signAs(ownerAt(call.positions[i]), hash);
        }
    }

    function send(CommitCall memory call) internal {
        alliance.commitRound(call.round, call.positions, call.commitments, call.signatures);
    }

    /* BALLOTS */

    function digestOf(uint256 cohort) internal pure returns (bytes32) {
        return keccak256(abi.encode("aggregate", cohort));
    }

    /// One verdict for every cohort, all naming the same aggregates.
    function ballotOf(uint16 position, uint8 verdict) internal view returns (Ballot memory ballot) {
        ballot.position = position;
        ballot.baseModelDigest = MODEL;
        ballot.verdicts = new bytes(params.cohortCount);
        ballot.aggregateDigests = new bytes32[](params.cohortCount);
        for (uint256 c = 0; c < params.cohortCount; ++c) {
            ballot.verdicts[c] = bytes1(verdict);
            ballot.aggregateDigests[c] = digestOf(c);
        }
        ballot.salt = keccak256(abi.encode("salt", position));
        signBallot(ballot);
    }

    function signBallot(Ballot memory ballot) internal view {
        RoundState memory s = state();
        bytes32 hash = keccak256(
            abi.encode(
                BALLOT_TYPE,
                alliance.number(),
                s.round,
                s.seal,
                ballot.position,
                ballot.baseModelDigest,
                keccak256(ballot.verdicts),
                keccak256(abi.encodePacked(ballot.aggregateDigests)),
                ballot.salt
            )
        );
        ballot.signature = signAs(ownerAt(ballot.position), hash);
    }

    function ballotsOf(uint256 count, uint8 verdict) internal view returns (Ballot[] memory ballots) {
        ballots = new Ballot[](count);
        for (uint256 i = 0; i < count; ++i) ballots[i] = ballotOf(uint16(i), verdict);
    }

    function one(Ballot memory ballot) internal pure returns (Ballot[] memory list) {
        list = new Ballot[](1);
        list[0] = ballot;
    }

    /// A whole round in which all validators say the same.
    function playRound(uint256 survivors, uint8 verdict) internal {
        sealNow(survivors);
        Ballot[] memory ballots = ballotsOf(params.validatorCount, verdict);
        send(commitOf(ballots));
        alliance.settleRound(state().round, ballots);
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
        send(commitOf(ballots));
        if (n < 3) vm.warp(state().commitDeadline + 1);
        alliance.settleRound(state().round, ballots);
    }

    function _sealAround(address sleeper, uint256 bitmap) private {
        SealCall memory call = sealOf(bitmap);
        uint16 n = 0;
        for (uint16 p = 0; n < 2; ++p) if (ownerAt(p) != sleeper) call.positions[n++] = p;
        signSeal(call);
        send(call);
    }

    function positionOf(address owner) internal view returns (uint256 position) {
        while (ownerAt(position) != owner) ++position;
    }

    /* MONEY */

    /// P6 at any moment: what the contract holds is what it says it owes.
    function requireConserved() internal view {
        (uint256 stakes, uint256 pool, uint256 owed) = alliance.getAccounts();
        eq(token.balanceOf(address(alliance)), stakes + pool + owed, "P6: balance = stakes + pool + owed");
    }
}
