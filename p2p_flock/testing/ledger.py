"""The chain: blocks with logs on top of each other, a pool of transactions, reorganisations, and what endpoints show.

A block keeps the contract's state after it, so a reorganisation is another block on an older one. Nodes hold the block
that they saw last; what is new to them, and what was taken back, follows from the blocks' parents.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from p2p_flock.chain_events import ChainEvent
from p2p_flock.testing.contract import Contract
from p2p_flock.testing.contract_rounds import execute
from p2p_flock.testing.contract_state import CLOSED, RUNNING, Call, Log, Refused, State

BLOCK_MS = 1000
OPEN, SEALED, REVEALING = 1, 2, 3


@dataclass(slots=True, eq=False)
class Sent:
    """A transaction. ``on_end`` hears once how it ended: empty on success, else the contract's error name."""

    number: int
    sender: bytes
    call: Call
    on_end: Callable[[str], None]
    earliest_block: int = 0
    is_told: bool = False

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(b"transaction" + self.number.to_bytes(8, "big")).digest()


@dataclass(frozen=True, slots=True)
class RoundView:
    """What ``roundState`` says in a block; as ``chain.records.RoundState``, as far as nodes read it.

    Attributes:
        phase: 0 waiting, 1 open, 2 sealed, 3 revealing, 4 closed.
        round: of the running round, -1 where none runs.
    """

    phase: int
    round: int
    seal_deadline_s: int = 0
    commit_deadline_s: int = 0
    reveal_deadline_s: int = 0
    committed: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Block:
    """One block. ``is_real`` is False for what a lying endpoint made up."""

    number: int
    timestamp_s: int
    parent: Block | None
    state: State
    view: RoundView
    events: tuple[ChainEvent, ...] = ()
    transactions: tuple[Sent, ...] = ()
    is_real: bool = True
    memo: dict[str, object] = field(default_factory=dict)  # what ``world.py`` derives from it, once for all nodes


def find_fork(first: Block, second: Block) -> Block:
    """The last block that is below both."""
    one, other = first, second
    while one is not other:
        if one.number >= other.number:
            assert one.parent is not None, "all blocks stand on the first one"
            one = one.parent
        else:
            assert other.parent is not None
            other = other.parent
    return one


def events_between(low: Block, high: Block) -> list[ChainEvent]:
    """Logs of the blocks above ``low`` up to ``high``, in order."""
    blocks = []
    block = high
    while block is not low:
        blocks.append(block)
        assert block.parent is not None
        block = block.parent
    return [event for one in reversed(blocks) for event in one.events]


class Ledger:
    """The canonical chain.

    Attributes:
        tip: newest block; tips: (time in ms, newest block from then on), for endpoints that lag.
        fork: reorganisations so far.
    """

    def __init__(self, contract: Contract, state: State, now_ms: int, chance: random.Random) -> None:
        self.contract = contract
        self._chance = chance
        self.tip = Block(0, now_ms // 1000, None, state, _view(contract, state, now_ms // 1000))
        self.tips: list[tuple[int, Block]] = [(now_ms, self.tip)]
        self.fork = 0
        self.is_shuffled = False  # whether the sequencer orders a block's transactions as it likes
        self._pool: list[Sent] = []
        self._sent_count = 0

    def submit(self, sender: bytes, call: Call, on_end: Callable[[str], None], delay_blocks: int = 0) -> None:
        """Into the pool; mined in the next block, or ``delay_blocks`` later."""
        self._sent_count += 1
        self._pool.append(Sent(self._sent_count, sender, call, on_end, self.tip.number + 1 + delay_blocks))

    def simulate(self, sender: bytes, call: Call, timestamp_s: int) -> str:
        """What ``eth_estimateGas`` says: the error's name, or nothing."""
        log = Log(self.tip.number + 1, 0, max(timestamp_s, self.tip.timestamp_s), bytes(32))
        try:
            execute(self.contract, self.tip.state.copy(), sender, call, log)
        except Refused as error:
            return error.reason
        return ""

    def mine(self, now_ms: int) -> Block:
        """The next block, with what waits in the pool."""
        number = self.tip.number + 1
        due = [sent for sent in self._pool if sent.earliest_block <= number]
        self._pool = [sent for sent in self._pool if sent.earliest_block > number]
        if self.is_shuffled:
            self._chance.shuffle(due)
        block = self._make(self.tip, max(now_ms // 1000, self.tip.timestamp_s), due)
        self._set_tip(block, now_ms)
        return block

    def reorganise(self, depth: int, now_ms: int) -> int:
        """Replace the newest ``depth`` blocks: other order, some transactions late, some gone. First block replaced.

        The first two blocks (founding, first opening) stay.
        """
        dropped: list[Block] = []
        base = self.tip
        while len(dropped) < depth and base.number > 2:
            dropped.append(base)
            assert base.parent is not None
            base = base.parent
        if not dropped:
            return self.tip.number + 1
        self.fork += 1
        first = base.number + 1
        waiting: list[Sent] = []
        for old in reversed(dropped):
            again = [sent for sent in old.transactions if self._chance.random() < 0.6]
            late = [sent for sent in old.transactions if sent not in again and self._chance.random() < 0.7]
            included = again + waiting
            self._chance.shuffle(included)
            base = self._make(base, old.timestamp_s, included)
            waiting = late
        self._pool = waiting + self._pool
        self._set_tip(base, now_ms)
        return first

    def extend_falsely(self, parent: Block, timestamp_s: int, events: tuple[ChainEvent, ...], view: RoundView) -> Block:
        """A block that exists at a lying endpoint only."""
        return Block(parent.number + 1, timestamp_s, parent, parent.state, view, events, is_real=False)

    def _set_tip(self, block: Block, now_ms: int) -> None:
        self.tip = block
        self.tips.append((now_ms, block))

    def tip_at(self, at_ms: int) -> Block:
        """The newest block at a moment that is past."""
        for since_ms, block in reversed(self.tips):
            if since_ms <= at_ms:
                return block
        return self.tips[0][1]

    def _make(self, parent: Block, timestamp_s: int, sent: list[Sent]) -> Block:
        state, events, taken = parent.state, list[ChainEvent](), []
        if sent:
            state = state.copy()
        for one in sent:
            log = Log(parent.number + 1, len(events), timestamp_s, one.hash)
            reason = ""
            try:
                execute(self.contract, state, one.sender, one.call, log)
            except Refused as error:
                reason = error.reason
            else:
                events += log.events
                taken.append(one)
            if not one.is_told:
                one.is_told = True
                one.on_end(reason)
        view = _view(self.contract, state, timestamp_s)
        return Block(parent.number + 1, timestamp_s, parent, state, view, tuple(events), tuple(taken))


def _view(contract: Contract, state: State, timestamp_s: int) -> RoundView:
    row = state.round
    if state.phase != RUNNING or row is None:
        return RoundView(CLOSED if state.phase == CLOSED else state.phase, -1)
    params = contract.params
    phase = OPEN
    if row.is_sealed:
        over = len(row.order) == params.validator_count or timestamp_s > row.commit_deadline_s
        phase = REVEALING if over else SEALED
    return RoundView(
        phase,
        row.number,
        contract.seal_deadline_s(row),
        row.commit_deadline_s,
        row.commit_deadline_s + params.settle_seconds,
        frozenset(row.order),
    )
