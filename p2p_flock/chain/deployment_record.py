"""The file that says what was deployed where: ``contracts/deployments/<network>.json``.

Written by ``deploy.py`` before and after every step, read when a deployment goes on, is checked or is used. A step
stands in it, with the nonce and so the address, before its transaction is sent: whatever happens then, the next run
knows where to look. Must never hold a key.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2p_flock.chain.beacon import BeaconNetwork
from p2p_flock.chain.deployment_plan import (
    CONTRACTS,
    NETWORKS,
    STEPS,
    GovernanceTerms,
    Parameters,
    compute_addresses,
    compute_encoded_arguments,
)
from p2p_flock.errors import DataDirectoryLockedError, UsageError

RECORD_BYTES_MAX = 256 << 10


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step's transaction.

    Attributes:
        creation_sha256: of creation code and arguments, hex.
        transactions: hashes (hex) of all that were signed with this nonce: the first, and replacements at higher fees.
        block, gas_used: of the one that was mined; ``None`` until that is known.
    """

    nonce: int
    creation_sha256: str
    transactions: tuple[str, ...] = ()
    block: int | None = None
    gas_used: int | None = None


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """A deployment, begun or finished; ``deployer`` 20 bytes, ``steps`` by name."""

    network: str
    deployer: bytes
    parameters: Parameters
    steps: Mapping[str, StepRecord] = field(default_factory=dict)

    @property
    def chain_id(self) -> int:
        """Of the network."""
        return NETWORKS[self.network].chain_id

    @property
    def addresses(self) -> dict[str, bytes]:
        """Address (20 bytes) of every contract whose step has begun, by name; see ``deployment_plan.CONTRACTS``."""
        return compute_addresses(self.deployer, {name: step.nonce for name, step in self.steps.items()})

    @property
    def is_complete(self) -> bool:
        """Whether every step was mined when it was looked at last."""
        return all(step.name in self.steps and self.steps[step.name].block is not None for step in STEPS)

    def with_step(self, name: str, step: StepRecord) -> DeploymentRecord:
        """The same with one step set."""
        return dataclasses.replace(self, steps={**self.steps, name: step})


@contextmanager
def lock_record(path: Path) -> Iterator[None]:
    """Keep other runs away from the record: two at once would deploy twice. The lock ends with the process.

    Raises:
        DataDirectoryLockedError: another run has it.
        UsageError: the directory cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"{path.parent} cannot be used: {error.strerror}. Check its permissions.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataDirectoryLockedError(f"Another run deploys into {path.parent}. Wait until it ends.") from error
        yield
    finally:
        os.close(descriptor)


def write_record(path: Path, record: DeploymentRecord) -> None:
    """Write, so that after a crash at any moment the file is the old or the new one, whole, and on the disk.

    Raises:
        UsageError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w") as file:
            file.write(json.dumps(_to_json(record), indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}. Check the directory's permissions.") from error


def read_record(path: Path) -> DeploymentRecord | None:
    """The record, or ``None`` where there is no file.

    Raises:
        UsageError: the file is damaged, or of another version of this program.
    """
    try:
        with path.open("rb") as file:
            data = file.read(RECORD_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    try:
        if len(data) > RECORD_BYTES_MAX:
            raise ValueError("too long")
        record = _from_json(json.loads(data))
        if record.network not in NETWORKS or not set(record.steps) <= {step.name for step in STEPS}:
            raise ValueError("unknown names")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{path} is no record of a deployment; restore it from version control, or move it away to begin anew."
        ) from error
    return record


def _to_json(record: DeploymentRecord) -> dict[str, object]:
    beacon, addresses = record.parameters.beacon, record.addresses
    return {
        "network": record.network,
        "chain_id": record.chain_id,
        "deployer": "0x" + record.deployer.hex(),
        "parameters": {
            "beacon_public_key": "0x" + beacon.public_key.hex(),
            "beacon_genesis_s": beacon.genesis_s,
            "beacon_period_s": beacon.period_s,
            "initial_holder": "0x" + record.parameters.initial_holder.hex(),
            "supply_wei": str(record.parameters.supply_wei),  # beyond what a JSON number keeps exactly
            "governance": {
                name: str(value) if name.endswith("_wei") or "_wei_" in name else value
                for name, value in dataclasses.asdict(record.parameters.governance).items()
            },
        },
        "steps": {
            step.name: {"contract": step.contract, **dataclasses.asdict(record.steps[step.name])}
            for step in STEPS
            if step.name in record.steps
        },
        # Derived, for readers and explorers: reading the record computes them anew.
        "constructor_arguments": {
            step.name: "0x" + compute_encoded_arguments(step, record.parameters, addresses).hex()
            for step in STEPS
            if step.name in record.steps
        },
        "addresses": {name: "0x" + addresses[name].hex() for name in CONTRACTS if name in addresses},
    }


def _from_json(document: dict[str, Any]) -> DeploymentRecord:
    values = document["parameters"]
    governance = {name: int(value) for name, value in values["governance"].items()}
    steps = {}
    for name, step in document["steps"].items():
        block, gas_used = step["block"], step["gas_used"]
        steps[str(name)] = StepRecord(
            int(step["nonce"]),
            str(step["creation_sha256"]),
            tuple(str(transaction) for transaction in step["transactions"]),
            None if block is None else int(block),
            None if gas_used is None else int(gas_used),
        )
    return DeploymentRecord(
        str(document["network"]),
        _bytes(document["deployer"], 20),
        Parameters(
            BeaconNetwork(
                _bytes(values["beacon_public_key"], 96),
                int(values["beacon_genesis_s"]),
                int(values["beacon_period_s"]),
            ),
            _bytes(values["initial_holder"], 20),
            int(values["supply_wei"]),
            GovernanceTerms(**governance),
        ),
        steps,
    )


def _bytes(text: str, length: int) -> bytes:
    value = bytes.fromhex(text.removeprefix("0x"))
    if len(value) != length:
        raise ValueError("another length")
    return value
