"""The limits' arithmetic: token buckets, admission of connections, the filter of repeated log lines."""

from __future__ import annotations

import logging
from collections import deque
from functools import partial

import pytest
import trio
import trio.testing

from p2p_flock.daemon import intake
from p2p_flock.daemon.intake import EarlyEnvelopes
from p2p_flock.net import admission, limits
from p2p_flock.net.admission import Admission, BarredAddresses, Guest, Handshakes, admit
from p2p_flock.net.limits import Allowance, Bucket, Buckets, Rate, RepeatFilter, address_key, get_limited_logger
from p2p_flock.wire.messages import Envelope


async def test_bucket__waits_for_what_was_overdrawn(autojump_clock: trio.testing.MockClock) -> None:
    """A flood would be served at its own pace."""
    bucket = Bucket(Rate(10.0, 5.0))
    assert [bucket.take(1.0) for _ in range(5)] == [0.0] * 5
    assert bucket.take(1.0) == pytest.approx(0.1)
    assert bucket.take(10.0) == pytest.approx(1.1)
    await trio.sleep(1.2)
    assert bucket.take(0.0) == 0.0
    await trio.sleep(100.0)
    assert bucket.try_take(5.0)
    assert not bucket.try_take(1.0)
    await trio.sleep(0.11)
    assert bucket.try_take(1.0), "a refused wish costs nothing"


async def test_buckets__keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ever new identities would fill the memory."""
    monkeypatch.setattr(limits, "KEYS_MAX", 3)
    buckets = Buckets(Rate(1.0, 1.0))
    assert buckets.of("patient").try_take(1.0)
    for name in range(10):
        buckets.of("patient")
        buckets.of(name)
    assert len(buckets._buckets) == 3
    assert not buckets.of("patient").try_take(1.0), "whoever comes often is not forgotten"


async def test_allowance__strangers_share_and_members_do_not(autojump_clock: trio.testing.MockClock) -> None:
    """A crowd of strangers could take what an alliance needs."""
    allowance = Allowance(Rate(10.0, 10.0), Rate(5.0, 5.0), Rate(10.0, 20.0))
    waits = [allowance.take(f"stranger {number}", 5.0, is_preferred=False) for number in range(5)]
    assert waits == [0.0, 0.0, 0.0, 0.0, pytest.approx(0.5)]
    assert allowance.take("member", 10.0, is_preferred=True) == 0.0
    assert allowance.take("member", 1.0, is_preferred=True) == pytest.approx(0.1)
    assert allowance.take("other member", 10.0, is_preferred=True) == 0.0


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_address__a_network_of_ipv6_counts_as_one(host: str, key: str) -> None:
    """Whoever rents one server has 2^64 addresses, each of which would be another stranger."""
    assert address_key(host) == key


# Connections.


async def test_handshakes__the_oldest_gives_way() -> None:
    """Half-open connections would keep out whoever means it."""
    handshakes = Handshakes()
    given_up: list[int | str] = []
    for number in range(admission.HANDSHAKES_PER_ADDRESS_MAX + 3):
        assert handshakes.begin("192.0.2.1", partial(given_up.append, number)) is not None
    assert given_up == [0, 1, 2]
    for number in range(admission.HANDSHAKES_MAX):
        assert handshakes.begin(f"198.51.100.{number}", partial(given_up.append, "other")) is not None
    assert len(handshakes) == admission.HANDSHAKES_MAX
    assert given_up == list(range(admission.HANDSHAKES_PER_ADDRESS_MAX + 3)), "the address with most gave way"


async def test_handshakes__an_address_has_a_rate(autojump_clock: trio.testing.MockClock) -> None:
    """Handshakes one after the other would keep our processor busy."""
    handshakes, started = Handshakes(), 0
    for _ in range(1000):
        number = handshakes.begin("192.0.2.1", lambda: None)
        if number is not None:
            started += 1
            handshakes.end(number)
    assert started == limits.HANDSHAKES_PER_ADDRESS.burst
    assert handshakes.begin("192.0.2.2", lambda: None) is not None
    await trio.sleep(2 / limits.HANDSHAKES_PER_ADDRESS.per_second)
    assert handshakes.begin("192.0.2.1", lambda: None) is not None


def stranger(number: int) -> Guest:
    return Guest(f"192.0.2.{number}", is_preferred=False)


MEMBER = Guest("192.0.2.200", is_preferred=True)


def test_admit__strangers_of_one_address_are_bounded() -> None:
    """One machine could be everybody."""
    flood = [stranger(1)] * admission.STRANGERS_PER_ADDRESS_MAX
    assert admit(stranger(1), flood[:-1]) == Admission(True)
    assert admit(stranger(1), flood) == Admission(False)
    assert admit(stranger(2), flood) == Admission(True)
    assert admit(MEMBER, flood) == Admission(True)
    assert admit(Guest("192.0.2.1", is_preferred=True), flood) == Admission(True), "a member behind the same address"


def test_admit__a_newcomer_displaces_the_busiest_address() -> None:
    """Who came first and in numbers would hold all places for ever."""
    crowd = [stranger(1)] * 90 + [stranger(2)] * (admission.STRANGERS_MAX - 90)
    assert admit(stranger(3), crowd) == Admission(True, evicted=89)
    assert admit(stranger(2), crowd) == Admission(True, evicted=89)
    alone = [stranger(number) for number in range(admission.STRANGERS_MAX)]
    assert admit(Guest("198.51.100.1", is_preferred=False), alone) == Admission(False)


def test_admit__members_have_room_that_strangers_cannot_take() -> None:
    """A crowd of strangers from many addresses could keep the alliance out."""
    crowd = [stranger(number) for number in range(admission.STRANGERS_MAX)]
    members = [MEMBER] * (admission.INBOUND_CONNECTIONS_MAX - admission.STRANGERS_MAX)
    assert admit(MEMBER, [*crowd, *members[:-1]]) == Admission(True)
    assert admit(MEMBER, [*crowd, *members]) in [Admission(True, evicted=number) for number in range(len(crowd))]
    assert admit(MEMBER, [MEMBER] * admission.INBOUND_CONNECTIONS_MAX) == Admission(False)
    assert admit(stranger(1), [MEMBER] * admission.INBOUND_CONNECTIONS_MAX) == Admission(False)


async def test_barred__many_bans_keep_an_address_out(autojump_clock: trio.testing.MockClock) -> None:
    """An attacker would come back at once under another identity."""
    barred = BarredAddresses()
    for _ in range(int(limits.BANS_PER_ADDRESS.burst)):
        barred.note_ban("192.0.2.1")
    assert "192.0.2.1" not in barred
    barred.note_ban("192.0.2.1")
    assert "192.0.2.1" in barred
    assert "192.0.2.2" not in barred
    await trio.sleep(1 / limits.BANS_PER_ADDRESS.per_second)
    assert "192.0.2.1" not in barred


# The log.


async def test_log__a_repeated_line_is_held_back(autojump_clock: trio.testing.MockClock) -> None:
    """Strangers could fill the disk, or hide what matters among their noise."""
    lines = RepeatFilter()

    def speaks(line: int) -> logging.LogRecord | None:
        record = logging.LogRecord("net", logging.WARNING, "file", line, "banning %s", ("peer",), None)
        return record if lines.filter(record) else None

    assert [speaks(1) is not None for _ in range(100)] == [True] * 20 + [False] * 80
    assert speaks(2) is not None, "another statement still speaks"
    await trio.sleep(60.0)
    record = speaks(1)
    assert record is not None and record.getMessage() == "banning peer (80 such lines were left out)"
    assert get_limited_logger("x.y") is get_limited_logger("x.y")
    assert len(get_limited_logger("x.y").filters) == 1


# Messages of later rounds.


def early(size: int, number: int) -> Envelope:
    return Envelope(1, number, 0, bytes(size), bytes(65))


def test_early__a_member_displaces_its_own_only() -> None:
    """One member could push out what the others sent for the next round, or fill the memory."""
    kept = EarlyEnvelopes()
    kept.add("patient", early(1000, 1))
    for number in range(1000):
        kept.add("flooder", early(1000, number))
    by_peer = {peer: deque(one.round for name, one in kept if name == peer) for peer in ("patient", "flooder")}
    assert list(by_peer["patient"]) == [1]
    assert list(by_peer["flooder"]) == list(range(1000 - intake.EARLY_ENVELOPES_PER_PEER_MAX, 1000))


def test_early__bytes_are_bounded() -> None:
    """Large messages of far rounds would fill the memory; a coalition could do so together."""
    kept = EarlyEnvelopes()
    for flooder in range(40):
        for number in range(20):
            kept.add(f"flooder {flooder}", early(1 << 20, number))
    sizes = [len(one.body) for _, one in kept]
    assert sum(sizes) == intake.EARLY_BYTES_MAX
    assert sum(len(one.body) for peer, one in kept if peer == "flooder 0") == intake.EARLY_BYTES_PER_PEER_MAX
