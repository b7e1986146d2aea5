// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Msgpack} from "./Msgpack.sol";

/// @title The three messages that evidence is read from (p2p_flock/wire/WIRE.md)
/// @dev Each is read whole, item by item from its first byte to its last, so no byte can be taken for another than it is.
library Messages {
    using Msgpack for Msgpack.Reader;

    uint256 private constant SEAT_MAX = type(uint16).max;

    /// One share of an unmasking.
    struct Item {
        uint16 dealer;
        uint16 secretOf; // the dealer itself for its self mask, else the dropout whose pair seed is shared
        bytes32 share;
    }

    /// What is asked of a manifest.
    struct Manifest {
        bool wellFormed;
        bool repeats; // a seat stands in it twice
        uint256 round;
        uint256 count;
        bytes32 root; // of the seat that was asked for; zero if it is not there
    }

    /// Contribution: [root, document digest].
    function readContribution(bytes calldata body) internal pure returns (bool wellFormed, bytes32 root) {
        Msgpack.Reader memory reader = Msgpack.open(body);
        reader.skipArray(2);
        root = reader.readBytes32();
        reader.readBytes32();
        return (reader.isDone(), root);
    }

    /// Unmasking: [seal, items]; an item is [0, [dealer, share]] or [1, [dealer, dropout, share]]. `found` says whether
    /// there is one at `wanted`.
    function readUnmasking(bytes calldata body, uint256 wanted)
        internal
        pure
        returns (bool wellFormed, bool found, bytes32 seal, Item memory item)
    {
        Msgpack.Reader memory reader = Msgpack.open(body);
        reader.skipArray(2);
        seal = reader.readBytes32();
        uint256 count = reader.readArray();
        for (uint256 i = 0; i < count && !reader.broken; ++i) {
            reader.skipArray(2);
            uint256 tag = reader.readUint(1);
            reader.skipArray(2 + tag);
            uint256 dealer = reader.readUint(SEAT_MAX);
            uint256 secretOf = tag == 0 ? dealer : reader.readUint(SEAT_MAX);
            bytes32 share = reader.readBytes32();
            if (i == wanted) item = Item(uint16(dealer), uint16(secretOf), share);
        }
        return (reader.isDone(), wanted < count, seal, item);
    }

    /// Manifest: [round, entries]; an entry is [seat, root, document digest, next mask key]. It has at least one.
    function readManifest(bytes calldata data, uint256 wantedSeat) internal pure returns (Manifest memory manifest) {
        Msgpack.Reader memory reader = Msgpack.open(data);
        uint256[256] memory seen; // bitmap over seats
        reader.skipArray(2);
        manifest.round = reader.readUint(type(uint32).max);
        manifest.count = reader.readArray();
        for (uint256 i = 0; i < manifest.count && !reader.broken; ++i) {
            reader.skipArray(4);
            uint256 seat = reader.readUint(SEAT_MAX);
            bytes32 root = reader.readBytes32();
            reader.readBytes32();
            reader.readBytes32();
            uint256 bit = 1 << (seat % 256);
            if (seen[seat / 256] & bit != 0) manifest.repeats = true;
            else if (seat == wantedSeat) manifest.root = root;
            seen[seat / 256] |= bit;
        }
        manifest.wellFormed = reader.isDone() && manifest.count > 0;
    }
}
