"""``gas.json`` in the node's home: what this account paid for gas since the node began to count, across restarts.

Told by ``chain/transactions.py`` of every mined transaction, also of those that failed. It knows what this program sent
and nothing else: what the account paid before, or from another program, is not in it. A lost file loses the count.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.errors import StoreError
from p2p_flock.store.files import open_temporary, translate_os_errors, write_all

logger = logging.getLogger(__name__)

GAS_NAME = "gas.json"
FILE_BYTES_MAX = 4096


class GasBook:
    """See the module.

    Attributes:
        spent_wei: ETH wei, gas and (on an OP chain) the fee for data on L1.
        transaction_count: that were paid for.
        since_s: Unix seconds when counting began.
    """

    def __init__(self, path: Path, chain_id: int) -> None:
        """Go on with what the file says; one of another chain, or a damaged one, is begun anew."""
        self._path, self._chain_id = path, chain_id
        self.spent_wei, self.transaction_count, self.since_s = 0, 0, int(time.time())
        try:
            text = path.read_bytes() if path.stat().st_size <= FILE_BYTES_MAX else b""
            entry = json.loads(text)
            values = (int(entry["spent_wei"]), entry["transaction_count"], entry["since_s"])
            if entry["chain_id"] == chain_id and all(type(value) is int and value >= 0 for value in values):
                self.spent_wei, self.transaction_count, self.since_s = values
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            logger.warning("%s is damaged: what was spent on gas is counted anew", path)

    def note(self, receipt: TransactionReceipt) -> None:
        """A transaction of this account was mined. Blocks for a small write, a few times a round."""
        self.spent_wei += receipt.cost_wei
        self.transaction_count += 1
        entry = {
            "chain_id": self._chain_id,
            "spent_wei": str(self.spent_wei),
            "transaction_count": self.transaction_count,
            "since_s": self.since_s,
        }
        try:
            # Not synced: a power failure costs the last few, and an fsync would hold the node up.
            with translate_os_errors(f"write {self._path}"), open_temporary(self._path.parent) as (file, temporary):
                write_all(file, json.dumps(entry).encode() + b"\n")
                temporary.rename(self._path)
        except StoreError as error:
            logger.warning("what was spent on gas cannot be kept: %s", error)
