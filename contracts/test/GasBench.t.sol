// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AllianceParams, Ballot, RoundState, SealStatement} from "../src/Types.sol";
import {IBeacon} from "../src/interfaces/IBeacon.sol";
import {Sortition} from "../src/libraries/Sortition.sol";
import {AllianceTest} from "./AllianceTest.sol";

/// Signs as a drand network does, with the precompiles: so that every round has its proof.
library BeaconKey {
    uint256 internal constant SECRET = 0x1f00d5ec5e7;
    bytes private constant G2 =
        hex"00000000000000000000000000000000024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
        hex"0000000000000000000000000000000013e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
        hex"000000000000000000000000000000000ce5d527727d6e118cc9cdc6da2e351aadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801"
        hex"000000000000000000000000000000000606c4a02ea734cc32acd2b02bc28b99cb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be";
    bytes private constant P =
        hex"1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";

    function publicKey() internal view returns (bytes memory) {
        return _call(0x0e, abi.encodePacked(G2, SECRET));
    }

    /// RFC 9380 hash_to_curve, then a product: 96 bytes.
    function sign(uint64 beaconRound) internal view returns (bytes memory) {
        bytes memory domain = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";
        domain = abi.encodePacked(domain, uint8(domain.length));
        bytes32 message = sha256(abi.encodePacked(beaconRound));
        bytes32 b0 = sha256(abi.encodePacked(new bytes(64), message, uint16(128), uint8(0), domain));
        bytes32[5] memory b;
        for (uint8 i = 1; i < 5; ++i) b[i] = sha256(abi.encodePacked(i == 1 ? b0 : b0 ^ b[i - 1], i, domain));
        bytes memory hashed = _call(0x0b, abi.encodePacked(_map(b[1], b[2]), _map(b[3], b[4])));
        bytes memory point = _call(0x0c, abi.encodePacked(hashed, SECRET));
        bytes memory packed = new bytes(96);
        for (uint256 i = 0; i < 48; ++i) (packed[i], packed[48 + i]) = (point[16 + i], point[80 + i]);
        return packed;
    }

    function _map(bytes32 high, bytes32 low) private view returns (bytes memory) {
        bytes memory reduced =
            _call(0x05, abi.encodePacked(uint256(64), uint256(1), uint256(48), high, low, uint8(1), P));
        return _call(0x10, abi.encodePacked(bytes16(0), reduced));
    }

    function _call(uint256 precompile, bytes memory input) private view returns (bytes memory output) {
        bool ok;
        (ok, output) = address(uint160(precompile)).staticcall(input);
        require(ok && output.length != 0, "precompile");
    }
}

/// What a whole round costs, beacon included, from the third on (no slot is new any more but that of the record), by
/// committee and number of trainers. Everybody takes part. Kept in snapshots/GasBench.json.
/// forge-config: default.isolate = true
contract GasBench is AllianceTest {
    IBeacon private _drand;
    uint256 private _spent;

    function setUp() public override {
        super.setUp();
        bytes memory arguments = abi.encode(BeaconKey.publicKey(), uint64(START - 3000), uint64(3));
        _drand = IBeacon(vm.deployCode("out/Beacon.sol/Beacon.json", arguments));
        factory = deployFactory(address(token), _drand);
    }

    /// The validators would pay more for their rounds than they were told, or more trainers would make rounds dearer.
    function test_gas__three_validators() external {
        _compare(3, 447_000, 2);
    }

    function test_gas__seven_validators() external {
        _compare(7, 524_000, 2);
    }

    function test_gas__twenty_one_validators() external {
        _compare(21, 788_000, 1);
    }

    function test_gas__sixty_four_validators() external {
        _compare(64, 1_598_000, 1);
    }

    /// @param percent by which the dearest number of trainers may differ from the cheapest. What differs is the
    /// bitmap of survivors, and that a few walks of the sortition take a second step.
    function _compare(uint256 validators, uint256 most, uint256 percent) private {
        (uint256 low, uint256 high) = (type(uint256).max, 0);
        uint256[3] memory trainers = [uint256(6), 50, 500];
        for (uint256 i = 0; i < 3; ++i) {
            uint256 gas = _measure(validators, trainers[i]);
            print(string.concat("V = ", vm.toString(validators), ", T = ", vm.toString(trainers[i])), gas);
            if (gas < low) low = gas;
            if (gas > high) high = gas;
        }
        check(high <= most, "dearer than it may be");
        check((high - low) * 100 < percent * low, "not flat in the number of trainers");
    }

    function _measure(uint256 validators, uint256 trainers) private returns (uint256) {
        AllianceParams memory p = defaultParams();
        (p.validatorCount, p.cohortCount, p.threshold, p.weightMax) = (uint8(validators), 1, 4, 8);
        (p.seatCountMin, p.seatCountMax) = (uint16(validators + trainers), uint16(validators + trainers));
        (p.sealSeconds, p.commitSeconds) = (3, 3);
        params = p;
        alliance = create(p, 1);
        joinAll(validators + trainers);
        string memory name = string.concat("V", vm.toString(validators), " T", vm.toString(trainers));
        for (uint256 round = 0; round < 3; ++round) _playRound(name, trainers);
        return _spent;
    }

    /// The three transactions; the last round's figures stay in the snapshot.
    function _playRound(string memory name, uint256 trainers) private {
        address[] memory owners = _committee();
        vm.warp(state().opensAt);
        SealCall memory call = _sealBy(owners, trainers);
        vm.prank(owners[0]);
        send(call);
        _spent = vm.snapshotGasLastCall(string.concat(name, ": 1 seal"));
        Ballot[] memory ballots = ballotsOf(owners.length, YES);
        for (uint256 i = 0; i < ballots.length; ++i) setScore(ballots[i], uint32(900_000 + i));
        CommitCall memory commits = _commitBy(owners, ballots);
        vm.prank(owners[1]);
        send(commits);
        _spent += vm.snapshotGasLastCall(string.concat(name, ": 2 commit"));
        SettleCall memory settlement = settleOf(commits.seal.round, ballots);
        vm.prank(owners[2]);
        send(settlement);
        _spent += vm.snapshotGasLastCall(string.concat(name, ": 3 settle"));
    }

    function _committee() private view returns (address[] memory owners) {
        RoundState memory s = state();
        bytes32 seed = _seedOf(s);
        owners = new address[](params.validatorCount);
        for (uint256 i = 0; i < owners.length; ++i) {
            owners[i] = alliance.getSeats(Sortition.seatAt(seed, i, s.seatCount), 1)[0].owner;
        }
    }

    function _seedOf(RoundState memory s) private view returns (bytes32) {
        bytes32 randomness = _drand.verify(s.beaconRound, BeaconKey.sign(s.beaconRound));
        return Sortition.computeSeed(address(alliance), alliance.number(), s.round, randomness);
    }

    function _sealBy(address[] memory owners, uint256 trainers) private view returns (SealCall memory call) {
        RoundState memory s = state();
        call.round = s.round;
        call.beaconSignature = BeaconKey.sign(s.beaconRound);
        call.manifestDigest = keccak256(abi.encode("manifest", s.round));
        call.survivors = new uint256[]((trainers + 255) / 256);
        for (uint256 i = 0; i < trainers; ++i) call.survivors[i / 256] |= 1 << (i % 256);
        uint256 quorum = owners.length / 2 + 1;
        call.signers = firstPositions(quorum);
        bytes32 hash = hashOf(
            SealStatement(s.round, 0, s.beaconRound, _seedOf(s), call.manifestDigest, call.survivors)
        );
        for (uint256 i = 0; i < quorum; ++i) call.signatures = bytes.concat(call.signatures, signAs(owners[i], hash));
    }

    function _commitBy(address[] memory owners, Ballot[] memory ballots) private returns (CommitCall memory call) {
        call.seal = sealedNow();
        call.positions = firstPositions(owners.length);
        call.commitments = new bytes32[](owners.length);
        (bytes32 seal, uint256 number) = (hashOf(call.seal), alliance.number());
        for (uint256 i = 0; i < owners.length; ++i) {
            call.commitments[i] = commitmentOf(ballots[i]);
            bytes32 hash = keccak256(abi.encode(COMMIT_TYPE, number, call.seal.round, seal, i, call.commitments[i]));
            call.signatures = bytes.concat(call.signatures, signAs(owners[i], hash));
        }
    }
}
