"""drand: fetches beacon values from any of several relays and verifies them before anybody sees them.

Called by the daemon (values), ``adapter.py`` (the network's key) and ``devnet.py`` (signing). Scheme
"bls-unchained-g1-rfc9380": the signature of a round is a point of G1, the key a point of G2, the message the hash of
the round number alone. It is unique, so no relay can choose it; a wrong one is simply not believed. The seed that is
made of it is computed in ``alliance/``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio
from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar

from p2p_flock.chain.http import HttpEndpoint
from p2p_flock.errors import BeaconError, ChainError, ConfigError, CryptoError

# RFC 9380 §8.8.1, and drand's scheme "bls-unchained-g1-rfc9380".
DOMAIN = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
G1_BYTES, G1_COMPRESSED_BYTES = 96, 48
G2_BYTES, G2_COMPRESSED_BYTES = 192, 96
CONTRACT_COORDINATE_BYTES = 64  # EIP-2537 pads each field element of 48 bytes to 64
RELAYS_MAX = 8
TIMEOUT_S = 4.0  # quicknet's period is 3 s: a slower relay is of no use
ANSWER_BYTES_MAX = 4_096
POLL_INTERVAL_S = 0.2
VALUES_REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class BeaconNetwork:
    """Key (G2, compressed, 96 bytes) and schedule of a drand network; round n is out at genesis + (n − 1)·period."""

    public_key: bytes
    genesis_s: int
    period_s: int

    def time_of(self, beacon_round: int) -> int:
        """Unix seconds at which ``beacon_round`` (from 1 on) is published."""
        return self.genesis_s + (beacon_round - 1) * self.period_s


@dataclass(frozen=True, slots=True)
class BeaconValue:
    """One verified round: signature uncompressed (96 bytes, as the contract takes it), randomness (32 bytes)."""

    beacon_round: int
    signature: bytes
    randomness: bytes


# The League of Entropy's network for production, https://drand.love/docs/; its chain hash commits to key and schedule.
QUICKNET_CHAIN_HASH = "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"
QUICKNET = BeaconNetwork(
    bytes.fromhex(
        "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
        "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
    ),
    1_692_803_367,
    3,
)


def uncompress_g1(point: bytes) -> bytes:
    """48 bytes to x ‖ y of 96 bytes, both big-endian.

    Raises:
        CryptoError: not a point of the subgroup in the standard compressed form, or the point at infinity.
    """
    return bytes(_g1(point).to_xy_bytes_be())


def compress_g1(point: bytes) -> bytes:
    """Inverse of :func:`uncompress_g1`.

    Raises:
        CryptoError: not a point of the subgroup, or the point at infinity.
    """
    return bytes(_g1(point).to_compressed_bytes())


def g2_to_contract(public_key: bytes) -> bytes:
    """A compressed key (96 bytes) as the contract's constructor takes it: x.c0, x.c1, y.c0, y.c1 of 64 bytes each.

    Raises:
        CryptoError: not a point of the subgroup, or the point at infinity.
    """
    coordinates = bytes(_g2(public_key).to_xy_bytes_be())  # x.c0, x.c1, y.c0, y.c1 of 48 bytes each
    padding = bytes(CONTRACT_COORDINATE_BYTES - 48)
    return b"".join(padding + coordinates[i : i + 48] for i in range(0, G2_BYTES, 48))


def g2_from_contract(public_key: bytes) -> bytes:
    """Inverse of :func:`g2_to_contract`.

    Raises:
        CryptoError: not such a point.
    """
    if len(public_key) != 4 * CONTRACT_COORDINATE_BYTES:
        raise CryptoError(f"a beacon key of the contract has 256 bytes, not {len(public_key)}")
    parts = (public_key[i + 16 : i + CONTRACT_COORDINATE_BYTES] for i in range(0, 256, CONTRACT_COORDINATE_BYTES))
    return bytes(_g2(b"".join(parts)).to_compressed_bytes())


def verify_beacon(public_key: bytes, beacon_round: int, signature: bytes) -> bool:
    """Whether ``signature`` (G1, 48 or 96 bytes) is the network's for this round; about 4 ms.

    Raises:
        CryptoError: the public key (96 bytes) is none.
    """
    key = _g2(public_key)
    try:
        point = _g1(signature)
    except CryptoError:
        return False
    # e(signature, g2) = e(H(round), key)
    return bool(GT.pairing_check([point, -_message_point(beacon_round)], [G2Point(), key]))


def compute_randomness(signature: bytes) -> bytes:
    """What drand publishes as the round's randomness: sha256 of the compressed signature (given in either form).

    Raises:
        CryptoError: the signature is no point.
    """
    return hashlib.sha256(compress_g1(signature)).digest()


def public_key_of(secret_key: bytes) -> bytes:
    """Compressed G2 key (96 bytes) of a 32-byte secret; for the development network."""
    return bytes((G2Point() * Scalar.from_be_bytes_mod_order(secret_key)).to_compressed_bytes())


def sign_beacon(secret_key: bytes, beacon_round: int) -> bytes:
    """Compressed signature (48 bytes) of a round; for the development network."""
    return bytes((_message_point(beacon_round) * Scalar.from_be_bytes_mod_order(secret_key)).to_compressed_bytes())


def compute_chain_hash(network: BeaconNetwork, group_hash: bytes, beacon_id: str) -> str:
    """drand's name of a network, 64 hex digits (drand, ``chain.Info.Hash``)."""
    parts = network.period_s.to_bytes(4, "big") + network.genesis_s.to_bytes(8, "big") + network.public_key + group_hash
    return hashlib.sha256(parts + (b"" if beacon_id == "default" else beacon_id.encode())).hexdigest()


def _message_point(beacon_round: int) -> G1Point:
    return G1Point.hash_to_curve(hashlib.sha256(beacon_round.to_bytes(8, "big")).digest(), DOMAIN)


def _g1(point: bytes) -> G1Point:
    try:
        if len(point) == G1_COMPRESSED_BYTES:
            parsed = G1Point.from_compressed_bytes(point)
        elif len(point) == G1_BYTES:
            parsed = G1Point.from_xy_bytes_be(point)
        else:
            raise CryptoError(f"a point of G1 has 48 or 96 bytes, not {len(point)}")
    except ValueError as error:
        raise CryptoError("not a point of G1") from error
    if parsed == G1Point.identity():  # under which every message would verify for the key at infinity
        raise CryptoError("the point at infinity is no signature")
    return parsed


def _g2(point: bytes) -> G2Point:
    try:
        if len(point) == G2_COMPRESSED_BYTES:
            parsed = G2Point.from_compressed_bytes(point)
        else:
            parsed = G2Point.from_xy_bytes_be(point)
    except ValueError as error:
        raise CryptoError("not a point of G2") from error
    if parsed == G2Point.identity():
        raise CryptoError("the point at infinity is no beacon key")
    return parsed


class BeaconClient:
    """Asks relays in turn, starting with the one that answered last; remembers the last values."""

    def __init__(
        self,
        network: BeaconNetwork,
        urls: Sequence[str],
        chain_hash: str,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; connects on first use.

        Args:
            urls: relays that speak drand's HTTP API, without the chain hash.
            chain_hash: drand's name of the network, hex; relays serve several.
            now_s: Unix seconds.

        Raises:
            ConfigError: no relay, too many, or not a URL.
        """
        if not 1 <= len(urls) <= RELAYS_MAX:
            raise ConfigError(f"Give 1 to {RELAYS_MAX} beacon relays (beacon.urls), not {len(urls)}.")
        self.network = network
        self._relays = [HttpEndpoint(url, timeout_s=TIMEOUT_S, body_bytes_max=ANSWER_BYTES_MAX) for url in urls]
        self._chain_hash, self._now_s = chain_hash, now_s
        self._limiter = trio.CapacityLimiter(2)
        self._values: OrderedDict[int, BeaconValue] = OrderedDict()

    def close(self) -> None:
        """Drop the kept connections."""
        for relay in self._relays:
            relay.close()

    async def get(self, beacon_round: int) -> BeaconValue:
        """The verified value of a round that is out.

        Raises:
            BeaconError: no relay has it (yet), or what they gave is not valid.
        """
        if beacon_round in self._values:
            return self._values[beacon_round]
        reasons = []
        for relay in list(self._relays):
            try:
                value = await trio.to_thread.run_sync(
                    self._fetch,
                    relay,
                    beacon_round,
                    limiter=self._limiter,
                    abandon_on_cancel=True,  # type: ignore[call-arg]  # trio-typing (libp2p's) is older than trio
                )
            except ChainError as error:
                reasons.append(str(error))
                continue
            self._relays.remove(relay)
            self._relays.insert(0, relay)
            self._values[beacon_round] = value
            if len(self._values) > VALUES_REMEMBERED:
                self._values.popitem(last=False)
            return value
        raise BeaconError(
            f"No relay gave a valid value of beacon round {beacon_round}: {'; '.join(reasons)}. "
            "Check this machine's network and clock, or configure more relays (beacon.urls)."
        )

    async def wait_for(self, beacon_round: int, deadline_s: float) -> BeaconValue:
        """The value as soon as it is out; polls from its publication time on.

        Args:
            deadline_s: Unix seconds after which the last failure is raised.

        Raises:
            BeaconError: not until the deadline.
        """
        await trio.sleep(max(0.0, min(self.network.time_of(beacon_round), deadline_s) - self._now_s()))
        while True:
            try:
                return await self.get(beacon_round)
            except BeaconError:
                if self._now_s() >= deadline_s:
                    raise
            await trio.sleep(POLL_INTERVAL_S)

    def _fetch(self, relay: HttpEndpoint, beacon_round: int) -> BeaconValue:
        """Runs in a thread: one GET and one verification (the pairing releases no GIL, but it is short)."""
        status, body = relay.request("GET", f"/{self._chain_hash}/public/{beacon_round}", None, {})
        if status != 200:
            raise BeaconError(f"{relay.name} answered HTTP {status}")
        try:
            answer = json.loads(body)
            signature = bytes.fromhex(answer["signature"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BeaconError(f"{relay.name} answered no beacon") from error
        # The answer's own round and randomness are not looked at: the signature implies them.
        if len(signature) != G1_COMPRESSED_BYTES or not verify_beacon(self.network.public_key, beacon_round, signature):
            raise BeaconError(f"{relay.name} gave an invalid signature")
        return BeaconValue(beacon_round, uncompress_g1(signature), compute_randomness(signature))
