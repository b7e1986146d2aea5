"""The bootstrap node: a first contact that holds no stake, no account and no say.

Run as `python -m p2p_flock.net.bootstrap` or `bootstrap/bootstrap_node.py`. It answers the peer exchange of
`net/discovery.py` and the DHT of `net/dht.py` and nothing else; any node could do the same. It must never be needed by
an alliance that has met.
"""

from __future__ import annotations

import argparse
import os
import signal
import stat
import sys
from pathlib import Path

import trio

from p2p_flock.errors import ConfigError, P2PFlockError
from p2p_flock.net.adapter import NetConfig, open_net
from p2p_flock.net.bootstrap_file import read_bootstrap_file
from p2p_flock.net.host import SEED_BYTES

KEY_FILE_NAME = "libp2p.key"


def load_or_create_seed(path: Path) -> bytes:
    """The 32-byte seed of the identity in ``path``, made with mode 0600 on the first start.

    Raises ConfigError if the file is not a seed or others may read it.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"{path} is open to other users; run: chmod 600 {path}") from None
        seed = path.read_bytes()
        if len(seed) != SEED_BYTES:
            raise ConfigError(f"{path} holds {len(seed)} bytes, not a key of {SEED_BYTES}; remove it") from None
        return seed
    seed = os.urandom(SEED_BYTES)
    with os.fdopen(descriptor, "wb") as file:
        file.write(seed)
        file.flush()
        os.fsync(file.fileno())
    return seed


def write_atomically(path: Path, text: str) -> None:
    """Replace ``path``, so that who waits for it never reads half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


async def serve_bootstrap(config: NetConfig, address_file: Path | None) -> None:
    """Run until SIGTERM or SIGINT; the addresses go to standard output and, one a line, to ``address_file``."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_net(config) as net, trio.open_nursery() as nursery:
            text = "".join(address + "\n" for address in net.addresses)
            if address_file is not None:
                write_atomically(address_file, text)
            sys.stdout.write(text)
            sys.stdout.flush()
            nursery.start_soon(_drain, net.messages)
            nursery.start_soon(_drain, net.peer_events)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                return


async def _drain(channel: trio.MemoryReceiveChannel[object]) -> None:
    async for _ in channel:
        pass


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bootstrap_node", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of the identity key, made if missing")
    parser.add_argument("--listen-host", default="0.0.0.0", help="IP address to listen on (default: every interface)")
    parser.add_argument("--listen-port", type=int, default=4001, help="TCP port, 0 for a free one (default: 4001)")
    parser.add_argument("--announce", action="append", default=[], help="further multiaddr under which others reach it")
    parser.add_argument("--peer", action="append", default=[], help="multiaddr of another bootstrap node")
    parser.add_argument("--peers-file", type=Path, help="file with more of them, such as peers.toml")
    parser.add_argument("--mdns", action="store_true", help="also answer nodes of the same network by multicast DNS")
    parser.add_argument("--address-file", type=Path, help="file that gets our multiaddrs once we listen")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 0 after a clean stop, 1 with one line on standard error after an error a user can mend."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = NetConfig(
            private_key=load_or_create_seed(options.data / KEY_FILE_NAME),
            listen_host=options.listen_host,
            listen_port=options.listen_port,
            bootstrap=(*options.peer, *(read_bootstrap_file(options.peers_file) if options.peers_file else ())),
            mdns=options.mdns,
            announce=tuple(options.announce),
            blob_source=lambda _digest: None,
        )
        trio.run(serve_bootstrap, config, options.address_file)
    except (P2PFlockError, OSError) as error:
        sys.stderr.write(f"bootstrap_node: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
