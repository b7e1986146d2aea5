"""A Kademlia DHT of our own nodes: whoever knows one of them finds who takes part in an alliance, and where a peer is.

Called by `net/adapter.py`. It speaks libp2p's kad-dht (https://github.com/libp2p/specs/tree/master/kad-dht) under our
own protocol ID, so that it never mixes with the public one: peers by FIND_NODE, participants of an alliance by
ADD_PROVIDER and GET_PROVIDERS. No values. What it learns is hearsay: an address to dial, no more; Noise proves who
answers. It must never keep more than its bounds say, nor dial for a stranger what that stranger could not.

Why not `libp2p.kad_dht.KadDHT` (py-libp2p 0.8.1): `tests/net/test_dht_library.py` shows each on the stock class. Twelve
silent streams deafen it for ever (no deadline, and one limit for all peers); it keeps, for two days, any number of keys
with addresses of up to 4 MiB each that one peer sends; stores 1 MiB of anything under any plain key, 50,000 times; lets
20 invented providers hold a key; fills routing table and peer store with invented peers; and verifies a signature per
record and message in the event loop. The bounds would have to stand inside its 500-line stream handler, and
`protocol_prefix` is ignored on the wire. What is left of it is its protobuf class, which `net/dht_messages.py` uses.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.utils.varint import encode_varint_prefixed

from p2p_flock.errors import NetError
from p2p_flock.net.dht_lookup import Lookup
from p2p_flock.net.dht_messages import (
    ANSWER_BYTES_MAX,
    QUESTION_BYTES_MAX,
    Answer,
    Kind,
    Question,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
)
from p2p_flock.net.discovery import Discovery, seen_host, usable_from
from p2p_flock.net.framing import STREAM_FAILURES, FrameError, FrameReader, end_stream
from p2p_flock.net.hardening import HardenedHost
from p2p_flock.net.limits import DHT_QUESTIONS, DHT_QUESTIONS_OF_STRANGERS, Allowance
from p2p_flock.net.peer_book import Address, parse_addresses
from p2p_flock.net.provider_store import ProviderStore
from p2p_flock.net.routing_table import PeerRecord, RoutingTable, hash_key

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger(__name__)

DHT_PROTOCOL = TProtocol("/p2p-flock/kad/1.0.0")
SUBJECTS_MAX = 64  # that we announce or look for
# Serving. One more stream is reset; a question beyond the rate ends its stream. An honest lookup asks a peer once.
STREAMS_PER_PEER_MAX = 4
STREAMS_MAX = 256
QUESTIONS_PER_STREAM_MAX = 16
SERVE_SECONDS_MAX = 5.0  # from one question to the next
# Asking.
PARALLEL_QUESTIONS = 3  # alpha of the paper
ASK_SECONDS_MAX = 5.0  # for the connection and for the answer, each
LOOKUP_SECONDS_MAX = 30.0
FINDS_AT_ONCE_MAX = 4  # lookups for missing members, per check
FIND_RETRY_SECONDS_MAX = 600.0
# With fewer connections than this a node looks for others at once, else it lets the peer exchange do its work first.
POOR_CONNECTIONS = 3


@dataclass(frozen=True)
class DhtTimes:
    """When lookups run, seconds; all but ``check_s`` are varied by a quarter either way.

    Attributes:
        poor_s: before the first lookup of a subject by a node with few connections.
        first_s: before the first one of any other.
        retry_s: before the next one while it has few connections, doubled each time.
        again_s: between announcements; records live an hour.
        check_s: between looks for members that we cannot reach.
    """

    poor_s: float = 2.0
    first_s: float = 10.0
    retry_s: float = 15.0
    again_s: float = 900.0
    check_s: float = 5.0


@dataclass
class _Seek:
    """One subject. ``wait_s`` is the pause before the next lookup while we have few connections."""

    provide: bool
    due_s: float
    wait_s: float
    is_first: bool = True


class Dht:
    """One node's part of the DHT. `run` it in a nursery; `note_change` must be told of each connection lost or won."""

    def __init__(self, host: HardenedHost, discovery: Discovery, times: DhtTimes) -> None:
        self._host = host
        self._discovery = discovery
        self._times = times
        self._random = random.Random()
        self._own = host.get_id()
        self._table = RoutingTable(self._own.to_bytes())
        self._store = ProviderStore(self._random)
        self._seeks: dict[bytes, _Seek] = {}
        self._changed = trio.Event()
        self._streams: Counter[str] = Counter()
        self._rates = Allowance(DHT_QUESTIONS, DHT_QUESTIONS, DHT_QUESTIONS_OF_STRANGERS)
        self.asked_count = 0  # questions that we asked, for tests and the operator
        discovery.on_announced = self._note_announced
        host.set_stream_handler(DHT_PROTOCOL, self._serve)

    def seek(self, subject: str, *, provide: bool) -> None:
        """Look for providers of ``subject`` from now on, and if ``provide`` be one. Raises NetError at the bound."""
        key = subject_key(subject)
        if key not in self._seeks and len(self._seeks) >= SUBJECTS_MAX:
            raise NetError(f"at most {SUBJECTS_MAX} subjects in the DHT")
        due_s = trio.current_time() + self._varied(self._times.poor_s)
        self._seeks[key] = _Seek(provide, due_s, self._times.retry_s)
        self._changed.set()

    def note_change(self, peer_id: str) -> None:
        """A peer was connected or lost."""
        if peer_id not in self._discovery.connected:
            self._table.note_lost(peer_id, trio.current_time())
        self._changed.set()

    def _note_announced(self, peer_id: str, addresses: Sequence[Address], host: str | None) -> None:
        record = PeerRecord(peer_id, tuple(addresses))
        id_bytes = ID.from_base58(peer_id).to_bytes()
        self._table.note_seen(id_bytes, record, host, trio.current_time(), self._discovery.connected)

    def _varied(self, seconds: float) -> float:
        return seconds * self._random.uniform(0.75, 1.25)

    # Looking.

    async def run(self, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Announce and look for ever; without subjects and missing members it does nothing."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            nursery.start_soon(self._find_members)
            while True:
                self._changed = trio.Event()
                due = [(seek.due_s, key) for key, seek in self._seeks.items()] if self._discovery.connected else []
                if due and min(due)[0] <= trio.current_time():
                    key = min(due)[1]
                    await self._run_seek(key, self._seeks[key])
                    continue
                with trio.move_on_at(min(due)[0] if due else float("inf")):
                    await self._changed.wait()

    async def _run_seek(self, key: bytes, seek: _Seek) -> None:
        times = self._times
        if seek.is_first and len(self._discovery.connected) >= POOR_CONNECTIONS:
            seek.is_first = False
            seek.due_s = trio.current_time() + self._varied(times.first_s)
            return
        seek.is_first = False
        lookup = await self._look_up(Question(Kind.GET_PROVIDERS, key), lambda: False)
        if seek.provide:
            own = Question(Kind.ADD_PROVIDER, key, parse_addresses(self._discovery.dialable_addresses))
            for record in lookup.nearest_answered():
                await self._ask(record, own)
        if len(self._discovery.connected) < POOR_CONNECTIONS:
            seek.due_s = trio.current_time() + self._varied(seek.wait_s)
            seek.wait_s = min(2 * seek.wait_s, times.again_s)
        else:
            seek.due_s = trio.current_time() + self._varied(times.again_s)

    async def _find_members(self) -> None:
        """Look for peers that we want and cannot reach, each ever less often."""
        waits: dict[str, tuple[float, float]] = {}  # peer: next lookup at, pause after it
        while True:
            await trio.sleep(self._times.check_s)
            missing = self._discovery.book.without_address(self._discovery.connected)
            waits = {peer_id: wait for peer_id, wait in waits.items() if peer_id in missing}
            now = trio.current_time()
            due = [peer_id for peer_id in missing if waits.get(peer_id, (0.0, 0.0))[0] <= now]
            for peer_id in due[:FINDS_AT_ONCE_MAX]:
                pause_s = waits.get(peer_id, (0.0, self._times.retry_s))[1]
                await self._find(peer_id)
                waits[peer_id] = (trio.current_time() + self._varied(pause_s), min(2 * pause_s, FIND_RETRY_SECONDS_MAX))

    async def _find(self, peer_id: str) -> None:
        key = ID.from_base58(peer_id).to_bytes()
        await self._look_up(Question(Kind.FIND_NODE, key), lambda: peer_id in self._discovery.connected, peer_id)

    async def _look_up(self, question: Question, is_done: Callable[[], bool], target: str | None = None) -> Lookup:
        """Ask ever closer peers; addresses of ``target``, and of providers, go to the peer book as they come."""
        connected = self._discovery.connected
        seeds = self._table.closest(hash_key(question.key), trio.current_time(), connected)
        seeds += [PeerRecord(peer_id, ()) for peer_id in sorted(connected)]
        lookup = Lookup(question.key, self._own.to_base58(), seeds)

        async def work() -> None:
            while not is_done() and (record := await lookup.next()) is not None:
                answer = await self._ask(record, question)
                lookup.take(record, None if answer is None else answer.closer)
                if answer is not None:
                    named = [one for one in answer.closer if one.peer_id == target]
                    for one in (*answer.providers, *named):
                        self._discovery.add(one.peer_id, one.addresses)

        with trio.move_on_after(LOOKUP_SECONDS_MAX):
            async with trio.open_nursery() as nursery:
                for _ in range(PARALLEL_QUESTIONS):
                    nursery.start_soon(work)
        await self._discovery.release(self._discovery.connected - connected)
        return lookup

    async def _ask(self, record: PeerRecord, question: Question) -> Answer | None:
        """One peer's answer, empty for ADD_PROVIDER; None if there is none."""
        self.asked_count += 1
        try:
            with trio.move_on_after(ASK_SECONDS_MAX):
                await self._discovery.reach(record.peer_id, record.addresses)
            if record.peer_id not in self._discovery.connected:
                self._table.remove(record.peer_id)
                return None
            with trio.move_on_after(ASK_SECONDS_MAX):
                stream = await self._host.new_stream(ID.from_base58(record.peer_id), [DHT_PROTOCOL])
                try:
                    return await self._exchange(stream, question)
                finally:
                    await end_stream(stream)
        except (*STREAM_FAILURES, StreamFailure, SwarmException, FrameError) as error:
            log.debug("no answer of the DHT from %s: %s", record.peer_id, error)
        return None

    async def _exchange(self, stream: INetStream, question: Question) -> Answer:
        await stream.write(encode_varint_prefixed(encode_question(question, self._own.to_bytes())))
        if question.kind is Kind.ADD_PROVIDER:
            return Answer((), ())
        answer = decode_answer(await FrameReader(stream).read_varint_frame(ANSWER_BYTES_MAX), question)

        def usable(records: Sequence[PeerRecord]) -> tuple[PeerRecord, ...]:
            return tuple(PeerRecord(one.peer_id, usable_from(stream, one.addresses)) for one in records)

        return Answer(usable(answer.providers), usable(answer.closer))

    # Serving.

    async def _serve(self, stream: INetStream) -> None:
        peer = stream.muxed_conn.peer_id
        peer_id = peer.to_base58()
        if self._streams[peer_id] >= STREAMS_PER_PEER_MAX or self._streams.total() >= STREAMS_MAX:
            raise FrameError("too many streams of the DHT")
        self._streams[peer_id] += 1
        reader = FrameReader(stream)
        try:
            for _ in range(QUESTIONS_PER_STREAM_MAX):
                with trio.fail_after(SERVE_SECONDS_MAX):
                    question = decode_question(await reader.read_varint_frame(QUESTION_BYTES_MAX), peer.to_bytes())
                    if self._rates.take(peer_id, 1.0, is_preferred=self._host.swarm.prefers(peer)) > 0.0:
                        raise FrameError("it asks the DHT too often")
                    answer = self._answer(question, peer_id, seen_host(stream))
                    if answer is not None:
                        await stream.write(encode_varint_prefixed(encode_answer(question, answer)))
        except trio.TooSlowError as error:
            raise FrameError("no further question came") from error
        except STREAM_FAILURES:
            pass  # the usual end
        finally:
            self._streams[peer_id] -= 1
            if not self._streams[peer_id]:
                del self._streams[peer_id]
            await end_stream(stream)

    def _answer(self, question: Question, asker: str, host: str | None) -> Answer | None:
        now, connected = trio.current_time(), self._discovery.connected
        if question.kind is Kind.PING:
            return Answer((), ())
        if question.kind is Kind.ADD_PROVIDER:
            claimed = self._discovery.with_seen_host(question.provider, host)
            if claimed:
                self._store.add(question.key, PeerRecord(asker, claimed), host or "", now)
            return None
        closest = self._table.closest(hash_key(question.key), now, connected)
        closer = tuple(record for record in closest if record.peer_id != asker)
        if question.kind is Kind.FIND_NODE:
            return Answer((), closer)
        providers = [record for record in self._store.get(question.key, now) if record.peer_id != asker]
        seek = self._seeks.get(question.key)
        if seek is not None and seek.provide:
            own = parse_addresses(self._discovery.dialable_addresses)
            providers.insert(0, PeerRecord(self._own.to_base58(), own))
        return Answer(tuple(providers), closer)


def subject_key(subject: str) -> bytes:
    """The DHT's key of a subject: the SHA-256 multihash of its name, with our prefix against other uses."""
    return b"\x12\x20" + hashlib.sha256(b"/p2p-flock/subject/1/" + subject.encode()).digest()
