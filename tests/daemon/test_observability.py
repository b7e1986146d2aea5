"""Logs: one line each, the round in every line, no secret in any."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from p2p_flock.daemon.observability import SecretsFilter, configure_logging, current_round_id, round_context

ALLIANCE = "flock:84530:0xabab:0"
logger = logging.getLogger("p2p_flock.test")


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def logs(log_format: str, secrets: SecretsFilter | None = None, folder: Path | None = None) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(log_format, "info", secrets or SecretsFilter(), folder, stream)
    return stream


async def test_logs__round_is_in_every_line_also_of_child_tasks() -> None:
    """Lines of two rounds could not be told apart."""
    stream = logs("json")

    async def child() -> None:
        logger.info("in a task of %s", "the round", extra={"fields": {"seat": 4}})

    logger.info("before")
    with round_context(ALLIANCE, 7):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
    logger.info("after")
    before, inside, after = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (before["round"], after["round"]) == (None, None)
    assert (inside["alliance"], inside["round"], inside["seat"]) == (ALLIANCE, 7, 4)
    assert inside["message"] == "in a task of the round"
    assert inside["level"] == "info"


async def test_logs__a_task_that_outlives_rounds_names_the_running_one() -> None:
    """What is done for a round beside its driver could not be found by its ID."""
    stream, running = logs("json"), [3]
    with round_context(ALLIANCE, lambda: running[0] if running else None):
        assert current_round_id() == "a0-r3"
        logger.info("first")
        running[0] = 4
        logger.info("second")
        with round_context(ALLIANCE, 2):
            logger.info("about an earlier one")
        running.clear()
        logger.info("between two")
    assert current_round_id() is None
    logger.info("outside")
    names = [json.loads(line)["round_id"] for line in stream.getvalue().splitlines()]
    assert names == ["a0-r3", "a0-r4", "a0-r2", "a0", None]


def test_logs__fields_cannot_replace_the_standard_ones() -> None:
    """A peer's field could forge a line's level or round."""
    stream = logs("json")
    logger.info("real", extra={"fields": {"message": "forged", "round": 9}})
    entry = json.loads(stream.getvalue())
    assert entry["message"] == "real"
    assert entry["round"] is None


def test_logs__human_line_names_the_round() -> None:
    """An operator could not read what happens."""
    stream = logs("human")
    with round_context(ALLIANCE, 7):
        logger.warning("late", extra={"fields": {"seat": 4}})
    assert "warning  a0-r7  late  seat=4\n" in stream.getvalue()


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_logs__peers_text_stays_on_one_line(log_format: str) -> None:
    """A peer could forge lines or steer the operator's terminal."""
    stream = logs(log_format)
    logger.info("peer says %s", "x\n12:00:00 error forged\x1b[2J")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_logs__secrets_are_hidden_wherever_they_stand(log_format: str, tmp_path: Path) -> None:
    """A log that is sent to support would open the account."""
    secrets = SecretsFilter()
    secrets.register('pass"word with quotes')
    secrets.register(b"\xab" * 32)
    secrets.register_url("https://rpc.example/v2/0123456789abcdef0123?key=topsecret")
    stream = logs(log_format, secrets, tmp_path)
    logger.info('text pass"word with quotes', extra={"fields": {"key": "ab" * 32}})
    logger.info("get %s", "https://rpc.example/v2/0123456789abcdef0123?key=topsecret")
    logger.info("password=unregistered1 {'private_key': 'unregistered2'}")
    try:
        raise ValueError('inside pass"word with quotes')
    except ValueError:
        logger.exception("failed")
    text = stream.getvalue() + (tmp_path / "node.log").read_text()
    for secret in ("word with quotes", "abab", "0123456789abcdef0123", "topsecret", "unregistered"):
        assert secret not in text
    assert "https://rpc.example/v2/[hidden]" in text
    assert "ValueError" in text


def test_logs__file_holds_json_lines_and_is_private(tmp_path: Path) -> None:
    """Other users could read the log, or tools not parse it."""
    logs("human", folder=tmp_path / "logs")
    logger.info("written ü \udcff")
    path = tmp_path / "logs" / "node.log"
    assert path.stat().st_mode & 0o077 == 0
    assert json.loads(path.read_text())["message"].startswith("written ü")


def test_logs__level_and_library_noise() -> None:
    """Libraries would drown the node's own lines."""
    stream = logs("human")
    logger.debug("quiet")
    logging.getLogger("libp2p.host").info("noise")
    logging.getLogger("libp2p.host").warning("trouble")
    assert "quiet" not in stream.getvalue()
    assert "noise" not in stream.getvalue()
    assert "trouble" in stream.getvalue()


def test_logs__a_full_disk_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A disk that is full would fill the terminal with a traceback for every line."""
    (tmp_path / "node.log").symlink_to("/dev/full")
    configure_logging("human", "info", SecretsFilter(), tmp_path, io.StringIO())
    for _ in range(3):
        logging.getLogger("test").info("a line")
    told = capsys.readouterr().err
    assert told.count("No space left on device") == 1 and "Traceback" not in told
