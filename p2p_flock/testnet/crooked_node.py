"""A dishonest member of a testnet: ``python -m p2p_flock.testnet.crooked_node --kind KIND …``, else as p2p-flock node.

The same daemon, with the machines of one of ``testing/byzantine``'s kinds, or with training data that an attack has
changed. It costs its stake, and others their rounds, so it refuses every chain that is no local devnet.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from p2p_flock.cli.main import main as run_command
from p2p_flock.daemon.config import DEVNET_CHAIN_IDS, NodeConfig
from p2p_flock.daemon.taking_part import MakeMachine
from p2p_flock.errors import UsageError
from p2p_flock.testing.byzantine import Coalition
from p2p_flock.testing.byzantine.kinds import KINDS, Kind
from p2p_flock.testnet.crooked_rows import spoil_rows

OWNERS_BYTES_MAX = 1 << 16


class FileCoalition(Coalition):
    """A coalition of several processes: a file that each of them adds its account to, one in hex a line."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def join(self, owner: bytes) -> None:
        with self._path.open("a+", encoding="ascii") as file:
            file.seek(0)
            known = set(file.read(OWNERS_BYTES_MAX).split())
            if owner.hex() not in known:
                file.write(f"{owner.hex()}\n")  # one short write at the end: others' lines stay whole
        self.owners = {bytes.fromhex(line) for line in known} | {owner}


def prepare(kind: Kind, coalition: Path | None, config: NodeConfig) -> tuple[NodeConfig, MakeMachine]:
    """Settings and machine maker of a dishonest node.

    Raises:
        UsageError: the chain is no devnet, or the kind's attack knows nothing of this node's data.
    """
    if config.chain.chain_id not in DEVNET_CHAIN_IDS:
        raise UsageError(
            f"Dishonest nodes run on a local devnet only; chain {config.chain.chain_id} is none.\n"
            "Run `p2p-flock node` instead."
        )
    learning = config.learning
    if kind.rows is not None:
        if learning.task is None or learning.data_path is None:
            raise UsageError("This node has no task and data to spoil.\nSet learning.task and learning.data_path.")
        spoilt = learning.data_path.with_suffix(f".{kind.rows}.csv")
        spoil_rows(kind.rows, learning.task, learning.data_path, spoilt, learning.data_seed)
        config = dataclasses.replace(config, learning=dataclasses.replace(learning, data_path=spoilt))
    members = FileCoalition(coalition) if kind.is_colluding and coalition is not None else None
    return config, kind.make_villain(members).make


def main(arguments: Sequence[str]) -> int:
    """The exit code of the node, or 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="crooked_node", description=__doc__, allow_abbrev=False)
    parser.add_argument("--kind", required=True, choices=sorted(KINDS), help="how it is dishonest")
    parser.add_argument("--coalition", type=Path, help="file in which colluding nodes of one machine find each other")
    given, rest = parser.parse_known_args(arguments)
    kind: Kind = KINDS[given.kind]
    return run_command(["node", *rest], lambda config: prepare(kind, given.coalition, config))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
