"""What differential privacy costs in accuracy: the demo tasks at several ε, through the very encoding of a node.

Run as ``python -m p2p_flock.bench.privacy`` (``scripts/bench privacy``); the table is in ``learning/PRIVACY.md``. One
process plays an alliance of the testnet: the same parameters, roles, batches, weights, clipping, rounding, noise, ring
sums, decoding and votes, but no masks, messages or chain, which change none of these numbers. Nobody drops out, so the
sums hold more noise than ε needs (as many shares as trainers, not the fewest). Beside it: plain federated averaging on
the same schedule of trainers, and what a member reaches alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from p2p_flock.alliance.manifest import TaskManifest, decode_manifest
from p2p_flock.alliance.privacy import compute_noise_share, compute_noise_sharers, validate_privacy
from p2p_flock.alliance.sortition import compute_assignment
from p2p_flock.crypto.fixed_point import Encoder, compute_sum_bound, decode_mean
from p2p_flock.crypto.noise import Noise
from p2p_flock.crypto.ring import Ring
from p2p_flock.crypto.suite import derive_key, hash32
from p2p_flock.daemon.member import compute_weight
from p2p_flock.learning.baseline import ScheduledRound, compute_baseline, sum_statistics
from p2p_flock.learning.privacy import DELTA, compute_noise_multiplier
from p2p_flock.learning.task import Task, find_task, prepare_torch
from p2p_flock.learning.task_manifest import Variant
from p2p_flock.params import AllianceParams
from p2p_flock.testnet.data import write_data
from p2p_flock.testnet.options import Options, alliance_params
from p2p_flock.types import Assignment, Stage
from p2p_flock.wire.messages import CHUNK_BYTES

EPSILONS = (128.0, 32.0, 8.0, 4.0, 2.0, 1.0)
SEEDS = 3
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A testnet. ``clip_norm`` is the private variants': near the usual length of an update, for noise follows it."""

    task: str
    nodes: int
    clip_norm: float
    rounds: int = 20
    partition: str | None = None


SCENARIOS = (
    Scenario("heart", 8, 0.3),
    Scenario("heart", 8, 0.4, rounds=5),
    Scenario("heart", 35, 0.2),
    Scenario("digits", 10, 0.3),
)


@dataclass(frozen=True)
class Run:
    """One alliance in one process. ``noise_multiplier`` 0: the plain task, quantised and voted on all the same."""

    scenario: Scenario
    seed: int
    noise_multiplier: float
    folder: Path
    has_votes: bool = True  # else every round is adopted

    @cached_property
    def kind(self) -> type[Task]:
        scenario = self.scenario
        if not self.noise_multiplier:
            return find_task(scenario.task)
        return find_task(Variant(scenario.task, self.noise_multiplier, scenario.clip_norm).name)

    @cached_property
    def tasks(self) -> list[Task]:
        return [self.kind.open(path, self.seed) for path in write_members(self.scenario, self.seed, self.folder)]

    @cached_property
    def manifest(self) -> TaskManifest:
        return decode_manifest(self.tasks[0].manifest().to_bytes())

    @cached_property
    def params(self) -> AllianceParams:
        """As ``scripts/testnet`` chooses them."""
        params = alliance_params(self.scenario.nodes, self.scenario.rounds, task=self.kind.name)
        validate_privacy(params, self.manifest)
        return params

    @cached_property
    def weights(self) -> list[int]:
        step = self.tasks[0].manifest().examples_per_weight
        return [compute_weight(task.check_data().train_count, self.params, step) for task in self.tasks]

    def roles(self, number: int) -> Assignment:
        """The same for every ε, so that rows differ by noise alone."""
        seed = hash32("p2p_flock bench privacy v1", bytes(f"{self.seed} {number}", "ascii"))
        return compute_assignment(seed, self.scenario.nodes, self.params)

    def training_seed(self, number: int, member: int) -> int:
        """Of the batches."""
        return (self.seed * 1000 + number) * 1000 + member

    def play(self) -> tuple[float | None, int]:
        """The score after the last round, and how many training rounds were adopted."""
        sums = sum_statistics([self.tasks[member] for member in self.roles(0).trainers])
        parameters, adopted = self.tasks[0].initial_parameters(), 0
        for number in range(1, self.scenario.rounds + 1):
            roles = self.roles(number)
            candidate = parameters + self.aggregate(number, roles.trainers, sums, parameters)
            votes = [self.judge(member, sums, parameters, candidate) for member in roles.validators]
            if sum(votes) >= self.params.verdict_quorum or not self.has_votes:
                parameters, adopted = candidate, adopted + 1
        return self.tasks[0].pool(self.tasks).measure(sums, parameters)[1], adopted

    def judge(self, member: int, sums: Vector, parameters: Vector, candidate: Vector) -> bool:
        """A validator's vote: its loss does not rise by more than the tolerance."""
        judged = self.tasks[member].evaluate(sums, parameters, [candidate])
        return judged.losses_after[0] <= judged.loss_before + self.params.loss_tolerance_micro / 1e6

    def aggregate(self, number: int, trainers: Sequence[int], sums: Vector, parameters: Vector) -> Vector:
        """The opened mean of a round: encoded, noised, summed in the ring, checked and decoded as nodes do."""
        params, ring = self.params, Ring(self.params.lane_bits)
        weights = [self.weights[member] for member in trainers]
        share = compute_noise_share(params, self.manifest, Stage.TRAINING, weights)
        total = np.zeros(ring.word_count(self.manifest.parameter_count), dtype=ring.dtype)
        for member, weight in zip(trainers, weights, strict=True):
            result = self.tasks[member].train(sums, parameters, self.training_seed(number, member))
            key = hash32("p2p_flock bench privacy entropy v1", bytes(f"{self.seed} {number} {member}", "ascii"))
            encoder = Encoder(
                result.update,
                is_update=True,
                bound=self.manifest.clip_norm,
                levels=params.levels,
                weight=weight,
                lane_bits=params.lane_bits,
                dither_key=derive_key(key, "dither"),
                noise=None if share is None else Noise(derive_key(key, "noise"), share.variance),
                noise_bound=0 if share is None else share.bound,
            )
            total += np.concatenate(list(encoder.encode(CHUNK_BYTES)))
        bound = compute_sum_bound(tuple(weights), params.levels, 0 if share is None else share.bound)
        count = self.manifest.parameter_count
        assert ring.is_in_range(total, count, bound)
        return decode_mean(ring.lift(total, count, bound), self.manifest.clip_norm, params.levels, sum(weights))


def write_members(scenario: Scenario, seed: int, folder: Path) -> list[Path]:
    """Every member's file, written once per seed."""
    options = Options(nodes=scenario.nodes, task=scenario.task, partition=scenario.partition, seed=seed)
    paths = [folder / f"{scenario.task}-{scenario.nodes}-{seed}-{member}.csv" for member in range(scenario.nodes)]
    for member, path in enumerate(paths):
        if not path.exists():
            write_data(options, member, path)
    return paths


def measure(
    scenario: Scenario, epsilons: Sequence[float], seeds: int, folder: Path, has_votes: bool = True
) -> dict[str, Any]:
    """All rows of one scenario: score and adopted rounds by ε, each over the seeds, and the references."""
    rows: dict[str, dict[str, Any]] = {"alone": _row(), "plain FedAvg": _row(), "none": _row()}
    noises = {0.0: "none"}
    for epsilon in epsilons:
        z = compute_noise_multiplier(epsilon, scenario.rounds)
        noises[z] = f"{epsilon:g}"
        rows[noises[z]] = {**_row(), "epsilon": epsilon, "noise_multiplier": z}
    for seed in range(1, seeds + 1):
        for z, name in noises.items():
            run = Run(scenario, seed, z, folder, has_votes)
            score, adopted = run.play()
            rows[name]["scores"].append(score)
            rows[name]["adopted"].append(adopted)
            if z == 0:
                schedule = [
                    ScheduledRound(number, trainers, tuple(run.training_seed(number, member) for member in trainers))
                    for number in range(scenario.rounds + 1)
                    for trainers in [run.roles(number).trainers]
                ]
                baseline = compute_baseline(run.tasks, schedule, [], seed)
                rows["alone"]["scores"].append(baseline.local_only_score)
                rows["plain FedAvg"]["scores"].append(baseline.plain_fedavg_score)
            sys.stderr.write(f"{scenario.task} {scenario.nodes} seed {seed} ε {name}: {score}\n")
    params = Run(scenario, 1, 0.0, folder).params
    trainers = scenario.nodes - params.validator_count
    return {
        "task": scenario.task, "members": scenario.nodes, "rounds": scenario.rounds, "clip_norm": scenario.clip_norm,
        "trainers": trainers, "sharers": compute_noise_sharers(params, trainers),
        "score_name": find_task(scenario.task).score_name, "delta": DELTA, "rows": rows,
    }  # fmt: skip


def _row() -> dict[str, Any]:
    return {"scores": [], "adopted": []}


def render(found: Sequence[dict[str, Any]]) -> str:
    """A Markdown table per scenario: mean and range of the score over the seeds, mean of adopted rounds."""
    lines: list[str] = []
    for one in found:
        lines += [
            f"**{one['task']}**, {one['members']} members, {one['trainers']} trainers a round of which "
            f"{one['sharers']} must suffice for the noise, {one['rounds']} rounds, clip {one['clip_norm']:g}",
            "",
            f"| ε at δ = {one['delta']:g} | z | {one['score_name']} | adopted |",
            "|---|---|---|---|",
        ]
        for name, row in one["rows"].items():
            z = "" if "noise_multiplier" not in row else f"{row['noise_multiplier']:g}"
            adopted = f"{statistics.mean(row['adopted']):.0f} of {one['rounds']}" if row["adopted"] else ""
            lines.append(f"| {name} | {z} | {_spread(row['scores'])} | {adopted} |")
        lines.append("")
    return "\n".join(lines)


def _spread(scores: Sequence[float | None]) -> str:
    known = [score for score in scores if score is not None]
    if not known:
        return "–"
    mean, low, high = (f"{x:.3f}".removeprefix("0") for x in (statistics.mean(known), min(known), max(known)))
    return f"{mean} ({low} to {high})"


def main() -> None:
    """Measure, print the table, write the figures where asked."""
    parser = argparse.ArgumentParser(prog="scripts/bench privacy", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"data splits and schedules [{SEEDS}]")
    parser.add_argument("--epsilon", type=float, action="append", help=f"may be repeated {list(EPSILONS)}")
    parser.add_argument("--task", help="only the scenarios of this task")
    parser.add_argument("--no-votes", action="store_true", help="adopt every round: what the updates alone teach")
    parser.add_argument("--json", type=Path, help="write all figures here")
    given = parser.parse_args()
    prepare_torch()
    started = time.perf_counter()
    chosen = [scenario for scenario in SCENARIOS if given.task in (None, scenario.task)]
    with tempfile.TemporaryDirectory(prefix="p2p_flock-bench-") as folder:
        found = [
            measure(scenario, given.epsilon or EPSILONS, given.seeds, Path(folder), not given.no_votes)
            for scenario in chosen
        ]
    sys.stdout.write(render(found))
    sys.stderr.write(f"{given.seeds} seeds, {time.perf_counter() - started:.0f} s\n")
    if given.json is not None:
        given.json.write_text(json.dumps({"scenarios": found}, indent=1))


if __name__ == "__main__":
    main()
