"""Frames of ``alliance watch``: golden ones for every state, and what holds for all of them at any size."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from p2p_flock.cli.watching.frame import View, build_frame
from p2p_flock.cli.watching.words import ACTIVITIES, ITEMS, RECEIPTS, STEP_OF_ITEM, STEPS, summary_line
from p2p_flock.daemon.watch_messages import WatchResult
from tests.cli.watch_samples import SAMPLES, answer, running

FRAMES = Path(__file__).parent / "frames"
NOTE = "16:42:05 · Ctrl-C ends this view; the node goes on."
TROUBLE = ("no daemon runs in /srv/flock", "start it with `p2p-flock node --home /srv/flock`")
SIZES = ((80, 24), (120, 40))


def draw(view: View, width: int, height: int | None, color: bool = False) -> str:
    """The frame as a terminal of that size would show it, without trailing blanks."""
    output = io.StringIO()
    console = Console(
        file=output, width=width, height=height or 100, highlight=False, markup=False, emoji=False,
        force_terminal=color, color_system="standard" if color else None,
    )  # fmt: skip
    console.print(build_frame(view, console, height))
    return "".join(line.rstrip() + "\n" for line in output.getvalue().splitlines())


def view_of(result: WatchResult | None, trouble: tuple[str, str] | None = None) -> View:
    """With rates of CPU where there is an answer."""
    if result is None:
        return View(None, trouble, None, NOTE)
    before = {**result["cost"], "cpu_seconds": 61.43, "worker_cpu_seconds": 29.3}
    return View(result, trouble, (before, 1.0), NOTE)  # type: ignore[arg-type]


VIEWS = {
    **{name: view_of(result) for name, result in SAMPLES.items()},
    "stopped": view_of(SAMPLES["collecting"], TROUBLE),
    "never_answered": view_of(None, TROUBLE),
}


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("name", VIEWS)
def test_frame__is_the_golden_one(name: str, width: int, height: int) -> None:
    """A change of words or layout would go unlooked at. Write them anew with UPDATE_FRAMES=1, and read them."""
    path, drawn = FRAMES / f"{name}-{width}.txt", draw(VIEWS[name], width, height)
    if os.environ.get("UPDATE_FRAMES"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawn)
    assert drawn == path.read_text()


@pytest.mark.parametrize(("width", "height"), [(60, 20), (80, 24), (100, 30), (120, 40), (200, 60)])
@pytest.mark.parametrize("name", VIEWS)
def test_frame__fits_the_screen(name: str, width: int, height: int) -> None:
    """The end of the frame, or its beginning, would be off the screen; a wrapped row would tear the tables apart."""
    lines = draw(VIEWS[name], width, height).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert NOTE.split(" · ", maxsplit=1)[1] in " ".join(" ".join(lines).split())


@pytest.mark.parametrize("name", VIEWS)
def test_frame__without_a_height_shows_everybody(name: str) -> None:
    """--once would leave participants out."""
    result = VIEWS[name].result
    text = draw(VIEWS[name], 120, None)
    alliance = None if result is None else result["alliance"]
    for entry in alliance["running"]["participants"] if alliance is not None and alliance["running"] else []:
        assert f"…{entry['peer_id'][-6:]}" in text
    assert " more" not in text or "two in a row" in text or "waits for more" in text


@pytest.mark.parametrize("name", VIEWS)
def test_frame__says_the_same_without_colour(name: str) -> None:
    """Who cannot see colours, or has set NO_COLOR, would miss something."""
    plain, coloured = draw(VIEWS[name], 100, 40), draw(VIEWS[name], 100, 40, color=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert [line.strip() for line in Console(color_system=None).render_str(coloured).plain.splitlines()]
    for part in ("late", "refused", "missed", "rejected", "strike"):
        assert (part in plain) == (part in coloured)


def test_frame__texts_of_others_are_not_markup() -> None:
    """A peer could style or hide what the operator reads."""
    result = answer("aside", running("train", [], "trainer"), activity_text="[red]odd[/red] [/bold]")
    result["warnings"] = ["[blink]look[/blink]"]
    text = draw(view_of(result), 120, 40)
    assert "[red]odd[/red] [/bold]" in text and "[blink]look[/blink]" in text


def test_words__cover_all_that_the_core_can_say() -> None:
    """A state would be shown by its bare name, or end the view."""
    from p2p_flock.alliance.progress import Item, Receipt, Step  # noqa: PLC0415  the command itself must not need it
    from p2p_flock.daemon.watch_answer import _TRAINER_ACTIVITY, _VALIDATOR_ACTIVITY  # noqa: PLC0415

    assert list(STEPS) == [step.value for step in Step]
    assert set(RECEIPTS) == {receipt.value for receipt in Receipt}
    assert set(ITEMS) == {item.value for item in Item}
    assert {*STEP_OF_ITEM.values()} <= set(STEPS)
    assert {*_TRAINER_ACTIVITY.values(), *_VALIDATOR_ACTIVITY.values()} <= set(ACTIVITIES)
    assert set(_TRAINER_ACTIVITY) == set(type(next(iter(_TRAINER_ACTIVITY))))


def test_summary__changes_when_something_does() -> None:
    """A log would stand still while the round goes on, or grow by the second."""
    result = SAMPLES["collecting"]
    assert summary_line(result) == summary_line({**result, "now_ms": result["now_ms"] + 5_000})
    assert len({summary_line(sample) for sample in SAMPLES.values()}) >= len(SAMPLES) - 1
    assert "Waiting for seats 5." in summary_line(result)
