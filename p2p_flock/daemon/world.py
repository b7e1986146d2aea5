"""What a node's tasks share: network, chain, disk, keys. Made once by ``daemon/node.py``, never replaced.

The only module besides ``node.py`` that names all adapters together; it holds them and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from p2p_flock.chain.adapter import Chain
from p2p_flock.chain.beacon import BeaconClient
from p2p_flock.daemon.clock import ChainClock
from p2p_flock.daemon.config import NodeConfig
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.daemon.gas_book import GasBook
from p2p_flock.daemon.round_metrics import MetricsFile
from p2p_flock.daemon.taking_part import MakeMachine
from p2p_flock.daemon.tally import Tally
from p2p_flock.net.adapter import Net
from p2p_flock.ports import Recoverer, Signer
from p2p_flock.store.blobs import BlobStore
from p2p_flock.store.journal import Journal
from p2p_flock.store.models import ModelStore
from p2p_flock.store.secrets import RoundSecrets


@dataclass(frozen=True, slots=True)
class World:
    """See the module; ``sign`` is the EVM account's, ``sign_as_peer`` the libp2p identity's (Ed25519, 64 bytes).

    ``recover`` says which account signed; ``make_machine`` makes each round's machine of this node.
    """

    config: NodeConfig
    directory: DataDirectory
    home: Path
    net: Net
    chain: Chain
    beacon: BeaconClient
    journal: Journal
    secrets: RoundSecrets
    blobs: BlobStore
    models: ModelStore
    metrics: MetricsFile
    clock: ChainClock
    sign: Signer
    recover: Recoverer
    tally: Tally
    gas: GasBook
    sign_as_peer: Callable[[bytes], bytes]
    make_machine: MakeMachine
