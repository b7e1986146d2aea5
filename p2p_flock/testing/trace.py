"""The trace of a simulation: one line of canonical text for each fact, and the digest over all of them.

Long contents stand by their sha-256 or by a signature over them; what follows from them is in the facts that follow.
"""

from __future__ import annotations

import hashlib
from typing import assert_never

from p2p_flock.ports import BlobsFetched, Event, MessageReceived, UpdateComputed
from p2p_flock.testing.facts import (
    Accused,
    Acted,
    AllClaimed,
    BalanceTaken,
    Ended,
    Fact,
    Failed,
    Healed,
    Logged,
    ModelApplied,
    Persisted,
    Reorganised,
    RoundBegan,
    Said,
    Served,
    Started,
    Stopped,
    TookPost,
)


class Trace:
    """Digest over everything that happened. ``count``: facts so far."""

    def __init__(self) -> None:
        self._hasher = hashlib.sha256()
        self.count = 0

    def add(self, fact: Fact) -> None:
        self.count += 1
        self._hasher.update(f"{format_fact(fact)}\n".encode())

    @property
    def digest(self) -> str:
        """64 hexadecimal digits."""
        return self._hasher.hexdigest()


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _event(event: Event | None) -> str:
    match event:
        case None:
            return "start"
        case MessageReceived():
            return f"MessageReceived {event.envelope.seat} {event.envelope.kind} {_short(event.envelope.signature)}"
        case BlobsFetched():
            return f"BlobsFetched {event.tag} {len(event.blobs)} {len(event.sizes)}"
        case UpdateComputed():
            return f"UpdateComputed {_short(event.entropy)}"
        case _:
            return type(event).__name__


def format_fact(fact: Fact) -> str:
    """One line; the same in every process that runs the same simulation."""
    head = f"{fact.at_ms} {type(fact).__name__}"
    match fact:
        case RoundBegan():
            return f"{head} {fact.context.round} {fact.context.seed.hex()} {fact.context.base_model_digest.hex()}"
        case Acted():
            effects = " ".join(type(effect).__name__ for effect in fact.effects)
            return f"{head} {fact.member} {fact.round} {_event(fact.event)}: {effects}"
        case Failed():
            return f"{head} {fact.member} {fact.round} {fact.error}"
        case Persisted():
            return f"{head} {fact.member} {fact.round} {fact.record.kind} {fact.record.key} {_short(fact.record.body)}"
        case Said():
            return f"{head} {fact.member} {fact.round} {fact.to} {fact.envelope.kind} {_short(fact.envelope.body)}"
        case TookPost():
            return f"{head} {fact.member} {fact.seat} {fact.context.round} {fact.context.seed.hex()}"
        case Served():
            return f"{head} {fact.member} {fact.source} {fact.digest.hex()[:16]}"
        case Accused():
            return f"{head} {fact.member} {fact.round} {_short(fact.evidence)}"
        case Logged():
            return f"{head} {fact.fork} {_short(repr(fact.event).encode())} {type(fact.event).__name__}"
        case (
            Reorganised() | BalanceTaken() | AllClaimed() | ModelApplied() | Stopped() | Started() | Healed() | Ended()
        ):
            return f"{head} {fact!r}"
        case _:
            assert_never(fact)
