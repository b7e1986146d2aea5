"""The members' data of a testnet: which tasks it can deal out, in which partitions, and with which parameters.

Called by ``options.py`` and ``network.py``. Only here, and in the report's references, does one process see all
members' data. Imports neither torch nor the packages that the data ships in.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from p2p_flock.errors import UsageError
from p2p_flock.learning.task_manifest import base_of
from p2p_flock.learning.tasks import digits_data, heart_data, lending_data

if TYPE_CHECKING:
    from p2p_flock.testnet.options import Options

DIRICHLET: Final = re.compile(r"dirichlet:([0-9]{1,4}(?:\.[0-9]{1,4})?)")


@dataclass(frozen=True, slots=True)
class Demo:
    """A task that a testnet knows data for.

    Attributes:
        partitions: the first is the default.
        weight_max: the alliance's; times the task's ``examples_per_weight`` it covers the largest member.
        loss_tolerance_micro: the alliance's; by how much a good round may raise a member's test loss.
        has_references: whether the report trains pooled, alone and by plain FedAvg; minutes for the widest network.
    """

    partitions: tuple[str, ...]
    weight_max: int = 64
    loss_tolerance_micro: int = 10_000
    has_references: bool = True


_DIGITS: Final = Demo(("iid", "dirichlet:ALPHA"), weight_max=512)
DEMOS: Final = {
    "heart": Demo(("hospitals",)),
    "lending": Demo(("states",)),
    "digits": _DIGITS,
    "digits-1m": _DIGITS,
    "digits-50m": replace(_DIGITS, has_references=False),
}


def demo_of(task: str) -> Demo:
    """What the testnet knows of a task or a private variant of it; nothing but defaults for one of the user's own."""
    return DEMOS.get(base_of(task), Demo(()))


def partition_texts() -> list[str]:
    """``task: partitions`` for the help."""
    return [f"{task}: {', '.join(demo.partitions)}" for task, demo in DEMOS.items()]


def validate_source(task: str, partition: str | None, data: Path | None, node_count: int) -> None:
    """Check where the members' data is to come from.

    Raises:
        UsageError: naming the option and what it may be.
    """
    if data is not None:
        if partition is not None:
            raise UsageError("--partition splits the testnet's own data; with --data each file is one member's.")
        found = len(_files_of(data))
        if found < node_count:
            raise UsageError(f"--data {data} holds {found} files; {node_count} nodes need one each.")
        return
    task = base_of(task)
    if task not in DEMOS:
        raise UsageError(
            f"--task {task}: there is data for {', '.join(DEMOS)}; for another task give --data DIR with one file each."
        )
    known = DEMOS[task].partitions
    if partition == "dirichlet:ALPHA" or not (
        partition is None or partition in known or (_alpha(partition) and "dirichlet:ALPHA" in known)
    ):
        raise UsageError(
            f"--partition {partition}: the task {task} has {', '.join(known)}; ALPHA is a number above 0, such as 0.3."
        )


def _alpha(partition: str | None) -> float:
    """ALPHA of ``dirichlet:ALPHA``; 0 for anything else."""
    found = DIRICHLET.fullmatch(partition or "")
    return 0.0 if found is None else float(found[1])


def _files_of(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise UsageError(f"--data {folder}: {error.strerror}; name a folder with one file per member.") from error


def write_data(options: Options, index: int, path: Path) -> None:
    """Write a member's file: its part of the testnet's own data, or the ``index``-th of ``options.data`` by name.

    ``index`` counts the nodes, then the spare seats: no record is given to two members.

    Raises:
        UsageError: the data is not installed, or cannot be dealt out to so many.
        DataSchemaError: the packaged data is not the expected one.
    """
    node_count, seed, task = options.shares, options.seed, base_of(options.task)
    if options.data is not None:
        files = _files_of(options.data)
        if index >= len(files):
            raise UsageError(f"{options.data} holds {len(files)} files, all given out. Name another with --data FILE.")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files[index], path)
    elif task == "heart":
        heart_data.write_partition(*heart_data.partition_of_node(index, node_count), seed, path)
    elif task == "lending":
        lending_data.write_partition(index, path)
    elif alpha := _alpha(options.partition):
        digits_data.write_member(digits_data.deal_dirichlet(node_count, alpha, seed)[index], path)
    else:
        digits_data.write_member(digits_data.deal_iid(node_count, seed)[index], path)
    path.chmod(0o600)  # records are nobody else's business, also in a demo; `doctor` says so
