// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Public randomness of a drand network, verified where it is used
/// @notice Keeps nothing: a round's value follows from its signature, which is unique.
interface IBeacon {
    /// The signature or key has the wrong number of bytes; send it uncompressed, coordinates of 48 (G1) or 64 (G2) bytes.
    error WrongLength(uint256 expected, uint256 actual);
    /// The schedule has no genesis or no period; pass those of the drand chain.
    error WrongSchedule();
    /// The public key is not a point of G2's subgroup, or is the point at infinity; pass x.c0, x.c1, y.c0, y.c1.
    error WrongPublicKey();
    /// The signature is not that of this round under this key; fetch it from another relay.
    error WrongSignature();
    /// drand rounds count from 1.
    error NoSuchRound();
    /// The chain lacks EIP-2537 (BLS12-381 precompiles); use a chain with the Prague rules or later.
    error PrecompileMissing();

    /// @notice The randomness of a round, if `signature` is that of the round; reverts otherwise.
    /// @param signature the uncompressed G1 point, x and y of 48 bytes each
    /// @return randomness as drand publishes it, sha256 of the compressed signature
    function verify(uint64 beaconRound, bytes calldata signature) external view returns (bytes32 randomness);

    /// @notice When a round is published: genesis + (beaconRound - 1) · period.
    function timeOf(uint64 beaconRound) external view returns (uint64);

    /// @notice The first round published at or after `timestamp`.
    function roundAt(uint64 timestamp) external view returns (uint64);

    /// @notice The network's key in G2: x.c0, x.c1, y.c0, y.c1 of 64 bytes each.
    function publicKey() external view returns (bytes memory);

    /// @notice Time of round 1, seconds.
    function genesis() external view returns (uint64);

    /// @notice Seconds between rounds.
    function period() external view returns (uint64);
}
