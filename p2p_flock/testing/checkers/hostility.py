"""P7: hostile bytes are harmless: no honest member's code raises, and what anybody can make it keep or do is bounded.

Bounds follow from the alliance's numbers alone, not from how much was said to a member.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from p2p_flock.alliance.context import RoundContext
from p2p_flock.ports import Accuse, Fetch, Persist, StoreBlobs
from p2p_flock.testing.checkers.base import Checker, Handler, Roster
from p2p_flock.testing.facts import Acted, Failed, RoundBegan, Said, TookPost

EFFECTS_BESIDE = 64  # of one event, beside two for every member of the round
LIVES_BESIDE = 8  # attempts at a contribution that crashes cut off
RECORD_BYTES = 4 << 20  # a piece of evidence, the largest record
JOURNAL_BYTES = 64 << 20


@dataclass
class _Load:
    """What one member was made to keep in one round, as one opening of it on the chain has it.

    Attributes:
        records: kinds and keys; a journal keeps each once, however often a machine makes sure of it.
        lives: machines that it had; a crash or a reorganisation begins another one.
    """

    records: set[tuple[str, str]] = field(default_factory=set)
    record_bytes: int = 0
    blob_bytes: int = 0
    accusations: int = 0
    lives: int = 0


class Hostility(Checker):
    """See the module."""

    name = "P7"

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._loads: dict[tuple[int, int, bytes], _Load] = {}  # by member, round, and seed of its opening
        self._fetch_limit = (b"", 0)  # seed of a round, blobs

    def handlers(self) -> Mapping[type, Handler]:
        return {
            RoundBegan: self._forget, Failed: self._failed, Acted: self._acted, Said: self._said,
            TookPost: self._took_post,
        }  # fmt: skip

    def _forget(self, fact: RoundBegan) -> None:
        if any(self.roster.is_past(number) for _, number, _ in self._loads):
            self._loads = {key: load for key, load in self._loads.items() if not self.roster.is_past(key[1])}

    def _failed(self, fact: Failed) -> None:
        if self.roster.is_honest(fact.member):
            raise self.fail(f"round {fact.round}: member {fact.member} broke: {fact.error}")

    def _load_of(self, member: int, context: RoundContext) -> _Load:
        return self._loads.setdefault((member, context.round, context.seed), _Load())

    def _took_post(self, fact: TookPost) -> None:
        self._load_of(fact.member, fact.context).lives += 1

    def _said(self, fact: Said) -> None:
        if fact.message is None and self.roster.is_honest(fact.member):
            raise self.fail(f"round {fact.round}: the honest member {fact.member} says what is no message")

    def _acted(self, fact: Acted) -> None:
        if not fact.effects or not self.roster.is_honest(fact.member):
            return
        context = self.roster.context_of(fact.member, fact.round)
        if context is None:
            return
        seat_count = len(context.snapshot.seats)
        if len(fact.effects) > EFFECTS_BESIDE + 2 * seat_count:
            raise self.fail(f"round {fact.round}: one event made member {fact.member} do {len(fact.effects)} things")
        load = self._load_of(fact.member, context)
        for effect in fact.effects:
            match effect:
                case Persist():
                    if (effect.kind, effect.key) not in load.records:
                        load.records.add((effect.kind, effect.key))
                        load.record_bytes += len(effect.body)
                case StoreBlobs():
                    load.blob_bytes += sum(map(len, effect.blobs))
                case Accuse():
                    load.accusations += 1
                case Fetch() if len(effect.digests) > self._fetch_max(context):
                    asked = len(effect.digests)
                    raise self.fail(f"round {fact.round}: member {fact.member} asks for {asked} blobs at once")
                case _:
                    continue
            self._judge(fact, load, seat_count)

    def _fetch_max(self, context: RoundContext) -> int:
        """Blobs of one trainer, or documents and bundles of a whole cohort."""
        if self._fetch_limit[0] != context.seed:  # asked for at every Fetch of a round
            chunk_count = max(cohort.chunk_count for cohort in context.cohorts)
            most = chunk_count + 2 * max(len(cohort.seats) for cohort in context.cohorts) + 1
            self._fetch_limit = (context.seed, most)
        return self._fetch_limit[1]

    def _judge(self, fact: Acted, load: _Load, seat_count: int) -> None:
        """A Have grows by a trainer at least, a seal is signed once in a view, a seat is accused once in a life."""
        views, lives = self.roster.params.validator_count, max(1, load.lives)
        records_max = 2 * seat_count + 2 * views + LIVES_BESIDE + 4 * lives
        limits = {
            "records": (len(load.records), records_max),
            "bytes of records": (load.record_bytes, JOURNAL_BYTES),
            "accusations": (load.accusations, seat_count * lives),
            "bytes of blobs": (load.blob_bytes, JOURNAL_BYTES * lives),
        }
        for what, (count, most) in limits.items():
            if count > most:
                raise self.fail(f"round {fact.round}: member {fact.member} was made to keep {count} {what}")
