"""The log in memory: bounded, cleaned, filtered, each line once."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from p2p_flock.daemon.log_ring import FIELD_CHARACTERS_MAX, FIELDS_MAX, MESSAGE_CHARACTERS_MAX, LogRing, answer_log
from p2p_flock.daemon.observability import SecretsFilter
from p2p_flock.errors import UsageError

SECRET = "correct horse 8 battery"


def record(message: str, level: int = logging.INFO, fields: object = None, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("p2p_flock.daemon", level, "", 0, message, None, None)
    made.__dict__ |= {"fields": fields, **more}
    return made


def ring_of(*messages: str, kept: int = 100) -> LogRing:
    ring = LogRing(str, kept)
    for message in messages:
        ring.handle(record(message))
    return ring


def messages(ring: LogRing, after: int = 0, level: str = "debug", limit: int = 100) -> list[str]:
    return [line["message"] for line in answer_log(ring, after, level, limit)["lines"]]


def test_ring__keeps_the_last_lines_only() -> None:
    """A node that runs for months would hold its whole log in memory."""
    ring = ring_of(*map(str, range(250)))
    answer = answer_log(ring, 0, "debug", 500)
    assert [line["message"] for line in answer["lines"]] == [str(number) for number in range(150, 250)]
    assert answer["next"] == 250 and answer["lines"][-1]["sequence"] == 250


def test_ring__gives_each_line_once() -> None:
    """A page would show lines twice, or never."""
    ring = ring_of("a", "b")
    first = answer_log(ring, 0, "debug", 100)
    assert messages(ring, first["next"]) == []
    ring.handle(record("c"))
    assert messages(ring, first["next"]) == ["c"]
    assert messages(ring, 0, limit=2) == ["b", "c"]  # the newest, oldest first


def test_ring__a_sequence_of_an_earlier_run_counts_as_none() -> None:
    """A page would stay empty after the node was started again."""
    assert messages(ring_of("a", "b"), after=900) == ["a", "b"]


def test_ring__level_filters() -> None:
    """Warnings would be lost among what is usual."""
    ring = LogRing(str)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        ring.handle(record(logging.getLevelName(level), level))
    assert messages(ring, level="debug") == ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    assert messages(ring, level="warning") == ["WARNING", "ERROR", "CRITICAL"]


def test_ring__line_tells_round_and_fields() -> None:
    """Lines of two rounds could not be told apart."""
    ring = LogRing(str)
    fields = {"seat": 4, "ratio": 0.5, "late": True, "none": None, "nan": float("nan"), "peers": ["x"]}
    ring.handle(record("late", fields=fields, flock_round=("flock:84530:0xab:1", 7)))
    (line,) = answer_log(ring, 0, "info", 1)["lines"]
    told = (line["alliance"], line["round"], line["round_id"], line["level"], line["logger"])
    assert told == ("flock:84530:0xab:1", 7, "a1-r7", "info", "p2p_flock.daemon")
    assert line["fields"] == {"seat": 4, "ratio": 0.5, "late": True, "none": None, "nan": "nan", "peers": "['x']"}
    json.dumps(line, allow_nan=False)
    ring.handle(record("outside of rounds"))
    assert answer_log(ring, 0, "info", 1)["lines"][0]["round_id"] is None


def test_ring__hides_secrets_wherever_they_stand() -> None:
    """Whoever opens the page, or gets a screenshot of it, would have the account."""
    secrets = SecretsFilter()
    secrets.register(SECRET)
    ring = LogRing(secrets.clean)
    ring.handle(record(f"the password {SECRET}", fields={"what": SECRET, "password": "other", "private_key": 12_345}))
    try:
        raise ValueError(SECRET)
    except ValueError:
        ring.handle(record("failed", exc_info=sys.exc_info()))
    text = json.dumps(answer_log(ring, 0, "info", 10))
    assert SECRET not in text and "other" not in text and "12345" not in text
    assert "ValueError" in text and "Traceback" in text


def test_ring__lines_are_bounded_and_can_be_encoded() -> None:
    """One line of a peer's text could fill the memory, or break the answer."""
    ring = LogRing(str)
    ring.handle(record("x" * 10_000 + "\udcff", fields={f"f{n}": "y" * 5_000 for n in range(100)}))
    ring.handle(record("\udcff"))
    first, second = answer_log(ring, 0, "info", 10)["lines"]
    assert len(first["message"]) == MESSAGE_CHARACTERS_MAX and len(first["fields"]) == FIELDS_MAX
    assert all(len(str(value)) == FIELD_CHARACTERS_MAX for value in first["fields"].values())
    second["message"].encode()


@pytest.mark.parametrize(
    ("after", "level", "limit"),
    [(-1, "info", 1), (0, "loud", 1), (0, "INFO", 1), (0, "info", 0), (0, "info", 501), ("0", "info", 1), (0, None, 1)],
)
def test_answer__wrong_arguments_are_refused(after: object, level: object, limit: object) -> None:
    """An answer could be larger than the control socket takes."""
    with pytest.raises(UsageError, match="\n"):
        answer_log(ring_of("a"), after, level, limit)
