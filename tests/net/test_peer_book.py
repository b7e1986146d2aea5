"""The peer book: whom to dial, where, and when."""

from __future__ import annotations

import random

import pytest

from p2p_flock.net.peer_book import (
    ADDRESSES_PER_PEER_MAX,
    FIRST_RETRY_SECONDS,
    HEARSAY_PER_PEER_MAX,
    OTHER_FAILURES_MAX,
    PEERS_MAX,
    WANTED_RETRY_SECONDS_MAX,
    Address,
    PeerBook,
    parse_address,
    parse_addresses,
)

HERE = Address("ip4", "127.0.0.1", 4001)
THERE = Address("ip4", "127.0.0.1", 4002)
NOBODY: frozenset[str] = frozenset()


def open_book() -> PeerBook:
    """A book of a node whose ID lies between those of the tests."""
    return PeerBook("own", random.Random(1))


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/192.0.2.1/tcp/1",
        "/ip6/2001:db8::1/tcp/65535",
        "/dns4/a-b.example.org/tcp/4001",
        "/dns/x/tcp/1/p2p/12D3",
    ],
)
def test_address__reads_what_it_writes(text: str) -> None:
    """Addresses would change on their way through the exchange."""
    address, peer_id = parse_address(text)
    assert str(address) + (f"/p2p/{peer_id}" if peer_id else "") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ip4/1.2.3.4/tcp/1",
        "/ip4/1.2.3.4/udp/1",
        "/ip4/1.2.3.4/tcp/0",
        "/ip4/1.2.3.4/tcp/65536",
        "/ip4/1.2.3.4/tcp/-1",
        "/ip4/1.2.3.4/tcp/١",
        "/ip4/::1/tcp/1",
        "/ip6/1.2.3.4/tcp/1",
        "/ip4/1.2.3/tcp/1",
        "/dns4/a..b/tcp/1",
        "/dns4/" + "a" * 300 + "/tcp/1",
        "/ip4/1.2.3.4/tcp/1/ws",
        "/ip4/1.2.3.4/tcp/1/ws/x",
        "/ip4/1.2.3.4/tcp/1/p2p/a/p2p-circuit",
    ],
)
def test_address__bad_ones_are_refused(text: str) -> None:
    """A stranger's text would reach the dialer."""
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)
    assert parse_addresses([text, "/ip4/0.0.0.0/tcp/1", str(HERE), str(HERE)]) == (HERE,)


def test_book__new_peer_is_due_at_once_and_later_for_the_courteous() -> None:
    """Two nodes that learn of each other would dial twice, or wait for each other."""
    book = open_book()
    book.add("zz", [HERE], 10.0)
    book.add("aa", [HERE], 10.0)
    book.add("bb", [HERE], 10.0, courteous=False)
    assert {peer for peer, _ in book.take_due(10.0, NOBODY, 9)} == {"zz", "bb"}
    assert [peer for peer, _ in book.take_due(10.0 + FIRST_RETRY_SECONDS, NOBODY, 9)] == ["aa"]
    assert book.take_due(99.0, NOBODY, 9) == []  # all are being dialed


def test_book__never_dials_itself_or_the_connected() -> None:
    """A node would connect to itself, or twice to a peer."""
    book = open_book()
    book.add("own", [HERE], 0.0)
    book.add("zz", [HERE], 0.0)
    assert "own" not in book
    assert book.take_due(1.0, frozenset({"zz"}), 9) == []


def test_book__only_wanted_peers_beyond_the_target() -> None:
    """A node would connect to the whole network."""
    book = open_book()
    book.add("xx", [HERE], 0.0)
    book.add("zz", [HERE], 0.0, wanted=True)
    assert book.next_due_s(NOBODY, 0) == 0.0
    assert [peer for peer, _ in book.take_due(1.0, NOBODY, 0)] == ["zz"]
    assert book.next_due_s(NOBODY, 0) is None


def test_book__all_addresses_are_kept_and_the_good_one_comes_first() -> None:
    """A peer with one stale address could not be reached."""
    book = open_book()
    book.add("zz", [HERE], 0.0)
    book.add("zz", [THERE], 0.0)
    assert book.take_due(0.0, NOBODY, 1) == [("zz", (THERE, HERE))]
    book.note_reached("zz", HERE)
    book.note_connected("zz", 0.0)
    book.note_lost("zz", 100.0)
    assert book.take_due(101.0, NOBODY, 1) == [("zz", (HERE, THERE))]
    book.add("zz", [Address("ip4", "127.0.0.1", port) for port in range(1, 100)], 0.0)
    assert len(book.snapshot()["zz"]) == 1 + HEARSAY_PER_PEER_MAX
    book.add("zz", [Address("ip4", "127.0.0.1", port) for port in range(1, 100)], 0.0, vouched=True)
    assert len(book.snapshot()["zz"]) == ADDRESSES_PER_PEER_MAX


def test_book__hearsay_displaces_no_vouched_address() -> None:
    """A stranger could cut us off from a member by naming wrong addresses for it."""
    book = open_book()
    book.add("zz", [HERE], 0.0, wanted=True, vouched=True)
    for port in range(1, 50):
        book.add("zz", [Address("ip4", "192.0.2.1", port)], 0.0)
    ((_, addresses),) = book.take_due(0.0, NOBODY, 1)
    assert addresses[0] == HERE
    assert len(addresses) == 1 + HEARSAY_PER_PEER_MAX


def test_book__newest_vouched_address_is_tried_first_and_soon() -> None:
    """A member that moved and said so on chain would be sought at its old address for the length of the back-off."""
    book = open_book()
    book.add("zz", [HERE], 0.0, wanted=True, vouched=True)
    for now in (0.0, 60.0, 120.0, 180.0, 240.0):
        book.take_due(now, NOBODY, 1)
        book.note_failed("zz", now)
    assert book.take_due(241.0, NOBODY, 1) == []
    book.add("zz", [THERE], 241.0, wanted=True, vouched=True)
    assert book.take_due(241.0, NOBODY, 1) == [("zz", (THERE, HERE))]


def test_book__hearsay_cannot_make_us_dial_without_pause() -> None:
    """A stranger could use us to knock at somebody's door several times a second."""
    book = open_book()
    now, dialed = 0.0, 0
    for port in range(1, 1000):
        book.add("zz", [Address("ip4", "192.0.2.1", port)], now)
        if book.take_due(now, NOBODY, 1):
            dialed += 1
            book.note_failed("zz", now)
            if "zz" not in book:
                break
        now += 0.05
    assert dialed <= OTHER_FAILURES_MAX


def test_book__nobody_is_forgotten_while_we_are_alone() -> None:
    """A node whose own network fails for some minutes would forget everybody it knew."""
    book = open_book()
    book.add("zz", [HERE], 0.0)
    now = 0.0
    for _ in range(3 * OTHER_FAILURES_MAX):
        book.take_due(now, NOBODY, 9)
        book.note_failed("zz", now, is_alone=True)
        now = book.next_due_s(NOBODY, 9) or now
    assert "zz" in book
    book.hurry(now)
    assert book.take_due(now + 1.0, NOBODY, 9)


def test_book__who_was_met_outlasts_invented_peers() -> None:
    """Strangers could fill a node's book with invented peers, and it would find nobody after its next start."""
    book = open_book()
    book.add("met", [HERE], 0.0, vouched=True)
    book.take_due(0.0, NOBODY, 9)
    book.note_connected("met", 0.0)
    for number in range(2 * PEERS_MAX):
        book.add(f"stranger {number}", [HERE], 0.0)
    assert "met" in book


def test_addresses__whatever_is_claimed_costs_little_and_raises_nothing() -> None:
    """What a stranger wrote on chain could end the node."""
    claims: list[object] = [None, 7, b"/ip4/1.2.3.4/tcp/1", "\ud800", "/" * 100_000, ["/ip4/1.2.3.4/tcp/1"], str(HERE)]
    assert parse_addresses(claims) == (HERE,)
    assert parse_addresses(f"/ip4/1.2.3.4/tcp/{port}" for port in range(1, 1 << 40))[0].port == 1


def test_book__wanted_peers_are_redialed_for_ever_and_others_forgotten() -> None:
    """A member that was away for a day would never be met again, or strangers would be dialed for ever."""
    book = open_book()
    book.add("zz", [HERE], 0.0, wanted=True)
    book.add("xx", [HERE], 0.0)
    now, waits = 0.0, []
    for _ in range(3 * OTHER_FAILURES_MAX):
        for peer_id, _ in book.take_due(now, NOBODY, 9):
            book.note_failed(peer_id, now)
        due = book.next_due_s(NOBODY, 9)
        assert due is not None
        waits.append(due - now)
        now = due
    assert "zz" in book
    assert "xx" not in book
    assert max(waits) <= 1.25 * WANTED_RETRY_SECONDS_MAX


def test_book__a_connection_that_never_lasts_is_dialed_ever_less() -> None:
    """A peer that banned us would be dialed several times a second."""
    book = open_book()
    book.add("zz", [HERE], 0.0, wanted=True)
    now = 0.0
    for _ in range(10):
        book.take_due(now, NOBODY, 1)
        book.note_reached("zz", HERE)
        book.note_connected("zz", now)
        book.note_lost("zz", now + 0.1)
        due = book.next_due_s(NOBODY, 1)
        assert due is not None
        wait, now = due - now, due
    assert wait > 0.7 * WANTED_RETRY_SECONDS_MAX


def test_book__is_bounded() -> None:
    """Strangers could fill the memory with invented peers, or push out the wanted ones."""
    book = open_book()
    book.add("wanted", [HERE], 0.0, wanted=True)
    for number in range(PEERS_MAX + 50):
        book.add(f"stranger {number}", [HERE], 0.0)
    assert "wanted" in book
    assert len(book.snapshot()) == PEERS_MAX


def test_book__snapshot_is_restored() -> None:
    """After a restart a node would depend on the bootstrap nodes again."""
    book = open_book()
    book.add("zz", [HERE, THERE], 0.0, wanted=True)
    restored = open_book()
    restored.restore(book.snapshot(), 5.0)
    restored.restore({"bad": ["nonsense"]}, 5.0)
    assert restored.take_due(5.0, NOBODY, 1) == [("zz", (HERE, THERE))]
