"""The counters of a round's cost."""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from pathlib import Path

import trio

from p2p_flock.crypto.signing import address_of, recover_address, sign
from p2p_flock.daemon.tally import Tally, read_cpu_seconds, read_levels, read_memory_peak
from p2p_flock.testnet.metrics import COST_KEYS
from p2p_flock.wire.messages import KIND_OF_MESSAGE, Have

KEY = bytes(31) + b"\x07"
DIGEST = bytes(32)


def test_take__is_the_growth_since_the_last_one() -> None:
    """A round would be charged with what all rounds before it cost."""
    tally = Tally()
    totals = Counter({"bytes_sent": 100})
    tally.read_totals = lambda: totals
    tally.note_sent(KIND_OF_MESSAGE[Have], copies=2, length=300)
    first = tally.take()
    assert (first["messages_sent"], first["message_bytes_sent"], first["bytes_sent"]) == ({"Have": 2}, 600, 100)
    totals["bytes_sent"] += 7
    tally.note_sent(KIND_OF_MESSAGE[Have], copies=1, length=300)
    second = tally.take()
    assert (second["messages_sent"], second["message_bytes_sent"], second["bytes_sent"]) == ({"Have": 1}, 300, 7)
    assert tally.take()["messages_sent"] == {}


def test_signer_and_recoverer__answer_as_before() -> None:
    """Counting would change what is signed or who is believed."""
    tally = Tally()
    signature = tally.signing(partial(sign, KEY))(DIGEST)
    assert signature == sign(KEY, DIGEST)
    assert tally.verifying(recover_address)(DIGEST, signature) == address_of(KEY)
    cost = tally.take()
    assert (cost["signatures_made"], cost["signatures_verified"]) == (1, 1)


def test_received__names_a_kind_that_nobody_knows() -> None:
    """A stranger's kind byte would end the pump of all messages."""
    tally = Tally()
    tally.note_received(255, 10)
    assert tally.take()["messages_received"] == {"unknown": 1}


def test_worker__that_was_replaced_keeps_its_seconds() -> None:
    """A restarted worker would show as negative CPU time."""
    tally = Tally()
    tally.worker_pid = os.getpid
    first = tally.take()["worker_cpu_seconds"]
    assert isinstance(first, float) and first > 0
    tally.worker_pid = lambda: None
    again = tally.take()
    assert (again["worker_cpu_seconds"], again["worker_memory_peak_bytes"]) == (0.0, None)


def test_process__that_is_gone_has_no_figures() -> None:
    """The moment between two workers would end the session."""
    assert read_cpu_seconds(2**22 + 1) is None
    assert read_memory_peak(2**22 + 1) is None
    peak = read_memory_peak(os.getpid())
    assert peak is not None and peak > 1 << 20


def test_levels__are_of_this_moment(tmp_path: Path) -> None:
    """A leak of descriptors or tasks would not show in a soak."""

    def descriptors() -> int:
        found = read_levels(os.getpid(), None)["daemon_descriptors"]
        assert found is not None
        return found

    before = descriptors()
    with (tmp_path / "file").open("w"):
        assert descriptors() == before + 1
    levels = read_levels(os.getpid(), os.getpid())
    assert levels["daemon_tasks"] is None, "outside trio"
    assert (levels["worker_memory_bytes"] or 0) > 1 << 20 and (levels["daemon_threads"] or 0) >= 1
    assert set(read_levels(2**22 + 1, None).values()) == {None}


async def test_levels__count_tasks() -> None:
    """A task that never ends would not show in a soak."""
    before = read_levels(os.getpid(), None)["daemon_tasks"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        assert before is not None and read_levels(os.getpid(), None)["daemon_tasks"] == before + 1
        nursery.cancel_scope.cancel()


def test_keys__are_those_that_the_reader_keeps() -> None:
    """A counter under a new name would be lost on its way into the report."""
    assert set(Tally().take()) <= set(COST_KEYS)
