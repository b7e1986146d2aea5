"""The scores of the last rounds as curves of block letters, the alliance's and the local-only one. Imports rich; pure.

Called by ``frame.py``. Both curves share one scale, so that they can be compared by eye.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from p2p_flock.cli.watching.words import score_text
from p2p_flock.daemon.watch_messages import WatchedAllianceResult

LEVELS = "▁▂▃▄▅▆▇█"
UNKNOWN = "·"


def curve_lines(alliance: WatchedAllianceResult, is_roomy: bool) -> list[Text]:
    """Two lines, or one where there is little room; none before a score is known."""
    rounds = list(reversed(alliance["rounds"]))
    own = [entry["own_score"] for entry in rounds]
    alone = [entry["local_only_score"] for entry in rounds]
    known = [value for value in (*own, *alone) if value is not None]
    if not known:
        return []
    first = next(
        index for index, pair in enumerate(zip(own, alone, strict=True)) if any(one is not None for one in pair)
    )
    own, alone, rounds = own[first:], alone[first:], rounds[first:]
    name = alliance["score_name"] or "score"
    curves = [_sparkline(values, min(known), max(known)) for values in (own, alone)]
    last = [_last(values) for values in (own, alone)]
    alone_text = f"{curves[1]} {score_text(last[1])}"
    if last[1] is None:
        alone_text = alliance["local_only_note"] or "not known yet"
    elif is_roomy:
        gains = [one - other for one, other in zip(own, alone, strict=True) if one is not None and other is not None]
        if gains:  # of the last round of which both are known
            alone_text += f", so taking part {'gains' if gains[-1] >= 0 else 'costs'} {score_text(abs(gains[-1]))}"
    if not is_roomy:
        return [
            Text(
                f"your {name} {curves[0]} {score_text(last[0])} · alone {alone_text}", no_wrap=True, overflow="ellipsis"
            )
        ]
    span = f"rounds {rounds[0]['round']} to {rounds[-1]['round']}, on your private test data"
    return [
        Text(
            f"{name} with the alliance  {curves[0]} {score_text(last[0])}  ({span})", no_wrap=True, overflow="ellipsis"
        ),
        Text(f"{' ' * len(name)} on your data alone {alone_text}", no_wrap=True, overflow="ellipsis"),
    ]


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _sparkline(values: Sequence[float | None], low: float, high: float) -> str:
    """One letter a value between ``low`` and ``high``; the middle where all are the same."""

    def one(value: float | None) -> str:
        if value is None:
            return UNKNOWN
        if high == low:
            return LEVELS[len(LEVELS) // 2]
        return LEVELS[round((value - low) / (high - low) * (len(LEVELS) - 1))]

    return "".join(map(one, values))
