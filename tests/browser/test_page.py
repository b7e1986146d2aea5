"""The operator's page in a real browser: what it shows in each state, how old that is, who may see it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import scenarios
from tests.browser.chromium import find_faults
from tests.browser.fake_node import FakeNode, Frame

STATES: dict[str, Callable[[], Frame]] = {
    "waiting for seats": lambda: scenarios.frame("waiting"),
    "training": scenarios.training,
    "validator": lambda: scenarios.frame("collecting"),
    "between rounds": scenarios.between_rounds,
    "somebody late": lambda: scenarios.frame("killed"),
    "hidden steps": lambda: scenarios.frame("trainer"),
    "suspended and slashed": scenarios.suspended,
    "suspected": scenarios.suspected,
    "catching up": scenarios.catching_up,
    "chain trouble": scenarios.chain_trouble,
    "no alliance": scenarios.no_alliance,
    "a crowd": scenarios.crowd,
    "closed": lambda: scenarios.frame("closed"),
}
# Each state is looked at twice by axe: every rule in both layouts and both schemes, in half the time of all four.
LOOKS = ((1440, 900, "light", True), (390, 844, "dark", True), (360, 740, "light", False))


def open_page(page: Page, node: FakeNode) -> None:
    page.goto(node.link)
    expect(page.locator("#log")).to_be_visible()


def section(page: Page, name: str) -> Any:
    return page.locator(f"#{name}")


# --- access ----------------------------------------------------------------------------------------------------------


def test_link__opens_the_page_and_leaves_no_token_behind(page: Page, node: FakeNode) -> None:
    """The token would stay in the address bar, the history and every screenshot."""
    open_page(page, node)
    assert page.url == node.url
    assert node.token not in page.content()
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and node.token not in cookie["value"]


@pytest.mark.parametrize("link", ["", "#token=" + "x" * 43])
def test_link__without_a_good_token_says_how_to_get_one(page: Page, node: FakeNode, link: str) -> None:
    """Whoever opens the bare address would see an empty page, or somebody else's node."""
    page.goto(node.url + link)
    expect(page.get_by_text("p2p-flock dashboard", exact=True)).to_be_visible()
    assert "heart" not in page.inner_text("body")
    assert find_faults(page) == []


def test_page__without_its_libraries_says_what_is_missing(page: Page, node: FakeNode) -> None:
    """A checkout that was never set up would show an empty page."""
    page.route("**/vendor/preact.mjs", lambda route: route.abort())
    page.goto(node.link)
    expect(page.get_by_role("alert")).to_contain_text("scripts/setup")


# --- states ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_page__has_no_serious_accessibility_fault(browser: Browser, node: FakeNode, state: str) -> None:
    """Somebody who cannot see, or uses no mouse, could not tell how the node is; a phone would scroll sideways."""
    scenarios.tell(node, STATES[state]())
    for width, height, colours, is_checked in LOOKS:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if colours == "dark" else "light",
            reduced_motion="reduce",
        )
        page = context.new_page()
        open_page(page, node)
        expect(page.locator(".link-state")).to_contain_text("live")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (state, width)
        if is_checked:
            assert find_faults(page) == [], (state, colours, width)
        context.close()


def test_round__shows_role_work_and_deadlines(page: Page, node: FakeNode) -> None:
    """The operator would not know what the node does, nor for how long it may."""
    open_page(page, node)
    shown = section(page, "round")
    expect(shown).to_contain_text("seat 3 · trainer")
    expect(shown).to_contain_text("Your node trains on its own data.")
    expect(shown).to_contain_text("31 of 96 batches")
    expect(shown.locator('li[aria-current="step"]')).to_contain_text(re.compile(r"Train.*running.*\d+ s left, until"))
    expect(shown.locator("li", has_text="Seal")).to_contain_text("unseen")


def test_role_change__is_shown_without_loading_anew(page: Page, node: FakeNode) -> None:
    """The page would show the last round's role."""
    open_page(page, node)
    scenarios.tell(node, scenarios.frame("collecting"))
    expect(section(page, "round")).to_contain_text("validator")
    expect(section(page, "participants")).to_contain_text("masked updates are here and checked")


def test_time_between_rounds__keeps_the_last_one_in_its_place(page: Page, node: FakeNode) -> None:
    """The page would jump twice in each round, and say that it waits for members whom nobody needs."""
    open_page(page, node)
    participants = section(page, "participants")
    expect(participants.get_by_role("row")).to_have_count(8)
    scenarios.tell(node, scenarios.between_rounds())
    shown = section(page, "round")
    expect(shown).to_contain_text("Round 14 is over")
    expect(shown).to_contain_text("waits for the next round to open")
    expect(shown.locator(".timeline li")).to_have_count(7)
    expect(participants.get_by_role("row")).to_have_count(8)
    expect(participants.locator(".waiting")).to_have_text("Roles are drawn anew when the next round begins.")
    assert find_faults(page) == []
    scenarios.tell(node, scenarios.frame("collecting"))
    expect(shown.get_by_role("heading")).to_have_text("Round 14")


def test_rounds__tell_survivors_and_votes_of_each_cohort(page: Page, node: FakeNode) -> None:
    """The operator could not see which cohort lost a trainer, or was rejected."""
    scenarios.tell(node, scenarios.crowd())
    open_page(page, node)
    row = section(page, "rounds").get_by_role("row", name=re.compile("^10 "))
    for text in ("4 of 4 in cohort 0", "4 of 5 in cohort 1", "0 : 3 in cohort 0", "2 : 0, 1 neither in cohort 1",
                 "adopted, 1 of 2 cohorts"):  # fmt: skip
        expect(row).to_contain_text(text)


def test_phone__folds_what_is_looked_at_seldom(page: Page, node: FakeNode) -> None:
    """On a phone the log would stand between the reader and the rounds; or could not be opened by keyboard."""
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, node)
    log = section(page, "log")
    expect(log.locator("li")).to_have_count(0)
    log.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(log.locator("li")).to_have_count(36)
    page.get_by_role("link", name="Resources").click()
    expect(section(page, "resources")).to_contain_text("Memory, daemon")
    assert find_faults(page) == []


def test_late_participant__is_named_with_what_happens_then(page: Page, node: FakeNode) -> None:
    """The operator would not see who holds the round up; that it goes on without them; or that it did."""
    killed = scenarios.frame("killed")
    gone = next(entry for entry in killed["alliance"]["running"]["participants"] if entry["is_awaited"])
    gone["seen_seconds_ago"] = 0
    scenarios.tell(node, killed)
    open_page(page, node)
    shown = section(page, "participants")
    row = shown.get_by_role("row", name=re.compile(rf"^{gone['seat']} "))
    expect(row).to_contain_text("waited for")
    expect(row).to_contain_text("late")  # by itself: three seconds without a connection
    expect(shown.locator(".late")).to_contain_text(
        re.compile(r"Late: the masked update of seat 1 .* goes on without it")
    )
    expect(page.locator("#announcements")).to_contain_text("Late: seat 1.")
    gone["is_awaited"], gone["items"] = False, {"contribution": "missed", "unmasking": "needless"}
    scenarios.tell(node, killed)
    expect(row).to_contain_text("lost")
    expect(shown).to_contain_text("The round went on without seat 1.")


def test_rounds__explain_outcomes_strikes_and_money(page: Page, node: FakeNode) -> None:
    """A rejected cohort or a strike would be a word without a reason."""
    open_page(page, node)
    rounds = section(page, "rounds")
    rejected = rounds.get_by_role("row", name=re.compile("^10 "))
    expect(rejected).to_contain_text("rejected")
    expect(rejected).to_contain_text("3 of 3 validators voted against it")
    expect(rejected).to_contain_text("14.53 FLOCK")
    rejected.locator("summary").click()
    expect(rejected).to_contain_text("commit (yours)")
    rounds.get_by_role("button", name=re.compile("^Show 8 more")).click()
    expect(rounds.get_by_role("row", name=re.compile("^7 "))).to_contain_text("did not agree on chain in time")
    money = section(page, "money")
    expect(money).to_contain_text("A strike: its update did not arrive in time")
    expect(money).to_contain_text("evidence in transaction 0x4a4a4a4a…")


def test_suspended_seat__is_said_on_top_with_its_reason(page: Page, node: FakeNode) -> None:
    """A lost seat would go unnoticed."""
    scenarios.tell(node, scenarios.suspended())
    open_page(page, node)
    expect(page.get_by_role("region", name="Warnings")).to_contain_text("Your seat is suspended for absence.")
    money = section(page, "money")
    expect(money).to_contain_text("absent in rounds 8 and 9")
    expect(money).to_contain_text("Slashed 250 FLOCK for two different seals signed for one round in round 6")


def test_curve__grows_and_has_a_table(page: Page, node: FakeNode) -> None:
    """The curve would stand still, or be there for eyes only."""
    watch = scenarios.training()
    rounds = scenarios.history_of(watch)
    watch["alliance"]["rounds"] = rounds[3:12]
    node.show(watch, mesh=scenarios.mesh_of(watch), rounds=rounds[3:])
    open_page(page, node)
    score = section(page, "score")
    expect(score.locator("canvas")).to_be_visible()
    expect(score).to_contain_text("After round 10: AUC 0.891")
    score.locator("summary").click()
    rows = score.get_by_role("row")
    expect(rows).to_have_count(11)  # with the heading
    node.show(watch, rounds=rounds)
    expect(score).to_contain_text(
        "After round 13: AUC 0.900, from 0.618 after round 1. Trained on your own data alone: 0.820"
    )
    expect(rows).to_have_count(14)


def test_log__is_filtered_and_paused(page: Page, node: FakeNode) -> None:
    """What matters would be lost among the lines, or scroll away while it is read."""
    open_page(page, node)
    log = section(page, "log")
    lines = log.locator("li")
    expect(lines).to_have_count(36)
    log.get_by_label("Level").select_option("warning")
    expect(lines).to_have_count(6)
    log.get_by_label("Round").select_option("3")
    expect(lines).to_have_count(1)
    log.get_by_label("Level").select_option("info")
    log.get_by_label("Text", exact=True).fill("EXAMPLES=243")
    expect(lines).to_have_count(1)
    log.get_by_label("Text", exact=True).fill("")
    log.get_by_label("Round").select_option("")
    log.get_by_role("button", name="Pause").click()
    node.show(scenarios.training(), lines=scenarios.log_of(scenarios.training(), 7))
    expect(log.get_by_role("button", name="Go on (6 new)")).to_be_visible()
    expect(lines).to_have_count(36)
    log.get_by_role("button", name="Go on").click()
    expect(lines).to_have_count(42)


def test_texts_of_peers__stay_texts(page: Page, node: FakeNode) -> None:
    """A peer could run code in the operator's browser."""
    watch = scenarios.chain_trouble()
    watch["warnings"].append(scenarios.HOSTILE)
    watch["alliance"]["task"] = watch["alliance"]["activity_text"] = scenarios.HOSTILE
    watch["alliance"]["running"]["participants"][0]["peer_id"] = scenarios.HOSTILE
    scenarios.tell(node, watch)
    open_page(page, node)
    expect(page.get_by_role("region", name="Warnings")).to_contain_text("<img src=x")
    assert page.locator("img").count() == 0
    assert "owned" not in page.title() or "<img" in page.title()


# --- the link --------------------------------------------------------------------------------------------------------


def test_stopped_node__is_said_with_the_age_of_what_is_shown(page: Page, node: FakeNode) -> None:
    """A dead node would look alive, which is worse than no page."""
    open_page(page, node)
    node.stop()
    expect(page.locator(".link-state")).to_contain_text("node stopped")
    warnings = page.get_by_role("region", name="Warnings")
    expect(warnings).to_contain_text(re.compile(r"Start it on its machine.*What stands below is \d+ s old"))
    expect(section(page, "round")).to_be_visible()
    assert find_faults(page) == []
    node.start()
    expect(page.locator(".link-state")).to_contain_text("live")
    expect(warnings).to_have_count(0)


# --- hands -----------------------------------------------------------------------------------------------------------


def test_keyboard__reaches_the_mesh_and_the_content(page: Page, node: FakeNode) -> None:
    """Without a mouse the graph's nodes could not be read."""
    open_page(page, node)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    first = page.locator("#network svg g[tabindex]").first
    first.focus()
    expect(page.locator(".mesh-detail")).to_contain_text("seat 0: validator, in the mesh")
    page.keyboard.press("Tab")
    expect(page.locator(".mesh-detail")).to_contain_text("seat 1: trainer")


def test_colours__follow_the_choice_and_are_kept(page: Page, node: FakeNode) -> None:
    """A choice would be lost with every load."""
    open_page(page, node)
    button = page.get_by_role("button", name="Colours")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    button.click()
    button.click()
    expect(button).to_have_text("Colours: dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.reload()
    expect(button).to_have_text("Colours: dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_identifier__is_whole_on_demand(page: Page, node: FakeNode) -> None:
    """A peer could not be named to its operator."""
    open_page(page, node)
    peer_id = scenarios.training()["alliance"]["running"]["participants"][0]["peer_id"]
    section(page, "participants").get_by_role("button", name=f"Peer …{peer_id[-6:]}").click()
    expect(section(page, "participants")).to_contain_text(peer_id)
