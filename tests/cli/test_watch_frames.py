"""Frames of ``alliance watch``: golden ones for every state, and what holds for all of them at any size."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from p2p_flock.cli.watching.curve import curve_lines
from p2p_flock.cli.watching.frame import View, build_frame
from p2p_flock.cli.watching.words import (
    ACTIVITIES,
    ITEMS,
    PARTICIPANT_STATES,
    RECEIPTS,
    STEP_OF_ITEM,
    STEPS,
    UNREACHABLE_S,
    WITHOUT,
    outcome_sentences,
    participant_state,
    summary_line,
    work_text,
)
from p2p_flock.daemon.watch_messages import WatchResult, WorkResult
from tests.cli.watch_samples import SAMPLES, answer, ended, running

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
    assert set(ITEMS) == set(WITHOUT) == {item.value for item in Item}
    assert {*STEP_OF_ITEM.values()} <= set(STEPS)
    assert {*_TRAINER_ACTIVITY.values(), *_VALIDATOR_ACTIVITY.values()} <= set(ACTIVITIES)
    assert set(_TRAINER_ACTIVITY) == set(type(next(iter(_TRAINER_ACTIVITY))))


CASES = json.loads((Path(__file__).parents[1] / "vectors" / "participant_states.json").read_text())


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["name"])
def test_participant_state__is_the_page_s(case: dict[str, Any]) -> None:
    """The terminal and the page would call the same member by two names."""
    entry = {**CASES["default_participant"], **case["participant"]}
    round_now = {**CASES["default_running"], **case.get("running", {})}
    assert participant_state(entry, round_now, case["now_ms"]) == case["state"]  # type: ignore[arg-type]
    assert CASES["unreachable_s"] == UNREACHABLE_S
    assert {other["state"] for other in CASES["cases"]} == set(PARTICIPANT_STATES)


def test_work__tells_how_long_it_takes_still() -> None:
    """A bar that stands still would say nothing; one that is about to end need not say more."""
    at_ms = 100_000
    one: WorkResult = {"what": "training", "done": 240, "total": 800, "unit": "batches", "started_ms": at_ms - 12_000}
    assert work_text(one, at_ms) == "training  ■■■■■■□□□□□□□□□□□□□□ 240 of 800 batches · 12 s so far, about 28 s to go"
    assert work_text({**one, "done": 0}, at_ms).endswith("0 of 800 batches · 12 s so far")
    assert work_text({**one, "started_ms": at_ms + 500}, at_ms).endswith("240 of 800 batches")  # clocks differ
    assert work_text({**one, "what": "later", "unit": "bytes", "total": 240}, at_ms).startswith("later     ■■■■■■■■■■")


def test_curve__two_scores_on_one_scale() -> None:
    """Two curves of different scales would be compared by eye all the same."""
    alliance = SAMPLES["closed"]["alliance"]
    assert alliance is not None
    (own, alone) = (line.plain for line in curve_lines(alliance, is_roomy=True))
    assert "▁▅██· .845" in own and "·▅▇▇· .791, so taking part gains .054" in alone and "rounds 0 to 4" in own
    rounds = [{**entry, "own_score": 0.5, "local_only_score": None} for entry in alliance["rounds"]]
    told = curve_lines({**alliance, "rounds": rounds, "local_only_note": "too slow"}, is_roomy=True)  # type: ignore[typeddict-item]
    assert "▅▅▅▅▅ .500" in told[0].plain and told[1].plain.endswith("on your data alone too slow")
    assert curve_lines({**alliance, "rounds": []}, is_roomy=True) == []
    assert len(curve_lines(alliance, is_roomy=False)) == 1


def test_outcomes__are_explained() -> None:
    """A rejected round would be a word in red, and its trainers wonder what they did wrong."""
    rounds = [ended(9, "undecided"), ended(8, "rejected", cohort_outcomes=["adopted", "rejected"], votes_for=[3, 0],
              votes_against=[0, 3]), ended(7, "adopted"), ended(6, "rejected", cohort_outcomes=["void"]),
              ended(5, "voided")]  # fmt: skip
    told = outcome_sentences(rounds, 9)
    assert [text.split()[1] for text in told] == ["9", "8", "6", "5"]
    assert "Round 8 cohort 1 rejected: 3 against, 0 for" in told[1]
    assert outcome_sentences(rounds, 2) == told[:2]


def test_summary__changes_when_something_does() -> None:
    """A log would stand still while the round goes on, or grow by the second."""
    result = SAMPLES["collecting"]
    assert summary_line(result) == summary_line({**result, "now_ms": result["now_ms"] + 5_000})
    assert len({summary_line(sample) for sample in SAMPLES.values()}) >= len(SAMPLES) - 1
    assert "Waiting for seats 5." in summary_line(result)
