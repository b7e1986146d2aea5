"""Follows one alliance's logs: typed events in chain order, with memory of block hashes so that a reorg is noticed.

Called by ``alliance_contract.py``. One poll is one JSON-RPC batch: newest header, header of the last block handed out,
the contract's state, the logs in between; with two endpoints, what both say of one block. A long way back is read in
pages, each kept in the archive as soon as it is old enough, so that neither a failing endpoint nor a restart begins
anew. Must never hand out a log twice without saying that the chain was rewound.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import trio

from p2p_flock.chain.archive import (
    ARCHIVE_DEPTH_BLOCKS,
    SEGMENT_BLOCKS_MIN,
    SEGMENT_LOGS_MAX,
    ArchivedLog,
    LogArchive,
    Segment,
)
from p2p_flock.chain.client import BlockHead, Call, Json, RpcClient, as_bytes, as_quantity, block_head, raised_or_value
from p2p_flock.chain.contracts import ALLIANCE, address_text, load_contract
from p2p_flock.chain.events import BLOCKS_PER_REQUEST, Log, LogReader, decode_logs, decode_round_state
from p2p_flock.chain.records import ChainUpdate, RoundState
from p2p_flock.chain_events import ChainEvent
from p2p_flock.errors import ChainError, EndpointsDisagreeError, RpcError, StoreError

logger = logging.getLogger(__name__)

HEADS_REMEMBERED = 256  # blocks back to which a reorg is followed; deeper ones have not been seen on any OP chain
# Blocks without a log of ours after which the place moves on all the same: until then only "latest" is asked for again,
# which saves the header of every block that nothing happened in.
QUIET_BLOCKS_MAX = 64
SEGMENTS_CHECKED_MAX = 8  # from the archive's end: beyond it the endpoint is on another chain, and all is read anew
BEHIND_S_MAX = 5.0  # how long a newest block older than one seen is a lagging server's, not a shorter chain's
LAG_S_MAX = 20.0  # how long one endpoint may stand still while the other goes on
REWIND_STEP = 10  # blocks compared in one exchange
OUTAGE_S_MAX = 60.0  # how long a feed puts up with a failing endpoint before its consumer hears of it


class Follower:
    """The place of a :class:`ChainFeed`: where we are, and the hashes of where we were.

    Attributes:
        reading: (block reached, block to reach) while a long way is read, else ``None``.
    """

    def __init__(
        self,
        client: RpcClient,
        contract: bytes,
        from_block: int,
        archive: LogArchive | None = None,
    ) -> None:
        self._client = client
        self._reader = LogReader(client, contract)
        self._cursor = from_block - 1  # all logs up to this block were read
        self._first = from_block
        self._heads: deque[tuple[int, bytes]] = deque(maxlen=HEADS_REMEMBERED)  # cursors and their hashes
        selector = load_contract(ALLIANCE).functions["roundState"].selector
        self._state_request: Json = {"to": address_text(contract), "data": "0x" + selector.hex()}
        self._highest, self._behind_since = -1, 0.0  # newest block seen, and since when the endpoint shows older ones
        self._alone_since: float | None = None  # since when one endpoint goes on and the other stands still
        self._block_hash = b""
        self._newest = self._cursor + BLOCKS_PER_REQUEST  # block seen last; before that, nobody knows how far it is
        self._pending: list[ChainEvent] = []  # read and not handed out, where a poll failed half way
        self._rewound_to: int | None = None  # likewise
        self._archive, self._is_restored = archive, archive is None
        self._recent: list[tuple[Log, int]] = []  # above the archive
        self.reading: tuple[int, int] | None = None

    async def poll(self) -> ChainUpdate | None:
        """What is new, or ``None`` while the newest block is the one seen last.

        Raises:
            ChainError: as the client; what was read by then is kept, and the next poll goes on from there.
        """
        if not self._is_restored:
            await self._restore()
        look = self._look_at_one if self._client.endpoint_count == 1 else self._look_at_all
        seen = await look()
        if seen is None:
            return None
        head, state, logs = seen
        if head.number > self._cursor and not self._is_quiet(logs, head.number):
            await self._read_to(head.number, logs, head.hash)
        await self._archive_below(head.number)
        self._block_hash, self._newest = head.hash, head.number
        update = ChainUpdate(head.number, head.timestamp_s, state, tuple(self._pending), self._rewound_to)
        self._pending, self._rewound_to = [], None
        return update

    async def _look_at_one(self) -> tuple[BlockHead, RoundState, Json | RpcError] | None:
        """Newest header, state and the logs since the cursor; ``None`` where nothing is new."""
        calls = [Call("eth_getBlockByNumber", ("latest", False)), Call("eth_call", (self._state_request, "latest"))]
        is_near = self._newest - self._cursor < BLOCKS_PER_REQUEST
        if is_near:
            calls.append(self._reader.call(self._cursor + 1, "latest"))
        if self._heads:
            calls.append(Call("eth_getBlockByNumber", (hex(self._heads[-1][0]), False)))
        answers = await self._client.batch(calls)
        head = block_head(raised_or_value(answers[0]))
        if head.hash == self._block_hash or self._is_behind(head):
            return None
        state = decode_round_state(as_bytes(raised_or_value(answers[1])))
        logs = answers[2] if is_near else None
        # An error in the place of the header is no reorganisation; it is raised.
        if self._heads and not _is_block(raised_or_value(answers[-1]), self._heads[-1][1]):
            await self._rewind()
            logs = None
        return head, state, logs

    async def _look_at_all(self) -> tuple[BlockHead, RoundState, None] | None:
        """The newest block that every endpoint has, and the state in it: on these they must agree."""
        each = await self._client.batch_each((Call("eth_getBlockByNumber", ("latest", False)),))
        heads: list[BlockHead] = []
        for answers in each:
            if isinstance(answers, ChainError):
                raise answers
            heads.append(block_head(raised_or_value(answers[0])))
        oldest = min(heads, key=lambda head: head.number)
        self._watch_lag(oldest, max(head.number for head in heads))
        if oldest.hash == self._block_hash or self._is_behind(oldest):
            return None
        number = hex(oldest.number)
        calls = [Call("eth_getBlockByNumber", (number, False)), Call("eth_call", (self._state_request, number))]
        if self._heads:
            calls.append(Call("eth_getBlockByNumber", (hex(self._heads[-1][0]), False)))
        agreed = await self._client.agreed(calls, _comparable_look)
        head, state = block_head(agreed[0]), decode_round_state(as_bytes(agreed[1]))
        if self._heads and not _is_block(agreed[2], self._heads[-1][1]):
            await self._rewind()
        return head, state, None

    def _is_behind(self, head: BlockHead) -> bool:
        """Whether this is the answer of a server that lags, as one of several behind an address may. A chain that was
        reorganised to a shorter one shows the same; that is believed when it lasts, or as soon as it has grown."""
        if head.number >= self._highest:
            self._highest, self._behind_since = head.number, trio.current_time()
            return False
        if trio.current_time() - self._behind_since <= BEHIND_S_MAX:
            return True
        self._highest = head.number
        return False

    def _watch_lag(self, oldest: BlockHead, newest_number: int) -> None:
        """Say so where one endpoint stands still for long while the other goes on: it would hide all news."""
        if oldest.hash != self._block_hash or newest_number == oldest.number:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = trio.current_time()
        elif trio.current_time() - self._alone_since > LAG_S_MAX:
            raise EndpointsDisagreeError(
                f"one of the RPC endpoints has shown no block above {oldest.number} for {LAG_S_MAX:.0f} s, the other "
                f"is at {newest_number}. Replace the one that stands still (chain.rpc_urls)."
            )

    def _is_quiet(self, logs: Json | RpcError, target: int) -> bool:
        """Whether nothing happened up to ``target``, which is not far. Two endpoints are always asked to agree."""
        near = self._heads and target - self._cursor < QUIET_BLOCKS_MAX
        if not near or self._client.endpoint_count > 1 or not isinstance(logs, list):
            return False
        return all(_block_of(log) > target for log in logs)

    async def _read_to(self, target: int, answer: Json | RpcError, target_hash: bytes) -> None:
        near = target - self._cursor <= BLOCKS_PER_REQUEST
        if self._client.endpoint_count == 1 and near and isinstance(answer, list):
            logs = await self._reader.logs_of(answer, self._cursor + 1, target)
            last = logs[-1][0] if logs else None
            if last is not None and target - last.block < QUIET_BLOCKS_MAX:
                # Blocks above the last log are asked for again: the index of logs may lag behind the headers.
                target, target_hash = last.block, last.block_hash
            self._take(target, target_hash, logs)
            return
        size = BLOCKS_PER_REQUEST
        try:
            while self._cursor < target:
                self.reading = None if near else (self._cursor, target)
                page = await self._reader.read_page(self._cursor + 1, target, size)
                self._take(page.last_block, page.last_hash, page.logs)
                size = page.size
                await self._archive_below(target)
        finally:
            self.reading = None

    def _take(self, block: int, block_hash: bytes, logs: Sequence[tuple[Log, int]]) -> None:
        places = [(log.block, log.index) for log, _ in logs]
        if any(later <= earlier for earlier, later in itertools.pairwise(places)):
            raise ChainError("the endpoint answered eth_getLogs with one log twice; use another endpoint")
        self._pending += decode_logs(logs)
        self._recent += logs if self._archive is not None else ()
        self._cursor = block
        self._heads.append((block, block_hash))

    async def _rewind(self) -> None:
        """Step back to the newest remembered block that the chain still holds."""
        remembered = list(self._heads)
        kept = len(remembered)
        while kept > 0:
            step = remembered[max(0, kept - REWIND_STEP) : kept]
            calls = [Call("eth_getBlockByNumber", (hex(number), False)) for number, _ in step]
            answers = await self._client.agreed(calls, lambda answers: [_hash_of(answer) for answer in answers])
            same = [_is_block(answer, hash_) for (_, hash_), answer in zip(step, answers, strict=True)]
            if any(same):
                kept -= same[::-1].index(True)
                break
            kept -= len(step)
        self._heads = deque(remembered[:kept], maxlen=HEADS_REMEMBERED)
        if not self._heads and remembered[0][0] > self._first and len(remembered) == HEADS_REMEMBERED:
            raise ChainError(
                f"the chain was reorganised deeper than {HEADS_REMEMBERED} polls. "
                "Check that the RPC endpoint is on the right chain, then restart the node."
            )
        self._cursor = self._heads[-1][0] if self._heads else self._first - 1
        self._rewound_to = min(self._cursor, self._cursor if self._rewound_to is None else self._rewound_to)
        self._pending = [event for event in self._pending if event.at.block <= self._cursor]
        self._recent = [(log, time) for log, time in self._recent if log.block <= self._cursor]
        if self._archive is not None:
            await self._drop_archive_after(self._cursor)

    async def _drop_archive_after(self, block: int) -> None:
        """Drop the archive's segments that reach above ``block``, and read again from where it then ends: the logs of
        a dropped segment's lower blocks stand nowhere else."""
        archive = self._archive
        assert archive is not None
        before = archive.last_block
        await trio.to_thread.run_sync(archive.drop_after, block)
        if archive.last_block < min(before, self._cursor):
            self._cursor = archive.last_block
            self._heads = deque((head for head in self._heads if head[0] <= self._cursor), maxlen=HEADS_REMEMBERED)
            self._rewound_to = min(self._cursor, self._cursor if self._rewound_to is None else self._rewound_to)
            self._pending = [event for event in self._pending if event.at.block <= self._cursor]
            self._recent = []

    # --- archive -----------------------------------------------------------------------------------------------

    async def _restore(self) -> None:
        """Begin where the archive ends, as far as the endpoints hold the block that it ends with."""
        archive = self._archive
        assert archive is not None
        segments: list[Segment] = await trio.to_thread.run_sync(archive.load)
        for _ in range(SEGMENTS_CHECKED_MAX):
            if not segments:
                break
            last = segments[-1]
            (answer,) = await self._client.agreed(
                (Call("eth_getBlockByNumber", (hex(last.last_block), False)),),
                lambda answers: _hash_of(answers[0]),
            )
            if _is_block(answer, last.last_hash):
                break
            segments.pop()
        else:
            segments = []
        await trio.to_thread.run_sync(archive.drop_after, segments[-1].last_block if segments else self._first - 1)
        self._pending = await trio.to_thread.run_sync(_decode_segments, segments)
        if segments:
            self._cursor = self._newest = segments[-1].last_block
            self._newest += BLOCKS_PER_REQUEST
            self._heads.append((self._cursor, segments[-1].last_hash))
            logger.info("read %d logs up to block %d from the disk", sum(len(s.logs) for s in segments), self._cursor)
        self._is_restored = True

    async def _archive_below(self, target: int) -> None:
        """Keep what lies deep enough below ``target``, once it is worth a write."""
        archive = self._archive
        if archive is None or self._cursor - archive.last_block < SEGMENT_BLOCKS_MIN:
            return
        deep = next((head for head in reversed(self._heads) if head[0] <= target - ARCHIVE_DEPTH_BLOCKS), None)
        if deep is None or deep[0] - archive.last_block < SEGMENT_BLOCKS_MIN:
            return
        logs = [_to_archived(log, time) for log, time in self._recent if log.block <= deep[0]]
        try:
            if len(logs) > SEGMENT_LOGS_MAX:
                raise StoreError(f"{len(logs)} logs in one piece")
            await trio.to_thread.run_sync(archive.append, deep[0], deep[1], logs)
        except StoreError as error:
            logger.warning("the chain's log is not kept on disk any more: %s", error)
            self._archive, self._recent = None, []
            return
        self._recent = [(log, time) for log, time in self._recent if log.block > deep[0]]


NUDGED_POLL_S_MIN = 0.05  # anybody may nudge; no more than twenty polls a second come of it
# While nothing is expected the pause between polls doubles up to this many times the poll interval: members tell each
# other when there is something to see, so the pause is paid only where every such hint was lost.
CALM_FACTOR = 5
BACKOFF_FACTOR_MAX = 8  # poll intervals between polls of a failing endpoint, at most


class ChainFeed:
    """A follower's updates, one whenever the chain has a new head; an asynchronous iterator that never ends.

    Polls while it is iterated and holds no task and no connection: it may be dropped at any moment, and a slow consumer
    makes updates fewer and larger, never lost. (No generator, which trio would have to be told to close.)

    It polls at the poll interval after a nudge, while somebody awaits a block and while a deadline of the contract is
    near; otherwise less and less often, see :data:`CALM_FACTOR`.
    """

    def __init__(
        self,
        follower: Follower,
        poll_interval_s: float,
        on_update: Callable[[ChainUpdate], Awaitable[None]] | None = None,
    ) -> None:
        """``on_update`` is awaited with each update before that is handed out (the sender's look at what it sent)."""
        self._follower, self._poll_interval_s, self._on_update = follower, poll_interval_s, on_update
        self._next_poll = self._answered = self._moved = trio.current_time()
        self._failures = 0  # in a row
        self._nudged = trio.Event()
        self._pause_s = poll_interval_s
        self._deadline_near = False
        self._awaited_block: int | None = None
        self._newest_block = -1

    def await_block(self, number: int | None) -> None:
        """Poll at the poll interval until the chain has this block; ``None``: nobody waits for one."""
        self._awaited_block = number
        if number is not None and self._newest_block < number:
            self._next_poll = min(self._next_poll, trio.current_time() + self._poll_interval_s)

    def nudge(self) -> None:
        """Poll sooner: somebody says that something happened. At most every :data:`NUDGED_POLL_S_MIN`."""
        self._nudged.set()

    @property
    def reading(self) -> tuple[int, int] | None:
        """(block reached, block to reach) while a long way is read, else ``None``."""
        return self._follower.reading

    def __aiter__(self) -> ChainFeed:
        return self

    async def __anext__(self) -> ChainUpdate:
        """The next update. Failures of the endpoint are borne for :data:`OUTAGE_S_MAX`.

        Raises:
            EndpointsDisagreeError: at once; nothing may be done on such ground.
            ChainError: the endpoint failed, or showed no new block, for longer than that.
        """
        while True:
            with trio.move_on_at(self._next_poll):
                await trio.sleep(NUDGED_POLL_S_MIN)
                await self._nudged.wait()
            was_nudged, self._nudged = self._nudged.is_set(), trio.Event()
            self._next_poll = trio.current_time() + self._poll_interval_s
            try:
                update = await self._follower.poll()
            except ChainError as error:
                outage_s = trio.current_time() - self._answered
                if isinstance(error, EndpointsDisagreeError) or outage_s > OUTAGE_S_MAX:
                    raise
                # Each poll has tried several times already; one that is over its rate limit is left alone for longer.
                self._failures += 1
                self._next_poll += self._poll_interval_s * (min(1 << self._failures, BACKOFF_FACTOR_MAX) - 1)
                continue
            self._answered, self._failures = trio.current_time(), 0
            self._settle_pause(update, was_nudged)
            if update is not None:
                self._moved = trio.current_time()
                if self._on_update is not None:
                    await self._on_update(update)
                return update
            if trio.current_time() - self._moved > OUTAGE_S_MAX:
                raise ChainError(
                    f"the endpoint has shown no new block for {OUTAGE_S_MAX:.0f} s. The chain stands still, or the "
                    "endpoint does: compare it with another (chain.rpc_urls)."
                )

    def _settle_pause(self, update: ChainUpdate | None, was_nudged: bool) -> None:
        """When to poll next, counted from when this poll began."""
        calm_s = CALM_FACTOR * self._poll_interval_s
        if update is not None:
            state, now_s = update.state, update.timestamp_s
            self._newest_block = update.block
            deadlines_s = (
                state.train_deadline_s,
                state.seal_deadline_s,
                state.commit_deadline_s,
                state.reveal_deadline_s,
            )
            # A block's time is in whole seconds and up to one behind.
            self._deadline_near = any(0 <= deadline_s + 1 - now_s <= calm_s + 2 for deadline_s in deadlines_s)
        is_awaited = self._awaited_block is not None and self._newest_block < self._awaited_block
        if was_nudged or is_awaited or self._deadline_near:
            self._pause_s = self._poll_interval_s
        else:
            self._pause_s = min(2 * self._pause_s, calm_s)
        self._next_poll += self._pause_s - self._poll_interval_s


def _hash_of(header: Json) -> Json:
    return header.get("hash") if isinstance(header, dict) else None


def _comparable_look(answers: Sequence[Json]) -> object:
    """Header, state, and the hash of the block where we are; the endpoints' headers differ in fields of no matter."""
    head = block_head(answers[0])
    return head.hash, head.timestamp_s, as_bytes(answers[1]), [_hash_of(answer) for answer in answers[2:]]


def _block_of(log: Json) -> int:
    """Block number of a raw log; zero where there is none, which the reader of the log will refuse."""
    number = log.get("blockNumber") if isinstance(log, dict) else None
    return as_quantity(number) if number is not None else 0


def _to_archived(log: Log, timestamp_s: int) -> ArchivedLog:
    return ArchivedLog(log.block, log.index, log.block_hash, log.transaction, log.topics, log.data, timestamp_s)


def _decode_segments(segments: Sequence[Segment]) -> list[ChainEvent]:
    logs = [
        (Log(log.block, log.index, log.block_hash, log.transaction, log.topics, log.data), log.timestamp_s)
        for segment in segments
        for log in segment.logs
    ]
    return decode_logs(logs)


def _is_block(answer: Json | RpcError, hash_: bytes) -> bool:
    return isinstance(answer, dict) and isinstance(answer.get("hash"), str) and as_bytes(answer["hash"]) == hash_
