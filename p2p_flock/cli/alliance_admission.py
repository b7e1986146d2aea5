"""Who may join an alliance, until when, and when it ends early: what a creator writes, and what everybody reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from p2p_flock.alliance.allowlist import ALLOWLIST_OWNERS_MAX, check_allowlist
from p2p_flock.daemon.control_messages import AdmissionResult
from p2p_flock.errors import ParameterError, UsageError
from p2p_flock.params import SCORE_MICRO_MAX, AllianceParams

ALLOWLIST_FILE_BYTES_MAX = 256 << 10  # 1,024 addresses and long comments
SECONDS_IN = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_DURATION = re.compile(r"\+(?:([0-9]{1,5})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,6})m(?:in)?)?(?:([0-9]{1,8})s)?")
_SCORE = re.compile(r"[01](?:\.[0-9]{1,6})?|\.[0-9]{1,6}")


# --- what a creator writes -------------------------------------------------------------------------------------


def read_allowlist(path: Path) -> tuple[bytes, ...]:
    """Addresses of 20 bytes, ascending, from a file with one a line; ``#`` begins a comment, order does not matter.

    Raises:
        UsageError: unreadable, empty, too long, or a line is no address or a repeated one: its number is named.
    """
    try:
        with path.open("rb") as file:
            data = file.read(ALLOWLIST_FILE_BYTES_MAX + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the allowlist {path}: {reason}\nname the right file") from error
    if len(data) > ALLOWLIST_FILE_BYTES_MAX:
        raise UsageError(f"{path} is longer than {ALLOWLIST_FILE_BYTES_MAX} bytes\nname the right file")
    lines = [(number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), start=1)]
    return _owners([(f"{path}, line {number}", entry) for number, entry in lines if entry], str(path))


def read_owners(values: object, path: Path) -> tuple[bytes, ...]:
    """As :func:`read_allowlist`, from the list ``allowlist`` of a TOML file; none where the list is empty.

    Raises:
        UsageError: it is no list of addresses; the entry's number is named.
    """
    if not isinstance(values, list):
        raise UsageError(f"{path}: allowlist is no list\nwrite it like --dry-run does")
    entries = [(f"{path}, allowlist entry {number}", str(value)) for number, value in enumerate(values, start=1)]
    return _owners(entries, str(path)) if entries else ()


def _owners(entries: list[tuple[str, str]], source: str) -> tuple[bytes, ...]:
    """``entries``: where each stands, and its text."""
    if not entries:
        raise UsageError(
            f"{source} lists nobody\nwrite one address a line, or leave --allowlist out: all may join then"
        )
    if len(entries) > ALLOWLIST_OWNERS_MAX:
        raise UsageError(
            f"{source} lists {len(entries)} owners\nan allowlist has at most {ALLOWLIST_OWNERS_MAX}: shorten it"
        )
    places: dict[bytes, str] = {}
    for place, text in entries:
        if not _ADDRESS.fullmatch(text):
            raise UsageError(f"{place}: {text!r} is no address\nan address is 0x and 40 hex digits: `p2p-flock wallet`")
        owner = bytes.fromhex(text[2:])
        if owner in places:
            raise UsageError(f"{place}: {text} stands there again, first in {places[owner]}\nremove one of the two")
        places[owner] = place
    owners = tuple(sorted(places))
    try:
        check_allowlist(owners)
    except ParameterError as error:
        raise UsageError(f"{source}: {error}\ncorrect the list") from error
    return owners


def parse_join_deadline(text: str, now_s: int) -> int:
    """Unix seconds of ``2026-12-24T18:00Z`` (UTC also without a zone) or of ``+2d12h`` from now (d, h, m, s).

    Raises:
        UsageError: neither, or it has passed.
    """
    duration = _DURATION.fullmatch(text.strip())
    if duration is not None and any(duration.groups()):
        parts = zip(duration.groups(), SECONDS_IN.values(), strict=True)
        return now_s + sum(int(count) * seconds for count, seconds in parts if count)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(
            f'{text!r} is no join deadline\nwrite it like "2026-12-24T18:00Z" (UTC), or "+2d12h" for 60 hours'
        ) from error
    deadline_s = int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp())
    if deadline_s <= now_s:
        raise UsageError(f"the join deadline {format_utc(deadline_s)} has passed\nname a later one (times are UTC)")
    return deadline_s


def parse_score_target(text: str) -> int:
    """Millionths of ``0.85``; 0 means that there is none.

    Raises:
        UsageError: no number between 0 and 1 with at most six decimals.
    """
    target = int(Decimal(text.strip()) * SCORE_MICRO_MAX) if _SCORE.fullmatch(text.strip()) else -1
    if not 0 <= target <= SCORE_MICRO_MAX:
        raise UsageError(f"{text!r} is no score target\nwrite a number between 0 and 1, like 0.85")
    return target


# --- what everybody reads --------------------------------------------------------------------------------------


def format_utc(unix_s: int) -> str:
    """``2026-12-24 18:00:00 UTC``; what lies beyond the calendar in plain seconds."""
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{unix_s} s after 1970"


def describe_admission(admission: AdmissionResult) -> list[str]:
    """Sentences on who may join, and until when."""
    lines = ["Anybody may join."]
    if admission["listed_owners"] is not None:
        own = "This account is one of them." if admission["is_listed"] else "This account is NOT one of them."
        lines = [f"Only the {admission['listed_owners']} owners on its creator's list may join. {own}"]
    if admission["join_deadline_s"] is not None:
        when = format_utc(admission["join_deadline_s"])
        lines.append(
            f"Joining ended at {when}." if admission["is_over"] else f"Nobody joins after {when}; who is in, stays in."
        )
    return lines


def describe_score_target(params: AllianceParams) -> list[str]:
    """What ends the alliance before its last round, if anything does."""
    if not params.score_target_micro:
        return []
    return [
        f"It ends early once {params.verdict_quorum} of a round's {params.validator_count} validators name the same "
        f"model and measure a score of {params.score_target_micro / SCORE_MICRO_MAX:g} or more, each on its own data."
    ]


def summarise_admission(admission: AdmissionResult) -> str:
    """A few words for a list of alliances; empty where everybody may join at any time."""
    words = ""
    if admission["listed_owners"] is not None:
        words = (
            "; you are on its allowlist" if admission["is_listed"] else "; not for you: you are not on its allowlist"
        )
    if admission["is_over"]:
        return f"{words}; joining is over"
    deadline_s = admission["join_deadline_s"]
    return words if deadline_s is None else f"{words}; join until {format_utc(deadline_s)}"
