#!/usr/bin/env python3
"""Writes the tables of SPEC.md and WIRE.md that the code defines: ``protocol_tables.py [--check]``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; everything else in the files is left alone.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Union, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2p_flock.alliance import trainer, validator  # noqa: E402  the path is set just above
from p2p_flock.alliance.gossip import SENDER_ROLE  # noqa: E402
from p2p_flock.secagg.secrets import RoundSecrets  # noqa: E402
from p2p_flock.wire.codec import Length, Range  # noqa: E402
from p2p_flock.wire.messages import (  # noqa: E402
    MESSAGE_KINDS,
    Bundle,
    ContributionDocument,
    Envelope,
    Hint,
    Manifest,
)

Cells = Mapping[type, tuple[Callable[..., object], tuple[object, ...]]]


def name_of(action: Callable[..., object]) -> str:
    return action.__name__.removeprefix("_").replace("_", " ")


def names_of(followers: tuple[object, ...]) -> str:
    return ", ".join(getattr(phase, "name", "") for phase in followers) or "the same"


def render_cells(table: Mapping[object, Cells]) -> str:
    lines = ["| phase | event | action | then |", "|---|---|---|---|"]
    for phase, cells in table.items():
        name = getattr(phase, "name", phase)
        if not cells:
            lines.append(f"| {name} | – | – | – |")
        for event, (action, followers) in cells.items():
            lines.append(f"| {name} | `{event.__name__}` | {name_of(action)} | {names_of(followers)} |")
    return "\n".join(lines)


def render_validator() -> str:
    """What every phase shares stands once."""
    shared = validator._ALWAYS
    own = {
        phase: {kind: action for kind, action in cells.items() if kind not in shared}
        for phase, cells in validator._TABLE.items()
    }
    advance = ["| phase | after every event and tick | then |", "|---|---|---|"]
    advance += [
        f"| {phase.name} | {name_of(action)} | {names_of(followers)} |"
        for phase, (action, followers) in validator._ADVANCE.items()
    ]
    return render_cells({"every phase": shared, **own}) + "\n\n" + "\n".join(advance)


def describe(hint: object) -> str:
    """A field's type and bounds in words."""
    bounds: object = None
    if get_origin(hint) is Annotated:
        hint, bounds = get_args(hint)
    if dataclasses.is_dataclass(hint):
        return getattr(hint, "__name__", "")
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(f"[{tag}, {describe(kind)}]" for tag, kind in enumerate(get_args(hint)))
    if isinstance(bounds, Range):
        return f"integer {bounds.low}…{bounds.high}"
    assert isinstance(bounds, Length)
    count = f"{bounds.low}" if bounds.low == bounds.high else f"{bounds.low}…{bounds.high}"
    if get_origin(hint) is tuple:
        return f"{count} × ({describe(get_args(hint)[0])})"
    return f"{'text' if hint is str else 'bytes'} of {count}"


def nested_kinds(kind: type, known: list[type]) -> list[type]:
    """The dataclasses that a message is made of, outermost first."""
    known.append(kind)
    stack = list(get_type_hints(kind, include_extras=True).values())
    while stack:
        hint = stack.pop(0)
        if dataclasses.is_dataclass(hint) and hint not in known:
            nested_kinds(hint, known)  # type: ignore[arg-type]
        stack += [argument for argument in get_args(hint) if not isinstance(argument, Range | Length)]
    return known


def render_messages() -> str:
    lines = ["| kind | message | sent by |", "|---|---|---|"]
    lines += [f"| {n} | `{kind.__name__}` | {SENDER_ROLE[kind].value}s |" for n, kind in MESSAGE_KINDS.items()]
    return "\n".join(lines)


def render_fields() -> str:
    kinds: list[type] = []
    for kind in (Envelope, *MESSAGE_KINDS.values(), ContributionDocument, Bundle, Manifest, Hint, RoundSecrets):
        if kind not in kinds:
            nested_kinds(kind, kinds)
    lines = ["| message | field | form |", "|---|---|---|"]
    for kind in kinds:
        hints = get_type_hints(kind, include_extras=True)
        for index, field in enumerate(dataclasses.fields(kind)):
            name = f"`{kind.__name__}`" if index == 0 else ""
            lines.append(f"| {name} | {field.name} | {describe(hints[field.name])} |")
    return "\n".join(lines)


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "p2p_flock/alliance/SPEC.md": {
        "trainer": lambda: render_cells(trainer._TABLE),  # type: ignore[arg-type]
        "validator": render_validator,
    },
    "p2p_flock/wire/WIRE.md": {"messages": render_messages, "fields": render_fields},
}


def fill(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    for name, render in tables.items():
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(\n?<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"no place for table {name!r}")
        text = pattern.sub(lambda match, render=render: f"{match[1]}{render()}\n<!-- end -->", text)  # type: ignore[misc]
    return text


def main() -> int:
    is_check = sys.argv[1:] == ["--check"]
    stale = []
    for path, tables in TABLES.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        filled = fill(text, tables)
        if filled != text:
            stale.append(path)
            if not is_check:
                (ROOT / path).write_text(filled, encoding="utf-8")
    print(("stale: " if is_check else "written: ") + (", ".join(stale) or "none"))
    return 1 if stale and is_check else 0


if __name__ == "__main__":
    sys.exit(main())
