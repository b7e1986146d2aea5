"""The node's settings: one frozen dataclass per section of ``config.toml``.

Called by everyone in ``daemon/`` and ``cli/``; read by ``daemon/config_file.py``, written by
``daemon/config_template.py``. The fields below are the only list of settings there is: the file's keys, the
environment's names, the types, the checks and the comments in the template all come from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2p_flock.daemon.config_checks import (
    any_of,
    between,
    each,
    hex_bytes,
    http_url,
    multiaddr,
    name,
    peer_multiaddr,
)

DEVNET_CHAIN_IDS = (31_337, 84_530)  # anvil's own default, and the one the testnet uses
TEST_MODE_VARIABLE = "P2P_FLOCK_TEST_MODE"
CLOCK_OFFSET_MS_MAX = 3_600_000


# Any: each setting's check takes that setting's own type.
def about(comment: str, check: Callable[[Any], None] | None = None) -> Mapping[str, Any]:
    """A setting's one-line explanation, and an optional check that raises ValueError with what is expected."""
    return {"comment": comment, "check": check}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    log_format: str = field(
        default="human", metadata=about("human, or json: one object a line", any_of("human", "json"))
    )
    log_level: str = field(
        default="info", metadata=about("debug, info, warning or error", any_of("debug", "info", "warning", "error"))
    )
    mask_engine: str = field(
        default="auto",
        metadata=about(
            "auto: llvmlite, where installed, computes masks once they are many; plain: never",
            any_of("auto", "plain", "accelerated"),
        ),
    )
    exit_when_closed: bool = field(
        default=False, metadata=about("end once the alliance is closed and the last model is held")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    blob_bytes_max: int = field(
        default=8 << 30,
        metadata=about(
            "disk space for masked chunks and other blobs; least recently used ones go first",
            between(64 << 20, 1 << 50),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetSettings:
    listen_host: str = field(default="0.0.0.0", metadata=about("address to listen on; 0.0.0.0 means all", name(255)))
    listen_port: int = field(
        default=4_101, metadata=about("TCP port for peers; 0 takes a free one", between(0, 65_535))
    )
    bootstrap: tuple[str, ...] = field(
        default=(), metadata=about("nodes to meet first, as /ip4/…/tcp/…/p2p/<peer ID>", each(peer_multiaddr, 0, 64))
    )
    bootstrap_file: Path | None = field(
        default=None, metadata=about("a file with more of them, such as bootstrap/peers.toml, read at each start")
    )
    mdns: bool = field(
        default=True,
        metadata=about("find nodes of the same network by multicast; not done where listen_host is loopback"),
    )
    announce: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "addresses that others reach this node at, where they differ from the listening one", each(multiaddr, 0, 16)
        ),
    )
    register_addresses: bool | None = field(
        default=None,
        metadata=about("publish this node's addresses on chain, for all to see; left out, only where announce is set"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AllianceSettings:
    reactivate: bool = field(
        default=True,
        metadata=about("take the seat again by itself after a suspension, once this node runs and is up to date"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSettings:
    rpc_urls: tuple[str, ...] = field(
        metadata=about(
            "one RPC endpoint, better two independent ones: the node says loudly when they differ", each(http_url, 1, 2)
        )
    )
    chain_id: int = field(
        metadata=about("the chain's number: 8453 is Base, 84532 Base Sepolia", between(1, (1 << 63) - 1))
    )
    factory: str = field(metadata=about("address of the alliance factory", hex_bytes(20)))
    governor: str | None = field(
        default=None,
        metadata=about("address of the governor, for `p2p-flock gov` and `lock`; no node needs it", hex_bytes(20)),
    )
    token: str | None = field(
        default=None, metadata=about("address of FLOCK; left out, the factory is asked", hex_bytes(20))
    )
    beacon: str | None = field(
        default=None, metadata=about("address of the beacon; left out, the factory is asked", hex_bytes(20))
    )
    beacon_urls: tuple[str, ...] = field(
        default=(), metadata=about("drand relays, tried in turn", each(http_url, 0, 16))
    )
    beacon_scheme: str = field(
        default="quicknet",
        metadata=about(
            "quicknet; or devnet: the key is the contract's, and the values below where they are set",
            any_of("quicknet", "devnet"),
        ),
    )
    beacon_public_key: str | None = field(
        default=None, metadata=about("devnet only: BLS key in G2, compressed", hex_bytes(96))
    )
    beacon_genesis: int | None = field(
        default=None, metadata=about("devnet only: when round 1 is published, Unix seconds", between(0, 1 << 40))
    )
    beacon_period_seconds: int | None = field(
        default=None, metadata=about("devnet only: seconds between rounds", between(1, 3_600))
    )
    from_block: int = field(
        default=0,
        metadata=about("block in which the factory was deployed; no alliance is older", between(0, (1 << 63) - 1)),
    )
    rpc_timeout_ms: int = field(
        default=5_000, metadata=about("how long one answer of an endpoint may take", between(100, 60_000))
    )
    poll_interval_ms: int = field(
        default=1_000, metadata=about("how often the chain is asked for news", between(50, 60_000))
    )
    fee_gwei_max: int = field(
        default=5,
        metadata=about(
            "what a unit of gas may cost at most, tip included; above it nothing is sent; Base asks for 0.005",
            between(1, 10_000),
        ),
    )
    confirmations: int = field(default=2, metadata=about("blocks on top before a seal is acted on", between(0, 1_000)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSettings:
    task: str | None = field(
        default=None, metadata=about("the installed task this node trains, for example heart", name(64))
    )
    data_path: Path | None = field(
        default=None, metadata=about("the member's private data; it never leaves this machine")
    )
    data_seed: int = field(
        default=0,
        metadata=about("decides the split into train and private test; never change it", between(0, (1 << 63) - 1)),
    )
    example_weight_bucket: int | None = field(
        default=None,
        metadata=about(
            "public weight to declare at join; left out, it follows from the number of examples",
            between(1, (1 << 32) - 1),
        ),
    )
    local_only: bool = field(
        default=True,
        metadata=about(
            "also train a model on this node's data alone, to compare; only where that is 1/50 of the time for training"
        ),
    )
    memory_bytes_max: int = field(
        default=16 << 30, metadata=about("memory limit of the training process", between(256 << 20, 1 << 50))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSection:
    enabled: bool = field(
        default=True, metadata=about("serve a page on 127.0.0.1 that shows what the node does; it can change nothing")
    )
    port: int = field(
        default=4_180, metadata=about("its TCP port on 127.0.0.1; 0 takes a free one", between(0, 65_535))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsForTest:
    """The first three give away what masks hide, the others break the node; refused outside a test on a devnet."""

    record_sent_path: Path | None = field(default=None, metadata=about("append every plaintext byte sent to this file"))
    save_encodings: bool = field(default=False, metadata=about("keep unmasked encodings under test/"))
    disable_masks: bool = field(default=False, metadata=about("send updates without masks"))
    clock_offset_ms: int = field(
        default=0,
        metadata=about(
            "how far this node's clock is ahead of the machine's", between(-CLOCK_OFFSET_MS_MAX, CLOCK_OFFSET_MS_MAX)
        ),
    )
    fault_port_path: Path | None = field(
        default=None, metadata=about("a file that names, by peer ID, the peers that each node must not hear")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """All settings of a node. Paths are absolute; a relative one in the file starts from the file's folder."""

    chain: ChainSettings
    node: NodeSettings = field(default_factory=NodeSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    net: NetSettings = field(default_factory=NetSettings)
    alliance: AllianceSettings = field(default_factory=AllianceSettings)
    learning: LearningSettings = field(default_factory=LearningSettings)
    dashboard: DashboardSection = field(default_factory=DashboardSection)
    test: SettingsForTest = field(default_factory=SettingsForTest)


# In the order of the template; [chain] has what a newcomer must fill in, so it stands early.
SECTIONS: dict[str, type] = {
    "chain": ChainSettings,
    "net": NetSettings,
    "learning": LearningSettings,
    "alliance": AllianceSettings,
    "node": NodeSettings,
    "store": StoreSettings,
    "dashboard": DashboardSection,
    "test": SettingsForTest,
}
