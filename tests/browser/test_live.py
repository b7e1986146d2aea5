"""Debian's Chromium on the page of a real node in a real network of six, while one node dies and another cheats.

Slow: two to four minutes. Pictures and the figures that a report wants (first paint) go to ``$BROWSER_ARTIFACTS``,
where that is set; nothing here asserts a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.test_page import find_faults
from tests.e2e.running import Testnet, running_testnet

# One poisoner, and one node that is killed for three quarters of a minute: the alliance goes on without it.
WATCHED, STRUCK = "node0", "node1"
OPTIONS = (
    *("--nodes", "6", "--rounds", "24", "--seed", "3", "--no-references", "--byzantine", "signflip5:1"),
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
        page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        page.goto(link)
        page.wait_for_selector("#round, #participants, #money", timeout=RUN_SECONDS_MAX * 1000)

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

    def picture(self, name: str) -> None:
        """The state as it is now: checked by axe, and kept in every size and scheme where somebody asked for it."""
        self.faults += [f"{name}: {fault}" for fault in find_faults(self.page)]
        folder = os.environ.get("BROWSER_ARTIFACTS")
        if folder is None:
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


def struck_seat(watcher: Watcher, state: str) -> str:
    """The seat whose row is in this state, as its first cell says."""
    return watcher.page.locator(f"tr.state-{state} >> nth=0").locator("td, th").first.inner_text()


def record_figures(watcher: Watcher, figures: dict[str, Any]) -> None:
    folder = os.environ.get("BROWSER_ARTIFACTS")
    figures["paint_ms"] = dict(watcher.page.evaluate(PAINT))
    if folder is not None:
        (Path(folder) / "live.json").write_text(json.dumps(figures, indent=1))


@pytest.mark.slow
def test_page__tells_a_whole_run(browser: Browser, tmp_path: Path) -> None:
    """An operator would not see that roles change, who is late and lost, that the model gets better, or why a round or
    a member was turned down."""
    figures: dict[str, Any] = {}
    with running_testnet(tmp_path, *OPTIONS) as testnet:
        width, height = SIZES["desktop"]
        watcher = Watcher(browser.new_page(viewport={"width": width, "height": height}), link_of(testnet, WATCHED))
        record_figures(watcher, figures)

        watcher.until("the running round", lambda: watcher.count("table.participants tr.own") == 1)
        watcher.picture("running")
        points = watcher.count("#score table tbody tr")

        watcher.until("somebody late", lambda: watcher.count("tr.state-late") > 0)
        late = struck_seat(watcher, "late")
        assert "late" in watcher.page.inner_text("#participants .waiting").lower()
        watcher.picture("late")
        watcher.until("somebody lost", lambda: watcher.count("tr.state-lost") > 0)
        lost = struck_seat(watcher, "lost")
        assert late == lost
        watcher.picture("lost")

        watcher.until("a rejected round", lambda: watcher.count("tr.outcome-rejected .why") > 0)
        explained = watcher.page.inner_text("tr.outcome-rejected .why >> nth=0")
        assert "against" in explained and "private data" in watcher.page.inner_text("tr.outcome-rejected >> nth=0")
        watcher.picture("rejected")
        watcher.until("a longer curve", lambda: watcher.count("#score table tbody tr") > points + 2)

        struck = Watcher(browser.new_page(viewport={"width": width, "height": height}), link_of(testnet, STRUCK))
        struck.until("a strike", lambda: "of 2" in struck.page.inner_text("#money") and "0 of 2" not in struck.text())
        struck.picture("strike")
        roles = set[str]()

        def see_both_roles() -> bool:
            row = watcher.page.locator("table.participants tr.own")
            roles.update(word for word in ("trainer", "validator") if row.count() and word in row.first.inner_text())
            roles.update(watcher.page.locator("table.rounds tbody tr td:nth-child(5)").all_inner_texts())
            return {"trainer", "validator"} <= roles

        watcher.until("both roles", see_both_roles)
        watcher.picture("end")
        record_figures(watcher, figures)
        assert watcher.faults + struck.faults == []
        assert watcher.errors == []
