"""``/metrics``: the text that Prometheus reads, and that it says what the node knows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from p2p_flock import __version__
from p2p_flock.daemon.metric_families import METRIC_FAMILIES, PREFIX
from p2p_flock.daemon.prometheus import ROLES, STEPS, Reading, compute_values, render
from p2p_flock.daemon.vitals import PARTS, Vitals, read_disk
from tests.cli.watch_samples import SAMPLES

NAME = re.compile(r"[a-z][a-z0-9_]*")
READING = Reading(
    watch=SAMPLES["training"],
    counts={"signatures_made": 3, "signatures_verified": 8, "blob_bytes_served": 4_096},
    groups={
        "messages_sent": {"Contribution": 3},
        "messages_received": {"Ballot": 2, "unknown": 1},
        "rpc_calls": {"eth_call": 40, "eth_getLogs": 12},
    },
    totals={"rpc_bytes_sent": 1_000, "rpc_bytes_received": 20_000},
    levels={"daemon_descriptors": 40, "daemon_threads": 6, "daemon_tasks": 55},
    clock_offset_ms=-250,
    rpc_error_count=7,
    worker_starts=3,
    is_worker_up=True,
    is_chain_up=True,
    loop_lag_s=0.012,
    disk_free_bytes=10**9,
    disk_used_bytes=dict.fromkeys(PARTS, 4_096),
)


def scrape(reading: Reading) -> dict[str, Metric]:
    """As Prometheus would read it, by the family's name without prefix."""
    text = render(reading).decode()
    return {
        family.name.removeprefix(PREFIX).removesuffix("_info"): family
        for family in text_string_to_metric_families(text)
    }


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    """Of one sample."""
    (found,) = [sample.value for sample in families[name].samples if sample.labels == labels]
    return float(found)


def test_metrics__say_what_the_node_knows() -> None:
    """An operator's alarms would watch numbers that are not the node's."""
    families, watch = scrape(READING), SAMPLES["training"]
    alliance = watch["alliance"]
    assert alliance is not None and alliance["running"] is not None and alliance["holdings"] is not None
    assert value(families, "round") == alliance["running"]["round"]
    assert value(families, "round_role", role="trainer") == 1 and value(families, "round_role", role="validator") == 0
    assert [value(families, "round_step", step=step) for step in STEPS] == [0, 1, 0, 0, 0, 0, 0]
    assert value(families, "rounds_settled") == alliance["settled_rounds"]
    assert value(families, "stake_flock") == pytest.approx(int(alliance["holdings"]["stake"]) / 1e18)
    assert value(families, "messages_received", kind="Ballot") == 2
    assert value(families, "chain_rpc_calls", method="eth_call") == 40 and value(families, "chain_rpc_errors") == 7
    assert value(families, "worker_restarts") == 2 and value(families, "worker_up") == 1
    assert value(families, "clock_offset_seconds") == -0.25
    assert value(families, "event_loop_lag_seconds") == pytest.approx(0.012)
    assert value(families, "build", version=__version__) == 1
    last = alliance["rounds"][0]
    assert value(families, "last_round_survivors") == last["survivors"]
    assert value(families, "last_round_votes", cohort="0", verdict="yes") == last["votes_for"][0]


def test_metrics__late_members_are_counted() -> None:
    """Who keeps everybody waiting would be seen only after the round."""
    values = compute_values(replace(READING, watch=SAMPLES["late"]))
    awaited, late = values["participants_awaited"][()], values["participants_late"][()]
    assert 1 <= late <= awaited
    assert compute_values(READING)["participants_late"][()] <= compute_values(READING)["participants_awaited"][()]


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_metrics__of_every_state_can_be_read(name: str) -> None:
    """A node between two rounds, or without a seat, would answer a scrape with a traceback."""
    families = scrape(replace(READING, watch=SAMPLES[name]))
    assert families["in_alliance"].samples[0].value == (SAMPLES[name]["alliance"] is not None)


def test_metrics__what_is_unknown_is_left_out() -> None:
    """A zero would be taken for a measurement: no money, no lag, a full disk."""
    bare = Reading(watch={**SAMPLES["training"], "alliance": None, "block": None, "chain_time_s": None})
    names = set(compute_values(bare))
    for name in ("stake_flock", "chain_lag_seconds", "disk_free_bytes", "event_loop_lag_seconds", "round", "chain_up"):
        assert name not in names
    assert "uptime_seconds" in names


def test_families__are_all_served_and_documented() -> None:
    """The documentation would name metrics that do not exist, or the other way round."""
    families = {family.name: family for family in METRIC_FAMILIES}
    assert len(families) == len(METRIC_FAMILIES)
    served: set[str] = set()
    for sample in SAMPLES.values():
        reading = replace(READING, watch=sample)
        served |= set(compute_values(reading))
        for name, metric in scrape(reading).items():
            assert metric.documentation == families[name].help
            assert metric.type == ("gauge" if families[name].kind == "info" else families[name].kind)
    assert served == set(families)


def test_families__follow_the_conventions() -> None:
    """Dashboards and alarms of others would not understand the units."""
    for family in METRIC_FAMILIES:
        assert NAME.fullmatch(family.name) and family.help.endswith(".") and len(family.help) <= 120
        assert not family.name.endswith(("_total", "_info", "_ms", "_kb"))
        if family.kind == "counter":
            assert family.full_name.endswith("_total")


def test_labels__take_few_values() -> None:
    """One series for each peer would fill the operator's database; an ID in a label would name members."""
    for sample in SAMPLES.values():
        for metric in scrape(replace(READING, watch=sample)).values():
            assert len(metric.samples) <= 40
            for one in metric.samples:
                for text in one.labels.values():
                    assert len(text) <= 32 and not text.startswith(("0x", "12D3", "flock:"))
    assert set(ROLES) == {"trainer", "validator", "none"}


def test_disk__is_told_by_kind_of_file(tmp_path: Path) -> None:
    """An operator would not know what fills the disk."""
    for name in ("blobs/aa/b", "models/c", "logs/node.log", "node.pid"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(5_000))
    free, used = read_disk(tmp_path)
    assert free is not None and free > 0
    assert all(used[part] >= 5_000 for part in ("blobs", "models", "logs", "other")) and used["journal"] == 0
    assert read_disk(tmp_path / "missing") == (None, dict.fromkeys(PARTS, 0))


async def test_vitals__measure_how_late_the_loop_is(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A node that stands still for seconds would look healthy."""
    vitals = Vitals(tmp_path)
    assert vitals.loop_lag_s is None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(vitals.run)
        await trio.sleep(3.5)
        assert vitals.loop_lag_s == 0
        autojump_clock.jump(2.0)
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    lag_s = vitals.loop_lag_s
    assert lag_s is not None and 1.0 < lag_s < 2.5
