"""Debian's Chromium on the page of a real node in a real network of six, while one node dies and another cheats.

Slow: two to four minutes. Pictures and the figures that a report wants (first paint) go to ``$BROWSER_ARTIFACTS``,
where that is set; nothing here asserts a time.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.browser.test_page import find_faults
from tests.e2e.running import Testnet, running_testnet

# One poisoner, and one node that is killed for two thirds of a minute: the alliance goes on without it. Who waits for
# it depends on the draw, so every other node's page is open until one has shown it.
STRUCK = "node1"
OPTIONS = (
    *("--nodes", "6", "--rounds", "40", "--seed", "3", "--no-references", "--byzantine", "signflip5:1"),
    *("--fault", f"restart:{STRUCK}@TRAIN#4,40s", "--void-count-max", "20"),
)
RUN_SECONDS_MAX = 300.0
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
PAINT = "performance.getEntriesByType('paint').map(entry => [entry.name, entry.startTime])"


class Watcher:
    """A page of one node; ``faults``: what axe found in any state, ``errors``: what the browser complained of."""

    def __init__(self, page: Page, link: str) -> None:
        self.page = page
        self.faults: list[str] = []
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)
        page.goto(link)
        page.wait_for_selector("#round, #participants, #money", timeout=RUN_SECONDS_MAX * 1000)

    def _note(self, message: ConsoleMessage) -> None:
        # The network ends when its rounds are over; Chromium writes a line for each try to reach the node then.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def until(self, what: str, look: Callable[[], bool]) -> None:
        """Look ten times a second until it is so."""
        waited_ms = 0.0
        while not look():
            assert waited_ms < RUN_SECONDS_MAX * 1000, f"the page never showed {what}:\n{self.text()}"
            self.page.wait_for_timeout(100)
            waited_ms += 100

    def text(self) -> str:
        return self.page.inner_text("body")

    def count(self, selector: str) -> int:
        return self.page.locator(selector).count()

    def picture(self, name: str, is_quick: bool = False) -> None:
        """The state as it is now: checked by axe, and kept in every size and scheme where somebody asked for it."""
        folder = os.environ.get("BROWSER_ARTIFACTS")
        if folder is not None and is_quick:  # of a state that lasts a second or two
            self.page.screenshot(path=Path(folder) / f"live-{name}.png")
        self.faults += [f"{name}: {fault}" for fault in find_faults(self.page)]
        if folder is None or is_quick:
            return
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            for size, (width, height) in SIZES.items():
                self.page.set_viewport_size({"width": width, "height": height})
                self.page.screenshot(path=Path(folder) / f"live-{name}-{size}-{scheme}.png", full_page=True)
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size({"width": SIZES["desktop"][0], "height": SIZES["desktop"][1]})


def home_of(testnet: Testnet, name: str) -> Path:
    return next(Path(node["home"]) for node in testnet.network()["nodes"] if node["name"] == name)


def link_of(testnet: Testnet, name: str) -> str:
    home = home_of(testnet, name)
    address, token = home / "dashboard.url", home / "dashboard.token"
    testnet.wait_until(lambda: address.exists() and token.exists())
    return f"{address.read_text().strip()}/#token={token.read_text().strip()}"


def answers(testnet: Testnet, name: str) -> bool:
    """Whether the node's page is served where its file says."""
    port = int((home_of(testnet, name) / "dashboard.url").read_text().strip().rpartition(":")[2])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def first_that(what: str, watchers: list[Watcher], look: Callable[[Watcher], bool]) -> Watcher:
    """The page that shows it first; looked at in turn, ten times a second."""
    found: list[Watcher] = []

    def any_page() -> bool:
        found.extend(watcher for watcher in watchers if look(watcher))
        return bool(found)

    watchers[0].until(what, any_page)
    return found[0]


def seats_that_are(watcher: Watcher, state: str) -> set[str]:
    """Seats whose rows are in this state, as their first cells say."""
    cells = watcher.page.locator(f"tr.state-{state} > :first-child")
    return set(cells.all_inner_texts())


def keep_figures(watcher: Watcher) -> None:
    """First paint and first contentful paint since the page was asked for, milliseconds."""
    folder = os.environ.get("BROWSER_ARTIFACTS")
    if folder is not None:
        figures = {"paint_ms": dict(watcher.page.evaluate(PAINT))}
        (Path(folder) / "live.json").write_text(json.dumps(figures, indent=1))


@pytest.mark.slow
def test_page__tells_a_whole_run(browser: Browser, tmp_path: Path) -> None:
    """An operator would not see that roles change, who is late and lost, that the model gets better, or why a round or
    a member was turned down."""
    width, height = SIZES["desktop"]

    with running_testnet(tmp_path, *OPTIONS) as testnet:
        testnet.network()

        def open_page(name: str) -> Watcher:
            return Watcher(browser.new_page(viewport={"width": width, "height": height}), link_of(testnet, name))

        names = [str(node["name"]) for node in testnet.network()["nodes"]]
        watchers = [open_page(name) for name in names if name != STRUCK]
        watcher = watchers[0]
        keep_figures(watcher)
        watcher.until("the running round", lambda: watcher.count("table.participants tr.own") == 1)

        waiting = first_that("somebody late", watchers, lambda one: bool(seats_that_are(one, "late")))
        late = seats_that_are(waiting, "late")
        waiting.picture("late", is_quick=True)
        losing = first_that("it lost", watchers, lambda one: bool(late & seats_that_are(one, "lost")))
        losing.picture("lost", is_quick=True)
        for other in watchers[1:]:
            other.page.close()
        points = watcher.count("#score table tbody tr")

        watcher.until("a rejected round", lambda: watcher.count("tr.outcome-rejected .why") > 0)
        assert "against" in watcher.page.locator("tr.outcome-rejected .why").first.inner_text()
        watcher.picture("rejected")
        # It comes back with another port; the killed process's file tells the former one until then.
        testnet.wait_until(lambda: "over after" in testnet.text() and answers(testnet, STRUCK))
        struck = open_page(STRUCK)
        struck.until("a strike or a suspension", lambda: tells_absence(struck))
        struck.picture("strike")
        watcher.until("a longer curve", lambda: watcher.count("#score table tbody tr") > points)
        watcher.until("both roles", lambda: {"trainer", "validator"} <= roles_of(watcher))
        watcher.picture("end")
        faults = [fault for one in (*watchers, struck) for fault in one.faults]
        assert faults == []
        assert [error for one in (watcher, struck) for error in one.errors] == []


def tells_absence(watcher: Watcher) -> bool:
    """Its own page says that the node was absent, and what follows from it."""
    text = watcher.page.inner_text("#money").lower()
    return "1 of 2" in text or "absent in round" in text


def roles_of(watcher: Watcher) -> set[str]:
    """What this node was in the rounds that the page lists, and in the running one."""
    words = watcher.page.locator("table.rounds tbody tr, table.participants tr.own").all_inner_texts()
    return {role for role in ("trainer", "validator") for text in words if role in text}
