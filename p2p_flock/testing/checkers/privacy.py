"""P1 as a rule on knowledge: what any permitted coalition holds opens no sum over fewer than three honest trainers.

Everything said is public, masked updates and sealed bundles too. Beyond that a coalition of at most c owners among the
holders of one secret brings its shares of it and the pair seeds that it is an end of. What counts is which shares were
said, over all seals, restarts and reorganisations of a round number: t of them open a secret (secagg/SPEC.md §7).
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p_flock.ports import SealObserved
from p2p_flock.secagg.answer import get_secret_of
from p2p_flock.secagg.context import CohortContext
from p2p_flock.testing.checkers.base import Checker, Handler, Roster
from p2p_flock.testing.facts import Acted, RoundBegan, Said
from p2p_flock.wire.messages import Contribution, Unmasking

HONEST_MIN = 3  # owners in every sum that can be opened
# Three or more contradicting seals of one round, each signed by Q validators: a sparse graph promises nothing then.
HONEST_MIN_MANY_SEALS, HONEST_MIN_MANY_SEALS_SPARSE = 2, 1
SEALS_FEW = 2


class Privacy(Checker):
    """See the module."""

    name = "P1"

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._cohorts: dict[bytes, _Knowledge] = {}  # by the digest of the cohort's context
        self._manifest_of: dict[tuple[int, bytes], bytes] = {}  # (round, seal) -> manifest digest

    def handlers(self) -> Mapping[type, Handler]:
        return {RoundBegan: self._forget, Acted: self._acted, Said: self._said}

    def _forget(self, fact: RoundBegan) -> None:
        past = self.roster.is_past
        self._cohorts = {key: known for key, known in self._cohorts.items() if not past(known.context.round)}
        self._manifest_of = {key: value for key, value in self._manifest_of.items() if not past(key[0])}

    def _acted(self, fact: Acted) -> None:
        if isinstance(fact.event, SealObserved):
            sealed = fact.event.event
            self._manifest_of[sealed.round, sealed.seal] = sealed.manifest_digest

    def _said(self, fact: Said) -> None:
        message = fact.message
        if not isinstance(message, Contribution | Unmasking):
            return
        context, seat = self.roster.context_of(fact.member, fact.round), fact.envelope.seat
        if context is None or not self.roster.is_own_seat(fact.member, fact.round, seat):
            return
        cohort = next((cohort for cohort in context.cohorts if seat in cohort.seats), None)
        if cohort is None:
            return
        known = self._cohorts.get(cohort.digest)
        if known is None:
            owners = {member.seat: self.roster.member_of(member.owner) for member in cohort.members}
            liars = frozenset(seat for seat, member in owners.items() if member in self.roster.byzantine)
            known = self._cohorts[cohort.digest] = _Knowledge(cohort, liars)
        if isinstance(message, Contribution):
            found = known.publish(seat)
        else:
            if self.roster.is_honest(fact.member):
                known.seals.add(self._manifest_of.get((fact.round, message.seal), message.seal))
            found = known.say(seat, message)
        if found:
            names = ", ".join(map(str, sorted(found)))
            raise self.fail(f"round {fact.round}: what was said opens the sum of seats {names} alone")


class _Knowledge:
    """What is known of one cohort's secrets.

    Attributes:
        seals: manifests of the seals that honest trainers answered.
    """

    def __init__(self, context: CohortContext, liars: frozenset[int]) -> None:
        self.context, self.seals = context, set[bytes]()
        self._liars = liars
        self._published: set[int] = set()
        self._said: dict[tuple[int, int], set[int]] = {}  # (dealer, secret_of) -> holders that said their share
        self._open: set[tuple[int, int]] = set()
        self._spoke: dict[tuple[int, int], set[bool]] = {}  # (liar, secret_of) -> whether it called it sealed
        self._pacts: dict[int, frozenset[int]] = {}  # secret_of -> the colluders that are counted among its holders

    def publish(self, seat: int) -> frozenset[int]:
        """The seat's masked update is out; the seats of a sum that opens too much, if so."""
        self._published.add(seat)
        return self._find_bare(seat)

    def say(self, holder: int, message: Unmasking) -> frozenset[int]:
        """A holder's shares are out; returns as :meth:`publish`."""
        for item in message.items:
            dealer, secret_of = item.owner, get_secret_of(item)
            if dealer not in self.context.seats or secret_of not in self.context.seats:
                continue
            if holder in self._liars:
                self._note_liar(holder, secret_of, dealer == secret_of)
            said = self._said.setdefault((dealer, secret_of), set())
            if holder not in said:
                said.add(holder)
                found = self._look(dealer, secret_of)
                if found:
                    return found
        return frozenset()

    def _look(self, dealer: int, secret_of: int) -> frozenset[int]:
        if (dealer, secret_of) in self._open or self._count(dealer, secret_of) < self.context.threshold:
            return frozenset()
        self._open.add((dealer, secret_of))
        return self._find_bare(dealer) or self._find_bare(secret_of)

    def _count(self, dealer: int, secret_of: int) -> int:
        """Shares of the secret that a permitted coalition has."""
        said = self._said.get((dealer, secret_of), set())
        if not self._liars:
            return len(said)
        holders, pact = self.context.holders(secret_of), self._pact(secret_of)
        # A liar beyond the bound that says both of one trainer is outside of what is promised: its word is not counted.
        heard = [h for h in said if h in holders and h not in pact and len(self._spoke.get((h, secret_of), ())) < 2]
        return len(heard) + len(pact)

    def _pact(self, secret_of: int) -> frozenset[int]:
        """At most c colluders among the holders of the secrets that hang on this trainer, the most talkative first."""
        if secret_of not in self._pacts:
            liars = self._liars.intersection(self.context.holders(secret_of))
            order = sorted(liars, key=lambda seat: (-len(self._spoke.get((seat, secret_of), ())), seat))
            self._pacts[secret_of] = frozenset(order[: self.context.collusion_bound])
        return self._pacts[secret_of]

    def _note_liar(self, holder: int, secret_of: int, is_sealed: bool) -> None:
        spoke = self._spoke.setdefault((holder, secret_of), set())
        if is_sealed not in spoke:
            spoke.add(is_sealed)
            self._pacts.pop(secret_of, None)
            least = self.context.threshold
            self._open = {key for key in self._open if key[1] != secret_of or self._count(*key) >= least}

    def _find_bare(self, start: int) -> frozenset[int]:
        """The trainers that hide with ``start``, where they are too few and all their masks are open."""
        if start in self._liars:
            return frozenset()  # nothing is promised to it, and to others it may be the colluder
        needed = HONEST_MIN
        if len(self.seals) > SEALS_FEW:
            is_complete = len(self.context.neighbors(start)) == len(self.context.seats) - 1
            needed = HONEST_MIN_MANY_SEALS if is_complete else HONEST_MIN_MANY_SEALS_SPARSE
        found, queue = {start}, [start]
        while queue:
            seat = queue.pop()
            if not self._is_exposed(seat) or len(found) >= needed:
                return frozenset()
            for other in self.context.neighbors(seat):
                if other not in found and not self._knows_pair(seat, other):
                    found.add(other)
                    queue.append(other)
        return frozenset(found)

    def _is_exposed(self, seat: int) -> bool:
        """Published, and its self mask known."""
        is_open = (seat, seat) in self._open or len(self._pact(seat)) >= self.context.threshold
        return seat in self._published and is_open and seat not in self._pact(seat)

    def _knows_pair(self, seat: int, other: int) -> bool:
        is_end = other in self._pact(seat) or seat in self._pact(other)
        return is_end or (seat, other) in self._open or (other, seat) in self._open
