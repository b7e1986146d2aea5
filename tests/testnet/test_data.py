"""Where the members' data of a testnet comes from, and what follows from the task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from p2p_flock.alliance.manifest import decode_manifest, encode_manifest
from p2p_flock.alliance.privacy import validate_privacy
from p2p_flock.errors import UsageError
from p2p_flock.learning.task_manifest import read_variant
from p2p_flock.testnet.data import write_data
from p2p_flock.testnet.options import Options, alliance_params, private_task

BAD_SOURCES = {
    "unknown task": (Options(task="stars"), r"--task stars: there is data for heart, .*--data DIR"),
    "partition of another task": (Options(partition="iid"), r"--partition iid: the task heart has hospitals"),
    "unknown partition": (Options(task="digits", partition="even"), r"has iid, dirichlet:ALPHA"),
    "no number": (Options(task="digits", partition="dirichlet:ALPHA"), r"such as 0\.3"),
    "zero": (Options(task="digits", partition="dirichlet:0"), r"above 0"),
    "words": (Options(task="digits", partition="dirichlet:nan"), r"above 0"),
    "negative": (Options(task="digits-1m", partition="dirichlet:-1"), r"above 0"),
    "no folder": (Options(task="mine", data=Path("nowhere-at-all")), r"--data nowhere-at-all: No such file"),
    "both": (Options(task="mine", data=Path(), partition="iid"), r"--partition splits the testnet's own"),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_options__bad_source(case: str) -> None:
    """A typing mistake would start a network on other data than asked for, or end in a traceback."""
    options, words = BAD_SOURCES[case]
    with pytest.raises(UsageError, match=words):
        options.validate()


@pytest.mark.parametrize("partition", [None, "iid", "dirichlet:0.3", "dirichlet:10"])
def test_options__good_source(partition: str | None) -> None:
    """What the help says would be refused."""
    Options(task="digits", partition=partition).validate()


def test_write_data__digits_are_dealt_by_partition(tmp_path: Path) -> None:
    """Nodes would hold each other's images, or those of another seed."""
    options = Options(task="digits", partition="dirichlet:0.3", nodes=10, seed=1)
    for index in range(10):
        write_data(options, index, tmp_path / f"{index}.csv")
    lines = [line for index in range(10) for line in (tmp_path / f"{index}.csv").read_text().splitlines()[1:]]
    assert len(lines) == 1437
    write_data(replace(options, partition=None), 0, tmp_path / "even.csv")
    assert len((tmp_path / "even.csv").read_text().splitlines()) == 145


def test_write_data__takes_a_users_files_in_order(tmp_path: Path) -> None:
    """A task of one's own could not be tried in a network."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("b", "a", "c"):
        (folder / f"{name}.csv").write_text(name)
    options = Options(task="mine", data=folder, nodes=6)
    with pytest.raises(UsageError, match="holds 3 files; 6 nodes need one each"):
        options.validate()
    write_data(options, 1, tmp_path / "node1.csv")
    assert (tmp_path / "node1.csv").read_text() == "b"


def test_params__weights_cover_the_largest_member() -> None:
    """Members beyond the cap would count as smaller ones, which plain averaging does not do."""
    heart, digits = alliance_params(10, 5), alliance_params(10, 5, task="digits")
    assert (heart.weight_max, digits.weight_max) == (64, 512)
    assert digits.levels * digits.weight_max * 7 <= 1 << 28
    assert digits.levels == 1 << 16


def test_private_task__room_for_the_noise() -> None:
    """`--privacy` would found an alliance that no node may join."""
    for task, nodes, epsilon in (("heart", 8, 1.0), ("heart", 6, 8.0), ("digits", 10, 2.0), ("lending", 35, 4.0)):
        name = private_task(task, epsilon, 20)
        variant = read_variant(name)
        assert variant is not None and variant.base == task
        params = alliance_params(nodes, 20, task=name)
        document = {
            "name": name, "version": "1", "statistics_count": 1, "parameter_count": 2_410, "statistics_clip": 1.0,
            "clip_norm": 1.0, "noise_multiplier": variant.noise_multiplier, "privacy_delta": 1e-5,
        }  # fmt: skip
        validate_privacy(params, decode_manifest(encode_manifest(document)))
