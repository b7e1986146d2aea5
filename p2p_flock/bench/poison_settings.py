"""What is measured: the rows, the attacks on them, and the parameters of the alliance in each.

Called by ``bench/poison.py`` and its parts. No parameter depends on the seed or on the attack.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.cli.alliance_create import PRESETS
from p2p_flock.daemon.control_messages import params_from_json
from p2p_flock.params import AllianceParams, validate_params
from p2p_flock.types import DIGEST_BYTES

OPPOSITE, ALWAYS_YES, HONESTLY, AGAINST_VICTIM = "opposite", "yes", "honest", "victim"


@dataclass(frozen=True, slots=True)
class Attack:
    """What bad members do.

    Attributes:
        update, data: names in ``testing/byzantine/updates.py``; both may be set.
        votes: as validators: yes for the cohorts of their own and no to all others, always yes, by their honest
            judgement, or no to the cohort of the victim.
        is_framing: they attack only in the cohort that holds the victim, the first honest member.
    """

    name: str
    update: str | None = None
    data: str | None = None
    votes: str = OPPOSITE
    is_framing: bool = False


@dataclass(frozen=True, slots=True)
class Defence:
    """A way to judge cohorts.

    Attributes:
        is_marginal: a cohort is judged by what the round's merged model loses without it, else by what the current
            model gains from it alone.
        has_norm_check: a cohort whose sum is longer than honest members' can be is refused unseen.
        has_votes: else everything is adopted; has_clip: else the opened mean is not clipped. Planted bugs of the tests.
    """

    name: str
    is_marginal: bool
    has_norm_check: bool
    has_votes: bool = True
    has_clip: bool = True


DEFENCES: Final = (
    Defence("alone", is_marginal=False, has_norm_check=False),
    Defence("alone + norm", is_marginal=False, has_norm_check=True),
    Defence("marginal + norm", is_marginal=True, has_norm_check=True),
)
NOBODY: Final = Attack("nobody", votes=HONESTLY)
ATTACKS: Final = (
    Attack("signflip5", "signflip5"),
    Attack("signflip5, votes yes", "signflip5", votes=ALWAYS_YES),
    Attack("signflip", "signflip"),
    Attack("noise", "noise"),
    Attack("noise, votes yes", "noise", votes=ALWAYS_YES),
    Attack("scale5", "scale5"),
    Attack("scale100", "scale100"),
    Attack("labelflip", data="labelflip"),
    Attack("labelflip ×5", "scale5", "labelflip"),
    Attack("backdoor", data="backdoor"),
    Attack("backdoor ×5", "scale5", "backdoor"),
    Attack("adaptive", "adaptive"),
    Attack("freeride", "freeride", votes=ALWAYS_YES),
    Attack("disguised", "disguised", votes=ALWAYS_YES),
    Attack("framing", "signflip5", votes=AGAINST_VICTIM, is_framing=True),
)


@dataclass(frozen=True)
class Setting:
    """One row of the issue's table.

    Attributes:
        headline: the attack that the row's bounds are checked under.
        points_max: how far below attack-free plain averaging the accuracy may end, in points; ``None``: reported only.
        suspicion_bound: b, rejections in a row.
        clip_norm: of an update and of a cohort's mean, L2.
        tolerance: on a validator's loss change.
    """

    name: str
    title: str
    members: int
    bad: int
    rounds: int
    headline: str
    points_max: float | None
    recall_min: float | None
    precision_min: float | None
    is_sharded: bool = False
    has_holdout: bool = False
    validators: int = 5
    cohorts: int = 3
    suspicion_bound: int = 16
    clip_norm: float = 1.0
    tolerance: float = 0.03
    rate: float = 0.3
    batch: int = 32
    epochs: int = 1

    @cached_property
    def params(self) -> AllianceParams:
        """The preset "testnet" with this row's sizes, checked as the contract would."""
        largest = -(-(self.members - self.validators) // self.cohorts)
        params = replace(
            params_from_json(PRESETS["testnet"], bytes(DIGEST_BYTES)),
            round_count=self.rounds + 1,
            seat_count_min=self.members,
            seat_count_max=self.members,
            validator_count=self.validators,
            cohort_count=self.cohorts,
            threshold=max(3, largest // 2 + 1),
            loss_tolerance_micro=round(self.tolerance * 1_000_000),
            suspicion_bound=self.suspicion_bound,
        )
        validate_params(params)
        return params

    def make_manifest(self, parameter_count: int) -> TaskManifest:
        """What ``apply_cohorts`` needs of one."""
        return TaskManifest("poison", "1", 1, parameter_count, 1.0, self.clip_norm, b"{}")


SETTINGS: Final = (
    Setting("small", "20 nodes, 3 malicious, IID, cohorts of 3–5, V = 5, 100 rounds", 20, 3, 100,
            "signflip5", 2.0, 0.9, 1.0),
    Setting("shards", "the same, two-class shards, public holdout of 500", 20, 3, 100,
            "noise", 3.0, 0.9, None, is_sharded=True, has_holdout=True, tolerance=0.25),
    Setting("large", "50 nodes, 15 malicious, IID, cohorts of 3–5, V = 21, 200 rounds", 50, 15, 200,
            "signflip5", 5.0, 0.5, None, validators=21, cohorts=6, suspicion_bound=24),
    Setting("larger", "50 nodes, 20 malicious, else the same", 50, 20, 200,
            "signflip5", None, None, None, validators=21, cohorts=6, suspicion_bound=24),
)  # fmt: skip
