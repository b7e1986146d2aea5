"""One run of the poisoning benchmark: one row, seed, attack and rule. What it found is plain data for JSON.

Called by ``bench/poison.py`` in processes of their own.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import cache
from math import isqrt
from typing import TypedDict

import numpy as np

from p2p_flock.bench.poison_alliance import Alliance, compute_roles
from p2p_flock.bench.poison_data import SIDE, Part, load_digits, shrink, split_digits
from p2p_flock.bench.poison_members import VICTIM_OFFSET, Members
from p2p_flock.bench.poison_rules import RULES
from p2p_flock.bench.poison_settings import ATTACKS, DEFENCES, NOBODY, SETTINGS, Attack, Defence, Setting

LAST_ROUNDS = 5  # the accuracy of a run is the mean over these: single rounds differ by a point


@dataclass(frozen=True, slots=True)
class Job:
    """Names of a setting, a rule (of :data:`RULES` or :data:`DEFENCES`) and an attack; images have ``side``² pixels."""

    setting: str
    rule: str
    attack: str
    seed: int
    side: int = SIDE


class Found(TypedDict):
    """What a run came to.

    ``suspended_bad``, ``suspended_honest``: how many; ``counts``: cohorts by what they were and what became of them;
    ``earned_bad``, ``earned_honest``: FLOCK each on average; ``rounds_to_suspend``: mean over suspended bad ones;
    ``is_victim_suspended``: of the framing attack. Zeros and ``None`` where the rule has no such thing.
    """

    setting: str
    rule: str
    attack: str
    seed: int
    side: int
    accuracy: float
    backdoor: float | None
    bad: int
    suspended_bad: int
    suspended_honest: int
    rounds_to_suspend: float | None
    is_victim_suspended: bool
    counts: dict[str, int]
    earned_bad: float | None
    earned_honest: float | None
    curve: list[float]


def find_setting(name: str) -> Setting:
    """The row of this name."""
    return next(setting for setting in SETTINGS if setting.name == name)


def find_attack(name: str) -> Attack:
    """The attack of this name, also the one of nobody."""
    return next(attack for attack in (*ATTACKS, NOBODY) if attack.name == name)


def find_defence(name: str) -> Defence | None:
    """The way of ours of this name; ``None`` for the rules that are not ours."""
    return next((defence for defence in DEFENCES if defence.name == name), None)


@cache
def _digits(side: int) -> Part:
    return shrink(load_digits(), side)


def run_job(job: Job) -> Found:
    """Play it."""
    return play(find_setting(job.setting), job.rule, find_attack(job.attack), job.seed, _digits(job.side))


def play(setting: Setting, rule: str, attack: Attack, seed: int, digits: Part) -> Found:
    """One run over these digits."""
    split = split_digits(digits, setting.members, seed, setting.is_sharded)
    members = Members(setting, split, attack, seed)
    defence = find_defence(rule)
    if defence is None:
        parameters, accuracies = play_rule(members, rule)
        alliance = None
    else:
        alliance = Alliance(members, defence)
        alliance.play()
        parameters, accuracies = np.asarray(alliance.model.parameters), alliance.accuracies
    found: Found = {
        "setting": setting.name, "rule": rule, "attack": attack.name, "seed": seed,
        "side": isqrt(digits.images.shape[-1]),
        "accuracy": statistics.mean(accuracies[-LAST_ROUNDS:]),
        "backdoor": members.score_backdoor(parameters) if attack.data == "backdoor" else None,
        "bad": len(members.bad), "suspended_bad": 0, "suspended_honest": 0, "rounds_to_suspend": None,
        "is_victim_suspended": False, "counts": {}, "earned_bad": None, "earned_honest": None,
        "curve": [round(value, 4) for value in accuracies],
    }  # fmt: skip
    if alliance is not None:
        describe_alliance(found, alliance)
    return found


def play_rule(members: Members, rule: str) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], list[float]]:
    """A rule that sees every update, on the schedule of trainers of our first round table: nobody is ever suspended."""
    setting, parameters, accuracies = members.setting, members.initial.copy(), []
    for number in range(1, setting.rounds + 1):
        trainers = compute_roles(members.seed, number, setting.members, members).trainers
        updates = members.train(parameters, [trainers], number)
        # As many as there are, which no rule can know: the best that it could be told.
        bad = sum(member in members.bad for member in trainers)
        with np.errstate(over="ignore", invalid="ignore"):
            step = RULES[rule](np.stack([updates[member] for member in sorted(updates)]), bad)
            parameters = parameters + step
        members.remember_step(step)
        for memory in members.memories.values():
            memory.hear(is_adopted=True)
        accuracies.append(members.score(parameters))
    return parameters, accuracies


def describe_alliance(found: Found, alliance: Alliance) -> None:
    """Fill in what only our runs have."""
    bad, everybody = alliance.members.bad, range(alliance.members.setting.members)
    caught = [number for member, number in alliance.suspended.items() if member in bad]
    found["suspended_bad"] = len(caught)
    found["suspended_honest"] = len(alliance.suspended) - len(caught)
    found["rounds_to_suspend"] = statistics.mean(caught) if caught else None
    found["is_victim_suspended"] = VICTIM_OFFSET in alliance.suspended
    found["counts"] = dict(sorted(alliance.counts.items()))
    found["earned_bad"] = _mean_flock(alliance, [member for member in everybody if member in bad])
    found["earned_honest"] = _mean_flock(alliance, [member for member in everybody if member not in bad])


def _mean_flock(alliance: Alliance, members: list[int]) -> float | None:
    return statistics.mean(alliance.earned[member] / 10**18 for member in members) if members else None
