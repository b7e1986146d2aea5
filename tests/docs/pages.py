"""The commands of README.md and docs/, with what the comment before each block says about executing it.

A block of commands is fenced as ``sh``. A comment right before it may say how it is executed where it cannot be as it
stands, one direction a line::

    <!-- test: with 192.0.2.10 = 127.0.0.1      this text is replaced; it must be there
    as: systemd-analyze verify p2p-flock.service  executed instead (may be repeated, one line each)
    background until all joined                   started, left running until the page's end; goes on at this output
    again until settled                           repeated until this is in the output
    shows AUC                                     must be in the output
    capture ALLIANCE = (flock:\\S+)                kept for later blocks, which name it in `with`: OLD = $ALLIANCE
    answer y                                      typed in
    exit 2                                        the exit code
    seconds 600 -->                               the most that it may take

A page says once, in ``<!-- page: … -->``, what its commands need: ``quick`` (no network), ``network`` (a node that
takes part in a testnet's alliance, as ``$P2P_FLOCK_HOME``) or ``alone`` (it starts a network of its own).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("quick", "network", "alone")
SECONDS_MAX = 300.0
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT_BEFORE = re.compile(r"<!-- test: ((?:(?!-->).)*?)\s*-->\n\s*$", re.DOTALL)
PAGE_KIND = re.compile(r"^<!-- page: (\w+) -->$", re.MULTILINE)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


class PageError(ValueError):
    """A page says something that the runner does not understand."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of commands and its directions.

    Attributes:
        line: of the fence, from 1.
        replaced: (old, new) texts; ``$NAME`` in a new one is a captured value.
        instead: command lines that stand for the block.
        captures: (name, pattern with one group).
    """

    page: str
    line: int
    text: str
    replaced: tuple[tuple[str, str], ...] = ()
    instead: tuple[str, ...] = ()
    background_until: str | None = None
    again_until: str | None = None
    shows: tuple[str, ...] = ()
    captures: tuple[tuple[str, str], ...] = ()
    answer: str = ""
    exit_code: int = 0
    seconds_max: float = SECONDS_MAX

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Page:
    """A Markdown file. ``kind`` is ``None`` where it has no block of commands and says nothing."""

    path: str
    text: str
    kind: str | None
    blocks: tuple[Block, ...] = field(default=())
    fences: tuple[tuple[str, int, str], ...] = ()  # language, line, text of all fenced blocks

    @property
    def inline_commands(self) -> list[str]:
        """What stands in single backticks and begins with one of our programs."""
        prose = FENCE.sub("", self.text)
        return [text for text in INLINE.findall(prose) if re.match(r"(p2p-flock|scripts/[a-z_]+)(\s|$)", text)]


def read_pages() -> list[Page]:
    """README.md and all of docs/, in order of their paths."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [parse_page(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in paths]


def parse_page(path: str, text: str) -> Page:
    """Find the blocks of a page.

    Raises:
        PageError: a direction is unknown, or the page has commands and does not say what they need.
    """
    kinds = PAGE_KIND.findall(text)
    kind = kinds[0] if kinds else None
    blocks, fences = [], []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        fences.append((match[1], line, match[2]))
        comment = COMMENT_BEFORE.search(text[: match.start()])
        if match[1] == "sh":
            blocks.append(parse_block(path, line, match[2], comment[1] if comment else ""))
        elif comment:
            raise PageError(f"{path}:{line}: directions before a block that is no commands")
    if len(kinds) > 1 or (kind is not None and kind not in KINDS) or (blocks and kind is None):
        raise PageError(f"{path}: say once what its commands need: <!-- page: {'|'.join(KINDS)} -->")
    if text.count("<!-- test:") != sum(bool(COMMENT_BEFORE.search(text[: m.start()])) for m in FENCE.finditer(text)):
        raise PageError(f"{path}: a test comment does not stand right before its block")
    return Page(path, text, kind, tuple(blocks), tuple(fences))


def parse_block(page: str, line: int, text: str, directions: str) -> Block:
    """A block with its directions.

    Raises:
        PageError: one of them is unknown.
    """
    given: dict[str, list[str]] = {}
    for direction in filter(None, map(str.strip, directions.splitlines())):
        found = re.fullmatch(
            r"(with|as:|background until|again until|shows|capture|answer|exit|seconds) (.+)", direction
        )
        if found is None:
            raise PageError(f"{page}:{line}: unknown direction {direction!r}")
        given.setdefault(found[1], []).append(found[2])
    return Block(
        page,
        line,
        text,
        replaced=tuple(_pair(entry) for entry in given.get("with", ())),
        instead=tuple(given.get("as:", ())),
        background_until=given.get("background until", [None])[0],
        again_until=given.get("again until", [None])[0],
        shows=tuple(given.get("shows", ())),
        captures=tuple(_pair(entry) for entry in given.get("capture", ())),
        answer="".join(f"{entry}\n" for entry in given.get("answer", ())),
        exit_code=int(given.get("exit", ["0"])[0]),
        seconds_max=float(given.get("seconds", [str(SECONDS_MAX)])[0]),
    )


def _pair(entry: str) -> tuple[str, str]:
    left, equals, right = entry.partition(" = ")
    if not equals:
        raise PageError(f"{entry!r}: write OLD = NEW")
    return left.strip(), right.strip()
