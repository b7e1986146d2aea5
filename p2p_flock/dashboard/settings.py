"""What the dashboard is given by whoever runs it: it knows no daemon. Called by all files of this package."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Runs a control command by name; raises P2PFlockError where it cannot. Any: JSON values, typed by ``commands``.
Ask = Callable[[str, dict[str, Any]], Awaitable[Mapping[str, object]]]

STATIC_FOLDER = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSettings:
    """How to run the dashboard.

    Attributes:
        port: to listen on, on loopback; 0 takes a free one.
        token: opens it; base64url text.
        ask: runs a control command.
        commands: arguments and result types by command; those that only read and stand here are served.
        documentation: ``CONTROL.md``, whose words describe the fields in the OpenAPI document; may be empty.
        render_metrics: Prometheus text, UTF-8; ``None`` where there is none.
        static_folder: the page's files.
    """

    port: int
    token: str = field(repr=False)
    ask: Ask
    commands: Mapping[str, tuple[type, type]]
    documentation: str = field(default="", repr=False)
    render_metrics: Callable[[], bytes] | None = None
    static_folder: Path = STATIC_FOLDER
