"""``p2p-flock lock``: the group of the commands about locked FLOCK. They talk to the chain, not to the daemon."""

from __future__ import annotations

from p2p_flock.cli.lazy import LazyGroup

lock = LazyGroup(
    "lock",
    {
        "create": "p2p_flock.cli.lock_create:create",
        "list": "p2p_flock.cli.lock_list:list_locks",
        "unlock": "p2p_flock.cli.lock_unlock:unlock",
        "delegate": "p2p_flock.cli.lock_unlock:delegate",
    },
    "Lock FLOCK for a time: it gives gmFLOCK, which votes. Needs no running node.",
)
