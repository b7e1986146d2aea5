"""The documentation against the code, without executing it: commands, options, settings, links, generated pages."""

from __future__ import annotations

import re
import tomllib

import pytest

from p2p_flock.alliance.pay import AGREEMENT_BPS, REFUND_BPS, TRAINER_BPS, VALIDATOR_BPS
from p2p_flock.cli.alliance_create import PRESETS
from p2p_flock.daemon.config import SECTIONS
from p2p_flock.daemon.metric_families import METRIC_FAMILIES
from scripts.docs import DOCS, PARTS, build_pages, fill
from tests.docs.commands import find_faults, split_commands
from tests.docs.pages import INLINE, ROOT, Page, PageError, parse_page, read_pages

PAGES = read_pages()
WRONG_ON_PURPOSE = "docs/wrong-moves.md"  # tests/e2e/test_wrong_moves.py makes its commands and compares the answers
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    titles = re.findall(r"^#+ +(.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_page__names_what_exists(page: Page) -> None:
    """A reader would type a command that is gone."""
    texts = [text for language, _, text in page.fences if language == "sh"] + page.inline_commands
    commands = [words for text in texts for words in split_commands(text)]
    faults = [fault for words in commands for fault in find_faults(words)]
    assert bool(faults) == (page.path == WRONG_ON_PURPOSE), faults


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_page__links_lead_somewhere(page: Page) -> None:
    """A reader would follow a link into nothing."""
    folder = (ROOT / page.path).parent
    broken = []
    for link in LINK.findall(page.text):
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        file = (folder / target).resolve() if target else ROOT / page.path
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_page__hides_no_command(page: Page) -> None:
    """A command in a block of another language would never be executed."""
    hidden = [
        (line, text)
        for language, line, text in page.fences
        if language != "sh" and re.search(r"^(\$ |p2p-flock |scripts/|sudo |pip |python3? )", text, re.MULTILINE)
    ]
    assert hidden == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_page__names_settings_that_exist(page: Page) -> None:
    """A reader would write a setting that the node refuses."""
    faults = []
    for language, line, text in page.fences:
        values = tomllib.loads(text) if language == "toml" else {}
        for section, entries in values.items():
            known = SECTIONS[section].__dataclass_fields__ if section in SECTIONS else {}
            faults += [(line, section, key) for key in entries if key not in known]
    assert faults == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_page__names_metrics_that_exist(page: Page) -> None:
    """An alert would wait for a metric that no node serves."""
    yaml = [text for language, _, text in page.fences if language == "yaml"]
    texts = " ".join([*yaml, *INLINE.findall(page.text)])
    known = {family.full_name for family in METRIC_FAMILIES}
    assert set(re.findall(r"\bp2p_flock_[a-z_]+\b", texts)) - known == set()


def test_pages__are_all_in_the_index() -> None:
    """A page that nothing leads to is not read."""
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    named = {(DOCS / link.partition("#")[0]).resolve() for link in LINK.findall(index)}
    pages = {ROOT / page.path for page in PAGES} - {ROOT / "README.md", DOCS / "README.md"}
    assert sorted(str(path.relative_to(ROOT)) for path in pages - named) == []


def test_economics__numbers_in_prose_are_those_of_the_code() -> None:
    """Pay would be promised that the contract does not pay."""
    page = (DOCS / "explanation" / "economics.md").read_text(encoding="utf-8")
    shares = [int(share) * 100 for share in re.findall(r"^\| (\d+) % \|", page, re.MULTILINE)]
    assert shares == [TRAINER_BPS, VALIDATOR_BPS, AGREEMENT_BPS, REFUND_BPS]
    text = " ".join(page.split())
    preset = {name: value for name, value in PRESETS["default"].items() if isinstance(value, int)}
    seats, validators, reward = preset["seat_count_max"], preset["validator_count"], preset["reward_per_round"] / 10**18
    assert f"With the default preset and {seats} members, {reward:.0f} FLOCK a round are {reward * 0.4:.0f}" in text
    assert f"at most {seats - validators} trainers: {reward * 0.4 / (seats - validators):.2f} FLOCK each" in text
    assert f"Seven validators get {reward * 0.4 / validators:.2f} each" in text and validators == 7
    assert preset["provable_slash_bps"] == 1_000 and "(10 % in the presets)" in text


def test_generated__is_of_this_code() -> None:
    """The reference would tell of another version; `scripts/docs` writes it anew."""
    stale = [path for path, text in build_pages().items() if (DOCS / path).read_text(encoding="utf-8") != text]
    assert stale == []


def test_generated__needs_its_place() -> None:
    """A part that lost its place would no longer be written, and nobody would see."""
    name = next(iter(next(iter(PARTS.values()))))
    text = f"before\n<!-- generated: {name} -->\nold\n<!-- end -->\nafter\n"
    assert fill(text, {name: lambda: "new"}) == text.replace("old", "\nnew\n")
    with pytest.raises(SystemExit, match="no place"):
        fill("nothing", {name: lambda: "new"})


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("p2p-flock alliance jion ID", "no command jion"),
        ("p2p-flock status --jsno", "no option --jsno"),
        ("scripts/testnet --node 8", "no option --node"),
        ("scripts/tesnet", "there is no scripts/tesnet"),
        ("cd x && P2P_FLOCK_HOME=y p2p-flock stauts # why", "no command stauts"),
    ],
)
def test_checker__sees_what_is_wrong(command: str, fault: str) -> None:
    """A misspelled command would pass for ever."""
    (words,) = split_commands(command)
    assert fault in " ".join(find_faults(words))


@pytest.mark.parametrize(
    "text",
    [
        "```sh\ntrue\n```\n",  # does not say what it needs
        "<!-- page: quick -->\n<!-- test: skip -->\n```sh\ntrue\n```\n",
        "<!-- page: quick -->\n<!-- test: exit 1 -->\n\ntext\n\n```sh\ntrue\n```\n",
        "<!-- page: quick -->\n<!-- test: exit 1 -->\n```text\ntrue\n```\n",
        "<!-- page: never -->\n```sh\ntrue\n```\n",
    ],
)
def test_page__without_a_verdict_is_refused(text: str) -> None:
    """A block could be left out silently."""
    with pytest.raises(PageError):
        parse_page("planted.md", text)
