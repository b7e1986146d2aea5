"""Faults beside the grid: what befalls a whole alliance, and what must come of it. Called by ``bench/faults.py``.

The launcher of the testnet judges every run: each round settled or void, all living nodes on one model, no honest
stake lost, all money accounted for, and nobody hung. What a scenario asks beyond that is said with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from p2p_flock.bench.faults_disk import MEMBER, full_disk
from p2p_flock.bench.faults_run import Beside, Run
from p2p_flock.errors import UsageError

Report = Mapping[str, Any]
VOIDS = 3  # in a row close that scenario's alliance: each takes the timeouts of a whole round


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of them.

    Attributes:
        asks: what must come of it, in words; ``judge`` returns what is missing of that.
        excused: beginnings of complaints of the launcher that are what was to be shown.
        limit_seconds: a run that takes longer hangs.
        beside: what happens to the machine meanwhile.
        words: further arguments of the testnet.
    """

    name: str
    title: str
    faults: tuple[str, ...]
    rounds: int
    asks: str
    judge: Callable[[Report], Sequence[str]]
    excused: tuple[str, ...] = ()
    limit_seconds: float = 420.0
    beside: Beside | None = None
    words: tuple[str, ...] = ()

    def arguments(self, nodes: int) -> list[str]:
        """For ``scripts/testnet``."""
        words = ["--nodes", str(nodes), "--rounds", str(self.rounds), *self.words]
        return [*words, *(word for fault in self.faults for word in ("--fault", fault))]


def judge_run(scenario: Scenario, run: Run) -> dict[str, Any]:
    """The scenario's entry of the JSON file."""
    complaints: list[str] = []
    if run.is_late:
        complaints.append(f"it still ran after {scenario.limit_seconds:.0f} s")
    if run.report is None:
        complaints.append(f"it ended without a report, exit code {run.exit_code}")
    else:
        complaints += [text for text in run.report["complaints"] if not text.startswith(scenario.excused or ("\0",))]
        complaints += scenario.judge(run.report)
    rounds = [] if run.report is None else run.report["rounds"]
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "asks": scenario.asks,
        "command": run.command,
        "seconds": round(run.seconds, 1),
        "settled": sum(entry["outcome"] == "settled" for entry in rounds),
        "voided": sum(entry["outcome"] == "voided" for entry in rounds),
        "longest_round_seconds": max((entry["seconds"]["total"] or 0.0 for entry in rounds), default=None),
        "seats": [len(entry["trainers"]) + len(entry["validators"]) for entry in rounds],
        "stake_lost": {} if run.report is None else dict(run.report["stake_lost_by_node"]),
        "complaints": complaints,
        "is_good": not complaints,
    }


def _all_settled(report: Report) -> list[str]:
    return [
        f"round {entry['round']} is {entry['outcome']}" for entry in report["rounds"] if entry["outcome"] != "settled"
    ]


def _last_settled(report: Report) -> list[str]:
    rounds = report["rounds"]
    is_settled = bool(rounds) and rounds[-1]["outcome"] == "settled"
    return [] if is_settled else ["the last round was not settled: the alliance did not recover"]


def _others_agree(report: Report) -> list[str]:
    """What the launcher says of rounds and of the member is replaced by this."""
    told = [
        (entry["round"], {digest for name, digest in entry["model_digest_by_node"].items() if name != MEMBER})
        for entry in report["rounds"]
    ]
    complaints = [f"round {number}: the others hold different models" for number, digests in told if len(digests) != 1]
    if not any(text.startswith(f"{MEMBER} ended with exit code") for text in report["complaints"]):
        complaints.append(f"{MEMBER} went on although it could write nothing")
    return complaints


def _closed_by_rule(report: Report) -> list[str]:
    """A stake that is stuck is among the launcher's complaints (``testnet/money.py``)."""
    outcomes = [entry["outcome"] for entry in report["rounds"]]
    complaints = [] if outcomes[-VOIDS:] == ["voided"] * VOIDS else [f"it did not close by void rounds: {outcomes}"]
    return complaints if report["money"] is not None else [*complaints, "nobody counted the money"]


SCENARIOS = (
    Scenario(
        "bootstrap-down",
        "the bootstrap node dies, then two members are killed and come back",
        ("bootstrap-down#1", "restart:validator@SEAL#2,5s", "restart:trainer@TRAIN#4,5s"),
        6,
        "every round settles; members find each other without it",
        _all_settled,
    ),
    Scenario(
        "chain-down",
        "the chain stands still for a minute in the middle of a round",
        ("chain-down@SEAL#2,60s",),
        5,
        "rounds go on when it does",
        _last_settled,
    ),
    Scenario(
        "disk-full",
        "one member's disk is full from round 2 on",
        (),
        6,
        "it stops and says why; every round settles, and the others hold one model",
        lambda report: [*_all_settled(report), *_others_agree(report)],
        excused=(MEMBER, "round "),
        beside=full_disk,
    ),
    Scenario(
        "two-gone",
        "two of eight members are gone for good",
        ("kill:2 trainers@TRAIN#2",),
        10,
        "their strikes suspend them and the alliance goes on",
        lambda report: [*_last_settled(report), *_seats_shrink(report)],
        limit_seconds=900.0,
    ),
    Scenario(
        "half-gone",
        "half of the members are gone for good",
        ("kill:half@TRAIN#2",),
        6,
        "too few remain for a cohort: three void rounds in a row close the alliance by rule, nothing hangs, and every "
        "stake can be withdrawn",
        _closed_by_rule,
        limit_seconds=900.0,
        words=("--void-count-max", str(VOIDS)),
    ),
    Scenario(
        "all-killed",
        "every process is killed in the middle of a round and started again five seconds later",
        ("restart:all@UNMASK#2,5s",),
        5,
        "the round is taken up from the disk, or void, and the next one settles",
        _last_settled,
    ),
)


def _seats_shrink(report: Report) -> list[str]:
    seats = [len(entry["trainers"]) + len(entry["validators"]) for entry in report["rounds"]]
    seats = [count for count in seats if count]
    return [] if seats and seats[-1] < seats[0] else [f"nobody was suspended: {seats} seats by round"]


def choose_scenarios(names: Sequence[str]) -> tuple[Scenario, ...]:
    """By name; ``all`` is every one, ``none`` nothing.

    Raises:
        UsageError: there is none of that name.
    """
    if "all" in names:
        return SCENARIOS
    known = {scenario.name: scenario for scenario in SCENARIOS}
    for name in names:
        if name != "none" and name not in known:
            raise UsageError(f"there is no scenario {name!r}; there are {', '.join(known)}")
    return tuple(known[name] for name in names if name != "none")
