"""The development network's beacon: drand's HTTP API in front of one well-known key.

Run by ``devnet.py`` in threads of its process. Same scheme and same paths as a drand relay, so that client and contract
are the ones of production. The key is public: whoever can read this file can predict every value, which is why this
must never serve a chain that holds anything of worth.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from p2p_flock.chain.beacon import BeaconNetwork, compute_chain_hash, compute_randomness, public_key_of, sign_beacon

SECRET_KEY = hashlib.sha256(b"p2p_flock devnet beacon").digest()
PUBLIC_KEY = public_key_of(SECRET_KEY)
GROUP_HASH = hashlib.sha256(b"p2p_flock devnet group").digest()
BEACON_ID = "p2p-flock-devnet"
SCHEME = "bls-unchained-g1-rfc9380"
REQUEST_SECONDS_MAX = 60.0  # an idle kept connection is dropped after this


def devnet_chain_hash(network: BeaconNetwork) -> str:
    """drand's name of the development network with this schedule."""
    return compute_chain_hash(network, GROUP_HASH, BEACON_ID)


class DevnetBeacon(ThreadingHTTPServer):
    """Serves ``/{chain hash}/public/{round or latest}`` and ``/{chain hash}/info``; no round before its time."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, network: BeaconNetwork, now_s: Callable[[], float]) -> None:
        """Bind 127.0.0.1; serving starts with :meth:`start`.

        Args:
            now_s: the clock that says which rounds are out.
        """
        super().__init__(("127.0.0.1", port), _Handler)
        self.network, self.now_s = network, now_s
        self.chain_hash = devnet_chain_hash(network)

    def start(self) -> None:
        """Serve from a daemon thread until :meth:`shutdown`."""
        threading.Thread(target=self.serve_forever, name="devnet beacon", daemon=True).start()

    def answer(self, path: str) -> tuple[int, dict[str, object]]:
        """Status and JSON document for a path."""
        match = re.fullmatch(r"/([0-9a-f]{64})/(?:(info)|public/(latest|\d{1,18}))", path)
        if match is None or match[1] != self.chain_hash:
            return 404, {"error": "unknown path or chain"}
        network = self.network
        if match[2]:
            return 200, {
                "public_key": network.public_key.hex(),
                "period": network.period_s,
                "genesis_time": network.genesis_s,
                "hash": self.chain_hash,
                "groupHash": GROUP_HASH.hex(),
                "schemeID": SCHEME,
                "metadata": {"beaconID": BEACON_ID},
            }
        newest = int(self.now_s() - network.genesis_s) // network.period_s + 1
        wanted = newest if match[3] == "latest" else int(match[3])
        if wanted < 1:
            return 404, {"error": "rounds count from 1"}
        if wanted > newest:
            return 425, {"error": f"round {wanted} is out at {network.time_of(wanted)}"}
        signature = sign_beacon(SECRET_KEY, wanted)
        return 200, {
            "round": wanted,
            "randomness": compute_randomness(signature).hex(),
            "signature": signature.hex(),
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS_MAX
    server: DevnetBeacon

    def do_GET(self) -> None:
        status, document = self.server.answer(self.path)
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged: nodes ask several times a second."""
