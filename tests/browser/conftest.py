"""A browser, a node to look at, and a page that tolerates no complaint."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.browser import scenarios
from tests.browser.chromium import launch_chromium
from tests.browser.fake_node import FakeNode

WAIT_MS = 60_000  # a bound for a busy machine, not an expectation
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as tool:
        opened = launch_chromium(tool)
        yield opened
        opened.close()


@pytest.fixture
def node() -> Iterator[FakeNode]:
    """A trainer at work, in an alliance with fourteen rounds behind it."""
    fake = FakeNode()
    scenarios.tell(fake, scenarios.training())
    fake.start()
    yield fake
    fake.stop_if_running()


@pytest.fixture
def page(browser: Browser, node: FakeNode) -> Iterator[Page]:
    """A page on a desktop; fails where the browser complains, or asks anybody but the node."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(WAIT_MS)
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A node that does not answer is told on the page; Chromium writes a line of its own for each try.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def look(request: Request) -> None:
        if not request.url.startswith((node.url, "data:")):
            complaints.append(f"asks {request.url}")

    opened.on("console", note)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", look)
    yield opened
    context.close()
    assert complaints == []
