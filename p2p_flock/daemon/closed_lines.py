"""The line of ``rounds.jsonl`` about a round that has ended; see ``testnet/METRICS.md``. Called by the session."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from p2p_flock.daemon.round_report import describe_round
from p2p_flock.daemon.world import World
from p2p_flock.types import Role, describe_round_id

if TYPE_CHECKING:
    from p2p_flock.daemon.session import AllianceSession


def write_closed_line(world: World, session: AllianceSession, number: int) -> None:
    """Append the line of round ``number``, which is applied; what the node counted since the last one goes into it."""
    line = describe_round(session.history, number)
    own = [i for i, e in enumerate(session.history.rounds[number].seats) if e.owner == world.chain.address]
    digests = session.lineage.digests.get(number, (None, None))
    world.metrics.write(
        {
            "event": "closed",
            **line,
            "round_id": describe_round_id(session.id.number, number),
            "seat": own[0] if own else None,
            "role": _role_in(session, number, own),
            "stage": session.lineage.stages[number].name.lower(),
            "base_model_digest": digests[0],
            "model_digest": digests[1],
            "privacy": session.budget.describe(session.history, number),
            "closed_at": time.time(),
            **world.tally.take(),
        }
    )


def _role_in(session: AllianceSession, number: int, own: list[int]) -> str:
    assignment = session.history.assignment(number)
    if not own or assignment is None:
        return "none"
    role = Role.VALIDATOR if own[0] in assignment.validators else Role.TRAINER
    return str(role.value)
