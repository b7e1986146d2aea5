"""Writes ``config.toml``: every setting with its explanation, so that the file documents itself.

Called by ``cli/init.py`` and ``cli/config.py``. A setting that has its default is written as a comment.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from p2p_flock.daemon.config import SECTIONS

_HEADING = """\
# Settings of one p2p_flock node. A line that begins with # shows the default. The environment overrides single values:
# P2P_FLOCK_NET_LISTEN_PORT=4102 stands for listen_port under [net]. Relative paths start from this file's folder.
"""
_SECTION_COMMENTS = {"test": "# For tests on a devnet only: each of these gives away what masks hide.\n"}
_PLACEHOLDERS = {
    "rpc_urls": ("https://rpc.example",),
    "chain_id": 84532,
    "factory": "0x" + "00" * 20,
}


def render_config(values: Mapping[tuple[str, str], object]) -> str:
    """The file's text, with ``values`` by (section, key) set and all else commented out.

    Required settings that ``values`` lacks are commented out with a placeholder.
    """
    unknown = [place for place in values if place[0] not in SECTIONS]
    assert not unknown, f"no such section: {unknown}"
    parts = [_HEADING]
    for section, kind in SECTIONS.items():
        lines = [f"\n[{section}]\n", _SECTION_COMMENTS.get(section, "")]
        for field in dataclasses.fields(kind):
            lines.append(f"# {field.metadata['comment']}\n")
            if values.get((section, field.name)) is not None:
                lines.append(f"{field.name} = {_toml(values[section, field.name])}\n")
            elif field.default is dataclasses.MISSING:
                lines.append(f"# {field.name} = {_toml(_PLACEHOLDERS[field.name])}  # required\n")
            else:
                default = "" if field.default is None else " " + _toml(field.default)
                lines.append(f"# {field.name} ={default}\n")
        parts.append("".join(lines))
    return "".join(parts)


def _toml(value: object) -> str:
    """TOML of a text, whole number, truth value, path or list of texts. JSON's text form is valid TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (str, Path)):
        # JSON escapes characters beyond 16 bits as two surrogates, which TOML refuses; leave them as they are.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    assert isinstance(value, (tuple, list)), f"no TOML for {value!r}"
    return "[" + ", ".join(_toml(item) for item in value) + "]"
