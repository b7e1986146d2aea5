// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RoundRecord, SealStatement} from "../src/Types.sol";
import {IAllianceEvents} from "../src/interfaces/IAllianceEvents.sol";
import {Forge, Vm} from "./Forge.sol";

/// What somebody knows who reads an alliance's log, and nothing else: the seal, the order of commitments and the records
/// that later calls must show. Reading takes cheatcodes only, so a prank or an expected revert stays for the call.
abstract contract Follower is Forge {
    struct Book {
        uint64 beaconRound;
        bytes seal; // abi.encode(SealStatement)
        bytes order; // of commitments, one byte each
        bytes32[] commitments; // in that order
        bytes settlement; // abi.encode(Settlement)
    }

    /// RoundSettled, without its topic.
    struct Settlement {
        uint8[] cohortOutcome;
        bytes32[] aggregateDigests;
        uint16[] votesFor;
        uint16[] votesAgainst;
        bytes32 baseModelDigest;
        bool closed;
        uint256[] marks;
        RoundRecord record;
    }

    mapping(address emitter => mapping(uint32 round => Book)) private _books;
    mapping(address emitter => uint32) private _latest;

    function readLogs() internal {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics.length == 0) continue;
            onLog(logs[i]);
            if (logs[i].topics.length != 2) continue;
            bytes32 topic = logs[i].topics[0];
            if (topic == IAllianceEvents.RoundOpened.selector) _opened(logs[i]);
            if (topic == IAllianceEvents.RoundSealed.selector) _sealed(logs[i]);
            if (topic == IAllianceEvents.BallotsCommitted.selector) _committed(logs[i]);
            if (topic == IAllianceEvents.RoundSettled.selector) _settled(logs[i]);
        }
    }

    /// What a test wants to know beside.
    function onLog(Vm.Log memory log) internal virtual {}

    /// A state to come back to, with all that was logged before it.
    function snapshot() internal returns (uint256) {
        readLogs();
        return vm.snapshotState();
    }

    function _opened(Vm.Log memory log) private {
        uint32 round = uint32(uint256(log.topics[1]));
        (, uint64 beaconRound,) = abi.decode(log.data, (uint16, uint64, uint64));
        _books[log.emitter][round].beaconRound = beaconRound;
        _latest[log.emitter] = round;
    }

    function _sealed(Vm.Log memory log) private {
        SealStatement memory seal;
        seal.round = uint32(uint256(log.topics[1]));
        Book storage book = _books[log.emitter][seal.round];
        seal.beaconRound = book.beaconRound;
        (seal.leaderView,, seal.seed, seal.manifestDigest, seal.survivors) =
            abi.decode(log.data, (uint32, bytes32, bytes32, bytes32, uint256[]));
        book.seal = abi.encode(seal);
    }

    function _committed(Vm.Log memory log) private {
        Book storage book = _books[log.emitter][uint32(uint256(log.topics[1]))];
        (uint64 positions, bytes32[] memory commitments) = abi.decode(log.data, (uint64, bytes32[]));
        uint256 n = 0;
        for (uint8 p = 0; p < 64; ++p) {
            if (positions >> p & 1 == 0) continue;
            book.order.push(bytes1(p));
            book.commitments.push(commitments[n++]);
        }
    }

    function _settled(Vm.Log memory log) private {
        // A struct is encoded like the list of its fields, behind its own offset.
        _books[log.emitter][uint32(uint256(log.topics[1]))].settlement = bytes.concat(bytes32(uint256(32)), log.data);
    }

    /// What the log says about a round.
    function bookOf(address alliance, uint32 round) internal returns (Book storage) {
        readLogs();
        return _books[alliance][round];
    }

    /// The last round that opened.
    function latestOf(address alliance) internal returns (uint32) {
        readLogs();
        return _latest[alliance];
    }
}
