"""What ``CONTROL.md`` says about commands and fields, read from its text, so that no word is written twice. Pure.

Called by ``openapi.py``. Understands the two forms of that document: a paragraph that begins with the command's name in
bold code, and below it tables of ``| `field`, `field` | meaning |``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_COMMAND = re.compile(r"\*\*`([a-z]+(?:\.[a-z]+)?)`\*\*\s*(.*)")
_ROW = re.compile(r"\|\s*(`[^|]*?)\s*\|\s*(.*?)\s*\|")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CODE = re.compile(r"`[^`]*`")
_HEADING = re.compile(r"#+ ")


@dataclass(slots=True)
class ControlWords:
    """Texts by command, and by command and field."""

    commands: dict[str, str] = field(default_factory=dict)
    fields: dict[tuple[str, str], str] = field(default_factory=dict)

    def command(self, name: str) -> str:
        """What the command does, as Markdown; empty where the document does not know it."""
        return self.commands.get(name, "")

    def field(self, command: str, name: str) -> str:
        """What the field means by the command's own tables; empty where they do not say.

        Never by another command's: fields of one name often mean different things.
        """
        return self.fields.get((command, name), "")


def parse_control_document(text: str) -> ControlWords:
    """Read the document; a part it does not understand is left out."""
    words = ControlWords()
    command, is_paragraph = "", False
    for line in text.splitlines():
        if (start := _COMMAND.match(line)) is not None:
            command, is_paragraph = start[1], True
            words.commands[command] = start[2]
        elif _HEADING.match(line):
            command, is_paragraph = "", False
        elif not line.strip():
            is_paragraph = False
        elif is_paragraph:
            words.commands[command] += f" {line.strip()}"
        elif command and (row := _ROW.fullmatch(line.strip())) is not None:
            names = _NAME.findall(row[1])
            for name in names:
                words.fields[command, name] = row[2]
            for name in _NAME.findall(" ".join(_CODE.findall(row[2]))):
                words.fields.setdefault((command, name), f"See `{names[0]}`.")
    return words
