"""What a node's home holds for an export: settings, models, blobs, the chain's log. Read-only: a daemon may run there.

Called by ``cli/models/export.py``. It opens none of the daemon's stores, which sweep and prune; a file that goes while
it is read is found missing.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from p2p_flock.chain.adapter import ChainConfig
from p2p_flock.chain.alliance_contract import AllianceHandle
from p2p_flock.chain.archive import LogArchive
from p2p_flock.daemon.config import ChainSettings, NodeConfig
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.errors import StoreError, TaskError, UsageError
from p2p_flock.learning.tensor_file import TensorPlace
from p2p_flock.learning.worker_client import WorkerConfig, open_worker
from p2p_flock.store.files import file_name_of
from p2p_flock.store.segments import read_segments
from p2p_flock.types import DIGEST_BYTES, AllianceId

POINTER_BYTES_MAX = 4096
BLOB_IN_MEMORY_BYTES_MAX = 1 << 20  # a sealed manifest's bound


@dataclass(frozen=True, slots=True)
class Home:
    """A node's data directory."""

    directory: DataDirectory
    config: NodeConfig

    def find_alliance(self, named: str | None) -> AllianceId:
        """The alliance that is named, else the one that the node is in, else the only one whose model it holds.

        Raises:
            UsageError: none of these.
        """
        if named is not None:
            return AllianceId.parse(named)
        text = _read_json(self.directory.home / "membership.json").get("alliance")
        if isinstance(text, str):
            return AllianceId.parse(text)
        held = [path.name.removesuffix(".current.json") for path in self.directory.models.glob("*.current.json")]
        if len(held) == 1:
            return AllianceId.parse(held[0].replace("-", ":"))
        raise UsageError(
            f"{self.directory.home} is in no alliance"
            + (f", and holds models of {len(held)}\nname one with --alliance ID" if held else
               ", and holds no model\njoin one: `p2p-flock alliance join ID`")
        )  # fmt: skip

    def current_model(self, alliance: AllianceId) -> tuple[int | None, bytes]:
        """(round, digest) of the newest model that the node holds; the round is ``None`` before the first.

        Raises:
            UsageError: it holds none.
        """
        pointer = _read_json(self.directory.models / f"{file_name_of(str(alliance))}.current.json")
        number, text = pointer.get("round"), pointer.get("digest")
        try:
            digest = bytes.fromhex(text) if isinstance(text, str) else b""
        except ValueError:
            digest = b""
        if len(digest) != DIGEST_BYTES or not isinstance(number, int | None):
            raise UsageError(
                f"this node holds no model of {alliance}\nlet it run until it is up to date: `p2p-flock status`"
            )
        return number, digest

    def model_path(self, digest: bytes) -> Path | None:
        """Where a model lies, if it is held."""
        path = self.directory.models / f"{digest.hex()}.safetensors"
        return path if path.is_file() else None

    def blob_path(self, digest: bytes) -> Path | None:
        """Where a blob lies, if it is held. Not hashed."""
        name = digest.hex()
        path = self.directory.blobs / name[:2] / name[2:]
        return path if path.is_file() else None

    def read_blob(self, digest: bytes) -> bytes | None:
        """A short blob, if it is held whole."""
        path = self.blob_path(digest)
        try:
            data = b"" if path is None or path.stat().st_size > BLOB_IN_MEMORY_BYTES_MAX else path.read_bytes()
        except OSError:
            return None
        return data if hashlib.sha256(data).digest() == digest else None

    def open_archive(self, handle: AllianceHandle) -> LogArchive:
        """What the daemon keeps of the chain's log, without writing to it."""
        domain = handle.domain
        pieces = _Pieces(read_segments(self.directory.home / "chain" / f"{domain.contract.hex()}.log"))
        return LogArchive(pieces, domain.chain_id, domain.contract, handle.terms.created_block)

    async def ask_worker(self) -> tuple[bytes, tuple[TensorPlace, ...]]:
        """The installed task's manifest, and the tensors of its ``state_dict``: from a worker process of our own.

        Raises:
            UsageError: no task or data is configured; TaskError, DataSchemaError, WorkerCrashedError as of the worker.
        """
        learning = self.config.learning
        if learning.task is None or learning.data_path is None:
            raise UsageError(
                "the names of the model's tensors are the task's, and this node has no task and data\n"
                "set learning.task and learning.data_path in config.toml"
            )
        with tempfile.TemporaryDirectory(prefix="p2p-flock-") as folder:
            config = WorkerConfig(
                task_name=learning.task,
                data_path=learning.data_path,
                log_path=Path(folder) / "worker.log",
                data_seed=learning.data_seed,
                memory_bytes_max=learning.memory_bytes_max,
            )
            async with open_worker(config) as worker:
                manifest, layout = await worker.manifest(), await worker.layout()
        if sum(place.size for place in layout) != manifest.parameter_count:
            raise TaskError(f"the task {learning.task!r} has other tensors than its manifest says: install it anew")
        return manifest.to_bytes(), layout


def chain_config(settings: ChainSettings, rpc_urls: Sequence[str] = (), from_block: int | None = None) -> ChainConfig:
    """Where to read; ``rpc_urls`` and ``from_block`` in place of the settings' where they are given."""
    return ChainConfig(
        rpc_urls=tuple(rpc_urls) or settings.rpc_urls,
        chain_id=settings.chain_id,
        factory=bytes.fromhex(settings.factory.removeprefix("0x")),
        poll_interval_s=settings.poll_interval_ms / 1000,
        from_block=settings.from_block if from_block is None else from_block,
        timeout_s=settings.rpc_timeout_ms / 1000,
    )


class _Pieces:
    """An archive's pieces that were read; what would be written is not."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def read(self) -> list[bytes]:
        return self._pieces

    def append(self, piece: bytes) -> bool:
        return True

    def truncate(self, count: int) -> None:
        pass


def _read_json(path: Path) -> dict[str, object]:
    """A small table, or an empty one."""
    try:
        if path.stat().st_size > POINTER_BYTES_MAX:
            raise StoreError(f"{path} is damaged\nremove it; the node then asks its peers again")
        table = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: {error}\nremove it; the node then asks its peers again") from error
    return table if isinstance(table, dict) else {}
