"""Debian's Chromium, driven by playwright, and axe to look for accessibility faults. Neither is part of the package."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Browser, Page, Playwright

AXE = Path(__file__).resolve().parents[2] / "p2p_flock/dashboard/frontend/node_modules/axe-core/axe.min.js"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def launch_chromium(tool: Playwright) -> Browser:
    """The system's Chromium, headless. As root in a container its own sandbox cannot be set up."""
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    assert program is not None, "no Chromium: run scripts/test browser, or apt-get install chromium"
    return tool.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])


def find_faults(page: Page) -> list[str]:
    """What axe calls serious or critical. It is given to the page past the content policy, as a debugger is."""
    page.evaluate(AXE.read_text() + "; 0")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{entry['id']}: {entry['help']}: {[part['html'][:160] for part in entry['nodes'][:3]]}"
        for entry in found["violations"]
        if entry["impact"] in ("serious", "critical")
    ]
