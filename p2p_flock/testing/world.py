"""What follows from the chain and from bytes alone, worked out once for all simulated nodes.

Nodes of one alliance compute the same things from the same inputs; a simulation of a thousand of them must not. Here
are only pure results, found by content: the folded log of a block, a round's context, a model after a round, a checked
envelope. What a node knows and keeps is its own (``node.py``); whether it may use something from here, it decides by
what it holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2p_flock.alliance.aggregates import decode_aggregate
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.gossip import Checked, validate_envelope
from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.alliance.model import AdoptedCohort, Model, apply_cohorts
from p2p_flock.alliance.penalties import Suspension, compute_suspensions
from p2p_flock.alliance.suspicion import Suspect, compute_suspects
from p2p_flock.chain_events import RoundOpened, SeatJoined
from p2p_flock.errors import WireError
from p2p_flock.params import AllianceParams
from p2p_flock.secagg.opening import Opened, Unopened
from p2p_flock.testing.ledger import Block
from p2p_flock.testing.suites import Suite
from p2p_flock.types import Domain
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import MANIFEST_BYTES_MAX, Envelope, Manifest


@dataclass(frozen=True, slots=True)
class Duties:
    """What a block's log gives members to do between the rounds.

    Attributes:
        keys: by owner the mask key that it could use in the next round; without owners of whom that is not known yet.
        suspects: whom ``suspendSuspected`` takes.
        settled_at_ms: chain time of the last settlement.
    """

    keys: Mapping[bytes, bytes | None]
    suspensions: tuple[Suspension, ...]
    suspects: tuple[Suspect, ...]
    settled_at_ms: int


class World:
    """See the module.

    Attributes:
        blobs: every blob that any node ever stored, by digest: nodes share the bytes, each knows which it holds.
        models: every model, by digest.
    """

    def __init__(self, domain: Domain, params: AllianceParams, task: TaskManifest, model: Model, suite: Suite) -> None:
        self.domain, self.params, self.task, self.initial_model, self.suite = domain, params, task, model, suite
        self.blobs: dict[bytes, bytes] = {}
        self.models = {model.digest: model}
        self._contexts: dict[tuple[RoundOpened, bytes, tuple[object, ...]], RoundContext] = {}
        self.openings: dict[bytes, Opened | Unopened] = {}
        self._checked: dict[tuple[int, int], tuple[Checked, RoundContext, Envelope]] = {}
        self._context_of: dict[tuple[int, int, bytes], tuple[RoundContext, AllianceHistory]] = {}
        self._duties: dict[int, tuple[AllianceHistory, bytes | None, Duties]] = {}
        self._applied: dict[tuple[bytes, tuple[tuple[int, bytes], ...], bytes], bytes] = {}

    # --- bytes -------------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> bytes:
        """Keep a blob's bytes for all who hold it; its digest."""
        digest = hashlib.sha256(data).digest()
        self.blobs.setdefault(digest, data)
        return digest

    def check_envelope(self, context: RoundContext, envelope: Envelope) -> Checked:
        """``validate_envelope``, once for each context."""
        key = (id(context), id(envelope))  # both are kept, so their identities name them
        if key not in self._checked:
            self._checked[key] = (validate_envelope(context, envelope), context, envelope)
        return self._checked[key][0]

    # --- the log -----------------------------------------------------------------------------------------------

    def randomness(self, beacon_round: int) -> bytes:
        """The beacon's value; nodes ask for it once it is out."""
        return hashlib.sha256(self.suite.name.encode() + b"beacon" + beacon_round.to_bytes(8, "big")).digest()

    def history(self, block: Block) -> AllianceHistory:
        """The log up to a block, folded, with beacons and with every sealed manifest that exists anywhere.

        Raises:
            ChainError: the log contradicts itself, which only a lying endpoint's does.
        """
        waiting = []
        while "history" not in block.memo and block.parent is not None:
            waiting.append(block)
            block = block.parent
        history = block.memo.setdefault("history", AllianceHistory(self.domain, self.params))
        assert isinstance(history, AllianceHistory)
        for above in reversed(waiting):
            if above.events:
                history = history.copy()
                for event in above.events:
                    history.apply(event, isinstance(event, SeatJoined))
                    if isinstance(event, RoundOpened):
                        history.add_randomness(event.round, self.randomness(event.beacon_round))
            above.memo["history"] = history
        self._add_manifests(history)
        return history

    def _add_manifests(self, history: AllianceHistory) -> None:
        for record in history.rounds:
            if record.sealed is None or record.manifest is not None:
                continue
            data = self.blobs.get(record.sealed.manifest_digest)
            if data is not None:
                try:
                    manifest: Manifest | None = decode(Manifest, data, MANIFEST_BYTES_MAX)
                except WireError:
                    manifest = None
                history.take_manifest(record.sealed.manifest_digest, manifest)

    def duties(self, block: Block) -> Duties:
        """What there is to do after a block."""
        history = self.history(block)
        missing = history.missing_manifest()
        known = self._duties.get(id(history))
        if known is not None and known[1] == missing:
            return known[2]
        upcoming = {entry.owner: history.upcoming_key(entry.owner) for entry in history.seats}
        keys = {owner: key for owner, (is_known, key) in upcoming.items() if is_known}
        settled = next((record.settled for record in reversed(history.rounds) if record.settled is not None), None)
        settled_at_ms = 0 if settled is None else settled.at.timestamp_s * 1000
        duties = Duties(keys, compute_suspensions(history), compute_suspects(history), settled_at_ms)
        self._duties[id(history)] = (history, missing, duties)  # the history stays, so its identity names it
        return duties

    # --- rounds and models ---------------------------------------------------------------------------------------

    def context(self, history: AllianceHistory, number: int, model: Model) -> RoundContext | None:
        """A round's context for a node that holds ``model``; ``None`` while keys of earlier rounds are unknown."""
        asked = (id(history), number, model.digest)
        found = self._context_of.get(asked)
        if found is None:
            context = self._find_context(history, number, model)
            if context is None:
                return None
            found = self._context_of[asked] = (context, history)  # the history stays, so its identity names it
        return found[0]

    def _find_context(self, history: AllianceHistory, number: int, model: Model) -> RoundContext | None:
        snapshot, seed = history.snapshot(number), history.seed(number)
        if snapshot is None or seed is None:
            return None
        key = (history.rounds[number].opened, model.digest, (snapshot.seats, seed))
        if key not in self._contexts:
            self._contexts[key] = RoundContext.make(
                snapshot, self.params, self.task, model.stage, model.digest, seed, self.suite.recover
            )
        return self._contexts[key]

    def apply_round(self, history: AllianceHistory, record: RoundRecord, before: Model) -> Model | None:
        """The model after an ended round, as ``daemon/lineage.py`` computes it; ``None`` where a context is unknown.

        The aggregates are in :attr:`blobs`.

        Raises:
            WireError: a quorum adopted bytes that are no aggregate.
        """
        if not record.adopted:
            return before
        context = self.context(history, record.opened.round, before)
        if context is None or record.manifest is None or record.sealed is None:
            return None
        key = (before.digest, record.adopted, record.sealed.seal)
        if key not in self._applied:
            cohorts = []
            for cohort, digest in record.adopted:
                seats = context.assignment.cohorts[cohort]
                sealed = [entry.seat for entry in record.manifest.entries if entry.seat in seats]
                sum_bound = context.sum_bound(cohort, sealed)
                integers: NDArray[np.int64] = decode_aggregate(context.cohorts[cohort], self.blobs[digest], sum_bound)
                cohorts.append(AdoptedCohort(integers, sum(map(context.weight_of, sealed)), digest))
            model = apply_cohorts(before, self.task, self.params.levels_in(before.stage), cohorts)
            self.models.setdefault(model.digest, model)
            self._applied[key] = model.digest
        return self.models[self._applied[key]]
