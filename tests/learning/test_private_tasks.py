"""Private variants of tasks: what their names mean, and that nothing but noise and clip differs where it must not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from p2p_flock.alliance.manifest import decode_manifest
from p2p_flock.errors import TaskError
from p2p_flock.learning.check import check_task
from p2p_flock.learning.task import Task, find_task
from p2p_flock.learning.task_manifest import Variant, base_of, read_variant
from p2p_flock.learning.tasks.table import Records
from p2p_flock.learning.tasks.table_task import TableTask
from p2p_flock.testnet.data import DEMOS, write_data
from p2p_flock.testnet.options import Options


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Two members' data of each demo task."""
    found = {}
    for task in ("heart", "digits"):
        folder = tmp_path_factory.mktemp(task)
        found[task] = [folder / "0.csv", folder / "1.csv"]
        for index, path in enumerate(found[task]):
            write_data(Options(nodes=8, task=f"{task}+noise8"), index, path)
    return found


@pytest.mark.parametrize("name", ["heart+noise8", "digits+noise12.5clip0.5", "lending+noise0.01", "x-y+noise10000"])
def test_variant__name_round_trip(name: str) -> None:
    """If this failed, two members would make different manifests of one name."""
    variant = read_variant(name)
    assert variant is not None and variant.name == name and base_of(name) == name.partition("+")[0]


@pytest.mark.parametrize("name", ["heart", "digits-1m"])
def test_variant__none(name: str) -> None:
    """If this failed, an ordinary task would get noise."""
    assert read_variant(name) is None and base_of(name) == name


@pytest.mark.parametrize(
    "name",
    ["heart+", "heart+noise", "heart+noise08", "heart+noise8.0", "heart+noise0", "heart+noise99999", "+noise8",
     "heart+noise8clip0", "heart+noise8clip", "heart+noise8+noise9", "heart+quiet", "heart+noise1e3", "heart+noise٣"],
)  # fmt: skip
def test_variant__bad_name(name: str) -> None:
    """If this failed, a typing error would become another alliance's task, or none at all."""
    with pytest.raises(TaskError):
        read_variant(name)


@pytest.mark.parametrize("base", ["heart", "digits"])
def test_private_task__keeps_the_rules(base: str, files: dict[str, list[Path]]) -> None:
    """If this failed, a private alliance would fail in its first rounds."""
    kind = find_task(f"{base}+noise8")
    check_task(kind, files[base][0])
    manifest = decode_manifest(kind.open(files[base][0], 1).manifest().to_bytes())
    assert (manifest.task, manifest.noise_multiplier, manifest.privacy_delta) == (f"{base}+noise8", 8.0, 1e-5)


@pytest.mark.parametrize("base", ["heart", "digits"])
def test_private_task__statistics_say_nothing(base: str, files: dict[str, list[Path]]) -> None:
    """If this failed, round 0 would tell about a member's data without noise, and ε would not count it."""
    kind = find_task(f"{base}+noise8")
    one, other = (kind.open(path, 1).statistics() for path in files[base])
    assert np.array_equal(one, other)


@pytest.mark.parametrize("base", ["heart", "digits"])
def test_private_task__keeps_the_split(base: str, files: dict[str, list[Path]]) -> None:
    """If this failed, records that a node tests by in one alliance would be trained on in the next."""
    plain = find_task(base).open(files[base][0], 7)
    private = find_task(f"{base}+noise8").open(files[base][0], 7)
    statistics = plain.statistics()
    for part in ("train", "test"):
        for one, other in zip(plain.tensors(statistics, part), private.tensors(statistics, part), strict=True):
            assert one.equal(other)


@pytest.mark.parametrize("base", ["heart", "lending"])
def test_public_statistics__are_plausible(base: str) -> None:
    """If this failed, every validator of a private alliance would refuse round 0."""
    kind = find_task(f"{base}+noise8")
    assert issubclass(kind, TableTask)
    none = Records(np.zeros((0, 0)), np.zeros((0, 0), np.int64), np.zeros(0))
    empty = kind(none, none)
    for members in (3, 5, 32):
        assert empty.layout.find_fault(members * empty.statistics()) == ""


def test_private_task__without_public_statistics(files: dict[str, list[Path]]) -> None:
    """If this failed, a task with statistics of its own would sum up constants that do not fit it."""
    task = find_task("heart+noise8").open(files["heart"][0], 1)
    with pytest.raises(TaskError, match="public_statistics"):
        Task.public_statistics(task)


def test_demo_tasks__have_private_variants() -> None:
    """If this failed, `--privacy` would fail for a task that the testnet offers."""
    for name in DEMOS:
        assert find_task(Variant(name, 8.0).name).base_name == name
