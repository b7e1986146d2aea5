// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Reads canonical msgpack from its start to its end, as far as the protocol's messages need it
/// @dev A reader that meets anything but the one canonical form of what it was asked for is broken: it stays so, and
/// answers zero from then on. It never reverts, because being malformed can be what evidence is about. What it reads is
/// what p2p_flock/wire/codec.py reads.
library Msgpack {
    struct Reader {
        bytes data;
        uint256 at;
        bool broken;
    }

    function open(bytes calldata data) internal pure returns (Reader memory) {
        return Reader(data, 0, false);
    }

    /// Whether everything was in canonical form and nothing is left.
    function isDone(Reader memory reader) internal pure returns (bool) {
        return !reader.broken && reader.at == reader.data.length;
    }

    /// An unsigned integer in its shortest form, at most `most`, which has 32 bits.
    function readUint(Reader memory reader, uint256 most) internal pure returns (uint256 value) {
        uint256 head = _read(reader, 1);
        if (head < 0x80) return _atMost(reader, head, most);
        uint256 least;
        if (head == 0xcc) (value, least) = (_read(reader, 1), 0x80);
        else if (head == 0xcd) (value, least) = (_read(reader, 2), 0x100);
        else if (head == 0xce) (value, least) = (_read(reader, 4), 0x10000);
        else reader.broken = true;
        if (value < least) reader.broken = true;
        return _atMost(reader, value, most);
    }

    /// The length of an array, below 65,536.
    function readArray(Reader memory reader) internal pure returns (uint256 length) {
        uint256 head = _read(reader, 1);
        if (head >> 4 == 0x9) return head & 0xf;
        if (head != 0xdc) reader.broken = true;
        length = _read(reader, 2);
        if (length < 16) reader.broken = true;
        return reader.broken ? 0 : length;
    }

    /// Requires an array of exactly `length` items.
    function skipArray(Reader memory reader, uint256 length) internal pure {
        if (readArray(reader) != length) reader.broken = true;
    }

    /// A byte string of 32 bytes.
    function readBytes32(Reader memory reader) internal pure returns (bytes32) {
        if (_read(reader, 2) != 0xc420) reader.broken = true;
        return bytes32(_read(reader, 32));
    }

    function _atMost(Reader memory reader, uint256 value, uint256 most) private pure returns (uint256) {
        if (value > most) reader.broken = true;
        return reader.broken ? 0 : value;
    }

    /// The next 1 to 32 bytes as a big-endian integer.
    function _read(Reader memory reader, uint256 length) private pure returns (uint256 value) {
        bytes memory data = reader.data;
        uint256 at = reader.at;
        if (reader.broken || data.length - at < length) {
            reader.broken = true;
            return 0;
        }
        assembly ("memory-safe") {
            value := mload(add(add(data, 32), at)) // bytes behind the end are shifted out
        }
        reader.at = at + length;
        return value >> (256 - 8 * length);
    }
}
