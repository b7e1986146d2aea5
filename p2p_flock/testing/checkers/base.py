"""What every checker is made of: the roster of a simulation, dispatch by kind of fact, the violation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.model import Model
from p2p_flock.params import AllianceParams
from p2p_flock.testing.facts import Fact, RoundBegan, TookPost

ROUNDS_KEPT = 8  # a round is forgotten when so many newer ones began; no reorganisation reaches back that far

Handler = Callable[[Any], None]  # takes the one kind of fact that it is registered for


class Violation(AssertionError):
    """A property does not hold; the text names it and who broke it."""


class Roster:
    """Who is who in a simulation, kept up to date from the facts; shared by all checkers and told before them.

    Args:
        params: the alliance's.
        model: the model before the first round.
        byzantine: members that do not follow the protocol; nothing is promised to them or expected of them.
        find_blob: bytes by sha-256 from whichever member's store holds them, ``None`` where none does.
        is_calm: the only faults are stops and starts of members, so that P3 and P5 hold to the millisecond: no message
            is lost or late, the chain is never taken back, every endpoint is honest.
        quiet_round_ms: what an undisturbed round takes at most, from its opening; ``None``: lengths are not judged.
    """

    def __init__(
        self,
        params: AllianceParams,
        model: Model,
        byzantine: frozenset[int],
        find_blob: Callable[[bytes], bytes | None],
        is_calm: bool = False,
        quiet_round_ms: int | None = None,
    ) -> None:
        self.params, self.model, self.byzantine, self.find_blob = params, model, byzantine, find_blob
        self.is_calm, self.quiet_round_ms = is_calm, quiet_round_ms
        self.newest_round = -1
        self.canonical: dict[int, RoundBegan] = {}  # round -> as the chain has it now
        self._posts: dict[tuple[int, int], TookPost] = {}  # (member, round) -> newest
        self._seats: dict[tuple[int, int], set[int]] = {}  # (member, round) -> every seat it ever had in that round
        self._member_of: dict[bytes, int] = {}  # owner -> member

    def observe(self, fact: Fact) -> None:
        """Take note of a round or a post."""
        if isinstance(fact, RoundBegan):
            self._begin(fact)
        elif isinstance(fact, TookPost):
            self._posts[fact.member, fact.context.round] = fact
            self._seats.setdefault((fact.member, fact.context.round), set()).add(fact.seat)

    def _begin(self, fact: RoundBegan) -> None:
        number = fact.context.round
        self.canonical[number] = fact
        self.newest_round = max(self.newest_round, number)
        for seat, member in enumerate(fact.members):
            self._member_of[fact.context.seat(seat).owner] = member
            self._seats.setdefault((member, number), set()).add(seat)
        for known in [known for known in self.canonical if known <= self.newest_round - ROUNDS_KEPT]:
            del self.canonical[known]
        old = [key for key in self._posts if self.is_past(key[1])]
        for key in old:
            del self._posts[key]
        for key in [key for key in self._seats if self.is_past(key[1])]:
            del self._seats[key]

    def is_past(self, round_number: int) -> bool:
        """Whether the round is so old that checkers forget it."""
        return round_number <= self.newest_round - ROUNDS_KEPT

    def is_honest(self, member: int) -> bool:
        return member not in self.byzantine

    def member_of(self, owner: bytes) -> int | None:
        """The member behind an owner's address, once a round began with it."""
        return self._member_of.get(owner)

    def context_of(self, member: int, round_number: int) -> RoundContext | None:
        """What the member takes the round for: the context of its machine, else the chain's."""
        post = self._posts.get((member, round_number))
        if post is not None:
            return post.context
        began = self.canonical.get(round_number)
        return None if began is None else began.context

    def is_own_seat(self, member: int, round_number: int, seat: int) -> bool:
        """Whether the member ever had this seat in the round, so that an envelope of it is its own word."""
        return seat in self._seats.get((member, round_number), ())


class Checker:
    """One property. Incremental: its state is bounded by the rounds that are not past."""

    name = ""

    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self._handlers = self.handlers()

    def handlers(self) -> Mapping[type, Handler]:
        """What it looks at, by kind of fact."""
        raise NotImplementedError

    def observe(self, fact: Fact) -> None:
        """Take a fact.

        Raises:
            Violation: the property does not hold any more.
        """
        handler = self._handlers.get(type(fact))
        if handler is not None:
            handler(fact)

    def finish(self) -> None:
        """The run is over and nothing of it was cut off; raises as :meth:`observe` for what should have come."""

    def fail(self, text: str) -> Violation:
        """The violation to raise."""
        return Violation(f"{self.name}: {text}")


class Panel:
    """A roster and checkers as one: facts go to those that look at their kind."""

    def __init__(self, roster: Roster, checkers: tuple[Checker, ...]) -> None:
        self.roster, self.checkers = roster, checkers
        self._by_kind: dict[type, list[Handler]] = {RoundBegan: [roster.observe], TookPost: [roster.observe]}
        for checker in checkers:
            for kind, handler in checker.handlers().items():
                self._by_kind.setdefault(kind, []).append(handler)

    def observe(self, fact: Fact) -> None:
        """Take a fact; raises :class:`Violation`."""
        for handler in self._by_kind.get(type(fact), ()):
            handler(fact)

    def finish(self) -> None:
        """See :meth:`Checker.finish`."""
        for checker in self.checkers:
            checker.finish()
